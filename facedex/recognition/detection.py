"""Find the faces of photos, without naming anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from facedex.errors import FacedexError, NoFace, PhotoError
from facedex.faces import alignment
from facedex.faces.boxes import Box
from facedex.faces.detector import FaceDetector
from facedex.faces.face import Face
from facedex.faces.quality import Quality
from facedex.log import logger
from facedex.photos.inputs import GivenPhoto, PhotoInput, given_photos

_log = logger(__name__)


@dataclass(frozen=True)
class DetectedFace:
    """One face of a photo with its quality measures and its aligned `crop`, (112, 112, 3) uint8 RGB.

    `embedding`: (dim,) float32 of unit length. None for a face that was only detected.
    """

    face: Face
    quality: Quality
    crop: np.ndarray
    embedding: np.ndarray | None = None

    @property
    def box(self) -> Box:
        """Left, top, width and height in pixels of the upright photo."""
        return self.face.box

    @property
    def landmarks(self) -> np.ndarray:
        """(5, 2) float32: two eyes, nose, two corners of the mouth, those on the picture's left first."""
        return self.face.landmarks

    @property
    def score(self) -> float:
        """The detector's confidence, 0..1."""
        return self.face.score


@dataclass(frozen=True)
class DetectedPhoto:
    """The faces of one photo, the subject first. `error` says why there are none, and `exception` is that error.

    `photo`: its path, or what stands for a photo in memory (GivenPhoto.name).
    The first face is number 1 of `facedex enroll --face`.
    """

    photo: str
    faces: tuple[DetectedFace, ...] = ()
    error: str | None = None
    exception: FacedexError | None = field(default=None, repr=False, compare=False)


def read_faces(photo: GivenPhoto, detector: FaceDetector) -> tuple[np.ndarray, list[Face]]:
    """Read one photo and find its faces.

    Returns its pixels, (height, width, 3) uint8 RGB, and at least one face, the subject first.
    Raises PhotoError for a photo that cannot be read, and NoFace for one that shows no face.
    """
    pixels = photo.pixels()
    faces = detector.detect(pixels)
    if not faces:
        raise NoFace.at_all(photo.name)
    return pixels, faces


def detect_photos(photos: PhotoInput | Iterable[PhotoInput]) -> Iterator[DetectedPhoto]:
    """Find every face in every photo, or in one photo, in the order of the photos.

    A photo that cannot be used yields a result with an `error` and does not stop the others.
    Raises ModelError when the detector's weights are missing or altered.
    """
    detector = FaceDetector()
    for photo in given_photos(photos):
        try:
            pixels, faces = read_faces(photo, detector)
        except PhotoError as error:
            _log.warning("skipped: %s", error)
            yield DetectedPhoto(photo.name, error=str(error), exception=error)
            continue
        crops = [alignment.align(pixels, face.landmarks) for face in faces]
        yield DetectedPhoto(
            photo.name,
            tuple(DetectedFace(face, Quality.of(face, crop), crop) for face, crop in zip(faces, crops, strict=True)),
        )
