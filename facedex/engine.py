"""Beyond one machine: what a search engine must do to hold a gallery's index, and which one a gallery uses.

gallery.db stays the truth. An engine is a projection of it, as the index in files is: it holds z = w * F f(x) of each face
and finds the nearest by L1, and whatever it says is checked against the truth (see remote.py).

PostgreSQL with pgvector is supported (postgresql.py); `open_engine` is where another would come in. Why that one: of the
two engines that know the L1 distance, it is the one whose true server comes out of a Python package, so that its protocol,
time-outs, restarts and an engine that is away are tested wherever the tests run. Qdrant's server does not (only its core,
in process, and a re-implementation in Python do); it has shards of its own. Both search the same kind of graph. Of 20,000
generated people pgvector 0.8.5 found 88.3 % of the five nearest at its default (ef 40), 97.3 % at 160, 98.7 % at 250 and
99.97 % at 1,000, which is where the tuning stopped for 99.9 % (`python scripts/engine_coverage.py FACES.npz`, 600 probes that
had no part in it, on 2026-11-25, on two shared virtual CPU cores, x86-64, no GPU).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import numpy as np

from facedex.errors import DataError, EngineError, GalleryError, MissingExtra
from facedex.modelfile import patiently, replace_file
from facedex.store import Store

BINDING_FILE = "engine.json"
FORMAT = "facedex-engine/1"
FILES = "files"  # in the place of a URL: the index in the gallery's own folder
RANGE = 4096  # ids that are compared by one sum of marks: sums stay below 2^63


class Outdated(Exception):
    """What an engine was asked about has been replaced there; look again. Never leaves the library."""


@dataclass(frozen=True)
class Key:
    """Whose rows these are: several galleries, and a gallery's several models, may share an engine."""

    gallery: str  # a UUID
    model: str  # fingerprints
    head: str
    dim: int


@dataclass(frozen=True)
class Summary:
    """What an engine holds for a key: as Store counts it, and how its search was tuned."""

    faces: int
    digest: int
    last_id: int
    revision: int  # of the gallery, when it was last brought up to date
    tuned: dict[str, Any]


@dataclass(frozen=True)
class Hits:
    """The rows an engine finds nearest: `ids` (m,) int64, `z` (m, dim) float32, and the digest of all rows then."""

    ids: np.ndarray
    z: np.ndarray
    digest: int


