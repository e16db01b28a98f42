"""A gallery as one file, and back: a tar of the database, its model, and a list of both with their SHA-256.

The database is a consistent snapshot (SQLite's backup API), whoever writes meanwhile. The index is left out: it is built
anew. A backup is checked whole before a restore touches anything.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from facedex._version import __version__
from facedex.engines.binding import give_up_copy, mend_binding
from facedex.errors import DataError, FacedexError, GalleryBusy, GalleryDamaged, GalleryError, GalleryNotFound
from facedex.files import flush_folder, make_folder, make_private, patiently
from facedex.gallery.gallery import Gallery
from facedex.index.manifest import discard_projection
from facedex.store import modelcopy
from facedex.store.lock import writing
from facedex.store.rows import State
from facedex.store.store import BUSY_SECONDS, FILE, Store, is_there

FORMAT = "facedex-backup/1"
LIST = "backup.json"

_WORK = ".facedex-backup-"  # begins the name of a folder where a backup is made or checked
_LOCK = "lock"  # in it, held as long as it is in use
_OURS = re.compile(re.escape(_WORK) + r"\w{8}")  # as tempfile ends it
_MEMBER = re.compile(r"gallery\.db|model-[0-9a-f]{16}\.safetensors")


def backup(folder: str | os.PathLike[str], file: str | os.PathLike[str], force: bool = False) -> int:
    """Write a gallery into one file; returns its size in bytes. Others may read and write meanwhile.

    Raises GalleryError and its kinds; DataError when the file is there (unless `force`) or cannot be written.
    """
    folder, target = Path(folder), Path(file)
    if os.path.exists(target) and not force:
        raise DataError(f"{target} is there already; name another file, or add --force to replace it")
    if not is_there(folder):
        raise GalleryNotFound(f"There is no gallery in {folder}; name its folder by --gallery")
    if target.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{target} is in the gallery itself, of which it would replace or keep a part; name another file"
        )
    with _saved(target, target.parent) as work:
        state = _snapshot(folder, work)
        _single_file(work / FILE)
        names = sorted(path.name for path in work.iterdir())
        facts = {
            "format": FORMAT, "facedex": __version__, "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "people": state.people, "faces": state.faces, "model": state.model,
            "files": {name: {"bytes": (work / name).stat().st_size, "sha256": _sha256(work / name)} for name in names},
        }  # fmt: skip
        packed = work / "backup.tar"
        with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
            text = json.dumps(facts, indent=1).encode()
            info = tarfile.TarInfo(LIST)
            info.size, info.mode = len(text), 0o600
            tar.addfile(info, io.BytesIO(text))
            for name in names:
                info = tarfile.TarInfo(name)
                info.size, info.mode = (work / name).stat().st_size, 0o600
                with open(work / name, "rb") as data:
                    tar.addfile(info, data)
        packed.chmod(0o600)
        _flush(packed)
        patiently(partial(os.replace, packed, target))
        flush_folder(target.parent)
    return target.stat().st_size


def restore(file: str | os.PathLike[str], folder: str | os.PathLike[str], force: bool = False) -> tuple[int, int]:
    """Make a gallery of a backup; returns (people, faces). With `force` in the place of the one that is there.

    Nothing is touched before the whole backup was checked. Raises DataError for a file that is no whole backup,
    GalleryError and its kinds when the gallery is there, is being written, or cannot be.
    """
    source, folder = Path(file), Path(folder)
    if is_there(folder) and not force:
        raise GalleryError(f"There is a gallery in {folder} already; name another folder, or add --force to replace it")
    beside = folder.parent
    if folder.is_dir():  # it may be a disk of its own, to which nothing can be renamed from beside it
        with suppress(OSError):
            sweep(beside)  # of a restore that was killed before it had made the folder
        beside = folder
    with _saved(folder, beside) as work:
        _unpack(source, work)
        try:
            with Gallery(work) as found, Store(work) as store:
                found.model.need_graphs()
                _read_all(store)
                counts = len(found), found.faces
                store.note_engine(None)  # of the gallery that was saved, whose rows are that one's
        except FacedexError as error:
            raise DataError(f"{source} holds no whole gallery ({error}); use another backup") from None
        for path in work.iterdir():
            if not _MEMBER.fullmatch(path.name):
                path.unlink()
        make_private(folder, work.parent.name)
        with writing(folder, BUSY_SECONDS):
            if is_there(folder) and not force:  # made while this one was checked
                raise GalleryBusy(f"Somebody made a gallery in {folder} meanwhile; add --force to replace it")
            for path in modelcopy.files(work):
                _flush(path)
                patiently(partial(os.replace, path, folder / path.name))
            flush_folder(folder)
            _replace_database(work / FILE, folder)
            with Store(folder) as store:
                with suppress(GalleryError):
                    mend_binding(store)
                modelcopy.sweep(modelcopy.files(folder), store.state.model_file)
                if not store.scrub():
                    raise GalleryBusy(
                        f"Restored, but another process still reads the older gallery in {folder}, which is on disk "
                        "until then; the next change or `facedex reindex` clears it"
                    )
    return counts


def _replace_database(new: Path, folder: Path) -> None:
    """Put a database in the place of another, in one step, so that open readers see it at their next query."""
    try:
        with Store(folder) as old:
            with suppress(GalleryError):  # the copy outlives this database, and says then where the index is
                mend_binding(old)
            revision = old.state.revision
        with closing(sqlite3.connect(new, isolation_level=None)) as source:
            # Beyond both: what was projected of either is not taken for the other's.
            source.execute("UPDATE gallery SET revision = MAX(revision, ?) + 1", (revision,))
            source.execute("UPDATE gallery SET rewritten = revision")
            with closing(sqlite3.connect(folder / FILE, timeout=BUSY_SECONDS)) as target:
                target.execute("PRAGMA secure_delete = ON")
                source.backup(target)
        discard_projection(folder)
    except (GalleryError, sqlite3.Error) as error:
        if isinstance(error, GalleryBusy) or "locked" in str(error) or "full" in str(error):
            raise GalleryBusy(f"{folder / FILE} cannot be replaced now ({error}); try again") from None
        # None is there, or it is damaged: there are no readers to keep in step. How far it had come is not known, so
        # that its rows in an engine cannot be brought up to date: they are to be cleared.
        give_up_copy(folder)
        discard_projection(folder)
        with suppress(sqlite3.Error), closing(sqlite3.connect(folder / FILE)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # if this is cut short, the log was not needed
        for end in ("-wal", "-shm"):
            patiently(partial((folder / f"{FILE}{end}").unlink, missing_ok=True))
        _flush(new)
        patiently(partial(os.replace, new, folder / FILE))
        flush_folder(folder)


def _unpack(source: Path, work: Path) -> None:
    """A backup's files into a folder, each by a name known beforehand and with the hash it had."""
    try:
        with tarfile.open(source, "r:") as tar:
            first = tar.next()
            listed = tar.extractfile(first) if first is not None and first.name == LIST and first.size < 2**20 else None
            facts: dict[str, Any] = json.loads(listed.read()) if listed else {}
            if facts.get("format") != FORMAT:
                raise DataError(f"{source} is no backup that this facedex reads ({FORMAT}); name another file")
            wanted = dict(facts["files"])
            while (member := tar.next()) is not None:
                data = tar.extractfile(member) if member.isreg() else None
                about = wanted.pop(member.name, None)
                if data is None or about is None or not _MEMBER.fullmatch(member.name) or member.size != about["bytes"]:
                    raise ValueError(f"{member.name!r} does not belong there")
                with open(work / member.name, "wb") as out:
                    (work / member.name).chmod(0o600)
                    shutil.copyfileobj(data, out)
                if _sha256(work / member.name) != about["sha256"]:
                    raise ValueError(f"{member.name} has changed")
            if wanted:
                raise ValueError(f"{', '.join(wanted)} missing")
    except FileNotFoundError:
        raise DataError(f"{source} does not exist; check the path") from None
    except (IsADirectoryError, PermissionError) as error:
        if error.filename != os.fspath(source):
            raise
        raise DataError(f"{source} cannot be read ({error.strerror}); name a file of `facedex backup`") from None
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{source} is damaged or no backup ({error}); use another") from None


