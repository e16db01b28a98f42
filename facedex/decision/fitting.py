"""The data of a calibration: logits of faces, as pairs and as people enrolled from several photos."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from facedex.decision.fusion import fuse
from facedex.decision.posterior import Normal
from facedex.decision.tail import Impostors, Tail

LEAST_PEOPLE = 4  # fewer people show no tail

_FACES = 2000  # at most in a fit
_STEPS = 200  # of expectation maximisation, which hardly moves after fewer
_BINS = 500
_SUBSETS = 4  # sets of photos drawn for each person


def sample(people: np.ndarray, faces: int = _FACES) -> np.ndarray:
    """Positions of a sample of at most `faces` faces, ascending, from the person of each face (n,), numbered from 0.

    Every person keeps the same number of photos, as far as there are so many. Where two of each person are too many,
    some people are left out.
    """
    order = np.random.default_rng(0xFACE).permutation(len(people))
    seen = np.zeros(people.max() + 1, int)
    rank = np.empty(len(people), int)
    for at in order:
        rank[at] = seen[people[at]]
        seen[people[at]] += 1
    most = next(k for k in range(int(rank.max()) + 1, 0, -1) if (rank < k).sum() <= faces or k <= 2)
    kept = rank < most
    if kept.sum() > faces:
        drawn = np.random.default_rng(0xFACE).permutation(len(seen))
        some = drawn[np.cumsum(np.bincount(people[kept])[drawn]) <= faces]
        kept &= np.isin(people, some)
    return np.flatnonzero(kept)


@dataclass(frozen=True)
class EnrolledSets:
    """Scores of n faces against people enrolled from `photos` photos each.

    `people` (n,) is the person of each face, `owner` (sets,) the person of each set of photos. `against` (n, sets) are
    the fused scores, NaN where the set holds the face itself. `clearer` (n, sets) says how much clearer than usual the
    two sides of a score are. It is the sum of two differences of log quality from the usual one: the face's difference,
    and the mean difference of the set's faces.
    """

    photos: int
    people: np.ndarray
    against: np.ndarray
    owner: np.ndarray
    clearer: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, people: np.ndarray, photos: int, clear: np.ndarray) -> EnrolledSets | None:
        """From the logits of all faces (n, n). `clear` (n,) is the log quality of each face above the usual.

        None where too few people have enough photos.
        """
        if photos == 1:
            against = matrix.copy()
            np.fill_diagonal(against, np.nan)
            return cls(1, people, against, people, clear[:, None] + clear)
        rng = np.random.default_rng([0x5E75, photos])
        sets: list[np.ndarray] = []
        for person in range(people.max() + 1):
            mine = np.flatnonzero(people == person)
            if len(mine) > photos:
                sets += [rng.choice(mine, photos, replace=False) for _ in range(_SUBSETS)]
        if len(sets) < LEAST_PEOPLE * _SUBSETS:
            return None
        against = np.stack([fuse(matrix[:, chosen]) for chosen in sets], 1)
        for column, chosen in enumerate(sets):
            against[chosen, column] = np.nan
        together = clear[:, None] + np.array([clear[chosen].mean() for chosen in sets])
        return cls(photos, people, against, people[[chosen[0] for chosen in sets]], together)

    def genuine(self, by_quality: float) -> tuple[Normal, ...]:
        """The distribution of genuine scores at the usual quality. Every person counts the same."""
        scores, clearer, weight = self._own
        return two_normals(scores - by_quality * clearer, weight)

    def by_quality(self) -> float:
        """The slope of genuine scores over log quality, by least squares, at least 0."""
        scores, clearer, weight = self._own
        apart = clearer - np.average(clearer, weights=weight)
        spread = float(weight @ apart**2)
        return max(float(weight @ (apart * scores)) / spread, 0.0) if spread > 1e-9 * weight.sum() else 0.0

    @cached_property
    def _own(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Genuine scores, their `clearer` and their weights, each (pairs,)."""
        row, column = np.nonzero((self.people[:, None] == self.owner[None]) & ~np.isnan(self.against))
        person = self.people[row]
        return self.against[row, column], self.clearer[row, column], 1 / np.bincount(person)[person]

    def owners(self, times: np.ndarray) -> int:
        """How many people are enrolled when each person counts `times` (people,) times."""
        return int((times[self._owners] > 0).sum())

    def tail(self, times: np.ndarray, start: float | None = None) -> Tail:
        """The impostor tail when each person counts `times` (people,) times, as a probe and as enrolled."""
        probes = times / np.bincount(self.people, minlength=len(times))
        return self._impostors.fit(probes[self.people], times[self._owners], start)

    @cached_property
    def _impostors(self) -> Impostors:
        owner = np.searchsorted(self._owners, self.owner)
        return Impostors(np.nan_to_num(self.against), self.people[:, None] != self._owners, owner)

    @cached_property
    def _owners(self) -> np.ndarray:
        return np.unique(self.owner)


