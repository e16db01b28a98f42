"""Reads photo files and decodes them. No other module decodes pictures.

The content decides the format, never the suffix. Size caps are checked before anything is decoded. The EXIF orientation
is applied, and every colour mode becomes RGB. A grey picture in false colour becomes grey (falsecolour.py).
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)
from PIL.ExifTags import Base

from facedex.errors import PhotoError, PhotoNotFound, PhotoTooLarge, PhotoUnreadable, PhotoUnsupported
from facedex.photos import deeppixels, large, mending, rawfiles
from facedex.photos.falsecolour import in_grey
from facedex.photos.formats import JPEG_MAGIC, TIFF_MAGIC, has_known_magic, is_bmp, is_video, mp4_picture_kind, raw_kind
from facedex.photos.tifflayout import TiffLayout, directories, page_offsets, tiff_layout

MAX_BYTES = 200 * 2**20
MAX_PIXELS = 120_000_000  # a decoder takes seven bytes for each
MAX_JPEG_PIXELS = 300_000_000  # large.py takes two to three bytes for each
_STRIP_PIXELS = 1_000_000  # pixels that are converted at a time, which bounds the memory
_MOST_PAGES = 10  # of a TIFF, in which a face is looked for
_MOST_MISSING = 0.5  # the share of a cut JPEG that may be missing

# An allow-list, so that no file from outside reaches Pillow's rarer decoders. Pillow knows a format once its plugin is
# imported. Importing these alone is faster than having Pillow import all of its plugins.
_PLUGINS = (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
_FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF"]


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """Return a photo file's bytes.

    Raises PhotoNotFound for a missing file, PhotoTooLarge above `max_bytes`, and PhotoUnreadable for a folder or a
    file that cannot be read.
    """
    name = os.fspath(path)
    try:
        if os.path.isdir(name):
            os.scandir(name).close()  # raises where it cannot be listed, which is why it was taken for a photo
            raise PhotoUnreadable(f"{name} is a folder; name a photo, or use a command that takes folders")
        size = os.stat(name).st_size
        if size > max_bytes:
            with open(name, "rb") as file:
                _refuse_video(file.read(32), name)
            raise PhotoTooLarge(
                f"{name} has {size / 2**20:.0f} MiB, more than the limit of "
                f"{max_bytes / 2**20:.0f} MiB; save a smaller copy"
            )
        with open(name, "rb") as file:
            # One byte more than the cap shows that a file grew, or that a pipe, which has no size, is too long.
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise PhotoNotFound(f"{name} does not exist; check the path") from None
    except (OSError, ValueError) as error:  # a NUL in the path raises ValueError
        reason = getattr(error, "strerror", None) or error
        raise PhotoUnreadable(f"{name} cannot be read ({reason}); check the path and its permissions") from None
    if len(data) > max_bytes:
        raise PhotoTooLarge(f"{name} is larger than {max_bytes / 2**20:.0f} MiB; save a smaller copy")
    return data


def _refuse_video(head: bytes, name: str) -> None:
    """Raises PhotoUnsupported for a file with the first bytes of a video."""
    if is_video(head):
        raise PhotoUnsupported(f"{name} is a video; use `facedex video`") from None


def decode(data: bytes, name: str, max_pixels: int = MAX_JPEG_PIXELS, remarks: list[str] | None = None) -> np.ndarray:
    """Decode a picture's first frame to upright pixels, (height, width, 3) uint8 RGB.

    `name` stands for the picture in error messages. Raises PhotoUnreadable for a broken picture, PhotoUnsupported for
    a format that is not read, and PhotoTooLarge above `max_pixels`. Only a JPEG may have more than MAX_PIXELS. What is
    missing of a picture is added to `remarks`.
    """
    return _decode(data, name, max_pixels, remarks=remarks)[0]


def decode_smaller(data: bytes, name: str, min_side: int, remarks: list[str] | None = None) -> tuple[np.ndarray, float]:
    """Decode like `decode`, but a large JPEG at a half, a quarter or an eighth of its size.

    Returns the pixels, and how many times larger the photo itself is. The shorter side is never reduced below
    `min_side` pixels. A reduced JPEG takes a fraction of the time. Other formats keep their size.
    """
    return _decode(data, name, MAX_JPEG_PIXELS, min_side, remarks)


def pages(data: bytes, name: str, remarks: list[str] | None = None) -> Iterator[np.ndarray]:
    """Decode a picture, then the next pages of a TIFF: a scan may begin with an empty one.

    Yields pixels as `decode` does. `remarks` are of the page that was yielded last. Raises PhotoError, as `decode`.
    """
    yield decode(data, name, remarks=remarks)
    yield from later_pages(data, name, remarks)


def later_pages(data: bytes, name: str, remarks: list[str] | None = None) -> Iterator[np.ndarray]:
    """Decode the second to tenth page of a TIFF, as `decode` does; nothing for another picture.

    Pages that cannot be read are left out. `remarks` are of the page that was yielded last.
    """
    remarks = [] if remarks is None else remarks
    if not data.startswith(TIFF_MAGIC):
        return
    with _without_warnings:
        offsets = [] if rawfiles.is_raw(data, directories(data)) else page_offsets(data, _MOST_PAGES)
    for number, offset in enumerate(offsets[1:], 2):
        first = offset.to_bytes(4, "little" if data.startswith(b"II") else "big")  # TIFF 6.0: where the first page is
        remarks[:] = [f"page {number} of the file is used"]
        with suppress(PhotoError):
            yield decode(data[:4] + first + data[8:], name, remarks=remarks)


def _decode(
    data: bytes, name: str, max_pixels: int, min_side: int | None = None, remarks: list[str] | None = None
) -> tuple[np.ndarray, float]:
    """See `decode_smaller`. A picture that a decoder refuses is mended and read again."""
    remarks = [] if remarks is None else remarks
    data, layout = picture_in(data, name, remarks)
    try:
        return _decode_whole(data, layout, name, max_pixels, min_side)
    except PhotoUnreadable:
        bare, ended = mending.without_texts(data), mending.with_end(data)
        if bare is not None:
            return _decode_whole(bare, None, name, max_pixels, min_side)
        if ended is None:
            raise
    pixels, scale = _decode_whole(ended, None, name, max_pixels, min_side)
    missing = mending.missing_share(pixels)
    if missing > _MOST_MISSING:
        raise PhotoUnreadable(f"{name} is cut short, and {missing:.0%} of the picture is missing; replace the file")
    remarks.append(f"the file is cut short, and {missing:.1%} of the picture is missing")
    return pixels, scale


def picture_in(data: bytes, name: str, remarks: list[str]) -> tuple[bytes, TiffLayout | None]:
    """The picture itself, with its layout if it is a TIFF, or the largest preview of a raw file.

    Raises PhotoUnsupported for a raw file without one, and for a TIFF whose pixels would be read wrongly.
    """
    kind = raw_kind(data[:32])
    if kind is not None:
        raise PhotoUnsupported(f"{name} is a raw photo ({kind}), which is not read; save it as JPEG")
    if not data.startswith(TIFF_MAGIC):
        return data, None
    with _without_warnings:
        found = directories(data)
        layout = tiff_layout(found[0]) if found else None
        preview = rawfiles.largest_preview(data, found) if (raw := rawfiles.is_raw(data, found)) else None
    if not raw:
        if layout is not None and (problem := layout.problem()):
            raise PhotoUnsupported(f"{name} is a TIFF with {problem}, which is not read; save it as JPEG or PNG")
        return data, layout
    if preview is None:
        raise PhotoUnsupported(f"{name} is a raw photo without a preview of 320 pixels or more; save it as JPEG")
    remarks.append(f"a raw photo, read from its preview of {preview.size[0]} x {preview.size[1]} pixels")
    return preview.data, None


def _decode_whole(
    data: bytes, layout: TiffLayout | None, name: str, max_pixels: int, min_side: int | None
) -> tuple[np.ndarray, float]:
    with opened(data, name, max_pixels) as image:
        width, height = image.size
        if min_side is not None:
            image.draft(image.mode, (min_side, min_side))  # only has an effect on JPEG
        pixels = _decode_large(data, name) if image.width * image.height > MAX_PIXELS else _rgb(image, layout)
        pixels = deeppixels.colour(data, pixels, layout)
        orientation = exif_orientation(image)
        longer = max(image.size)
        image.close()  # its pixels would take the memory of those that are turned
        return in_grey(_upright(pixels, orientation)), max(width, height) / longer


@contextmanager
def opened(data: bytes, name: str, max_pixels: int = MAX_JPEG_PIXELS) -> Iterator[Image.Image]:
    """A picture whose header is read, and whose format and size are allowed.

    Inside, errors of decoders become the PhotoErrors of `decode`, and Python's warnings are off.
    """
    if not data:
        raise PhotoUnreadable(f"{name} is empty; replace the file")
    formats = _formats(data[:32], name)
    try:
        # Pillow warns of large pictures. The cap below refuses them with a clearer message.
        with _without_warnings, _open(io.BytesIO(data), formats) as image:
            check_size(image.width, image.height, name, min(max_pixels, _most_pixels(image)))
            yield image
    except PhotoError:
        raise
    except UnidentifiedImageError:
        if has_known_magic(data[:32]):
            raise PhotoUnreadable(f"{name} is a broken picture; replace the file") from None
        _refuse_video(data[:32], name)
        raise PhotoUnsupported(
            f"{name} is not a picture in a known format (JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF, HEIC)"
        ) from None
    except Image.DecompressionBombError:
        raise PhotoTooLarge(f"{name} has too many pixels; save a smaller copy") from None
    except Exception as error:  # decoders raise errors of every class for broken input
        raise PhotoUnreadable(
            f"{name} is broken ({str(error)[:80] or type(error).__name__}); replace the file"
        ) from None


def pixels_of(image: Image.Image, name: str) -> np.ndarray:
    """Return the upright pixels of an image that Pillow has opened, (height, width, 3) uint8 RGB.

    Raises PhotoTooLarge above MAX_PIXELS, and PhotoUnreadable for a picture that cannot be decoded.
    """
    check_size(*image.size, name)
    try:
        with _without_warnings:
            return _upright(_rgb(image, None), exif_orientation(image))
    except Exception as error:  # decoders raise errors of every class for broken input
        raise PhotoUnreadable(
            f"{name} cannot be decoded ({str(error)[:80] or type(error).__name__}); open it again"
        ) from None


def check_size(width: int, height: int, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise PhotoTooLarge for a picture with more than `max_pixels` pixels."""
    if width * height > max_pixels:
        raise PhotoTooLarge(
            f"{name} has {width} x {height} pixels, more than the "
            f"limit of {max_pixels / 1e6:.0f} million; save a smaller copy"
        )


