"""Scores of all pairs of faces, block by block: what 50 million of them say, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facedex.errors import DataError
from facedex.evaluation.matchers import Matcher

_ROWS, _COLUMNS = 1024, 1024
_BINS = 2**16
_SHARE = 0.0125  # of the impostor pairs kept with their exact scores: enough for FMR = 1e-2 …
_MOST_TAIL = 4_000_000  # … unless that were more than these
_MOST_GENUINE = 2_000_000
_SAMPLE = 100_000


@dataclass(frozen=True)
class Scored:
    """Pairs with their scores, highest first: `scores` (n,) float32, `i` and `j` (n,) positions of the two faces."""

    scores: np.ndarray
    i: np.ndarray
    j: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: slice | np.ndarray) -> Scored:
        return Scored(self.scores[chosen], self.i[chosen], self.j[chosen])


@dataclass(frozen=True)
class AllPairs:
    """All pairs i < j of n faces.

    `genuine`: every one of the `genuine_pairs` of one person (a random two million, were there more). Of the `impostors` pairs of two
    people, `tail` holds the highest exactly, `counts` (bins,) of `values` (bins,) those below it, and `body` a
    random sample of those. What FMR a threshold in the tail has is exact; below, it is to one bin of 65,536.
    """

    people: np.ndarray
    genuine: Scored
    genuine_pairs: int
    impostors: int
    tail: Scored
    values: np.ndarray
    counts: np.ndarray
    body: Scored

    def impostor_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """(scores, how many pairs each stands for), highest first: the tail one by one, the rest as bins."""
        below = np.flatnonzero(self.counts)[::-1]
        return (
            np.concatenate([self.tail.scores, self.values[below]]),
            np.concatenate([np.ones(len(self.tail)), self.counts[below]]),
        )


def all_pairs(
    matcher: Matcher,
    points: np.ndarray,
    people: np.ndarray,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> AllPairs:
    """Score all pairs of n points (n, dim), whose people (n,) int are in rising order.

    Raises DataError when nobody has two faces, or all faces are one person's. `progress` is told (rows done, of).
    """
    n = len(people)
    if (np.diff(people) < 0).any():
        raise ValueError("people must be in rising order")
    sizes = np.unique(people, return_counts=True)[1].astype(np.int64)
    impostors = (n * n - int((sizes**2).sum())) // 2
    if not impostors or sizes.max(initial=0) < 2:
        raise DataError("Comparing needs two people, and two photos of one of them; add photos")
    rng = np.random.default_rng([seed, 0xA11])
    genuine = _sorted(matcher, points, *_genuine(people, rng))
    body = _sorted(matcher, points, *_impostors(people, min(_SAMPLE, 4 * impostors), rng))

    # Where the tail begins is read off the sample, low enough that it hardly ever begins too high.
    wanted = min(max(1000, int(np.ceil(_SHARE * impostors))), _MOST_TAIL, impostors)
    low, high = float(body.scores[-1]), float(max(body.scores[0], genuine.scores[0]))
    low -= 0.05 * (high - low) + 1e-6
    share = 1.25 * wanted / impostors
    while True:
        place = int(share * len(body)) + 20
        cutoff = float(body.scores[place]) if place < len(body) else -np.inf
        counts, tail = _scan(matcher, points, people, cutoff, low, high, progress)
        if len(tail) >= wanted:
            break
        share *= 2
    order = np.argsort(-tail.scores, kind="stable")[:wanted]
    tail = tail[order]

    width = (high - low) / _BINS
    values = (low + width * (np.arange(_BINS) + 0.5)).astype(np.float32)
    np.subtract.at(counts, _bin(tail.scores, low, high), 1)
    below = body.scores < tail.scores[-1]
    same = int((sizes * (sizes - 1)).sum()) // 2
    return AllPairs(people, genuine, same, impostors, tail, np.minimum(values, tail.scores[-1]), counts, body[below])


def _scan(
    matcher: Matcher,
    points: np.ndarray,
    people: np.ndarray,
    cutoff: float,
    low: float,
    high: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, Scored]:
    """One pass over all impostor pairs: their histogram, and those at or above the cutoff in any order."""
    n = len(people)
    counts = np.zeros(_BINS, np.int64)
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for top in range(0, n, _ROWS):
        rows = slice(top, min(top + _ROWS, n))
        for left in range(top, n, _COLUMNS):
            columns = slice(left, min(left + _COLUMNS, n))
            scores = matcher.block(points[rows], points[columns])
            hidden = 0
            if people[rows.stop - 1] >= people[left]:  # in rising order: only near the diagonal
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
    return counts, Scored(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))


def _bin(scores: np.ndarray, low: float, high: float) -> np.ndarray:
    place = scores - np.float32(low)
    place *= np.float32(_BINS / (high - low))
    return np.clip(place, 0, _BINS - 1, out=place).astype(np.uint16)


def _sorted(matcher: Matcher, points: np.ndarray, i: np.ndarray, j: np.ndarray) -> Scored:
    scores = matcher.listed(points, i, j)
    order = np.argsort(-scores, kind="stable")
    return Scored(scores[order], i[order].astype(np.int32), j[order].astype(np.int32))


def _genuine(people: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all pairs of one person's faces, or of a random `_MOST_GENUINE` of them."""
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


def _impostors(people: np.ndarray, wanted: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions of so many pairs of two people's faces, drawn with replacement."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    missing = wanted
    while missing > 0:
        i, j = rng.integers(len(people), size=(2, 2 * wanted))
        apart = np.flatnonzero(people[i] != people[j])[:missing]
        found.append((i[apart], j[apart]))
        missing -= len(apart)
    i, j = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return i, j
