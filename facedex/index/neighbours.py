"""Each face with the faces nearest to it: the candidates for grouping a whole library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facedex.index.flat import projected
from facedex.index.quantised import euclidean
from facedex.model.head import Head

NEAREST = 50  # with 20 to 100 the groups of the benchmark are the same to a tenth of a point
_BLOCK = 4096  # faces searched at a time


def nearest_pairs(head: Head, vectors: NDArray[np.float32], nearest: int = NEAREST) -> NDArray[np.int64]:
    """Pairs (p, 2) int64 of each of n faces with its nearest, the lower row first, none twice.

    `vectors` (n, d) float32 are embeddings. The search is exact under L2 of the projections, whose order is nearly the
    head's order (index/quantised.py). It takes time in proportion to n squared: see scripts/benchmarks/README.md.
    Raises ValueError for vectors that are not finite.
    """
    import faiss

    turn = euclidean(head)
    points = np.empty((len(vectors), turn.shape[1]), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        points[start : start + _BLOCK] = projected(head, vectors[start : start + _BLOCK]) @ turn
    index = faiss.IndexFlatL2(turn.shape[1])
    index.add(points)
    keys = []
    for start in range(0, len(points), _BLOCK):
        found = index.search(points[start : start + _BLOCK], min(nearest + 1, len(points)))[1]
        rows = np.arange(start, start + len(found))[:, None]
        low, high = np.minimum(found, rows), np.maximum(found, rows)
        keys.append((low * len(points) + high)[low != high])
    unique = np.unique(np.concatenate(keys)) if keys else np.empty(0, np.int64)
    return np.stack(np.divmod(unique, max(len(points), 1)), 1)
