"""The photos of an evaluation: read, searched for a face, aligned, and encoded once by all matchers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facedex.data import dataset
from facedex.errors import DataError, PhotoError
from facedex.evaluation.embedding_cache import EmbeddingCache
from facedex.evaluation.matchers import Matcher
from facedex.faces import alignment
from facedex.faces.detector import FaceDetector
from facedex.photos import images
from facedex.photos.sources import NamedPhoto, open_people

_CHUNK = 64  # photos read and encoded together
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Progress = Callable[[int, int | None], None]
Crop = NDArray[np.uint8]
Cropper = Callable[[bytes, str], Crop]


@dataclass(frozen=True)
class EmbeddedPhotos:
    """n faces, ordered by person.

    `keys` are NAME/PHOTO, `people` (n,) int64 are indices into `names`, and `embeddings` holds an array (n, dim)
    float32 for each matcher. `failed` lists the photos without a usable face, each with the reason.
    """

    keys: list[str]
    names: list[str]
    people: NDArray[np.int64]
    embeddings: list[NDArray[np.float32]]
    failed: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.keys)


def read_people(
    source: str | os.PathLike[str],
    matchers: Sequence[Matcher],
    aligned: bool = False,
    corrections: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> EmbeddedPhotos:
    """Encode a folder or pack of people; the subject of each photo counts, unless photos are `aligned` faces.

    Raises DataError for data that cannot be used at all. A photo that cannot be used is listed in `failed`.
    """
    with open_people(source) as photos:
        return embed_photos(photos, matchers, aligned, corrections, cache, progress)


def read_listed(
    folder: Path,
    names: Sequence[str],
    matchers: Sequence[Matcher],
    cache: Path | None = None,
    progress: Progress | None = None,
) -> EmbeddedPhotos:
    """Encode the photos NAME/NAME_0001 of a folder that a pairs file lists; the subject of each photo counts.

    Raises DataError when one is missing.
    """
    photos = list(listed_photos(folder, names))

    def with_total(done: int, total: int | None) -> None:
        if progress:
            progress(done, len(photos))

    return embed_photos(photos, matchers, False, None, cache, with_total)


def embed_photos(
    photos: Iterable[NamedPhoto],
    matchers: Sequence[Matcher],
    aligned: bool,
    corrections: Path | None,
    cache: Path | None,
    progress: Progress | None,
) -> EmbeddedPhotos:
    """Encode photos with every matcher, correct whom they show, and order them by person. Raises DataError."""
    encoding = _Encoding(
        matchers, cropper(aligned), [EmbeddingCache(cache, m.fingerprint, f"aligned={aligned}") for m in matchers]
    )
    encoding.run(iter(photos), progress)
    keys, failed = encoding.keys, encoding.failed
    if not keys and not failed:
        raise DataError("There are no photos to measure on; put each person's photos in a folder of their own")
    if not keys:
        raise DataError(
            f"No face was found in any of the {len(failed)} photos; give photos of people, or --aligned for ready crops"
        )
    names, index = np.unique(np.array(encoding.people, dtype=object).astype(str), return_inverse=True)
    no_crops = np.empty((len(keys), 0))
    faces = dataset.Faces(no_crops, np.arange(len(keys)), index.astype(np.int64), names.tolist(), keys)
    if corrections:
        faces = dataset.correct(faces, corrections)
        if not len(faces):
            raise DataError(
                f"{corrections} leaves out every photo; leave out --corrections, or give those of this data"
            )
    order = np.argsort(faces.people, kind="stable")
    chosen = faces.rows[order]
    embeddings = [np.stack([vectors[i] for i in chosen]) for vectors in encoding.embeddings]
    return EmbeddedPhotos([keys[i] for i in chosen], faces.names, faces.people[order], embeddings, failed)


class _Encoding:
    """Photos on their way to embeddings: a chunk is cropped by several threads, then encoded by each matcher."""

    def __init__(self, matchers: Sequence[Matcher], crop: Cropper, caches: list[EmbeddingCache]) -> None:
        self._matchers, self._crop, self._caches = matchers, crop, caches
        self.embeddings: list[list[NDArray[np.float32]]] = [[] for _ in matchers]
        self.keys: list[str] = []
        self.people: list[str] = []
        self.failed: list[tuple[str, str]] = []

    def run(self, photos: Iterator[NamedPhoto], progress: Progress | None) -> None:
        """Encode all photos."""
        done = 0
        try:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                while chunk := list(islice(photos, _CHUNK)):
                    self._encode_chunk(chunk, pool)
                    done += len(chunk)
                    if progress:
                        progress(done, None)
        finally:  # the next run goes on where an interrupted run stopped
            for cache in self._caches:
                cache.save()

    def _encode_chunk(self, chunk: list[NamedPhoto], pool: ThreadPoolExecutor) -> None:
        contents = [photo.content() for photo in chunk]  # in the pack's order: seeking in a tar is slow
        digests: list[bytes] = []
        crops: list[Crop | None] = []
        for photo, result in zip(chunk, pool.map(self._prepare, chunk, contents), strict=True):
            if isinstance(result, PhotoError):
                self.failed.append((photo.key, str(result)))
            else:
                self.keys.append(photo.key)
                self.people.append(photo.name)
                digests.append(result[0])
                crops.append(result[1])
        for matcher, cache, vectors in zip(self._matchers, self._caches, self.embeddings, strict=True):
            vectors.extend(_embeddings(matcher, cache, digests, crops))

    def _prepare(self, photo: NamedPhoto, content: bytes | PhotoError) -> tuple[bytes, Crop | None] | PhotoError:
        """The photo's digest and its crop, which is None where every cache has the embedding."""
        if isinstance(content, PhotoError):
            return content
        digest = hashlib.sha256(content).digest()
        if all(cache.get(digest) is not None for cache in self._caches):
            return digest, None
        try:
            return digest, self._crop(content, photo.path)
        except PhotoError as error:
            return error


