"""Decodes JPEGs of hundreds of megapixels, whose pixels would not fit beside what a decoder needs.

Pillow takes four bytes a pixel while it decodes, and the result takes three more. Here brightness is decoded at full
size, which takes one byte a pixel, and colour at half the size, as most JPEGs store it. The result goes to a temporary
file that is mapped into memory. The system can then drop pixels that are not in use.
"""

from __future__ import annotations

import io
import tempfile

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from facedex.opencv import cv2

_STRIP = 256  # rows that are converted at a time


def can_decode(image: Image.Image) -> bool:
    """Whether an open picture is one that `decode_to_disk` reads: a JPEG in colour or grey that is not progressive.

    libjpeg holds a whole progressive JPEG in memory, in three bytes a pixel and more.
    """
    return image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and not image.info.get("progressive")


def decode_to_disk(data: bytes) -> np.ndarray:
    """Return the pixels of a JPEG as it is stored, (height, width, 3) uint8 RGB, mapped from a temporary file.

    The array may be written to, and the file is gone with it. Raises OSError where the disk has no room, and Pillow's
    errors for a broken file.
    """
    with JpegImageFile(io.BytesIO(data)) as bright, JpegImageFile(io.BytesIO(data)) as colour:
        width, height = bright.size
        bright.draft("L", bright.size)
        bright.load()
        colour.draft("RGB", (max(1, width // 2), max(1, height // 2)))
        colour.load()
        with tempfile.TemporaryFile() as file:
            for top in range(0, height, _STRIP):
                bottom = min(top + _STRIP, height)
                luma = np.asarray(bright.crop((0, top, width, bottom)))
                half = np.asarray(colour.crop((0, top // 2, colour.width, -(-bottom // 2))).convert("RGB"))
                file.write(_in_colour(luma, half).tobytes())
            file.flush()
            return np.memmap(file, np.uint8, "c", shape=(height, width, 3))


def _in_colour(luma: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Brightness (height, width) with the colour of a picture of half its size, as (height, width, 3) uint8 RGB."""
    height, width = luma.shape
    chroma = cv2.resize(cv2.cvtColor(half, cv2.COLOR_RGB2YCrCb), (2 * half.shape[1], 2 * half.shape[0]))
    chroma[:height, :width, 0] = luma
    return cv2.cvtColor(chroma[:height, :width], cv2.COLOR_YCrCb2RGB)
