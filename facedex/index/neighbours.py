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
    keys = []
    for start in range(0, len(points), _BLOCK):
        # Unlike an index, `knn` makes no copy of the points.
        found = faiss.knn(points[start : start + _BLOCK], points, min(nearest + 1, len(points)))[1]
        rows = np.arange(start, start + len(found))[:, None]
        low, high = np.minimum(found, rows), np.maximum(found, rows)
        keys.append((low * len(points) + high)[low != high])
    del points
    every = np.concatenate(keys) if keys else np.empty(0, np.int64)
    keys.clear()
    every.sort()
    unique = every[np.flatnonzero(np.diff(every, prepend=-1))]
    pairs = np.empty((len(unique), 2), np.int64)
    np.divmod(unique, max(len(vectors), 1), out=(pairs[:, 0], pairs[:, 1]))
    return pairs
