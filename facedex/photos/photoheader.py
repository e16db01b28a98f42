"""Reads what a photo file says of itself: its size, its orientation and its embedded XMP."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from PIL import Image

from facedex.photos import images

_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"  # begins a JPEG segment of extended XMP (XMP part 3, 1.1.3.1)

_HEIF_HEAD = 2**16  # bytes at the start of a HEIC file that hold its properties


@dataclass(frozen=True)
class PhotoHeader:
    """What a photo file says of itself.

    `width`, `height`: of the stored pixels, before the orientation is applied.
    `orientation`: 1 to 8, as EXIF 2.3 numbers them. 1 where the file names none.
    `xmp`: the embedded XMP packets. A JPEG may have a second one, which extends the first.
    `format`: as Pillow names it: JPEG, PNG, TIFF and so on.
    """

    width: int
    height: int
    orientation: int = 1
    xmp: tuple[bytes, ...] = ()
    format: str = ""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the pixels that `images.decode` returns."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(data: bytes, name: str) -> PhotoHeader:
    """Read the header of a photo file. The size and orientation agree with what `images.decode` does.

    `name` stands for the photo in error messages. Raises PhotoError, as `images.decode` does. The pixels are decoded
    only where XMP may stand behind them.
    """
    data, _ = images.picture_in(data, name, [])
    with images.opened(data, name) as image:
        width, height = image.size
        if image.format == "PNG":
            image.load()  # exiftool writes XMP behind the pixels
        orientation = _orientation(image, data)
        # Pillow gives the upright size of a TIFF and of HEIC, and the stored size of the other formats.
        if orientation >= 5 and image.format in ("TIFF", "HEIF"):
            width, height = height, width
        return PhotoHeader(width, height, orientation, _packets(image), image.format or "")


def _orientation(image: Image.Image, data: bytes) -> int:
    """The orientation that decoding applies."""
    turned = None
    if image.format == "HEIF" and any(box in data[:_HEIF_HEAD] for box in (b"irot", b"imir")):
        # The container has a turn of its own, which cameras also name in EXIF. pillow_heif turns the pixels and sets
        # the orientation in EXIF to 1. Without a turn in the container EXIF does not count (ISO/IEC 23008-12).
        turned = image.info.get("original_orientation")
    orientation = int(turned or images.exif_orientation(image))
    return orientation if 1 <= orientation <= 8 else 1


def _packets(image: Image.Image) -> tuple[bytes, ...]:
    main = image.info.get("xmp")
    if isinstance(main, str):
        main = main.encode("utf-8", "replace")
    if not isinstance(main, bytes) or not main.strip(b"\0 \r\n\t"):
        return ()
    extension = _extension(getattr(image, "applist", []), main)
    return (main, extension) if extension else (main,)


def _extension(segments: list[tuple[str, bytes]], main: bytes) -> bytes:
    """The extended XMP of a JPEG, put together from its segments.

    A segment is the signature, a GUID of 32 bytes that the main packet names, the whole length, an offset, and data.
    """
    parts: dict[int, bytes] = {}
    for kind, content in segments:
        start = len(_EXTENSION)
        if kind != "APP1" or not content.startswith(_EXTENSION) or len(content) < start + 40:
            continue
        guid, (_, offset) = content[start : start + 32], struct.unpack(">II", content[start + 32 : start + 40])
        if re.search(re.escape(guid), main, re.IGNORECASE):
            parts[offset] = content[start + 40 :]
    return b"".join(parts[offset] for offset in sorted(parts))
