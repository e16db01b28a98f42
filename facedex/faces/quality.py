"""Measures a face's quality, and says why errors are likely with it and what helps.

Measures and limits were chosen by error-versus-discard curves (Grother and Tabassi 2007), drawn from 2026-11-24 to
2026-11-30. No face is refused for its quality. Quality only warns at enrolment, and
explains an unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedex.faces.face import Face
from facedex.faces.unusual import unusual
from facedex.opencv import cv2

# Below these limits errors are many times as likely, whatever the embedding's length.
TINY = 20.0  # pixels, the shorter side of the face's box
SMEARED = 0.005
# These limits explain a short embedding. By themselves they do not predict errors.
SMALL = 32.0  # pixels, the shorter side of the face's box
BLURRED = 0.012
TURNED = 0.30  # about 40 degrees


@dataclass(frozen=True)
class Quality:
    """What is measured of a face before it is compared.

    `width`: the shorter side of its box, in pixels of the photo.
    `sharpness`: energy of the finest detail over the contrast of the aligned crop, 0 for no detail.
    `turn`: distance of the nose from the middle of the eyes, in distances between the eyes. 0 from the front, about .5
    in profile.
    `score`: the detector's confidence, 0..1.
    `length`: the embedding's length before normalisation, None for a face that was not encoded.
    `unusual`: how the face differs from ordinary photos (faces/unusual.py), None for an ordinary one.
    """

    width: float
    sharpness: float
    turn: float
    score: float
    length: float | None = None
    unusual: str | None = None

    @classmethod
    def of(cls, face: Face, crop: np.ndarray, length: float | None = None) -> Quality:
        """Measure a face by its aligned crop (112, 112, 3) uint8 RGB. `length`: its embedding's length, if encoded."""
        width = float(min(face.box[2:]))
        return cls(width, sharpness(crop), turn(face.landmarks), face.score, length, unusual(crop))

    @property
    def warning(self) -> str | None:
        """What an answer about an unusual face is worth, in words; None for an ordinary face."""
        return f"face {self.unusual}; stated rates hold for ordinary photos only" if self.unusual else None

    def reason(self, unclear: float = 0.0) -> str | None:
        """Return what is wrong with the face and what helps, in words. None where errors are no likelier than usual.

        `unclear`: an embedding length that few embeddings of the model fall below (Calibration.unclear), or 0 where it
        is not known. The length predicts best which faces are not recognised. Most other measures only explain it.
        """
        short = self.length is not None and self.length < unclear
        if not short and self.width >= TINY and self.sharpness >= SMEARED and self.unusual is None:
            return None
        faults = []
        if self.unusual:
            faults.append((self.unusual, "uncovered and in its own colours"))
        if self.width < SMALL:
            faults.append((f"small ({self.width:.0f} px wide)", "larger"))
        if self.sharpness < BLURRED:
            faults.append(("blurred", "sharper"))
        if self.turn > TURNED:
            faults.append(("turned away", "from the front"))
        if not faults:
            faults.append(("hard to recognise", "uncovered, evenly lit and in its own colours"))
        fault = ", ".join(fault for fault, _ in faults)
        remedy = ", ".join(remedy for _, remedy in faults)
        return f"face {fault}; use a photo that shows it {remedy}"


def sharpness(crop: np.ndarray) -> float:
    """Return the Laplacian's mean square over the variance of the grey levels, for a crop (n, n, 3) uint8 RGB."""
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY).astype(np.float32)
    edge = len(grey) // 8
    middle = grey[edge:-edge, edge:-edge]
    detail = cv2.Laplacian(middle, cv2.CV_32F)
    return float((detail**2).mean() / max(float(middle.var()), 1.0))


def turn(landmarks: np.ndarray) -> float:
    """Return how far the nose is from the middle of the eyes, along the line of the eyes of landmarks (5, 2).

    The unit is the distance between the eyes, and the result is at most 1.
    """
    right, left, nose = (landmarks[i].astype(np.float64) for i in range(3))
    eye_line = left - right
    squared_distance = float(eye_line @ eye_line)
    if squared_distance < 1e-6:
        return 1.0
    return float(min(abs((nose - (left + right) / 2) @ eye_line) / squared_distance, 1.0))
