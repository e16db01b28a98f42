"""Finds photo files, reads them and decodes them. No other module decodes pictures.

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
from pathlib import Path
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

from facedex.errors import PhotoError, PhotoNotFound, PhotoTooLarge, PhotoUnreadable, PhotoUnsupported
from facedex.photos import large
from facedex.photos.falsecolour import in_grey

MAX_BYTES = 200 * 2**20
MAX_PIXELS = 120_000_000  # a decoder takes seven bytes for each
MAX_JPEG_PIXELS = 300_000_000  # large.py takes two to three bytes for each
_STRIP_PIXELS = 1_000_000  # pixels that are converted at a time, which bounds the memory
_EXIF_ORIENTATION = 274

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
_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = (*_JPEG_SUFFIXES, ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif")
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """Return a photo file's bytes.

    Raises PhotoNotFound for a missing file, PhotoTooLarge above `max_bytes`, and PhotoUnreadable for a folder or a
    file that cannot be read.
    """
    name = os.fspath(path)
    try:
        if os.path.isdir(name):
            raise PhotoUnreadable(f"{name} is a folder; name a photo, or use a command that takes folders")
        size = os.stat(name).st_size
        if size > max_bytes:
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


def decode(data: bytes, name: str, max_pixels: int = MAX_JPEG_PIXELS) -> np.ndarray:
    """Decode a picture's first frame to upright pixels, (height, width, 3) uint8 RGB.

    `name` stands for the picture in error messages. Raises PhotoUnreadable for a broken picture, PhotoUnsupported for
    a format that is not read, and PhotoTooLarge above `max_pixels`. Only a JPEG may have more than MAX_PIXELS.
    """
    return _decode(data, name, max_pixels)[0]


def decode_smaller(data: bytes, name: str, min_side: int) -> tuple[np.ndarray, float]:
    """Decode like `decode`, but a large JPEG at a half, a quarter or an eighth of its size.

    Returns the pixels, and how many times larger the photo itself is. The shorter side is never reduced below
    `min_side` pixels. A reduced JPEG takes a fraction of the time. Other formats keep their size.
    """
    return _decode(data, name, MAX_JPEG_PIXELS, min_side)


def _decode(data: bytes, name: str, max_pixels: int, min_side: int | None = None) -> tuple[np.ndarray, float]:
    if not data:
        raise PhotoUnreadable(f"{name} is empty; replace the file")
    formats = _formats(data[:32], name)
    try:
        # Pillow warns of large pictures. The cap below refuses them with a clearer message.
        with _without_warnings, _open(io.BytesIO(data), formats) as image:
            width, height = image.size
            limit = min(max_pixels, MAX_JPEG_PIXELS if large.can_decode(image) else MAX_PIXELS)
            check_size(width, height, name, limit)
            if min_side is not None:
                image.draft(image.mode, (min_side, min_side))  # only has an effect on JPEG
            pixels = _decode_large(data, name) if image.width * image.height > MAX_PIXELS else _rgb(image)
            orientation = _orientation(image)
            longer = max(image.size)
            image.close()  # its pixels would take the memory of those that are turned
            return in_grey(_upright(pixels, orientation)), max(width, height) / longer
    except PhotoError:
        raise
    except UnidentifiedImageError:
        if _has_known_magic(data[:32]):
            raise PhotoUnreadable(f"{name} is a broken picture; replace the file") from None
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
            return _upright(_rgb(image), _orientation(image))
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
    container = _mp4_picture_kind(head)
    if container == "heif":
        _enable_heif(name)
        return ["HEIF"]
    if container == "avif" and not features.check("avif"):
        raise PhotoUnsupported(f"{name} is an AVIF picture, which the installed Pillow cannot read; upgrade pillow")
    return list(_FORMATS)


def _open(file: BinaryIO, formats: list[str]) -> Image.Image:
    """A picture whose header is read. Pillow itself refuses more than 179 million pixels, of a JPEG too."""
    file.seek(0)
    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError:
        file.seek(0)
        if file.read(3) != large.JPEG_MAGIC:
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


def find_photos(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the photos below a folder, sorted by name within each folder.

    A file is a photo when its suffix or its first bytes are a picture's. Hidden files and folders are left out. Links
    are followed, and a folder that links lead to twice is walked once. Raises PhotoUnreadable for a folder that cannot
    be listed.
    """
    seen: set[tuple[int, int]] = set()

    def walk(directory: Path) -> Iterator[Path]:
        try:
            status = directory.stat()
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as error:
            raise PhotoUnreadable(f"{directory} cannot be listed ({error.strerror}); check the folder") from None
        if (status.st_dev, status.st_ino) in seen and status.st_ino:
            return
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = directory / entry.name
            try:
                if entry.is_dir():
                    yield from walk(path)
                elif path.suffix.lower() in SUFFIXES or (entry.is_file() and _starts_like_picture(path)):
                    yield path
            except OSError:
                # A link to itself or a path too long to stat is yielded, so that reading it reports the reason.
                if path.suffix.lower() in SUFFIXES:
                    yield path

    yield from walk(Path(folder))


def _starts_like_picture(path: Path) -> bool:
    """Whether a file's first bytes are a picture's. A file that cannot be read counts as no picture."""
    try:
        with open(path, "rb") as file:
            return _has_known_magic(file.read(32))
    except OSError:
        return False


def _has_known_magic(head: bytes) -> bool:
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"BM"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or _mp4_picture_kind(head) is not None
    )


def _mp4_picture_kind(data: bytes) -> str | None:
    """The kind "avif" or "heif" of a picture in the MP4 container (ISO/IEC 14496-12), or None for other data."""
    if data[4:8] != b"ftyp":
        return None
    brands = {data[start : start + 4] for start in (8, 16, 20, 24, 28)}
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heif" if brands & _HEIF_BRANDS else None


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


def _orientation(image: Image.Image) -> int:
    """A loaded picture's EXIF orientation, 1..8 (EXIF 2.3, tag 274)."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
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


def _rgb(image: Image.Image) -> np.ndarray:
    """A picture's pixels as RGB, not turned."""
    image.load()
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        # Pillow would clip deep values at 255. They are scaled by the number of bits in use instead.
        values = np.nan_to_num(np.asarray(image).astype(np.float32), nan=0, posinf=0, neginf=0)
        largest = float(values.max(initial=0))
        unit_limit = 2 if image.mode == "F" else 1  # floats from 0 to 1 may lie a little above 1
        white = 1.0 if largest <= unit_limit else 2.0 ** max(8, int(largest).bit_length()) - 1
        grey = np.clip(values * (255.0 / white), 0, 255).round().astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
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
