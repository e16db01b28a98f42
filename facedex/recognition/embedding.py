"""Encode the faces of photos: embeddings, boxes and quality, without a gallery."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from facedex.errors import NoFace, PhotoError
from facedex.faces import alignment
from facedex.faces.boxes import Box
from facedex.faces.detector import FaceDetector
from facedex.faces.quality import Quality
from facedex.log import logger, timed
from facedex.model.modelfile import read_model, shipped_model
from facedex.model.reader import EncodedFace, FaceReader
from facedex.photos.inputs import GivenPhoto, PhotoInput, given_photo, given_photos
from facedex.recognition.detection import DetectedFace, DetectedPhoto, read_faces
from facedex.threads import PIXELS_AT_ONCE, side_by_side

_log = logger(__name__)

_PHOTOS_AHEAD = 16  # photos that the threads read before the caller asks for them


@dataclass(frozen=True)
class EncodedPhoto:
    """The faces of one photo, the subject first, with embeddings, quality measures and aligned crops.

    `crops`: (112, 112, 3) uint8 RGB each. `pixels`: (height, width, 3) uint8 RGB, only where they are kept. `remark`:
    what a user should know of the photo itself.
    """

    faces: list[EncodedFace]
    qualities: list[Quality]
    crops: list[np.ndarray]
    pixels: np.ndarray | None
    remark: str | None


class KnownPhoto(GivenPhoto):
    """A photo that somebody looked at before.

    `encoded`: its faces, or why it has none. None where the file must be read. `names`: the faces
    that a person named, each as its box (left, top, width, height in pixels) and its name. `refused`: faces that a
    person refused a name, each as its box and that name; None stands for every name, as of a statue.
    """

    def __init__(
        self,
        path: str,
        encoded: EncodedPhoto | PhotoError | None,
        names: tuple[tuple[Box, str], ...] = (),
        refused: tuple[tuple[Box, str | None], ...] = (),
    ) -> None:
        super().__init__(path, path)
        self.encoded, self.names, self.refused = encoded, names, refused


Encoded: TypeAlias = tuple[GivenPhoto, EncodedPhoto | PhotoError]  # a photo with its faces, or why it has none


def find_faces(
    photo: PhotoInput, model: str | os.PathLike[str] | None = None, device: str = "cpu"
) -> list[DetectedFace]:
    """The faces of one photo with boxes, landmarks, quality and embeddings; the subject first, none for no face.

    `model`: a file, or the name of a model that ships; default: "default". `device`: "cpu", "cuda" or "mps". Embeddings
    of one model can be compared with each other only. The networks stay loaded between calls.
    Raises PhotoError for a photo that cannot be read, ModelError, and on other devices than the CPU MissingExtra and
    DataError.
    """
    reader = _reader(model, device)
    try:
        encoded = encode_photo(given_photo(photo), reader.detector, lambda: reader)
    except NoFace:
        return []
    return _detected(encoded)


def embed_photos(
    photos: PhotoInput | Iterable[PhotoInput],
    model: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    reader: FaceReader | None = None,
) -> Iterator[DetectedPhoto]:
    """As `find_faces` for many photos, which threads read side by side, in the order of the photos.

    `reader`: networks that are loaded already, in place of `model` and `device`. A photo that cannot be used, or shows
    no face, yields a result with an `error` and does not stop the others.
    """
    detector = reader.detector if reader else FaceDetector()
    with closing(encode_ahead(given_photos(photos), detector, lambda: reader or _reader(model, device))) as encoded:
        for photo, result in encoded:
            if isinstance(result, PhotoError):
                yield DetectedPhoto(photo.name, error=str(result), exception=result)
            else:
                yield DetectedPhoto(photo.name, tuple(_detected(result)), remark=result.remark)


def encode_ahead(
    photos: Iterable[GivenPhoto], detector: FaceDetector, load: Callable[[], FaceReader], keep_pixels: bool = False
) -> Generator[Encoded, None, None]:
    """Encode photos on threads, in their order and up to _PHOTOS_AHEAD in advance.

    `load` loads the networks, on a thread of its own, while the others read the first photos. What it raises ends the
    run before the result of the first photo that is read. A KnownPhoto with faces is read only for `keep_pixels`.
    """
    loading: list[Future[FaceReader]] = []
    with side_by_side(1) as pool:

        def encode(photo: GivenPhoto) -> Encoded:
            try:
                with timed(_log, "read and encoded %s", photo.name):
                    return photo, encode_photo(photo, detector, loading[0].result, keep_pixels)
            except PhotoError as error:
                _log.warning("skipped: %s", error)
                return photo, error

        def submit(photo: GivenPhoto) -> Future[Encoded]:
            if (known := _known(photo, keep_pixels)) is not None:
                done: Future[Encoded] = Future()
                done.set_result((photo, known))
                return done
            if not loading:
                loading.append(pool.submit(load))
            return pool.submit(encode, photo)

        for future in _submit_ahead(photos, submit, keep_pixels):
            if loading:
                loading[0].result()
            yield future.result()


def _known(photo: GivenPhoto, keep_pixels: bool) -> EncodedPhoto | PhotoError | None:
    """The result for a photo that need not be read, else None."""
    return photo.encoded if isinstance(photo, KnownPhoto) and not keep_pixels else None


def _submit_ahead(
    photos: Iterable[GivenPhoto], submit: Callable[[GivenPhoto], Future[Encoded]], keep_pixels: bool
) -> Iterator[Future[Encoded]]:
    """Yield the future of each photo; `submit` is called for up to _PHOTOS_AHEAD photos in advance.

    Photos in memory have at most PIXELS_AT_ONCE pixels together, or are a single one. With `keep_pixels` a photo is in
    memory until it is yielded.
    """
    waiting: deque[tuple[Future[Encoded], int]] = deque()
    for photo in photos:
        pixels = photo.pixel_count() if _known(photo, keep_pixels) is None else 0
        while waiting and pixels + sum(held for future, held in waiting if keep_pixels or not future.done()) > (
            PIXELS_AT_ONCE
        ):
            yield waiting.popleft()[0]
        waiting.append((submit(photo), pixels))
        if len(waiting) > _PHOTOS_AHEAD:
            yield waiting.popleft()[0]
    yield from (future for future, _ in waiting)


def encode_photo(
    photo: GivenPhoto, detector: FaceDetector, load: Callable[[], FaceReader], keep_pixels: bool = False
) -> EncodedPhoto:
    """The faces of one photo. Raises PhotoError, and the errors of `load`, which is called when faces were found."""
    remarks: list[str] = []
    pixels, faces = read_faces(photo, detector, remarks)
    crops = [alignment.align(pixels, face.landmarks) for face in faces]
    kept = pixels if keep_pixels else None
    del pixels  # while the networks run, other photos need the memory
    encoded = load().encode_crops(crops, faces)
    qualities = [
        Quality.of(face, crop, embedding.quality) for face, crop, embedding in zip(faces, crops, encoded, strict=True)
    ]
    return EncodedPhoto(encoded, qualities, crops, kept, "; ".join(remarks) or None)


def _detected(encoded: EncodedPhoto) -> list[DetectedFace]:
    return [
        DetectedFace(face.face, quality, crop, face.vector)
        for face, quality, crop in zip(encoded.faces, encoded.qualities, encoded.crops, strict=True)
    ]


def _reader(model: str | os.PathLike[str] | None, device: str) -> FaceReader:
    """The networks of a model, loaded anew where its file was replaced, and in a forked process."""
    path = os.fspath(model or shipped_model())
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        changed = 0  # the name of a model that ships, or a missing file, for which `read_model` raises ModelError
    return _loaded(path, device, changed, os.getpid())


@lru_cache(maxsize=2)
def _loaded(model: str, device: str, changed: int, process: int) -> FaceReader:
    return FaceReader(read_model(model), device)
