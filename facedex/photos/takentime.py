"""Reads when a photo was taken, as its camera noted it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from PIL import Image
from PIL.ExifTags import IFD, Base

from facedex.errors import PhotoError
from facedex.photos import images

_TAGS = (Base.DateTimeOriginal, Base.DateTimeDigitized)  # EXIF's DateTime is when a program last saved the file


def taken_time(data: bytes, name: str) -> datetime | None:
    """When a photo was taken by its EXIF, in the camera's local time; None where EXIF does not say (EXIF 2.3, 4.6.5).

    `data`: the photo file's bytes. `name`: stands for the photo in the log. A broken photo has no time.
    """
    with suppress(PhotoError), images.opened(data, name) as image:
        return _taken(image)
    return None


def _taken(image: Image.Image) -> datetime | None:
    if image.format == "PNG" and "exif" not in image.info:
        return None  # Pillow would decode all pixels to look behind them
    facts = image.getexif().get_ifd(IFD.Exif)
    for tag in _TAGS:
        text = facts.get(tag)
        with suppress(ValueError):  # a camera without a clock writes spaces or zeros
            if isinstance(text, str):
                return datetime.strptime(text.strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S")
    return None
