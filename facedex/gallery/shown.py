"""What a gallery holds of one person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.decision.fusion import fuse
from facedex.faces.boxes import Box
from facedex.model.head import Head
from facedex.photos.sources import source_path
from facedex.store.store import Store


@dataclass(frozen=True)
class ShownPhoto:
    """One enrolled photo of a person.

    photo: its path when it was enrolled. box: the face's place in it (left, top, width, height) in pixels.
    enrolled: when, ISO 8601 in UTC.
    quality: length of the embedding before normalisation, 0 where not known. unclear: whether it is among the shortest
        twentieth of the calibration's, so that errors are likely.
    similarity: calibrated probability that the photo and the person's other photos show one person, if half of all
        such pairs did; None for the only photo.
    face: the id of the enrolled face.
    """

    photo: str
    box: Box
    enrolled: str
    quality: float
    unclear: bool
    similarity: float | None
    face: int


@dataclass(frozen=True)
class ShownPerson:
    """One person with all photos, in the order of enrolment. enrolled: when the first was, ISO 8601 in UTC."""

    name: str
    enrolled: str
    photos: tuple[ShownPhoto, ...]

    @property
    def least_alike(self) -> ShownPhoto | None:
        """The photo that resembles the others least; None with fewer than three photos."""
        if len(self.photos) < 3:
            return None
        return min(self.photos, key=lambda one: 1.0 if one.similarity is None else one.similarity)


def show_person(store: Store, head: Head, calibration: Calibration, name: str) -> ShownPerson:
    """Everything about the person named `name`. Raises PersonNotFound, GalleryDamaged."""
    faces, photos, times = store.photos_of(name)
    count = len(photos)
    similarities: list[float | None] = [None] * count
    if count > 1:
        z = head.pairwise(faces.vectors, faces.vectors)
        others = z[~np.eye(count, dtype=bool)].reshape(count, count - 1)
        similarities = list(map(float, calibration.similarity(fuse(others))))
    return ShownPerson(
        photos[0].name,
        min(times),
        tuple(
            ShownPhoto(
                source_path(photo.source),
                photo.box,
                time,
                quality,
                0 < quality < calibration.unclear,
                similarity,
                photo.face,
            )
            for photo, time, quality, similarity in zip(
                photos, times, faces.quality.tolist(), similarities, strict=True
            )
        ),
    )
