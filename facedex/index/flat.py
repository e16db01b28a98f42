"""The exact kind of index: z = w * F f(x) of every face in float32, one row a face, searched under L1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedex.model.head import Head
from facedex.opencv import cv2

_FEW = 4096  # rows whose distances OpenCV has added up before FAISS is even loaded
_BLOCK = 1024  # faces that are projected at a time


@dataclass(frozen=True)
class Found:
    """Rows near to a probe (m,), ascending in `bounds` (m,). A bound is at most the L1 distance from the probe.

    Every row that is missing is at least `horizon` away. An approximate index gives estimates of the distances, and of
    the horizon of the rows that it considered.
    """

    bounds: np.ndarray
    rows: np.ndarray
    horizon: float


class Flat:
    """z in float32, searched by FAISS IndexFlat with METRIC_L1: exact.

    Few rows are searched by OpenCV, because loading FAISS takes longer than reading a photo.
    """

    kind = "flat"

    def __init__(self, z: np.ndarray) -> None:
        """`z`: (n, dim) float32."""
        self.z = np.ascontiguousarray(z, np.float32)
        self._index: Any = None

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], parameters: dict[str, Any], head: Head) -> Flat:
        """The index of stored `arrays`. Raises KeyError or ValueError for arrays that are not a flat index."""
        if arrays["z"].shape[1:] != (head.dim,):
            raise ValueError("The rows are not projections by this head")
        return cls(arrays["z"])

    def __len__(self) -> int:
        return len(self.z)

    @property
    def parameters(self) -> dict[str, Any]:
        """Nothing: an exact index needs no tuning."""
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        """What `restore` needs."""
        return {"z": self.z}

    def extended(self, z: np.ndarray) -> Flat:
        """An index of these rows and of `z` (n, dim) after them."""
        return Flat(np.concatenate([self.z, z]))

    def search(self, z: np.ndarray, k: int) -> Found:
        """The `k` rows nearest to a projected probe `z` (dim,) float32."""
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
            self._index = index  # assigned when complete, because other threads may read it
        distances, rows = self._index.search(z, k)
        return distances, rows


def projected(head: Head, vectors: np.ndarray) -> np.ndarray:
    """z (n, dim) float32 of embeddings (n, d). Raises ValueError for numbers that are not finite."""
    z = np.empty((len(vectors), head.dim), np.float32)
    for start in range(0, len(vectors), _BLOCK):  # the head's sums are in double precision, twice as large as z
        part = z[start : start + _BLOCK] = head.project(vectors[start : start + _BLOCK])
        if not np.isfinite(part).all():
            raise ValueError("faces to index must be finite")  # FAISS would not notice
    return z


def five_nearest(probes: np.ndarray, own: np.ndarray, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Ids (p, 5) of the faces nearest to each probe (p, dim) by L1.

    `own` (p,): the id of each probe, which is left out. `blocks`: the faces, as ids (n,) and z (n, dim) float32.
    """
    import faiss  # here, because looking a face up among few does not need it

    best, nearest = np.full((len(probes), 5), np.inf, np.float32), np.full((len(probes), 5), -1, np.int64)
    for ids, z in blocks:
        if not len(z):
            continue
        index = faiss.IndexFlat(z.shape[1], faiss.METRIC_L1)
        index.add(z)
        distances, rows = index.search(probes, min(6, len(z)))
        distances[ids[rows] == own[:, None]] = np.inf
        best, nearest = np.hstack([best, distances]), np.hstack([nearest, ids[rows]])
        order = np.argsort(best, axis=1, kind="stable")[:, :5]
        best, nearest = np.take_along_axis(best, order, 1), np.take_along_axis(nearest, order, 1)
    return nearest


def below(distances: Any) -> Any:
    """Distances less the possible rounding error of the head's float32 sums."""
    return distances - 1e-5 * np.abs(distances) - 1e-5
