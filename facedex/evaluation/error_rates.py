"""One face against one: TAR, EER, AUC and calibration of scored pairs, with intervals."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.evaluation.allpairs import AllPairs
from facedex.evaluation.bootstrap import Curve, Figure

FARS = (1e-2, 1e-3, 1e-4, 1e-5)
LEAST = 10  # impostor pairs that must lie above a threshold before its FMR says anything

_GRID = np.logspace(-6, 0, 121)  # FMRs of the ROC's points
_THRESHOLDS = 4096  # where FMR and FNMR are compared for the EER
_BINS = 10  # of the reliability plot
# Impostor pairs in a replicate: all of the top, some of the tail, some of the body. With so many of the body what the
# drawing of pairs adds to an interval stays below a tenth for a thousand people.
_TOP, _SOME, _BODY = 10_000, 25_000, 100_000

Key = tuple[str, str]


@dataclass(frozen=True)
class Verification:
    """Figures by (name, argument), the ROC (TAR over FMR), the reliability plot (share that is the same person over
    the probability given) with how much of the weight each point carries, or None without a calibration.
    """

    figures: dict[Key, Figure]
    roc: Curve
    reliability: Curve | None
    reliability_weight: np.ndarray | None


class Sample:
    """Genuine and impostor scores, each highest first, of which any weights give the figures.

    Where each score stands among the others is found once; a replicate is then a few running sums.
    """

    def __init__(
        self, genuine: np.ndarray, impostor: np.ndarray, fars: tuple[float, ...], calibration: Calibration | None
    ) -> None:
        self.fars = np.array([*fars, *_GRID])
        self.named = len(fars)
        self._passing = np.searchsorted(-genuine, -impostor, side="left")  # genuine scores above each impostor's
        self._above = np.searchsorted(-impostor, -genuine, side="left")
        self._least = np.searchsorted(-impostor, -genuine, side="right")
        both = np.unique(np.concatenate([genuine, impostor]))
        grid = both[np.unique(np.linspace(0, len(both) - 1, _THRESHOLDS).astype(int))]
        self._grid = [np.searchsorted(-scores, -grid, side="right") for scores in (genuine, impostor)]
        self.calibrated = calibration is not None
        if calibration is not None:
            self._likely = [calibration.similarity(scores) for scores in (genuine, impostor)]
            edges = np.linspace(0, 1, _BINS + 1)[1:-1]
            self._edges = [np.searchsorted(-likely, -edges, side="right") for likely in self._likely]
            self._half = [int(np.searchsorted(-likely, -0.5, side="left")) for likely in self._likely]

    def figures(self, genuine: np.ndarray, impostor: np.ndarray) -> dict[str, np.ndarray]:
        """All figures where each score stands for so many pairs: weights as long as the scores.

        tar: at each FAR asked for and of the grid, at the lowest threshold whose FMR does not exceed it. eer: where
        FMR and FNMR cross, between thresholds by a straight line. auc: Mann-Whitney, ties half. With a calibration,
        genuine and impostor pairs weighing half each: p50, the accuracy of "same when p > .5"; of each tenth of
        the probabilities its weight, and within it the mean probability and the share of genuine pairs; ece, their
        mean distance (Naeini et al. 2015).
        """
        g, i = (np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)]) for weights in (genuine, impostor))
        g, i = g / g[-1], i / i[-1]
        first = np.minimum(np.searchsorted(i[1:], self.fars * (1 + 1e-12), side="right"), len(self._passing))
        tar = np.append(g[self._passing], 1.0)[first]
        auc = (genuine * (1 - (i[self._above] + i[self._least]) / 2)).sum() / genuine.sum(dtype=np.float64)
        found = {"tar": tar, "auc": np.array(auc), "eer": _eer(1 - g[self._grid[0]], i[self._grid[1]])}
        if self.calibrated:
            found["p50"] = np.array((g[self._half[0]] + 1 - i[self._half[1]]) / 2)
            share, mass = [], []
            for total, likely, weights, edges in zip(
                (g, i), self._likely, (genuine, impostor), self._edges, strict=True
            ):
                sums = np.concatenate([[0.0], np.cumsum(weights * likely, dtype=np.float64)]) / weights.sum()
                ends = np.concatenate([[len(likely)], edges, [0]])
                share.append((total[ends[:-1]] - total[ends[1:]]) / 2)
                mass.append((sums[ends[:-1]] - sums[ends[1:]]) / 2)
            weight = share[0] + share[1]
            with np.errstate(invalid="ignore"):
                found.update(
                    ece=np.array(np.abs(share[0] - sum(mass)).sum()), weight=weight,
                    said=sum(mass) / weight, was=share[0] / weight,
                )  # fmt: skip
        return found


def verification(
    pairs: AllPairs,
    weights: np.ndarray,
    fars: tuple[float, ...] = FARS,
    calibration: Calibration | None = None,
    seed: int = 0,
) -> Verification:
    """Figures of all pairs, with intervals from the people drawn in each replicate, `weights` (replicates, people).

    The figures themselves are of every pair. A replicate takes some 130,000 impostor pairs instead: all of the
    highest, some of the tail and some of the body, each standing for as many as were left out; what these give
    when nobody is drawn twice is set against the figures of every pair, so that only the spread is theirs.
    """
    person = pairs.people
    scores, counts = pairs.impostor_scores()
    whole = Sample(pairs.genuine.scores, scores, fars, calibration)
    exact = whole.figures(np.ones(len(pairs.genuine)), counts)

    rng = np.random.default_rng([seed, 0x5A3])
    genuine = pairs.genuine
    if len(genuine) > 2 * _SOME:
        genuine = genuine[np.sort(rng.choice(len(genuine), 2 * _SOME, replace=False))]
    some = np.arange(len(pairs.tail))
    stands = np.ones(len(some))
    if len(some) > _TOP + _SOME:
        drawn = _TOP + np.sort(rng.choice(len(some) - _TOP, _SOME, replace=False))
        stands = np.concatenate([np.ones(_TOP), np.full(_SOME, (len(some) - _TOP) / _SOME)])
        some = np.concatenate([np.arange(_TOP), drawn])
    tail, rest, body = pairs.tail[some], pairs.impostors - len(pairs.tail), pairs.body
    if len(body) > _BODY:
        body = body[np.sort(rng.choice(len(body), _BODY, replace=False))]
    sample = Sample(genuine.scores, np.concatenate([tail.scores, body.scores]), fars, calibration)
    stands = np.concatenate([stands, np.full(len(body), rest / max(len(body), 1))])
    mine = person[genuine.i]
    one, other = (person[np.concatenate([a, b])] for a, b in ((tail.i, body.i), (tail.j, body.j)))
    draws = replicates(sample, weights, mine, one, other, stands)
    start = sample.figures(np.ones(len(genuine)), stands)
    for key, drawn in draws.items():
        draws[key] = np.clip(drawn + (exact[key] - start[key]), 0, 1)
    supported = [far * pairs.impostors >= LEAST for far in fars]
    return collect(exact, draws, fars, supported, len(np.unique(person[pairs.genuine.i])))


def replicates(
    sample: Sample, weights: np.ndarray, mine: np.ndarray, one: np.ndarray, other: np.ndarray, stands: np.ndarray
) -> dict[str, np.ndarray]:
    """Figures of each replicate, stacked: `mine` whom each genuine pair shows, `one` and `other` the impostors'.

    NaN where nobody was drawn who tells, so that the replicates of two models are of the same people.
    """

    def draw(weight: np.ndarray) -> dict[str, np.ndarray] | None:
        genuine, impostor = weight[mine], weight[one] * weight[other] * stands
        return sample.figures(genuine, impostor) if genuine.any() and impostor.any() else None

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        drawn = list(pool.map(draw, weights))
    nobody = {key: np.full_like(value, np.nan) for key, value in next(filter(None, drawn)).items()}
    return {key: np.stack([(each or nobody)[key] for each in drawn]) for key in nobody}


def collect(
    exact: dict[str, np.ndarray],
    draws: dict[str, np.ndarray],
    fars: tuple[float, ...],
    supported: list[bool],
    people: int,
) -> Verification:
    """Figures and curves of a sample's own result and its replicates'; `people` have genuine pairs. A FAR that is not
    supported gives nan.
    """
    figures: dict[Key, Figure] = {}
    for at, far in enumerate(fars):
        value = float(exact["tar"][at]) if supported[at] else float("nan")
        figures["tar", f"{far:g}"] = Figure(value, draws["tar"][:, at] if supported[at] else np.empty(0), people)
    for key in ("eer", "auc", "p50", "ece"):
        if key in exact:
            figures[key, ""] = Figure(float(exact[key]), draws[key], people)
    named = len(fars)
    roc = Curve.of(_GRID, exact["tar"][named:], draws["tar"][:, named:])
    if "said" not in exact:
        return Verification(figures, roc, None, None)
    full = exact["weight"] > 1e-4
    with np.errstate(invalid="ignore"):
        told = np.isfinite(draws["weight"]).all(axis=1)
        was = np.where(np.isfinite(draws["was"]), draws["was"], exact["was"])[told][:, full]
    return Verification(
        figures, roc, Curve.of(exact["said"][full], exact["was"][full], was), exact["weight"][full]
    )  # fmt: skip


def _eer(fnmr: np.ndarray, fmr: np.ndarray) -> np.ndarray:
    """Where the two meet, over rising thresholds."""
    apart = fnmr - fmr  # rises with the threshold
    after = int(np.searchsorted(apart, 0))
    if after == 0 or after == len(apart):
        end = min(after, len(apart) - 1)
        return np.array((fnmr[end] + fmr[end]) / 2)
    share = -apart[after - 1] / (apart[after] - apart[after - 1])
    return np.array(fmr[after - 1] + share * (fmr[after] - fmr[after - 1]))
