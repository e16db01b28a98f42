"""A connection to PostgreSQL with pgvector: made when it is first needed and anew when it breaks, with a time-out for
everything, and its errors as ours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import psycopg
from pgvector.psycopg import register_vector
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from facedex.errors import DataError, EngineAway, EngineError

TABLE = "facedex"  # where the URL names none

_CONNECT_SECONDS = 5
_SEARCH_SECONDS = 15
_WRITE_SECONDS = 120
_PATIENCE = {"search": 3.0, "write": 20.0}  # seconds after which no further attempt is made
_PAUSE = 0.1  # before the second attempt, and twice as long before each further one

T = TypeVar("T")


class Connection:
    """To the database of a URL; `table` is the name that the URL gives to ours. Not for several threads at once."""

    def __init__(self, url: str) -> None:
        """Connects at first use. Raises DataError for a URL that libpq does not take."""
        self._url = url
        self._parameters, self.table = _parsed(url)
        self._db: psycopg.Connection | None = None

    def close(self) -> None:
        """Safe to call twice; whoever needs it again connects anew."""
        if self._db is not None:
            self._db.close()
        self._db = None

    def tried(self, kind: str, work: Callable[[psycopg.Connection], T], seconds: int | None = None) -> T:
        """Do `work`, a "search" or a "write", again after a pause when the connection breaks, as long as patience
        lasts.

        `seconds` is its time-out, 0 none. Raises EngineAway, EngineError; UndefinedTable and InvalidSchemaName, which
        only the caller understands, as they are.
        """
        if seconds is None:
            seconds = _SEARCH_SECONDS if kind == "search" else _WRITE_SECONDS
        until, pause = time.monotonic() + _PATIENCE[kind], _PAUSE
        while True:
            try:
                return self._timed(work, seconds)
            except (errors.UndefinedTable, errors.InvalidSchemaName):
                raise
            except errors.QueryCanceled:
                raise EngineAway(
                    f"{self._url} did not answer within {seconds} seconds; try again when it has less to do"
                ) from None
            except (errors.DiskFull, errors.ReadOnlySqlTransaction, errors.OutOfMemory) as error:
                raise EngineError(
                    f"{self._url} cannot take this ({_said(error)}); what is in the gallery is safe, "
                    "try again when that is mended"
                ) from None
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.close()
                if time.monotonic() + pause > until:
                    raise EngineAway(
                        f"{self._url} does not answer ({_said(error)}); start it, or bring the index back into the "
                        "gallery's folder by `facedex reindex --index files`"
                    ) from None
                time.sleep(pause)
                pause *= 2
            except psycopg.Error as error:
                self.close()  # what it had learnt of the database may no longer be so
                raise EngineError(
                    f"{self._url} refuses ({_said(error)}); see to that, or bring the index back by "
                    "`facedex reindex --index files`"
                ) from None

    def _timed(self, work: Callable[[psycopg.Connection], T], seconds: int) -> T:
        db = self._connected()
        outer = db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE and seconds != _SEARCH_SECONDS
        if outer:
            db.execute(f"SET statement_timeout = {1000 * seconds}")
        try:
            return work(db)
        finally:
            if outer:
                with suppress(psycopg.Error):
                    db.execute(f"SET statement_timeout = {1000 * _SEARCH_SECONDS}")

    def _connected(self) -> psycopg.Connection:
        if self._db is None or self._db.closed:
            db = psycopg.connect(self._parameters, autocommit=True)
            try:
                db.execute(f"SET statement_timeout = {1000 * _SEARCH_SECONDS}")
                with suppress(
                    errors.InsufficientPrivilege,
                    errors.UndefinedFile,
                    errors.FeatureNotSupported,
                    errors.UniqueViolation,
                    errors.ReadOnlySqlTransaction,
                ):
                    db.execute("CREATE EXTENSION IF NOT EXISTS vector")
                row = db.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
                if row is None or tuple(int(part) for part in re.findall(r"\d+", row[0])[:2]) < (0, 7):
                    raise EngineError(
                        f"{self._url} has no pgvector 0.7 or newer; install it, then run CREATE EXTENSION vector"
                    )
                register_vector(db)
                db.execute("SELECT '[1]'::vector")  # loads the library, so that hnsw.ef_search is known
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db


def _parsed(url: str) -> tuple[str, str]:
    """What libpq is given, and the table's name. Raises DataError."""
    before, _, query = url.partition("?")
    name = dict(parse_qsl(query)).get("table", TABLE)
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,39}", name):
        raise DataError(f"{name!r} cannot be a table's name; take small letters, digits and _, forty at most")
    theirs = [part for part in query.split("&") if part and part.partition("=")[0] != "table"]
    rest = before + ("?" if theirs else "") + "&".join(theirs)  # as it is written: libpq reads it in its own way
    try:
        given = conninfo_to_dict(rest)
    except (psycopg.Error, UnicodeError) as error:
        raise DataError(f"{url} cannot be used ({_said(error)}); check the URL") from None
    # A host that vanished is noticed within seconds, not when TCP gives up.
    ours: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "facedex",
        "client_encoding": "UTF8",
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    return make_conninfo("", **{**ours, **given}), name


def _said(error: Exception) -> str:
    """An engine's message on one line."""
    return re.sub(r"\s+", " ", str(error)).strip().rstrip(".;") or type(error).__name__
