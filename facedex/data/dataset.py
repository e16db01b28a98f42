"""Aligned faces for training and evaluation: decoded once into a cache, split by person."""

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
from facedex.photos.sources import NamedPhoto, open_people

CANVAS = alignment.SIZE + 2 * alignment.MARGIN  # 128: the 112 crop and the margin that jitter moves in
_CACHE_VERSION = 1
_ABANDONED = 86_400  # seconds

Progress = Callable[[int], None]


@dataclass
class Faces:
    """Aligned faces and whom they show.

    `crops` (n, 128, 128, 3) uint8 RGB, memory-mapped; `rows` (m,) int64, the crops in use; `people` (m,) int64,
    an index into `names`, or -1 for nobody in particular; `keys` (m,), NAME/PHOTO of each.
    """

    crops: np.ndarray
    rows: np.ndarray
    people: np.ndarray
    names: list[str]
    keys: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, chosen: np.ndarray) -> Faces:
        """The faces at these positions, with names renumbered."""
        kept, people = np.unique(self.people[chosen], return_inverse=True)
        if len(kept) and kept[0] < 0:
            raise ValueError("faces without a person cannot be selected by person")
        return Faces(
            self.crops,
            self.rows[chosen],
            people.astype(np.int64),
            [self.names[i] for i in kept],
            [self.keys[i] for i in chosen],
        )

    def crops112(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The unjittered crops, (k, 112, 112, 3) uint8 RGB."""
        return alignment.centre_crop(self.crops[self.rows[chosen]])

    def digest(self) -> str:
        """SHA-256 over the list of photos and whom each shows: the record of what was trained on."""
        lines = "\n".join(f"{self.names[p]}\t{k}" if p >= 0 else k for p, k in zip(self.people, self.keys, strict=True))
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def load_faces(
    source: str | os.PathLike[str],
    cache: Path,
    aligned: bool = False,
    detector: FaceDetector | None = None,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Faces:
    """Faces of a folder or pack of people; decoded, and unless `aligned` detected and aligned, once.

    `aligned` photos are 128 x 128 (the template with its margin) or 112 x 112 (the template alone). A photo that
    cannot be used is told to `notice` and left out. The cache is keyed by the photos' paths, sizes and times.
    Raises DataError when nothing usable is found.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stem = cache / f"crops-{_source_digest(Path(source), aligned)[:16]}"
    index = stem.with_suffix(".json")
    if not (index.is_file() and stem.with_suffix(".npy").is_file()):
        _build_cache(source, stem, None if aligned else detector or FaceDetector(), progress, notice)
    try:
        listed = json.loads(index.read_text("utf-8"))
        crops = np.load(stem.with_suffix(".npy"), mmap_mode="r")
        keys, photo_names = listed["keys"], listed["names"]
        if not len(crops) == len(keys) == len(photo_names):
            raise ValueError("lengths differ")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"The cached crops {stem}.npy cannot be used ({error}); delete them and start again") from None
    names, people = np.unique(np.array(photo_names, dtype=object).astype(str), return_inverse=True)
    return Faces(crops, np.arange(len(keys)), people.astype(np.int64), names.tolist(), keys)