def _most_pixels(image: Image.Image) -> int:
    return MAX_JPEG_PIXELS if large.can_decode(image) else MAX_PIXELS


def _decode_large(data: bytes, name: str) -> np.ndarray:
    try:
        return large.decode_to_disk(data)
    except OSError as error:
        if error.errno is None:  # Pillow's error for a broken picture
            raise
        raise PhotoUnreadable(
            f"{name} needs a temporary file that cannot be written in {tempfile.gettempdir()} ({error.strerror}); "
            "make room there, or set TMPDIR to another folder"
        ) from None


def pixel_count(photo: str | bytes, min_side: int | None = None) -> int:
    """Return how many pixels the decoded picture will have, from the header of a file's bytes or of a path's file.

    `min_side`: as for `decode_smaller`. Returns 0 for what is no picture and no regular file. Decoding tells why.
    """
    if isinstance(photo, str) and not os.path.isfile(photo):  # a pipe can be read only once
        return 0
    try:
        with io.BytesIO(photo) if isinstance(photo, bytes) else open(photo, "rb") as file:
            formats = _formats(file.read(32), "the photo")
            with _without_warnings, _open(file, formats) as image:
                if min_side is not None:
                    image.draft(image.mode, (min_side, min_side))
                return int(image.width * image.height)
    except Exception:  # decoders raise errors of every class for broken input
        return 0


