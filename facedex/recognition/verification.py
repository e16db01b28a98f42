"""Decide whether two photos show the same person, without a gallery."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.faces import alignment
from facedex.faces.quality import Quality
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from facedex.model.reader import EncodedFace, FaceReader
from facedex.photos.inputs import GivenPhoto, PhotoInput, given_photo
from facedex.recognition.detection import read_faces

FMR = 1e-3  # default share of impostor pairs that are called the same person


@dataclass(frozen=True)
class Verification:
    """Whether two photos show the same person.

    similarity: the calibrated probability of the same person when half of all pairs are genuine. It follows from the
        logit and from the quality of both faces.
    probability: that probability for the prior of the call.
    logit: the score of the pair, compared with `threshold`.
    fmr: the share of impostor pairs that reach `threshold`.
    remarks: what a user should know of the photos, such as that a part of one is missing.
    warnings: for each photo with an unusual face, such as a negative, that the stated rates may not hold.
    """

    same: bool
    similarity: float
    probability: float
    logit: float
    threshold: float
    fmr: float
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Verifier:
    """Compares the subjects of two photos."""

    def __init__(self, model: str | os.PathLike[str] | None = None, device: str = "cpu") -> None:
        """Load `model`, or the default model that ships. Raises ModelError."""
        file = read_model(model or shipped_model())
        self.head, self.calibration = Head.from_file(file), Calibration.from_meta(file.meta)
        self.reader = FaceReader(file, device)

    @classmethod
    def of(cls, reader: FaceReader, head: Head, calibration: Calibration) -> Verifier:
        """A verifier of networks that are loaded already, those of a gallery for example."""
        verifier = cls.__new__(cls)
        verifier.reader, verifier.head, verifier.calibration = reader, head, calibration
        return verifier

    def verify(self, a: PhotoInput, b: PhotoInput, fmr: float = FMR, prior: float = 0.5) -> Verification:
        """Compare the subjects of two photos at a false match rate.

        `prior` is the share of genuine pairs among the pairs that are compared. It changes the probability only.
        Raises PhotoError for a photo that cannot be used.
        """
        remarks: list[str] = []
        warnings: list[str] = []
        first, second = (self._subject(given_photo(photo), remarks, warnings) for photo in (a, b))
        logit = float(self.head.logits(first.vector, second.vector))
        logits, qualities = np.array([logit]), np.array([[first.quality, second.quality]])
        similarity, probability = (
            float(self.calibration.pair_posterior(logits, share, qualities)[0]) for share in (0.5, prior)
        )
        threshold = self.calibration.threshold(1, fmr)
        return Verification(
            same=logit >= threshold,
            similarity=similarity,
            probability=probability,
            logit=logit,
            threshold=threshold,
            fmr=fmr,
            remarks=tuple(remarks),
            warnings=tuple(warnings),
        )

    def _subject(self, photo: GivenPhoto, remarks: list[str], warnings: list[str]) -> EncodedFace:
        """The subject of a photo, encoded. What is to be told of it joins the two lists."""
        told: list[str] = []
        pixels, faces = read_faces(photo, self.reader.detector, told)
        remarks += [f"{photo.name}: {remark}" for remark in told]
        crop = alignment.align(pixels, faces[0].landmarks)
        if warning := Quality.of(faces[0], crop).warning:
            warnings.append(f"{photo.name}: {warning}")
        return self.reader.encode_crops([crop], faces[:1])[0]