def _snapshot(folder: Path, work: Path) -> State:
    """Copy the database, every record read, and the model that belongs to it."""
    try:
        with Store(folder) as store, closing(sqlite3.connect(work / FILE)) as out:
            store.copy_to(out)
    except sqlite3.Error as error:
        raise GalleryDamaged(f"{folder / FILE} cannot be copied ({error}); run `facedex doctor`") from None
    with Store(work) as copy:
        _read_all(copy)  # a damaged record is told now, not when the backup is needed
        state = copy.state
        if copy.unscrubbed:
            copy.scrub()
    try:
        modelcopy.read(folder, state)
        for path in modelcopy.files(folder):
            if path.stem == Path(state.model_file).stem:
                shutil.copyfile(path, work / path.name)
    except (FacedexError, FileNotFoundError):
        with Store(folder) as store:
            if store.state.model_file == state.model_file:
                raise
        for path in (work / FILE, *modelcopy.files(work)):  # it was moved to another model this moment
            path.unlink(missing_ok=True)
        return _snapshot(folder, work)
    return state


def _read_all(store: Store) -> None:
    """Raise GalleryDamaged for any record that is not as it was written."""
    for _ in store.blocks():
        pass


def _single_file(path: Path) -> None:
    """A database without a log beside it."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


@contextmanager
def _saved(about: Path, beside: Path) -> Iterator[Path]:
    """A private folder to work in, on the disk where the result will be; the system's errors as ours."""
    try:
        make_folder(beside)
        sweep(beside)
        with _own_folder(beside) as top:
            work = top / "files"
            work.mkdir()
            yield work
    except sqlite3.Error as error:
        raise GalleryError(f"{about} cannot be written ({error}); check space and permissions") from None
    except OSError as error:
        raise DataError(f"{about} cannot be read or written ({error.strerror or error}); check it") from None


