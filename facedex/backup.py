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
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from facedex import modelcopy, search
from facedex._version import __version__
from facedex.errors import DataError, FacedexError, GalleryBusy, GalleryDamaged, GalleryError, GalleryNotFound
from facedex.gallery import Gallery
from facedex.lock import writing
from facedex.modelfile import read_graph
from facedex.store import BUSY_SECONDS, FILE, Store

FORMAT = "facedex-backup/1"
LIST = "backup.json"

_MEMBER = re.compile(r"gallery\.db|model-[0-9a-f]{16}\.(safetensors|onnx)")


def backup(folder: str | os.PathLike[str], file: str | os.PathLike[str], force: bool = False) -> int:
    """Write a gallery into one file; returns its size in bytes. Others may read and write meanwhile.

    Raises GalleryError and its kinds; DataError when the file is there (unless `force`) or cannot be written.
    """
    folder, target = Path(folder), Path(file)
    if target.exists() and not force:
        raise DataError(f"{target} is there already; name another file, or add --force to replace it")
    if not (folder / FILE).is_file():
        raise GalleryNotFound(f"There is no gallery in {folder}; name its folder by --gallery")
    with _saved(target, target.parent) as work:
        _snapshot(folder / FILE, work / FILE)
        with Store(work) as copy:
            copy.vectors()  # a damaged record is told now, not when the backup is needed
            people, faces = copy.count()
            state = copy.state
        _single_file(work / FILE)
        model = modelcopy.read(folder, state)
        read_graph(model)
        for path in (folder / state.model_file, (folder / state.model_file).with_suffix(".onnx")):
            shutil.copyfile(path, work / path.name)
        names = sorted(path.name for path in work.iterdir())
        facts = {
            "format": FORMAT, "facedex": __version__, "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "people": people, "faces": faces, "model": state.model,
            "files": {name: {"bytes": (work / name).stat().st_size, "sha256": _sha256(work / name)} for name in names},
        }  # fmt: skip
        partial = work / "backup.tar"
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            text = json.dumps(facts, indent=1).encode()
            info = tarfile.TarInfo(LIST)
            info.size, info.mode = len(text), 0o600
            tar.addfile(info, io.BytesIO(text))
            for name in names:
                info = tarfile.TarInfo(name)
                info.size, info.mode = (work / name).stat().st_size, 0o600
                with open(work / name, "rb") as data:
                    tar.addfile(info, data)
        partial.chmod(0o600)
        _flush(partial)
        os.replace(partial, target)
    return target.stat().st_size


def restore(file: str | os.PathLike[str], folder: str | os.PathLike[str], force: bool = False) -> tuple[int, int]:
    """Make a gallery of a backup; returns (people, faces). With `force` in the place of the one that is there.

    Nothing is touched before the whole backup was checked. Raises DataError for a file that is no whole backup,
    GalleryError and its kinds when the gallery is there, is being written, or cannot be.
    """
    source, folder = Path(file), Path(folder)
    there = (folder / FILE).exists()
    if there and not force:
        raise GalleryError(f"There is a gallery in {folder} already; name another folder, or add --force to replace it")
    with _saved(folder, folder.parent) as work:
        _unpack(source, work)
        try:
            with Gallery(work) as found:
                read_graph(found.model)
                found._store.vectors()
                counts = len(found), found.faces
        except FacedexError as error:
            raise DataError(f"{source} holds no whole gallery ({error}); use another backup") from None
        for path in work.iterdir():
            if not _MEMBER.fullmatch(path.name):
                path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        if os.name == "posix":
            folder.chmod(0o700)
        with writing(folder, BUSY_SECONDS):
            if (folder / FILE).exists() and not force:  # made while this one was checked
                raise GalleryBusy(f"Somebody made a gallery in {folder} meanwhile; add --force to replace it")
            for path in modelcopy.files(work):
                os.replace(path, folder / path.name)
            _replace_database(work / FILE, folder)
            with Store(folder) as store:
                modelcopy.sweep(modelcopy.files(folder), store.state.model_file)
                if not store.scrub():
                    raise GalleryBusy(
                        f"Restored, but another process still reads the older gallery in {folder}, which is on disk "
                        "until then; run `facedex reindex` when it is done"
                    )
    return counts


def _replace_database(new: Path, folder: Path) -> None:
    """Put a database in the place of another, in one step, so that open readers see it at their next query."""
    try:
        with Store(folder) as old:
            revision = old.state.revision
        with closing(sqlite3.connect(new, isolation_level=None)) as source:
            # Beyond both: what was projected of either is not taken for the other's.
            source.execute("UPDATE gallery SET revision = MAX(revision, ?) + 1", (revision,))
            source.execute("UPDATE gallery SET rewritten = revision")
            with closing(sqlite3.connect(folder / FILE, timeout=BUSY_SECONDS)) as target:
                target.execute("PRAGMA secure_delete = ON")
                source.backup(target)
        search.discard(folder)
    except (GalleryError, sqlite3.Error) as error:
        if isinstance(error, GalleryBusy) or "locked" in str(error) or "full" in str(error):
            raise GalleryBusy(f"{folder / FILE} cannot be replaced now ({error}); try again") from None
        # None is there, or it is damaged: there are no readers to keep in step.
        search.discard(folder)
        for end in ("-wal", "-shm"):
            (folder / f"{FILE}{end}").unlink(missing_ok=True)
        _flush(new)
        os.replace(new, folder / FILE)


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
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{source} is damaged or no backup ({error}); use another") from None


def _snapshot(source: Path, target: Path) -> None:
    try:
        with Store(source.parent) as store, closing(sqlite3.connect(target)) as out:
            store.copy_to(out)
    except sqlite3.Error as error:
        raise GalleryDamaged(f"{source} cannot be copied ({error}); run `facedex doctor`") from None


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
        beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".facedex-", dir=beside) as work:
            yield Path(work)
    except sqlite3.Error as error:
        raise GalleryError(f"{about} cannot be written ({error}); check space and permissions") from None
    except OSError as error:
        raise DataError(f"{about} cannot be read or written ({error.strerror or error}); check it") from None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
