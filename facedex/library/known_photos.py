"""Photos to identify that a scan has looked at: their faces need not be found again, and some have names already."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from facedex.errors import NoFace, PhotoError
from facedex.faces import detector
from facedex.faces.face import Face
from facedex.faces.quality import Quality, turn
from facedex.gallery.gallery import Gallery
from facedex.model.reader import EncodedFace
from facedex.photos import images
from facedex.photos.inputs import GivenPhoto, PhotoInput, given_photos
from facedex.photos.sources import source_of
from facedex.recognition.embedding import EncodedPhoto, KnownPhoto
from facedex.store.face_links import NOT_FACE, NOT_PERSON
from facedex.store.library_rows import FoundFace, ScannedFaces
from facedex.store.library_tables import LibraryTables


def known_photos(gallery: Gallery, photos: PhotoInput | Iterable[PhotoInput]) -> Iterator[GivenPhoto]:
    """The photos for `facedex.identify`, each as KnownPhoto where the gallery's library knows it, else as given.

    A file is known if it was scanned and has the same size and time of change, or else the same SHA-256. Its answer is
    that of a fresh look, but for names that a person gave to scanned faces, or refused them: these win. Names whose
    consent has expired do not count. Raises GalleryError.
    """
    look = _Look(gallery)
    for photo in given_photos(photos):
        number = _scanned_photo(gallery.library, photo.path) if photo.path == photo.name else None
        yield photo if number is None or photo.path is None else look.at(number, photo.path)


def scanned_photos(gallery: Gallery, paths: Mapping[int, str]) -> Iterator[KnownPhoto]:
    """Scanned photos (ids, each with a path) as `known_photos` gives them, without a look at the files.

    Photos that must be looked at again are left out. Raises GalleryError.
    """
    look = _Look(gallery)
    for number, path in paths.items():
        photo = look.at(number, path)
        if photo.encoded is not None:
            yield photo


def _scanned_photo(library: LibraryTables, path: str | None) -> int | None:
    """The id of the scanned photo that a file holds; None for a file that has to be looked at."""
    if path is None:
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # reading it will say why
        return None
    file = library.file(source_of(os.path.abspath(path)))
    if file is not None and (file.size, file.modified) == (status.st_size, status.st_mtime_ns):
        return file.photo
    if not library.has_size(status.st_size):
        return None
    try:
        return library.photo_of_content(images.sha256(images.read_bytes(path)))
    except PhotoError:
        return None


class _Look:
    """What a gallery knows of scanned photos: faces, and a person's decisions about these."""

    def __init__(self, gallery: Gallery) -> None:
        self._library, self._expired = gallery.library, gallery.expired_people()
        people = self._library.people()
        self._refused: dict[int, list[str | None]] = defaultdict(list)
        for face, person in self._library.links.rows(NOT_PERSON):
            self._refused[face].append(people.get(person))
        for (face,) in self._library.links.rows(NOT_FACE):
            self._refused[face].append(None)

    def at(self, number: int, path: str) -> KnownPhoto:
        """The scanned photo (id) at this path."""
        faces, facts = self._library.faces_of_photo(number), self._library.facts([number]).get(number)
        names = tuple(
            (faces.box(row), name)
            for row, (name, person) in enumerate(zip(faces.names, faces.people.tolist(), strict=True))
            if name is not None and person not in self._expired
        )
        refused = tuple(
            (faces.box(row), name)
            for row, face in enumerate(faces.ids.tolist())
            for name in self._refused.get(face, ())
        )
        # Faces go when their person is removed, and another detector may find others. The photo is looked at anew then.
        if facts is None or (facts.faces, facts.detector) != (len(faces), detector.VERSION):
            return KnownPhoto(path, None, names, refused)
        if not len(faces):
            return KnownPhoto(path, NoFace.at_all(path))
        return KnownPhoto(path, _encoded(faces, facts.remark), names, refused)


def _encoded(faces: ScannedFaces, remark: str | None) -> EncodedPhoto:
    """Scanned faces as they were encoded, without their crops."""
    found = [faces.found(row) for row in range(len(faces))]
    encoded = [EncodedFace(Face(one.box, one.landmarks, one.score), one.vector, one.quality) for one in found]
    return EncodedPhoto(encoded, [_quality(one) for one in found], [], None, remark)


def _quality(face: FoundFace) -> Quality:
    """What `Quality.of` measured when the face was found."""
    width = float(min(face.box[2:]))
    return Quality(width, face.sharpness, turn(face.landmarks), face.score, face.quality, face.unusual)
