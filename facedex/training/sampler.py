"""The faces of each training step: P people with K photos each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.errors import DataError

_LARGEST_SINGLE_SHARE = 4  # people with one photo fill at most a quarter of a batch


class PKSampler:
    """P people x K photos for every step, drawn from (seed, step) alone, so any step can be drawn again.

    People with one photo serve as negatives: each fills one place, in at most a quarter of the batch.
    Hermans et al. 2017, section 2 ("PK-style batches").
    """

    def __init__(self, people: NDArray[np.integer[Any]], p: int, k: int, seed: int) -> None:
        """`people` (n,) int is the person of each face. Raises DataError when nobody has two photos."""
        counts = np.bincount(people)
        order = np.argsort(people, kind="stable")
        groups = np.split(order, np.cumsum(counts)[:-1])
        self._paired = [group for group in groups if len(group) >= 2]
        self._single = np.array([group[0] for group in groups if len(group) == 1], np.int64)
        if not self._paired:
            raise DataError("Nobody has two photos; training needs people with two photos or more")
        self._singles = min(p * k // _LARGEST_SINGLE_SHARE, len(self._single))
        self._k = k
        self._seed = seed
        self.size = p * k

    def batch(self, step: int) -> NDArray[np.int64]:
        """Positions of the step's faces, (P * K,) int64."""
        rng = np.random.default_rng([self._seed, step, 0xB47C])
        wanted = self.size - self._singles
        chosen: list[NDArray[np.int64]] = []
        filled = 0
        # A small album has fewer than P people: they are drawn again, so that the batch is full.
        while filled < wanted:
            for person in rng.permutation(len(self._paired))[: -(-(wanted - filled) // self._k)]:
                photos = rng.permutation(self._paired[person])[: self._k]
                chosen.append(photos)
                filled += len(photos)
        drawn = np.concatenate(chosen)[:wanted]
        return np.concatenate([drawn, rng.choice(self._single, self._singles, replace=False)]).astype(np.int64)

    def random_pairs(self, step: int) -> NDArray[np.int64]:
        """Positions of pairs (0, 1), (2, 3), …, (P * K,) int64; every other pair is the same (Koch et al. 2015)."""
        rng = np.random.default_rng([self._seed, step, 0x2015])
        draw = (self._same_pair, self._different_pair)
        return np.concatenate([draw[pair % 2](rng) for pair in range(self.size // 2)]).astype(np.int64)

    def _same_pair(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Two photos of one person, (2,) positions."""
        return rng.choice(self._paired[rng.integers(len(self._paired))], 2, replace=False)

    def _different_pair(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """One photo each of two people, (2,) positions."""
        paired = len(self._paired)
        people = rng.choice(paired + len(self._single), 2, replace=False)
        return np.array([rng.choice(self._paired[i]) if i < paired else self._single[i - paired] for i in people])
