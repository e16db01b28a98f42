"""Two photos to one answer: the same person, or not."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from facedex.decision.calibration import Calibration
from facedex.errors import NoFace
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from facedex.model.reader import EncodedFace, FaceReader
from facedex.photos import images

FMR = 1e-3  # of different pairs that `verify` calls the same


@dataclass(frozen=True)
class Verification:
    """Whether two photos show one person. `similarity`: calibrated, if half of all pairs were the same;
    `probability`: the same with the prior asked for. `logit` is what was compared with `threshold`, which a share
    `fmr` of different pairs passes.
    """

    same: bool
    similarity: float
    probability: float
    logit: float = math.nan
    threshold: float = math.nan
    fmr: float = math.nan


class Verifier:
    """Compares two photos, without a gallery."""

    def __init__(self, model: str | os.PathLike[str] | None = None, device: str = "cpu") -> None:
        """With `model`, else the shipped one. Raises ModelError."""
        file = read_model(model or shipped_model())
        self.head, self.calibration = Head.from_file(file), Calibration.from_meta(file.meta)
        self.reader = FaceReader(file, device)

    def verify(
        self, a: str | os.PathLike[str], b: str | os.PathLike[str], fmr: float = FMR, prior: float = 0.5
    ) -> Verification:
        """Whether the subjects of two photos are one person, at a false match rate. Raises PhotoError."""
        vectors = [self._face(photo).vector for photo in (a, b)]
        logit = float(self.head.logits(vectors[0], vectors[1]))
        threshold = self.calibration.threshold(1, fmr)
        similarity, probability = (
            float(self.calibration.similarity(logit)),
            self.calibration.pair_posterior(logit, prior),
        )
        return Verification(logit >= threshold, similarity, probability, logit, threshold, fmr)

    def _face(self, photo: str | os.PathLike[str]) -> EncodedFace:
        opened = images.open_photo(photo)
        faces = self.reader.detector.detect(opened.pixels)
        if not faces:
            raise NoFace(f"{opened.name} shows no face that could be found; use a clearer photo")
        return self.reader.encode([(opened.pixels, faces[0])])[0]
