"""Raw files of cameras that are TIFF structures (NEF, DNG, CR2, ARW, PEF and others): the preview that they hold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import Image, TiffImagePlugin

from facedex.photos.formats import TIFF_MAGIC

_DIRECTORIES = 20  # image file directories that are looked at
_LEAST_SIDE = 320  # pixels of the shorter side of a preview that is used

# Tags of TIFF 6.0, TIFF/EP and DNG.
_PHOTOMETRIC, _STRIPS, _ORIENTATION, _STRIP_LENGTHS, _SUB_DIRECTORIES = 262, 273, 274, 279, 330
_JPEG, _JPEG_LENGTH, _DNG_VERSION = 513, 514, 50706
_SENSOR = (32803, 34892)  # photometric interpretations: colour filter array, linear raw

Directory = Any  # Pillow's ImageFileDirectory_v2, whose values have many types


@dataclass(frozen=True)
class Preview:
    """The largest JPEG in a raw file. `data` is upright by its EXIF orientation; `size` is (width, height)."""

    data: bytes
    size: tuple[int, int]


def is_raw(data: bytes) -> bool:
    """Whether a file is a camera's raw file in a TIFF structure."""
    if not data.startswith(TIFF_MAGIC):
        return False
    return data[8:10] == b"CR" or any(
        directory.get(_PHOTOMETRIC) in _SENSOR or _DNG_VERSION in directory for directory in _directories(data)
    )


def largest_preview(data: bytes) -> Preview | None:
    """The largest JPEG that a raw file holds, or None where its shorter side has less than 320 pixels."""
    best: Preview | None = None
    orientation = 1
    for number, directory in enumerate(_directories(data)):
        if number == 0:
            orientation = directory.get(_ORIENTATION, 1)
        for jpeg in _jpegs(data, directory):
            with suppress(Exception), Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
                if best is None or image.width * image.height > best.size[0] * best.size[1]:
                    turned = jpeg if image.getexif() else _with_orientation(jpeg, orientation)
                    best = Preview(turned, image.size)
    return best if best and min(best.size) >= _LEAST_SIDE else None


def first_directory(data: bytes) -> Directory | None:
    """The tags of a TIFF's first page, by number; None where they cannot be read."""
    return next(_directories(data), None)


def page_offsets(data: bytes, most: int) -> list[int]:
    """Where the image file directories of a TIFF's first pages begin, in bytes from its start."""
    file = io.BytesIO(data)
    offsets: list[int] = []
    with suppress(Exception):  # the parser raises errors of every class for broken input
        at = TiffImagePlugin.ImageFileDirectory_v2(data[:8]).next
        while at and at not in offsets and len(offsets) < most:
            offsets.append(at)
            directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
            file.seek(at)
            directory.load(file)
            at = directory.next
    return offsets


def _directories(data: bytes) -> Iterator[Directory]:
    """The image file directories of a TIFF, those inside others too. A broken one ends them."""
    file = io.BytesIO(data)
    with suppress(Exception):  # the parser raises errors of every class for broken input
        waiting = [TiffImagePlugin.ImageFileDirectory_v2(data[:8]).next]
        for _ in range(_DIRECTORIES):
            if not waiting:
                return
            directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
            file.seek(waiting.pop(0))
            directory.load(file)
            yield directory
            inside = directory.get(_SUB_DIRECTORIES, ())
            waiting += inside if isinstance(inside, tuple) else (inside,)
            if directory.next:
                waiting.append(directory.next)


def _jpegs(data: bytes, directory: Directory) -> Iterator[bytes]:
    """The JPEGs that a directory points to and that are pictures, not lossless data of the sensor."""
    for at, length in ((_JPEG, _JPEG_LENGTH), (_STRIPS, _STRIP_LENGTHS)):
        values = [directory.get(tag) for tag in (at, length)]
        places = [value[0] if isinstance(value, tuple) and len(value) == 1 else value for value in values]
        if all(isinstance(place, int) for place in places):
            jpeg = data[places[0] : places[0] + places[1]]
            if jpeg.startswith(b"\xff\xd8\xff") and not _is_lossless(jpeg):
                yield jpeg


def _is_lossless(jpeg: bytes) -> bool:
    """Whether a JPEG is lossless (ITU-T T.81, frame header SOF3), which Pillow cannot decode."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        if 0xC0 <= jpeg[at + 1] <= 0xC3:
            return jpeg[at + 1] == 0xC3
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return True


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with the raw file's orientation, which previews often lack."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    block = exif.tobytes()
    block = block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block
    return jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]
