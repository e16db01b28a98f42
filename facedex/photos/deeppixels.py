"""Pixels of more than eight bits a channel, scaled to eight by the bits in use. Pillow would clip or cut them."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from facedex.photos.formats import TIFF_MAGIC
from facedex.photos.tifflayout import TiffLayout

GREY_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_ORIENTATION = 274  # of EXIF 2.3
_DARK = 128  # below it, 16-bit colours leave at least one bit unused


def grey(image: Image.Image, layout: TiffLayout | None) -> NDArray[np.uint8]:
    """A loaded picture of one of GREY_MODES as (height, width, 3) uint8. `layout` is its layout if it is a TIFF."""
    stored = np.asarray(image)
    if layout is not None and layout.bits == 32 and layout.unsigned:
        stored = stored.view(np.uint32)  # Pillow takes them for signed numbers
    values = np.nan_to_num(stored.astype(np.float64), nan=0, posinf=0, neginf=0)
    scaled = _scaled(values, unit_limit=2 if image.mode == "F" else 1)  # floats up to 1 may lie a little above 1
    if layout is not None and layout.white_is_zero:
        scaled = 255 - scaled
    return np.repeat(scaled[:, :, None], 3, axis=2)


def colour(data: bytes, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture's pixels (height, width, 3) uint8, scaled anew where not all of its 16 bits a channel are in use.

    `pixels`: the upper eight bits, upright. They are returned where all bits are in use, and for all pictures but PNG
    and TIFF of three channels of 16 bits.
    """
    if not data.startswith((b"\x89PNG", *TIFF_MAGIC)) or pixels.max(initial=0) >= _DARK:
        return pixels
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3 or stored.shape[2] != 3:
        return pixels
    scaled = Image.fromarray(_scaled(stored[:, :, ::-1].astype(np.float64), unit_limit=1))
    if data.startswith(TIFF_MAGIC):
        return np.asarray(scaled)  # OpenCV turns it
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        scaled.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    return np.asarray(ImageOps.exif_transpose(scaled))


def _scaled(values: NDArray[np.float64], unit_limit: float) -> NDArray[np.uint8]:
    """Values from 0 as eight bits. White is 1 if none exceeds `unit_limit`, else the largest number of their bits."""
    largest = float(values.max(initial=0))
    white = 1.0 if largest <= unit_limit else 2.0 ** max(8, int(largest).bit_length()) - 1
    return np.asarray(np.clip(values * (255.0 / white), 0, 255).round(), np.uint8)
