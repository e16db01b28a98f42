"""The probability of a name: how people's own faces and strangers' score, and what candidates' scores say together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from facedex.decision.tail import PROBE_WEIGHT, Tail

CONTENDERS = 10  # the best people who share the probability of a name; further ones have next to none

_POINTS = 128
_PLACES = np.arange(_POINTS)
_LEAST = 1e-300


@dataclass(frozen=True)
class Normal:
    """A part of a mixture of normal distributions: its share of all scores, its mean and its standard deviation."""

    share: float
    mean: float
    sd: float

    def density(self, scores: np.ndarray) -> np.ndarray:
        """What it adds to the mixture's density at scores, of their shape."""
        return self.share / (self.sd * math.sqrt(2 * math.pi)) * np.exp(-(((scores - self.mean) / self.sd) ** 2) / 2)

    def below(self, score: float) -> float:
        """The share of all scores that are of this part and below the score."""
        return 0.5 * self.share * math.erfc((self.mean - score) / (self.sd * math.sqrt(2)))


@dataclass(frozen=True)
class Scores:
    """How people enrolled from `photos` photos score: against their own faces by a mixture of normal distributions,
    `genuine`, against strangers' as `impostor` says.
    """

    photos: int
    genuine: tuple[Normal, ...]
    impostor: Tail

    def moved(self, factor: float, shift: float) -> Scores:
        """How factor * score + shift is distributed, factor > 0."""
        genuine = tuple(Normal(part.share, factor * part.mean + shift, factor * part.sd) for part in self.genuine)
        return Scores(self.photos, genuine, self.impostor.moved(factor, shift))

    def genuine_below(self, score: float, shift: float = 0.0) -> float:
        """The chance that a person's own face scores lower; `shift` is by how much more than usual it scores."""
        return sum(part.below(score - shift) for part in self.genuine)

    def density(self, scores: np.ndarray) -> np.ndarray:
        """The logarithm of strangers' density at scores (n,), for each kind of probe: (n, probes)."""
        table, (low, part) = self._table[2], self._place(scores)
        return (1 - part)[:, None] * table[low] + part[:, None] * table[low + 1]

    def below(self, score: float) -> np.ndarray:
        """The logarithm of strangers' share below a score, for each kind of probe: (probes,)."""
        table, (low, part) = self._table[3], self._place(score)
        return (1 - part) * table[low] + part * table[low + 1]

    def ratios(self, scores: np.ndarray, probes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Density of a genuine over that of an impostor score (n,), each for a mixture of probes (n, probes); held
        monotone, as more is never less alike. `shifts` (n,) are by how much more than usual a genuine one would be.
        """
        grid, density, _, _ = self._table
        usual = grid[:, None] - shifts
        genuine = np.log(np.maximum(sum(part.density(usual) for part in self.genuine), _LEAST))
        # No matrix product: BLAS would wake its threads for so small a one, and under load wait for them.
        logs = genuine - np.log(np.einsum("gp,np->gn", density, probes))
        logs = np.where(_PLACES[:, None] < logs.argmin(0), logs.min(0), logs)
        logs = np.maximum.accumulate(logs)
        own, (low, part) = np.arange(len(scores)), self._place(scores)
        return np.exp((1 - part) * logs[low, own] + part * logs[low + 1, own])

    def _place(self, scores: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Where scores lie on the grid: the place before each, and which part of the way to the next."""
        place = np.interp(scores, self._table[0], _PLACES)
        low = np.minimum(place.astype(int), _POINTS - 2)
        return low, place - low

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Scores (points,); of strangers', by probe, the density, its logarithm and that of the share below, (points,
        probes).
        """
        tail = self.impostor
        high = max(part.mean + 5 * part.sd for part in self.genuine)
        grid = np.linspace(min(tail.location - 3 * tail.scale, high - 1), high, _POINTS)
        density, survival = tail.by_probe(grid)
        density = np.maximum(density, _LEAST)
        return grid, density, np.log(density), np.log1p(-np.minimum(survival, 1 - 1e-12))


def posterior(
    levels: tuple[Scores, ...],
    scores: np.ndarray,
    level: np.ndarray,
    people: int,
    prior: float,
    shifts: np.ndarray | None = None,
) -> np.ndarray:
    """Probability of each of the best people (n,) that the name is right, given the gallery.

    `scores` (n,), best first, and `level` (n,), which of `levels` each is of; `people` are enrolled, each equally
    likely, with probability `prior` together. Bayes over "i is the one" for all i and "nobody is", with K the best
    CONTENDERS:

        P_i = (prior / N) r_i / (1 - prior + prior F(s_K) + (prior / N) sum_{j <= K} r_j),    r_i = g(s_i) / f_i(s_i)

    where g is the density of genuine scores and f_i that of this probe's scores against strangers. `shifts` h (n,), 0 unless
    given, are by how much more than usual each candidate's own face would score here (Calibration.shifts): g(s_i) is
    then g(s_i - h_i). A blurred face
    resembles everybody a little more, so the other candidates tell what f_i is: each kind of probe p (tail.py) weighs
    in it by W_p prod_{j <= K, j != i} f_p(s_j) F_p(s_K)^(N - K), its prior weight times the likelihood of these being
    the K best. Without that f would be the mean over all probes, in which the few that resemble everybody have most of
    the tail, and probabilities would be too modest for the others. People who are not listed are taken to be enrolled
    from as many photos as those who are.

    Whoever is not among the K may be the one too: then the genuine score lies below s_K, the last of them,
    which has probability F(s_K). How many are listed beyond K does not matter.
    """
    if not len(scores):
        return np.empty(0)
    scores = np.asarray(scores, np.float64)
    shifts = np.zeros(len(scores)) if shifts is None else shifts
    best = min(CONTENDERS, len(scores))
    last, unlisted = float(scores[best - 1]), max(people - best, 0)
    density = np.zeros((len(scores), len(PROBE_WEIGHT)))
    logs, missed = np.log(PROBE_WEIGHT), 0.0
    for number, one in enumerate(levels):
        mine = level == number
        if mine.any():
            density[mine] = one.density(scores[mine])
            share = float(mine[:best].mean())
            logs = logs + unlisted * share * one.below(last)
            if share:
                missed += share * one.genuine_below(last, float(shifts[:best][mine[:best]].mean()))
    logs = logs + density[:best].sum(0)
    others = logs - np.where(np.arange(len(scores))[:, None] < best, density, 0.0)
    probes = np.exp(others - others.max(1, keepdims=True))
    probes /= probes.sum(1, keepdims=True)
    ratio = np.empty(len(scores))
    for number, one in enumerate(levels):
        mine = level == number
        if mine.any():
            ratio[mine] = one.ratios(scores[mine], probes[mine], shifts[mine])
    shares = prior / people * ratio
    further = np.where(np.arange(len(shares)) >= best, shares, 0.0)
    return shares / (1 - prior + prior * missed * (unlisted > 0) + shares[:best].sum() + further)