def read_corrections(corrections: str | os.PathLike[str]) -> dict[str, str]:
    """A table of label faults: CSV with `key` (NAME, or NAME/PHOTO without the suffix) and `person` (empty: leave out).

    Raises DataError.
    """
    try:
        with open(corrections, newline="", encoding="utf-8-sig") as file:  # Excel puts a mark before the first column
            return {row["key"]: row["person"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{corrections} is no table of corrections ({error}); it needs the columns key, person"
        ) from None


def correct(faces: Faces, corrections: str | os.PathLike[str]) -> Faces:
    """Apply a table of label faults. Rows of people who are not here have no effect: one table may serve several sets.

    Raises DataError, also where a row would be of a photo here but for the suffix.
    """
    table = read_corrections(corrections)
    known = {*faces.names, *faces.keys}
    for key in table.keys() - known:
        whole, suffix = os.path.splitext(key)
        if suffix.lower() in images.SUFFIXES and whole in known:
            raise DataError(f"{corrections} has the key {key}, with a suffix; write {whole}, and all others like it")
    names = []
    for person, key in zip(faces.people, faces.keys, strict=True):
        name = table.get(key, faces.names[person])
        # A person who doubles another may be listed to double a third: follow, but never round a circle.
        for _ in range(8):
            if not name or name not in table:
                break
            name = table[name]
        names.append(name)
    kept = np.flatnonzero([bool(name) for name in names])
    unique, people = np.unique([names[i] for i in kept], return_inverse=True)
    return Faces(faces.crops, faces.rows[kept], people.astype(np.int64), unique.tolist(), [faces.keys[i] for i in kept])


def join(parts: Sequence[Faces]) -> Faces:
    """Several sources as one; the same name in two of them is the same person."""
    if len(parts) == 1:
        return parts[0]
    names = sorted({name for part in parts for name in part.names})
    at = {name: i for i, name in enumerate(names)}
    starts = np.cumsum([0] + [len(part.crops) for part in parts])
    return Faces(
        _Joined([part.crops for part in parts]),  # type: ignore[arg-type]
        np.concatenate([part.rows + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate(
            [
                np.array([at[n] for n in part.names], np.int64)[part.people] if part.names else part.people
                for part in parts
            ]
        ),
        names,
        [key for part in parts for key in part.keys],
    )


class _Joined:
    """Crops of several memory maps, indexed as one array along the first axis."""

    def __init__(self, parts: list[np.ndarray]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0] + [len(part) for part in parts])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for i in np.unique(owner):
            mine = owner == i
            out[mine] = self._parts[i][rows[mine] - self._starts[i]]
        return out


def without_people(faces: Faces, names: Iterable[str]) -> Faces:
    """The faces of everybody but these."""
    gone = set(names)
    return faces.select(np.flatnonzero([faces.names[p] not in gone for p in faces.people]))


def split_people(faces: Faces, share: float, seed: int = 0, least: int = 2, most: int = 400) -> tuple[Faces, Faces]:
    """Two sets without a person in common, by person and never by photo: (the rest, `share` of the people).

    The same people give the same sets. Training leaves `seed` as it is, whatever its own: who was kept apart from a
    model is kept apart from what is trained on from it too.
    Only people with two photos or more are put into the second set, `least` to `most` of them: others have no
    genuine pair. Raises DataError when fewer than two such people would remain for the first.
    """
    counts = np.bincount(faces.people, minlength=len(faces.names))
    paired = np.flatnonzero(counts >= 2)
    if len(paired) < least + 2:
        raise DataError(
            f"Only {len(paired)} people have two photos or more, at least {least + 2} are needed to keep some apart; "
            "add people or photos"
        )
    wanted = min(most, max(least, round(share * len(paired))), len(paired) - 2)
    chosen = np.random.default_rng([seed, 0x5917]).permutation(paired)[:wanted]
    held = np.isin(faces.people, chosen)
    return faces.select(np.flatnonzero(~held)), faces.select(np.flatnonzero(held))


def _source_digest(source: Path, aligned: bool) -> str:
    """Changes when a photo is added, removed or written anew; reads no photo."""
    if not source.exists():
        raise DataError(f"{source} does not exist; give a folder of people or a .tar or .zip of one")
    text = f"{_CACHE_VERSION}\0{aligned or detector_module.VERSION}\0{CANVAS}\0{source.resolve()}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
    for path in images.find_photos(source) if source.is_dir() else [source]:
        try:
            status = path.stat()
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:  # a link to nowhere: one unusable photo, which reading reports
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
    keys: list[str] = []
    names: list[str] = []
    written = stem.with_suffix(f".npy-{os.getpid()}")
    _sweep(stem.parent)

    def crop(photo: NamedPhoto, data: bytes | PhotoError) -> np.ndarray | PhotoError:
        if isinstance(data, PhotoError):
            return data
        try:
            pixels = images.decode(data, photo.path)
            return _subject(pixels, photo.path, detector) if detector else ready(pixels, photo.path)
        except PhotoError as error:
            return error

    try:
        # How many crops there will be is known only at the end; the header is as long then as it is now.
        with open(written, "wb") as file, open_people(source) as photos, ThreadPoolExecutor() as pool:
            _write_header(file, 0)
            while chunk := list(islice(photos, 256)):
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
        os.replace(written, stem.with_suffix(".npy"))
        stem.with_suffix(".json.new").write_text(json.dumps({"keys": keys, "names": names}), "utf-8")
        os.replace(stem.with_suffix(".json.new"), stem.with_suffix(".json"))
    finally:
        written.unlink(missing_ok=True)


def _write_header(file: BinaryIO, count: int) -> None:
    """The beginning of a .npy of so many crops, of one length whatever the count."""
    facts = {"descr": "|u1", "fortran_order": False, "shape": (count, CANVAS, CANVAS, 3)}
    np.lib.format.write_array_header_1_0(file, facts)


def _sweep(cache: Path) -> None:
    """Remove what killed processes have left half made, which may be as large as a whole cache: nobody has written to it
    for a day. Another machine may be at work in the same folder.
    """
    for left in cache.glob("crops-*.*-*"):
        with suppress(OSError):  # Windows removes no file that is open
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()


def ready(pixels: np.ndarray, name: str) -> np.ndarray:
    """The (128, 128, 3) canvas of a photo that is an aligned face already. Raises PhotoUnsupported for other sizes."""
    if pixels.shape[:2] == (CANVAS, CANVAS):
        return pixels
    if pixels.shape[:2] == (alignment.SIZE, alignment.SIZE):
        edge = (alignment.MARGIN, alignment.MARGIN)
        return np.pad(pixels, (edge, edge, (0, 0)), mode="edge")
    raise PhotoUnsupported(
        f"{name} is {pixels.shape[1]} x {pixels.shape[0]}, not an aligned face of {CANVAS} or {alignment.SIZE} pixels; "
        "leave out --aligned"
    )


def _subject(pixels: np.ndarray, name: str, detector: FaceDetector) -> np.ndarray:
    faces = detector.detect(pixels)
    if not faces:
        raise NoFace(f"{name} shows no face that could be found; use a clearer photo")
    return alignment.align(pixels, faces[0].landmarks, alignment.MARGIN)
