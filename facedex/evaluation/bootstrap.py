"""Intervals by drawing people again: photos of one person are no independent evidence, people are.

Efron and Tibshirani 1993, chapter 13 (percentiles); for pairs, the bootstrap over vertices (Snijders and Borgatti 1999):
a pair of two people counts as often as the product of how often each was drawn, a pair of one person's photos as
often as that person was. Where false matches are so rare that each is two other people's, that errs on the wide side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REPLICATES = 1000


@dataclass(frozen=True)
class Figure:
    """A measured value and what it came to in each replicate, `draws` (replicates,); `people` had a part in it."""

    value: float
    draws: np.ndarray
    people: int = 0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; (nan, nan) without draws.

        Where nobody failed, or everybody, drawing again shows no spread: then the exact limit for no event among
        `people` (Clopper and Pearson 1934) stands in.
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

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, draws: np.ndarray) -> Curve:
        """With the band from draws (replicates, n), those left out in which nobody was drawn who tells."""
        usable = draws[np.isfinite(draws).all(axis=1)]
        low, high = np.percentile(usable if len(usable) else draws, [2.5, 97.5], axis=0)
        return cls(np.asarray(x), np.asarray(y), low, high)


def people_weights(people: int, seed: int, replicates: int = REPLICATES) -> np.ndarray:
    """How often each of `people` was drawn, with replacement: (replicates, people) float32.

    The same seed gives the same draws, so that two models are compared on the same people.
    """
    rng = np.random.default_rng([seed, 0xB007])
    return rng.multinomial(people, np.full(people, 1 / people), size=replicates).astype(np.float32)


def difference(a: Figure, b: Figure) -> tuple[Figure, float]:
    """a - b, replicate by replicate, and the two-sided p of no difference.

    p is the share of draws on the far side of nought, doubled (the percentile interval turned round); never below
    2 / (replicates + 1), which is all that so many draws can show.
    """
    apart = a.draws - b.draws
    apart = apart[np.isfinite(apart)]
    below, above = (apart <= 0).sum(), (apart >= 0).sum()
    p = min(1.0, 2 * (float(min(below, above)) + 1) / (len(apart) + 1))
    return Figure(a.value - b.value, apart), p
