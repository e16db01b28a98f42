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

    `remark`: what a user should know of the photo itself, such as that a part of it is missing.

    `photo`: its path, or what stands for a photo in memory (GivenPhoto.name).
    The first face is number 1 of `facedex enroll --face`.
    """

    photo: str
    faces: tuple[DetectedFace, ...] = ()
    error: str | None = None
    exception: FacedexError | None = field(default=None, repr=False, compare=False)
    remark: str | None = None


def read_faces(
    photo: GivenPhoto, detector: FaceDetector, remarks: list[str] | None = None
) -> tuple[np.ndarray, list[Face]]:
    """Read one photo and find its faces.

    Returns its pixels, (height, width, 3) uint8 RGB, and at least one face, the subject first. What is missing of the
    photo is added to `remarks`.
    Raises PhotoError for a photo that cannot be read, and NoFace for one that shows no face.
    """
    for pixels in photo.pages(remarks):
        if faces := detector.detect(pixels):
            return pixels, faces
    raise NoFace.at_all(photo.name)


def detect_photos(
    photos: PhotoInput | Iterable[PhotoInput], detector: FaceDetector | None = None
) -> Iterator[DetectedPhoto]:
    """Find every face in every photo, or in one photo, in the order of the photos.

    `detector`: one that is loaded already. A photo that cannot be used yields a result with an `error` and does not
    stop the others.
    Raises ModelError when the detector's weights are missing or altered.
    """
    detector = detector or FaceDetector()
    for photo in given_photos(photos):
        remarks: list[str] = []
        try:
            pixels, faces = read_faces(photo, detector, remarks)
        except PhotoError as error:
            _log.warning("skipped: %s", error)
            yield DetectedPhoto(photo.name, error=str(error), exception=error)
            continue
        crops = [alignment.align(pixels, face.landmarks) for face in faces]
        yield DetectedPhoto(
            photo.name,
            tuple(DetectedFace(face, Quality.of(face, crop), crop) for face, crop in zip(faces, crops, strict=True)),
            remark="; ".join(remarks) or None,
        )
