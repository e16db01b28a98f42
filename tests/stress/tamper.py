"""Change a gallery's files behind its back, ten thousand times, and ask it the same questions.

    python -m tests.stress.tamper [--runs 10000] [--seed 0]

Bits flipped, bytes overwritten, pages zeroed or exchanged, junk appended, files cut (the small ones at every length),
lost, exchanged among each other, and taken from another gallery, another model's or an older state, in the database,
the model, the index, its manifest and the log. Each must be noticed (an error of ours that says what to do) or without
effect: the same answers, through the index and exhaustively. Never another answer, another exception, or the end of the
process: the changes are tried in child processes, some hundred in each. `facedex list` reads no vectors and so checks
no checksums: where it alone differs, `facedex doctor` must mend it or find it broken. Made-up people.
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

BATCH = 250  # changes a child process tries
PEOPLE = 24
FINE = {"noticed", "rebuilt", "no effect", "only listed otherwise, doctor notices"}


def prepare(top: Path) -> None:
    """`truth`, and three galleries whose files are put in the place of its own."""
    model = make.model(top)
    other = read_model(model)
    other.tensors["encoder.weight"] = other.tensors["encoder.weight"] + 1
    ModelFile(other.tensors, dict(other.meta)).save(top / "other.safetensors")
    vectors = make.vectors(PEOPLE)

    def build(name: str, with_model: Path, people: list[str]) -> None:
        with Gallery(top / name, with_model, create=True) as opened:
            with Store(top / name) as store:
                store.add([record(who, vector) for who, vector in zip(people, vectors, strict=False)])
            opened.reindex()
            with Store(top / name) as store:  # later than the index: searched beside it
                store.add([record("late", vectors[-1])])

    names = [f"p{i // 2:02d}" for i in range(PEOPLE - 1)]
    build("truth", model, names)
    shutil.copytree(top / "truth", top / "older")
    with Gallery(top / "truth") as opened:
        opened.rename("p03", "q03")
        opened.remove("p05")
        opened.match(vectors[0])
    build("stranger", model, [f"s{i:02d}" for i in range(PEOPLE - 1)])
    build("othermodel", top / "other.safetensors", names)


def ask(folder: Path) -> Any:
    """Everything a user can learn: names and logits for some probes, by both ways, and who is enrolled."""
    with Gallery(folder) as opened:
        # One shortlist of the nearest few, so that not every record is read: a damaged one may then go unseen, rightly.
        found = [
            [[c.name, round(c.logit, 5)] for c in opened.match(probe, top=top, exhaustive=exhaustive, shortlist=top)]
            for probe in make.vectors(4, seed=9)
            for top, exhaustive in ((3, False), (99, False), (99, True))
        ]
        return [found, opened.faces], [[person.name, person.photos] for person in opened.people()]


def change(rng: np.random.Generator, number: int, top: Path, folder: Path, small: list[tuple[str, int]]) -> str:  # noqa: C901 (a branch for each kind of change)
    """Make one change in a copy of `truth`; returns what it was."""
    if number < len(small):
        name, length = small[number]
        os.truncate(folder / name, length)
        return f"{name} cut to {length}"
    names = sorted(path.name for path in folder.iterdir() if path.stat().st_size)
    # The database half of the time: most depends on it.
    name = "gallery.db" if rng.random() < 0.5 else str(rng.choice(names))
    path = folder / name
    data = bytearray(path.read_bytes())
    kind = rng.choice(
        ["bit", "bits", "bytes", "page", "swap", "append", "cut", "lost", "copy", "take", "exchange"],
        p=[0.45, 0.1, 0.1, 0.06, 0.06, 0.03, 0.07, 0.02, 0.03, 0.05, 0.03],
    )
    at = int(rng.integers(len(data)))
    if kind in ("bit", "bits"):
        for _ in range(1 if kind == "bit" else int(rng.integers(2, 30))):
            at = int(rng.integers(len(data)))
            data[at] ^= 1 << int(rng.integers(8))
    elif kind == "bytes":
        data[at : at + 16] = rng.integers(0, 256, 16, dtype=np.uint8).tobytes()[: len(data) - at]
    elif kind == "page":
        data[at - at % 4096 : at - at % 4096 + 4096] = bytes(min(4096, len(data) - (at - at % 4096)))
    elif kind == "swap":
        other = int(rng.integers(len(data)))
        size = min(int(rng.choice([4, 16, 32, 512])), len(data) - max(at, other))
        data[at : at + size], data[other : other + size] = data[other : other + size], data[at : at + size]
    elif kind == "append":
        data += rng.integers(0, 256, int(rng.integers(1, 5000)), dtype=np.uint8).tobytes()
    elif kind == "cut":
        data = data[:at]
    if kind == "lost":
        path.unlink()
        return f"{name} lost"
    if kind in ("copy", "exchange"):
        from_ = folder / str(rng.choice(names))
        mine, theirs = bytes(data), from_.read_bytes()
        path.write_bytes(theirs)
        if kind == "exchange":
            from_.write_bytes(mine)
        return f"{name} {kind} {from_.name}"
    if kind == "take":
        source = str(rng.choice(["older", "stranger", "othermodel"]))
        some = [
            n for n in names if (top / source / n).exists() and not n.startswith("gallery.db") and rng.random() < 0.6
        ]
        for taken in some:
            shutil.copy(top / source / taken, folder / taken)
        return f"{', '.join(some)} of {source}"
    path.write_bytes(data)
    return f"{name} {kind} at {at}"


def disposable(folder: Path) -> dict[str, bytes]:
    """The files that may be built anew."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(("gallery", "model"))}


