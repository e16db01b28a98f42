"""The photos that show a person, or several people together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

import numpy as np

from facedex.errors import DataError, GalleryError, PhotoError
from facedex.faces.boxes import Box, same_place
from facedex.gallery.gallery import Gallery
from facedex.library.known_photos import scanned_photos
from facedex.photos.sources import read_source, source_of, source_path
from facedex.photos.takentime import taken_time
from facedex.recognition.identification import FPIR, identify
from facedex.store import expiry
from facedex.store.library_rows import ScannedFaces
from facedex.store.library_tables import LibraryTables
from facedex.store.rows import StoredPhoto

ScannedRow: TypeAlias = tuple[ScannedFaces, int]  # a face, and its row among several
ShownFace: TypeAlias = tuple[float, Box, float | None]  # quality and box of a face, and the probability if recognised


@dataclass(frozen=True)
class FoundPhoto:
    """A photo with the people who were asked for.

    `photo`: its path. `boxes`: the face of each person, in the order of the names (left, top, width, height in pixels).
    `quality`: that of the least clear of these faces, the length of its embedding before normalisation.
    `probabilities`: of each of these names, where `facedex.identify` gives it; None where a person did.
    `taken`: when the photo was taken, in local time, None until `with_dates` adds it. `taken_from`: "exif", or "file"
    for the file's time of change.
    """

    photo: str
    boxes: tuple[Box, ...]
    quality: float
    probabilities: tuple[float | None, ...]
    taken: datetime | None = None
    taken_from: str | None = None


def find_photos_of(gallery: Gallery, names: Sequence[str]) -> list[FoundPhoto]:
    """The photos that show all of these people, those with the clearest faces first.

    Enrolled photos count, scanned faces that bear the names, and after these the scanned faces that
    `facedex.identify` names so. No photo is read. A photo that lies at several paths is listed at each. Photos whose
    consent has expired do not count. Raises PersonNotFound, GalleryDamaged, and GalleryError for a person
    of whom no photo may be matched any more.
    """
    expired, people = gallery.expired()[0], gallery.find(*names)
    for person in people:
        if person.name in expired:
            raise GalleryError(
                f"The consent of {person.name!r} expired on {person.expires}; `facedex consent` prolongs it, "
                "`facedex purge` deletes the person"
            )
    names = [person.name for person in people]
    recognised = _recognised(gallery, names)
    each = [{**recognised[name], **_photos_of(gallery, name)} for name in names]
    found = []
    for photo in each[0]:
        if all(photo in other for other in each):
            quality, boxes, probabilities = zip(*(one[photo] for one in each), strict=True)
            found.append(FoundPhoto(photo, boxes, min(quality), probabilities))
    return sorted(found, key=lambda one: (any(one.probabilities), -one.quality, one.photo))


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


def _recognised(gallery: Gallery, names: Sequence[str]) -> dict[str, dict[str, ShownFace]]:
    """The scanned faces without a name that recognition takes for these people: by name and by the photo's path."""
    library, found = gallery.library, {name: dict[str, ShownFace]() for name in names}
    faces, today = library.faces(), expiry.today()
    unnamed = np.flatnonzero(faces.people == 0)
    vectors = np.concatenate([gallery.enrolled_photos(name)[0].valid(today).vectors for name in names])
    if not len(vectors) or not len(unnamed):
        return found
    # Only who is near to a photo of these people can get their names: no score of a person is above that of the photo.
    near = gallery.head.pairwise(vectors, faces.vectors[unnamed]).max(0) >= gallery.threshold(FPIR)
    sources = library.sources(set(faces.photos[unnamed[near]].tolist()))
    paths = {number: source_path(known[0]) for number, known in sources.items()}
    copies = {path: [source_path(source) for source in sources[number]] for number, path in paths.items()}
    for photo in identify(gallery, scanned_photos(gallery, paths)):
        for face in photo.faces:
            if face.name in found and not face.confirmed and face.quality is not None:
                shown: ShownFace = face.quality.length or 0.0, face.box, face.probability
                found[face.name].update(dict.fromkeys(copies[photo.photo], shown))
    return found


def _photos_of(gallery: Gallery, name: str) -> dict[str, ShownFace]:
    """The faces that are enrolled as a person or bear the name, by the photo's path."""
    library = gallery.library
    enrolled, photos, _ = gallery.enrolled_photos(name)
    valid = set(enrolled.valid(expiry.today()).ids.tolist())
    named, beside = faces_showing(library, name, [photo for photo in photos if photo.face in valid])
    rows = [*named, *beside]
    found: dict[str, ShownFace] = {
        source_path(photo.source): (quality, photo.box, None)
        for photo, quality in zip(photos, enrolled.quality.tolist(), strict=True)
        if photo.face in valid
    }
    sources = library.sources([int(faces.photos[row]) for faces, row in rows])
    for faces, row in rows:
        for source in sources.get(int(faces.photos[row]), []):
            found[source_path(source)] = float(faces.quality[row]), faces.box(row), None
    return found


def faces_showing(
    library: LibraryTables, name: str, photos: Sequence[StoredPhoto]
) -> tuple[list[ScannedRow], list[ScannedRow]]:
    """The scanned faces that bear a person's stored name, and those that lie where these enrolled photos show her."""
    boxes = {photo.photo: photo.box for photo in photos}
    named, beside = library.faces_named(name), library.faces_of_photos(boxes)
    at_place = (row for row in range(len(beside)) if same_place(beside.box(row), boxes[beside.digests[row]]))
    return [(named, row) for row in range(len(named))], [(beside, row) for row in at_place]
