"""The probability of a name, from the distributions of genuine and impostor scores and all candidates' scores."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from facedex.decision.tail import PROBE_WEIGHT, Tail

CONTENDERS = 10  # the best candidates share the probability of a name; further ones have next to none

_POINTS = 128
_PLACES = np.arange(_POINTS)
_LEAST = 1e-300


@dataclass(frozen=True)
class Normal:
    """One part of a mixture of normal distributions: its share of all scores, its mean and its standard deviation."""

    share: float
    mean: float
    sd: float

    def density(self, scores: np.ndarray) -> np.ndarray:
        """The part of the mixture's density at scores, in the shape of `scores`."""
        return np.asarray(
            self.share / (self.sd * math.sqrt(2 * math.pi)) * np.exp(-(((scores - self.mean) / self.sd) ** 2) / 2)
        )

    def below(self, score: float) -> float:
        """The share of all scores that belong to this part and lie below `score`."""
        return 0.5 * self.share * math.erfc((self.mean - score) / (self.sd * math.sqrt(2)))


@dataclass(frozen=True)
class Scores:
    """The scores of people enrolled from `photos` photos each.

    `genuine` is the mixture of normal distributions of their own faces' scores, `impostor` the distribution of
    strangers' scores.
    """

    photos: int
    genuine: tuple[Normal, ...]
    impostor: Tail

    @classmethod
    def from_meta(cls, stored: dict[str, Any]) -> Scores:
        """What `to_meta` gives. Raises KeyError, TypeError or ValueError for anything else."""
        genuine = tuple(Normal(*map(float, part)) for part in stored["genuine"])
        if not genuine:
            raise ValueError("genuine scores are missing")
        return cls(int(stored["photos"]), genuine, Tail(*map(float, stored["impostor"])))

    def to_meta(self) -> dict[str, Any]:
        """What `from_meta` reads."""
        genuine = [[round(value, 6) for value in astuple(part)] for part in self.genuine]
        return {"photos": self.photos, "genuine": genuine, "impostor": self.impostor.to_meta()}

    def moved(self, factor: float, shift: float) -> Scores:
        """The distributions of factor * score + shift, for factor > 0."""
        genuine = tuple(Normal(part.share, factor * part.mean + shift, factor * part.sd) for part in self.genuine)
        return Scores(self.photos, genuine, self.impostor.moved(factor, shift))

    def genuine_below(self, score: float, shift: float = 0.0) -> float:
        """The probability that a genuine score is below `score`, where genuine scores lie `shift` above the usual."""
        return sum(part.below(score - shift) for part in self.genuine)

    def density(self, scores: np.ndarray) -> np.ndarray:
        """Log density of impostor scores at scores (n,), for each kind of probe: (n, kinds)."""
        table, (low, part) = self._table[2], self._place(scores)
        return np.asarray((1 - part)[:, None] * table[low] + part[:, None] * table[low + 1])

    def below(self, score: float) -> np.ndarray:
        """Log of the share of impostor scores below a score, for each kind of probe: (kinds,)."""
        table, (low, part) = self._table[3], self._place(score)
        return np.asarray((1 - part) * table[low] + part * table[low + 1])

    def ratios(self, scores: np.ndarray, probes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Density of genuine over density of impostor scores at scores (n,), for weights of kinds of probe (n, kinds).

        The ratio is held monotone, because a higher score never means less alike. `shifts` (n,) tell how far genuine
        scores lie above the usual. Of the least clear face, genuine scores are expected where strangers' scores lie.
        """
        grid, density, _, _ = self._table
        mean = sum(part.share * part.mean for part in self.genuine)
        usual = grid[:, None] - np.maximum(shifts, min(self.impostor.location - mean, 0.0))
        genuine = np.log(np.maximum(sum(part.density(usual) for part in self.genuine), _LEAST))
        # einsum keeps so small a product away from the threads of BLAS, which wait for cores under load.
        logs = genuine - np.log(np.einsum("gp,np->gn", density, probes))
        own, (low, part) = np.arange(len(scores)), self._place(scores)
        # Both densities are tiny far above the genuine scores, and a lowest ratio there would be chance.
        least = np.where(usual <= mean, logs, np.inf).argmin(0)
        logs = np.maximum.accumulate(np.where(_PLACES[:, None] < least, logs[least, own], logs))
        return np.asarray(np.exp((1 - part) * logs[low, own] + part * logs[low + 1, own]))

    def _place(self, scores: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """The grid place before each score, and the part of the way to the next place."""
        place = np.interp(scores, self._table[0], _PLACES)
        low = np.minimum(place.astype(int), _POINTS - 2)
        return low, place - low

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The grid of scores (points,), the density of impostor scores, its log, and the log of the share below.

        All but the grid are (points, kinds of probe).
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
    """Probability (n,) that the name of each of the n best candidates is right, given the gallery.

    `scores` (n,) are the candidates' scores, best first. `level` (n,) is the index into `levels` of each. N = `people`
    are enrolled, each equally likely. The probe shows one of them with probability `prior`. This is Bayes' rule over
    "the probe is candidate i" for all i and "the probe is nobody". K is the number of contenders (CONTENDERS at most):

        P_i = (prior / N) r_i / (1 - prior + prior F(s_K) + (prior / N) sum_{j <= K} r_j),    r_i = g(s_i) / f_i(s_i)

    where g is the density of genuine scores and f_i the density of this probe's impostor scores. `shifts` h (n,), 0
    unless given, tell how far the genuine scores of each candidate lie above the usual (Calibration.shifts). Then
    g(s_i) becomes g(s_i - h_i).

    Probes are of several kinds (tail.py): a blurred face resembles everybody a little more than a sharp one does. The
    scores of the other candidates tell which kinds are likely. So f_i is a mean over the kinds p, with the weights

        W_p prod_{j <= K, j != i} f_p(s_j) F_p(s_K)^(N - K)

    W_p is the share of kind p among all probes. The rest is the likelihood of the other contenders' scores, and that
    everybody else scores below s_K. With the weights W_p alone, the few probes that resemble everybody would make most
    of the tail of f_i. The probabilities of all other probes would then be too low. People who are not listed are taken
    to be enrolled from as many photos as the people who are listed.

    The probe may also show somebody enrolled outside the K. The genuine score then lies below s_K, which has the
    probability F(s_K). Candidates listed beyond K do not change the probabilities of the K.
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
    return np.asarray(shares / (1 - prior + prior * missed * (unlisted > 0) + shares[:best].sum() + further))