@contextmanager
def _own_folder(beside: Path) -> Iterator[Path]:
    """A new folder that goes in the end, and whose lock is held until then: another backup's sweep leaves it alone."""
    while True:
        top = Path(tempfile.mkdtemp(prefix=_WORK, dir=beside))
        lock = FileLock(str(top / _LOCK))
        with suppress(FileNotFoundError):  # swept between the two steps
            lock.acquire()
            top.chmod(0o700)  # the lock may have made it once more
            if (top / _LOCK).exists():
                break
        lock.release()
    try:
        yield top
    finally:
        _clear(top, lock)


def sweep(beside: Path) -> None:
    """Delete what killed backups and restores left, copies of a gallery: in folders of ours, where nobody holds the lock."""
    for left in beside.glob(f"{_WORK}*"):
        if _OURS.fullmatch(left.name) and not left.is_symlink():
            with suppress(OSError):  # among them Timeout: somebody works there
                if (left / _LOCK).is_file():
                    lock = FileLock(str(left / _LOCK))
                    lock.acquire(timeout=0)
                    _clear(left, lock)
                else:
                    left.rmdir()  # only if it is empty


def _clear(top: Path, lock: FileLock) -> None:
    """Delete a folder to work in, whose lock is held, and let go of that. What is not ours stays."""
    shutil.rmtree(top / "files", ignore_errors=True)
    with suppress(OSError):  # Windows deletes no open file
        (top / _LOCK).unlink()
    lock.release()
    with suppress(OSError):
        (top / _LOCK).unlink(missing_ok=True)
    with suppress(OSError):
        top.rmdir()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
