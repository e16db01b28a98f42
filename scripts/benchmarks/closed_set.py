"""Enroll one photo of each person of a folder and identify all the others, by the index and exhaustively.

    python -m scripts.benchmarks.closed_set FOLDER [--model FILE] [--fpir 0.01] [--enroll-as false-colour]

FOLDER holds NAME/*.jpg. The first photo of each person is enrolled; --enroll-as first makes it small (100 pixels) or
false-coloured. Of several faces in a probe, the subject counts. Prints:

- rank-1 accuracy: the best candidate is the right person, whatever the threshold;
- the share of probes named at the threshold, the share named wrongly, and the time a photo;
- whether the index and --exhaustive give the same names;
- the wall time of the processes `facedex --help` and `facedex identify`;
- the realised FPIR: with a random half of the people enrolled, the share of the others' photos that get a name.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex import Gallery, IdentifiedPhoto, identify
from facedex.errors import DataError
from facedex.photos import images
from facedex.photos.listing import find_photos
from facedex.photos.sources import NamedPhoto
from scripts.runner import run_script

Change = Callable[[bytes], bytes]


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--fpir", type=float, default=0.01)
    parser.add_argument("--enroll-as", choices=[*ENROLLED], default="as they are")
    options = parser.parse_args()
    photos: dict[str, list[Path]] = defaultdict(list)
    for path in find_photos(options.folder):
        photos[path.parent.name].append(path)
    enrolled = [named(name, paths[0], ENROLLED[options.enroll_as]) for name, paths in photos.items()]
    probes = [(name, path) for name, paths in photos.items() for path in paths[1:]]
    if not probes:
        raise DataError(f"Nobody in {options.folder} has a second photo to identify; put each person's in NAME/*.jpg")

    table = Table("", "index", "exhaustive")
    rows: dict[str, list[str]] = defaultdict(list)
    answers: list[list[str | None]] = []
    with tempfile.TemporaryDirectory() as folder, Gallery(folder, options.model, create=True) as gallery:
        began = time.perf_counter()
        results = gallery.enroll_all(enrolled)
        spent = time.perf_counter() - began
        failed = [result.photo for result in results if result.status != "enrolled"]
        for exhaustive in (False, True):
            began = time.perf_counter()
            found = list(
                identify(
                    gallery,
                    [path for _, path in probes],
                    top=1,
                    fpir=options.fpir,
                    exhaustive=exhaustive,
                )
            )
            seconds = time.perf_counter() - began
            first, passed = zip(*(_main_face(photo) for photo in found), strict=True)
            right = [name for name, _ in probes]
            answers.append([*first, *passed])
            rows["rank-1"].append(f"{sum(a == b for a, b in zip(first, right, strict=True)) / len(right):.2%}")
            rows[f"named at FPIR {options.fpir:g}"].append(f"{sum(n is not None for n in passed) / len(right):.2%}")
            rows["named, wrongly"].append(
                f"{sum(n not in (None, r) for n, r in zip(passed, right, strict=True)) / len(right):.2%}"
            )
            rows["ms a photo, all of it"].append(f"{1000 * seconds / len(right):.1f}")
        for label, values in rows.items():
            table.add_row(label, *values)
        print(
            f"{len(enrolled)} people enrolled ({1000 * spent / len(enrolled):.1f} ms a photo, {len(failed)} failed), "
            f"{len(probes)} other photos identified; {platform.machine()}, {os.cpu_count()} cores"
        )
        Console().print(table)
        print(f"index and exhaustive agree on every name: {answers[0] == answers[1]}")
        for label, arguments in (
            ("facedex --help", ["--help"]),
            ("facedex identify, one photo", ["identify", str(probes[0][1]), "--gallery", folder]),
        ):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                subprocess.run([sys.executable, "-m", "facedex", *arguments], capture_output=True, check=False)
                times.append(time.perf_counter() - began)
            print(f"{label}: {sorted(times)[2]:.2f} s (median of 5 processes)")

    strangers(photos, options.model, options.fpir, ENROLLED[options.enroll_as])


def named(name: str, path: Path, change: Change) -> NamedPhoto:
    """Return a photo to enroll, which `change` alters when it is read."""
    return NamedPhoto(name, name, str(path), lambda: change(path.read_bytes()))


def small(data: bytes) -> np.ndarray:
    """Return a photo (h, w, 3) uint8 BGR with 100 pixels on the longer side, as many card indexes hold it."""
    pixels = cv2.cvtColor(images.decode(data, "the photo"), cv2.COLOR_RGB2BGR)
    factor = 100 / max(pixels.shape[:2])
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def false_colour(data: bytes) -> np.ndarray:
    """Return the small photo with its brightness shown by the viridis colour map."""
    return cv2.applyColorMap(cv2.cvtColor(small(data), cv2.COLOR_BGR2GRAY), cv2.COLORMAP_VIRIDIS)


ENROLLED: dict[str, Change] = {
    "as they are": lambda data: data,
    "small": lambda data: cv2.imencode(".png", small(data))[1].tobytes(),
    "false-colour": lambda data: cv2.imencode(".png", false_colour(data))[1].tobytes(),
}


def strangers(photos: dict[str, list[Path]], model: str | None, fpir: float, change: Change) -> None:
    """Enroll a random half of the people, identify all photos of the others, and print the share named."""
    names = sorted(photos)
    random.Random(0).shuffle(names)
    known, others = names[: len(names) // 2], names[len(names) // 2 :]
    with tempfile.TemporaryDirectory() as folder, Gallery(folder, model, create=True) as gallery:
        gallery.enroll_all(named(name, photos[name][0], change) for name in known)
        probes = [path for name in others for path in photos[name]]
        found = [_main_face(photo)[1] for photo in identify(gallery, probes, fpir=fpir)]
    passed = sum(name is not None for name in found)
    print(
        f"strangers: {passed} of {len(found)} named ({passed / len(found):.2%}) with {len(known)} people enrolled, "
        f"at a target FPIR of {fpir:.2%}"
    )


def _main_face(photo: IdentifiedPhoto) -> tuple[str | None, str | None]:
    """Return the best candidate and the name of the subject, None where there is none."""
    if not photo.faces:
        return None, None
    subject = photo.faces[0]
    return subject.candidates[0].name if subject.candidates else None, subject.name


if __name__ == "__main__":
    run_script(main)
