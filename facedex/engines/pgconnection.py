"""A connection to PostgreSQL with pgvector. It opens at first use and again after a break.

Every statement has a time-out, and psycopg's errors become facedex's.
"""

from __future__ import annotations

import os
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
from facedex.log import logger

_log = logger(__name__)

TABLE = "facedex"  # the table's name where the URL gives none

_CONNECT_SECONDS = 5
_SEARCH_SECONDS = 15
_WRITE_SECONDS = 120
_PATIENCE = {"search": 3.0, "write": 20.0}  # seconds after which no new attempt begins
_PAUSE = 0.1  # seconds before the second attempt; the pause doubles before each further attempt

T = TypeVar("T")


class Connection:
    """A connection to the database of a URL, for one thread at a time. `table`: the table's name in the URL."""

    def __init__(self, url: str) -> None:
        """Connects at first use. Raises DataError for a URL that libpq does not accept."""
        self._url = url
        self._parameters, self.table = _split_url(url)
        self._db: psycopg.Connection | None = None
        self._process = 0  # id of the process that opened it

    def close(self) -> None:
        """Close; safe to call twice, and the next `run` connects again."""
        if self._db is not None and self._process == os.getpid():  # else it is the parent's, who goes on with it
            self._db.close()
        self._db = None

    def run(self, kind: str, work: Callable[[psycopg.Connection], T], seconds: int | None = None) -> T:
        """Do `work`, and again after a pause each time the connection breaks, until the patience for its kind ends.

        `kind`: "search" or "write". `seconds`: the time-out of a statement; 0 for none. Raises EngineAway, EngineError.
        UndefinedTable and InvalidSchemaName pass through, because the caller knows what they mean.
        """
        if seconds is None:
            seconds = _SEARCH_SECONDS if kind == "search" else _WRITE_SECONDS
        deadline, pause = time.monotonic() + _PATIENCE[kind], _PAUSE
        while True:
            try:
                return self._run_once(work, seconds)
            except (errors.UndefinedTable, errors.InvalidSchemaName):
                raise
            except errors.QueryCanceled:
                raise EngineAway(
                    f"{self._url} did not answer within {seconds} seconds; try again when the server is less busy"
                ) from None
            except (errors.DiskFull, errors.ReadOnlySqlTransaction, errors.OutOfMemory) as error:
                raise EngineError(
                    f"{self._url} cannot store the rows ({_one_line(error)}); the gallery itself is safe, so try again "
                    "when the server has space and accepts changes"
                ) from None
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.close()
                if time.monotonic() + pause > deadline:
                    raise EngineAway(
                        f"{self._url} does not answer ({_one_line(error)}); start the server, or bring the index back "
                        "into the gallery's folder with `facedex reindex --index files`"
                    ) from None
                _log.warning("%s does not answer (%s); trying again in %.1f s", self._url, _one_line(error), pause)
                time.sleep(pause)
                pause *= 2
            except psycopg.Error as error:
                self.close()  # the connection may have cached facts, such as the type's id, that no longer hold
                raise EngineError(
                    f"{self._url} refuses a statement ({_one_line(error)}); correct that on the server, or bring the "
                    "index back with `facedex reindex --index files`"
                ) from None

    def _run_once(self, work: Callable[[psycopg.Connection], T], seconds: int) -> T:
        db = self._open()
        # Within a transaction the time-out of the outer call holds.
        idle = db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        another_timeout = idle and seconds != _SEARCH_SECONDS
        if another_timeout:
            db.execute(f"SET statement_timeout = {1000 * seconds}")
        try:
            return work(db)
        finally:
            if another_timeout:
                with suppress(psycopg.Error):
                    db.execute(f"SET statement_timeout = {1000 * _SEARCH_SECONDS}")

    def _open(self) -> psycopg.Connection:
        if self._db is None or self._db.closed or self._process != os.getpid():
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
                db.execute("SELECT '[1]'::vector")  # loads pgvector's library, which defines hnsw.ef_search
            except BaseException:
                db.close()
                raise
            self._db, self._process = db, os.getpid()
        return self._db


def _split_url(url: str) -> tuple[str, str]:
    """The connection string for libpq, and the table's name. Raises DataError."""
    before, _, query = url.partition("?")
    name = dict(parse_qsl(query)).get("table", TABLE)
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,39}", name):
        raise DataError(f"{name!r} cannot be a table's name; use at most 40 small letters, digits and _")
    # The other parameters stay as they are written, because libpq decodes them by rules of its own.
    others = [part for part in query.split("&") if part and part.partition("=")[0] != "table"]
    libpq_url = before + ("?" if others else "") + "&".join(others)
    try:
        given = conninfo_to_dict(libpq_url)
    except (psycopg.Error, UnicodeError) as error:
        raise DataError(f"{url} cannot be used ({_one_line(error)}); check the URL") from None
    # With these a host that has vanished is noticed within seconds, not when TCP gives up.
    defaults: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "facedex",
        "client_encoding": "UTF8",
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    return make_conninfo("", **{**defaults, **given}), name


def _one_line(error: Exception) -> str:
    """The server's message on one line."""
    return re.sub(r"\s+", " ", str(error)).strip().rstrip(".;") or type(error).__name__
