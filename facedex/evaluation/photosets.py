"""The photos that are measured on: read, searched for a face, aligned and encoded once, by every matcher together."""

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

from facedex.data import dataset
from facedex.errors import DataError, NoFace, PhotoError
from facedex.evaluation.cache import EmbeddingCache
from facedex.evaluation.matchers import Matcher
from facedex.faces import alignment
from facedex.faces.detector import FaceDetector
from facedex.photos import images
from facedex.photos.sources import NamedPhoto, open_people

_CHUNK = 64
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Progress = Callable[[int, int | None], None]
Take = Callable[[bytes, str], np.ndarray]


@dataclass(frozen=True)
class Photos:
    """n faces in the order of their people: `keys` NAME/PHOTO, `people` (n,) indices into `names`, and one array of
    embeddings (n, dim) for each matcher. `failed`: the photos without a face that could be used, with the reason.
    """

    keys: list[str]
    names: list[str]
    people: np.ndarray
    embeddings: list[np.ndarray]
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
) -> Photos:
    """A folder or pack of people, encoded; the subject of each photo counts, unless they are `aligned` faces.

    Raises DataError for data that cannot be used at all; a photo that cannot be is listed in `failed`.
    """
    with open_people(source) as photos:
        return encode(photos, matchers, taker(aligned), f"aligned={aligned}", corrections, cache, progress)


def read_listed(
    folder: Path,
    names: Sequence[str],
    matchers: Sequence[Matcher],
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Photos:
    """The photos NAME/NAME_0001 of a folder that a pairs file lists, encoded; the subject of each counts.

    Raises DataError when one is missing.
    """
    listed = [_listed(folder, name) for name in names]

    def tell(done: int, total: int | None) -> None:
        if progress:
            progress(done, len(listed))

    return encode(listed, matchers, taker(False), "aligned=False", None, cache, tell)


def encode(
    photos: Iterable[NamedPhoto],
    matchers: Sequence[Matcher],
    take: Take,
    way: str,
    corrections: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Photos:
    """Photos to embeddings. `take` makes the crop (112, 112, 3) of a photo's bytes; `way` is its name in the cache."""
    caches = [EmbeddingCache(cache, matcher.fingerprint, way) for matcher in matchers]
    rows: list[list[np.ndarray]] = [[] for _ in matchers]
    keys: list[str] = []
    people: list[str] = []
    failed: list[tuple[str, str]] = []

    def prepare(photo: NamedPhoto, content: bytes | PhotoError) -> tuple[bytes, np.ndarray | None] | PhotoError:
        if isinstance(content, PhotoError):
            return content
        digest = hashlib.sha256(content).digest()
        if all(one.get(digest) is not None for one in caches):
            return digest, None
        try:
            return digest, take(content, photo.path)
        except PhotoError as error:
            return error

    iterator, done = iter(photos), 0
    try:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            while chunk := list(islice(iterator, _CHUNK)):
                contents = [photo.content() for photo in chunk]  # in the pack's order, which for a tar is the cheap one
                usable, digests, crops = [], [], []
                for photo, result in zip(chunk, pool.map(prepare, chunk, contents), strict=True):
                    if isinstance(result, PhotoError):
                        failed.append((photo.key, str(result)))
                    else:
                        usable.append(photo)
                        digests.append(result[0])
                        crops.append(result[1])
                for matcher, known, row in zip(matchers, caches, rows, strict=True):
                    row.extend(_encoded(matcher, known, digests, crops))
                keys += [photo.key for photo in usable]
                people += [photo.name for photo in usable]
                done += len(chunk)
                if progress:
                    progress(done, None)
    finally:  # an interrupted run has done its part for the next one
        for known in caches:
            known.save()
    if not keys and not failed:
        raise DataError("There are no photos to measure on; put each person's photos in a folder of their own")
    if not keys:
        raise DataError(
            f"No face was found in any of the {len(failed)} photos; give photos of people, or --aligned for ready crops"
        )
    names, index = np.unique(np.array(people, dtype=object).astype(str), return_inverse=True)
    faces = dataset.Faces(np.empty((len(keys), 0)), np.arange(len(keys)), index.astype(np.int64), names.tolist(), keys)
    if corrections:
        faces = dataset.correct(faces, corrections)
        if not len(faces):
            raise DataError(
                f"{corrections} leaves out every photo; leave out --corrections, or give those of this data"
            )
    order = np.argsort(faces.people, kind="stable")
    chosen = faces.rows[order]
    return Photos(
        [keys[i] for i in chosen], faces.names, faces.people[order], [np.stack([row[i] for i in chosen]) for row in rows], failed
    )  # fmt: skip


def crops_of(photos: Iterable[NamedPhoto], wanted: set[str], take: Take) -> dict[str, np.ndarray]:
    """The crops of a few photos, by key, made again: keeping them all would take as much memory as the photos. Of two
    photos of one key the first that can be used counts.
    """
    found: dict[str, np.ndarray] = {}
    for photo in photos:
        if photo.key in wanted and photo.key not in found:
            content = photo.content()
            if not isinstance(content, PhotoError):
                with suppress(PhotoError):
                    found[photo.key] = take(content, photo.path)
    return found


def taker(aligned: bool) -> Take:
    """What makes a crop of a photo's bytes: of an aligned face as it is, else of the subject. Raises PhotoError."""
    if aligned:
        return lambda content, name: alignment.centre_crop(dataset.ready(images.decode(content, name), name))
    detector = FaceDetector()

    def take(content: bytes, name: str) -> np.ndarray:
        pixels = images.decode(content, name)
        faces = detector.detect(pixels)
        if not faces:
            raise NoFace(f"{name} shows no face that could be found; use a clearer photo")
        return alignment.align(pixels, faces[0].landmarks)

    return take


def listed_photos(folder: Path, names: Sequence[str]) -> Iterator[NamedPhoto]:
    """The photos of a folder by NAME/NAME_0001, for `crops_of`."""
    return (_listed(folder, name) for name in names)


def _listed(folder: Path, name: str) -> NamedPhoto:
    path = next((p for suffix in _SUFFIXES if (p := folder / f"{name}{suffix}").is_file()), None)
    if path is None:
        raise DataError(
            f"{folder / name}.jpg does not exist; --images must be the folder that holds NAME/NAME_0001.jpg"
        )
    return NamedPhoto(name.rpartition("/")[0], name, str(path), lambda: images.read_bytes(path))


def _encoded(
    matcher: Matcher, cache: EmbeddingCache, digests: list[bytes], crops: list[np.ndarray | None]
) -> list[np.ndarray]:
    """Embeddings of a chunk, from the cache where it has them."""
    found = [cache.get(digest) for digest in digests]
    missing = [at for at, vector in enumerate(found) if vector is None]
    if missing:
        batch = np.stack([crop for at in missing if (crop := crops[at]) is not None])
        for at, vector in zip(missing, matcher.encode(batch), strict=True):
            cache.put(digests[at], np.asarray(vector, np.float32))
            found[at] = vector
    return [vector for vector in found if vector is not None]
