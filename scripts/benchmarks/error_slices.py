"""Measure a model's errors on worse photos than usual: small, blurred, dark, covered and turned faces.

    python -m scripts.benchmarks.error_slices PHOTOS [--pairs FILE] [--model FILE] [--photos 160] [--only blur,size]
        [--json]

PHOTOS is a folder or pack of people (PERSON/PERSON_0001.jpg). With --pairs, in LFW's format, the photos come from its
pairs, and ten-fold accuracy is printed too. No property of people is guessed. Each slice is a stated change to the same
photos. Only `pose` instead sorts photos by where the nose lies between the eyes.

As in use, one photo of a pair is unchanged, as if enrolled, and the other one is the slice's. It is detected, aligned
and encoded like any photo. A face that is not found counts as not recognised. The columns are:

- the share of faces not found;
- TAR@FAR=1e-3 over all pairs of the slice, with a 95 % interval (bootstrap over people, Bolle et al. 2004);
- TAR and FMR at the threshold of that FAR on the unchanged photos.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.cli.console import say
from facedex.cli.progress import progress_bar
from facedex.errors import DataError, PhotoError
from facedex.evaluation.pairs_protocol import pairs_report, read_pairs
from facedex.faces.face import Face
from facedex.model.head import Head
from facedex.model.modelfile import ModelFile, read_model, shipped_model
from facedex.model.reader import FaceReader
from facedex.photos import images
from facedex.photos.falsecolour import in_grey
from facedex.photos.sources import NamedPhoto, open_people
from scripts.benchmarks.photo_changes import CHANGES, Change, middle, smaller
from scripts.runner import run_script

FAR = 1e-3
_WIDEST = 160.0  # pixels; a photo with a wider face is first reduced to this
_RESAMPLES = 300


@dataclass(frozen=True)
class Sample:
    """One photo: pixels (height, width, 3) uint8 RGB, the person, and the face found in the unchanged photo."""

    key: str
    person: str
    pixels: np.ndarray
    face: Face
    vector: np.ndarray  # unit embedding (dim,) of the unchanged photo


def nose_offset(landmarks: np.ndarray) -> float:
    """Return how far the nose lies from the middle of the eyes, along their line, in eye distances: a proxy of yaw.

    It is about 0 from the front, and about .25 for a face turned by 30 degrees.
    """
    left, right, nose = np.asarray(landmarks, np.float64)[:3]
    along = right - left
    return float(abs((nose - (left + right) / 2) @ along / max(along @ along, 1e-9)))


POSES = (("nose offset below .08", 0.0, 0.08), (".08 to .18", 0.08, 0.18), (".18 and more", 0.18, np.inf))


class Reader:
    """Finds and encodes the wanted face of a photo. Threads may share one."""

    def __init__(self, model: ModelFile) -> None:
        self._reader = FaceReader(model)

    def face(self, pixels: np.ndarray, at: np.ndarray | None = None) -> tuple[Face, np.ndarray] | None:
        """Return a face and its unit embedding: the one nearest to the point `at` that covers it, or without `at` the
        subject. Return None when it is not found.
        """
        faces = self._reader.detector.detect(pixels)
        if at is not None:
            faces = [face for face in faces if (np.abs(middle(face) - at) < np.array(face.box[2:]) / 2).all()]
            faces.sort(key=lambda face: float(np.hypot(*(middle(face) - at))))
        if not faces:
            return None
        return faces[0], self._reader.encode([(pixels, faces[0])])[0].vector


@dataclass
class Row:
    """The figures of one slice. `low` and `high` are the ends of the interval of `tar`."""

    slice: str
    change: str
    photos: int
    not_found: float
    tar: float
    low: float
    high: float
    tar_fixed: float
    fmr_fixed: float
    accuracy: float | None = None


def threshold_at(scores: np.ndarray, weights: np.ndarray, far: float) -> float:
    """Return the lowest impostor score above which lies at most the share `far` of the weight.

    `scores` (n,) are sorted, highest first; `weights` (n,) belong to them. Returns -inf when all may pass.
    """
    passing = np.searchsorted(np.cumsum(weights), far * weights.sum(), side="right")
    return float(scores[passing]) if passing < len(scores) else -np.inf


def tar_interval(
    scores: np.ndarray, enrolled: np.ndarray, probes: np.ndarray, distinct: np.ndarray, far: float = FAR
) -> tuple[float, float, float, float]:
    """Return TAR at a FAR, the ends of its 95 % interval, and the threshold. Scores above the threshold pass.

    scores    (n, m), -inf where the probe was not found
    enrolled  (n,) int, the person of each row
    probes    (m,) int, the person of each column
    distinct  (n, m) bool, False where both are the same photo

    The bootstrap draws people with replacement. A genuine pair counts as often as its person was drawn, an impostor
    pair as the product of both. Raises DataError without pairs of either kind.
    """
    same = enrolled[:, None] == probes[None]
    gi, gj = np.nonzero(same & distinct)
    ii, ij = np.nonzero(~same)
    if not len(gi) or not len(ii):
        raise DataError("A slice needs two photos of a person and photos of others; add photos, or give --photos more")
    order = np.argsort(-scores[ii, ij], kind="stable")
    impostor, a, b = scores[ii, ij][order], enrolled[ii][order], probes[ij][order]
    genuine, owner = scores[gi, gj], enrolled[gi]
    threshold = threshold_at(impostor, np.ones(len(impostor)), far)
    people = int(max(enrolled.max(), probes.max())) + 1
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES):
        times = np.bincount(rng.integers(0, people, people), minlength=people).astype(np.float64)
        weights = times[a] * times[b]
        if times[owner].sum() and weights.sum():
            passed = genuine > threshold_at(impostor, weights, far)
            found.append(float((times[owner] * passed).sum() / times[owner].sum()))
    low, high = np.quantile(found, [0.025, 0.975])
    return float((genuine > threshold).mean()), float(low), float(high), threshold


def choose(
    source: Path, pairs: Path | None, most: int, seed: int
) -> tuple[list[tuple[str, str, Callable[[], bytes]]], list]:
    """Return (key, person, reader) of the photos to use, and the pairs among them. Raises DataError."""
    draw = random.Random(seed)
    if pairs is not None:
        by_kind = defaultdict(list)
        for pair in read_pairs(pairs):
            by_kind[pair.same, pair.fold].append(pair)
        each = max(1, most // 4 // max(fold + 1 for _, fold in by_kind))
        kept = [pair for group in by_kind.values() for pair in draw.sample(group, min(each, len(group)))]
        keys = sorted({key for pair in kept for key in (pair.a, pair.b)})
        return [(key, key.split("/")[0], _reader(source / f"{key}.jpg")) for key in keys], kept
    people = defaultdict(list)
    with open_people(source) as photos:
        for photo in photos:
            people[photo.name].append(photo)
        names = sorted(name for name, found in people.items() if len(found) >= 2)
        chosen = []
        for name in draw.sample(names, min(len(names), most // 2)):
            for photo in draw.sample(people[name], 2):
                chosen.append((photo.key, name, _read_now(photo)))  # the pack is closed when photos are used
    if len(names) < 2:
        raise DataError(f"{source} holds {len(names)} people with two photos or more; at least two are needed")
    return chosen, []


def _reader(path: Path) -> Callable[[], bytes]:
    return lambda: images.read_bytes(path)


def _read_now(photo: NamedPhoto) -> Callable[[], bytes]:
    """Read a photo. Return a function that gives its bytes, or raises the error of the reading."""
    try:
        data = photo.read()
    except PhotoError as error:
        unreadable = error

        def fail() -> bytes:
            raise unreadable

        return fail
    return lambda: data


def measure(
    model: ModelFile,
    source: Path,
    pairs: Path | None = None,
    photos: int = 160,
    seed: int = 0,
    only: Sequence[str] = (),
    tell: Callable[[str], None] = say,
) -> list[Row]:
    """Return the figures of every slice, those of the unchanged photos first. Raises DataError, ModelError."""
    chosen, listed = choose(source, pairs, photos, seed)
    reader, head = Reader(model), Head.from_file(model)

    def sample(item: tuple[str, str, Callable[[], bytes]]) -> Sample | str:
        key, person, read = item
        try:
            pixels = images.decode(read(), key)
        except PhotoError as error:
            return str(error)
        found = reader.face(pixels)
        if found is not None and found[0].box[2] > _WIDEST:
            pixels = smaller(_WIDEST)(pixels, found[0])[0]
            found = reader.face(pixels)
        return Sample(key, person, pixels, *found) if found else f"{key} shows no face that could be found"

    wanted = {
        name: change for group in CHANGES for name, change in CHANGES[group].items() if group in (only or CHANGES)
    }
    with ThreadPoolExecutor(2) as pool, progress_bar(len(chosen) * (1 + len(wanted))) as bar:
        task = bar.add_task("slices", total=len(chosen) * (1 + len(wanted)))
        samples = []
        for result in pool.map(sample, chosen):
            bar.advance(task)
            if isinstance(result, str):
                tell(f"left out: {result}")
            else:
                samples.append(result)
        slices = Slices(samples, listed, head)
        rows = [slices.row("as they are", f"{len(chosen) - len(samples)} of {len(chosen)} left out", slices.vectors)]
        for group in CHANGES:
            for name in CHANGES[group] if group in (only or CHANGES) else ():
                vectors = list(pool.map(lambda sample, change=wanted[name]: _changed(reader, sample, change), samples))
                bar.advance(task, len(samples))
                rows.append(slices.row(group, name, vectors))
    if not only or "pose" in only:
        offsets = np.array([nose_offset(photo.face.landmarks) for photo in samples])
        for name, low, high in POSES:
            some = (offsets >= low) & (offsets < high)
            if slices.enough(some):
                rows.append(slices.row("pose", name, slices.vectors, some))
            else:
                tell(f"too few photos with {name} for figures: {some.sum()}")
    return rows


def _changed(reader: Reader, sample: Sample, change: Change) -> np.ndarray | None:
    pixels, at = change(sample.pixels, sample.face)
    found = reader.face(in_grey(pixels), at)  # as a file of these pixels would be read
    return None if found is None else found[1]


class Slices:
    """Computes figures of changed photos (probes) against the unchanged ones (enrolled)."""

    def __init__(self, samples: list[Sample], pairs: list, head: Head) -> None:
        if len(samples) < 4:
            raise DataError(f"Only {len(samples)} photos show a face; give more photos")
        self._head = head
        self.vectors: list[np.ndarray | None] = [sample.vector for sample in samples]
        self._enrolled = np.stack([sample.vector for sample in samples])
        self._people = np.unique([sample.person for sample in samples], return_inverse=True)[1]
        at = {sample.key: i for i, sample in enumerate(samples)}
        self._pairs = [(at[p.a], at[p.b], p.same, p.fold) for p in pairs if p.a in at and p.b in at]
        self._fixed: float | None = None

    def enough(self, some: np.ndarray, least: int = 10) -> bool:
        """Tell whether at least `least` of these photos (n,) bool have another photo of their person."""
        counts = np.bincount(self._people)
        return int((counts[self._people[some]] >= 2).sum()) >= least

    def row(self, group: str, name: str, vectors: Sequence[np.ndarray | None], some: np.ndarray | None = None) -> Row:
        """Compute one slice from the embeddings of the changed photos, None where the face was not found.

        `some` (n,) bool selects a part of them. The first call sets the fixed threshold of all later ones.
        """
        found = np.array([vector is not None for vector in vectors])
        scores = np.full((len(vectors), len(vectors)), -np.inf, np.float32)
        if found.any():
            scores[:, found] = self._head.pairwise(self._enrolled, np.stack([v for v in vectors if v is not None]))
        part = np.ones(len(vectors), bool) if some is None else some
        distinct = ~np.eye(len(vectors), dtype=bool)[:, part]
        probes = self._people[part]
        tar, low, high, threshold = tar_interval(scores[:, part], self._people, probes, distinct)
        if self._fixed is None:
            self._fixed = threshold
        same = self._people[:, None] == probes[None]
        passed = scores[:, part] > self._fixed
        accuracy = None
        if self._pairs and some is None:
            a, b, alike, folds = (np.array(column) for column in zip(*self._pairs, strict=True))
            accuracy = pairs_report(scores[a, b], alike, folds, []).accuracy
        return Row(
            group,
            name,
            int(part.sum()),
            float(1 - found[part].mean()),
            tar,
            low,
            high,
            float(passed[same & distinct].mean()),
            float(passed[~same].mean()),
            accuracy,
        )


def show(rows: list[Row]) -> None:
    """One table."""
    table = Table(
        "slice",
        "",
        "photos",
        "not found",
        "TAR@FAR=1e-3",
        "95 %",
        "TAR, fixed",
        "FMR, fixed",
        *(["ten-fold"] if rows[0].accuracy is not None else []),
    )
    for last, row in zip(["", *(row.slice for row in rows)], rows, strict=False):
        table.add_row(
            row.slice if row.slice != last else "",
            row.change,
            str(row.photos),
            f"{row.not_found:.1%}",
            f"{row.tar:.1%}",
            f"{row.low:.1%} - {row.high:.1%}",
            f"{row.tar_fixed:.1%}",
            f"{row.fmr_fixed:.2%}",
            *([] if rows[0].accuracy is None else ["" if row.accuracy is None else f"{row.accuracy:.1%}"]),
        )
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="PHOTOS")
    parser.add_argument("--pairs", type=Path, help="a pairs file in LFW's format; PHOTOS is then a folder")
    parser.add_argument("--model", help="else the one that ships")
    parser.add_argument("--photos", type=int, default=160, help="how many to use, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"some of {', '.join(CHANGES)}, pose; separated by commas")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    only = [name for name in options.only.split(",") if name]
    if unknown := set(only) - {*CHANGES, "pose"}:
        parser.error(f"there is no slice {', '.join(sorted(unknown))}")
    cv2.setNumThreads(1)  # two photos at a time use the cores better than one photo on both
    began = time.perf_counter()
    model = read_model(options.model or shipped_model())
    rows = measure(model, options.source, options.pairs, options.photos, options.seed, only)
    if options.json:
        for row in rows:
            print(json.dumps(asdict(row)))
    else:
        show(rows)
        print(f"{rows[0].photos} photos, seed {options.seed}, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    run_script(main)