def two_normals(scores: np.ndarray, weight: np.ndarray) -> tuple[Normal, ...]:
    """The most likely mixture of two normal distributions for scores (n,) with weights (n,).

    The fit is expectation maximisation (Dempster, Laird and Rubin 1977). A few genuine scores are low for a reason: a
    bad photo, many years between two photos, a wrong label. They would widen a single normal distribution, which then
    promises too many scores in its middle. The first part begins low, with a tenth of the weight. Neither part gets
    narrower than a third of the whole, so that a few equal scores do not become a part of their own.
    """
    # A histogram gives the same fit in less time.
    weight, edges = np.histogram(scores, _BINS, weights=weight / weight.sum())
    scores = (edges[1:] + edges[:-1]) / 2
    mean = float((weight * scores).sum())
    sd = max(float(np.sqrt((weight * (scores - mean) ** 2).sum())), 1e-3)
    parts: tuple[Normal, ...] = Normal(0.1, mean - 1.5 * sd, sd), Normal(0.9, mean + sd / 6, sd)
    for _ in range(_STEPS):
        density = np.stack([part.density(scores) for part in parts])
        owned = weight * density / np.maximum(density.sum(0), 1e-300)
        parts = tuple(_part(scores, mine, before, sd / 3) for mine, before in zip(owned, parts, strict=True))
    return parts


def _part(scores: np.ndarray, weight: np.ndarray, before: Normal, least: float) -> Normal:
    """The normal distribution of weighted scores, or the previous one where no weight is left."""
    share = float(weight.sum())
    if share < 1e-6:
        return replace(before, share=share)
    mean = float((weight * scores).sum()) / share
    return Normal(share, mean, max(math.sqrt(float((weight * (scores - mean) ** 2).sum()) / share), least))


Pairs = tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]  # genuine scores, impostor scores, weights


def weighed_pairs(matrix: np.ndarray, people: np.ndarray) -> Pairs:
    """Genuine and impostor scores and their weights, from a score matrix (n, n) and the person of each face (n,).

    The weight of a pair is one over the number of pairs between the same two people, or within the same person. So each
    person counts the same, whatever the number of photos.
    """
    i, j = np.triu_indices(len(people), 1)
    low, high = np.minimum(people[i], people[j]), np.maximum(people[i], people[j])
    _, whose, pairs = np.unique(low * (int(people.max(initial=0)) + 1) + high, return_inverse=True, return_counts=True)
    scores, weights, same = matrix[i, j], 1 / pairs[whose], low == high
    return scores[same], scores[~same], (weights[same], weights[~same])


def platt(
    genuine: np.ndarray, impostor: np.ndarray, weights: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[float, float]:
    """Slope and offset of Platt scaling (Platt 1999) by Newton's method (Lin et al. 2007), with smoothed targets.

    Genuine and impostor pairs have half of the weight each. The slope stays positive. `weights` are those of genuine
    and of impostor scores among their kind, equal unless given.
    """
    x = np.concatenate([genuine, impostor]).astype(np.float64)
    parts = weights or (np.ones(len(genuine)), np.ones(len(impostor)))
    weight = np.concatenate([0.5 * part / part.sum() for part in parts])
    target = np.concatenate(
        [
            np.full(len(genuine), (len(genuine) + 1) / (len(genuine) + 2)),
            np.full(len(impostor), 1 / (len(impostor) + 2)),
        ]
    )
    mean, spread = float(x.mean()), float(x.std()) or 1.0
    design = np.stack([(x - mean) / spread, np.ones_like(x)], 1)

    def loss(theta: np.ndarray) -> float:
        z = design @ theta
        return float((weight * (np.logaddexp(0, z) - target * z)).sum())

    theta = np.array([1.0, 0.0])
    for _ in range(100):
        p = np.exp(-np.logaddexp(0.0, -(design @ theta)))
        gradient = design.T @ (weight * (p - target))
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-10 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size, before = 1.0, loss(theta)
        while loss(theta - size * step) > before and size > 1e-6:
            size /= 2
        theta = theta - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    slope = max(float(theta[0]) / spread, 1e-6)
    return slope, float(theta[1]) - slope * mean