def _embeddings(
    matcher: Matcher, cache: EmbeddingCache, digests: list[bytes], crops: list[Crop | None]
) -> list[NDArray[np.float32]]:
    """Embeddings of a chunk, from the cache where it has them."""
    found = [cache.get(digest) for digest in digests]
    missing = [place for place, vector in enumerate(found) if vector is None]
    if missing:
        batch = np.stack([crop for place in missing if (crop := crops[place]) is not None])
        for place, vector in zip(missing, matcher.encode(batch), strict=True):
            cache.put(digests[place], np.asarray(vector, np.float32))
            found[place] = vector
    return [vector for vector in found if vector is not None]


def crops_of(photos: Iterable[NamedPhoto], wanted: set[str], aligned: bool) -> dict[str, Crop]:
    """The crops (112, 112, 3) uint8 RGB of the `wanted` photos, by key.

    They are cut again, because keeping the crops of all photos would take much memory. Of two photos with one key the
    first usable one counts.
    """
    crop, found = cropper(aligned), dict[str, Crop]()
    for photo in photos:
        if photo.key in wanted and photo.key not in found:
            content = photo.content()
            if not isinstance(content, PhotoError):
                with suppress(PhotoError):
                    found[photo.key] = crop(content, photo.path)
    return found


def cropper(aligned: bool) -> Cropper:
    """A function of a photo's bytes and name that returns the crop (112, 112, 3) uint8 RGB, or raises PhotoError.

    An `aligned` face is cropped as it is; of other photos the subject is aligned.
    """
    if aligned:
        return lambda content, name: alignment.centre_crop(dataset.ready(images.decode(content, name), name))
    detector = FaceDetector()
    return lambda content, name: dataset.aligned_subject(content, name, detector)


def listed_photos(folder: Path, names: Sequence[str]) -> Iterator[NamedPhoto]:
    """The photos NAME/NAME_0001 of a folder. Raises DataError when one is missing."""
    return (_listed_photo(folder, name) for name in names)


def _listed_photo(folder: Path, name: str) -> NamedPhoto:
    path = next((p for suffix in _SUFFIXES if (p := folder / f"{name}{suffix}").is_file()), None)
    if path is None:
        raise DataError(
            f"{folder / name}.jpg does not exist; --images must be the folder that holds NAME/NAME_0001.jpg"
        )
    return NamedPhoto(name.rpartition("/")[0], name, str(path), lambda: images.read_bytes(path))
