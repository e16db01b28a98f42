"""Find the faces of photos, without naming anybody."""

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
    """One face of a photo with its quality measures and its aligned `crop`, (112, 112, 3) uint8 RGB."""

    face: Face
    quality: Quality
    crop: np.ndarray


@dataclass(frozen=True)
class DetectedPhoto:
    """The faces of one photo, the subject first. `error` says why there are none, `remark` what a user should know.

    The first face is number 1 of `facedex enroll --face`.
    """

    photo: str
    faces: tuple[DetectedFace, ...] = ()
    error: str | None = None
    remark: str | None = None


def read_faces(photo: str, detector: FaceDetector, remarks: list[str] | None = None) -> tuple[np.ndarray, list[Face]]:
    """Read one photo and find its faces.

    Returns its pixels, (height, width, 3) uint8 RGB, and at least one face, the subject first. What is missing of the
    photo is added to `remarks`.
    Raises PhotoError for a photo that cannot be read, and NoFace for one that shows no face.
    """
    for pixels in images.pages(images.read_bytes(photo), photo, remarks):
        if faces := detector.detect(pixels):
            return pixels, faces
    raise NoFace.at_all(photo)


def detect_photos(photos: Iterable[str | os.PathLike[str]]) -> Iterator[DetectedPhoto]:
    """Find every face in every photo, in the order of the photos.

    A photo that cannot be used yields a result with an `error` and does not stop the others.
    Raises ModelError when the detector's weights are missing or altered.
    """
    detector = FaceDetector()
    for photo in (os.fspath(path) for path in photos):
        remarks: list[str] = []
        try:
            pixels, faces = read_faces(photo, detector, remarks)
        except PhotoError as error:
            yield DetectedPhoto(photo, error=str(error))
            continue
        crops = [alignment.align(pixels, face.landmarks) for face in faces]
        yield DetectedPhoto(
            photo,
            tuple(DetectedFace(face, Quality.of(face, crop), crop) for face, crop in zip(faces, crops, strict=True)),
            remark="; ".join(remarks) or None,
        )
