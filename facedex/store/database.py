"""An open SQLite file: how it is opened, read, changed and scrubbed, and its errors as facedex's."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from facedex.errors import GalleryBusy, GalleryDamaged, GalleryError
from facedex.store.rows import Row

Stamp = tuple[int, int, int]  # a database's size in bytes and time of change in ns, and the size of its log

_CACHE = 16_384  # kB of pages that SQLite keeps


class Database:
    """An open SQLite database in WAL mode. Every method raises GalleryError or one of its kinds.

    Foreign keys are enforced, deleted rows are overwritten, and a commit is on disk before it returns.
    """

    def __init__(self, path: Path, busy_seconds: float) -> None:
        """Open a file, or make it readable by its owner alone. A change waits `busy_seconds` for another writer."""
        self.path = path
        with translated(path):
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            self.connection, self._stamp = connect(path, busy_seconds)
            self.connection.execute(f"PRAGMA cache_size = -{_CACHE}")

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self.connection.close()

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Row]:
        """All rows of a query."""
        with translated(self.path):
            return self.connection.execute(query, values).fetchall()

    def execute(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run one statement; returns how many rows it changed."""
        with translated(self.path):
            return self.connection.execute(statement, values).rowcount

    def execute_many(self, statement: str, rows: Iterable[Row]) -> None:
        """Run one statement for each row of values."""
        with translated(self.path):
            self.connection.executemany(statement, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside are made, or none. They are on disk afterwards."""
        with translated(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one state of the database."""
        with translated(self.path):
            self.connection.execute("BEGIN")
            try:
                yield
                self.check_unchanged()
            finally:
                self.connection.execute("COMMIT")

    def check_unchanged(self) -> None:
        """Raise GalleryBusy when a database that was opened as immutable has changed."""
        if self._stamp is not None and stamp(self.path) != self._stamp:
            raise GalleryBusy(f"{self.path} was changed by another user meanwhile; open the gallery again")

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy the present state of the database, while others read and write (SQLite's backup API)."""
        with translated(self.path):
            self.connection.backup(target)

    @property
    def scrubbed(self) -> int:
        """The number that the last completed `scrub` was given."""
        return int(self.rows("PRAGMA user_version")[0][0])

    def scrub(self, revision: int) -> bool:
        """Clear deleted rows out of the log and the free pages, then note `revision` in `user_version`.

        Returns False while a reader holds a snapshot. The note comes last, so that a scrub that was cut short is seen.
        """
        with translated(self.path):
            if not self._empty_log():
                return False
            self.connection.execute("VACUUM")
            if not self._empty_log():
                return False
            self.connection.execute(f"PRAGMA user_version = {revision}")
            self._empty_log()
            return True

    def _empty_log(self) -> bool:
        busy, *_ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def connect(path: Path, busy_seconds: float) -> tuple[sqlite3.Connection, Stamp | None]:
    """An open database, and its stamp where it was opened as immutable. Raises sqlite3.Error.

    In WAL mode SQLite needs files beside the database even to read it. On a read-only medium or a full disk it can
    make none. Where there is no log either, SQLite is told that the file is immutable. The stamp shows later whether
    that was true.
    """
    try:
        return _open(path, busy_seconds), None
    except sqlite3.OperationalError:
        if _has_room(path.parent) or not path.exists() or (before := stamp(path))[2]:
            raise
        return _open(f"{path.absolute().as_uri()}?mode=ro&immutable=1", busy_seconds), before


def _open(location: Path | str, busy_seconds: float) -> sqlite3.Connection:
    """Open a database by its path or its URI."""
    connection = sqlite3.connect(
        location, timeout=busy_seconds, isolation_level=None, check_same_thread=False, uri=isinstance(location, str)
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # on macOS fsync leaves data in the drive's own cache
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # sqlite3.connect does not open the file yet
    except BaseException:
        connection.close()
        raise
    return connection


def stamp(path: Path) -> Stamp:
    """Numbers that differ when a database has changed. Raises OSError."""
    status = path.stat()
    try:
        log_size = path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        log_size = 0
    return status.st_size, status.st_mtime_ns, log_size


def _has_room(folder: Path) -> bool:
    """Whether SQLite can make its files in a folder: not on a read-only medium or a full disk."""
    trial = folder / f".room.{os.getpid()}.new"
    try:
        with open(os.open(trial, os.O_CREAT | os.O_WRONLY, 0o600), "wb", buffering=0) as file:
            return file.write(bytes(65536)) == 65536
    except OSError:
        return False
    finally:
        with suppress(OSError):
            trial.unlink()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the system into GalleryError and its kinds."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _operational(path, str(error)) from None
    except sqlite3.IntegrityError:
        raise GalleryError(
            f"{path} holds one of these photos of the same person already; nothing was changed"
        ) from None
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite quotes a broken schema byte by byte
        raise _damaged(path, str(error)) from None
    except OSError as error:
        raise GalleryError(f"{path} cannot be used ({error.strerror}); check the folder's permissions") from None


def _operational(path: Path, text: str) -> GalleryError:
    """The error for an OperationalError of SQLite, which has several causes."""
    if text.startswith("Could not decode"):  # a text column that is not UTF-8
        return _damaged(path, text)
    if "locked" in text or "busy" in text:
        return GalleryBusy(f"{path} is being written by another process; try again when it is done")
    if "full" in text:
        return GalleryError(f"{path} could not be written, the disk is full; free some space, nothing was changed")
    return GalleryError(f"{path} cannot be used ({text}); check the folder's permissions and space")


def _damaged(path: Path, text: str) -> GalleryDamaged:
    return GalleryDamaged(f"{path} is damaged ({text}); run `facedex doctor`, or restore a copy")
