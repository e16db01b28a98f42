"""Three ways to hold a million projected faces and find the nearest by L1: as they are, in bytes, in half-bytes.

Each holds z = w * f(x) of every face, one row a face, and answers with lower bounds on the true L1 distances, so that
whoever asks can prove an answer: what is not among the found is farther than `Found.horizon`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

_FEW = 4096  # rows whose distances numpy has added up before FAISS is even loaded
_LEAST = 256  # rows found by their codes, at least: a proof nearly always needs no more
_SAMPLE = 60_000  # rows that a coder is made from
_PROBES = 400  # rows by which coverage is measured


@dataclass(frozen=True)
class Found:
    """Rows nearest to a probe (m,), ascending in `bounds` (m,), each at most its true distance from the probe.

    Every row that is missing is at least `horizon` away; for an approximate index, every row it considered. A row is
    rarely farther than its bound and `slack`.
    """

    bounds: np.ndarray
    rows: np.ndarray
    horizon: float
    slack: float = 0.0


class Flat:
    """z as it is, float32, in FAISS IndexFlat with METRIC_L1: exact. A few rows need no FAISS, which takes longer to
    load than a photo to be read.
    """

    kind = "flat"
    exact = True

    def __init__(self, z: np.ndarray) -> None:
        self.z = np.ascontiguousarray(z, np.float32)
        self._index: Any = None

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
        if len(self) <= _FEW:
            every = np.abs(self.z - z).sum(1)
            rows = np.argsort(every, kind="stable")[:k]
            distances = every[rows]
        else:
            (distances,), (rows,) = self._searched(z[None], k)
        bounds = below(distances.astype(np.float64))
        return Found(bounds, rows, float(bounds[-1]) if 0 < k < len(self) else float("inf"))

    def _searched(self, z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        if self._index is None:
            index = faiss.IndexFlat(self.z.shape[1], faiss.METRIC_L1)
            index.add(self.z)
            self._index = index  # whole, for other threads
        return self._index.search(z, k)


class Bytes:
    """A byte for each number of z: code = round((z - low) / step), the same step for all, so that the sum of absolute
    differences of codes, times the step, is the L1 distance but for the errors of rounding. These are known: with
    e(x) = ||x - decode(code(x))||_1 the triangle inequality gives

        ||q - x||_1 >= step * SAD(code(q), code(x)) - e(q) - max_x e(x),

    a bound that proves which rows need not be looked at. Of the nearest rows the probe as it is gives a tighter one,
    ||q - x||_1 >= ||q - decode(code(x))||_1 - max_x e(x). Four times smaller than z, and twice as fast to search.
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
            errors[at : at + block] = np.abs(part - self.decode(code)).sum(1, dtype=np.float64)
        return codes, errors * (1 + 1e-5)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """What codes (n, d) stand for, float32."""
        return self.low + codes * np.float32(self.step)

    def search(self, z: np.ndarray, k: int) -> Found:
        return self._search(z, self.codes, k)

    def _search(self, z: np.ndarray, codes: np.ndarray, k: int) -> Found:
        """The nearest of `codes` by the sum of absolute differences (OpenCV's, with the processor's own instruction)."""
        k = min(max(k, _LEAST), len(codes))
        if not k:
            return Found(np.empty(0), np.empty(0, np.int64), float("inf"))
        code, error = self.encode(z[None])
        sums, nearest = cv2.batchDistance(code, codes, cv2.CV_32S, normType=cv2.NORM_L1, K=k)
        rows = nearest[0].astype(np.int64)
        horizon = below(sums[0, -1] * self.step - self.error - float(error[0])) if k < len(codes) else float("inf")
        distances = np.abs(z - self.decode(codes[rows])).sum(1, dtype=np.float64)
        order = np.argsort(distances, kind="stable")
        return Found(below(distances[order] - self.error), rows[order], float(horizon), 1.1 * self.error)


