"""The impostor tail: how often the face of a stranger scores high against somebody enrolled.

One probe is compared with many people. A blurred face resembles everybody a little more, so the scores of one probe
depend on each other. Pooling all pairs would hide that. Each probe therefore has a location and a scale of its own.
All probes share the tail of the standardised scores.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace
from functools import cached_property

import numpy as np

_BINS = 2000
SHARE = 0.05  # the share of a probe's impostor scores that is fitted as its tail

# A grid of standard normal pairs integrates smooth functions of them to better than 1e-6 (trapezoid rule).
_AXIS = np.linspace(-5, 5, 41)
_U, _V = (grid.ravel() for grid in np.meshgrid(_AXIS, _AXIS))
_WEIGHT = np.exp(-(_U**2 + _V**2) / 2)
_WEIGHT /= _WEIGHT.sum()

# A coarser grid serves what is computed for every probe: scales differ little.
_FEW_U, _FEW_V = (grid.ravel() for grid in np.meshgrid(_AXIS, np.linspace(-4, 4, 9)))
PROBE_WEIGHT = np.exp(-(_FEW_U**2 + _FEW_V**2) / 2)
PROBE_WEIGHT /= PROBE_WEIGHT.sum()


@dataclass(frozen=True)
class Tail:
    """The distribution of impostor scores, probe by probe.

    A probe's score against a random stranger is y = m + s e. The location m and the scale s belong to the probe. Over
    probes, m is normal (mean `location`, standard deviation `location_sd`), and log s is normal (mean log `scale`,
    standard deviation `scale_sd`). The two have the `correlation`. The standard score e has one distribution for all
    probes. It exceeds `start` with probability `share`. Beyond the start its survival function is

        S(e) = share * exp(-rate x - bend x^2),    x = e - start >= 0.

    With bend > 0 the tail falls faster the further out it is, as the tail of a sum of many small differences does.
    Below the start, S is the logistic curve that continues with the same slope. This form was the best of several on
    people kept apart (2026-11-25).
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
        """S of one score for a grid of probes, (probes,). `over_probes` takes the mean."""
        return self._curve(np.float64(score), *self._probes)[0]

    def by_probe(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Density and S of scores (n,), both (n, kinds), for the kinds of probe of which PROBE_WEIGHT is the share."""
        location, scale = self._kinds(_FEW_U, _FEW_V)
        survival, density = self._curve(scores[:, None], location, scale)
        return density / scale, survival

    def _curve(self, y: np.ndarray, location: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """S and -dS/de at scores y, () or (n, 1), for probes of these locations and scales."""
        x = (y - location) / scale - self.start
        tail, up = x > 0, np.maximum(x, 0)
        steep = self.rate / (1 - self.share)
        fall = np.exp(np.where(tail, -np.minimum((self.rate + self.bend * up) * up, 700), np.minimum(-steep * x, 500)))
        above = self.share * fall
        complement = 1 / (1 + above / (1 - self.share))  # of the logistic curve
        below = above * (complement / (1 - self.share))
        density = np.where(tail, above * (self.rate + 2 * self.bend * up), steep * below * complement)
        return np.where(tail, above, below), density

    @cached_property
    def _probes(self) -> tuple[np.ndarray, np.ndarray]:
        return self._kinds(_U, _V)

    def _kinds(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Location and scale of probes from two standard normal numbers a probe."""
        along = self.correlation * u + np.sqrt(max(1 - self.correlation**2, 0.0)) * v
        return self.location + self.location_sd * u, self.scale * np.exp(self.scale_sd * along)

    def moved(self, factor: float, shift: float) -> Tail:
        """The tail of factor * score + shift, for factor > 0."""
        location = factor * self.location + shift
        return replace(self, location=location, location_sd=factor * self.location_sd, scale=factor * self.scale)

    def to_meta(self) -> list[float]:
        """The nine numbers in order."""
        return [round(value, 6) for value in astuple(self)]


class Impostors:
    """Impostor scores of probes. A Tail is fitted to them, for one or many weightings of the people."""

    def __init__(self, scores: np.ndarray, strangers: np.ndarray, owner: np.ndarray) -> None:
        """`scores` (p, g) are scores of probes against sets of photos, `owner` (g,) the person of each set, from 0 on.

        `strangers` (p, people) bool is true where the probe does not show the person. Only such scores count.
        """
        self._scores, self._strangers, self._owner = scores, strangers.astype(np.float64), owner
        self._sets = np.bincount(owner)
        whose = np.eye(len(self._sets))[owner] / self._sets
        self._means, self._squares = (self._strangers * (part @ whose) for part in (scores, scores**2))
        self._high: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def fit(self, probes: np.ndarray, gallery: np.ndarray, start: float | None = None) -> Tail:
        """Fit a tail. `probes` (p,) are the weights of the probes, `gallery` (people,) those of the enrolled people.

        The tail begins at `start`, else at the standard score that a share SHARE exceeds. Two effects would make the
        tail too light when there are few people. Both are corrected:

        - A probe's mean and standard deviation over few people are partly chance. Each is moved towards the value of
          all probes, by the share of chance in its variance over probes (empirical Bayes, Morris 1983).
        - A high score widens the standard deviation by which it is divided. So the mean and standard deviation for a
          score leave out the person of that score (external studentisation, Cook and Weisberg 1982).
        """
        total = self._strangers @ gallery
        probes = np.where(total > 0, probes, 0.0)  # a probe without impostor scores tells nothing
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
        apart = np.maximum(
            np.sqrt(np.maximum(variance, 0)), sd[rows] / 2
        )  # with very few people hardly any variance is left
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
        """How much the probes' means and log standard deviations vary over the probes, beyond chance.

        Returns (location_sd, scale_sd, together, keep_mean, keep_sd): the standard deviation of the means, that of the
        log standard deviations, the correlation of the two, and for each the share of its variance that is not chance.

        `probes` (p,) are the weights of the probes, `mean` and `sd` (p,) those of each probe's scores. `weight` (p,
        people) is the share of each person in a probe's scores. `parts` are two arrays (p,): how far the mean and the
        log standard deviation of each probe lie from the values of all probes. The variance due to chance is computed
        from the differences between the people of each probe.
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
        """The scores that can lie in the tail: indices of their probes and of their sets, and the scores themselves.

        The first fit finds these scores, and later fits use them again.
        """
        if self._high is None:
            e = (self._scores - mean[:, None]) / sd[:, None]
            e[self._strangers[:, self._owner] == 0] = -np.inf
            rows, columns = np.nonzero(e > min(1.0, float(np.sort(e, axis=None)[-2])))
            self._high = rows, columns, self._scores[rows, columns]
        return self._high


def over_probes(values: np.ndarray) -> float:
    """The mean over probes. `values` (probes,) come from `Tail.survival`, or are a function of such values."""
    return float((_WEIGHT * values).sum())


def fit_excess(excess: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """(rate, bend) of exceedances x >= 0 (n,) with survival exp(-rate x - bend x^2), by weighted maximum likelihood.

    For a fixed r = bend / rate the rate has a closed form, 1 / mean(x + r x^2), so a search over r is enough.
    """
    x = np.maximum(np.asarray(excess, np.float64), 0)
    weight = np.ones(len(x)) if weight is None else weight
    if not len(x) or float(weight @ x) <= 1e-9 * weight.sum():
        return 1e3, 0.0
    if len(x) > _BINS:  # the means of bins give the same fit in less time
        at = np.minimum((x * (_BINS / x.max())).astype(int), _BINS - 1)
        held = np.bincount(at, weight, _BINS)
        kept = held > 0
        x, weight = np.bincount(at, weight * x, _BINS)[kept] / held[kept], held[kept]
    weight = weight / weight.sum()
    mean = float(weight @ x)

    def log_likelihood(r: float) -> float:
        return float(-np.log(weight @ (x + r * x**2)) + weight @ np.log1p(2 * r * x))

    grid = np.concatenate([[0.0], np.geomspace(1e-2, 1e2, 25)]) / mean
    for _ in range(3):  # each pass refines the grid between the neighbours of the best
        best = int(np.argmax([log_likelihood(r) for r in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        r = grid[best]
        grid = np.linspace(low, high, 11)
    rate = 1 / float(weight @ (x + r * x**2))
    return rate, float(r * rate)
