"""What a calibration is fitted to: logits of faces, as pairs and as people enrolled from several photos."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from facedex.decision.fusion import fuse
from facedex.decision.posterior import Normal
from facedex.decision.tail import Impostors, Tail

LEAST_PEOPLE = 4  # below, there is no tail to speak of

_FACES = 2000  # at most in a fit
_STEPS = 200  # of the mixture's fit; it hardly moves after fewer
_BINS = 500
_SUBSETS = 4  # ways of choosing several photos of a person that are looked at


def sample(people: np.ndarray, faces: int = _FACES) -> np.ndarray:
    """Positions of so many photos of each person that there are at most `faces` in all, ascending; where two of each are
    too many already, of some of the people (n,), who are numbered from 0.
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
class Enrolled:
    """Fused scores `against` (n, sets) of n faces, of `people` (n,), with people enrolled from `photos` photos each;
    `owner` (sets,) says whose each set is. NaN where a face is in the set itself. `clearer` (n, sets) is by how much
    the logarithm of their quality is above the usual, of the face and on average of the set's, together.
    """

    photos: int
    people: np.ndarray
    against: np.ndarray
    owner: np.ndarray
    clearer: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, people: np.ndarray, photos: int, clear: np.ndarray) -> Enrolled | None:
        """From the logits of all faces and by how much the logarithm of each one's quality is above the usual, (n,); None
        where too few people have photos to spare.
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
        """How scores against the own person are distributed at the usual quality, everybody counting the same."""
        scores, clearer, weight = self._own
        return two_normals(scores - by_quality * clearer, weight)

    def by_quality(self) -> float:
        """How much higher the own person scores for each 1 that the logarithm of quality is higher, by least squares; at
        least 0.
        """
        scores, clearer, weight = self._own
        apart = clearer - np.average(clearer, weights=weight)
        spread = float(weight @ apart**2)
        return max(float(weight @ (apart * scores)) / spread, 0.0) if spread > 1e-9 * weight.sum() else 0.0

    @cached_property
    def _own(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores against the own person, by how much clearer they are, and what each counts, all (pairs,)."""
        row, column = np.nonzero((self.people[:, None] == self.owner[None]) & ~np.isnan(self.against))
        person = self.people[row]
        return self.against[row, column], self.clearer[row, column], 1 / np.bincount(person)[person]

    def owners(self, times: np.ndarray) -> int:
        """How many of the people are enrolled when everybody counts `times` (people,) times."""
        return int((times[self._owners] > 0).sum())

    def tail(self, times: np.ndarray, start: float | None = None) -> Tail:
        """The impostor tail when everybody counts `times` (people,) times, as probe and as enrolled."""
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
    """The mixture of two normal distributions that is most likely for scores (n,), each counting `weight` (n,), by
    expectation maximisation (Dempster, Laird and Rubin 1977).

    People's own faces score low for reasons of their own: a bad photo, many years between two, a wrong label. One normal
    distribution is widened by these few, and then promises far more scores in its middle than there are. The first part
    begins low, with a tenth of the weight. Neither gets narrower than a third of all, so that a few scores that happen
    to agree are no part of their own.
    """
    weight, edges = np.histogram(scores, _BINS, weights=weight / weight.sum())  # as many means say the same, and sooner
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
    """The normal distribution of weighted scores; where nothing is left of its weight, the one before."""
    share = float(weight.sum())
    if share < 1e-6:
        return replace(before, share=share)
    mean = float((weight * scores).sum()) / share
    return Normal(share, mean, max(math.sqrt(float((weight * (scores - mean) ** 2).sum()) / share), least))


Pairs = tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]  # genuine, impostor, and what each counts


def weighed_pairs(matrix: np.ndarray, people: np.ndarray) -> Pairs:
    """Scores of all pairs of one person and of two, from a score matrix (n, n) and each face's person (n,), and what each
    counts, as `platt` takes them: one over how many pairs those same two people have, or that one with itself, so that
    everybody counts the same, whatever the number of photos.
    """
    i, j = np.triu_indices(len(people), 1)
    low, high = np.minimum(people[i], people[j]), np.maximum(people[i], people[j])
    _, whose, pairs = np.unique(low * (int(people.max(initial=0)) + 1) + high, return_inverse=True, return_counts=True)
    scores, weights, same = matrix[i, j], 1 / pairs[whose], low == high
    return scores[same], scores[~same], (weights[same], weights[~same])


def platt(
    genuine: np.ndarray, impostor: np.ndarray, weights: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[float, float]:
    """Slope and offset of Platt scaling (Platt 1999, by Newton's method as in Lin et al. 2007), the two kinds
    of pair weighing half each, with Platt's smoothed targets; the slope is kept positive. `weights` are what each
    genuine and each impostor pair counts beside those of its kind, the same unless given.
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
