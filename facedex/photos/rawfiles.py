"""Raw files of cameras that are TIFF structures (NEF, DNG, CR2, ARW, PEF and others): the preview that they hold."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image
from PIL.ExifTags import Base

from facedex.photos.formats import JPEG_MAGIC
from facedex.photos.tifflayout import Directory

_LEAST_SIDE = 320  # pixels of the shorter side of a preview that is used
_SENSOR = (32803, 34892)  # photometric interpretations: colour filter array, linear raw


@dataclass(frozen=True)
class Preview:
    """The largest JPEG in a raw file. `data` is upright by its EXIF orientation; `size` is (width, height)."""

    data: bytes
    size: tuple[int, int]


def is_raw(data: bytes, directories: Sequence[Directory]) -> bool:
    """Whether a TIFF with these directories is a camera's raw file."""
    return data[8:10] == b"CR" or any(
        directory.get(Base.PhotometricInterpretation) in _SENSOR or Base.DNGVersion in directory
        for directory in directories
    )


def largest_preview(data: bytes, directories: Sequence[Directory]) -> Preview | None:
    """The largest JPEG that a raw file holds, or None where its shorter side has less than 320 pixels."""
    best: Preview | None = None
    orientation = directories[0].get(Base.Orientation, 1) if directories else 1
    for directory in directories:
        for jpeg in _jpegs(data, directory):
            with suppress(Exception), Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
                if best is None or image.width * image.height > best.size[0] * best.size[1]:
                    turned = jpeg if image.getexif() else _with_orientation(jpeg, orientation)
                    best = Preview(turned, image.size)
    return best if best and min(best.size) >= _LEAST_SIDE else None


def _jpegs(data: bytes, directory: Directory) -> Iterator[bytes]:
    """The JPEGs that a directory points to and that are pictures, not lossless data of the sensor."""
    for at, length in (
        (Base.JpegIFOffset, Base.JpegIFByteCount),
        (Base.StripOffsets, Base.StripByteCounts),
    ):
        values = [directory.get(tag) for tag in (at, length)]
        places = [value[0] if isinstance(value, tuple) and len(value) == 1 else value for value in values]
        if all(isinstance(place, int) for place in places):
            jpeg = data[places[0] : places[0] + places[1]]
            if jpeg.startswith(JPEG_MAGIC) and not _is_lossless(jpeg):
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
    exif[Base.Orientation] = orientation
    block = exif.tobytes()
    block = block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block
    return jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]
