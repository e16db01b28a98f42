"""`Face`: a face that was found in a photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedex.faces.boxes import Box


@dataclass(frozen=True)
class Face:
    """One detected face, in pixels of the upright photo.

    `box`: left, top, width, height.
    `landmarks`: (5, 2) float32 x and y, in the order of `alignment.TEMPLATE`.
    `score`: the detector's confidence, 0..1.
    """

    box: Box
    landmarks: np.ndarray
    score: float

    @property
    def area(self) -> float:
        """The box's area in pixels."""
        return self.box[2] * self.box[3]

    @property
    def centre(self) -> np.ndarray:
        """The box's centre: (2,) float64 x and y."""
        left, top, width, height = self.box
        return np.array([left + width / 2, top + height / 2])

    def mirrored(self, picture_width: int) -> Face:
        """Return the face in the mirror image of a picture. The eyes change places, and so do the mouth's corners."""
        left, top, width, height = self.box
        x, y = self.landmarks[[1, 0, 2, 4, 3]].T
        landmarks = np.stack([picture_width - 1 - x, y], axis=1)
        return Face((picture_width - 1 - left - width, top, width, height), landmarks, self.score)

    def moved(self, x: float, y: float) -> Face:
        """Return the face in a picture whose corner lies `x` pixels further left and `y` pixels further up."""
        left, top, width, height = self.box
        return Face((left + x, top + y, width, height), self.landmarks + np.array([x, y], np.float32), self.score)

    def enlarged(self, factor: float) -> Face:
        """Return the face in a photo that is `factor` times as large."""
        if factor == 1:
            return self
        left, top, width, height = (factor * length for length in self.box)
        # The centre of a pixel has whole coordinates, so its edge is half a pixel away.
        landmarks = (self.landmarks + np.float32(0.5)) * np.float32(factor) - np.float32(0.5)
        return Face((left, top, width, height), landmarks, self.score)
