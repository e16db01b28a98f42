"""One face against one: TAR, EER, AUC and calibration of scored pairs, with intervals."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.decision.calibration import Calibration
from facedex.evaluation.allpairs import AllPairs
from facedex.evaluation.bootstrap import Curve, Figure

FARS = (1e-2, 1e-3, 1e-4, 1e-5)
LEAST = 10  # impostor pairs that must lie above a threshold before its FMR is reported

_ROC_FMRS = np.logspace(-6, 0, 121)
_THRESHOLDS = 4096  # where FMR and FNMR are compared for the EER
_BINS = 10  # of the reliability plot
# Impostor pairs in a replicate: all of the top, some of the tail, some of the body. With so many of the body, drawing
# pairs widens the interval of a thousand people by less than a tenth.
_TOP, _SOME, _BODY = 10_000, 25_000, 100_000

Key = tuple[str, str]  # a figure's name and argument, as ("tar", "0.01") or ("eer", "")
Values = NDArray[np.floating[Any]]
Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class ErrorRates:
    """Figures by (name, argument), and the ROC (TAR over FMR).

    `reliability` is the share of genuine pairs over the probability given, and `reliability_weight` is how much of the
    weight each point carries. Both are None without a calibration.
    """

    figures: dict[Key, Figure]
    roc: Curve
    reliability: Curve | None
    reliability_weight: Values | None


class Sample:
    """Genuine and impostor scores, each highest first, whose figures follow for any weights of the pairs.

    The rank of each score among the others is found once. A replicate then takes a few cumulative sums.
    """

    def __init__(
        self, genuine: Values, impostor: Values, fars: tuple[float, ...], calibration: Calibration | None
    ) -> None:
        self._fars = np.array([*fars, *_ROC_FMRS])
        self._genuine_above = np.searchsorted(-genuine, -impostor, side="left")  # above each impostor score
        self._impostors_above = np.searchsorted(-impostor, -genuine, side="left")  # above each genuine score
        self._impostors_at_or_above = np.searchsorted(-impostor, -genuine, side="right")
        both = np.unique(np.concatenate([genuine, impostor]))
        thresholds = both[np.unique(np.linspace(0, len(both) - 1, _THRESHOLDS).astype(int))]
        self._accepted = [np.searchsorted(-scores, -thresholds, side="right") for scores in (genuine, impostor)]
        self._calibrated = calibration is not None
        if calibration is not None:
            self._probabilities = [np.asarray(calibration.similarity(scores)) for scores in (genuine, impostor)]
            edges = np.linspace(0, 1, _BINS + 1)[1:-1]
            self._edges = [np.searchsorted(-p, -edges, side="right") for p in self._probabilities]
            self._over_half = [int(np.searchsorted(-p, -0.5, side="left")) for p in self._probabilities]

    def figures(self, genuine: Values, impostor: Values) -> dict[str, Values]:
        """All figures where each score counts for `genuine` or `impostor` pairs; the weights are as long as the scores.

        - tar: at each FAR asked for and at each point of the ROC, at the lowest threshold whose FMR does not exceed it.
        - eer: where FMR and FNMR cross, interpolated between thresholds.
        - auc: Mann-Whitney, ties count half.

        With a calibration, genuine and impostor pairs have half the weight each:

        - p50: the accuracy of "same when p > .5";
        - weight, stated, realised: of each tenth of the probabilities its weight, its mean probability and its share of
          genuine pairs;
        - ece: the mean distance of stated and realised (Naeini et al. 2015).
        """
        genuine_sums, impostor_sums = _shares(genuine), _shares(impostor)
        first = np.searchsorted(impostor_sums[1:], self._fars * (1 + 1e-12), side="right")
        first = np.minimum(first, len(self._genuine_above))
        tar = np.append(genuine_sums[self._genuine_above], 1.0)[first]
        rivals = (impostor_sums[self._impostors_above] + impostor_sums[self._impostors_at_or_above]) / 2
        auc = (genuine * (1 - rivals)).sum() / genuine.sum(dtype=np.float64)
        eer = _crossing(1 - genuine_sums[self._accepted[0]], impostor_sums[self._accepted[1]])
        found: dict[str, Values] = {"tar": tar, "auc": np.array(auc), "eer": np.array(eer)}
        if self._calibrated:
            accepted, rejected = genuine_sums[self._over_half[0]], 1 - impostor_sums[self._over_half[1]]
            found["p50"] = np.array((accepted + rejected) / 2)
            found.update(self._reliability((genuine_sums, impostor_sums), (genuine, impostor)))
        return found

    def _reliability(self, sums: tuple[Values, Values], weights: tuple[Values, Values]) -> dict[str, Values]:
        """The figures of the reliability plot, (bins,) each, and the expected calibration error."""
        shares, masses = [], []  # of genuine and of impostor pairs: share of the weight, and sum of probabilities
        for total, p, weight, edges in zip(sums, self._probabilities, weights, self._edges, strict=True):
            mass = np.concatenate([[0.0], np.cumsum(weight * p, dtype=np.float64)]) / weight.sum()
            ends = np.concatenate([[len(p)], edges, [0]])
            shares.append((total[ends[:-1]] - total[ends[1:]]) / 2)
            masses.append((mass[ends[:-1]] - mass[ends[1:]]) / 2)
        weight, stated = shares[0] + shares[1], masses[0] + masses[1]
        ece = np.abs(shares[0] - stated).sum()
        with np.errstate(invalid="ignore"):
            return {"ece": np.array(ece), "weight": weight, "stated": stated / weight, "realised": shares[0] / weight}


@dataclass(frozen=True)
class PairPeople:
    """Whom the pairs of a Sample show, and how many pairs each impostor pair stands for.

    `genuine` (n,), `first` and `second` (m,) are indices of people; `counts` (m,).
    """

    genuine: Indices
    first: Indices
    second: Indices
    counts: Values


def measure_error_rates(
    pairs: AllPairs,
    weights: NDArray[np.float32],
    fars: tuple[float, ...] = FARS,
    calibration: Calibration | None = None,
    seed: int = 0,
) -> ErrorRates:
    """Figures of all pairs, with intervals from the people drawn in each replicate, `weights` (replicates, people).

    The figures themselves are of every pair. A replicate takes some 130,000 impostor pairs instead: all of the highest,
    some of the tail and some of the body, and each counts for those left out. Its figures are shifted by what these
    pairs give when everybody counts once, so only the spread comes from the replicates.
    """
    scores, counts = pairs.impostor_scores()
    every_pair = Sample(pairs.genuine.scores, scores, fars, calibration)
    exact = every_pair.figures(np.ones(len(pairs.genuine)), counts)

    sample, people = _thinned(pairs, fars, calibration, seed)
    draws = replicates(sample, weights, people)
    start = sample.figures(np.ones(len(people.genuine)), people.counts)
    draws = {key: np.clip(drawn + (exact[key] - start[key]), 0, 1) for key, drawn in draws.items()}
    supported = [far * pairs.impostors >= LEAST for far in fars]
    paired_people = len(np.unique(pairs.people[pairs.genuine.i]))
    return _with_intervals(exact, draws, fars, supported, paired_people)


def replicates(sample: Sample, weights: NDArray[np.float32], people: PairPeople) -> dict[str, Values]:
    """Figures of each replicate, stacked: (replicates, …). `weights` (replicates, people) is how often each was drawn.

    A replicate in which no genuine or no impostor pair was drawn is NaN, so the replicates of two models stay paired.
    """

    def draw(weight: NDArray[np.float32]) -> dict[str, Values] | None:
        genuine = weight[people.genuine]
        impostor = weight[people.first] * weight[people.second] * people.counts
        return sample.figures(genuine, impostor) if genuine.any() and impostor.any() else None

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        drawn = list(pool.map(draw, weights))
    missing = {key: np.full_like(value, np.nan) for key, value in next(filter(None, drawn)).items()}
    return {key: np.stack([(figures or missing)[key] for figures in drawn]) for key in missing}


def _thinned(
    pairs: AllPairs, fars: tuple[float, ...], calibration: Calibration | None, seed: int
) -> tuple[Sample, PairPeople]:
    """A part of all pairs that is small enough for a thousand replicates."""
    rng = np.random.default_rng([seed, 0x5A3])
    genuine, body = pairs.genuine, pairs.body
    if len(genuine) > 2 * _SOME:
        genuine = genuine[np.sort(rng.choice(len(genuine), 2 * _SOME, replace=False))]
    chosen, counts = np.arange(len(pairs.tail)), np.ones(len(pairs.tail))
    if len(chosen) > _TOP + _SOME:
        rest = len(chosen) - _TOP
        drawn = _TOP + np.sort(rng.choice(rest, _SOME, replace=False))
        counts = np.concatenate([np.ones(_TOP), np.full(_SOME, rest / _SOME)])
        chosen = np.concatenate([np.arange(_TOP), drawn])
    if len(body) > _BODY:
        body = body[np.sort(rng.choice(len(body), _BODY, replace=False))]
    tail, below = pairs.tail[chosen], pairs.impostors - len(pairs.tail)
    counts = np.concatenate([counts, np.full(len(body), below / max(len(body), 1))])
    first, second = np.concatenate([tail.i, body.i]), np.concatenate([tail.j, body.j])
    sample = Sample(genuine.scores, np.concatenate([tail.scores, body.scores]), fars, calibration)
    return sample, PairPeople(pairs.people[genuine.i], pairs.people[first], pairs.people[second], counts)


def _with_intervals(
    exact: dict[str, Values], draws: dict[str, Values], fars: tuple[float, ...], supported: list[bool], people: int
) -> ErrorRates:
    """Figures and curves from the exact values and the replicates. `people` have genuine pairs.

    A FAR that is not `supported` by enough impostor pairs gives nan.
    """
    figures: dict[Key, Figure] = {}
    for place, far in enumerate(fars):
        if supported[place]:
            figures["tar", f"{far:g}"] = Figure(float(exact["tar"][place]), draws["tar"][:, place], people)
        else:
            figures["tar", f"{far:g}"] = Figure(float("nan"), np.empty(0), people)
    for key in ("eer", "auc", "p50", "ece"):
        if key in exact:
            figures[key, ""] = Figure(float(exact[key]), draws[key], people)
    roc = Curve.of(_ROC_FMRS, exact["tar"][len(fars) :], draws["tar"][:, len(fars) :])
    if "stated" not in exact:
        return ErrorRates(figures, roc, None, None)
    filled = exact["weight"] > 1e-4
    finite = np.isfinite(draws["weight"]).all(axis=1)
    # A replicate may have no pair in a bin; the exact share then stands in for it.
    realised = np.where(np.isfinite(draws["realised"]), draws["realised"], exact["realised"])[finite][:, filled]
    reliability = Curve.of(exact["stated"][filled], exact["realised"][filled], realised)
    return ErrorRates(figures, roc, reliability, exact["weight"][filled])


def _shares(weights: Values) -> Values:
    """The share of the weight that the first 0 .. n pairs have, (n + 1,)."""
    sums = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    return np.asarray(sums / sums[-1])


def _crossing(fnmr: Values, fmr: Values) -> float:
    """The rate at which FNMR and FMR, each (n,) over rising thresholds, are equal."""
    gap = fnmr - fmr  # rises with the threshold
    after = int(np.searchsorted(gap, 0))
    if after == 0 or after == len(gap):
        end = min(after, len(gap) - 1)
        return float((fnmr[end] + fmr[end]) / 2)
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(fmr[after - 1] + share * (fmr[after] - fmr[after - 1]))