class Engine(Protocol):
    """The rows (id, mark, z) of one Key in a search engine.

    Every call may be repeated without harm, and repeats itself, with growing pauses, when the connection breaks.
    All raise EngineAway when the engine does not answer in time, EngineError when it refuses, and Outdated when another
    process has put other rows in the place of these.
    """

    efforts: tuple[int, ...]  # how far a search may look, least first
    graphs: int  # how many kinds of graph `finish` can build, the quickest first

    def summary(self) -> Summary | None:
        """What readers find; None where nothing was published for this key."""

    def add(self, ids: np.ndarray, marks: np.ndarray, z: np.ndarray, revision: int) -> None:
        """Put rows in, in the place of those with the same ids."""

    def remove(self, ids: np.ndarray, revision: int) -> None:
        """Delete rows, from the engine's files too as far as it does that."""

    def search(self, z: np.ndarray, k: int, effort: int) -> Hits:
        """The `k` rows nearest to z (dim,) by L1, in the engine's order; `effort` 0 looks at every row."""

    def digests(self) -> dict[int, tuple[int, int]]:
        """Count and sum of the marks of each RANGE of ids, by id // RANGE: from the rows themselves."""

    def marks(self, part: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and marks in one RANGE of ids, two (n,) int64 arrays."""

    def renewed(self) -> Engine:
        """Room for new rows of this key, which nobody sees before `publish`."""

    def finish(self, graph: int) -> None:
        """Build what makes searching fast, of a kind below `graphs`; in the place of an earlier one."""

    def publish(self, revision: int, tuned: dict[str, Any]) -> None:
        """From now on these are the rows that readers find; all others of this gallery are deleted."""

    def drop(self) -> None:
        """Delete everything of this gallery, whatever the model."""

    def close(self) -> None:
        """Close the connection; safe to call twice."""


@dataclass(frozen=True)
class Binding:
    """Where a gallery's index is: the URL of an engine and the gallery's name there, or FILES and nothing.

    `left` are (URL, name) of engines that may hold rows of it besides, which have to go: a move may be interrupted.
    """

    url: str = FILES
    gallery: str = ""  # a UUID, so that a copy of the gallery, which gets another, leaves these rows alone
    left: tuple[tuple[str, str], ...] = ()
    format: str = FORMAT
    seal: str = ""  # SHA-256 of all of the above

    @property
    def place(self) -> tuple[str, str]:
        return self.url, self.gallery

    def sealed(self) -> Binding:
        text = json.dumps(asdict(replace(self, seal="")))
        return replace(self, seal=hashlib.sha256(text.encode()).hexdigest())

    def given_up(self) -> Binding:
        """The index in files, and the rows in this engine to be cleared."""
        left = self.left if self.url == FILES else (*self.left, self.place)
        return Binding(left=tuple(dict.fromkeys(left)))

    def note(self) -> str | None:
        """As it is kept; None where nothing has to be."""
        return None if self == Binding() else json.dumps(asdict(self.sealed()), indent=1)


def read_binding(store: Store) -> Binding:
    """Where a gallery's index is: as its database says, or where that says nothing that can be read, the copy beside it.
    Raises EngineError where neither can be read.
    """
    said = False
    for look in (lambda: store.engine_note, lambda: _copied(store.path.parent)):
        if (note := look()) is not None:
            said = True
            if (binding := _understood(note)) is not None:
                return binding
    if not said:
        return Binding()
    raise EngineError(
        f"Where {store.path.parent} keeps its index can be read neither in {store.path.name} nor in {BINDING_FILE}; name "
        "the engine anew by `facedex reindex --index URL`, or bring the index back by `--index files`"
    )


def write_binding(store: Store, binding: Binding) -> None:
    """Note where a gallery's index is, in its database and in the copy; whoever calls holds the writer's place.

    Raises GalleryError; what was noted before holds then.
    """
    if binding.note() is None:
        write_copy(store.path.parent, binding)  # goes first: where the database says nothing, the copy counts
        if store.engine_note is not None:
            store.note_engine(None)
    else:
        store.note_engine(binding.note())
        with suppress(GalleryError):  # `mend_binding` does it
            write_copy(store.path.parent, binding)


def write_copy(folder: Path, binding: Binding) -> None:
    """A copy of what the database notes, for the day when that is damaged or replaced. Raises GalleryError."""
    path, note = folder / BINDING_FILE, binding.note()
    try:
        if note is None:
            patiently(partial(path.unlink, missing_ok=True))
        else:
            replace_file(path, note.encode(), private=True)
    except OSError as error:
        raise GalleryError(f"{path} cannot be written ({error.strerror}); check space and permissions") from None


def give_up_copy(folder: Path) -> None:
    """Of a gallery whose database is lost: note in the copy that its rows are to be cleared. Raises GalleryError."""
    if (binding := _understood(_copied(folder) or "")) is not None:
        write_copy(folder, binding.given_up())


def mend_binding(store: Store) -> bool:
    """Make database and copy say the same, as `read_binding` reads it, and whether that was needed; whoever calls holds
    the writer's place. Raises EngineError as `read_binding`, GalleryError.
    """
    binding = read_binding(store)
    wanted = binding.note()
    if store.engine_note == wanted == _copied(store.path.parent):
        return False
    write_binding(store, binding)
    return True


def _copied(folder: Path) -> str | None:
    """What the copy says, whether or not that makes sense; None where there is none."""
    try:
        return patiently((folder / BINDING_FILE).read_bytes).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _understood(note: str) -> Binding | None:
    """A note as it was written; None for one that was altered."""
    try:
        facts = json.loads(note)
        binding = Binding(**{**facts, "left": tuple((str(url), str(name)) for url, name in facts["left"])})
        if binding.format == FORMAT and binding.sealed() == binding:
            return replace(binding, seal="")
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None


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
        from facedex.postgresql import PostgresEngine
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
