"""Faces that are hard to find: small ones in large photos, and turned ones beside upright ones. Time and peak memory.

    python -m scripts.benchmarks.montages PHOTOS [--only crowd-40,panorama] [--model fast] [--json]

PHOTOS is a folder with a folder of photos for each person, as LFW's. A person's first photo is enrolled, and the second
is put into a montage on soft, noisy colours:

    crowd-24, crowd-40   40 faces of so many pixels in 12 megapixels
    panorama             6 faces of 60 to 400 pixels in 16,000 x 3,600
    largest              6 faces of 40 to 2,000 pixels in 20,000 x 15,000, a JPEG
    turned-0 to -270     30 pairs side by side, the second turned by so many degrees. Only the second counts
    identify, enroll     six photos of 43 megapixels with a face each, at once

Each runs in a process of its own. `right` counts faces with the right name. `peak` is the most memory that the process
had, with all files it has mapped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex import Gallery, identify, named_photos
from facedex.photos import images
from facedex.photos.listing import find_photos
from scripts.runner import run_script

KINDS = (
    *("crowd-24", "crowd-40", "panorama", "largest"),
    *(f"turned-{degrees}" for degrees in (0, 90, 180, 270)),
    *("identify", "enroll"),  # enrolling comes last, because it changes the gallery
)
_PEOPLE = 60
_FACE = 80 / 190  # of the side of a photo of LFW less 30 pixels at each edge: the width of its face


@dataclass(frozen=True)
class Place:
    """Where a person's face lies in a photo: left, top and side of a square, in pixels."""

    name: str
    left: int
    top: int
    side: int


@dataclass(frozen=True)
class Measured:
    """What one kind of montage gave. `cpu` and `clock` are seconds, `peak` is in MiB."""

    kind: str
    faces: int
    found: int
    right: int
    wrong: int
    cpu: float
    clock: float
    peak: float


