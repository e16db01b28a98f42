"""Scores of all pairs of faces, block by block: 50 million pairs in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.errors import DataError
from facedex.evaluation.matchers import Matcher

_ROWS, _COLUMNS = 1024, 1024  # faces on each side of a block
_BINS = 2**16  # of the histogram of impostor scores
# This share of the impostor pairs keeps exact scores, enough for FMR = 1e-2, but never more pairs than _MOST_TAIL.
_SHARE = 0.0125
_MOST_TAIL = 4_000_000
_MOST_GENUINE = 2_000_000
_SAMPLE = 100_000  # impostor pairs that show where the tail begins

Indices = NDArray[np.integer[Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs with their scores, highest first: `scores` (n,) float32, and `i` and `j` (n,), the two faces' positions."""

    scores: NDArray[np.float32]
    i: Indices
    j: Indices

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> ScoredPairs:
        return ScoredPairs(self.scores[chosen], self.i[chosen], self.j[chosen])


@dataclass(frozen=True)
class AllPairs:
    """All pairs i < j of n faces.

    `people` (n,) int is the person of each face. `genuine` holds every one of the `genuine_pairs` pairs of one person,
    or a random two million of them. There are `impostors` pairs of two people:

    - `tail` holds the highest exactly;
    - `counts` (bins,) is the histogram of the others, over the scores `values` (bins,) float32;
    - `body` is a random sample of the others.

    The FMR of a threshold in the tail is exact. Below the tail it is exact to one of 65,536 bins.
    """

    people: Indices
    genuine: ScoredPairs
    genuine_pairs: int
    impostors: int
    tail: ScoredPairs
    values: NDArray[np.float32]
    counts: NDArray[np.int64]
    body: ScoredPairs

    def impostor_scores(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Impostor scores, highest first, and how many pairs each counts for: one in the tail, more in a bin."""
        filled = np.flatnonzero(self.counts)[::-1]
        return (
            np.concatenate([self.tail.scores, self.values[filled]]),
            np.concatenate([np.ones(len(self.tail)), self.counts[filled]]),
        )


def all_pairs(
    matcher: Matcher,
    points: NDArray[np.float32],
    people: Indices,
    seed: int = 0,
    progress: Progress | None = None,
) -> AllPairs:
    """Score all pairs of n points (n, dim), which Matcher.points made. `people` (n,) int is in rising order.

    `progress` is called with the rows done and the rows in all. Raises DataError when nobody has two faces, or when
    all faces show one person.
    """
    n = len(people)
    if (np.diff(people) < 0).any():
        raise ValueError("people must be in rising order")
    sizes = np.unique(people, return_counts=True)[1].astype(np.int64)
    impostors = (n * n - int((sizes**2).sum())) // 2
    if not impostors or sizes.max(initial=0) < 2:
        raise DataError("Comparing needs two people, and two photos of one of them; add photos")
    rng = np.random.default_rng([seed, 0xA11])
    genuine = _scored(matcher, points, *_genuine_pairs(people, rng))
    body = _scored(matcher, points, *_random_impostors(people, min(_SAMPLE, 4 * impostors), rng))

    # The sample shows where the tail begins. The margins make it rare that a second pass is needed.
    wanted = min(max(1000, int(np.ceil(_SHARE * impostors))), _MOST_TAIL, impostors)
    low, high = float(body.scores[-1]), float(max(body.scores[0], genuine.scores[0]))
    low -= 0.05 * (high - low) + 1e-6
    share = 1.25 * wanted / impostors
    while True:
        place = int(share * len(body)) + 20
        cutoff = float(body.scores[place]) if place < len(body) else -np.inf
        counts, tail = _scan_impostors(matcher, points, people, cutoff, low, high, progress)
        if len(tail) >= wanted:
            break
        share *= 2
    order = np.argsort(-tail.scores, kind="stable")[:wanted]
    tail = tail[order]

    width = (high - low) / _BINS
    values = (low + width * (np.arange(_BINS) + 0.5)).astype(np.float32)
    np.subtract.at(counts, _bin(tail.scores, low, high), 1)
    below = body.scores < tail.scores[-1]
    genuine_pairs = int((sizes * (sizes - 1)).sum()) // 2
    values = np.minimum(values, tail.scores[-1])
    return AllPairs(people, genuine, genuine_pairs, impostors, tail, values, counts, body[below])


def _scan_impostors(
    matcher: Matcher,
    points: NDArray[np.float32],
    people: Indices,
    cutoff: float,
    low: float,
    high: float,
    progress: Progress | None,
) -> tuple[NDArray[np.int64], ScoredPairs]:
    """One pass over all impostor pairs: their histogram, and those at or above the cutoff in any order."""
    n = len(people)
    counts = np.zeros(_BINS, np.int64)
    kept: list[tuple[NDArray[np.float32], Indices, Indices]] = []
    for top in range(0, n, _ROWS):
        rows = slice(top, min(top + _ROWS, n))
        for left in range(top, n, _COLUMNS):
            columns = slice(left, min(left + _COLUMNS, n))
            scores = matcher.block(points[rows], points[columns])
            hidden = 0
            # People are in rising order, so only blocks near the diagonal hold genuine pairs, or pairs with i >= j.
            if people[rows.stop - 1] >= people[left]:
                skip = people[rows, None] >= people[None, columns]
                hidden = int(skip.sum())
                scores[skip] = -np.inf
            flat = scores.ravel()
            counts += np.bincount(_bin(flat, low, high), minlength=_BINS)
            counts[0] -= hidden
            found = np.flatnonzero(flat >= cutoff) if np.isfinite(cutoff) else np.flatnonzero(flat > cutoff)
            i, j = np.divmod(found, scores.shape[1])
            kept.append((flat[found], (i + top).astype(np.int32), (j + left).astype(np.int32)))
        if progress:
            progress(rows.stop, n)
    return counts, ScoredPairs(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))


def _bin(scores: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint16]:
    """The histogram bin of each score, (n,) uint16."""
    place: NDArray[np.float32] = scores - np.float32(low)
    place *= np.float32(_BINS / (high - low))
    np.clip(place, 0, _BINS - 1, out=place)
    bins: NDArray[np.uint16] = place.astype(np.uint16)
    return bins


def _scored(matcher: Matcher, points: NDArray[np.float32], i: Indices, j: Indices) -> ScoredPairs:
    """The pairs (i, j) with their scores, highest first."""
    scores = matcher.listed(points, i, j)
    order = np.argsort(-scores, kind="stable")
    return ScoredPairs(scores[order], i[order].astype(np.int32), j[order].astype(np.int32))


def _genuine_pairs(people: Indices, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Positions of all pairs of one person's faces, or of a random `_MOST_GENUINE` of them, drawn with replacement."""
    starts, sizes = np.unique(people, return_index=True, return_counts=True)[1:]
    pairs = sizes.astype(np.int64) * (sizes - 1) // 2
    if pairs.sum() <= _MOST_GENUINE:
        upper = {int(size): np.triu_indices(size, 1) for size in np.unique(sizes)}
        i, j = (
            np.concatenate([start + upper[int(size)][side] for start, size in zip(starts, sizes, strict=True)])
            for side in (0, 1)
        )
        return i, j
    person = rng.choice(len(sizes), _MOST_GENUINE, p=pairs / pairs.sum())
    first = rng.integers(sizes[person])
    second = rng.integers(sizes[person] - 1)
    return starts[person] + first, starts[person] + second + (second >= first)


def _random_impostors(people: Indices, wanted: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Positions of `wanted` pairs of two people's faces, drawn with replacement."""
    found: list[tuple[Indices, Indices]] = []
    missing = wanted
    while missing > 0:
        i, j = rng.integers(len(people), size=(2, 2 * wanted))
        usable = np.flatnonzero(people[i] != people[j])[:missing]
        found.append((i[usable], j[usable]))
        missing -= len(usable)
    i, j = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return i, j
