"""Photos to their faces, without names: what `facedex detect` lists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from facedex.errors import NoFace, PhotoError
from facedex.faces import alignment
from facedex.faces.detector import FaceDetector
from facedex.faces.face import Face
from facedex.faces.quality import Quality
from facedex.photos import images


@dataclass(frozen=True)
class DetectedFace:
    """One face of a photo, its measures, and its aligned `crop` (112, 112, 3) uint8 RGB."""

    face: Face
    quality: Quality
    crop: np.ndarray


@dataclass(frozen=True)
class DetectedPhoto:
    """All faces of one photo, the subject first, or why there are none. Face N of `enroll` is the N-th of these."""

    photo: str
    faces: tuple[DetectedFace, ...] = ()
    error: str | None = None


def detect_photos(photos: Iterable[str | os.PathLike[str]]) -> Iterator[DetectedPhoto]:
    """Find every face in every photo, in order. A photo that cannot be used yields its error, never raises.

    Raises ModelError when the detector's weights are missing or altered.
    """
    detector = FaceDetector()
    for given in photos:
        photo = os.fspath(given)
        try:
            pixels = images.decode(images.read_bytes(photo), photo)
            faces = detector.detect(pixels)
            if not faces:
                raise NoFace(f"{photo} shows no face that could be found; use a clearer photo")
        except PhotoError as error:
            yield DetectedPhoto(photo, error=str(error))
            continue
        crops = [alignment.align(pixels, face.landmarks) for face in faces]
        found = (DetectedFace(face, Quality.of(face, crop), crop) for face, crop in zip(faces, crops, strict=True))
        yield DetectedPhoto(photo, tuple(found))
