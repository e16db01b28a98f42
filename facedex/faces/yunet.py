"""YuNet (Wu et al. 2023), a small network that finds faces and their landmarks, run by OpenCV.

Its file is OpenCV Zoo's face_detection_yunet_2023mar (232,589 bytes, MIT), in weights/. The hash of the file is
checked, because a changed file would silently be another detector.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from facedex import weights
from facedex.errors import ModelError
from facedex.faces.face import Face
from facedex.opencv import cv2
from facedex.threads import ResourcePool, quiet

YUNET_FILE = weights.FOLDER / "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

# Smaller pictures are padded. YuNet itself pads to a multiple of 32, and OpenCV 4.14 reads stray memory where that
# leaves a single row or column of 32.
_MIN_SIDE = 64


class YuNet:
    """The network. Threads may share it, and each thread borrows a copy of its own."""

    def __init__(self, weights: str | Path | None, min_score: float) -> None:
        """Open the packaged file, or the file `weights`. Faces that score below `min_score` are never returned.

        Raises ModelError for a file that is missing, altered or no network.
        """
        try:
            # The file is passed as bytes, because OpenCV cannot open a path with characters outside the code page.
            data = Path(weights).read_bytes() if weights else packaged_weights()
            self._networks = ResourcePool(partial(_open_network, np.frombuffer(data, np.uint8), min_score))
        except (OSError, cv2.error):
            raise ModelError(
                f"The face detector {weights} cannot be loaded; name another file, or leave the file out"
            ) from None

    def faces(self, pixels: np.ndarray, scale: float, min_score: float) -> list[Face]:
        """Return faces of at least `min_score` in a picture (height, width, 3) uint8 RGB, resized by `scale`.

        Boxes and landmarks are in pixels of the given picture.
        """
        height, width = pixels.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size != (width, height):
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        ratio = np.array([width / size[0], height / size[1]], np.float32)
        if min(size) < _MIN_SIDE:
            right, bottom = (max(0, _MIN_SIDE - side) for side in size)
            pixels = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
        with self._networks.borrow() as network:
            network.setInputSize(pixels.shape[1::-1])
            rows = network.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
        faces = []
        for row in rows if rows is not None else ():
            # A row is left, top, width and height of the box, x and y of five landmarks, and the score.
            if not np.isfinite(row).all() or row[2] <= 0 or row[3] <= 0 or row[14] < min_score:
                continue
            left, top, box_width, box_height = (row[:4].reshape(2, 2) * ratio).ravel().tolist()
            landmarks = row[4:14].reshape(5, 2) * ratio
            faces.append(Face((left, top, box_width, box_height), landmarks, float(min(row[14], 1.0))))
        return faces


def _open_network(data: np.ndarray, min_score: float) -> cv2.FaceDetectorYN:
    with quiet():  # OpenCV 5 prints that its new engine has no targets
        return cv2.FaceDetectorYN.create("onnx", data, np.empty(0, np.uint8), (320, 320), min_score, 0.3, 5000)


def packaged_weights() -> bytes:
    """Return YuNet's packaged file. Raises ModelError for a missing or altered file."""
    try:
        data = YUNET_FILE.read_bytes()
    except OSError:
        raise ModelError(f"The face detector {YUNET_FILE} is missing; install facedex again") from None
    if hashlib.sha256(data).hexdigest() != YUNET_SHA256:
        raise ModelError(f"{YUNET_FILE} is not the YuNet 2023mar file of this facedex; install facedex again")
    return data
