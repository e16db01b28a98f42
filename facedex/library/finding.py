"""The photos that show a person, or several people together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from facedex.errors import DataError, GalleryError, PhotoError
from facedex.faces.boxes import Box, same_place
from facedex.gallery.gallery import Gallery
from facedex.photos.sources import read_source, source_of, source_path
from facedex.photos.takentime import taken_time
from facedex.store import expiry


@dataclass(frozen=True)
class FoundPhoto:
    """A photo with the people who were asked for.

    `photo`: its path. `boxes`: the face of each person, in the order of the names (left, top, width, height in pixels).
    `quality`: that of the least clear of these faces, the length of its embedding before normalisation.
    `taken`: when the photo was taken, in local time, None until `with_dates` adds it. `taken_from`: "exif", or "file"
    for the file's time of change.
    """

    photo: str
    boxes: tuple[Box, ...]
    quality: float
    taken: datetime | None = None
    taken_from: str | None = None


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


def with_dates(gallery: Gallery, found: Sequence[FoundPhoto]) -> list[FoundPhoto]:
    """The photos with their dates. One that was never scanned and cannot be read has none.

    A scan noted the dates, so that scanned photos are not read again. Raises GalleryError.
    """
    library = gallery.library
    files = library.files()
    scanned = {photo.photo: files.get(source_of(photo.photo)) for photo in found}
    facts = library.facts(file.photo for file in scanned.values() if file is not None)
    dated = []
    for photo in found:
        file = scanned[photo.photo]
        if file is None:
            taken, changed = _read_dates(photo.photo)
        else:
            text = facts[file.photo].taken if file.photo in facts else None
            taken, changed = datetime.fromisoformat(text) if text else None, file.modified
        if taken is not None:
            photo = replace(photo, taken=taken, taken_from="exif")
        elif changed is not None:
            photo = replace(photo, taken=datetime.fromtimestamp(changed // 10**9), taken_from="file")
        dated.append(photo)
    return dated


def _read_dates(path: str) -> tuple[datetime | None, int | None]:
    """When a photo was taken by EXIF, and its file's time of change in ns; None for what is not known."""
    taken = changed = None
    with suppress(PhotoError, DataError):
        taken = taken_time(read_source(source_of(path)), path)
    with suppress(OSError, ValueError):
        changed = os.stat(path).st_mtime_ns
    return taken, changed


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
