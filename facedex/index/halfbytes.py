"""The approximate kind of index, for many faces: 4-bit product codes choose candidates, 8-bit codes rank them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from facedex.index.codes import BLOCK, LEAST, Bytes, Found, Rows, grid, parts

_SAMPLE = 60_000  # rows that a coder is made from
_PROBES = 400  # rows by which coverage is measured


class HalfBytes(Bytes):
    """Four bits for each pair of numbers (product quantisation, Jegou et al. 2011, with FAISS's fast scan, Andre et al.
    2015) choose `candidates` rows by L2; their bytes, and then the head, decide. Approximate: `candidates` is grown
    until that many rows hold `coverage` of the five nearest, measured on faces that were taken out.

    The pairs are of z turned onto its principal axes, three quarters of them: `turn` (dim, 2 m). Where z shows
    embeddings in several bases, the bytes are of one that spans them all.
    """

    kind = "halfbytes"
    exact = False

    def __init__(
        self, base: Bytes, turn: np.ndarray, book: np.ndarray, halves: np.ndarray, tuned: dict[str, Any]
    ) -> None:
        super().__init__(base.codes, base.low, base.step, base.error, base.basis)
        import faiss

        self.turn, self.book, self.halves, self.tuned = turn, book, halves, tuned
        self._index = faiss.IndexPQFastScan(self._quantizer(halves)) if len(halves) else None

    @classmethod
    def build(cls, z: Rows, coverage: float) -> HalfBytes:
        import faiss

        sample = z[np.linspace(0, len(z) - 1, min(len(z), _SAMPLE)).astype(np.int64)]
        spread, axes = _principal(sample)
        basis = None if len(spread) == z.shape[1] else _evened(axes)
        inner = sample if basis is None else sample @ basis
        empty = Bytes(np.empty((0, len(spread)), np.uint8), *grid([inner], 1.3), 0.0, basis)  # others reach further
        turn = _in_pairs(spread, axes)
        quantizer = faiss.ProductQuantizer(turn.shape[1], turn.shape[1] // 2, 4)
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # many tiny steps: threads would mostly wait for each other
        quantizer.train(sample @ turn)
        faiss.omp_set_num_threads(threads)
        book = faiss.vector_to_array(quantizer.centroids).reshape(1, -1)
        made = cls(empty, turn, book, np.empty((0, quantizer.code_size), np.uint8), {}).extended(z)
        made.tuned = {"candidates": 0, "coverage": coverage, "faces": len(z), **made._tune(coverage)}
        return made

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], parameters: dict[str, Any]) -> HalfBytes:
        tuned = {name: value for name, value in parameters.items() if name not in ("step", "error")}
        base, turn, book, halves = Bytes.restore(arrays, parameters), *(arrays[n] for n in ("turn", "book", "halves"))
        base.basis, pairs = arrays.get("basis"), turn.shape[1] // 2
        if base.basis is not None and base.basis.shape != (len(turn), base.codes.shape[1]):
            raise ValueError("codes and their basis do not fit each other")
        if turn.shape != (base.dim, 2 * pairs) or not pairs or book.size != 32 * pairs:
            raise ValueError("axes and code book do not fit each other")  # FAISS would read past their end
        if halves.shape != (len(base), (pairs + 1) // 2):
            raise ValueError("there are more or fewer codes than faces")
        return cls(base, turn, book, halves, tuned)

    @property
    def parameters(self) -> dict[str, Any]:
        return {**super().parameters, **self.tuned}

    def arrays(self) -> dict[str, np.ndarray]:
        basis = {} if self.basis is None else {"basis": self.basis}
        return {**super().arrays(), **basis, "turn": self.turn, "book": self.book, "halves": self.halves}

    def kept(self, rows: np.ndarray) -> HalfBytes:
        return HalfBytes(super().kept(rows), self.turn, self.book, self.halves[rows], self.tuned)

    def extended(self, z: Rows) -> HalfBytes:
        coder = self._quantizer(self.halves[:0])  # kept: its `pq` is a reference into it, which would not keep it
        codes, errors, halves = [self.codes], [self.error], [self.halves]
        for part in parts(z):
            code, error = self.encode(part)
            codes.append(code)
            errors.append(float(error.max()))
            halves.append(coder.pq.compute_codes(part @ self.turn))
        base = Bytes(np.concatenate(codes), self.low, self.step, max(errors), self.basis)
        return HalfBytes(base, self.turn, self.book, np.concatenate(halves), self.tuned)

    def search(self, z: np.ndarray, k: int) -> Found:
        grown = max(1.0, len(self) / self.tuned["faces"])  # as many more as there are more faces since
        rows = self._candidates(z, max(int(self.tuned["candidates"] * grown), 4 * k))
        found = self._search(z, np.take(self.codes, rows, axis=0), k)  # five times as fast as self.codes[rows]
        return replace(found, rows=rows[found.rows])

    def _candidates(self, z: np.ndarray, count: int) -> np.ndarray:
        assert self._index is not None
        rows: np.ndarray = self._index.search((z @ self.turn)[None], min(count, len(self)))[1][0]
        return rows

    def _quantizer(self, halves: np.ndarray) -> Any:
        import faiss

        index = faiss.IndexPQ(self.turn.shape[1], self.turn.shape[1] // 2, 4)
        faiss.copy_array_to_vector(self.book.ravel(), index.pq.centroids)
        index.is_trained = True
        faiss.copy_array_to_vector(halves.ravel(), index.codes)
        index.ntotal = len(halves)
        return index

    def _tune(self, coverage: float) -> dict[str, Any]:
        """How many candidates hold a share `coverage` of the nearest five (by bytes) of faces taken out."""
        rng = np.random.default_rng(0)
        probes = rng.choice(len(self), min(_PROBES, len(self)), replace=False)
        limit = min(len(self), max(1000, len(self) // 20))
        decoded = self.decode(self.codes[probes])
        ranks = []
        for probe, z, rows in zip(probes, decoded, self._nearest(probes, decoded), strict=True):
            order = self._candidates(z, limit)
            order = order[order != probe]  # the probe itself is not a neighbour
            considered = self._search(z, np.take(self.codes, order, axis=0), 6).rows
            place = np.full(len(rows), limit + 1)
            for i, row in enumerate(rows):
                at = np.flatnonzero(order == row)
                if len(at) and at[0] in considered:
                    place[i] = at[0] + 1
            ranks.append(place)
        every = np.sort(np.concatenate(ranks))
        candidates = int(min(every[int(np.ceil(coverage * len(every))) - 1], limit))
        return {
            "candidates": max(candidates, LEAST),
            "measured": float((every <= max(candidates, LEAST)).mean()),
            "probes": len(probes),
        }

    def _nearest(self, probes: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
        """The five rows nearest to each of some rows, by their bytes `z` and without itself, each (5,) or fewer."""
        import faiss

        best, rows = np.empty((len(probes), 0), np.float32), np.empty((len(probes), 0), np.int64)
        for at in range(0, len(self), BLOCK):
            there = faiss.pairwise_distances(z, self.decode(self.codes[at : at + BLOCK]), metric=faiss.METRIC_L1)
            near = np.argpartition(there, min(5, there.shape[1] - 1), axis=1)[:, :6]
            best = np.hstack([best, np.take_along_axis(there, near, 1)])
            rows = np.hstack([rows, near + at])
            first = np.argsort(best, axis=1, kind="stable")[:, :6]
            best, rows = np.take_along_axis(best, first, 1), np.take_along_axis(rows, first, 1)
        return [near[near != probe][:5] for probe, near in zip(probes, rows, strict=True)]


def _principal(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances (r,) of z (n, dim) along its principal axes (dim, r), descending; r < dim in a subspace."""
    spread, axes = np.linalg.eigh(np.cov(z.T))
    spread, axes = spread[::-1], axes[:, ::-1]
    wide = np.flatnonzero(spread > 1e-9 * spread[0])
    left = np.abs(z[:100] - z[:100] @ axes[:, wide] @ axes[:, wide].T).max()
    if (
        len(wide) < 2 or left > 1e-4 * np.abs(z).max()
    ):  # as if of full rank: the sample says little, or its mean lies outside
        wide = np.arange(z.shape[1])
    return spread[wide], np.ascontiguousarray(axes[:, wide], np.float32)


def _evened(axes: np.ndarray) -> np.ndarray:
    """A basis (dim, r) of the same space in which all coordinates vary alike, so that one step of codes suits all."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((axes.shape[1], axes.shape[1])))[0]
    return np.ascontiguousarray(axes @ turn, np.float32)


def _in_pairs(spread: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Three quarters of the principal axes, (dim, 2 m) float32, in pairs of like worth: wide axes with narrow ones, so
    that the same four bits do for each (eigenvalue allocation, Ge et al. 2013, "Optimized Product Quantization"). Half
    as many bits again are worth less than the time they take.
    """
    kept = max(2, 3 * len(spread) // 8 * 2)
    worth = np.log(np.maximum(spread[:kept], 1e-12))
    worth -= worth.min()
    pairs: list[list[int]] = [[] for _ in range(kept // 2)]
    for axis in range(kept):  # each to the pair that is worth least yet
        min((p for p in pairs if len(p) < 2), key=lambda pair: (sum(worth[pair]), len(pair))).append(axis)
    return np.ascontiguousarray(axes[:, np.concatenate(pairs)], np.float32)
