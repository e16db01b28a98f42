"""Error rates of a comparison, by their names in ISO/IEC 19795-1. Higher scores mean "same person"."""

from __future__ import annotations

import numpy as np


def threshold_at_fmr(impostor: np.ndarray, fmr: float) -> float:
    """The lowest score that at most this share of impostor scores reaches or passes."""
    allowed = int(np.floor(fmr * len(impostor)))
    if allowed >= len(impostor):
        return float("-inf")
    top = np.partition(impostor, len(impostor) - 1 - allowed)[len(impostor) - 1 - allowed]
    return float(np.nextafter(top, np.inf, dtype=np.asarray(impostor).dtype))


def tar_at_far(genuine: np.ndarray, impostor: np.ndarray, far: float) -> float:
    """TAR@FAR = 1 - FNMR at the threshold whose FMR is at most `far`."""
    return float((genuine >= threshold_at_fmr(impostor, far)).mean())


def best_accuracy(genuine: np.ndarray, impostor: np.ndarray) -> tuple[float, float]:
    """(accuracy, threshold) at the best threshold, genuine and impostor pairs counting half each."""
    scores = np.concatenate([genuine, impostor])
    same = np.concatenate([np.full(len(genuine), 0.5 / len(genuine)), np.zeros(len(impostor))])
    different = np.concatenate([np.zeros(len(genuine)), np.full(len(impostor), 0.5 / len(impostor))])
    order = np.argsort(-scores, kind="stable")
    # Accuracy when the i highest are called the same person, for i = 0 .. n.
    gain = 0.5 + np.concatenate([[0.0], np.cumsum(same[order] - different[order])])
    scores = scores[order]
    possible = np.concatenate([[True], scores[1:] < scores[:-1], [True]])  # not between equal scores
    best = int(np.flatnonzero(possible)[np.argmax(gain[possible])])
    if best == 0:
        return float(gain[0]), float(scores[0] + 1)
    threshold = scores[best - 1] if best == len(scores) else (scores[best - 1] + scores[best]) / 2
    return float(gain[best]), float(threshold)


def auc(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a genuine score exceeds an impostor score, ties counting half."""
    ordered = np.sort(impostor)
    below = np.searchsorted(ordered, genuine, side="left")
    ties = np.searchsorted(ordered, genuine, side="right") - below
    return float((below + 0.5 * ties).mean() / len(impostor))


def pair_scores(matrix: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Genuine and impostor scores of all pairs i < j, from a score matrix (n, n) and each row's person (n,)."""
    i, j = np.triu_indices(len(people), 1)
    scores = matrix[i, j]
    same = people[i] == people[j]
    return scores[same], scores[~same]
