"""The exact kinds of index: floats (Flat) and 8-bit codes (Bytes). halfbytes.py holds the approximate kind.

Each holds z = w * F f(x) of every face, one row a face. A search returns lower bounds on the true L1 distances. They
prove an answer: rows that were not found are at least `Found.horizon` away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

_FEW = 4096  # rows whose distances OpenCV has added up before FAISS is even loaded
LEAST = 256  # rows found by their codes, at least: a proof nearly always needs no more
BLOCK = 20_000  # rows that are worked on at a time


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


class Rows(Protocol):
    """z (n, dim) float32: an array, or an object that computes the requested rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> np.ndarray: ...


class Flat:
    """z in float32, searched by FAISS IndexFlat with METRIC_L1: exact.

    Few rows are searched by OpenCV, because loading FAISS takes longer than reading a photo.
    """

    kind = "flat"
    exact = True

    def __init__(self, z: np.ndarray) -> None:
        self.z = np.ascontiguousarray(z, np.float32)
        self._index: Any = None

    @classmethod
    def build(cls, z: Rows, coverage: float) -> Flat:
        return cls(z[:])

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], parameters: dict[str, Any]) -> Flat:
        return cls(arrays["z"])

    def __len__(self) -> int:
        return len(self.z)

    @property
    def dim(self) -> int:
        """The number of columns of z."""
        return int(self.z.shape[1])

    @property
    def parameters(self) -> dict[str, Any]:
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"z": self.z}

    def kept(self, rows: np.ndarray) -> Flat:
        """An index of these rows alone."""
        return Flat(self.z[rows])

    def extended(self, z: Rows) -> Flat:
        """An index of these rows and of `z` (n, dim) after them."""
        return Flat(np.concatenate([self.z, z[:]]))

    def search(self, z: np.ndarray, k: int) -> Found:
        k = min(k, len(self))
        if not k:
            return Found(np.empty(0), np.empty(0, np.int64), float("inf"))
        if len(self) <= _FEW:
            (distances,), (rows,) = cv2.batchDistance(z[None], self.z, cv2.CV_32F, normType=cv2.NORM_L1, K=k)
        else:
            (distances,), (rows,) = self._searched(z[None], k)
        rows = rows.astype(np.int64)
        bounds = below(distances.astype(np.float64))
        return Found(bounds, rows, float(bounds[-1]) if k < len(self) else float("inf"))

    def _searched(self, z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        if self._index is None:
            index = faiss.IndexFlat(self.z.shape[1], faiss.METRIC_L1)
            index.add(self.z)
            self._index = index  # whole, for other threads
        distances, rows = self._index.search(z, k)
        return distances, rows


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

    def __init__(
        self, codes: np.ndarray, low: np.ndarray, step: float, error: float, basis: np.ndarray | None = None
    ) -> None:
        """With a `basis` (dim, r) the codes are of z @ basis, whose r columns suffice where z has rank r below dim."""
        self.codes, self.low, self.step, self.error, self.basis = codes, low, step, error, basis

    @classmethod
    def build(cls, z: Rows, coverage: float) -> Bytes:
        return cls(np.empty((0, z.shape[1]), np.uint8), *grid(parts(z)), 0.0).extended(z)

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], parameters: dict[str, Any]) -> Bytes:
        return cls(arrays["codes"], arrays["low"][0], float(parameters["step"]), float(parameters["error"]))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def dim(self) -> int:
        """The number of columns of z."""
        return int((self.codes if self.basis is None else self.basis.T).shape[1])

    @property
    def parameters(self) -> dict[str, Any]:
        return {"step": self.step, "error": self.error}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"low": self.low[None], "codes": self.codes}

    def kept(self, rows: np.ndarray) -> Bytes:
        """An index of these rows alone."""
        return Bytes(self.codes[rows], self.low, self.step, self.error, self.basis)

    def extended(self, z: Rows) -> Bytes:
        """An index of these rows and of `z` (n, dim) after them."""
        codes, errors = self.encode(z)
        error = max(self.error, float(errors.max())) if len(z) else self.error
        return Bytes(np.concatenate([self.codes, codes]), self.low, self.step, error, self.basis)

    def encode(self, z: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Codes (n, r) uint8 and their L1 errors (n,)."""
        codes, errors = np.empty((len(z), self.codes.shape[1]), np.uint8), np.empty(len(z))
        at = 0
        for part in parts(z):
            inner = part if self.basis is None else part @ self.basis
            code = np.clip(np.rint((inner - self.low) / self.step), 0, 255)
            codes[at : at + len(part)] = code
            errors[at : at + len(part)] = np.abs(part - self.decode(code)).sum(1, dtype=np.float64)
            at += len(part)
        return codes, errors * (1 + 1e-5)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The values of z (n, dim) float32 that codes (n, r) stand for."""
        inner: np.ndarray = self.low + codes * np.float32(self.step)
        return inner if self.basis is None else inner @ self.basis.T

    def search(self, z: np.ndarray, k: int) -> Found:
        return self._search(z, self.codes, k)

    def _search(self, z: np.ndarray, codes: np.ndarray, k: int) -> Found:
        """The `k` nearest of `codes`, by the sum of absolute differences, or of squared ones in a basis.

        OpenCV computes the sums with the processor's own instruction.
        """
        k = min(max(k, LEAST), len(codes))
        if not k:
            return Found(np.empty(0), np.empty(0, np.int64), float("inf"))
        code, error = self.encode(z[None])
        # L1 over z's several bases is close to the Euclidean distance, but not to L1 over this one basis.
        norm = cv2.NORM_L1 if self.basis is None else cv2.NORM_L2SQR
        sums, nearest = cv2.batchDistance(code, codes, cv2.CV_32S, normType=norm, K=k)
        rows = nearest[0].astype(np.int64)
        near = (self.decode(codes[rows[at : at + BLOCK]]) for at in range(0, len(rows), BLOCK))
        distances = np.concatenate([np.abs(z - part).sum(1, dtype=np.float64) for part in near])
        order = np.argsort(distances, kind="stable")
        bounds, horizon = below(distances[order] - self.error), float("inf")
        if k < len(codes):  # in a basis the sum of squares bounds nothing, so only the rows found count as considered
            inside = sums[0, -1] * self.step - self.error - float(error[0])
            horizon = float(below(inside) if self.basis is None else bounds[-1])
        return Found(bounds, rows[order], horizon, 1.1 * self.error)


def parts(z: Rows) -> Iterator[np.ndarray]:
    """z, block by block."""
    for at in range(0, len(z), BLOCK):
        yield z[at : at + BLOCK]


def grid(blocks: Iterable[np.ndarray], room: float = 1.1) -> tuple[np.ndarray, float]:
    """The value of code 0 (r,) float32 and the step between codes. `room` widens the range for faces to come."""
    ranges = [(part.min(0), part.max(0)) for part in blocks]
    least, most = np.min([low for low, _ in ranges], axis=0), np.max([high for _, high in ranges], axis=0)
    step = max(float((most - least).max()) * room / 255, 1e-12)
    return ((least + most) / 2 - 127.5 * step).astype(np.float32), step


def below(distances: Any) -> Any:
    """Distances less the possible rounding error of the head's float32 sums."""
    return distances - 1e-5 * np.abs(distances) - 1e-5
