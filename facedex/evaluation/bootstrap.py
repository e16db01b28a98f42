"""Confidence intervals by resampling people: photos of one person are not independent evidence, people are.

The method is the percentile bootstrap (Efron and Tibshirani 1993, chapter 13). For pairs it is the bootstrap over
vertices (Snijders and Borgatti 1999). A pair of two people counts as often as the product of both people's draws. A
pair of one person's photos counts as often as that person was drawn. Where false matches are so rare that each shows
two other people, the intervals come out too wide rather than too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Figure:
    """A measured value with its value in each replicate, `draws` (replicates,). `people` is how many it rests on."""

    value: float
    draws: Values
    people: int = 0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; (nan, nan) without draws.

        Where nobody failed, or everybody, resampling shows no spread. Then the exact limit for no event among
        `people` takes its place (Clopper and Pearson 1934).
        """
        usable = self.draws[np.isfinite(self.draws)]
        if not len(usable):
            return float("nan"), float("nan")
        low, high = np.percentile(usable, [2.5, 97.5])
        if self.people and low == high == self.value and self.value in (0, 1):
            limit = 1 - 0.025 ** (1 / self.people)
            return (0.0, limit) if self.value == 0 else (1 - limit, 1.0)
        return float(low), float(high)


@dataclass(frozen=True)
class Curve:
    """y over x, each (n,), with the 95 % band `low` and `high` (n,)."""

    x: Values
    y: Values
    low: Values
    high: Values

    @classmethod
    def of(cls, x: Values, y: Values, draws: Values) -> Curve:
        """A curve whose band comes from draws (replicates, n); replicates that are not finite are left out."""
        usable = draws[np.isfinite(draws).all(axis=1)]
        low, high = np.percentile(usable if len(usable) else draws, [2.5, 97.5], axis=0)
        return cls(np.asarray(x), np.asarray(y), low, high)


def people_weights(people: int, seed: int, replicates: int = REPLICATES) -> NDArray[np.float32]:
    """How often each of `people` was drawn with replacement, (replicates, people) float32.

    The same seed gives the same draws, so two models are compared on the same people.
    """
    rng = np.random.default_rng([seed, 0xB007])
    return rng.multinomial(people, np.full(people, 1 / people), size=replicates).astype(np.float32)


def difference(a: Figure, b: Figure) -> tuple[Figure, float]:
    """a - b in each replicate, and the two-sided p of no difference.

    p is twice the share of draws on the other side of zero (the percentile interval, inverted). p is never below
    2 / (replicates + 1), which is all that so many draws can show.
    """
    gaps = a.draws - b.draws
    gaps = gaps[np.isfinite(gaps)]
    below, above = (gaps <= 0).sum(), (gaps >= 0).sum()
    p = min(1.0, 2 * (float(min(below, above)) + 1) / (len(gaps) + 1))
    return Figure(a.value - b.value, gaps), p
