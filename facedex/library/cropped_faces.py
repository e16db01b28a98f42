"""Pictures of faces, cut out of the photos where these lie now."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facedex.errors import DataError, PhotoError
from facedex.faces.boxes import Box
from facedex.photos import images
from facedex.photos.sources import pack_of, read_source, source_path
from facedex.photos.takentime import taken_time

AROUND = 1.8  # sides of the face's box: hair and shoulders help people to recognise somebody


@dataclass(frozen=True)
class PlacedFace:
    """Where a face is: sources of its photo, SHA-256 of the photo (hex), and its box in pixels.

    `face`: the id of the scanned face, 0 for an enrolled one. `box`: (left, top, width, height).
    """

    face: int
    sources: tuple[str, ...]
    digest: str
    box: Box

    @property
    def path(self) -> str:
        """The path of the photo."""
        return source_path(self.sources[0]) if self.sources else "?"


@dataclass(frozen=True)
class FacePicture:
    """A face cut out of its photo.

    `image`: RGB, square. `taken`: when by EXIF, else the time of the file. None where neither is known.
    """

    image: Image.Image
    path: str
    taken: datetime | None


def face_picture(face: PlacedFace, side: int) -> FacePicture | None:
    """Cut a face out of its photo, as a square of at most `side` pixels.

    None where the photo is nowhere any more, or is another one now.
    """
    return face_pictures([face], side)[0]


def face_pictures(faces: Sequence[PlacedFace], side: int) -> list[FacePicture | None]:
    """Cut several faces out of one photo, which is read once. As `face_picture`."""
    found = unchanged_photo(faces[0].sources, faces[0].digest) if faces else None
    if found is None:
        return [None] * len(faces)
    data, source = found
    try:
        cuts = cut_faces(data, source, [face.box for face in faces], side)
    except PhotoError:
        return [None] * len(faces)
    taken = _taken(data, source)
    return [FacePicture(cut, source_path(source), taken) for cut in cuts]


def unchanged_photo(sources: Iterable[str], digest: str) -> tuple[bytes, str] | None:
    """The bytes of a photo and the source where it lies: the first with this SHA-256 (hex), None for none."""
    for source in sources:
        # A photo that was given in memory lies nowhere, and a pipe in the place of a file would be waited for.
        if source.startswith("memory:") or not os.path.isfile(pack_of(source) or source_path(source)):
            continue
        with suppress(PhotoError, DataError):  # a broken pack is a DataError
            data = read_source(source)
            if images.sha256(data) == digest:
                return data, source
    return None


def cut_faces(data: bytes, name: str, boxes: Sequence[Box], side: int, around: float = AROUND) -> list[Image.Image]:
    """Cut boxes (left, top, width, height in pixels of the upright photo) out of a photo, as squares.

    A square has at most `side` pixels, and `around` sides of its box where the photo has room. Raises PhotoError.
    """
    data, _ = images.picture_in(data, name, [])
    with images.opened(data, name) as image:
        shorter = min(image.size)
    # A large JPEG is decoded at a part of its size, as long as the faces keep the pixels that are shown.
    smallest = min(around * max(box[2:]) for box in boxes)
    pixels, factor = images.decode_smaller(data, name, max(1, int(shorter * min(1.0, 1.2 * side / smallest))))
    return [_cut(pixels, [value / factor for value in box], side, around) for box in boxes]


def _cut(pixels: NDArray[np.uint8], box: Sequence[float], side: int, around: float) -> Image.Image:
    """A square round a box (left, top, width, height) of pixels (height, width, 3), inside the photo."""
    left, top, width, height = box
    high, wide = pixels.shape[:2]
    wanted = max(1.0, min(around * max(width, height), high, wide))
    x = float(np.clip(left + width / 2 - wanted / 2, 0, wide - wanted))
    y = float(np.clip(top + height / 2 - wanted / 2, 0, high - wanted))
    cut = Image.fromarray(pixels[int(y) : int(y + wanted), int(x) : int(x + wanted)])
    size = min(side, max(cut.size))
    return cut.resize((size, size), Image.Resampling.LANCZOS)


def _taken(data: bytes, source: str) -> datetime | None:
    taken = taken_time(data, source)
    if taken is None:
        with suppress(OSError, ValueError, OverflowError):  # a member of a pack has no file of its own
            taken = datetime.fromtimestamp(int(os.stat(source_path(source)).st_mtime))
    return taken
