"""Three ways to hold a million projected faces and find the nearest by L1: as they are, in bytes, in half-bytes.

Each holds z = w * f(x) of every face, one row a face, and answers with lower bounds on the true L1 distances, so that
whoever asks can prove an answer: what is not among the found is farther than `Found.horizon`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import faiss
import numpy as np

_LEAST = 256  # rows found by their codes, at least: a proof nearly always needs no more
_SAMPLE = 60_000  # rows that a coder is made from
_PROBES = 400  # rows by which coverage is measured


@dataclass(frozen=True)
class Found:
    """Rows nearest to a probe (m,), ascending in `bounds` (m,), each at most its true distance from the probe.

    Every row that is missing is at least `horizon` away; for an approximate index, every row it considered.
    """

    bounds: np.ndarray
    rows: np.ndarray
    horizon: float


class Flat:
    """z as it is, float32, in FAISS IndexFlat with METRIC_L1: exact."""

    kind = "flat"
    exact = True

    def __init__(self, z: np.ndarray) -> None:
        self.z = z
        self._index = faiss.IndexFlat(z.shape[1], faiss.METRIC_L1)
        self._index.add(np.ascontiguousarray(z, np.float32))

    @classmethod
    def build(cls, z: np.ndarray, coverage: float) -> Flat:
        return cls(z)

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], parameters: dict[str, Any]) -> Flat:
        return cls(arrays["z"])

    def __len__(self) -> int:
        return len(self.z)

    @property
    def parameters(self) -> dict[str, Any]:
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"z": self.z}

    def kept(self, rows: np.ndarray) -> Flat:
        """The same without the other rows."""
        return Flat(self.z[rows])

    def extended(self, z: np.ndarray) -> Flat:
        """The same with more rows."""
        return Flat(np.concatenate([self.z, z]))

    def search(self, z: np.ndarray, k: int) -> Found:
        k = min(k, len(self))
        distances, rows = self._index.search(z[None], k) if k else (np.empty((1, 0)), np.empty((1, 0), np.int64))
        bounds = below(distances[0].astype(np.float64))
        return Found(bounds, rows[0], float(bounds[-1]) if 0 < k < len(self) else float("inf"))


class Bytes:
    """A byte for each number of z: code = round((z - low) / step), the same step for all, so that the sum of absolute
    differences of codes, times the step, is the L1 distance but for the errors of rounding. These are known: with
    e(x) = ||x - decode(code(x))||_1 the triangle inequality gives

        ||q - x||_1 >= step * SAD(code(q), code(x)) - e(q) - max_x e(x),

    a bound that proves which rows need not be looked at. Four times smaller than z, and twice as fast to search.
    """

    kind = "bytes"
    exact = True

    def __init__(self, codes: np.ndarray, low: np.ndarray, step: float, error: float) -> None:
        self.codes, self.low, self.step, self.error = codes, low, step, error

    @classmethod
    def build(cls, z: np.ndarray, coverage: float) -> Bytes:
        least, most = z.min(0), z.max(0)
        step = max(float((most - least).max()) * 1.1 / 255, 1e-12)  # some room for faces to come
        low = ((least + most) / 2 - 127.5 * step).astype(np.float32)
        return cls(np.empty((0, z.shape[1]), np.uint8), low, step, 0.0).extended(z)

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], parameters: dict[str, Any]) -> Bytes:
        return cls(arrays["codes"], arrays["low"][0], float(parameters["step"]), float(parameters["error"]))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def parameters(self) -> dict[str, Any]:
        return {"step": self.step, "error": self.error}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"low": self.low[None], "codes": self.codes}

    def kept(self, rows: np.ndarray) -> Bytes:
        """The same without the other rows."""
        return Bytes(self.codes[rows], self.low, self.step, self.error)

    def extended(self, z: np.ndarray) -> Bytes:
        """The same with more rows."""
        codes, errors = self.encode(z)
        error = max(self.error, float(errors.max())) if len(z) else self.error
        return Bytes(np.concatenate([self.codes, codes]), self.low, self.step, error)

    def encode(self, z: np.ndarray, block: int = 50_000) -> tuple[np.ndarray, np.ndarray]:
        """Codes (n, d) uint8 and their L1 errors (n,)."""
        codes, errors = np.empty(z.shape, np.uint8), np.empty(len(z))
        for at in range(0, len(z), block):
            part = z[at : at + block]
            code = np.clip(np.rint((part - self.low) / self.step), 0, 255)
            codes[at : at + block] = code
            errors[at : at + block] = np.abs(part - (self.low + code * self.step)).sum(1, dtype=np.float64)
        return codes, errors * (1 + 1e-5)

    def search(self, z: np.ndarray, k: int) -> Found:
        return self._search(z, self.codes, k)

    def _search(self, z: np.ndarray, codes: np.ndarray, k: int) -> Found:
        """The nearest of `codes` by the sum of absolute differences (OpenCV's, with the processor's own instruction)."""
        k = min(max(k, _LEAST), len(codes))
        if not k:
            return Found(np.empty(0), np.empty(0, np.int64), float("inf"))
        code, error = self.encode(z[None])
        sums, rows = cv2.batchDistance(code, codes, cv2.CV_32S, normType=cv2.NORM_L1, K=k)
        bounds = below(sums[0] * self.step - self.error - float(error[0]))
        return Found(bounds, rows[0].astype(np.int64), float(bounds[-1]) if k < len(codes) else float("inf"))


class HalfBytes(Bytes):
    """Four bits for each pair of numbers (product quantisation, Jegou et al. 2011, with FAISS's fast scan, Andre et al.
    2015) choose `candidates` rows by L2; their bytes, and then the head, decide. Approximate: `candidates` is grown
    until that many rows hold `coverage` of the five nearest, measured on faces that were taken out.
    """

    kind = "halfbytes"
    exact = False

    def __init__(
        self, codes: np.ndarray, low: np.ndarray, step: float, error: float,
        book: np.ndarray, halves: np.ndarray, tuned: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(codes, low, step, error)
        self.book, self.halves, self.tuned = book, halves, tuned
        self._index = faiss.IndexPQFastScan(self._quantizer(halves)) if len(halves) else None

    @classmethod
    def build(cls, z: np.ndarray, coverage: float) -> HalfBytes:
        base = Bytes.build(z, coverage)
        sample = z[np.linspace(0, len(z) - 1, min(len(z), _SAMPLE)).astype(np.int64)]
        dim = z.shape[1]
        quantizer = faiss.ProductQuantizer(dim, dim // 2 if dim % 2 == 0 else dim, 4)
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # many tiny steps: threads would mostly wait for each other
        quantizer.train(sample)
        faiss.omp_set_num_threads(threads)
        book = faiss.vector_to_array(quantizer.centroids).reshape(1, -1)
        made = cls(base.codes, base.low, base.step, base.error, book, quantizer.compute_codes(z), {})
        made.tuned = {"candidates": 0, "coverage": coverage, "faces": len(z), **made._tune(coverage)}
        return made

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], parameters: dict[str, Any]) -> HalfBytes:
        tuned = {name: value for name, value in parameters.items() if name not in ("step", "error")}
        base = Bytes.restore(arrays, parameters)
        return cls(base.codes, base.low, base.step, base.error, arrays["book"], arrays["halves"], tuned)

    @property
    def parameters(self) -> dict[str, Any]:
        return {**super().parameters, **self.tuned}

    def arrays(self) -> dict[str, np.ndarray]:
        return {**super().arrays(), "book": self.book, "halves": self.halves}

    def kept(self, rows: np.ndarray) -> HalfBytes:
        base = super().kept(rows)
        return HalfBytes(base.codes, self.low, self.step, self.error, self.book, self.halves[rows], self.tuned)

    def extended(self, z: np.ndarray) -> HalfBytes:
        base, halves = super().extended(z), self._quantizer(self.halves[:0]).pq.compute_codes(np.ascontiguousarray(z))
        halves = np.concatenate([self.halves, halves])
        return HalfBytes(base.codes, self.low, self.step, base.error, self.book, halves, self.tuned)

    def search(self, z: np.ndarray, k: int) -> Found:
        grown = max(1.0, len(self) / self.tuned["faces"])  # as many more as there are more faces since
        rows = self._candidates(z, max(int(self.tuned["candidates"] * grown), 4 * k))
        found = self._search(z, np.take(self.codes, rows, axis=0), k)  # five times as fast as self.codes[rows]
        return Found(found.bounds, rows[found.rows], found.horizon)

    def _candidates(self, z: np.ndarray, count: int) -> np.ndarray:
        assert self._index is not None
        return self._index.search(z[None], min(count, len(self)))[1][0]

    def _quantizer(self, halves: np.ndarray) -> Any:
        dim = self.codes.shape[1]
        index = faiss.IndexPQ(dim, dim // 2 if dim % 2 == 0 else dim, 4)
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
        ranks = []
        for probe in probes:
            z = (self.low + self.codes[probe] * np.float32(self.step)).astype(np.float32)
            rows = self._search(z, self.codes, 6).rows
            nearest = rows[rows != probe][:5]  # the probe itself is not a neighbour
            order = self._candidates(z, limit)
            place = np.full(5, limit + 1)
            for i, row in enumerate(nearest):
                at = np.flatnonzero(order == row)
                place[i] = at[0] + 1 if len(at) else limit + 1
            ranks.append(place[: len(nearest)])
        every = np.sort(np.concatenate(ranks))
        candidates = int(min(every[int(np.ceil(coverage * len(every))) - 1], limit))
        return {
            "candidates": max(candidates, _LEAST), "measured": float((every <= max(candidates, _LEAST)).mean()),
            "probes": len(probes),
        }  # fmt: skip


INDEXES: dict[str, type[Flat] | type[Bytes]] = {index.kind: index for index in (Flat, Bytes, HalfBytes)}


def below(distances: np.ndarray) -> np.ndarray:
    """What floating point cannot have made too large: the head's own sums are rounded to float32."""
    return distances - 1e-5 * np.abs(distances) - 1e-5
