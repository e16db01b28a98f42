"""Where a grouping of faces is unsure: how sure each answer is, and which answer is worth most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facedex.decision.calibration import Calibration
from facedex.decision.clustering import Cut, Numbers, Scores, pair_logits

DEPTH = 1.0  # logits below the cut: further down, one pair of groups in a hundred or fewer shows one person

# Two groups that lie e below the cut show one person with the odds exp(_STEEP * slope * e), with the slope of the
# calibration. On LFW and CelebA that are .34, .12, .03 and .01 at .125, .375, .625 and .875 below the cut. The share
# that did was .52, .18, .04 and .03.
_STEEP = 2.0

_REPRESENTATIVES = 9  # faces of a group that one of its faces is compared with, itself left out


def chance(calibration: Calibration, excess: Scores) -> Scores:
    """The probability (n,) that two groups show one person, by how much their score passes the cut (n,)."""
    return np.asarray(1 / (1 + np.exp(-_STEEP * calibration.slope * np.asarray(excess))))


def worth(faces: NDArray[np.int64] | Scores, probability: Scores) -> Scores:
    """What an answer is worth (n,): the faces that it names or moves, times how unsure it is.

    The unsureness is the entropy of the answer in bits, 1 for a probability of a half and 0 for a certain answer.
    """
    p = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.asarray(faces * -(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def fits(z: NDArray[np.float32], beta: float, cut: Cut, groups: Numbers) -> Scores:
    """By how much each face passes the cut to the rest of its group (n,), as if it were to join now.

    `z` (n, dim), `beta`: the head's. `groups` (n,) int64. Infinite for faces of groups below three. The score is the
    soft mean of clustering.py over some faces of the group, spread over it.
    """
    found = np.full(len(z), np.inf)
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if len(rows) < 3:
            continue
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(_REPRESENTATIVES, len(rows))).astype(np.int64))]
        pairs = np.stack(np.meshgrid(rows, chosen, indexing="ij"), -1)
        other = pairs[..., 0] != pairs[..., 1]
        strength = np.zeros(other.shape)
        strength[other] = np.exp((pair_logits(z, beta, pairs[other]) - beta) / cut.scale)
        score = beta + cut.scale * np.log(np.maximum(strength.sum(1) / other.sum(1), 1e-300))
        found[rows] = score - cut.between(np.ones(1, np.int64), np.full(1, len(rows) - 1))
    return found
