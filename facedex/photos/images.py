"""The only place where bytes become pixels.

A format is known by its content, never by its suffix. Size caps are checked before anything is decoded,
EXIF orientation is applied, and whatever colour mode a file is in, RGB comes out. A grey picture in false colour comes
out grey (falsecolour.py).
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from facedex.errors import PhotoError, PhotoNotFound, PhotoTooLarge, PhotoUnreadable, PhotoUnsupported
from facedex.photos.falsecolour import in_grey

MAX_BYTES = 200 * 2**20
MAX_PIXELS = 120_000_000

# An allow-list: Pillow's rarer decoders are never reached by a file from outside. Importing these alone, and not
# all that Pillow has, is what makes each known to it.
_PLUGINS = (
    AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin,
    MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin,
)  # fmt: skip
_FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF"]
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif"),
    *(".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}


@dataclass(frozen=True)
class Photo:
    """A decoded photo: `pixels` is (height, width, 3) uint8 RGB, upright; `sha256` is of the file's bytes."""

    name: str
    sha256: str
    pixels: np.ndarray


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """A photo file's bytes. Raises PhotoNotFound, PhotoUnreadable, PhotoTooLarge."""
    name = os.fspath(path)
    try:
        if os.path.isdir(name):
            raise PhotoUnreadable(f"{name} is a folder; give a photo, or a command that takes folders")
        size = os.stat(name).st_size
        if size > max_bytes:
            raise PhotoTooLarge(
                f"{name} has {size / 2**20:.0f} MiB, more than the {max_bytes / 2**20:.0f} MiB read here; "
                "save a smaller copy"
            )
        with open(name, "rb") as file:
            # One byte more than allowed: a file that grew, or a pipe that has no size, is caught too.
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise PhotoNotFound(f"{name} does not exist; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise PhotoUnreadable(f"{name} cannot be read ({reason}); check the path and its permissions") from None
    if len(data) > max_bytes:
        raise PhotoTooLarge(f"{name} is larger than {max_bytes / 2**20:.0f} MiB; save a smaller copy")
    return data


def decode(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Pixels of an encoded picture: (height, width, 3) uint8 RGB, upright, its first frame.

    `name` is what errors call it. Raises PhotoUnreadable, PhotoUnsupported, PhotoTooLarge.
    """
    return _decoded(data, name, max_pixels)[0]


def decode_smaller(data: bytes, name: str, least: int) -> tuple[np.ndarray, float]:
    """The same, a large JPEG at a half, a quarter or an eighth of its size, which takes a fraction of the time, but its
    shorter side not below `least` pixels; and how many times larger the photo itself is.
    """
    return _decoded(data, name, MAX_PIXELS, least)


def _decoded(data: bytes, name: str, max_pixels: int, least: int | None = None) -> tuple[np.ndarray, float]:
    if not data:
        raise PhotoUnreadable(f"{name} is empty; replace the file")
    formats = list(_FORMATS)
    container = _isobmff(data)
    if container == "heif":
        _enable_heif(name)
        formats = ["HEIF"]
    elif container == "avif" and not features.check("avif"):
        raise PhotoUnsupported(f"{name} is an AVIF picture, which this Pillow cannot read; upgrade pillow")
    try:
        # Our own cap below is the guard: Pillow's warning would only be a second, vaguer one.
        with _without_warnings, Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise PhotoTooLarge(
                    f"{name} has {width} x {height} pixels, more than the "
                    f"{max_pixels / 1e6:.0f} million read here; save a smaller copy"
                )
            if least is not None:
                image.draft(image.mode, (least, least))  # other formats than JPEG know nothing of it
            image.load()
            return in_grey(_rgb(_upright(image))), max(width, height) / max(image.size)
    except PhotoError:
        raise
    except Image.UnidentifiedImageError:
        if _known_magic(data[:32]):
            raise PhotoUnreadable(f"{name} is a broken picture; replace the file") from None
        raise PhotoUnsupported(
            f"{name} is not a picture in a known format (JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF, HEIC)"
        ) from None
    except Image.DecompressionBombError:
        raise PhotoTooLarge(f"{name} has too many pixels to be read here; save a smaller copy") from None
    except Exception as error:  # decoders raise anything at all on broken input
        raise PhotoUnreadable(
            f"{name} is broken ({str(error)[:80] or type(error).__name__}); replace the file"
        ) from None


def open_photo(path: str | os.PathLike[str]) -> Photo:
    """Read and decode one photo file. Raises PhotoError of some kind."""
    data = read_bytes(path)
    name = os.fspath(path)
    return Photo(name, sha256(data), decode(data, name))


def sha256(data: bytes) -> str:
    """Hex digest by which a photo's content is known."""
    return hashlib.sha256(data).hexdigest()


def find_photos(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Photos below a folder, in a stable order; links are followed, loops are not walked twice.

    A file counts when its suffix is a picture's or its first bytes are; hidden files do not.
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
                elif path.suffix.lower() in SUFFIXES or (entry.is_file() and is_photo(path)):
                    yield path
            except OSError:
                # A link to itself, or a path too long to stat: listed, so that reading it says why.
                if path.suffix.lower() in SUFFIXES:
                    yield path

    yield from walk(Path(folder))


def is_photo(path: Path) -> bool:
    """Whether a file's first bytes are those of a picture; False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return _known_magic(file.read(32))
    except OSError:
        return False


def _known_magic(head: bytes) -> bool:
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"BM"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or _isobmff(head) is not None
    )


def _isobmff(data: bytes) -> str | None:
    """ "avif" or "heif" for the two picture kinds that share the MP4 container, else None."""
    if data[4:8] != b"ftyp":
        return None
    brands = {data[at : at + 4] for at in (8, 16, 20, 24, 28)}
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heif" if brands & _HEIF_BRANDS else None


def _enable_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError:
        # A photo's own fault and not MissingExtra, which would stop a whole batch.
        raise PhotoUnsupported(f"{name} is a HEIC photo; to read these, run: pip install 'facedex[heic]'") from None
    pillow_heif.register_heif_opener()


class _WithoutWarnings:
    """Python keeps what becomes of warnings for the whole process: of several threads inside, the first switches them off
    and the last one on again.
    """

    def __init__(self) -> None:
        self._switch, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._switch:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._switch:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_without_warnings = _WithoutWarnings()


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF, for which the parser raises anything; the picture itself is whole
        return image


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        # Pillow clips these to 255 on conversion; scale by the depth the values really use.
        values = np.nan_to_num(np.asarray(image).astype(np.float32), nan=0, posinf=0, neginf=0)
        top = float(values.max(initial=0))  # floats may lie a little above 1
        full = 1.0 if top <= (2 if image.mode == "F" else 1) else 2.0 ** max(8, int(top).bit_length()) - 1
        grey = np.clip(values * (255.0 / full), 0, 255).round().astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    return np.array(image.convert("RGB"))
