"""A face and its mirror image, encoded as one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def both_ways(raw: Callable[[np.ndarray], np.ndarray], faces: np.ndarray) -> np.ndarray:
    """The mean of what an encoder says of faces (n, height, width, channels) and of their mirror images, (n, dim).

    `raw` gives embeddings before they are brought to unit length. A mirrored face shows the same person, and the
    network's errors on the two are not the same ones, so the mean has less of them (Krizhevsky et al. 2012,
    section 4.1, who average over mirror images at test time). It costs what encoding twice costs.
    """
    once, mirrored = np.split(raw(np.concatenate([faces, faces[:, :, ::-1]])), 2)
    return (once + mirrored) * np.float32(0.5)
