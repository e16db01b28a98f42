"""Aligned faces for training and evaluation: a cache of crops, corrections of labels, and splits by person."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from facedex.errors import DataError, NoFace, PhotoError, PhotoUnsupported
from facedex.faces import alignment
from facedex.faces import detector as detector_module
from facedex.faces.detector import FaceDetector
from facedex.photos import images
from facedex.photos.formats import RAW_SUFFIXES, SUFFIXES
from facedex.photos.listing import find_photos
from facedex.photos.sources import NamedPhoto, open_people
from facedex.wording import counted, plural

CANVAS = alignment.SIZE + 2 * alignment.MARGIN  # 128 pixels: the 112 crop and a margin for jitter
_CACHE_VERSION = 2
_ABANDONED_AFTER = 86_400  # seconds
_PHOTOS_AT_ONCE = 256

Progress = Callable[[int], None]  # called with the number of photos that were just read


@dataclass
class Faces:
    """A set of m aligned faces and their people.

    `crops`: (n, 128, 128, 3) uint8 RGB, memory-mapped. Several sets may share them.
    `rows`: (m,) int64, the row of each face in `crops`.
    `people`: (m,) int64, the index of each face's person in `names`, or -1 for a face without a person.
    `names`: the names of the people.
    `keys`: NAME/PHOTO of each face.
    """

    crops: np.ndarray
    rows: np.ndarray
    people: np.ndarray
    names: list[str]
    keys: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, chosen: np.ndarray) -> Faces:
        """Return the faces at the positions `chosen` (k,) int64, with people renumbered.

        Raises ValueError where a face has no person.
        """
        kept, people = np.unique(self.people[chosen], return_inverse=True)
        if len(kept) and kept[0] < 0:
            raise ValueError("faces without a person cannot be selected by person")
        return Faces(
            self.crops,
            self.rows[chosen],
            people.astype(np.int64),
            [self.names[person] for person in kept],
            [self.keys[face] for face in chosen],
        )

    def crops112(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the crops at the positions `chosen` without their margin, (k, 112, 112, 3) uint8 RGB."""
        return alignment.centre_crop(self.crops[self.rows[chosen]])

    def digest(self) -> str:
        """Return the hex SHA-256 of the list of photos and their people, which a model records of its training data."""
        lines = [
            f"{self.names[person]}\t{key}" if person >= 0 else key
            for person, key in zip(self.people, self.keys, strict=True)
        ]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def load_faces(
    source: str | os.PathLike[str],
    cache: Path,
    aligned: bool = False,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Faces:
    """Load the faces of a folder or pack of people. Their crops are made once and kept in the folder `cache`.

    The subject of each photo is detected and aligned. With `aligned` the photos are crops already, of 128 x 128 pixels
    (the template with its margin) or 112 x 112 (the template alone). A photo that cannot be used is left out, and
    `notice` is called with the reason. A change of the photos' paths, sizes or times makes the crops anew.
    Raises DataError for a missing or broken source, a source without a usable photo, and a damaged cache.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stem = cache / f"crops-{_source_digest(Path(source), aligned)[:16]}"
    index = stem.with_suffix(".json")
    if not (index.is_file() and stem.with_suffix(".npy").is_file()):
        _build_cache(source, stem, None if aligned else FaceDetector(), progress, notice)
    try:
        contents = json.loads(index.read_text("utf-8"))
        crops = np.load(stem.with_suffix(".npy"), mmap_mode="r")
        keys, photo_names = contents["keys"], contents["names"]
        if not len(crops) == len(keys) == len(photo_names):
            raise ValueError("lengths differ")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"The cached crops {stem}.npy cannot be used ({error}); delete them and start again") from None
    names, people = np.unique(np.array(photo_names, dtype=object).astype(str), return_inverse=True)
    return Faces(crops, np.arange(len(keys)), people.astype(np.int64), names.tolist(), keys)


def read_corrections(corrections: str | os.PathLike[str]) -> dict[str, str]:
    """Read a CSV table of corrected labels: the person of each key.

    The column `key` holds NAME, or NAME/PHOTO without the suffix. The column `person` holds the right name, or nothing
    for faces to leave out. Raises DataError for a file that is no such table.
    """
    try:
        with open(corrections, newline="", encoding="utf-8-sig") as file:  # Excel writes a byte order mark
            return {row["key"]: row["person"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{corrections} is no table of corrections ({error}); it needs the columns key and person"
        ) from None


def correct(faces: Faces, corrections: str | os.PathLike[str] | None) -> Faces:
    """Apply a table of corrected labels (`read_corrections`); without one, the faces stay as they are.

    Keys that are not in the set have no effect, so that one table may serve several sets. Raises DataError for a file
    that is no such table, and for a key that would match a photo without its suffix.
    """
    if corrections is None:
        return faces
    table = read_corrections(corrections)
    known = {*faces.names, *faces.keys}
    for key in table.keys() - known:
        stem, suffix = os.path.splitext(key)
        if suffix.lower() in (*SUFFIXES, *RAW_SUFFIXES) and stem in known:
            raise DataError(f"{corrections} has the key {key}, with a suffix; write {stem}, and all others like it")
    names = []
    for person, key in zip(faces.people, faces.keys, strict=True):
        name = table.get(key, faces.names[person])
        # A person corrected to another may be corrected to a third. The limit ends a circle of corrections.
        for _ in range(8):
            if not name or name not in table:
                break
            name = table[name]
        names.append(name)
    kept = np.flatnonzero([bool(name) for name in names])
    unique, people = np.unique([names[i] for i in kept], return_inverse=True)
    return Faces(faces.crops, faces.rows[kept], people.astype(np.int64), unique.tolist(), [faces.keys[i] for i in kept])


def join(parts: Sequence[Faces]) -> Faces:
    """Return several sets as one. The same name in two sets is the same person."""
    if len(parts) == 1:
        return parts[0]
    names = sorted({name for part in parts for name in part.names})
    index_of = {name: index for index, name in enumerate(names)}
    rows, people, start = [], [], 0
    for part in parts:
        rows.append(part.rows + start)
        start += len(part.crops)
        new_index = np.array([index_of[name] for name in part.names], np.int64)
        people.append(new_index[part.people] if part.names else part.people)
    return Faces(
        _JoinedCrops([part.crops for part in parts]),  # type: ignore[arg-type]  # has what Faces uses of an array
        np.concatenate(rows),
        np.concatenate(people),
        names,
        [key for part in parts for key in part.keys],
    )


class _JoinedCrops:
    """Crops of several memory maps, indexed as one array along the first axis without copying them into memory."""

    def __init__(self, parts: list[np.ndarray]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0] + [len(part) for part in parts])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        crops = np.empty((len(rows), *self.shape[1:]), np.uint8)
        part_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        for part in np.unique(part_of_row):
            in_part = part_of_row == part
            crops[in_part] = self._parts[part][rows[in_part] - self._starts[part]]
        return crops


def without_people(faces: Faces, names: Iterable[str]) -> Faces:
    """Return the faces of all people but these."""
    left_out = set(names)
    return faces.select(np.flatnonzero([faces.names[person] not in left_out for person in faces.people]))


def some_people(faces: Faces, most: int, seed: int) -> Faces:
    """Return the faces of at most `most` people, who are drawn by `seed`."""
    if len(faces.names) <= most:
        return faces
    drawn = np.random.default_rng([seed, 0x4EAD]).permutation(len(faces.names))[:most]
    return faces.select(np.flatnonzero(np.isin(faces.people, drawn)))


def split_people(faces: Faces, share: float, seed: int = 0, least: int = 2, most: int = 400) -> tuple[Faces, Faces]:
    """Split by person, never by photo. Returns two sets: the rest of the people, and `share` of them held out.

    Only people with at least two photos are held out, since others have no genuine pair: `least` to `most` people, of
    whom the first set keeps at least two. The same people and `seed` give the same sets. Training does not pass its own
    seed here. People held out from a model are then also held out when its training continues.
    Raises DataError where fewer than `least` + 2 people have two photos.
    """
    counts = np.bincount(faces.people, minlength=len(faces.names))
    paired = np.flatnonzero(counts >= 2)
    if len(paired) < least + 2:
        raise DataError(
            f"Only {counted(len(paired), 'person')} {plural(len(paired), 'has')} two photos or more, and at least "
            f"{least + 2} are needed to hold some out; "
            "add people or photos"
        )
    wanted = min(most, max(least, round(share * len(paired))), len(paired) - 2)
    chosen = np.random.default_rng([seed, 0x5917]).permutation(paired)[:wanted]
    held = np.isin(faces.people, chosen)
    return faces.select(np.flatnonzero(~held)), faces.select(np.flatnonzero(held))


def _source_digest(source: Path, aligned: bool) -> str:
    """A hex SHA-256 that changes when a photo is added, removed or rewritten. No photo is read for it."""
    text = f"{_CACHE_VERSION}\0{aligned or detector_module.VERSION}\0{CANVAS}\0{source.resolve()}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
    for path in find_photos(source) if source.is_dir() else [source]:
        try:
            status = path.stat()
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:  # a broken link, which is reported when the photo is read
            state = "gone"
        digest.update(f"\0{path}\0{state}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _build_cache(
    source: str | os.PathLike[str],
    stem: Path,
    detector: FaceDetector | None,  # None: the photos are aligned faces
    progress: Progress | None,
    notice: Callable[[str], None] | None,
) -> None:
    """Write the crops to `stem`.npy, and their keys and names to `stem`.json. Raises DataError, OSError."""
    keys: list[str] = []
    names: list[str] = []
    partial_crops = stem.with_suffix(f".npy-{os.getpid()}")
    _remove_abandoned(stem.parent)

    def crop(photo: NamedPhoto, data: bytes | PhotoError) -> np.ndarray | PhotoError:
        if isinstance(data, PhotoError):
            return data
        try:
            return (
                aligned_subject(data, photo.path, detector, alignment.MARGIN)
                if detector
                else ready(images.decode(data, photo.path), photo.path)
            )
        except PhotoError as error:
            return error

    try:
        # The number of crops is known only at the end. The header has the same length then, and is written again.
        with open(partial_crops, "wb") as file, open_people(source) as photos, ThreadPoolExecutor() as pool:
            _write_header(file, 0)
            while chunk := list(islice(photos, _PHOTOS_AT_ONCE)):
                data = [photo.content() for photo in chunk]
                for photo, result in zip(chunk, pool.map(crop, chunk, data), strict=True):
                    if isinstance(result, PhotoError):
                        if notice:
                            notice(str(result))
                        continue
                    file.write(result.tobytes())
                    keys.append(photo.key)
                    names.append(photo.name)
                if progress:
                    progress(len(chunk))
            file.seek(0)
            _write_header(file, len(keys))
        if not keys:
            raise DataError(
                f"{source} holds no usable photo of a face; put each person's photos in a folder of their own"
            )
        os.replace(partial_crops, stem.with_suffix(".npy"))
        stem.with_suffix(".json.new").write_text(json.dumps({"keys": keys, "names": names}), "utf-8")
        os.replace(stem.with_suffix(".json.new"), stem.with_suffix(".json"))
    finally:
        partial_crops.unlink(missing_ok=True)


def _write_header(file: BinaryIO, count: int) -> None:
    """Write the header of a .npy file of `count` crops. Its length does not depend on the count."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, CANVAS, CANVAS, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _remove_abandoned(cache: Path) -> None:
    """Remove the partial files of killed processes, which may be as large as a whole cache.

    A file counts as abandoned when nobody has written to it for a day. A younger file may belong to another machine
    that works in the same folder.
    """
    for path in cache.glob("crops-*.*-*"):
        with suppress(OSError):  # Windows does not remove a file that is open
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER:
                path.unlink()


def ready(pixels: np.ndarray, name: str) -> np.ndarray:
    """Return the (128, 128, 3) uint8 crop of a photo that is an aligned face of 128 or 112 pixels.

    The edge pixels fill the margin of a face of 112. Raises PhotoUnsupported for other sizes.
    """
    if pixels.shape[:2] == (CANVAS, CANVAS):
        return pixels
    if pixels.shape[:2] == (alignment.SIZE, alignment.SIZE):
        margin = (alignment.MARGIN, alignment.MARGIN)
        return np.pad(pixels, (margin, margin, (0, 0)), mode="edge")
    raise PhotoUnsupported(
        f"{name} is {pixels.shape[1]} x {pixels.shape[0]}, not an aligned face of {CANVAS} or {alignment.SIZE} pixels; "
        "leave out --aligned"
    )


def aligned_subject(data: bytes, name: str, detector: FaceDetector, margin: int = 0) -> np.ndarray:
    """Return the (112 + 2 * margin, 112 + 2 * margin, 3) uint8 crop of a photo's subject. Raises PhotoError."""
    for pixels in images.pages(data, name):
        if faces := detector.detect(pixels):
            return alignment.align(pixels, faces[0].landmarks, margin)
    raise NoFace.at_all(name)
