"""Which layouts of pixels in a TIFF are read rightly. Pillow opens some others and gives wrong pixels."""

from __future__ import annotations

from dataclasses import dataclass

from facedex.photos.rawfiles import first_directory

# Tags of TIFF 6.0.
_BITS, _PHOTOMETRIC, _CHANNELS, _PLANAR, _FORMAT = 258, 262, 277, 284, 339
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # sample formats
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1  # photometric interpretations


@dataclass(frozen=True)
class TiffLayout:
    """How the first page of a TIFF stores pixels, by the tags of TIFF 6.0."""

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


def tiff_layout(data: bytes) -> TiffLayout | None:
    """The layout of a TIFF's first page. None where its tags cannot be read, or its channels differ in depth."""
    tags = first_directory(data)
    if tags is None:
        return None
    bits, formats = tags.get(_BITS, (1,)), tags.get(_FORMAT, (_UNSIGNED,))
    if not all(isinstance(values, tuple) and len(set(values)) == 1 for values in (bits, formats)):
        return None
    numbers = (
        bits[0],
        tags.get(_PHOTOMETRIC, _BLACK_IS_ZERO),
        tags.get(_CHANNELS, 1),
        tags.get(_PLANAR, 1),
        formats[0],
    )
    if not all(isinstance(number, int) for number in numbers):  # a damaged tag may be a text
        return None
    depth, photometric, channels, planar, sample_format = numbers
    return TiffLayout(depth, photometric, channels, planar == 2, sample_format, data.startswith(b"II"))
