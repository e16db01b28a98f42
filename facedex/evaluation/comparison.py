"""Two models on the same trials: is the difference real, or chance?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedex.evaluation.bootstrap import Figure, difference
from facedex.evaluation.error_rates import Key
from facedex.evaluation.pairs_protocol import PairsReport
from facedex.evaluation.people_protocol import PeopleReport


@dataclass(frozen=True)
class Comparison:
    """The figures of model `a` minus those of model `b`, on the same trials.

    `on` is "listed pairs" or "every pair". `differences` holds for each figure the difference and the p of no
    difference, by resampling people. For listed pairs, `only_a` and `only_b` count the pairs that only one model
    decided rightly, and `mcnemar` is McNemar's p.
    """

    a: str
    b: str
    on: str
    differences: dict[Key, tuple[Figure, float]]
    only_a: int | None = None
    only_b: int | None = None
    mcnemar: float | None = None


def compare(a: PeopleReport | PairsReport, b: PeopleReport | PairsReport) -> Comparison:
    """Compare two reports on the same photos, made with the same seed."""
    differences = {
        key: difference(figure, b.figures[key])
        for key, figure in a.figures.items()
        if key in b.figures and len(figure.draws) == len(b.figures[key].draws) > 0
    }
    if isinstance(a, PairsReport) and isinstance(b, PairsReport):
        only_a, only_b = int((a.correct & ~b.correct).sum()), int((b.correct & ~a.correct).sum())
        return Comparison(a.model, b.model, "listed pairs", differences, only_a, only_b, mcnemar(only_a, only_b))
    return Comparison(a.model, b.model, "every pair", differences)


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p that two models are equally often right (McNemar 1947, by the tail of the binomial).

    The arguments count the trials that only one of the two got right. Pairs that share a person count as independent.
    """
    total, fewer = only_a + only_b, min(only_a, only_b)
    # Logarithms of the binomial coefficients of 0 .. fewer, each from the one before.
    k = np.arange(1, fewer + 1)
    terms = np.concatenate([[0.0], np.cumsum(np.log((total - k + 1) / k))])
    return min(1.0, float(np.exp(np.logaddexp.reduce(terms) + (1 - total) * np.log(2.0))))
