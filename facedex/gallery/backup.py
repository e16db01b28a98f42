"""Backup of a gallery into one file, and restore from it.

The file is a tar: a list (backup.json), the database and its model. The list holds size and SHA-256 of each. The
database is a consistent snapshot (SQLite's backup API), even while others write. The index is left out, because it can
be built again. A restore checks the whole backup before it changes anything.
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
from facedex.store.lock import BUSY_SECONDS, writing
from facedex.store.rows import State
from facedex.store.store import FILE, Store, is_there

FORMAT = "facedex-backup/1"
LIST = "backup.json"

_WORK = ".facedex-backup-"  # prefix of a work folder, where a backup is made or checked
_LOCK = "lock"  # a file in the work folder, locked as long as the folder is in use
_WORK_FOLDER = re.compile(re.escape(_WORK) + r"\w{8}")  # tempfile adds eight characters
_MEMBER = re.compile(r"gallery\.db|model-[0-9a-f]{16}\.safetensors")


def backup(folder: str | os.PathLike[str], file: str | os.PathLike[str], force: bool = False) -> int:
    """Write a gallery into one file; returns the file's size in bytes. Others may read and write meanwhile.

    Raises GalleryError and its kinds. Raises DataError when the file exists (unless `force`) or cannot be written.
    """
    folder, target = Path(folder), Path(file)
    if os.path.exists(target) and not force:
        raise DataError(f"{target} is there already; name another file, or add --force to replace it")
    if not is_there(folder):
        raise GalleryNotFound(f"There is no gallery in {folder}; name its folder by --gallery")
    if target.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{target} is in the gallery itself, where it could replace a part; name a file in another folder"
        )
    with _work_folder(target, target.parent) as work:
        state = _snapshot(folder, work)
        _merge_log(work / FILE)
        packed = work / "backup.tar"
        _pack(packed, state, sorted(work.iterdir()))
        packed.chmod(0o600)
        _flush(packed)
        patiently(partial(os.replace, packed, target))
        flush_folder(target.parent)
    return target.stat().st_size


def restore(file: str | os.PathLike[str], folder: str | os.PathLike[str], force: bool = False) -> tuple[int, int]:
    """Make a gallery from a backup; returns (people, faces). With `force` it replaces a gallery that is there.

    Nothing changes before the whole backup was checked. Raises DataError for a file that is not a whole backup.
    Raises GalleryError and its kinds when a gallery is there, is being written, or cannot be written.
    """
    source, folder = Path(file), Path(folder)
    if is_there(folder) and not force:
        raise GalleryError(f"There is a gallery in {folder} already; name another folder, or add --force to replace it")
    beside = folder.parent
    if folder.is_dir():  # it may be on a disk of its own: files can only be renamed within one disk
        with suppress(OSError):
            sweep(beside)  # a restore may have been killed before it made the folder
        beside = folder
    with _work_folder(folder, beside) as work:
        _unpack(source, work)
        counts = _check_gallery(source, work)
        make_private(folder, work.parent.name)
        with writing(folder):
            if is_there(folder) and not force:  # somebody made it while the backup was checked
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


def _check_gallery(source: Path, work: Path) -> tuple[int, int]:
    """Check an unpacked backup as a gallery; returns (people, faces). Only its own files are left then.

    Raises DataError for a gallery that cannot be used.
    """
    try:
        with Gallery(work) as gallery, Store(work) as store:
            gallery.model.need_graphs()
            _read_all(store)
            counts = len(gallery), gallery.faces
            store.note_restore()
            store.note_engine(None)  # the rows in an engine belong to the gallery that was saved
    except FacedexError as error:
        raise DataError(f"{source} holds no whole gallery ({error}); use another backup") from None
    for path in work.iterdir():
        if not _MEMBER.fullmatch(path.name):
            path.unlink()
    return counts


def _replace_database(new: Path, folder: Path) -> None:
    """Replace a gallery's database in one step, so that open readers see the new one at their next query."""
    try:
        with Store(folder) as old:
            with suppress(GalleryError):  # engine.json outlives this database, and says then where the index is
                mend_binding(old)
            revision = old.state.revision
        with closing(sqlite3.connect(new, isolation_level=None)) as source:
            # Above both revisions, so that no index of one database is taken for an index of the other.
            source.execute("UPDATE gallery SET revision = MAX(revision, ?) + 1", (revision,))
            source.execute("UPDATE gallery SET rewritten = revision")
            with closing(sqlite3.connect(folder / FILE, timeout=BUSY_SECONDS)) as target:
                target.execute("PRAGMA secure_delete = ON")
                source.backup(target)
        discard_projection(folder)
    except (GalleryError, sqlite3.Error) as error:
        if isinstance(error, GalleryBusy) or "locked" in str(error) or "full" in str(error):
            raise GalleryBusy(f"{folder / FILE} cannot be replaced now ({error}); try again") from None
        # There is no database, or it is damaged, so that no reader has to be kept in step. Its revision is not known.
        # Its rows in an engine can therefore not be brought up to date and must be deleted.
        give_up_copy(folder)
        discard_projection(folder)
        with suppress(sqlite3.Error), closing(sqlite3.connect(folder / FILE)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing is lost when this fails
        for end in ("-wal", "-shm"):
            patiently(partial((folder / f"{FILE}{end}").unlink, missing_ok=True))
        _flush(new)
        patiently(partial(os.replace, new, folder / FILE))
        flush_folder(folder)


def _pack(packed: Path, state: State, files: list[Path]) -> None:
    """Write a tar of the list and the files."""
    facts = {
        "format": FORMAT,
        "facedex": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "people": state.people,
        "faces": state.faces,
        "model": state.model,
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files},
    }
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
        text = json.dumps(facts, indent=1).encode()
        info = tarfile.TarInfo(LIST)
        info.size, info.mode = len(text), 0o600
        tar.addfile(info, io.BytesIO(text))
        for path in files:
            info = tarfile.TarInfo(path.name)
            info.size, info.mode = path.stat().st_size, 0o600
            with open(path, "rb") as data:
                tar.addfile(info, data)