class HalfBytes(Bytes):
    """Four bits for each pair of numbers (product quantisation, Jegou et al. 2011, with FAISS's fast scan, Andre et al.
    2015) choose `candidates` rows by L2; their bytes, and then the head, decide. Approximate: `candidates` is grown
    until that many rows hold `coverage` of the five nearest, measured on faces that were taken out.

    The pairs are of z turned onto its principal axes, three quarters of them: `turn` (d, 2 m).
    """

    kind = "halfbytes"
    exact = False

    def __init__(
        self, codes: np.ndarray, low: np.ndarray, step: float, error: float,
        turn: np.ndarray, book: np.ndarray, halves: np.ndarray, tuned: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(codes, low, step, error)
        import faiss

        self.turn, self.book, self.halves, self.tuned = turn, book, halves, tuned
        self._index = faiss.IndexPQFastScan(self._quantizer(halves)) if len(halves) else None

    @classmethod
    def build(cls, z: np.ndarray, coverage: float) -> HalfBytes:
        import faiss

        base = Bytes.build(z, coverage)
        sample = z[np.linspace(0, len(z) - 1, min(len(z), _SAMPLE)).astype(np.int64)]
        turn = _axes_in_pairs(sample)
        quantizer = faiss.ProductQuantizer(turn.shape[1], turn.shape[1] // 2, 4)
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # many tiny steps: threads would mostly wait for each other
        quantizer.train(sample @ turn)
        faiss.omp_set_num_threads(threads)
        book = faiss.vector_to_array(quantizer.centroids).reshape(1, -1)
        made = cls(base.codes, base.low, base.step, base.error, turn, book, _halves(quantizer, z, turn), {})
        made.tuned = {"candidates": 0, "coverage": coverage, "faces": len(z), **made._tune(coverage)}
        return made

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], parameters: dict[str, Any]) -> HalfBytes:
        tuned = {name: value for name, value in parameters.items() if name not in ("step", "error")}
        base, turn, book, halves = Bytes.restore(arrays, parameters), *(arrays[n] for n in ("turn", "book", "halves"))
        count, pairs = base.codes.shape[1], turn.shape[1] // 2
        if turn.shape != (count, 2 * pairs) or not pairs or book.size != 32 * pairs:
            raise ValueError("axes and code book do not fit each other")  # FAISS would read past their end
        if halves.shape != (len(base), (pairs + 1) // 2):
            raise ValueError("there are more or fewer codes than faces")
        return cls(base.codes, base.low, base.step, base.error, turn, book, halves, tuned)

    @property
    def parameters(self) -> dict[str, Any]:
        return {**super().parameters, **self.tuned}

    def arrays(self) -> dict[str, np.ndarray]:
        return {**super().arrays(), "turn": self.turn, "book": self.book, "halves": self.halves}

    def kept(self, rows: np.ndarray) -> HalfBytes:
        base = super().kept(rows)
        halves = self.halves[rows]
        return HalfBytes(base.codes, self.low, self.step, self.error, self.turn, self.book, halves, self.tuned)

    def extended(self, z: np.ndarray) -> HalfBytes:
        base, halves = super().extended(z), _halves(self._quantizer(self.halves[:0]).pq, z, self.turn)
        halves = np.concatenate([self.halves, halves])
        return HalfBytes(base.codes, self.low, self.step, base.error, self.turn, self.book, halves, self.tuned)

    def search(self, z: np.ndarray, k: int) -> Found:
        grown = max(1.0, len(self) / self.tuned["faces"])  # as many more as there are more faces since
        rows = self._candidates(z, max(int(self.tuned["candidates"] * grown), 4 * k))
        found = self._search(z, np.take(self.codes, rows, axis=0), k)  # five times as fast as self.codes[rows]
        return replace(found, rows=rows[found.rows])

    def _candidates(self, z: np.ndarray, count: int) -> np.ndarray:
        assert self._index is not None
        return self._index.search((z @ self.turn)[None], min(count, len(self)))[1][0]

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
        ranks = []
        for probe in probes:
            z = self.decode(self.codes[probe])
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


def _axes_in_pairs(z: np.ndarray) -> np.ndarray:
    """The principal axes of z (n, d), three quarters of them, (d, 2 m) float32, in pairs of like worth: wide axes with
    narrow ones, so that the same four bits do for each (eigenvalue allocation, Ge et al. 2013, "Optimized Product
    Quantization"). Half as many bits again are worth less than the time they take.
    """
    spread, axes = np.linalg.eigh(np.cov(z.T))
    kept = max(2, 3 * z.shape[1] // 8 * 2)
    spread, axes = spread[::-1][:kept], axes[:, ::-1][:, :kept]
    worth = np.log(np.maximum(spread, 1e-12))
    worth -= worth.min()
    pairs: list[list[int]] = [[] for _ in range(kept // 2)]
    for axis in range(kept):  # each to the pair that is worth least yet
        min((p for p in pairs if len(p) < 2), key=lambda pair: (sum(worth[pair]), len(pair))).append(axis)
    return np.ascontiguousarray(axes[:, np.concatenate(pairs)], np.float32)


def _halves(quantizer: Any, z: np.ndarray, turn: np.ndarray, block: int = 50_000) -> np.ndarray:
    parts = [quantizer.compute_codes(z[at : at + block] @ turn) for at in range(0, len(z), block)]
    return np.concatenate(parts) if parts else np.empty((0, quantizer.code_size), np.uint8)


def below(distances: Any) -> Any:
    """What floating point cannot have made too large: the head's own sums are rounded to float32."""
    return distances - 1e-5 * np.abs(distances) - 1e-5
