"""Logits to probabilities, and the threshold for a stated rate of false alarms at a gallery's size.

Fitted on people that were neither trained on nor used to choose the checkpoint.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facedex.errors import DataError, ModelError

LEAST_PEOPLE = 4  # below, there is no tail to speak of
_LEVELS = 64  # quantiles kept of the probes' own tails


@dataclass(frozen=True)
class Calibration:
    """What turns a logit into an answer.

    `slope`, `offset`: Platt scaling, P(same) = sigmoid(slope * logit + offset) when half the pairs are the same.
    `tail_start` (levels,): quantiles over probes of the score that a share `tail_share` of a probe's impostors
    exceed; `tail_rate` and `tail_bend`: how fast fewer go further. Of N strangers' scores against one probe, about
    N * tail_share * exp(-rate * e - bend * e^2) pass t, e = t - start.
    """

    slope: float
    offset: float
    tail_start: tuple[float, ...]
    tail_share: float
    tail_rate: float
    tail_bend: float
    people: int
    faces: int

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> Calibration:
        """Read from a model's metadata. Raises ModelError when it has none."""
        try:
            stored = dict(meta["calibration"])
            stored["tail_start"] = tuple(float(value) for value in stored["tail_start"])
            return cls(**stored)
        except (KeyError, TypeError, ValueError):
            raise ModelError("The model has no calibration that this facedex can read; train it again") from None

    def to_meta(self) -> dict[str, Any]:
        return asdict(self)

    def similarity(self, logit: np.ndarray | float) -> np.ndarray:
        """Calibrated probability that a pair is the same person, if half of all pairs were."""
        return _sigmoid(self.slope * np.asarray(logit, np.float64) + self.offset)

    def false_alarm_rate(self, threshold: float, size: int) -> float:
        """FPIR: the chance that the best of `size` enrolled strangers passes the threshold.

        Mean over probes of 1 - exp(-expected passes of this probe): a probe that resembles one stranger resembles
        many, so each keeps a tail of its own (extreme values, Poisson form; Coles 2001, section 7.3).
        """
        excess = threshold - np.asarray(self.tail_start)
        # Below the start the tail says nothing; there its first slope goes on, so that the rate stays monotone.
        exponent = self.tail_rate * excess + self.tail_bend * np.maximum(excess, 0) ** 2
        passes = size * self.tail_share * np.exp(np.minimum(-exponent, 50))
        return float(-np.expm1(-passes).mean())

    def threshold(self, size: int, fpir: float) -> float:
        """The logit above which a stranger is named with probability `fpir` against `size` enrolled people."""
        if not 0 < fpir < 1:
            raise ValueError(f"fpir must lie between 0 and 1, not {fpir}")
        if size < 1:
            return float("inf")
        low = min(self.tail_start) - 50 / self.tail_rate
        high = max(self.tail_start) + (np.log(size / fpir) + 1) / self.tail_rate
        for _ in range(80):
            middle = (low + high) / 2
            if self.false_alarm_rate(middle, size) > fpir:
                low = middle
            else:
                high = middle
        return float(high)

    def posterior(self, logits: np.ndarray, size: int, prior: float) -> np.ndarray:
        """Probability of each candidate (n,) that the name is right, given the gallery.

        Bayes over "one of the `size` enrolled, each equally likely, with probability `prior` together" and "nobody
        of them", with the pairs' likelihood ratios exp(slope * logit + offset) taken as independent:

            P_i = (prior / N) r_i / (1 - prior + (prior / N) sum_j r_j)
        """
        if not len(logits):
            return np.empty(0)
        terms = self.slope * np.asarray(logits, np.float64) + self.offset + np.log(prior / size)
        top = max(float(terms.max()), 0.0)
        weights = np.exp(terms - top)
        return weights / ((1 - prior) * np.exp(-top) + weights.sum())


def fit(matrix: np.ndarray, people: np.ndarray) -> Calibration:
    """Fit on a matrix of logits (n, n) of n faces and whom each shows (n,).

    Raises DataError with fewer than four people, or no two faces of one.
    """
    persons, index = np.unique(people, return_inverse=True)
    i, j = np.triu_indices(len(people), 1)
    same = people[i] == people[j]
    scores = matrix[i, j]
    if len(persons) < LEAST_PEOPLE or not same.any():
        raise DataError("Calibration needs at least four people, some of them with two photos; add people")
    slope, offset = platt(scores[same], scores[~same])

    # One face of each other person is what a gallery of one-shot enrolments holds.
    first = np.unique(index, return_index=True)[1]
    against = matrix[:, first].astype(np.float64)
    against[np.arange(len(people)), index] = -np.inf
    ordered = -np.sort(-against, axis=1)[:, : len(persons) - 1]
    kept = max(1, min(round(0.05 * ordered.shape[1]), 50))
    start = ordered[:, min(kept, ordered.shape[1] - 1)]
    rate, bend = fit_tail((ordered[:, :kept] - start[:, None]).ravel())
    levels = np.quantile(start, (np.arange(_LEVELS) + 0.5) / _LEVELS)
    return Calibration(
        slope, offset, tuple(round(float(level), 4) for level in levels),
        kept / ordered.shape[1], rate, bend, len(persons), len(people),
    )  # fmt: skip


def with_tail_of(fitted: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A calibration's metadata with the impostor tail of another: for people too few to show one of their own."""
    return {**other, "slope": fitted["slope"], "offset": fitted["offset"]}


def fit_tail(excess: np.ndarray) -> tuple[float, float]:
    """(rate, bend) of exceedances e >= 0 (n,) with survival exp(-rate e - bend e^2), by maximum likelihood.

    bend = 0 is the exponential tail of extreme-value theory (Coles 2001, chapter 4, shape 0). Sums of many small
    differences, as an L1 distance is, have tails that still fall like a Gaussian's where data can show it; fitting
    that bend (a hazard rate + 2 bend e that rises with e) keeps a far threshold from being several times too
    strict. With r = bend / rate fixed the rate has a closed form, n / sum(e + r e^2), so one search over r is all.
    """
    e = np.maximum(np.asarray(excess, np.float64), 0)
    mean = float(e.mean())
    if mean <= 0:
        return 1e3, 0.0

    def log_likelihood(r: float) -> float:
        spread = e + r * e**2
        return float(np.log(1 / spread.mean()) + np.log1p(2 * r * e).mean() - 1)

    r = max(np.concatenate([[0.0], np.geomspace(1e-3, 1e2, 400)]) / mean, key=log_likelihood)
    rate = 1 / float((e + r * e**2).mean())
    return rate, r * rate


def platt(genuine: np.ndarray, impostor: np.ndarray) -> tuple[float, float]:
    """Slope and offset of Platt scaling (Platt 1999, by Newton's method as in Lin et al. 2007), the two kinds
    of pair weighing half each, with Platt's smoothed targets; the slope is kept positive.
    """
    x = np.concatenate([genuine, impostor]).astype(np.float64)
    weight = np.concatenate([np.full(len(genuine), 0.5 / len(genuine)), np.full(len(impostor), 0.5 / len(impostor))])
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
        p = _sigmoid(design @ theta)
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


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -z))