def _unpack(source: Path, work: Path) -> None:
    """Extract a backup into a folder: only files that the list names, with their size and SHA-256. Raises DataError."""
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
    """Copy a gallery's database and model into the work folder, and check every row of the copy."""
    try:
        with Store(folder) as store, closing(sqlite3.connect(work / FILE)) as out:
            store.copy_to(out)
    except sqlite3.Error as error:
        raise GalleryDamaged(f"{folder / FILE} cannot be copied ({error}); run `facedex doctor`") from None
    with Store(work) as copy:
        _read_all(copy)  # a damaged row is an error now, not when the backup is needed
        state = copy.state
        if copy.unscrubbed:
            copy.scrub()
    try:
        modelcopy.read(folder, state)
        shutil.copyfile(folder / state.model_file, work / state.model_file)
    except (FacedexError, FileNotFoundError):
        with Store(folder) as store:
            if store.state.model_file == state.model_file:
                raise
        # Another process has just moved the gallery to another model.
        for path in (work / FILE, *modelcopy.files(work)):
            path.unlink(missing_ok=True)
        return _snapshot(folder, work)
    return state


def _read_all(store: Store) -> None:
    """Raise GalleryDamaged for any altered row."""
    for _ in store.blocks():
        pass
    store.library.faces(everything=True)


def _merge_log(path: Path) -> None:
    """Write a database's log into it, so that it is one file."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


@contextmanager
def _work_folder(target: Path, parent: Path) -> Iterator[Path]:
    """A private folder in `parent`, on the disk of the result. Errors of the system become GalleryError or DataError,
    which name `target`.
    """
    try:
        make_folder(parent)
        sweep(parent)
        with _locked_folder(parent) as top:
            work = top / "files"
            work.mkdir()
            yield work
    except sqlite3.Error as error:
        raise GalleryError(f"{target} cannot be written ({error}); check space and permissions") from None
    except OSError as error:
        raise DataError(f"{target} cannot be read or written ({error.strerror or error}); check it") from None


@contextmanager
def _locked_folder(parent: Path) -> Iterator[Path]:
    """A new folder that is deleted in the end. Its lock keeps another process's `sweep` from deleting it earlier."""
    while True:
        top = Path(tempfile.mkdtemp(prefix=_WORK, dir=parent))
        lock = FileLock(str(top / _LOCK))
        with suppress(FileNotFoundError):  # another process swept the folder before it was locked
            lock.acquire()
            top.chmod(0o700)  # FileLock makes a folder that was swept, open to others
            if (top / _LOCK).exists():
                break
        lock.release()
    try:
        yield top
    finally:
        _clear(top, lock)


def sweep(parent: Path) -> None:
    """Delete the work folders that killed backups and restores left in `parent`: those whose lock nobody holds."""
    for folder in parent.glob(f"{_WORK}*"):
        if _WORK_FOLDER.fullmatch(folder.name) and not folder.is_symlink():
            with suppress(OSError):  # Timeout is one of them: another process works there
                if (folder / _LOCK).is_file():
                    lock = FileLock(str(folder / _LOCK))
                    lock.acquire(timeout=0)
                    _clear(folder, lock)
                else:
                    folder.rmdir()  # only when it is empty


def _clear(top: Path, lock: FileLock) -> None:
    """Delete a work folder and release its lock, which the caller holds. Files of others in it stay."""
    shutil.rmtree(top / "files", ignore_errors=True)
    with suppress(OSError):  # Windows deletes no file that is open, so this is tried again below
        (top / _LOCK).unlink()
    lock.release()
    with suppress(OSError):
        (top / _LOCK).unlink(missing_ok=True)
    with suppress(OSError):
        top.rmdir()


def _sha256(path: Path) -> str:
    """SHA-256 of a file of any size, hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Bring a file's content to disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
