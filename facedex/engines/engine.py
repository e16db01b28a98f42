"""What a search engine must do to hold a gallery's index on another machine.

gallery.db stays the truth. An engine holds z = w * F f(x) of each face and finds the nearest by L1. Its answers are
checked against gallery.db (facedex/index/remote.py). README.md says why PostgreSQL came first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

RANGE = 4096  # ids per digest: the sum of so many 48-bit marks stays below 2^63


class Outdated(Exception):
    """Another process has replaced these rows in the engine. The caller reads again; no user ever sees this error."""


@dataclass(frozen=True)
class Key:
    """Identifies the rows of one gallery and model, because several may share an engine."""

    gallery: str  # a UUID
    model: str  # fingerprint
    head: str  # fingerprint
    dim: int  # numbers in z


@dataclass(frozen=True)
class Summary:
    """The rows that an engine holds for a key, counted as Store counts faces, and how their search was tuned."""

    faces: int
    digest: int
    last_id: int
    revision: int  # of the gallery, when the rows were last updated
    tuned: dict[str, Any]


@dataclass(frozen=True)
class Hits:
    """The nearest rows: `ids` (m,) int64 and `z` (m, dim) float32, with the digest of all rows at that moment."""

    ids: np.ndarray
    z: np.ndarray
    digest: int


class Engine(Protocol):
    """The rows (id, mark, z) of one Key in a search engine.

    Every call may be repeated without harm. An engine repeats a call, with growing pauses, when the connection breaks.
    All calls raise EngineAway when the engine does not answer in time, EngineError when it refuses, and Outdated when
    another process has replaced these rows.

    A class in registry.ENGINES is called with (url, key): the URL that the user gave, str, and the Key of the rows. The
    call does not connect; the first use does. The call raises DataError for a URL that the engine cannot use.
    """

    efforts: tuple[int, ...]  # search depths, ascending: a deeper search finds more and takes longer
    graphs: int  # how many kinds of graph `finish` can build, the quickest first

    def summary(self) -> Summary | None:
        """The published rows summed up; None where nothing was published for this key."""

    def add(self, ids: np.ndarray, marks: np.ndarray, z: np.ndarray, revision: int) -> None:
        """Insert rows; rows with the same ids are replaced."""

    def remove(self, ids: np.ndarray, revision: int) -> None:
        """Delete rows, and their traces in the engine's files as far as the engine is able to."""

    def search(self, z: np.ndarray, k: int, effort: int) -> Hits:
        """The `k` rows nearest to z (dim,) by L1, in the engine's order; `effort` 0 looks at every row."""

    def digests(self) -> dict[int, tuple[int, int]]:
        """Count and sum of the marks in each RANGE of ids, by id // RANGE, computed from the rows themselves."""

    def marks(self, part: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and marks of the rows whose id // RANGE is `part`: two (n,) int64 arrays."""

    def renewed(self) -> Engine:
        """A new, empty set of rows for this key, which readers do not see before `publish`."""

    def finish(self, graph: int) -> None:
        """Build the search graph number `graph` (below `graphs`), which replaces an earlier graph."""

    def publish(self, revision: int, tuned: dict[str, Any]) -> None:
        """Let readers find these rows, and delete all other rows of this gallery."""

    def drop(self) -> None:
        """Delete all rows of this gallery, for every model."""

    def close(self) -> None:
        """Close the connection; safe to call twice."""
