"""Change and search one gallery at once, from several writer and reader processes.

    python -m tests.stress.concurrency [--seconds 60] [--writers 4] [--readers 8] [--seed 0]

Each writer enrolls, renames, merges and removes its own people, and records what it was told. Each reader looks up the
people who stay, and everybody. These facts must hold:

- Every query finds the people who stay, with the head's own score.
- Every name is one that a writer gave. No query sees half of a merge.
- In the end the gallery holds what the writers were told, to the photo. It answers as a rebuilt index does.
- `doctor` finds the gallery sound.
- A writer that waited in vain is told who writes.

Faces are drawn and people are made up.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import faiss
import numpy as np
from PIL import Image

from facedex.errors import GalleryBusy
from facedex.gallery.doctor import examine
from facedex.gallery.gallery import Gallery
from facedex.photos.sources import NamedPhoto
from facedex.store.store import Store
from tests.helpers import drawn_face, people, unit

STAYING_PEOPLE = 30
NAME = re.compile(r"(person\d{4}|w\d+[ab]\d+r?)")


def drawn_photo(name: str, seed: int, salt: str) -> NamedPhoto:
    """Draw a face as a PNG whose bytes no other photo has."""
    file = io.BytesIO()
    Image.fromarray(drawn_face(seed % 8, 120)).save(file, "PNG")
    data = file.getvalue() + salt.encode()  # decoders ignore what follows the picture
    return NamedPhoto(name, f"{name}/{salt}", f"/{name}/{salt}.png", lambda: data)


class Writer:
    """Changes its own people of a gallery at random, and records how many photos each should have."""

    def __init__(self, gallery: Gallery, number: int, seed: int) -> None:
        self.gallery, self.number = gallery, number
        self.rng = random.Random(f"{seed} {number}")
        self.photos: dict[str, int] = {}  # by person
        self.counts: Counter[str] = Counter()
        self.pairs = 0

    def change(self) -> None:
        """Make one change. Raises GalleryBusy where another process writes too long."""
        few = len(self.photos) <= 3
        kind = "enroll" if few else self.rng.choice(["enroll", "enroll", "rename", "merge", "remove"])
        if kind == "enroll":
            self.enroll()
        elif kind == "rename":
            self.rename()
        else:
            self.merge_or_remove(kind)
        self.counts[kind] += 1

    def enroll(self) -> None:
        self.pairs += 1
        names = [f"w{self.number}{half}{self.pairs}" for half in "ab"]
        photos = [drawn_photo(name, self.rng.randrange(8), f"{name}-{i}") for name in names for i in range(2)]
        for result in self.gallery.iter_enroll(photos):
            assert result.status == "enrolled", result
            self.photos[result.name] = self.photos.get(result.name, 0) + 1

    def rename(self) -> None:
        names = [name for name in self.photos if not name.endswith("r")]
        if names:
            old = self.rng.choice(names)
            self.gallery.rename(old, old + "r")
            self.photos[old + "r"] = self.photos.pop(old)

    def merge_or_remove(self, kind: str) -> None:
        gone, kept = self.rng.sample(sorted(self.photos), 2)
        try:
            if kind == "merge":
                self.gallery.merge(gone, kept)
            else:
                self.gallery.remove(gone)
        except GalleryBusy as error:
            if not str(error).startswith("Done"):
                raise
            self.counts["cleared later"] += 1  # a reader was in the middle of a query
        photos = self.photos.pop(gone)
        if kind == "merge":
            self.photos[kept] += photos


def write(folder: Path, number: int, seed: int, until: float) -> dict[str, object]:
    """Change people until a time (Unix seconds). Return what should be there, the counts and the longest change."""
    longest = 0.0
    with Gallery(folder) as gallery:
        writer = Writer(gallery, number, seed)
        while time.time() < until:
            began = time.time()
            try:
                writer.change()
            except GalleryBusy as busy:
                if "Process " not in str(busy):
                    raise
                writer.counts["told who writes"] += 1
            longest = max(longest, time.time() - began)
    return {"people": writer.photos, "counts": writer.counts, "longest": longest}


def read(folder: Path, number: int, until: float) -> dict[str, object]:
    """Look people up until a time (Unix seconds). Return the number of queries and the slowest one's seconds.

    Raises AssertionError for a wrong answer.
    """
    vectors = unit(STAYING_PEOPLE)
    staying = {f"person{i:04d}" for i in range(STAYING_PEOPLE)}
    rng = np.random.default_rng(number)
    queries, slowest = 0, 0.0
    with Gallery(folder) as gallery:
        while time.time() < until:
            person = int(rng.integers(STAYING_PEOPLE))
            top = int(rng.choice([1, 5, 10_000]))
            began = time.perf_counter()
            found = gallery.match(vectors[person], top=top, exhaustive=bool(rng.random() < 0.2))
            slowest = max(slowest, time.perf_counter() - began)
            assert found[0].name == f"person{person:04d}", f"{found[0]} for person {person}"
            assert abs(found[0].logit - gallery.head.beta) < 1e-3, found[0]
            names = [candidate.name for candidate in found]
            assert len(set(names)) == len(names), names
            assert all(NAME.fullmatch(name) for name in names), names
            if len(found) > 5:
                assert staying <= set(names), "somebody who stays is missing"
                # A rename is one commit, so that a query never sees both names.
                assert not any(name + "r" in names for name in names), "the old and the new name at once"
            queries += 1
    return {"queries": queries, "slowest": slowest}


def start(kind: str, folder: Path, number: int, seed: int, until: float) -> subprocess.Popen[str]:
    """Start a writer or a reader as a process of its own."""
    command = [sys.executable, "-m", "tests.stress.concurrency", "--seed", str(seed)]
    command += ["--child", kind, str(folder), str(number), str(until)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def final_faults(folder: Path, expected: dict[str, int]) -> list[str]:
    """Compare the gallery in the end with what the writers were told (photos by person)."""
    faults = []
    with Gallery(folder) as gallery:
        stored = {person.name: person.photos for person in gallery.people()}
        if stored != expected:
            faults.append(f"told and stored differ: {sorted(set(expected.items()) ^ set(stored.items()))[:10]}")
        probes = unit(5, seed=1)
        before = [gallery.match(probe, top=10_000) for probe in probes]
        gallery.reindex()
        if before != [gallery.match(probe, top=10_000) for probe in probes]:
            faults.append("the rebuilt index gives other answers")
    return faults + [f"doctor: {finding}" for finding in examine(folder) if finding.state != "sound"]


def main() -> None:
    """Run, check and print. The exit code is 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    if options.child:
        kind, folder_name, number, until_text = options.child
        folder, until = Path(folder_name), float(until_text)
        if kind == "write":
            print(json.dumps(write(folder, int(number), options.seed, until)))
        else:
            print(json.dumps(read(folder, int(number), until)))
        return
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "g"
        Gallery(folder, create=True).close()
        with Store(folder) as store:
            store.add(people(unit(STAYING_PEOPLE)))
        until = time.time() + 2 + options.seconds  # the processes need about two seconds to start
        kinds = ["write"] * options.writers + ["read"] * options.readers
        started = [(kind, start(kind, folder, i, options.seed, until)) for i, kind in enumerate(kinds)]
        expected = {f"person{i:04d}": 1 for i in range(STAYING_PEOPLE)}
        counts: Counter[str] = Counter()
        longest = slowest = 0.0
        for kind, process in started:
            out, errors = process.communicate()
            if process.returncode:
                faults.append(f"a process that should {kind} failed: {errors[-500:]}")
                continue
            result = json.loads(out)
            if kind == "write":
                expected.update(result["people"])
                counts.update(result["counts"])
                longest = max(longest, result["longest"])
            else:
                counts["queries"] += result["queries"]
                slowest = max(slowest, result["slowest"])
        faults += final_faults(folder, expected)
    counted = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(
        f"{options.writers} writers and {options.readers} readers for {options.seconds:g} s: {counted}; "
        f"the longest write with its wait {longest:.1f} s, the slowest query {slowest:.2f} s; {len(faults)} faults"
    )
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
