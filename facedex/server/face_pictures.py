"""Small pictures of faces, by the id of the face: cut from the photo where it lies, or kept in the gallery.

No path comes from a request. The gallery says where a photo lay when it was enrolled or scanned, and its SHA-256 says
whether it is still the same.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from PIL import Image

from facedex.errors import FaceNotFound
from facedex.faces.boxes import Box
from facedex.gallery.gallery import Gallery
from facedex.library.cropped_faces import cut_faces, unchanged_photo
from facedex.photos import images

SIDE = 224  # pixels of a picture
_MARGIN = 1.5  # sides of the picture over the longer side of the face's box
_ID = re.compile(r"([es])([1-9]\d{0,17})")


def enrolled_id(face: int) -> str:
    """The id of an enrolled face in the API."""
    return f"e{face}"


def scanned_id(face: int) -> str:
    """The id of a scanned face in the API."""
    return f"s{face}"


def crop_path(face: str) -> str:
    """The path in the API of a small picture of a face, by the face's id."""
    return f"/v1/faces/{face}/crop"


def number_of(face: str, kind: str) -> int:
    """The number behind an id of the kind `e` (enrolled) or `s` (scanned). Raises FaceNotFound."""
    found = _ID.fullmatch(face)
    if found is None or found[1] != kind:
        raise FaceNotFound(f"There is no face {face[:40]!r}; ids of faces are in the lists of people and groups")
    return int(found[2])


def face_picture(gallery: Gallery, face: str) -> bytes:
    """A JPEG of at most SIDE x SIDE pixels around a face. Raises FaceNotFound, GalleryDamaged."""
    kept = gallery.kept_picture(number_of(face, "e")) if face.startswith("e") else None
    return kept if kept is not None else picture(*photo_of_face(gallery, face))


def photo_of_face(gallery: Gallery, face: str) -> tuple[bytes, Box]:
    """The photo of a face as it lies in a file, and the face's box. Raises FaceNotFound, GalleryDamaged."""
    enrolled = face.startswith("e")
    number = number_of(face, "e" if enrolled else "s")
    if enrolled:
        photo = gallery.enrolled_photo(number)
        sources, digest, box = [photo.source], photo.photo, photo.box
    else:
        found = gallery.library.faces_with_ids([number])
        if not len(found):
            raise FaceNotFound(f"There is no face {face}; it may have been forgotten")
        sources = gallery.library.sources(found.photos.tolist()).get(int(found.photos[0]), [])
        digest, box = found.digests[0], found.box(0)
    unchanged = unchanged_photo(sources, digest)
    if unchanged is None:
        raise FaceNotFound(f"No picture of face {face} is left, because its photo is gone or has changed")
    return unchanged[0], box


def keep_pictures(gallery: Gallery, name: str, photos: Iterable[bytes]) -> None:
    """Keep a picture of each face by which these photos enrolled a person. Raises PersonNotFound, GalleryBusy."""
    content = {images.sha256(photo): photo for photo in photos}
    for photo in gallery.enrolled_photos(name)[1]:
        if photo.photo in content and gallery.kept_picture(photo.face) is None:
            gallery.keep_picture(photo.face, picture(content[photo.photo], photo.box))


def picture(photo: bytes, box: Box) -> bytes:
    """A JPEG of at most SIDE x SIDE pixels around a box (left, top, width, height in pixels of the upright photo).

    Raises PhotoError for a photo that cannot be decoded.
    """
    return jpeg(cut_faces(photo, "the photo", [box], SIDE, _MARGIN)[0])


def jpeg(image: Image.Image) -> bytes:
    """A picture as the bytes of a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
