"""Five landmarks to the canonical crop."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# The 112 x 112 template used throughout the field (Deng et al. 2019, ArcFace): eye on the picture's left,
# eye on its right, nose, mouth corner on the left, mouth corner on the right; (x, y) in pixels.
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
    dtype=np.float64,
)
SIZE = 112
MARGIN = 8  # pixels round the crop in training data, for jitter: SIZE + 2 * MARGIN = 128
_WARP_LIMIT = 2**15 - 1  # pixels a side that warpAffine refuses


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares rotation, scale and shift that takes `source` to `target`, both (n, 2): a (2, 3) matrix.

    Umeyama 1991, eq. 40-43, of which in the plane, where no reflection is wanted, one complex factor is left: with
    points as complex numbers less their means, sum(conj(s) t) / sum(|s|^2). Points that are all one keep their size.
    """
    s, t = (np.ascontiguousarray(points, np.float64).view(np.complex128).ravel() for points in (source, target))
    mean_s, mean_t = s.sum() / len(s), t.sum() / len(t)
    s, t = s - mean_s, t - mean_t
    spread = np.vdot(s, s).real
    factor = np.vdot(s, t) / spread if spread > 0 else 1.0 + 0.0j
    shift = mean_t - factor * mean_s
    return np.array([(factor.real, -factor.imag, shift.real), (factor.imag, factor.real, shift.imag)])


def fitted(crops: np.ndarray, size: int, points: Sequence[Sequence[float]] | None = None) -> np.ndarray:
    """Crops (n, 112, 112, 3) uint8 as a network wants them, (n, size, size, 3) uint8.

    `points` (5, 2): where it wants the landmarks of TEMPLATE, in its pixels. Without them the crop is resized.
    """
    if points is not None:
        matrix = similarity(TEMPLATE, np.array(points, np.float64))
        made = [cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR) for crop in crops]
    elif size == crops.shape[1]:
        return crops
    else:
        way = cv2.INTER_AREA if size < crops.shape[1] else cv2.INTER_LINEAR
        made = [cv2.resize(crop, (size, size), interpolation=way) for crop in crops]
    return np.stack(made) if made else np.empty((0, size, size, 3), np.uint8)


def checked(crops: np.ndarray) -> np.ndarray:
    """Crops as encoders take them. Raises ValueError for what is none."""
    crops = np.asarray(crops)
    if crops.ndim != 4 or crops.shape[1:] != (SIZE, SIZE, 3) or crops.dtype != np.uint8:
        raise ValueError(f"crops must be (n, 112, 112, 3) uint8, not {crops.shape} {crops.dtype}")
    return crops


def align(pixels: np.ndarray, landmarks: np.ndarray, margin: int = 0) -> np.ndarray:
    """The face at `landmarks` (5, 2) of an RGB photo, warped to the template.

    Returns (112 + 2 * margin, 112 + 2 * margin, 3) uint8 RGB.
    """
    side = SIZE + 2 * margin
    matrix = similarity(landmarks, TEMPLATE + margin)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5 or max(pixels.shape[:2]) >= _WARP_LIMIT:
        # warpAffine samples four pixels only: a face far larger than the crop is averaged down first,
        # around the face alone, so that a large photo costs no more than a small one.
        corners = np.linalg.inv(matrix[:, :2]) @ (
            np.array([(0, 0), (side, 0), (0, side), (side, side)], float).T - matrix[:, 2:]
        )
        height, width = pixels.shape[:2]
        left, top = np.clip(np.floor(corners.min(1)).astype(int) - 2, 0, [width - 1, height - 1])
        right, bottom = np.clip(np.ceil(corners.max(1)).astype(int) + 2, [left + 1, top + 1], [width, height])
        region = pixels[top:bottom, left:right]
        factor = min(1.0, 2 * scale)
        size = (max(1, round(region.shape[1] * factor)), max(1, round(region.shape[0] * factor)))
        ratio = np.array([size[0] / region.shape[1], size[1] / region.shape[0]])
        pixels = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
        # Pixel centres lie at whole numbers: the half pixel keeps them in place through the resize.
        landmarks = (np.asarray(landmarks) - (left, top) + 0.5) * ratio - 0.5
        matrix = similarity(landmarks, TEMPLATE + margin)
    return cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def centre_crop(crops: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    """The inner 112 x 112 of crops made with a margin, (..., 128, 128, 3) to (..., 112, 112, 3)."""
    return crops[..., margin : margin + SIZE, margin : margin + SIZE, :]
