"""Finds a search engine by the scheme of its URL."""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import cast
from urllib.parse import parse_qs, urlsplit

from facedex.engines.engine import Engine, Key
from facedex.errors import DataError, EngineError, MissingExtra

# URL scheme: (module:class, feature, extra that it needs). A class is called with (url, key), see engine.Engine.
ENGINES = {
    "postgresql": ("facedex.engines.postgresql:PostgresEngine", "An index in PostgreSQL", "pgvector"),
    "postgres": ("facedex.engines.postgresql:PostgresEngine", "An index in PostgreSQL", "pgvector"),
}


def new_place(url: str) -> tuple[str, str]:
    """The URL and a new UUID, under which a gallery that was never in this engine keeps its rows there.

    Raises DataError as `check_url` does.
    """
    check_url(url)
    return url, str(uuid.uuid4())


def check_url(url: str) -> None:
    """Raises DataError for a URL without a known scheme, or with a password, which the gallery would store in clear."""
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None or any("password" in name for name in parse_qs(parts.query))
    except ValueError as error:
        raise DataError(f"The engine's address is no URL ({error}); postgresql://USER@HOST/DATABASE is one") from None
    if parts.scheme not in ENGINES:
        raise DataError(
            f"There is no engine for {url!r}; known schemes are {', '.join(ENGINES)}: give "
            "postgresql://USER@HOST/DATABASE?table=NAME, or `files`"
        )
    if has_password:
        raise DataError(
            "The engine's URL holds a password, which the gallery would keep in clear; leave it out and put it in "
            "PGPASSWORD or ~/.pgpass"
        )


def open_engine(url: str, key: Key) -> Engine:
    """The engine of a URL, which connects at its first use. Raises MissingExtra, and DataError as `check_url` does."""
    check_url(url)
    target, feature, extra = ENGINES[urlsplit(url).scheme]
    module, _, name = target.partition(":")
    try:
        engine_class = getattr(import_module(module), name)
    except ImportError:
        raise MissingExtra(feature, extra) from None
    return cast(Engine, engine_class(url, key))


def bound_engine(url: str, key: Key) -> Engine:
    """The engine that a gallery already uses.

    Raises EngineError where the URL or a Python package is at fault: for the gallery the engine is then out of reach.
    """
    try:
        return open_engine(url, key)
    except (MissingExtra, DataError) as error:
        raise EngineError(f"{error}; or bring the index back by `facedex reindex --index files`") from None
