"""The approximate kind of index, for many faces: a FAISS index of 4-bit and 8-bit codes under L2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from facedex.index.flat import Found, below, five_nearest, projected
from facedex.model.head import Head

FEWEST = 1000  # faces that FAISS can learn its codes from; fewer are searched exactly

_BLOCK = 20_000  # faces that are projected at a time; also the number of faces that the codes are learned from
_PROBES = 400  # faces by which coverage is measured
_SHORTLIST = 56  # faces among which the nearest must be: as many as the head scores for a look-up with usual options
_FACTORS = (2, 4, 8, 12, 16, 24, 32)  # values of FAISS's k_factor: rows that the 8-bit codes rank, for each candidate


class Quantised:
    """The faces that the head should score, found by FAISS under L2 over y = S f(x).

    S is the symmetric square root of (w F)^T (w F), so the L2 distance of two y is the L2 distance of their z. The
    4-bit product codes (Jegou et al. 2011) of pairs of numbers are scanned in registers (Andre et al. 2015) and choose
    `k_factor` rows for each candidate. The 8-bit codes then rank these rows and choose the candidates.

    The head's order is L1, and L2 misses some of the nearest. So the candidates are ranked by L1 as their 8-bit codes
    tell it. That takes 3 us a candidate, and reading its vector for the head takes 16 us. The number of candidates and
    `k_factor` are tuned until the first ones hold the asked share of the head's own five nearest. Threads may search at
    once.
    """

    kind = "quantised"

    def __init__(self, index: Any, turn: np.ndarray, parameters: dict[str, Any]) -> None:
        """`index`: a trained FAISS index. `turn`: see `euclidean`. `parameters`: what `_tune` returns."""
        self._index, self._turn, self.parameters = index, turn, parameters

    @classmethod
    def build(cls, head: Head, vectors: np.ndarray, coverage: float, parameters: dict[str, Any] | None) -> Quantised:
        """An index of embeddings (n, d) float32, n >= FEWEST. Raises ValueError for numbers that are not finite.

        `parameters`: those of an earlier index of nearly these faces; without them the index is tuned to `coverage`.
        """
        import faiss

        turn = euclidean(head)
        sample = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), _BLOCK)).astype(np.int64)]
        index = faiss.index_factory(turn.shape[1], _factory(turn.shape[1]))
        index.train(projected(head, sample) @ turn)
        for _, z in _projections(head, vectors):
            index.add(z @ turn)
        made = cls(index, turn, parameters or {})
        if parameters is None:
            made.parameters = made._tune(head, vectors, coverage)
        made._refine(made.parameters["k_factor"])
        return made

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], parameters: dict[str, Any], head: Head) -> Quantised:
        """The index of stored `arrays`. Raises KeyError, RuntimeError or ValueError for arrays that are none.

        FAISS trusts what it reads, so the caller has compared the arrays with their checksum.
        """
        import faiss

        index, turn = faiss.deserialize_index(arrays["index"]), euclidean(head)
        if index.d != turn.shape[1]:
            raise ValueError("The codes are not of this head's embeddings")
        return cls(index, turn, parameters)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `restore` needs: FAISS's own serialisation, (bytes,) uint8."""
        import faiss

        return {"index": faiss.serialize_index(self._index)}

    def extended(self, z: np.ndarray) -> Quantised:
        """An index of these rows and of `z` (n, dim) after them."""
        import faiss

        index = faiss.clone_index(self._index)  # a copy, because other threads may be searching this one
        index.add(z @ self._turn)
        return Quantised(index, self._turn, self.parameters)

    def search(self, z: np.ndarray, k: int) -> Found:
        """At least `k` rows near to a projected probe `z` (dim,) float32, with the distances of their codes."""
        grown = max(1.0, len(self) / self.parameters["faces"])  # more faces have joined since the tuning
        return self._search(z, max(int(self.parameters["candidates"] * grown), k))

    def _search(self, z: np.ndarray, candidates: int) -> Found:
        rows: np.ndarray = self._index.search((z @ self._turn)[None], min(candidates, len(self)))[1][0]
        rows = rows[rows >= 0]  # FAISS fills up with -1
        decoded = self._index.reconstruct_batch(rows) @ self._turn.T
        distances = below(np.abs(decoded - z).sum(1, dtype=np.float64))
        order = np.argsort(distances, kind="stable")
        horizon = float(distances.max()) if len(rows) < len(self) else float("inf")
        return Found(distances[order], rows[order], horizon)

    def _refine(self, factor: int) -> None:
        if hasattr(self._index, "k_factor"):
            self._index.k_factor = factor

    def _tune(self, head: Head, vectors: np.ndarray, coverage: float) -> dict[str, Any]:
        """Find the fewest candidates, and then the least k_factor, that give a share `coverage` of the five nearest.

        The probes are enrolled faces. Each is left out of what is found for it.
        """
        own = np.random.default_rng(0).choice(len(self), min(_PROBES, len(self)), replace=False)
        probes = projected(head, vectors[own])
        nearest = five_nearest(probes, own, _projections(head, vectors))

        def measure(candidates: int, factor: int) -> float:
            self._refine(factor)
            found = [self._search(z, candidates + 1).rows for z in probes]  # the probe itself is found besides
            firsts = [rows[rows != row][:_SHORTLIST] for rows, row in zip(found, own, strict=True)]
            return float(np.mean([np.isin(five, first).mean() for five, first in zip(nearest, firsts, strict=True)]))

        candidates, most = _SHORTLIST, max(4000, len(self) // 20)
        while candidates < most and measure(candidates, _FACTORS[-1]) < coverage:
            candidates = min(2 * candidates, most)
        for factor in _FACTORS:
            measured = measure(candidates, factor)
            if measured >= coverage:
                break
        return {
            "coverage": coverage,
            "measured": measured,
            "probes": len(own),
            "faces": len(self),
            "candidates": candidates,
            "k_factor": factor,
        }


def euclidean(head: Head) -> np.ndarray:
    """A matrix (dim, d) float32 with orthonormal columns: y = z @ matrix keeps all L2 distances of z in d numbers.

    With A = w F = P diag(s) V^T it is P V^T, the orthogonal factor of A's polar decomposition. Then y = S f, where
    S = V diag(s) V^T is the symmetric square root of A^T A.
    """
    frame = np.eye(head.dim) if head.frame is None else head.frame.astype(np.float64)
    left, _, right = np.linalg.svd(frame * head.weight[:, None], full_matrices=False)
    return np.ascontiguousarray(left @ right, np.float32)


def _factory(dim: int) -> str:
    """FAISS's description of the index. The scan in registers needs pairs, and a few numbers gain nothing from it."""
    return f"PQ{dim // 2}x4fs,Refine(SQ8)" if dim % 2 == 0 and dim >= 16 else "SQ8"


def _projections(head: Head, vectors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and z of all faces, block by block: all of z may be several times as large as the embeddings."""
    for start in range(0, len(vectors), _BLOCK):
        z = projected(head, vectors[start : start + _BLOCK])
        yield np.arange(start, start + len(z)), z
