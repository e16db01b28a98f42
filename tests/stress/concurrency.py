"""Writers and readers in processes of their own, on one gallery, at once.

    python -m tests.stress.concurrency [--seconds 60] [--writers 4] [--readers 8] [--seed 0]

Each writer enrolls, renames, merges and removes people of its own and writes down what it was told; each reader looks
up people who are always there, and everybody. Checked: who stays is found by every query with the head's own score;
names are those that some writer gave; no half of a merge is seen; in the end the gallery is what the writers were told,
to the photo, answers as an index built anew does, and `doctor` finds it sound. A writer that has waited its time must
be told who writes. Drawn faces, made-up people.
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

STAYING = 30
NAME = re.compile(r"(person\d{4}|w\d+[ab]\d+r?)")


def photo(name: str, seed: int, salt: str) -> NamedPhoto:
    """A drawn face as a PNG that no other photo equals byte by byte."""
    file = io.BytesIO()
    Image.fromarray(drawn_face(seed % 8, 120)).save(file, "PNG")
    data = file.getvalue() + salt.encode()  # decoders stop at the picture's end
    return NamedPhoto(name, f"{name}/{salt}", f"/{name}/{salt}.png", lambda: data)


def write(folder: Path, number: int, seed: int, until: float) -> dict[str, object]:
    """Change this writer's people until the time is over; returns what should be there, and how often it was busy."""
    rng = random.Random(f"{seed} {number}")
    mine: dict[str, int] = {}
    counts: Counter[str] = Counter()
    waited = 0.0
    serial = 0
    with Gallery(folder) as opened:
        while time.time() < until:
            verb = rng.choice(["enroll", "enroll", "rename", "merge", "remove"]) if len(mine) > 3 else "enroll"
            began = time.time()
            try:
                if verb == "enroll":
                    serial += 1
                    names = [f"w{number}{half}{serial}" for half in "ab"]
                    photos = [photo(name, rng.randrange(8), f"{name}-{i}") for name in names for i in range(2)]
                    for result in opened.enroll(photos):
                        assert result.status == "enrolled", result
                        mine[result.name] = mine.get(result.name, 0) + 1
                elif verb == "rename":
                    old = rng.choice([name for name in mine if not name.endswith("r")] or [""])
                    if old:
                        opened.rename(old, old + "r")
                        mine[old + "r"] = mine.pop(old)
                else:
                    one, two = rng.sample(sorted(mine), 2)
                    done = False
                    try:
                        if verb == "merge":
                            opened.merge(one, two)
                        else:
                            opened.remove(one)
                        done = True
                    except GalleryBusy as error:
                        done = str(error).startswith("Done")  # a reader was in the middle of a query
                        if not done:
                            raise
                        counts["cleared later"] += 1
                    finally:
                        if done:
                            photos_of = mine.pop(one)
                            if verb == "merge":
                                mine[two] += photos_of
                counts[verb] += 1
            except GalleryBusy as error:
                assert "Process " in str(error), error  # noqa: PT017 (the harness counts what happens)
                counts["told who writes"] += 1
            waited = max(waited, time.time() - began)
    return {"people": mine, "counts": counts, "longest": waited}


def read(folder: Path, number: int, until: float) -> dict[str, object]:
    """Look people up until the time is over; returns how often. Raises AssertionError for a wrong answer."""
    vectors = unit(STAYING)
    rng = np.random.default_rng(number)
    queries, slowest = 0, 0.0
    with Gallery(folder) as opened:
        while time.time() < until:
            who = int(rng.integers(STAYING))
            began = time.perf_counter()
            found = opened.match(vectors[who], top=int(rng.choice([1, 5, 10_000])), exhaustive=bool(rng.random() < 0.2))
            slowest = max(slowest, time.perf_counter() - began)
            assert found[0].name == f"person{who:04d}", f"{found[0]} for person {who}"
            assert abs(found[0].logit - opened.head.beta) < 1e-3, found[0]
            names = [one.name for one in found]
            assert len(set(names)) == len(names), names
            assert all(NAME.fullmatch(name) for name in names), names
            if len(found) > 5:
                assert {f"person{i:04d}" for i in range(STAYING)} <= set(names), "somebody who stays is missing"
                # A pair is enrolled in one commit; a rename or merge is one too: never both of its ends, nor neither.
                assert not any(name + "r" in names for name in names), "the old and the new name at once"
            queries += 1
    return {"queries": queries, "slowest": slowest}


def main() -> None:
    """Run, check, print; exit 1 when anything was wrong."""
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
        kind, folder, number, until = options.child
        if kind == "write":
            print(json.dumps(write(Path(folder), int(number), options.seed, float(until))))
        else:
            print(json.dumps(read(Path(folder), int(number), float(until))))
        return
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "g"
        Gallery(folder, create=True).close()
        with Store(folder) as store:
            store.add(people(unit(STAYING)))
        until = time.time() + 2 + options.seconds
        started = [
            (
                kind,
                subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "tests.stress.concurrency",
                        "--seed",
                        str(options.seed),
                        "--child",
                        kind,
                        str(folder),
                        str(i),
                        str(until),
                    ],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                ),
            )
            for kind, how_many in (("write", options.writers), ("read", options.readers))
            for i in range(how_many)
        ]
        expected = {f"person{i:04d}": 1 for i in range(STAYING)}
        counts: Counter[str] = Counter()
        longest = slowest = 0.0
        for kind, process in started:
            out, errors = process.communicate()
            if process.returncode:
                faults.append(f"a process that should {kind} ended: {errors[-500:]}")
                continue
            told = json.loads(out)
            if kind == "write":
                expected.update(told["people"])
                counts.update(told["counts"])
                longest = max(longest, told["longest"])
            else:
                counts["queries"] += told["queries"]
                slowest = max(slowest, told["slowest"])
        with Gallery(folder) as opened:
            there = {person.name: person.photos for person in opened.people()}
            if there != expected:
                faults.append(f"told and stored differ: {sorted(set(expected.items()) ^ set(there.items()))[:10]}")
            probes = unit(5, seed=1)
            before = [opened.match(probe, top=10_000) for probe in probes]
            opened.reindex()
            if before != [opened.match(probe, top=10_000) for probe in probes]:
                faults.append("an index built anew answers otherwise")
        faults += [f"doctor: {one}" for one in examine(folder) if one.state != "sound"]
    print(
        f"{options.writers} writers and {options.readers} readers for {options.seconds:g} s: "
        + ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        + f"; the longest write with its wait {longest:.1f} s, the slowest query {slowest:.2f} s; {len(faults)} faults"
    )
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
