"""Photos that a page asks about again and again: their faces stay in memory for a while, and nothing else of them."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from facedex.errors import NoFace, PhotoError, PhotoNotFound
from facedex.gallery.gallery import Gallery
from facedex.photos.inputs import GivenPhoto, Pixels
from facedex.recognition.embedding import EncodedPhoto, KnownPhoto, encode_ahead
from facedex.server.whole_photos import shrunk

_SECONDS = 900.0  # that a photo is kept after the last question about it
_MOST = 10_000  # faces and photos that are kept, at most about 2 KiB each


@dataclass
class _Kept:
    photo: KnownPhoto
    size: int  # the photo and its faces
    asked: float


class RecentPhotos:
    """The faces of photos by an id, which is made of a photo's content and name.

    A photo goes `seconds` after the last question about it. Where more than `most` photos and faces are kept, those go
    that nobody has asked about for longest. Threads take turns.
    """

    def __init__(self, seconds: float = _SECONDS, most: int = _MOST) -> None:
        self._seconds, self._most = seconds, most
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # the one that was asked about last is the last
        self._size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, photo: GivenPhoto, known: KnownPhoto) -> str:
        """Keep what is known of a photo; returns its id. Raises PhotoError for a photo without content."""
        digest = hashlib.sha256(photo.name.encode("utf-8", "surrogatepass") + b"\0" + photo.data())
        key = digest.hexdigest()[:32]
        faces = known.encoded.faces if isinstance(known.encoded, EncodedPhoto) else []
        with self._lock:
            self._drop(key)
            self._kept[key] = _Kept(known, 1 + len(faces), time.monotonic())
            self._size += 1 + len(faces)
            while self._size > self._most and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))
        return key

    def find(self, key: str) -> KnownPhoto | None:
        """What is known of the photo with an id; None where it is not kept any more."""
        self.forget()
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            kept.asked = time.monotonic()
            self._kept.move_to_end(key)
            return kept.photo

    def forget(self) -> None:
        """Delete what nobody has asked about for too long."""
        oldest = time.monotonic() - self._seconds
        with self._lock:
            while self._kept and next(iter(self._kept.values())).asked < oldest:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        self._size -= kept.size if kept else 0


@dataclass(frozen=True)
class AskedPhoto:
    """A photo whose faces are known, the id by which it is kept, and a small picture; None where these are not wanted.

    `picture`: width and height of the upright photo in pixels, and a JPEG of it in base64.
    """

    known: KnownPhoto
    id: str | None = None
    picture: dict[str, Any] | None = None


def look_at(
    gallery: Gallery, photos: list[GivenPhoto], device: str, recent: RecentPhotos | None, pictures: bool
) -> Iterator[AskedPhoto]:
    """Find and encode the faces of photos. They are kept in `recent`, where that is given.

    Each photo's pixels go before the next photo is looked at. Raises ModelError.
    """
    load = partial(gallery.reader, device)
    for photo, found in encode_ahead(photos, gallery.detector, load, pictures):
        if isinstance(found, EncodedPhoto):
            bare: EncodedPhoto | PhotoError = replace(found, crops=[], pixels=None)
        else:  # an error that was raised holds the frames it came through, and their pixels
            bare = type(found)(str(found))
        known, key = KnownPhoto(photo.name, bare), None
        if recent is not None and isinstance(found, EncodedPhoto | NoFace):
            key = recent.keep(photo, known)
        yield AskedPhoto(known, key, _picture(photo, found) if pictures else None)


def look_up(recent: RecentPhotos, keys: list[str]) -> Iterator[AskedPhoto]:
    """The photos with these ids. One that is not kept any more has an error."""
    for key in keys:
        known = recent.find(key)
        if known is not None:
            yield AskedPhoto(known, key)
        else:
            error = PhotoNotFound("The server does not know the faces of this photo any more; send the photo again")
            yield AskedPhoto(KnownPhoto("photo", error))


def _picture(photo: GivenPhoto, found: EncodedPhoto | PhotoError) -> dict[str, Any] | None:
    """See AskedPhoto.picture. A photo without faces is decoded once more, because its pixels are gone."""
    pixels: Pixels | None = found.pixels if isinstance(found, EncodedPhoto) else None
    if isinstance(found, NoFace):
        with suppress(PhotoError):
            pixels = next(photo.pages())
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    return {"width": width, "height": height, "jpeg": base64.b64encode(shrunk(pixels)).decode()}
