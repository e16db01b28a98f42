"""Several photos of one person to one score."""

from __future__ import annotations

import numpy as np


def fuse(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """The fused logit of one person's photos: the logarithm of their mean odds, log mean exp(logit).

    It lies between the best photo's logit and the mean's. The best alone rewards a lucky resemblance, which people
    with many photos have more chances of; the mean alone lets a poor photo spoil a good one (scripts/benchmarks/photo_fusion.py).
    """
    logits = np.asarray(logits, np.float64)
    top = logits.max(axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(logits - top).mean(axis))


def fuse_people(logits: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One score a person, best first: from logits (n,) of faces and whose each is (n,).

    Returns (people, scores, photos), each (m,): whom, the fused logit, and how many faces went into it. People of
    equal scores come in the order of their numbers.
    """
    persons, index, photos = np.unique(people, return_inverse=True, return_counts=True)
    top = np.full(len(persons), -np.inf)
    np.maximum.at(top, index, logits)
    odds = np.bincount(index, np.exp(np.asarray(logits, np.float64) - top[index]), len(persons))
    scores = top + np.log(odds / photos)
    order = np.lexsort((persons, -scores))
    return persons[order], scores[order], photos[order]
