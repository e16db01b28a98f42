"""Whole photos by the id of a face in them, and the photos of the library that show a person."""

from __future__ import annotations

from typing import Any

from PIL import Image

from facedex.errors import FaceNotFound, PhotoError
from facedex.gallery.gallery import Gallery
from facedex.library.finding import faces_showing
from facedex.photos import images
from facedex.photos.inputs import Pixels
from facedex.photos.sources import source_path
from facedex.server.face_pictures import crop_path, jpeg, photo_of_face, scanned_id

SIDE = 1600  # pixels of the longer side: enough to see who stands beside whom


def whole_photo(gallery: Gallery, face: str) -> tuple[bytes, tuple[int, int]]:
    """The upright photo of a face as a JPEG of at most SIDE x SIDE pixels, and the photo's own width and height.

    Raises FaceNotFound, GalleryDamaged.
    """
    data, _ = photo_of_face(gallery, face)
    try:
        pixels, scale = images.decode_smaller(data, "the photo", SIDE)
    except PhotoError as error:
        raise FaceNotFound(f"The photo of face {face} cannot be shown: {error}") from None
    height, width = pixels.shape[:2]
    return shrunk(pixels), (round(width * scale), round(height * scale))


def shrunk(pixels: Pixels) -> bytes:
    """A JPEG of at most SIDE x SIDE pixels of a photo, (height, width, 3) uint8 RGB."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return jpeg(image)


def scanned_photos_of(gallery: Gallery, person: int) -> list[dict[str, Any]]:
    """Each scanned photo that shows a person, the clearest face first: its face, path and box.

    Faces count that bear the name, and those that are enrolled. Raises PersonNotFound, GalleryDamaged.
    """
    library, name = gallery.library, gallery.person(person).name
    named, beside = faces_showing(library, name, gallery.enrolled_photos(name)[1])
    found = {int(faces.photos[row]): (faces, row) for faces, row in (*beside, *named)}
    sources = library.sources(found)
    shown = [
        {
            "face": scanned_id(int(faces.ids[row])),
            "crop": crop_path(scanned_id(int(faces.ids[row]))),
            "photo": source_path(sources[photo][0]),
            "box": [round(value, 1) for value in faces.box(row)],
            "quality": round(float(faces.quality[row]), 4),
        }
        for photo, (faces, row) in found.items()
        if sources.get(photo)
    ]
    return sorted(shown, key=place_in_list)


def place_in_list(photo: dict[str, Any]) -> list[Any]:
    """What `scanned_photos_of` sorts its photos by."""
    return [-photo["quality"], photo["face"]]
