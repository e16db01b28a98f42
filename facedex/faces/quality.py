"""Whether errors are likely with a face, and in words why and what helps.

Measures and limits were chosen by error-versus-discard curves (Grother and Tabassi 2007), drawn from 2026-11-24 to
2026-11-30. Nothing is refused for its quality: it warns at enrolment and explains an unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facedex.faces.face import Face

# Below these, errors are many times as likely, whatever the embedding's length.
TINY = 20.0  # pixels from ear to ear
SMEARED = 0.005
# These say why an embedding is short; by themselves they tell of no errors.
SMALL = 32.0  # pixels from ear to ear
BLURRED = 0.012
TURNED = 0.30  # about 40 degrees


@dataclass(frozen=True)
class Quality:
    """What can be told of a face before it is compared.

    `width`: of its box, in the photo's pixels; `sharpness`: energy of the aligned crop's finest detail over its
    contrast, 0 for none; `turn`: how far the nose lies from the middle of the eyes, in distances between the eyes, 0
    seen from the front and about .5 in profile; `score`: the detector's, 0..1; `length`: of the embedding before it is
    brought to unit length, None where the face was not encoded.
    """

    width: float
    sharpness: float
    turn: float
    score: float
    length: float | None = None

    @classmethod
    def of(cls, face: Face, crop: np.ndarray, length: float | None = None) -> Quality:
        """Of a face, its aligned crop (112, 112, 3) uint8 RGB, and its embedding's length where it was encoded."""
        return cls(float(min(face.box[2:])), sharpness(crop), turn(face.landmarks), face.score, length)

    def reason(self, unclear: float = 0.0) -> str | None:
        """What is wrong with the face and what helps, in words; None where no more errors are likely than with others.

        `unclear` is the length that few embeddings of the model fall short of (Calibration.unclear), 0 where not known.
        Of all measures the length tells best which faces are not recognised; most of the others only tell why.
        """
        short = self.length is not None and self.length < unclear
        if not short and self.width >= TINY and self.sharpness >= SMEARED:
            return None
        faults = [
            (self.width < SMALL, f"small ({self.width:.0f} px wide)", "larger"),
            (self.sharpness < BLURRED, "blurred", "sharper"),
            (self.turn > TURNED, "turned away", "from the front"),
        ]
        found = [(what, better) for is_so, what, better in faults if is_so]
        found = found or [("hard to recognise", "uncovered, evenly lit and in its own colours")]
        what, better = (", ".join(words) for words in zip(*found, strict=True))
        return f"face {what}; use a photo that shows it {better}"


def sharpness(crop: np.ndarray) -> float:
    """Mean square of the Laplacian over the variance of the grey levels, of a crop (n, n, 3) uint8 RGB."""
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY).astype(np.float32)
    middle = grey[len(grey) // 8 : -len(grey) // 8, len(grey) // 8 : -len(grey) // 8]
    fine = cv2.Laplacian(middle, cv2.CV_32F)
    return float((fine**2).mean() / max(float(middle.var()), 1.0))


def turn(landmarks: np.ndarray) -> float:
    """How far the nose is from the middle of the eyes, along their line, in distances between the eyes; at most 1."""
    right, left, nose = (landmarks[i].astype(np.float64) for i in range(3))
    eyes = left - right
    apart = float(eyes @ eyes)
    if apart < 1e-6:
        return 1.0
    return float(min(abs((nose - (left + right) / 2) @ eyes) / apart, 1.0))
