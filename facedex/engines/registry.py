"""Finds a search engine by the scheme of its URL."""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import cast
from urllib.parse import parse_qs, urlsplit

from facedex.engines.engine import Engine, Key
from facedex.errors import DataError, EngineError, MissingExtra

# URL scheme: (module:class, feature, the extra that it needs). The class is called with (url, key): see engine.Engine.
ENGINES = {
    "postgresql": ("facedex.engines.postgresql:PostgresEngine", "An index in PostgreSQL", "pgvector"),
    "postgres": ("facedex.engines.postgresql:PostgresEngine", "An index in PostgreSQL", "pgvector"),
}


def new_place(url: str) -> tuple[str, str]:
    """The URL, and a new UUID as the name of a gallery that is new to this engine. Raises DataError as `check_url`."""
    check_url(url)
    return url, str(uuid.uuid4())


def check_url(url: str) -> None:
    """Raise DataError for a URL without a known scheme, or with a password, which the gallery would store in clear."""
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None or any("password" in name for name in parse_qs(parts.query))
    except ValueError as error:
        raise DataError(f"The engine's address is no URL ({error}); give postgresql://USER@HOST/DATABASE") from None
    if parts.scheme not in ENGINES:
        raise DataError(
            f"No engine has the scheme of {url!r}; known are {', '.join(ENGINES)}, so give "
            "postgresql://USER@HOST/DATABASE?table=NAME, or `files`"
        )
    if has_password:
        raise DataError(
            "The engine's URL holds a password, which the gallery would store in clear; put the password in PGPASSWORD "
            "or ~/.pgpass"
        )


def open_engine(url: str, key: Key) -> Engine:
    """The engine of a URL; it connects at first use. Raises MissingExtra, and DataError as `check_url` does."""
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

    Raises EngineError where the URL cannot be used or a Python package is missing: the gallery cannot reach its engine.
    """
    try:
        return open_engine(url, key)
    except (MissingExtra, DataError) as error:
        raise EngineError(f"{error}; or bring the index back with `facedex reindex --index files`") from None
