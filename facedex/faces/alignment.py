"""Aligned crops: a face warped so that its five landmarks lie on a template."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facedex.opencv import cv2

# The 112 x 112 template in common use (Deng et al. 2019, ArcFace), x and y in pixels: the eye on the picture's left,
# the eye on its right, the nose, the mouth corner on the left, and the mouth corner on the right.
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
    dtype=np.float64,
)
SIZE = 112
MARGIN = 8  # pixels round the crop in training data, for jitter: SIZE + 2 * MARGIN = 128
# Lanczos keeps the little detail of a small face. On LFW at FMR .1 %, of faces 16 pixels wide `default` misses 7.6 % in
# place of 9.1, `fast` 12.5 in place of 15.9. 20 pixels wide: `fast` 4.9 in place of 7.2. 30 pixels wide: no difference.
_SMALL = 3.0  # crop pixels for one pixel of the photo: the face is about 28 pixels wide. Lanczos takes 1.1 ms more
_WARP_LIMIT = 2**14  # pixels: warpAffine refuses sides twice as long, and OpenCV may copy such a picture whole


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the least-squares similarity (rotation, scale and shift) from `source` to `target`.

    Both are (n, 2) points, and the result is a (2, 3) float64 matrix. The method is Umeyama 1991, eq. 40-43. In the
    plane and without reflection it comes down to one complex factor: with points as complex numbers less their means,
    sum(conj(s) t) / sum(|s|^2). Where all source points are the same, the scale is 1.
    """
    s, t = (np.ascontiguousarray(points, np.float64).view(np.complex128).ravel() for points in (source, target))
    mean_s, mean_t = s.sum() / len(s), t.sum() / len(t)
    s, t = s - mean_s, t - mean_t
    spread = np.vdot(s, s).real
    factor = np.vdot(s, t) / spread if spread > 0 else 1.0 + 0.0j
    shift = mean_t - factor * mean_s
    return np.array([(factor.real, -factor.imag, shift.real), (factor.imag, factor.real, shift.imag)])


def fitted(crops: np.ndarray, size: int, points: Sequence[Sequence[float]] | None = None) -> np.ndarray:
    """Return crops (n, 112, 112, 3) uint8 in a network's input size, (n, size, size, 3) uint8.

    `points` (5, 2): where the network expects the landmarks of TEMPLATE, in pixels of its input. Without `points` the
    crops are resized.
    """
    if points is not None:
        matrix = similarity(TEMPLATE, np.array(points, np.float64))
        inputs = [cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR) for crop in crops]
    elif size == crops.shape[1]:
        return crops
    else:
        interpolation = cv2.INTER_AREA if size < crops.shape[1] else cv2.INTER_LINEAR
        inputs = [cv2.resize(crop, (size, size), interpolation=interpolation) for crop in crops]
    return np.stack(inputs) if inputs else np.empty((0, size, size, 3), np.uint8)


def checked(crops: np.ndarray) -> np.ndarray:
    """Return crops as an array. Raises ValueError unless they are (n, 112, 112, 3) uint8."""
    crops = np.asarray(crops)
    if crops.ndim != 4 or crops.shape[1:] != (SIZE, SIZE, 3) or crops.dtype != np.uint8:
        raise ValueError(f"crops must be (n, 112, 112, 3) uint8, not {crops.shape} {crops.dtype}")
    return crops


def align(pixels: np.ndarray, landmarks: np.ndarray, margin: int = 0) -> np.ndarray:
    """Warp the face at `landmarks` (5, 2) of a photo (height, width, 3) uint8 RGB to the template.

    Returns (112 + 2 * margin, 112 + 2 * margin, 3) uint8 RGB, black beyond the photo's edge.
    """
    side = SIZE + 2 * margin
    matrix = similarity(landmarks, TEMPLATE + margin)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5 or max(pixels.shape[:2]) >= _WARP_LIMIT:
        # warpAffine samples only four pixels, so a face far larger than the crop is averaged down first. Only the
        # part with the face is averaged, so that a large photo takes no longer than a small one.
        crop_corners = np.array([(0, 0), (side, 0), (0, side), (side, side)], float).T
        corners = np.linalg.inv(matrix[:, :2]) @ (crop_corners - matrix[:, 2:])
        height, width = pixels.shape[:2]
        left, top = np.clip(np.floor(corners.min(1)).astype(int) - 2, 0, [width - 1, height - 1])
        right, bottom = np.clip(np.ceil(corners.max(1)).astype(int) + 2, [left + 1, top + 1], [width, height])
        part = pixels[top:bottom, left:right]
        reduction = min(1.0, 2 * scale)
        size = (max(1, round(part.shape[1] * reduction)), max(1, round(part.shape[0] * reduction)))
        ratio = np.array([size[0] / part.shape[1], size[1] / part.shape[0]])
        pixels = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        # The centre of a pixel has whole coordinates. The half pixel keeps centres in place through the resize.
        landmarks = (np.asarray(landmarks) - (left, top) + 0.5) * ratio - 0.5
        matrix = similarity(landmarks, TEMPLATE + margin)
    interpolation = cv2.INTER_LANCZOS4 if scale > _SMALL else cv2.INTER_LINEAR
    return cv2.warpAffine(pixels, matrix, (side, side), flags=interpolation, borderMode=cv2.BORDER_CONSTANT)


def centre_crop(crops: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    """Cut the margin off: (..., 112 + 2 * margin, 112 + 2 * margin, 3) to (..., 112, 112, 3)."""
    return crops[..., margin : margin + SIZE, margin : margin + SIZE, :]
