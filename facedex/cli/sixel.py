"""Pictures as sixels, the bitmaps of DEC's VT340 that many terminals still show."""

from __future__ import annotations

import numpy as np
from PIL import Image

_BAND = 6  # rows of pixels in one row of sixels
_COLOURS = 256


def sixels(image: Image.Image) -> str:
    """A picture as an escape sequence of sixels (DEC STD 070, 9), in up to 256 colours.

    A character stands for six pixels one above the other, one bit each. A band of six rows is drawn once for each
    colour in it. "$" goes back to the start of the band, "-" goes to the next.
    """
    reduced = image.convert("RGB").quantize(_COLOURS)
    palette = np.array(reduced.getpalette(), np.int64).reshape(-1, 3)
    colours = "".join(f"#{at};2;{r};{g};{b}" for at, (r, g, b) in enumerate((palette * 100 + 127) // 255))
    pixels = np.asarray(reduced)
    rows = -len(pixels) % _BAND
    padded = np.pad(pixels.astype(np.int64), ((0, rows), (0, 0)), constant_values=-1)
    bands = [_band(padded[top : top + _BAND]) for top in range(0, len(padded), _BAND)]
    return f'\x1bPq"1;1;{image.width};{image.height}{colours}{"-".join(bands)}\x1b\\'


def _band(pixels: np.ndarray) -> str:
    """Six rows of colours (6, width) as sixels, one line for each colour."""
    weights = (1 << np.arange(_BAND))[:, None]
    lines = (
        f"#{colour}{_packed(((pixels == colour) * weights).sum(0))}"
        for colour in np.unique(pixels[pixels >= 0]).tolist()
    )
    return "$".join(lines)


def _packed(bits: np.ndarray) -> str:
    """The characters of bits (width,). A run of one character is its number and the character, as in !12?."""
    starts = np.flatnonzero(np.diff(bits, prepend=-1))
    lengths = np.diff(starts, append=len(bits))
    return "".join(
        f"!{length}{chr(63 + bit)}" if length > 3 else chr(63 + bit) * length
        for bit, length in zip(bits[starts].tolist(), lengths.tolist(), strict=True)
    )
