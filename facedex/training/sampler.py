"""Which faces a step of training sees."""

from __future__ import annotations

import numpy as np

from facedex.errors import DataError


class PKSampler:
    """P people x K photos for every step, drawn from (seed, step) alone, so that any step can be drawn again.

    People with one photo serve as negatives: each fills one place, a quarter of the batch at the most.
    Hermans et al. 2017, section 2 ("PK-style batches").
    """

    def __init__(self, people: np.ndarray, p: int, k: int, seed: int) -> None:
        counts = np.bincount(people)
        order = np.argsort(people, kind="stable")
        groups = np.split(order, np.cumsum(counts)[:-1])
        self._paired = [group for group in groups if len(group) >= 2]
        self._single = np.array([group[0] for group in groups if len(group) == 1], np.int64)
        if not self._paired:
            raise DataError("Nobody has two photos; training needs people with two photos or more")
        self._singles = min(p * k // 4, len(self._single))
        self._k = k
        self._seed = seed
        self.size = p * k

    def batch(self, step: int) -> np.ndarray:
        """Positions of the step's faces, (P * K,) int64."""
        rng = np.random.default_rng([self._seed, step, 0xB47C])
        wanted = self.size - self._singles
        chosen: list[np.ndarray] = []
        filled = 0
        # A small album has fewer than P people: they come again rather than leave the batch short.
        while filled < wanted:
            for person in rng.permutation(len(self._paired))[: -(-(wanted - filled) // self._k)]:
                photos = rng.permutation(self._paired[person])[: self._k]
                chosen.append(photos)
                filled += len(photos)
        drawn = np.concatenate(chosen)[:wanted]
        return np.concatenate([drawn, rng.choice(self._single, self._singles, replace=False)]).astype(np.int64)

    def same_pair(self, rng: np.random.Generator) -> np.ndarray:
        """Two photos of one person, (2,) positions."""
        return rng.choice(self._paired[rng.integers(len(self._paired))], 2, replace=False)

    def different_pair(self, rng: np.random.Generator) -> np.ndarray:
        """One photo each of two people, (2,) positions."""
        total = len(self._paired) + len(self._single)
        drawn = [int(i) for i in rng.choice(total, 2, replace=False)]
        pairs = [
            rng.choice(self._paired[i]) if i < len(self._paired) else self._single[i - len(self._paired)] for i in drawn
        ]
        return np.array(pairs, np.int64)
