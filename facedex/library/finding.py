"""The photos that show a person, or several people together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facedex.errors import GalleryError
from facedex.faces.boxes import Box, same_place
from facedex.gallery.gallery import Gallery
from facedex.photos.sources import source_path
from facedex.store import expiry


@dataclass(frozen=True)
class FoundPhoto:
    """A photo with the people who were asked for.

    `photo`: its path. `boxes`: the face of each person, in the order of the names (left, top, width, height in pixels).
    `quality`: that of the least clear of these faces, the length of its embedding before normalisation.
    """

    photo: str
    boxes: tuple[Box, ...]
    quality: float


def find_photos_of(gallery: Gallery, names: Sequence[str]) -> list[FoundPhoto]:
    """The photos that show all of these people, those with the clearest faces first.

    Scanned faces count that bear the names, and enrolled photos. A photo that lies at several paths is listed at each.
    Photos whose consent has expired do not count. Raises PersonNotFound, GalleryDamaged, and GalleryError for a person
    of whom no photo may be matched any more.
    """
    expired = gallery.expired()[0]
    for person in gallery.find(*names):
        if person.name in expired:
            raise GalleryError(
                f"The consent of {person.name!r} expired on {person.expires}; `facedex consent` prolongs it, "
                "`facedex purge` deletes the person"
            )
    each = [_photos_of(gallery, name) for name in dict.fromkeys(names)]
    common = [photo for photo in each[0] if all(photo in other for other in each)]
    found = [
        FoundPhoto(photo, tuple(one[photo][1] for one in each), min(one[photo][0] for one in each)) for photo in common
    ]
    return sorted(found, key=lambda one: (-one.quality, one.photo))


def _photos_of(gallery: Gallery, name: str) -> dict[str, tuple[float, Box]]:
    """Quality and box of a person's face by the photo's path."""
    library = gallery.library
    enrolled, photos, _ = gallery.enrolled_photos(name)
    valid = set(enrolled.valid(expiry.today()).ids.tolist())
    boxes = {photo.photo: photo.box for photo in photos if photo.face in valid}
    named, beside = library.faces_named(gallery.find(name)[0].name), library.faces_of_photos(boxes)
    rows = [(named, row) for row in range(len(named))]
    rows += [(beside, row) for row in range(len(beside)) if same_place(beside.box(row), boxes[beside.digests[row]])]
    found = {
        source_path(photo.source): (quality, photo.box)
        for photo, quality in zip(photos, enrolled.quality.tolist(), strict=True)
        if photo.face in valid
    }
    sources = library.sources([int(faces.photos[row]) for faces, row in rows])
    for faces, row in rows:
        for source in sources.get(int(faces.photos[row]), []):
            found[source_path(source)] = float(faces.quality[row]), faces.box(row)
    return found
