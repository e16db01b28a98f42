"""What counts as a photo in Python: a path, the bytes of a file, an open file, a Pillow image or an array of pixels.

A photo in memory is read when it is drawn from the caller's iterable, on the caller's thread. The caller may close the
file or write the next picture into the array afterwards.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import PurePath
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facedex.errors import DataError, NameInvalid, PhotoError, PhotoTooLarge, PhotoUnreadable, PhotoUnsupported
from facedex.photos import images
from facedex.photos.falsecolour import in_grey
from facedex.photos.sources import NamedPhoto, person_name

Pixels: TypeAlias = NDArray[np.uint8]

_LONGEST_PATH = 4096  # characters. No system has files with longer paths, so the middle of a longer text is cut out
_SHOWN = 200  # characters of each end of such a text


class GivenPhoto:
    """A photo as a caller gave it.

    `name`: stands for the photo in results and messages: its path, or what it is in words.
    `path`: the path of a photo file, None for a photo in memory.
    `held`: for a photo in memory its file's bytes, its pixels (height, width, 3) RGB, or why it is none.
    """

    def __init__(self, name: str, path: str | None = None, held: bytes | Pixels | PhotoError = b"") -> None:
        self.name, self.path, self.held = name, path, held

    def pages(self, remarks: list[str] | None = None) -> Iterator[Pixels]:
        """The upright pixels, (height, width, 3) uint8 RGB, and those of a TIFF's further pages (images.pages).

        What a user should know of the page that was yielded last is in `remarks`. Raises PhotoError.
        """
        if isinstance(self.held, np.ndarray):
            yield in_grey(self.held)
        else:
            yield from images.pages(self.data(), self.name, remarks)

    def pixel_count(self) -> int:
        """How many pixels there will be, as the file's header says; 0 for what is no photo (images.pixel_count)."""
        if isinstance(self.held, np.ndarray):
            return int(self.held.shape[0] * self.held.shape[1])
        if self.path is not None:
            return images.pixel_count(self.path) if self.path == self.name else 0
        return images.pixel_count(self.held) if isinstance(self.held, bytes) else 0

    def data(self) -> bytes:
        """The photo file's bytes; for pixels those of a BMP file that holds them. Raises PhotoError."""
        if self.path is not None:
            return _with_name(self.path, self.name)
        if isinstance(self.held, PhotoError):
            raise self.held
        if isinstance(self.held, bytes):
            return self.held
        file = io.BytesIO()
        Image.fromarray(self.held).save(file, "BMP")
        return file.getvalue()


PhotoInput: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | Pixels | GivenPhoto
)
"""One photo: the path of a file, or a photo in memory.

str, os.PathLike: the path of a photo file.
bytes, bytearray, memoryview: the bytes of a photo file.
BinaryIO: a binary file, or another object with such a `read`. It is read from its present position to its end.
PIL.Image.Image: of any mode, turned upright by its EXIF orientation.
numpy.ndarray: (height, width, 3) uint8 in the order RGB, or (height, width) uint8 for grey. OpenCV's pictures are BGR:
give `picture[..., ::-1]`.
GivenPhoto: what `given_photo` makes of one of these.
"""


class HeldPhoto(NamedPhoto):
    """A photo in memory, and the name of the person it shows. No path leads to it, so it cannot be read again."""

    @property
    def source(self) -> str:
        """`memory:` and the SHA-256 of the photo file's bytes. The source of a file is an absolute path."""
        return f"memory:{images.sha256(self.read())}"


def given_photo(photo: object, name: str | None = None) -> GivenPhoto:
    """The photo that a caller gave. Whatever is no photo raises its PhotoError when its pixels are read.

    `name`: stands for a photo in memory in results and messages. Default: what it is, in words.
    """
    if isinstance(photo, GivenPhoto):
        return photo
    if isinstance(photo, str | os.PathLike):
        path = os.fsdecode(photo)
        return GivenPhoto(path if len(path) <= _LONGEST_PATH else f"{path[:_SHOWN]}…{path[-_SHOWN:]}", path)
    name = name or _name(photo)
    try:
        return GivenPhoto(name, held=_held(photo, name))
    except PhotoError as error:
        return GivenPhoto(name, held=error)


def given_photos(photos: PhotoInput | Iterable[PhotoInput]) -> Iterator[GivenPhoto]:
    """Every photo of an iterable. One photo is one photo, although texts, files and arrays are iterables too."""
    single = isinstance(photos, str | os.PathLike | bytes | bytearray | memoryview | np.ndarray)
    if single or hasattr(photos, "read") or not isinstance(photos, Iterable):
        yield given_photo(photos)
    else:
        yield from map(given_photo, photos)