def canvas(height: int, width: int) -> np.ndarray:
    """Soft colours with noise, (height, width, 3) uint8 RGB."""
    rng = np.random.default_rng(4)
    spots = rng.integers(60, 190, (height // 200 + 2, width // 200 + 2, 3), dtype=np.uint8)
    pixels = cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(0, 12, (250, width, 3), dtype=np.uint8)
    for top in range(0, height, 250):
        rows = pixels[top : top + 250]
        cv2.add(rows, noise[: len(rows)], dst=rows)
    return pixels


def put(pixels: np.ndarray, photo: Path, place: Place) -> None:
    """Draw a person's photo, less 30 pixels at each edge, into its place."""
    face = images.read_photo(photo)[30:-30, 30:-30]
    shrinks = place.side < len(face)
    pixels[place.top : place.top + place.side, place.left : place.left + place.side] = cv2.resize(
        face, (place.side, place.side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write a JPEG of quality 90; returns its path."""
    cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


def montages(kind: str, people: list[list[Path]], folder: Path) -> list[tuple[Path, list[Place]]]:
    """Draw a kind's montages. `people` has two photos of each person."""
    name, _, number = kind.partition("-")
    if name == "turned":
        return [_pair(people[at], people[at + 1], int(number) // 90, folder) for at in range(0, _PEOPLE, 2)]
    if name in ("identify", "enroll"):
        return [_montage(folder / f"{at}.jpg", (5690, 7560), [people[at]], [(2000, 1500, 600)]) for at in range(6)]
    if name == "crowd":
        spots = [(500 * (at % 8) + 7 * at, 600 * (at // 8) + 5 * at, int(number)) for at in range(40)]
        return [_montage(folder / "crowd.jpg", (3000, 4000), people, spots)]
    if name == "panorama":
        widths = (60, 90, 120, 160, 220, 400)
        spots = [(1000 + 2500 * at, 500 + 400 * (at % 4), width) for at, width in enumerate(widths)]
        return [_montage(folder / "panorama.jpg", (3600, 16_000), people, spots)]
    widths = (40, 60, 120, 300, 900, 2000)
    spots = [(500 + 2800 * at, 1000 + 1500 * (at % 5), width) for at, width in enumerate(widths)]
    return [_montage(folder / "largest.jpg", (15_000, 20_000), people, spots)]


def _montage(
    path: Path, shape: tuple[int, int], people: list[list[Path]], spots: list[tuple[int, int, int]]
) -> tuple[Path, list[Place]]:
    """One photo with faces at left, top and width of the face."""
    pixels, places = canvas(*shape), []
    for (_, photo), (left, top, width) in zip(people, spots, strict=False):
        places.append(Place(photo.parent.name, left, top, round(width / _FACE)))
        put(pixels, photo, places[-1])
    return save(path, pixels), places


def _pair(upright: list[Path], turned: list[Path], quarter: int, folder: Path) -> tuple[Path, list[Place]]:
    left, right = images.read_photo(upright[1]), np.rot90(images.read_photo(turned[1]), quarter)
    height = min(len(left), len(right))
    pixels = np.concatenate([left[:height], right[:height]], axis=1)
    place = Place(turned[1].parent.name, left.shape[1], 0, right.shape[1])
    return save(folder / f"{place.name}.jpg", pixels), [place]


def measure(kind: str, gallery: Path, photos: list[tuple[Path, list[Place]]]) -> Measured:
    """Identify or enroll the photos. Runs in a process of its own."""
    clock, cpu = time.perf_counter(), time.process_time()
    paths = [path for path, _ in photos]
    found = right = wrong = 0
    with Gallery(gallery) as opened:
        if kind == "enroll":
            with named_photos(paths, name="somebody") as (named, _):
                found = right = sum(result.status == "enrolled" for result in opened.enroll_all(named))
        else:
            for result, (_, places) in zip(identify(opened, [str(path) for path in paths]), photos, strict=True):
                for place in places:
                    middle = np.array([place.left, place.top]) + place.side / 2
                    inside = [f for f in result.faces if np.abs(f.face.centre - middle).max() < place.side / 2]
                    found += bool(inside)
                    right += any(face.name == place.name for face in inside)
                    wrong += sum(face.name not in (None, place.name) for face in inside)
    faces = sum(len(places) for _, places in photos)
    spent = time.process_time() - cpu, time.perf_counter() - clock
    return Measured(kind, faces, found, right, wrong, *spent, peak())


def peak() -> float:
    """The most memory that this process had, in MiB."""
    try:
        # Not resource.getrusage, which counts the process that started this one too.
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return float("nan")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--only", default=",".join(KINDS), help="kinds, with commas between")
    parser.add_argument("--model", help="a model that ships, or a file")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = set(options.only.split(","))
    if not chosen <= set(KINDS):
        parser.error(f"--only takes {', '.join(KINDS)}")
    folders = [sorted(find_photos(folder))[:2] for folder in sorted(options.photos.iterdir()) if folder.is_dir()]
    people = [photos for photos in folders if len(photos) == 2][:_PEOPLE]
    if len(people) < _PEOPLE:
        raise SystemExit(f"{options.photos} has two photos of {len(people)} people; {_PEOPLE} are needed")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        gallery = Path(temporary) / "gallery"
        with Gallery(gallery, options.model, create=True) as opened:
            for photo, _ in people:
                opened.enroll(photo.parent.name, photo)
        for kind in (kind for kind in KINDS if kind in chosen):
            folder = Path(temporary) / kind
            folder.mkdir()
            photos = montages(kind, people, folder)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                rows.append(process.submit(measure, kind, gallery, photos).result())
    show(rows, options.json)


def show(rows: list[Measured], as_json: bool) -> None:
    """Print one line a kind."""
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    table = Table("kind", "faces", "found", "right", "wrong", "processor s", "clock s", "peak MiB")
    for row in rows:
        figures = (row.faces, row.found, row.right, row.wrong)
        table.add_row(row.kind, *map(str, figures), f"{row.cpu:.1f}", f"{row.clock:.1f}", f"{row.peak:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    run_script(main)
