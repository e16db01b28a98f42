"""An open SQLite file: how it is opened, read, changed and scrubbed, and its errors as facedex's."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from facedex.errors import GalleryBusy, GalleryDamaged, GalleryError
from facedex.store import lock
from facedex.store.rows import Row

Stamp = tuple[int, int, int]  # a database's size in bytes and time of change in ns, and the size of its log

MOST_VALUES = 400  # ids or names in one query: older SQLite allows 999 values in a statement
_CACHE = 16_384  # kB of pages that SQLite keeps


class _Opened:
    """A thread's connection. `stamp`: see `connect`. `lock` is held while the thread uses the connection."""

    def __init__(self, connection: sqlite3.Connection, stamp: Stamp | None) -> None:
        self.connection, self.stamp, self.lock = connection, stamp, threading.RLock()


class Database:
    """An open SQLite database in WAL mode. Every method raises GalleryError or one of its kinds.

    Foreign keys are enforced, deleted rows are overwritten, and a commit is on disk before it returns. Threads may
    share a Database: each has a connection of its own, because a connection has one transaction at a time.
    """

    def __init__(self, path: Path) -> None:
        """Open a file, or make it readable by its owner alone."""
        self.path = path
        self._opened: dict[threading.Thread, _Opened] = {}
        self._guard = threading.Lock()  # held while `_opened` changes
        self._closed = False
        with translated(path):
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._own()
        _databases.add(self)

    def close(self) -> None:
        """Close the connections of all threads; safe to call twice. Waits for queries that threads are running."""
        self._closed = True
        with self._guard:
            for opened in self._opened.values():
                with opened.lock:
                    opened.connection.close()
            self._opened.clear()

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection. Raises sqlite3.Error, OSError, GalleryError when the database is closed."""
        return self._own().connection

    def rows(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
        """All rows of a query."""
        with self._using() as opened:
            return opened.connection.execute(query, values).fetchall()

    def rows_for(self, query: str, values: Iterable[object]) -> list[Row]:
        """The rows of a query for many values, whose marks replace its braces."""
        unique = list(dict.fromkeys(values))
        parts = [unique[start : start + MOST_VALUES] for start in range(0, len(unique), MOST_VALUES)]
        return [row for part in parts for row in self.rows(query.format(",".join("?" * len(part))), part)]

    def execute(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run one statement; returns how many rows it changed."""
        with self._using() as opened:
            return opened.connection.execute(statement, values).rowcount

    def execute_many(self, statement: str, rows: Iterable[Row]) -> None:
        """Run one statement for each row of values."""
        with self._using() as opened:
            opened.connection.executemany(statement, rows)

    def next_id(self, table: str) -> int:
        """The id that AUTOINCREMENT would give next: above every id that the table holds or ever held."""
        query = f"SELECT MAX(id) FROM {table} UNION ALL SELECT seq FROM sqlite_sequence WHERE name = ?"
        return 1 + max(int(last or 0) for (last,) in self.rows(query, (table,)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside are made, or none. They are on disk afterwards."""
        with self._using() as opened:
            opened.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                opened.connection.execute("COMMIT")
            except BaseException:
                if opened.connection.in_transaction:
                    opened.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one state of the database."""
        with self._using() as opened:
            opened.connection.execute("BEGIN")
            try:
                yield
                self.check_unchanged()
            finally:
                opened.connection.execute("COMMIT")

    def check_unchanged(self) -> None:
        """Raise GalleryBusy when a database that was opened as immutable has changed."""
        with self._using() as opened:
            if opened.stamp is not None and stamp(self.path) != opened.stamp:
                raise GalleryBusy(f"{self.path} was changed by another user meanwhile; open the gallery again")

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy the present state of the database, while others read and write (SQLite's backup API)."""
        with self._using() as opened:
            opened.connection.backup(target)

    @property
    def version(self) -> int:
        """A number that changes whenever another connection than this thread's commits a change."""
        return int(self.rows("PRAGMA data_version")[0][0])

    @property
    def scrubbed(self) -> int:
        """The number that the last completed `scrub` was given."""
        return int(self.rows("PRAGMA user_version")[0][0])

    def scrub(self, revision: int) -> bool:
        """Clear deleted rows out of the log and the free pages, then note `revision` in `user_version`.

        Returns False while a reader holds a snapshot. The note comes last, so that a scrub that was cut short is seen.
        """
        with self._using() as opened:
            if not _empty_log(opened.connection):
                return False
            opened.connection.execute("VACUUM")
            if not _empty_log(opened.connection):
                return False
            opened.connection.execute(f"PRAGMA user_version = {revision}")
            _empty_log(opened.connection)
            return True

    def close_idle(self) -> None:
        """Close the connections that no thread is using. A thread that comes back gets a new one."""
        with self._guard:
            for thread, opened in list(self._opened.items()):
                if opened.lock.acquire(blocking=False):
                    try:
                        if not opened.connection.in_transaction:
                            opened.connection.close()
                            del self._opened[thread]
                    finally:
                        opened.lock.release()

    def forget_inherited(self) -> None:
        """In a forked process: never use, and never close, a connection of the parent process."""
        self._guard = threading.Lock()  # a thread of the parent may hold the inherited one for ever
        _inherited.extend(self._opened.values())
        self._opened = {}

    @contextmanager
    def _using(self) -> Iterator[_Opened]:
        """This thread's connection, which `close` and `close_idle` leave open meanwhile."""
        with translated(self.path):
            while True:
                opened = self._own()
                with opened.lock:
                    if self._opened.get(threading.current_thread()) is opened:  # else it was closed this moment
                        yield opened
                        return

    def _own(self) -> _Opened:
        """This thread's connection, opened at the thread's first use of the database."""
        thread = threading.current_thread()
        opened = self._opened.get(thread)
        if opened is None:
            with self._guard:
                if self._closed:
                    raise GalleryError(f"The gallery {self.path.parent} is closed; open it again")
                for other in [other for other in self._opened if not other.is_alive()]:
                    self._opened.pop(other).connection.close()
                opened = _Opened(*connect(self.path))
                self._opened[thread] = opened
            opened.connection.execute(f"PRAGMA cache_size = -{_CACHE}")
        return opened


# SQLite forbids a forked process to use or to close a connection of its parent, and its locks do not survive a fork
# (https://www.sqlite.org/howtocorrupt.html, 2.6). So idle connections are closed before a fork. Those that other
# threads are using at that moment stay open, unused, in the new process.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[_Opened] = []


def _before_fork() -> None:
    for database in list(_databases):
        database.close_idle()


def _after_fork() -> None:
    for database in list(_databases):
        database.forget_inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def _empty_log(connection: sqlite3.Connection) -> bool:
    """Write the log into the database and empty it; False while a reader needs it."""
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def connect(path: Path) -> tuple[sqlite3.Connection, Stamp | None]:
    """An open database, and its stamp where it was opened as immutable. Raises sqlite3.Error.

    In WAL mode SQLite needs files beside the database even to read it. On a read-only medium or a full disk it can
    make none. Where there is no log either, SQLite is told that the file is immutable. The stamp shows later whether
    that was true.
    """
    try:
        return _open(path, "mode=rw"), None  # in the usual mode SQLite would make an empty file where none is
    except sqlite3.OperationalError:
        if _has_room(path.parent) or not path.exists() or (before := stamp(path))[2]:
            raise
        return _open(path, "mode=ro&immutable=1"), before


def _open(path: Path, mode: str) -> sqlite3.Connection:
    """Open a database in a mode of SQLite's URIs. A change waits for another writer as long as for the write lock."""
    place = path.absolute().as_posix()  # on Windows C:/…, or //server/… with an empty host before it
    connection = sqlite3.connect(
        f"file://{'' if place.startswith('/') else '/'}{quote(os.fsencode(place), safe='/:')}?{mode}",
        timeout=lock.BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
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
