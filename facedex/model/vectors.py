"""Arithmetic on embeddings that every part shares."""

from __future__ import annotations

import numpy as np

_FEW_ROWS = 64


def unit(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, d) brought to unit length, and the lengths they had (n,)."""
    length = np.linalg.norm(raw, axis=1)
    return raw / np.maximum(length, 1e-12)[:, None], length.astype(np.float32)


def product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`rows` (…, d) times `matrix` (d, m), in (…, m).

    Few rows are not given to BLAS: its threads wait for cores that other work has, and a product of a tenth of a
    millisecond takes ten times as long (scripts/benchmarks/lookup_load.py).
    """
    if rows.size > _FEW_ROWS * rows.shape[-1]:
        return rows @ matrix
    return np.einsum("...d,dm->...m", rows, matrix)
