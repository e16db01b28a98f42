"""Damage a gallery's files, ten thousand times, and ask the gallery the same questions.

    python -m tests.stress.tamper [--runs 10000] [--seed 0]

Each change damages the database, the model, the index, its manifest or the log. Bits flip, bytes are overwritten, pages
are zeroed or swapped, junk is appended. Files are cut (the small ones at every length), lost, or exchanged with each
other. Files of another gallery, another model or an older state take their place.

The gallery must notice each change, with an error of ours that names a remedy, or give the same answers through the
index and exhaustively. It must never give another answer, raise a foreign exception or crash. Child processes try the
changes, some hundred in each.

`facedex list` reads no vectors and so checks no checksums. Where it alone differs, `facedex doctor` must mend the
gallery or find it broken. People are made up.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from facedex.errors import FacedexError
from facedex.gallery.doctor import examine
from facedex.gallery.gallery import Gallery
from facedex.model.modelfile import ModelFile, read_model
from facedex.store.store import Store
from tests.golden import make
from tests.helpers import record

BATCH = 250  # changes that one child process tries
PEOPLE = 24
LISTED_OTHERWISE = "only listed otherwise, doctor notices"
ALLOWED = {"noticed", "rebuilt", "no effect", LISTED_OTHERWISE}
SMALL_BYTES = 2000  # files under this are cut at every length
PAGE = 4096
KINDS = {  # how often each kind of change is drawn
    "bit": 0.45,
    "bits": 0.1,
    "bytes": 0.1,
    "page": 0.06,
    "swap": 0.06,
    "append": 0.03,
    "cut": 0.07,
    "lost": 0.02,
    "copy": 0.03,
    "take": 0.05,
    "exchange": 0.03,
}


def prepare(top: Path) -> None:
    """Make the gallery `truth`, and three galleries whose files replace its own."""
    model = make.model(top)
    other = read_model(model)
    other.tensors["encoder.weight"] = other.tensors["encoder.weight"] + 1
    ModelFile(other.tensors, dict(other.meta)).save(top / "other.safetensors")
    vectors = make.vectors(PEOPLE)

    def build(name: str, model_path: Path, people: list[str]) -> None:
        with Gallery(top / name, model_path, create=True) as gallery:
            with Store(top / name) as store:
                store.add([record(person, vector) for person, vector in zip(people, vectors, strict=False)])
            gallery.reindex()
            with Store(top / name) as store:  # added after the index, so that it is searched beside it
                store.add([record("late", vectors[-1])])

    names = [f"p{i // 2:02d}" for i in range(PEOPLE - 1)]
    build("truth", model, names)
    shutil.copytree(top / "truth", top / "older")
    with Gallery(top / "truth") as gallery:
        gallery.rename("p03", "q03")
        gallery.remove("p05")
        gallery.match(vectors[0])
    build("stranger", model, [f"s{i:02d}" for i in range(PEOPLE - 1)])
    build("othermodel", top / "other.safetensors", names)


def ask(folder: Path) -> tuple[list[Any], list[Any]]:
    """Return what a user can learn: the answers for some probes, by index and exhaustively, and who is enrolled."""
    with Gallery(folder) as gallery:
        # One shortlist holds only the nearest few, so that damage to a record that no search reads has no effect.
        found = [
            [
                [candidate.name, round(candidate.logit, 5)]
                for candidate in gallery.match(probe, top=top, exhaustive=exhaustive, shortlist=top)
            ]
            for probe in make.vectors(4, seed=9)
            for top, exhaustive in ((3, False), (99, False), (99, True))
        ]
        return [found, gallery.faces], [[person.name, person.photos] for person in gallery.people()]


def change(rng: np.random.Generator, number: int, top: Path, folder: Path, cuts: list[tuple[str, int]]) -> str:
    """Make the change of a number in a copy of `truth`. The first ones are `cuts`. Return a description."""
    if number < len(cuts):
        name, length = cuts[number]
        os.truncate(folder / name, length)
        return f"{name} cut to {length}"
    names = sorted(path.name for path in folder.iterdir() if path.stat().st_size)
    # The database is drawn half of the time, because most depends on it.
    name = "gallery.db" if rng.random() < 0.5 else str(rng.choice(names))
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    path = folder / name
    if kind == "lost":
        path.unlink()
        return f"{name} lost"
    if kind in ("copy", "exchange"):
        source = folder / str(rng.choice(names))
        original, replacement = path.read_bytes(), source.read_bytes()
        path.write_bytes(replacement)
        if kind == "exchange":
            source.write_bytes(original)
        return f"{name} {kind} {source.name}"
    if kind == "take":
        return take_files(rng, top / str(rng.choice(["older", "stranger", "othermodel"])), folder, names)
    data = bytearray(path.read_bytes())
    at = int(rng.integers(len(data)))
    path.write_bytes(damaged(rng, kind, data, at))
    return f"{name} {kind} at {at}"


def take_files(rng: np.random.Generator, source: Path, folder: Path, names: list[str]) -> str:
    """Replace some files, but not the database, by those of another gallery."""
    taken = [
        name for name in names if (source / name).exists() and not name.startswith("gallery.db") and rng.random() < 0.6
    ]
    for name in taken:
        shutil.copy(source / name, folder / name)
    return f"{', '.join(taken)} of {source.name}"


def damaged(rng: np.random.Generator, kind: str, data: bytearray, at: int) -> bytearray:
    """Damage the bytes of a file, near the position `at` unless the kind draws its own."""
    if kind in ("bit", "bits"):
        for _ in range(1 if kind == "bit" else int(rng.integers(2, 30))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    elif kind == "bytes":
        data[at : at + 16] = rng.integers(0, 256, 16, dtype=np.uint8).tobytes()[: len(data) - at]
    elif kind == "page":
        start = at - at % PAGE
        data[start : start + PAGE] = bytes(min(PAGE, len(data) - start))
    elif kind == "swap":
        other = int(rng.integers(len(data)))
        size = min(int(rng.choice([4, 16, 32, 512])), len(data) - max(at, other))
        data[at : at + size], data[other : other + size] = data[other : other + size], data[at : at + size]
    elif kind == "append":
        data += rng.integers(0, 256, int(rng.integers(1, 5000)), dtype=np.uint8).tobytes()
    else:  # "cut"
        del data[at:]
    return data


def rebuildable_files(folder: Path) -> dict[str, bytes]:
    """Return the files that the gallery may rebuild, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(("gallery", "model"))}


