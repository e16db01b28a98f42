"""Faces and photos that are turned in their plane."""

from __future__ import annotations

import numpy as np

from facedex.faces.alignment import TEMPLATE, similarity
from facedex.faces.face import Face


def tilt(landmarks: np.ndarray) -> float:
    """Return the in-plane rotation of landmarks (5, 2) in degrees, -180..180, positive to the face's own right."""
    matrix = similarity(landmarks, TEMPLATE)
    return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))


def nearest_quarter_turn(face: Face) -> float:
    """Return the quarter turn nearest to a face's tilt, in degrees."""
    return 90.0 * round(tilt(face.landmarks) / 90)


def wrapped(degrees: float) -> float:
    """Return the same angle within -180..180."""
    return (degrees + 180) % 360 - 180


def undo_quarter_turn(face: Face, quarter: int, shape: tuple[int, ...]) -> Face:
    """Return a face found in np.rot90(photo, quarter), in the photo's own pixels. `shape` is the photo's."""
    height, width = shape[:2]

    def in_photo(points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0], points[:, 1]
        if quarter == 1:
            return np.stack([width - 1 - y, x], 1)
        if quarter == 2:
            return np.stack([width - 1 - x, height - 1 - y], 1)
        return np.stack([y, height - 1 - x], 1)

    left, top, box_width, box_height = face.box
    corners = in_photo(np.array([(left, top), (left + box_width, top + box_height)], np.float32))
    low, size = corners.min(0), np.abs(corners[1] - corners[0])
    box = (float(low[0]), float(low[1]), float(size[0]), float(size[1]))
    return Face(box, in_photo(face.landmarks).astype(np.float32), face.score)
