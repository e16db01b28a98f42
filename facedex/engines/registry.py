"""Search engines by the scheme of their URL."""

from __future__ import annotations

import uuid
from urllib.parse import parse_qs, urlsplit

from facedex.engines.engine import Engine, Key
from facedex.errors import DataError, EngineError, MissingExtra


def new_place(url: str) -> tuple[str, str]:
    """For a gallery that never was in this engine. Raises DataError as `check_url`."""
    check_url(url)
    return url, str(uuid.uuid4())


def check_url(url: str) -> None:
    """Raises DataError for a URL of no engine we know, or one that holds a password, which would be kept in clear."""
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or any("password" in name for name in parse_qs(parts.query))
    except ValueError as error:
        raise DataError(f"The engine's address is no URL ({error}); postgresql://USER@HOST/DATABASE is one") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise DataError(f"There is no engine for {url!r}; give postgresql://USER@HOST/DATABASE?table=NAME, or `files`")
    if secret:
        raise DataError(
            "The engine's URL holds a password, which the gallery would keep in clear; leave it out and put it in "
            "PGPASSWORD or ~/.pgpass"
        )


def open_engine(url: str, key: Key) -> Engine:
    """An engine by its URL; connects at first use. Raises MissingExtra, DataError as `check_url`."""
    check_url(url)
    try:
        from facedex.engines.postgresql import PostgresEngine
    except ImportError:
        raise MissingExtra("An index in PostgreSQL", "pgvector") from None
    return PostgresEngine(url, key)


def bound_engine(url: str, key: Key) -> Engine:
    """The engine that a gallery uses already: a package that is missing here is one more way for it to be out of reach.
    Raises EngineError.
    """
    try:
        return open_engine(url, key)
    except (MissingExtra, DataError) as error:
        raise EngineError(f"{error}; or bring the index back by `facedex reindex --index files`") from None
