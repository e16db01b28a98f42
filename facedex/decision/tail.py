"""The impostor tail: how often a stranger's face scores so high against somebody enrolled.

One face of a stranger is compared with many people. A blurred face resembles everybody a little more, so its scores
hang together; pooling all pairs would hide that. Each probe therefore has a location and a scale of its own, and what
the probes share is the tail of the scores once these are taken out.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace
from functools import cached_property

import numpy as np

_BINS = 2000
SHARE = 0.05  # of a probe's impostor scores lie in what is fitted as its tail

# Standard normal pairs on a grid, which integrates smooth functions of them to better than 1e-6 (trapezoid rule).
_AXIS = np.linspace(-5, 5, 41)
_U, _V = (grid.ravel() for grid in np.meshgrid(_AXIS, _AXIS))
_WEIGHT = np.exp(-(_U**2 + _V**2) / 2)
_WEIGHT /= _WEIGHT.sum()

# The same, coarser, for what is asked of every probe: scales differ little.
_FEW_U, _FEW_V = (grid.ravel() for grid in np.meshgrid(_AXIS, np.linspace(-4, 4, 9)))
PROBE_WEIGHT = np.exp(-(_FEW_U**2 + _FEW_V**2) / 2)
PROBE_WEIGHT /= PROBE_WEIGHT.sum()


@dataclass(frozen=True)
class Tail:
    """The distribution of impostor scores, probe by probe.

    A probe's score y against a random stranger is m + s e. Over probes, m is normal (`location`, `location_sd`) and
    log s too (log of `scale`, `scale_sd`), with `correlation` between the two. The standard score e, the same for all
    probes, exceeds `start` with probability `share`; further out

        S(e) = share * exp(-rate x - bend x^2),    x = e - start >= 0,

    whose hazard may rise, as that of a sum of many small differences does. Below the start S is the logistic curve
    that continues it with the same slope. Chosen among other forms on people kept apart (scripts/benchmarks/tail_form.py).
    """

    location: float
    location_sd: float
    scale: float
    scale_sd: float
    correlation: float
    start: float
    share: float
    rate: float
    bend: float

    def survival(self, score: float) -> np.ndarray:
        """S of one score for a grid of probes, (probes,); `over_probes` averages."""
        return self._curve(np.float64(score), *self._probes)[0]

    def by_probe(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Density and S of scores (n,) for the kinds of probe that PROBE_WEIGHT weighs, both (n, probes)."""
        location, scale = self._kinds(_FEW_U, _FEW_V)
        survival, density = self._curve(scores[:, None], location, scale)
        return density / scale, survival

    def _curve(self, y: np.ndarray, location: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """S and -dS/de of y, () or (n, 1), for probes of these locations and scales."""
        x = (y - location) / scale - self.start
        tail, up = x > 0, np.maximum(x, 0)
        steep = self.rate / (1 - self.share)
        fall = np.exp(np.where(tail, -np.minimum((self.rate + self.bend * up) * up, 700), np.minimum(-steep * x, 500)))
        above = self.share * fall
        no = 1 / (1 + above / (1 - self.share))  # the logistic curve's complement
        below = above * (no / (1 - self.share))
        return np.where(tail, above, below), np.where(
            tail, above * (self.rate + 2 * self.bend * up), steep * below * no
        )

    @cached_property
    def _probes(self) -> tuple[np.ndarray, np.ndarray]:
        return self._kinds(_U, _V)

    def _kinds(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Location and scale of probes by their two standard normal numbers."""
        along = self.correlation * u + np.sqrt(max(1 - self.correlation**2, 0.0)) * v
        return self.location + self.location_sd * u, self.scale * np.exp(self.scale_sd * along)

    def moved(self, factor: float, shift: float) -> Tail:
        """The tail of factor * score + shift, factor > 0."""
        return replace(
            self, location=factor * self.location + shift, location_sd=factor * self.location_sd,
            scale=factor * self.scale,
        )  # fmt: skip

    def to_meta(self) -> list[float]:
        """The nine numbers in order."""
        return [round(value, 6) for value in astuple(self)]


class Impostors:
    """Scores of probes against strangers, to which a Tail is fitted, once or for many weightings of the people."""

    def __init__(self, scores: np.ndarray, strangers: np.ndarray, owner: np.ndarray) -> None:
        """`scores` (p, g) of probes against sets of photos, `owner` (g,) whose each set is, numbered from 0. `strangers`
        (p, people) is true where the probe does not show the person; only these scores count.
        """
        self._scores, self._strangers, self._owner = scores, strangers.astype(np.float64), owner
        self._sets = np.bincount(owner)
        whose = np.eye(len(self._sets))[owner] / self._sets
        self._means, self._squares = (self._strangers * (part @ whose) for part in (scores, scores**2))
        self._high: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def fit(self, probes: np.ndarray, gallery: np.ndarray, start: float | None = None) -> Tail:
        """The tail when probes (p,) and enrolled people (people,) weigh so much. Its start is the standard score that
        SHARE of all exceed, or the one given.

        Two things would make the tail of few people too light. A probe's mean and standard deviation over them are partly
        chance, so both are drawn towards all probes' by the share of chance in how they vary (empirical Bayes, Morris
        1983). And a high score would widen what it is divided by: it is left out there, with its person's others
        (externally studentised, Cook and Weisberg 1982).
        """
        total = self._strangers @ gallery
        probes = np.where(total > 0, probes, 0.0)  # who meets no stranger shows nothing
        probes, total = probes / probes.sum(), np.maximum(total, 1e-300)
        mean, square = ((part @ gallery) / total for part in (self._means, self._squares))
        variance = np.maximum(square - mean**2, 0)
        sd = np.maximum(np.sqrt(variance), max(1e-3 * float(np.sqrt(probes @ variance)), 1e-6))
        location, scale = float(probes @ mean), float(np.exp(probes @ np.log(sd)))
        varied = self._varied(probes, gallery / total[:, None], mean, sd, (mean - location, np.log(sd / scale)))
        location_sd, scale_sd, together, keep_mean, keep_sd = varied

        rows, columns, scores = self._above(mean, sd)
        who = self._owner[columns]
        own = gallery[who] / total[rows]
        rest = np.maximum(1 - own, 1e-9)
        others = (mean[rows] - own * self._means[rows, who]) / rest
        variance = (square[rows] - own * self._squares[rows, who]) / rest - others**2
        apart = np.maximum(np.sqrt(np.maximum(variance, 0)), sd[rows] / 2)  # of very few people hardly any is left
        e = (scores - location - keep_mean * (others - location)) / (scale * (apart / scale) ** keep_sd)
        weight = probes[rows] * own / self._sets[who]
        if start is None:
            order = np.argsort(-e)
            start = float(e[order][min(int(np.searchsorted(np.cumsum(weight[order]), SHARE)), len(e) - 1)])
        far = e > start
        share = float(np.clip(weight[far].sum(), 1e-6, 0.5))
        rate, bend = fit_excess(e[far] - start, weight[far])
        return Tail(location, location_sd, scale, scale_sd, together, start, share, rate, bend)

    def _varied(
        self,
        probes: np.ndarray,
        weight: np.ndarray,
        mean: np.ndarray,
        sd: np.ndarray,
        parts: tuple[np.ndarray, np.ndarray],
    ) -> tuple[float, float, float, float, float]:
        """How probes truly vary: standard deviations of their mean and log standard deviation, the correlation of these,
        and of either the share of its observed variance that is no chance.

        `parts` are by how much each probe's (p,) differ from all probes'. What either owes to chance follows from how
        the people (p, people) differ, who have `weight` in it.
        """
        square = (self._strangers * weight) ** 2
        off = self._means - mean[:, None]
        wide = ((self._squares - 2 * mean[:, None] * self._means + mean[:, None] ** 2) / sd[:, None] ** 2 - 1) / 2
        found = []
        for (a, by_a), (b, by_b) in (((0, off), (0, off)), ((1, wide), (1, wide)), ((0, off), (1, wide))):
            observed = float(probes @ (parts[a] * parts[b]))
            found.append((observed, observed - float(probes @ (square * by_a * by_b).sum(1))))
        keep = [min(max(true / max(observed, 1e-300), 0.0), 1.0) for observed, true in found[:2]]
        location_sd, scale_sd = (math.sqrt(share * observed) for share, (observed, _) in zip(keep, found, strict=False))
        both = location_sd * scale_sd
        together = min(max(found[2][1] / both, -1.0), 1.0) if both > 1e-12 else 0.0
        return location_sd, scale_sd, together, keep[0], keep[1]

    def _above(self, mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(probes, sets, scores) of what can be in the tail, found at the first fit; the rest never is."""
        if self._high is None:
            e = (self._scores - mean[:, None]) / sd[:, None]
            e[self._strangers[:, self._owner] == 0] = -np.inf
            rows, columns = np.nonzero(e > min(1.0, float(np.sort(e, axis=None)[-2])))
            self._high = rows, columns, self._scores[rows, columns]
        return self._high


def over_probes(values: np.ndarray) -> float:
    """The mean over probes of what `Tail.survival` gives, or of any function of it."""
    return float((_WEIGHT * values).sum())


def fit_excess(excess: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """(rate, bend) of exceedances x >= 0 (n,) with survival exp(-rate x - bend x^2), by weighted maximum likelihood.

    With r = bend / rate fixed the rate has a closed form, 1 / mean(x + r x^2), so one search over r is all.
    """
    x = np.maximum(np.asarray(excess, np.float64), 0)
    weight = np.ones(len(x)) if weight is None else weight
    if not len(x) or float(weight @ x) <= 1e-9 * weight.sum():
        return 1e3, 0.0
    if len(x) > _BINS:  # as many means of bins say the same, and sooner
        at = np.minimum((x * (_BINS / x.max())).astype(int), _BINS - 1)
        held = np.bincount(at, weight, _BINS)
        kept = held > 0
        x, weight = np.bincount(at, weight * x, _BINS)[kept] / held[kept], held[kept]
    weight = weight / weight.sum()
    mean = float(weight @ x)

    def log_likelihood(r: float) -> float:
        return float(-np.log(weight @ (x + r * x**2)) + weight @ np.log1p(2 * r * x))

    grid = np.concatenate([[0.0], np.geomspace(1e-2, 1e2, 25)]) / mean
    for _ in range(3):  # each pass looks closer between the neighbours of the best so far
        best = int(np.argmax([log_likelihood(r) for r in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        r = grid[best]
        grid = np.linspace(low, high, 11)
    rate = 1 / float(weight @ (x + r * x**2))
    return rate, float(r * rate)
