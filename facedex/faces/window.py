"""A part of a photo as the detector is shown it, and what it finds there in the photo's own pixels."""

from __future__ import annotations

import cv2
import numpy as np

from facedex.faces.face import Face

GREY = (127, 127, 127)  # where a picture has no more pixels


class Region:
    """A square of a photo, `side` pixels wide round `centre`, turned back by `degrees` and brought to `size` pixels.

    `pixels` (size, size, 3) uint8 RGB: it, grey beyond the photo's edge.
    """

    def __init__(self, pixels: np.ndarray, centre: np.ndarray, side: float, degrees: float, size: int) -> None:
        self._degrees, self._scale = degrees, size / side
        left, top = np.clip(np.floor(centre - 0.75 * side), 0, np.array(pixels.shape[1::-1]) - 1).astype(int).tolist()
        right, bottom = np.maximum(np.ceil(centre + 0.75 * side), (left + 1, top + 1)).astype(int).tolist()
        part, first, self._ratio = pixels[top:bottom, left:right], min(1.0, 2 * self._scale), np.ones(2)
        if first < 1:  # warpAffine samples four pixels only: what is large is averaged down before
            before = np.array(part.shape[1::-1])
            after = np.maximum(np.round(first * before), 1).astype(int)
            part, self._ratio = cv2.resize(part, tuple(after.tolist()), interpolation=cv2.INTER_AREA), after / before
        self._corner = np.array((left, top))
        within = (centre - self._corner + 0.5) * self._ratio - 0.5
        matrix = cv2.getRotationMatrix2D(tuple(within.tolist()), -degrees, self._scale / first)
        matrix[:, 2] += (size - 1) / 2 - within
        self._inverse = cv2.invertAffineTransform(matrix)
        self.pixels = cv2.warpAffine(part, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=GREY)

    def back(self, faces: list[Face]) -> list[Face]:
        """Faces found in the region, in the photo's pixels; boxes stay upright and as large."""
        return [self._back(face) for face in faces]

    def _back(self, face: Face) -> Face:
        x, y = self._points(face.middle).tolist()
        wide, high = (length / self._scale for length in face.box[2:])
        if round(self._degrees / 90) % 2:
            wide, high = high, wide
        return Face((x - wide / 2, y - high / 2, wide, high), self._points(face.landmarks), face.score)

    def _points(self, points: np.ndarray) -> np.ndarray:
        within = points @ self._inverse[:, :2].T + self._inverse[:, 2]
        return ((within + 0.5) / self._ratio - 0.5 + self._corner).astype(np.float32)
