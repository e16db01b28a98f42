"""Small pictures of faces, by the id of the face: cut from the photo where it lies, or kept in the gallery.

No path comes from a request. The gallery says where a photo lay when it was enrolled or scanned, and its SHA-256 says
whether it is still the same.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facedex.errors import DataError, FaceNotFound, PhotoError
from facedex.faces.boxes import Box
from facedex.gallery.gallery import Gallery
from facedex.photos import images
from facedex.photos.sources import pack_of, read_source, source_path

SIDE = 224  # pixels of a picture
_MARGIN = 1.5  # sides of the picture over the longer side of the face's box
_LEAST_SIDE = 960  # pixels: a large photo is decoded with its shorter side no smaller than this
_ID = re.compile(r"([es])([1-9]\d{0,17})")


def enrolled_id(face: int) -> str:
    """The id of an enrolled face in the API."""
    return f"e{face}"


def scanned_id(face: int) -> str:
    """The id of a scanned face in the API."""
    return f"s{face}"


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
    for source in sources:
        data = _photo(source)
        if data is not None and images.sha256(data) == digest:
            return data, box
    raise FaceNotFound(f"No picture of face {face} is left, because its photo is gone or has changed")


def keep_pictures(gallery: Gallery, name: str, photos: Iterable[bytes]) -> None:
    """Keep a picture of each face by which these photos enrolled a person. Raises PersonNotFound, GalleryBusy."""
    content = {images.sha256(photo): photo for photo in photos}
    for photo in gallery.enrolled_photos(name)[1]:
        if photo.photo in content and gallery.kept_picture(photo.face) is None:
            gallery.keep_picture(photo.face, picture(content[photo.photo], photo.box))


def _photo(source: str) -> bytes | None:
    """The bytes of a photo where the gallery has it, None where it is gone."""
    if source.startswith("memory:"):
        return None
    file = pack_of(source) or source_path(source)
    if not os.path.isfile(file):  # a pipe in its place would be waited for
        return None
    try:
        return read_source(source)
    except (PhotoError, DataError):
        return None


def picture(photo: bytes, box: Box) -> bytes:
    """A JPEG of at most SIDE x SIDE pixels around a box (left, top, width, height in pixels of the upright photo).

    Raises PhotoError for a photo that cannot be decoded.
    """
    pixels, scale = images.decode_smaller(photo, "the photo", _LEAST_SIDE)
    if scale > 1 and max(box[2:]) / scale < SIDE / _MARGIN:
        pixels, scale = images.decode(photo, "the photo"), 1.0
    cut = _square(pixels, (box[0] / scale, box[1] / scale, box[2] / scale, box[3] / scale))
    image = Image.fromarray(np.ascontiguousarray(cut))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _square(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The square around a box, moved and shrunk as far as the photo's edges demand."""
    height, width = pixels.shape[:2]
    left, top, wide, high = box
    side = int(max(1, min(width, height, _MARGIN * max(wide, high))))
    x = int(np.clip(left + wide / 2 - side / 2, 0, width - side))
    y = int(np.clip(top + high / 2 - side / 2, 0, height - side))
    return pixels[y : y + side, x : x + side]
