"""SQLite as a gallery uses it: how it is opened, also where nothing can be written, and its errors as ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facedex.errors import GalleryBusy, GalleryDamaged, GalleryError

Stamp = tuple[int, int, int]  # size and time (ns) of a database, size of its log


def connect(path: Path, busy_seconds: float) -> tuple[sqlite3.Connection, Stamp | None]:
    """An open database, and its stamp where it is taken for one that nobody can change. Raises sqlite3.Error.

    WAL needs files beside the database even to be read. Where none can be made (a read-only medium, a full disk) and
    there is no log, SQLite is told that the file is immutable; `stamp` says whether that still holds.
    """
    try:
        return _open(path, busy_seconds), None
    except sqlite3.OperationalError:
        if _has_room(path.parent) or not path.exists() or (before := stamp(path))[2]:
            raise
        return _open(f"{path.absolute().as_uri()}?mode=ro&immutable=1", busy_seconds), before


def _open(where: Path | str, busy_seconds: float) -> sqlite3.Connection:
    db = sqlite3.connect(
        where, timeout=busy_seconds, isolation_level=None, check_same_thread=False, uri=isinstance(where, str)
    )
    try:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's own cache, which fsync leaves as it is
        db.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the file, which `connect` alone does not
    except BaseException:
        db.close()
        raise
    return db


def stamp(path: Path) -> Stamp:
    """What changes when a database does."""
    status = path.stat()
    try:
        log = path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        log = 0
    return status.st_size, status.st_mtime_ns, log


def _has_room(folder: Path) -> bool:
    """Whether SQLite can make its files in a folder: not on a read-only medium, nor on a full one."""
    probe = folder / f".room.{os.getpid()}.new"
    try:
        with open(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600), "wb", buffering=0) as file:
            return file.write(bytes(65536)) == 65536
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if text.startswith("Could not decode"):  # a text whose bytes are none any more, and which it quotes
            raise GalleryDamaged(f"{path} is damaged ({text}); run `facedex doctor`, or restore a copy") from None
        if "locked" in text or "busy" in text:
            raise GalleryBusy(f"{path} is being written by another process; try again when it is done") from None
        if "full" in text:
            raise GalleryError(
                f"{path} could not be written, the disk is full; free some space, nothing was changed"
            ) from None
        raise GalleryError(f"{path} cannot be used ({text}); check the folder's permissions and space") from None
    except sqlite3.IntegrityError:
        raise GalleryError(
            f"{path} holds one of these photos of the same person already; nothing was changed"
        ) from None
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite quotes a broken schema byte by byte
        raise GalleryDamaged(f"{path} is damaged ({error}); run `facedex doctor`, or restore a copy") from None
    except OSError as error:
        raise GalleryError(f"{path} cannot be used ({error.strerror}); check the folder's permissions") from None