def child(top: Path, seed: int, numbers: list[int]) -> None:
    """Try these changes; a line for each before and after, so that a crash names its own."""
    faiss.omp_set_num_threads(1)
    truth = ask(top / "truth")
    small = [
        (path.name, length)
        for path in sorted((top / "truth").iterdir())
        if 0 < path.stat().st_size < 2000
        for length in range(path.stat().st_size)
    ]
    work = Path(tempfile.mkdtemp(dir=top)) / "g"
    for number in numbers:
        shutil.copytree(top / "truth", work)
        what = change(np.random.default_rng([seed, number]), number, top, work, small)
        print(json.dumps(["try", number, what]), flush=True)
        before = disposable(work)
        try:
            answers, listed = ask(work)
            touched = disposable(work) != before
            if answers != truth[0]:
                result = "WRONG"
            elif listed != truth[1]:
                found = {finding.state for finding in examine(work)}
                mended = "broken" in found or ask(work) == truth
                result = "only listed otherwise, doctor notices" if mended else f"WRONG LIST {listed}"
            else:
                result = "rebuilt" if touched else "no effect"
        except FacedexError as error:
            result = "noticed" if any(mark in str(error) for mark in (";", "`")) else f"NO REMEDY {error}"
        except Exception as error:
            result = f"FOREIGN {type(error).__name__}: {error}"
        print(json.dumps(["end", number, result, what]), flush=True)
        shutil.rmtree(work)


def main() -> None:
    """Run, print the summary; exit 1 when a change gave another answer, a foreign exception or a crash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        first, last = map(int, options.child[1:])
        child(Path(options.child[0]), options.seed, list(range(first, last)))
        return
    counts: Counter[str] = Counter()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as top:
        prepare(Path(top))
        sizes = {path.name: path.stat().st_size for path in (Path(top) / "truth").iterdir()}
        shift = sum(size for size in sizes.values() if 0 < size < 2000)
        # A short run draws from everywhere; a long one begins with every length of the small files.
        start = 0 if options.runs > 2 * shift else shift
        number, end = start, start + options.runs
        while number < end:
            last = min(end, number + BATCH)
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "tests.stress.tamper",
                    "--seed",
                    str(options.seed),
                    "--child",
                    top,
                    str(number),
                    str(last),
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            for line in lines:
                if line[0] == "end":
                    counts[line[2].split()[0] if line[2][:2].isupper() else line[2]] += 1
                    if line[2] not in FINE:
                        print(f"change {line[1]}, {line[3]}: {line[2]}", flush=True)
            finished = sum(line[0] == "end" for line in lines)
            if finished < last - number:  # the process ended in the middle
                counts["CRASH"] += 1
                print(
                    f"change {lines[-1][1:] if lines else number}: exit {done.returncode} {done.stderr[-300:]}",
                    flush=True,
                )
                if not lines:
                    break
                finished += 1
            number += finished
    print(
        f"{sum(counts.values())} changes of {sizes} in {time.perf_counter() - began:.0f} s, seed {options.seed}: "
        + ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    )
    sys.exit(1 if set(counts) - FINE else 0)


if __name__ == "__main__":
    main()
