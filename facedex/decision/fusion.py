"""The scores of several photos of one person, fused to one score."""

from __future__ import annotations

import numpy as np


def fuse(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """The fused logit of one person's photos: the log of their mean odds, log mean exp(logit), along `axis`.

    The result lies between the best logit and the mean logit. The best alone would reward a lucky resemblance, and
    people with many photos have more chances of one. The mean alone would let a poor photo spoil a good one.
    """
    logits = np.asarray(logits, np.float64)
    top = logits.max(axis, keepdims=True)
    return np.asarray(np.squeeze(top, axis) + np.log(np.exp(logits - top).mean(axis)))


def fuse_people(logits: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One score a person, best first, from the logits (n,) of faces and the person of each (n,).

    Returns (people, scores, photos), each (m,): the person, the fused logit, and the number of faces in it. People of
    equal scores come in the order of their numbers.
    """
    persons, index, photos = np.unique(people, return_inverse=True, return_counts=True)
    top = np.full(len(persons), -np.inf)
    np.maximum.at(top, index, logits)
    odds = np.bincount(index, np.exp(np.asarray(logits, np.float64) - top[index]), len(persons))
    scores = top + np.log(odds / photos)
    order = np.lexsort((persons, -scores))
    return persons[order], scores[order], photos[order]
