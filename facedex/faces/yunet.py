"""YuNet (Wu et al. 2023), a small network that finds faces and their landmarks, run by OpenCV.

Its file (OpenCV Zoo's face_detection_yunet_2023mar, 232,589 bytes, MIT) lies in weights/. It is checked by its hash, so
that a changed file is noticed and not silently another detector.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from facedex import weights
from facedex.errors import ModelError
from facedex.faces.face import Face
from facedex.threads import Stock, quiet

YUNET_FILE = weights.FOLDER / "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

_LEAST_SIDE = 64  # YuNet fills up to a multiple of 32; of one row or column of 32 OpenCV 4.14 reads stray memory


class YuNet:
    """The network. Shared by threads: each has one of its own meanwhile."""

    def __init__(self, weights: str | Path | None, least: float) -> None:
        """`weights` replaces the packaged file; what scores below `least` is never seen. Raises ModelError."""
        try:
            # As bytes: OpenCV cannot open a path with characters outside the system's code page.
            data = Path(weights).read_bytes() if weights else packaged_weights()
            self._nets = Stock(partial(_opened, np.frombuffer(data, np.uint8), least))
        except (OSError, cv2.error):
            raise ModelError(f"The face detector {weights} cannot be loaded; name another file, or none") from None

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


def _opened(data: np.ndarray, least: float) -> cv2.FaceDetectorYN:
    with quiet():  # OpenCV 5 says that its new engine knows no targets, which nobody asked for
        return cv2.FaceDetectorYN.create("onnx", data, np.empty(0, np.uint8), (320, 320), least, 0.3, 5000)


def packaged_weights() -> bytes:
    """YuNet's file as it comes with facedex. Raises ModelError when it is missing or altered."""
    try:
        data = YUNET_FILE.read_bytes()
    except OSError:
        raise ModelError(f"The face detector {YUNET_FILE} is missing; install facedex again") from None
    if hashlib.sha256(data).hexdigest() != YUNET_SHA256:
        raise ModelError(f"{YUNET_FILE} is not the YuNet 2023mar file facedex knows; install facedex again")
    return data
