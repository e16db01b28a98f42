"""Arithmetic on embeddings."""

from __future__ import annotations

import numpy as np

_FEW_ROWS = 64


def unit(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, d) scaled to unit length, and their lengths before (n,)."""
    length = np.linalg.norm(raw, axis=1)
    return raw / np.maximum(length, 1e-12)[:, None], length.astype(np.float32)


def principal_axes(centred: np.ndarray, dim: int) -> np.ndarray:
    """The first `dim` principal components (m, dim) of rows (n, m) float64 whose mean is 0 (Pearson 1901).

    The solver chooses an eigenvector's sign. The signs are fixed, so that every machine finds the same components.
    """
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :dim]
    return np.asarray(axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])]))


def product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`rows` (…, d) times `matrix` (d, m), in (…, m).

    BLAS gets no product of few rows: its threads wait for busy cores, and a product of .1 ms then takes ten times as
    long (scripts/benchmarks/lookup_load.py).
    """
    if rows.size > _FEW_ROWS * rows.shape[-1]:
        return np.asarray(rows @ matrix)
    return np.asarray(np.einsum("...d,dm->...m", rows, matrix))
