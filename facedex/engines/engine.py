"""Beyond one machine: what a search engine must do to hold a gallery's index, and which one a gallery uses.

gallery.db stays the truth. An engine is a projection of it, as the index in files is: it holds z = w * F f(x) of each face
and finds the nearest by L1, and whatever it says is checked against the truth (see remote.py).

PostgreSQL with pgvector is supported (postgresql.py); `open_engine` is where another would come in. Why that one: of the
two engines that know the L1 distance, it is the one whose true server comes out of a Python package, so that its protocol,
time-outs, restarts and an engine that is away are tested wherever the tests run. Qdrant's server does not (only its core,
in process, and a re-implementation in Python do); it has shards of its own. Both search the same kind of graph. Of 20,000
generated people pgvector 0.8.5 found 88.3 % of the five nearest at its default (ef 40), 97.3 % at 160, 98.7 % at 250 and
99.97 % at 1,000, which is where the tuning stopped for 99.9 % (`python -m scripts.benchmarks.engine_coverage FACES.npz`, 600 probes that
had no part in it, on 2026-11-25, on two shared virtual CPU cores, x86-64, no GPU).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

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
