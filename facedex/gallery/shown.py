"""What a gallery holds of one person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.decision.fusion import fuse
from facedex.faces.boxes import Box
from facedex.model.head import Head
from facedex.photos.sources import source_path
from facedex.store import expiry
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
    consent, expires: what was allowed for it, and the last day of that (YYYY-MM-DD), "" for no end.
    face: the id of the enrolled face.
    """

    photo: str
    box: Box
    enrolled: str
    quality: float
    unclear: bool
    similarity: float | None
    consent: str = ""
    expires: str = ""
    face: int = 0

    @property
    def expired(self) -> bool:
        """Whether nobody is matched by this photo any more."""
        return expiry.has_passed(self.expires)


@dataclass(frozen=True)
class ShownPerson:
    """One person with all photos, in the order of enrolment. enrolled: when the first was, ISO 8601 in UTC.

    A person who has lost every photo has none, and "" there.
    """

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
    count, consents = len(photos), store.consents([photo.face for photo in photos])
    similarities: list[float | None] = [None] * count
    if count > 1:
        z = head.pairwise(faces.vectors, faces.vectors)
        others = z[~np.eye(count, dtype=bool)].reshape(count, count - 1)
        similarities = list(map(float, calibration.similarity(fuse(others))))
    return ShownPerson(
        store.stored_name(name),
        min(times, default=""),
        tuple(
            ShownPhoto(
                source_path(photo.source),
                photo.box,
                time,
                quality,
                0 < quality < calibration.unclear,
                similarity,
                *terms,
                photo.face,
            )
            for photo, time, quality, similarity, terms in zip(
                photos, times, faces.quality.tolist(), similarities, consents, strict=True
            )
        ),
    )
