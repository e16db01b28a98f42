"""A face that was found in a photo: its box, its landmarks, the detector's score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedex.faces.boxes import Box


@dataclass(frozen=True)
class Face:
    """One detected face, in pixels of the upright photo.

    `box` is (left, top, width, height); `landmarks` (5, 2) float32 in the template's order; `score` in 0..1.
    """

    box: Box
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

    def mirrored(self, width: int) -> Face:
        """The same face in the mirror image of a picture so wide: its eyes change places, and its mouth's corners."""
        left, top, wide, high = self.box
        x, y = self.landmarks[[1, 0, 2, 4, 3]].T
        return Face((width - 1 - left - wide, top, wide, high), np.stack([width - 1 - x, y], axis=1), self.score)

    def enlarged(self, times: float) -> Face:
        """The same face in a photo that is so many times as large."""
        if times == 1:
            return self
        left, top, wide, high = (times * length for length in self.box)
        # Pixel centres lie at whole numbers.
        marks = (self.landmarks + np.float32(0.5)) * np.float32(times) - np.float32(0.5)
        return Face((left, top, wide, high), marks, self.score)
