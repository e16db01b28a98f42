"""Photos to identify that a scan has looked at: their faces need not be found again, and some have names already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

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
from facedex.store.library_rows import FoundFace, ScannedFaces
from facedex.store.library_tables import LibraryTables


def known_photos(gallery: Gallery, photos: PhotoInput | Iterable[PhotoInput]) -> Iterator[GivenPhoto]:
    """The photos for `facedex.identify`, each as KnownPhoto where the gallery's library knows it, else as given.

    A file is known if it was scanned and has the same size and time of change, or else the same SHA-256. Its answer is
    that of a fresh look, but for names that a person gave to scanned faces: these win. Names whose consent has expired
    do not count. Raises GalleryError.
    """
    library, expired = gallery.library, gallery.expired_people()
    for photo in given_photos(photos):
        number = _scanned_photo(library, photo.path) if photo.path == photo.name else None
        yield photo if number is None or photo.path is None else _known(library, number, photo.path, expired)


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


def _known(library: LibraryTables, number: int, path: str, expired: set[int]) -> KnownPhoto:
    faces, facts = library.faces_of_photo(number), library.facts([number]).get(number)
    names = tuple(
        (faces.box(row), name)
        for row, (name, person) in enumerate(zip(faces.names, faces.people.tolist(), strict=True))
        if name is not None and person not in expired
    )
    # Faces go when their person is removed, and another detector may find others. The photo is looked at again then.
    if facts is None or (facts.faces, facts.detector) != (len(faces), detector.VERSION):
        return KnownPhoto(path, None, names)
    if not len(faces):
        return KnownPhoto(path, NoFace.at_all(path))
    return KnownPhoto(path, _encoded(faces, facts.remark), names)


def _encoded(faces: ScannedFaces, remark: str | None) -> EncodedPhoto:
    """Scanned faces as they were encoded, without their crops."""
    found = [faces.found(row) for row in range(len(faces))]
    encoded = [EncodedFace(Face(one.box, one.landmarks, one.score), one.vector, one.quality) for one in found]
    return EncodedPhoto(encoded, [_quality(one) for one in found], [], None, remark)


def _quality(face: FoundFace) -> Quality:
    """What `Quality.of` measured when the face was found."""
    width = float(min(face.box[2:]))
    return Quality(width, face.sharpness, turn(face.landmarks), face.score, face.quality, face.unusual)
