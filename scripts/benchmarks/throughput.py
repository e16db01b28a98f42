"""Measure how many photos a second are enrolled, and compare that with the encoder's own speed.

    python -m scripts.benchmarks.throughput PHOTOS [--photos 200] [--rounds 3] [--times 1] [--model FILE] [--json]

PHOTOS is a folder of photos with at least one face each. Two things are measured in turns, so that other load slows
both alike: each step alone on one thread (reading, decoding, detection of the subject, alignment, encoding), and a
whole `Gallery.enroll` into a new gallery.

Two cores cannot be faster than two over the sum of the steps: `share` is the part of this that enrolling reaches. One
core that only encodes cannot be faster than the encoder: `of the encoder` is the part of that. `cores` is processor
time over wall time, the number of cores kept busy. --times 4 first enlarges each photo four times.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from facedex import Gallery, named_photos
from facedex.faces import alignment
from facedex.faces.face import Face
from facedex.gallery.enrolment import LEAST_SIDE
from facedex.model.modelfile import read_model, shipped_model
from facedex.model.reader import FaceReader
from facedex.photos import images
from facedex.photos.listing import find_photos
from scripts.runner import run_script

STEPS = ("read", "decode", "detect", "align", "encode")


def steps(reader: FaceReader, paths: list[Path]) -> dict[str, float]:
    """Return the processor time of each step over all photos, in seconds on one thread."""
    spent: dict[str, float] = defaultdict(float)
    crops: list[np.ndarray] = []
    cv2.setNumThreads(1)

    def took(step: str, began: float) -> float:
        now = time.process_time()
        spent[step] += now - began
        return now

    for path in paths:
        began = time.process_time()
        data = images.read_bytes(path)
        images.sha256(data)
        began = took("read", began)
        pixels, _ = images.decode_smaller(data, str(path), LEAST_SIDE)
        began = took("decode", began)
        faces: list[Face] = reader.detector.detect(pixels, only_subject=True)
        began = took("detect", began)
        if faces:
            crops.append(alignment.align(pixels, faces[0].landmarks))
            took("align", began)
    began = time.process_time()
    for at in range(0, len(crops), 32):
        reader.encoder.encode(np.stack(crops[at : at + 32]))
    took("encode", began)
    cv2.setNumThreads(-1)
    return dict(spent)


def enlarged(paths: list[Path], times: int, folder: Path) -> list[Path]:
    """Write copies of photos, `times` as wide and as high. Return their paths."""
    made = [folder / f"{i}.jpg" for i in range(len(paths))]
    for path, copy in zip(paths, made, strict=True):
        with Image.open(path) as image:
            image.convert("RGB").resize((times * image.width, times * image.height), Image.Resampling.BICUBIC).save(
                copy, quality=92
            )
    return made


def enrolled(paths: list[Path], model: Path | None) -> tuple[float, float]:
    """Enroll photos into a new gallery. Return seconds of wall and of processor time."""
    with tempfile.TemporaryDirectory() as folder, Gallery(Path(folder) / "g", model, create=True) as gallery:
        gallery.reader()
        with named_photos(paths, name="somebody") as (photos, _):
            clock, cpu = time.perf_counter(), time.process_time()
            done = sum(1 for _ in gallery.iter_enroll(photos))
            clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    if done != len(paths):
        raise SystemExit(f"{done} of {len(paths)} photos were looked at; name a folder of photos")
    return clock, cpu


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos_in", metavar="PHOTOS", type=Path)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--times", type=int, default=1, help="enlarge photos so many times, as JPEG like a phone's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = sorted(find_photos(options.photos_in))
    if not found:
        raise SystemExit(f"{options.photos_in} holds no photos; name another folder")
    paths = found[:: max(1, len(found) // options.photos)][: options.photos]
    with tempfile.TemporaryDirectory() as folder:
        measure(enlarged(paths, options.times, Path(folder)) if options.times > 1 else paths, options)


def measure(paths: list[Path], options: argparse.Namespace) -> None:
    """Measure in turns and print."""
    reader = FaceReader(read_model(options.model or shipped_model()))
    steps(reader, paths[:4])  # the first call prepares the networks
    alone, whole = [], []
    for _ in range(options.rounds):
        alone.append(steps(reader, paths))
        whole.append(enrolled(paths, options.model))
    each = {step: float(np.median([times[step] for times in alone])) / len(paths) for step in STEPS}
    clock, cpu = (float(np.median([times[i] for times in whole])) / len(paths) for i in (0, 1))
    best, encoder = 2 / sum(each.values()), 1 / each["encode"]
    figures = {
        "photos": len(paths),
        "ms a photo, one thread": {step: 1000 * each[step] for step in STEPS},
        "enroll, photos/s": 1 / clock,
        "enroll, ms of processor time a photo": 1000 * cpu,
        "cores": cpu / clock,
        "two cores at best, photos/s": best,
        "share": 1 / clock / best,
        "encoder alone on one core, photos/s": encoder,
        "of the encoder": 1 / clock / encoder,
    }
    if options.json:
        print(json.dumps(figures))
        return
    table = Table("a photo", "ms of processor time", title=f"{len(paths)} photos, median of {options.rounds} rounds")
    for step in STEPS:
        table.add_row(step, f"{1000 * each[step]:.2f}")
    table.add_row("all of these", f"{1000 * sum(each.values()):.2f}")
    table.add_row("enroll, committed", f"{1000 * cpu:.2f}")
    console = Console(width=100)
    console.print(table)
    console.print(
        f"enroll: {1 / clock:.1f} photos/s by the clock, {cpu / clock:.2f} cores busy; two cores at best {best:.1f} "
        f"photos/s: {1 / clock / best:.0%} of that; the encoder alone on one {encoder:.1f} faces/s: "
        f"{1 / clock / encoder:.0%} of that"
    )


if __name__ == "__main__":
    run_script(main)