def _formats(head: bytes, name: str) -> list[str]:
    """Pillow's names of the formats that a picture with these first bytes may have. Raises PhotoUnsupported."""
    container = mp4_picture_kind(head)
    if container == "heif":
        _enable_heif(name)
        return ["HEIF"]
    if container == "avif" and not features.check("avif"):
        raise PhotoUnsupported(f"{name} is an AVIF picture, which the installed Pillow cannot read; upgrade pillow")
    return [format for format in _FORMATS if format != "BMP" or is_bmp(head)]  # Pillow takes a text with BM for one


def _open(file: BinaryIO, formats: list[str]) -> Image.Image:
    """A picture whose header is read. Pillow itself refuses more than 179 million pixels, of a JPEG too."""
    file.seek(0)
    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError:
        file.seek(0)
        if file.read(3) != JPEG_MAGIC:
            raise
        file.seek(0)
        return JpegImagePlugin.JpegImageFile(file)


def read_photo(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the pixels of a photo file, (height, width, 3) uint8 RGB, upright.

    Raises PhotoError, as `read_bytes` and `decode` do.
    """
    return decode(read_bytes(path), os.fspath(path))


def sha256(data: bytes) -> str:
    """Hex SHA-256 of a photo file's bytes, which identifies the photo whatever its path."""
    return hashlib.sha256(data).hexdigest()


def _enable_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError:
        # Not MissingExtra, which would stop a whole batch for one photo.
        raise PhotoUnsupported(
            f"{name} is a HEIC photo; to read such photos, run: pip install 'facedex[heic]'"
        ) from None
    pillow_heif.register_heif_opener()


class _WithoutWarnings:
    """A context without Python warnings that threads may share.

    Python's warning filters belong to the whole process. The first thread inside replaces them, and the last one to
    leave restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads_inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads_inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._threads_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._threads_inside -= 1
            if not self._threads_inside:
                self._filters.__exit__(None, None, None)


_without_warnings = _WithoutWarnings()


def exif_orientation(image: Image.Image) -> int:
    """A loaded picture's EXIF orientation, 1..8 (EXIF 2.3, tag 274)."""
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except Exception:  # the parser raises errors of every class for damaged EXIF, and the picture itself is whole
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels turned and mirrored as an EXIF orientation demands. Large ones are only viewed that way."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels if pixels.size > 3 * MAX_PIXELS else np.ascontiguousarray(pixels)


def _rgb(image: Image.Image, layout: TiffLayout | None) -> np.ndarray:
    """A picture's pixels as RGB, not turned. `layout`: that of a TIFF."""
    image.load()
    if image.mode in deeppixels.GREY_MODES:
        return deeppixels.grey(image, layout)
    rows = max(1, _STRIP_PIXELS // image.width)
    if rows >= image.height:
        return _plain_rgb(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = _plain_rgb(image.crop((0, top, image.width, bottom)))
    return pixels


def _plain_rgb(image: Image.Image) -> np.ndarray:
    """A picture of eight bits a channel as RGB, over white where it is transparent."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    return np.array(image.convert("RGB"))