def person_photo(person: str, photo: object) -> NamedPhoto:
    """A photo whose person's name was given by hand. An invalid name is raised when the photo is read."""
    given = given_photo(photo)
    try:
        name = person_name(person)
    except NameInvalid as error:
        return NamedPhoto(person, given.name, given.name, partial(_raise, PhotoUnreadable(f"{given.name}: {error}")))
    key = f"{name}/{PurePath(given.name).stem}"
    return (NamedPhoto if given.path is not None else HeldPhoto)(name, key, given.name, given.data)


def person_photos(photos: Iterable[NamedPhoto | tuple[str, PhotoInput]]) -> Iterator[NamedPhoto]:
    """Photos with names, from these or from pairs (name, photo). Raises DataError for anything else."""
    for item in photos:
        if isinstance(item, NamedPhoto):
            yield item
        elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            yield person_photo(*item)
        else:
            raise DataError(f"{repr(item)[:80]} cannot be enrolled; give pairs of a name and a photo, or named_photos")


def _raise(error: PhotoError) -> bytes:
    raise error


def _with_name(path: str, name: str) -> bytes:
    """The bytes of a file. Errors call a path that is too long for any file by the `name` that is cut short."""
    if path != name:
        raise PhotoUnreadable(f"{name} is too long for a path; give a photo's bytes as bytes, not as text")
    return images.read_bytes(path)


def _name(photo: Any) -> str:
    """What stands for a photo in memory in results and messages."""
    if isinstance(photo, bytes | bytearray | memoryview):
        return f"photo of {memoryview(photo).nbytes:,} bytes"
    if isinstance(photo, np.ndarray):
        return f"array {' x '.join(map(str, photo.shape))}"
    if isinstance(photo, Image.Image):
        return str(getattr(photo, "filename", "")) or f"image of {photo.width} x {photo.height} pixels"
    name = getattr(photo, "name", None) if hasattr(photo, "read") else type(photo).__name__
    return str(name) if isinstance(name, str) and name else "file without a name"


def _held(photo: Any, name: str) -> bytes | Pixels:
    """The content of a photo in memory. Raises PhotoError."""
    if isinstance(photo, bytes | bytearray | memoryview):
        if memoryview(photo).nbytes > images.MAX_BYTES:
            raise _too_long(name)
        return bytes(photo)
    if isinstance(photo, np.ndarray):
        return _array(photo, name)
    if isinstance(photo, Image.Image):
        return images.pixels_of(photo, name)
    if hasattr(photo, "read"):
        return _file(photo, name)
    raise PhotoUnsupported(f"{name} is no photo; give a path, bytes, a binary file, a Pillow image or a uint8 array")


def _array(array: NDArray[Any], name: str) -> Pixels:
    """A copy of an array's pixels, (height, width, 3) uint8 RGB. Raises PhotoError."""
    grey = array.ndim == 2
    if array.dtype != np.uint8 or not array.size or not (grey or (array.ndim == 3 and array.shape[2] == 3)):
        raise PhotoUnsupported(
            f"{name} of {array.dtype} is no photo; give uint8 of (height, width, 3) in RGB, or (height, width) in grey"
        )
    images.check_size(array.shape[1], array.shape[0], name)
    return np.repeat(array[:, :, None], 3, axis=2) if grey else np.array(array, np.uint8, order="C")


def _file(file: BinaryIO, name: str) -> bytes:
    """The rest of a binary file. Raises PhotoError."""
    parts: list[bytes] = []
    size = 0
    try:
        # A pipe gives a part at a time. One byte more than the cap shows that the file is too long.
        while size <= images.MAX_BYTES and (part := file.read(images.MAX_BYTES + 1 - size)):
            parts.append(bytes(part))
            size += len(part)
    except (TypeError, UnicodeDecodeError):
        raise PhotoUnsupported(f"{name} gives text in place of bytes; open it in binary mode") from None
    except Exception as error:  # a file of another package raises errors of any class
        raise PhotoUnreadable(f"{name} cannot be read ({str(error)[:80]}); open it again") from None
    if size > images.MAX_BYTES:
        raise _too_long(name)
    if not parts:
        raise PhotoUnreadable(f"{name} gives no bytes; rewind it by seek(0), or open it again")
    return b"".join(parts)


def _too_long(name: str) -> PhotoTooLarge:
    return PhotoTooLarge(f"{name} is larger than {images.MAX_BYTES / 2**20:.0f} MiB; save a smaller copy")
