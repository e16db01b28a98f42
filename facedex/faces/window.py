"""`Window`: a square part of a photo, turned and resized for the detector."""

from __future__ import annotations

import numpy as np

from facedex.faces.face import Face
from facedex.opencv import cv2

GREY = (127, 127, 127)  # fills a picture beyond the photo's edge


class Window:
    """A square of a photo, and the way back from its pixels to the photo's.

    `pixels`: (size, size, 3) uint8 RGB, grey beyond the photo's edge.
    """

    def __init__(self, photo: np.ndarray, centre: np.ndarray, side: float, degrees: float, size: int) -> None:
        """Cut a square of `side` pixels round `centre` (x, y), turn it back by `degrees`, and resize it to `size`."""
        self._degrees = degrees
        self._scale = size / side
        # Turned by 45 degrees, the square reaches .71 sides from its centre.
        left, top = np.clip(np.floor(centre - 0.75 * side), 0, np.array(photo.shape[1::-1]) - 1).astype(int).tolist()
        right, bottom = np.maximum(np.ceil(centre + 0.75 * side), (left + 1, top + 1)).astype(int).tolist()
        part = photo[top:bottom, left:right]
        self._corner = np.array((left, top))
        self._ratio = np.ones(2)
        reduction = min(1.0, 2 * self._scale)
        if reduction < 1:  # warpAffine samples only four pixels, so a large part is averaged down first
            before = np.array(part.shape[1::-1])
            after = np.maximum(np.round(reduction * before), 1).astype(int)
            part = cv2.resize(part, tuple(after.tolist()), interpolation=cv2.INTER_AREA)
            self._ratio = after / before
        part_centre = (centre - self._corner + 0.5) * self._ratio - 0.5
        matrix = cv2.getRotationMatrix2D(tuple(part_centre.tolist()), -degrees, self._scale / reduction)
        matrix[:, 2] += (size - 1) / 2 - part_centre
        self._inverse = cv2.invertAffineTransform(matrix)
        self.pixels = cv2.warpAffine(part, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=GREY)

    def to_photo(self, faces: list[Face]) -> list[Face]:
        """Return faces found in the window, in the photo's pixels. Boxes stay upright and as large in the photo."""
        return [self._face_in_photo(face) for face in faces]

    def _face_in_photo(self, face: Face) -> Face:
        x, y = self._points_in_photo(face.centre).tolist()
        width, height = (length / self._scale for length in face.box[2:])
        if round(self._degrees / 90) % 2:
            width, height = height, width
        box = (x - width / 2, y - height / 2, width, height)
        return Face(box, self._points_in_photo(face.landmarks), face.score)

    def _points_in_photo(self, points: np.ndarray) -> np.ndarray:
        in_part = points @ self._inverse[:, :2].T + self._inverse[:, 2]
        in_photo: np.ndarray = (in_part + 0.5) / self._ratio - 0.5 + self._corner
        return in_photo.astype(np.float32)
