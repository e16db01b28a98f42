"""The directories of a TIFF, and which layouts of pixels are read rightly.

Pillow opens some other layouts and gives wrong pixels.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import TiffImagePlugin
from PIL.ExifTags import Base

Directory = Any  # Pillow's ImageFileDirectory_v2, whose values have many types

_MOST_DIRECTORIES = 20  # that are looked at
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # sample formats
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1  # photometric interpretations


@dataclass(frozen=True)
class TiffLayout:
    """How a page of a TIFF stores pixels, by the tags of TIFF 6.0."""

    bits: int
    photometric: int
    channels: int
    planar: bool
    format: int
    little_endian: bool

    @property
    def white_is_zero(self) -> bool:
        """Whether the lowest value is white, as in some scans."""
        return self.photometric == _WHITE_IS_ZERO

    @property
    def unsigned(self) -> bool:
        """Whether the values are whole numbers from 0."""
        return self.format == _UNSIGNED

    def problem(self) -> str | None:
        """What is not read about this layout, in words; None for one that is read."""
        if self.format not in (_UNSIGNED, _SIGNED):
            grey = (self.bits, self.channels, self.photometric, self.format) == (32, 1, _BLACK_IS_ZERO, _FLOAT)
            return None if grey else "floating-point pixels"
        readable = self._grey_is_read() if self.channels == 1 else self._colour_is_read()
        if readable:
            return None
        kind = "grey" if self.channels == 1 else f"{self.channels} channels"
        return (
            f"{kind} of {self.bits} {'bits' if self.unsigned else 'signed bits'}"
            f"{' in separate planes' if self.planar else ''}{' and white as zero' if self.white_is_zero else ''}"
        )

    def _grey_is_read(self) -> bool:
        if self.bits <= 8:
            return self.unsigned and self.bits in (1, 2, 4, 8)
        if self.white_is_zero:
            return self.bits == 16 and self.unsigned and self.little_endian
        if self.unsigned and self.bits in (12, 32):
            return self.little_endian
        return self.bits in (16, 32)

    def _colour_is_read(self) -> bool:
        if not self.unsigned or self.bits not in (8, 16):
            return False
        several = self.channels > 2
        return (self.bits == 8 or several) and (not self.planar or (self.bits == 8 and several))


def tiff_layout(page: Directory) -> TiffLayout | None:
    """The layout of a page. None where its channels differ in depth, or a tag is not of its type."""
    bits, formats = page.get(Base.BitsPerSample, (1,)), page.get(Base.SampleFormat, (_UNSIGNED,))
    if not all(isinstance(values, tuple) and len(set(values)) == 1 for values in (bits, formats)):
        return None
    numbers = (
        bits[0],
        page.get(Base.PhotometricInterpretation, _BLACK_IS_ZERO),
        page.get(Base.SamplesPerPixel, 1),
        page.get(Base.PlanarConfiguration, 1),
        formats[0],
    )
    if not all(isinstance(number, int) for number in numbers):  # a damaged tag may be a text
        return None
    depth, photometric, channels, planar, sample_format = numbers
    return TiffLayout(depth, photometric, channels, planar == 2, sample_format, page.prefix == b"II")


def directories(data: bytes) -> list[Directory]:
    """The image file directories of a TIFF, its first page first, those inside others too. A broken one ends them."""
    found: list[Directory] = []
    with suppress(Exception):  # the parser raises errors of every class for broken input
        waiting = [_first_page(data)]
        while waiting and len(found) < _MOST_DIRECTORIES:
            found.append(_directory(data, waiting.pop(0)))
            inside = found[-1].get(Base.SubIFDs, ())
            waiting += inside if isinstance(inside, tuple) else (inside,)
            if found[-1].next:
                waiting.append(found[-1].next)
    return found


def page_offsets(data: bytes, most: int) -> list[int]:
    """Where the directories of a TIFF's first pages begin, in bytes from its start."""
    offsets: list[int] = []
    with suppress(Exception):  # the parser raises errors of every class for broken input
        at = _first_page(data)
        while at and at not in offsets and len(offsets) < most:
            offsets.append(at)
            at = _directory(data, at).next
    return offsets


def _first_page(data: bytes) -> int:
    return int(TiffImagePlugin.ImageFileDirectory_v2(data[:8]).next)


def _directory(data: bytes, at: int) -> Directory:
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    file = io.BytesIO(data)
    file.seek(at)
    directory.load(file)
    return directory