def small_cuts(folder: Path) -> list[tuple[str, int]]:
    """Return every shorter length of every small file."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return [(name, length) for name, size in sizes.items() if 0 < size < SMALL_BYTES for length in range(size)]


def outcome(folder: Path, truth: tuple[list[Any], list[Any]]) -> str:
    """Ask a damaged gallery and classify what happens. An outcome in ALLOWED is right."""
    before = rebuildable_files(folder)
    try:
        answers, listed = ask(folder)
        touched = rebuildable_files(folder) != before
        if answers != truth[0]:
            return "WRONG"
        if listed != truth[1]:
            found = {finding.state for finding in examine(folder)}
            return LISTED_OTHERWISE if "broken" in found or ask(folder) == truth else f"WRONG LIST {listed}"
        return "rebuilt" if touched else "no effect"
    except FacedexError as error:
        return "noticed" if any(mark in str(error) for mark in (";", "`")) else f"NO REMEDY {error}"
    except Exception as error:
        return f"FOREIGN {type(error).__name__}: {error}"


def try_changes(top: Path, seed: int, numbers: range) -> None:
    """Try these changes. Print a line before and after each, so that a crash names its change."""
    faiss.omp_set_num_threads(1)
    truth = ask(top / "truth")
    cuts = small_cuts(top / "truth")
    work = Path(tempfile.mkdtemp(dir=top)) / "g"
    for number in numbers:
        shutil.copytree(top / "truth", work)
        what = change(np.random.default_rng([seed, number]), number, top, work, cuts)
        print(json.dumps(["try", number, what]), flush=True)
        print(json.dumps(["end", number, outcome(work, truth), what]), flush=True)
        shutil.rmtree(work)


def run_batch(top: str, seed: int, first: int, last: int, counts: Counter[str]) -> int:
    """Try changes in a child and count their outcomes. Return how many were tried, 0 if the child never started."""
    command = [sys.executable, "-m", "tests.stress.tamper", "--seed", str(seed), "--child", top, str(first), str(last)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    results = [line[1:] for line in lines if line[0] == "end"]
    for number, result, what in results:
        counts[result.split()[0] if result[:2].isupper() else result] += 1
        if result not in ALLOWED:
            print(f"change {number}, {what}: {result}", flush=True)
    if len(results) == last - first:
        return len(results)
    counts["CRASH"] += 1
    where = lines[-1][1:] if lines else first
    print(f"change {where}: exit {ended.returncode} {ended.stderr[-300:]}", flush=True)
    return len(results) + 1 if lines else 0


def main() -> None:
    """Run and print the summary. The exit code is 1 after another answer, a foreign exception or a crash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        top, first, last = options.child
        try_changes(Path(top), options.seed, range(int(first), int(last)))
        return
    counts: Counter[str] = Counter()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as top:
        prepare(Path(top))
        sizes = {path.name: path.stat().st_size for path in (Path(top) / "truth").iterdir()}
        cuts = len(small_cuts(Path(top) / "truth"))
        # A long run begins with every length of the small files. A short run skips these.
        number = 0 if options.runs > 2 * cuts else cuts
        end = number + options.runs
        while number < end:
            tried = run_batch(top, options.seed, number, min(end, number + BATCH), counts)
            if not tried:
                break
            number += tried
    counted = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    seconds = time.perf_counter() - began
    print(f"{sum(counts.values())} changes of {sizes} in {seconds:.0f} s, seed {options.seed}: {counted}")
    sys.exit(1 if set(counts) - ALLOWED else 0)


if __name__ == "__main__":
    main()
