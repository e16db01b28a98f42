"""Error rates of a comparison, by their names in ISO/IEC 19795-1. Higher scores mean "same person"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]


def threshold_at_fmr(impostor: Scores, fmr: float) -> float:
    """The lowest threshold that at most a share `fmr` of the impostor scores (n,) reaches."""
    allowed = int(np.floor(fmr * len(impostor)))
    if allowed >= len(impostor):
        return float("-inf")
    top = np.partition(impostor, len(impostor) - 1 - allowed)[len(impostor) - 1 - allowed]
    return float(np.nextafter(top, np.inf, dtype=np.asarray(impostor).dtype))


def tar_at_far(genuine: Scores, impostor: Scores, far: float) -> float:
    """TAR@FAR = 1 - FNMR at the threshold whose FMR is at most `far`."""
    return float((genuine >= threshold_at_fmr(impostor, far)).mean())


def best_accuracy(genuine: Scores, impostor: Scores) -> tuple[float, float]:
    """(accuracy, threshold) at the best threshold; genuine and impostor pairs count half each."""
    scores = np.concatenate([genuine, impostor])
    same = np.concatenate([np.full(len(genuine), 0.5 / len(genuine)), np.zeros(len(impostor))])
    different = np.concatenate([np.zeros(len(genuine)), np.full(len(impostor), 0.5 / len(impostor))])
    order = np.argsort(-scores, kind="stable")
    # gain[i] is the accuracy when the i highest scores are called the same person, for i = 0 .. n.
    gain = 0.5 + np.concatenate([[0.0], np.cumsum(same[order] - different[order])])
    scores = scores[order]
    # A threshold cannot lie between two equal scores.
    possible = np.concatenate([[True], scores[1:] < scores[:-1], [True]])
    best = int(np.flatnonzero(possible)[np.argmax(gain[possible])])
    if best == 0:
        return float(gain[0]), float(scores[0] + 1)
    threshold = scores[best - 1] if best == len(scores) else (scores[best - 1] + scores[best]) / 2
    return float(gain[best]), float(threshold)


def auc(genuine: Scores, impostor: Scores) -> float:
    """Area under the ROC curve: the probability that a genuine score exceeds an impostor score. Ties count half."""
    ordered = np.sort(impostor)
    below = np.searchsorted(ordered, genuine, side="left")
    ties = np.searchsorted(ordered, genuine, side="right") - below
    return float((below + 0.5 * ties).mean() / len(impostor))


def pair_scores(matrix: Scores, people: NDArray[np.integer[Any]]) -> tuple[Scores, Scores]:
    """Genuine and impostor scores of all pairs i < j, from scores (n, n) and the person of each row (n,)."""
    i, j = np.triu_indices(len(people), 1)
    scores = matrix[i, j]
    same = people[i] == people[j]
    return scores[same], scores[~same]
