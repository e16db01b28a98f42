"""Measure the command `facedex cluster` itself on a large scanned library: time, peak memory, and right groups.

    python -m scripts.benchmarks.cluster_command PACK [PACK...] --embeddings teachers.npz [--corrections CSV]
        [--faces 75000] [--model FILE] [--keep DIR]

Each PACK holds aligned faces of people, and --embeddings names a file of scripts/teachers.py with their embeddings. A
gallery gets the faces as `facedex scan` stores them: half of them alone in a photo, the others in photos of two to four
people. The command then runs twice, each time in a process of its own. The second run meets groups that are stored.
--keep leaves the gallery in a folder. Linux only. Needs the package scikit-learn.

Prints a row for each run, in Markdown: seconds of the clock and of the processor, the peak of resident memory in MB,
the number of groups, BCubed F, and how many faces share their group with another face of their photo.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import numpy as np

from facedex.errors import DataError
from facedex.gallery.gallery import Gallery
from facedex.model.modelfile import read_model, shipped_model
from facedex.store.library_rows import FoundFace, SeenFile
from scripts.benchmarks.face_grouping import labelled, score
from scripts.benchmarks.head_bases import stored
from scripts.runner import run_script

_BLOCK = 2000  # photos in one transaction
_POLL = 0.05  # seconds between two looks at a process's memory
_MOST = 4  # people in one photo
_POINTS = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [70, 92]], np.float32)


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--faces", type=int, default=75_000)
    parser.add_argument("--model", default=str(shipped_model()))
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    keys, names = zip(*(labelled(pack, options.corrections) for pack in options.packs), strict=True)
    vectors, quality = stored(options.embeddings, read_model(options.model), list(chain(*keys)))
    chosen = np.random.default_rng(0).permutation(len(vectors))[: options.faces]
    people = np.unique(np.concatenate(names)[chosen], return_inverse=True)[1]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "gallery"
        rows = photos(people)
        fill(folder, options.model, [[(vectors[chosen[row]], quality[chosen[row]]) for row in one] for one in rows])
        stored_people = people[np.concatenate(rows)]  # faces are stored photo by photo
        print(f"{len(people):,} faces of {people.max() + 1:,} people in {len(rows):,} photos\n")
        print("| run | s | s of the processor | MB | groups | F | faces in the group of another of their photo |")
        print("|---" * 7 + "|")
        for run in ("first", "second"):
            clock, processor, peak = timed([sys.executable, "-m", "facedex", "cluster", "--gallery", str(folder)])
            with Gallery(folder) as gallery:
                faces = gallery.library.faces()
            both = np.stack([faces.photos, faces.groups], 1)
            shared = len(both) - len(np.unique(both, axis=0))
            f, groups = score(faces.groups, stored_people).f.value, len(np.unique(faces.groups))
            figures = f"{clock:.0f} | {processor:.0f} | {peak:,.0f} | {groups:,} | {f:.1%} | {shared}"
            print(f"| {run} | {figures} |", flush=True)


def photos(people: np.ndarray) -> list[np.ndarray]:
    """Divide faces of `people` (n,), in random order, into photos: rows of one face, or of two to four people."""
    rows, rng = np.arange(len(people)), np.random.default_rng(1)
    found = [rows[at : at + 1] for at in range(len(rows) // 2)]
    at = len(found)
    while at < len(rows):
        together = rows[at : at + int(rng.integers(2, _MOST + 1))]
        first = np.sort(np.unique(people[together], return_index=True)[1])  # nobody is in a photo twice
        found += [together[first], *(together[[place]] for place in np.setdiff1d(np.arange(len(together)), first))]
        at += len(together)
    return found


def fill(folder: Path, model: str, photos: list[list[tuple[np.ndarray, float]]]) -> None:
    """Store photos, each a list of its faces' vectors and qualities, in a new gallery."""
    if folder.exists():
        raise DataError(f"{folder} exists; name a folder for a new gallery")
    with Gallery(folder, model, create=True) as gallery:
        for start in range(0, len(photos), _BLOCK):
            files = []
            for number, faces in enumerate(photos[start : start + _BLOCK], start):
                found = tuple(
                    FoundFace(vector, (8.0 + 100 * at, 8.0, 96.0, 96.0), _POINTS, 0.9, float(quality), 0.05)
                    for at, (vector, quality) in enumerate(faces)
                )
                source = f"/library/{number // 1000:03d}/{number:06d}.jpg"
                files.append(SeenFile(source, 100_000, 1, hashlib.sha256(source.encode()).hexdigest(), found))
            with gallery.changing_library() as store:
                store.library.save(files)


def timed(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return its seconds of the clock and of the processor, and its peak of memory in MB.

    The peak is read from /proc while it runs, because that of `wait4` would be the largest of this process, too.
    """
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = max(peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
        except OSError:
            pass
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(_POLL)
    if status:
        raise DataError(f"`{' '.join(command)}` failed; its message is above")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, peak / 1024


if __name__ == "__main__":
    run_script(main)
