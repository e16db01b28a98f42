"""Pixels of more than eight bits a channel, scaled to eight by the bits in use. Pillow would clip or cut them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facedex.opencv import cv2
from facedex.photos.formats import PNG_MAGIC
from facedex.photos.tifflayout import TiffLayout

GREY_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_AT_ONCE = 4_000_000  # pixels that are scaled at a time, which bounds the memory
_DARK = 128  # below it, 16-bit colours leave at least one bit unused


def grey(image: Image.Image, layout: TiffLayout | None) -> NDArray[np.uint8]:
    """A loaded picture of one of GREY_MODES as (height, width, 3) uint8. `layout` is its layout if it is a TIFF."""
    stored = np.asarray(image)
    if layout is not None and layout.bits == 32 and layout.unsigned:
        stored = stored.view(np.uint32)  # Pillow takes them for signed numbers
    scaled = _scaled(stored, unit_limit=2 if image.mode == "F" else 1)  # floats up to 1 may lie a little above 1
    if layout is not None and layout.white_is_zero:
        scaled = 255 - scaled
    return np.repeat(scaled[:, :, None], 3, axis=2)


def colour(data: bytes, pixels: NDArray[np.uint8], layout: TiffLayout | None) -> NDArray[np.uint8]:
    """A picture's pixels (height, width, 3) uint8, scaled anew where not all of its 16 bits a channel are in use.

    `pixels`: the upper eight bits, as Pillow gives them. They are returned where all bits are in use, and for all
    pictures but PNG and TIFF of three channels of 16 bits. `layout`: that of a TIFF.
    """
    if layout is not None:
        is_deep = (layout.bits, layout.channels) == (16, 3)
    else:
        is_deep = data.startswith(PNG_MAGIC) and data[24:26] == b"\x10\x02"  # depth and colour type (PNG, 11.2.2)
    if not is_deep or pixels.max(initial=0) >= _DARK:
        return pixels
    try:  # like Pillow, OpenCV turns a TIFF by its orientation here, and no PNG
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # for some broken files, of which Pillow reads what is there
        return pixels
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3 or stored.shape[2] != 3:
        return pixels
    return _scaled(stored[:, :, ::-1], unit_limit=1)


def _scaled(values: NDArray[Any], unit_limit: float) -> NDArray[np.uint8]:
    """Values from 0 (height, …) as eight bits, with 0 for what is no number.

    White is 1 if no value exceeds `unit_limit`, else the largest number of their bits.
    """
    step = max(1, _AT_ONCE // max(1, values.shape[1]))
    strips = [slice(top, top + step) for top in range(0, len(values), step)]
    largest = max((float(_finite(values[strip]).max(initial=0)) for strip in strips), default=0.0)
    white = 1.0 if largest <= unit_limit else 2.0 ** max(8, int(largest).bit_length()) - 1
    scaled = np.empty(values.shape, np.uint8)
    for strip in strips:
        scaled[strip] = np.clip(_finite(values[strip]).astype(np.float32) * (255.0 / white), 0, 255).round()
    return scaled


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    return np.nan_to_num(values, nan=0, posinf=0, neginf=0) if values.dtype.kind == "f" else values
