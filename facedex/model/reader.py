"""Photos to the embeddings of their faces: detect, align, encode. Every command goes this way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facedex.faces import alignment
from facedex.faces.detector import FaceDetector
from facedex.faces.face import Face
from facedex.log import logger, timed
from facedex.model.encoder import Encoder, open_encoder
from facedex.model.modelfile import ModelFile

_log = logger(__name__)


@dataclass(frozen=True)
class EncodedFace:
    """A face with its unit embedding (dim,) float32.

    `quality` is the length of the network's vector before it is scaled to 1. With several networks it is the geometric
    mean of the lengths of their vectors.
    """

    face: Face
    vector: np.ndarray
    quality: float


class FaceReader:
    """Photos to encoded faces with one model."""

    def __init__(self, model: ModelFile, device: str = "cpu", detector: FaceDetector | None = None) -> None:
        self.detector = detector or FaceDetector()
        with timed(_log, "opened the model %s on %s", model.path, device, level=logging.INFO):
            self.encoder: Encoder = open_encoder(model, device)

    def read(self, pixels: np.ndarray) -> list[EncodedFace]:
        """All faces of a photo (height, width, 3) uint8 RGB, the subject first."""
        faces = self.detector.detect(pixels)
        return self.encode([(pixels, face) for face in faces])

    def encode(self, found: Sequence[tuple[np.ndarray, Face]]) -> list[EncodedFace]:
        """Faces, each with the photo it is in, encoded as one batch."""
        return self.encode_crops(
            [alignment.align(pixels, face.landmarks) for pixels, face in found], [f for _, f in found]
        )

    def encode_crops(self, crops: Sequence[np.ndarray], faces: Sequence[Face]) -> list[EncodedFace]:
        """Aligned crops (112, 112, 3) of these faces, encoded as one batch."""
        if not crops:
            return []
        vectors, lengths = self.encoder.encode(np.stack(crops))
        return [EncodedFace(f, v, float(q)) for f, v, q in zip(faces, vectors, lengths, strict=True)]
