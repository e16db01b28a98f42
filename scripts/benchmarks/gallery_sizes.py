"""Measure a gallery of a thousand to a million faces, beside FAISS's own indexes and linear scans.

    python -m scripts.benchmarks.generate_embeddings fit PEOPLE -o FACES.npz
    python -m scripts.benchmarks.gallery_sizes FACES.npz [--sizes 1000,10000,...] [--probes 500] [--figure FILE]
        [--json FILE]

The faces are made up (see generate_embeddings.py), one photo a person. Probes are another photo of enrolled people,
and strangers. "Agreement" compares the answers with the head's scores of everybody:

- the same five names in the same order, and the same best name, for enrolled people;
- the same best name and the same decision (a name or unknown) for strangers. One in a hundred of these strangers
  passes the threshold, because the model's own is calibrated on real faces.

Look-ups run one at a time in a fresh process with one thread, after the imports. Each rival runs in its own process,
one after another at the same size. Times of a look-up are processor time, which other load disturbs less than wall
time: medians and 99th percentiles. Memory is resident and private (RssAnon), less what the process held after its
imports. Mapped memory (RssFile) is listed apart. Each size is printed, and written to --json, when it is done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.gallery.gallery import Gallery
from facedex.model.head import Head
from facedex.store.rows import FaceRecord
from scripts.benchmarks.generate_embeddings import Faces, Generator
from scripts.runner import list_of, run_script

RIVALS = ("FAISS Flat L1", "FAISS Flat IP", "FAISS HNSW", "numpy linear scan", "exhaustive head, torch")
SCANS = {"FAISS Flat L1": 20, "FAISS Flat IP": 20, "FAISS HNSW": 100}  # measured look-ups; the other rivals do 10


def main() -> None:
    """Run from the command line. Child processes start here too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--sizes", type=list_of(int, 1), default="1000,10000,100000,250000,1000000")
    parser.add_argument("--probes", type=int, default=500, help="of either kind")
    parser.add_argument(
        "--hnsw", type=int, default=100_000, help="largest size at which HNSW is built, which takes long"
    )
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--block", type=int, default=50_000, help="faces enrolled in one transaction")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_child(options.faces, options.child)))
        return
    rows = []
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, "
        f"Python {platform.python_version()}, FAISS {faiss.__version__}"
    )
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(Path(folder), options, size))
        print(json.dumps(rows[-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))
    rows.sort(key=lambda row: row["faces"])
    show(rows)
    if options.figure:
        draw(rows, options.figure)


def measure(folder: Path, options: argparse.Namespace, size: int) -> dict[str, Any]:
    """Measure everything at one size. Return a row of the tables."""
    generator = Generator(Faces.load(options.faces), 0)
    enrolled, spread = generator.people(min(options.probes, size))
    vectors = np.concatenate([generator.photos(enrolled, spread), *generator.gallery(size - len(enrolled))])
    probes = generator.photos(enrolled, spread), generator.photos(*generator.people(options.probes))
    np.savez(folder / "probes.npz", enrolled=probes[0], strangers=probes[1])
    np.save(folder / "vectors.npy", vectors)
    row: dict[str, Any] = {"faces": size}
    note = partial(print, f"{size:,}:", file=sys.stderr, flush=True)
    with Gallery(folder / "gallery", options.model, create=True) as gallery:
        spent, cpu = 0.0, 0.0
        for start in range(0, size, options.block):
            records = list(_records(vectors[start : start + options.block], start))
            cpu -= time.process_time()
            spent += _timed(partial(gallery._store.add, records))
            cpu += time.process_time()
        row["bulk, faces/s"], row["bulk, faces/s of cpu"] = size / spent, size / cpu
        note(f"{row['bulk, faces/s of cpu']:,.0f} faces enrolled a second of processor time")
        cpu = time.process_time()
        row["index, s"], row["index, s of cpu"] = _timed(gallery.reindex), time.process_time() - cpu
        head = gallery.head
        manifest = json.loads((folder / "gallery" / "manifest.json").read_text())
    row["kind"], row["parameters"] = manifest["kind"], manifest["parameters"]
    row["files, MB"] = {p.name: round(p.stat().st_size / 1e6, 1) for p in (folder / "gallery").iterdir()}
    frame: dict[str, Any] = {} if head.frame is None else {"frame": head.frame}
    np.savez(folder / "head.npz", weight=head.weight, beta=head.beta, **frame)
    note("scoring everybody")
    truth = _truth(vectors, probes, head)
    answers = _run(options.faces, folder, "gallery")
    row["facedex"] = answers["times"]
    row["agreement"] = _agreement(truth, answers["answers"])
    note(json.dumps({**row["facedex"], **row["agreement"]}))
    for rival in RIVALS:
        if rival != "FAISS HNSW" or size <= options.hnsw:
            times = _run(options.faces, folder, rival)["times"]
            if times is not None:
                row[rival] = times
            note(f"{rival} {times}")
    return row


def _records(vectors: np.ndarray, first: int) -> Iterator[FaceRecord]:
    for number, vector in enumerate(vectors, first):
        photo = hashlib.sha256(str(number).encode()).hexdigest()
        yield FaceRecord(f"{number:07d}", vector, (8.0, 8.0, 96.0, 96.0), 0.9, 20.0, f"{number:07d}.jpg", photo)


def _truth(vectors: np.ndarray, probes: tuple[np.ndarray, ...], head: Head) -> list[list[Any]]:
    """Return the five best (name, logit) of each probe by the head over everybody, for both kinds of probes."""
    index = faiss.IndexFlat(head.dim, faiss.METRIC_L1)
    for start in range(0, len(vectors), 50_000):
        index.add(head.project(vectors[start : start + 50_000]))
    truth = []
    for kind in probes:
        found = []
        for probe, rows in zip(kind, index.search(head.project(kind), min(8, len(vectors)))[1], strict=True):
            logits = head.logits(probe[None], vectors[rows])
            order = np.lexsort((rows, -logits))[:5]
            found.append([(f"{rows[i]:07d}", float(logits[i])) for i in order])
        truth.append(found)
    return truth


def _agreement(truth: list[list[Any]], answers: list[list[Any]]) -> dict[str, float]:
    threshold = float(np.quantile([found[0][1] for found in truth[1]], 0.99))

    def names(found: list[Any]) -> list[str]:
        return [name for name, _ in found]

    def decision(found: list[Any]) -> str | None:
        return found[0][0] if found[0][1] >= threshold else None

    both = [pair for a, b in zip(truth, answers, strict=True) for pair in zip(a, b, strict=True)]
    first = [[a[0][0] == b[0][0] for a, b in zip(truth[kind], answers[kind], strict=True)] for kind in (0, 1)]
    strangers = [decision(a) == decision(b) for a, b in zip(truth[1], answers[1], strict=True)]
    return {
        "same five": float(np.mean([names(a) == names(b) for a, b in both])),
        "same first, enrolled": float(np.mean(first[0])),
        "same first, strangers": float(np.mean(first[1])),
        "same decision, strangers": float(np.mean(strangers)),
        "probes": len(both),
        "rank-1 of the enrolled": float(np.mean([b[0][0] == f"{i:07d}" for i, b in enumerate(answers[0])])),
    }


# one way of looking up, in a process of its own


def _run(faces: Path, folder: Path, what: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "scripts.benchmarks.gallery_sizes", str(faces), "--child", f"{folder}|{what}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _child(faces: Path, task: str) -> dict[str, Any]:
    import cv2

    folder, what = Path(task.split("|")[0]), task.split("|")[1]
    faiss.omp_set_num_threads(1)
    cv2.setNumThreads(1)
    with np.load(folder / "probes.npz") as stored:
        probes = [stored["enrolled"], stored["strangers"]]
    if what.endswith("torch") and not _import_torch():
        return {"times": None, "answers": []}
    before, began, cpu = _memory(), time.perf_counter(), time.process_time()
    look_up = _gallery(folder / "gallery") if what == "gallery" else _rival(folder, what)
    look_up(probes[0][0])
    opening, opening_cpu = time.perf_counter() - began, time.process_time() - cpu
    clock, times, answers = [], [], []
    for kind in probes:
        found = []
        for probe in kind[: None if what == "gallery" else SCANS.get(what, 10) // 2]:
            start, cpu = time.perf_counter(), time.process_time()
            found.append(look_up(probe))
            times.append(time.process_time() - cpu)
            clock.append(time.perf_counter() - start)
        answers.append(found)
    after = _memory()
    report = {
        "p50, ms": 1000 * float(np.median(times)),
        "p99, ms": 1000 * float(np.quantile(times, 0.99)),
        "p50 by the clock, ms": 1000 * float(np.median(clock)),
        "first answer, s": opening_cpu,
        "first answer by the clock, s": opening,
        "private, MB": after[0] - before[0],
        "mapped, MB": after[1] - before[1],
    }
    if what == "gallery":
        with Gallery(folder / "gallery") as gallery:
            gallery.match(probes[1][0])
            enroll_cpu, enroll_clock = [], []
            for number in range(9):
                record = list(_records(probes[1][number % len(probes[1])][None], 9_000_000 + number))
                cpu, start = time.process_time(), time.perf_counter()
                gallery.add_faces(record)
                enroll_cpu.append(time.process_time() - cpu)
                enroll_clock.append(time.perf_counter() - start)
                gallery.match(probes[1][0])
            report["remove one by the clock, s"] = _timed(partial(gallery.remove, "9000000"))
        report["enroll one, ms"] = 1000 * float(np.median(enroll_cpu))
        report["enroll one by the clock, ms"] = 1000 * float(np.median(enroll_clock))
    return {"times": report, "answers": answers if what == "gallery" else []}


def _gallery(folder: Path) -> Callable[[np.ndarray], Any]:
    gallery = Gallery(folder)

    def look_up(probe: np.ndarray) -> Any:
        return [(candidate.name, candidate.logit) for candidate in gallery.match(probe, top=5)]

    return look_up


def _rival(folder: Path, what: str) -> Callable[[np.ndarray], Any]:
    vectors: Any = np.load(folder / "vectors.npy")
    with np.load(folder / "head.npz") as stored:
        head = Head(**{name: stored[name] for name in stored.files})
    dim = vectors.shape[1]
    if what == "numpy linear scan":  # as face_recognition's face_distance
        return lambda probe: np.linalg.norm(vectors - probe, axis=1).argmin()
    if what == "exhaustive head, torch":
        import torch

        torch.set_num_threads(1)
        z = torch.from_numpy(
            np.concatenate([head.project(vectors[i : i + 50_000]) for i in range(0, len(vectors), 50_000)])
        )
        vectors = None

        def score(probe: np.ndarray) -> float:
            own = torch.from_numpy(head.project(probe[None]))[0]
            parts = (head.beta - (z[i : i + 10_000] - own).abs().sum(1) for i in range(0, len(z), 10_000))
            return max(float(part.max()) for part in parts)

        return score
    index: Any = {
        "FAISS Flat L1": lambda: faiss.IndexFlat(dim, faiss.METRIC_L1),
        "FAISS Flat IP": lambda: faiss.IndexFlatIP(dim),
        "FAISS HNSW": lambda: faiss.IndexHNSWFlat(dim, 32),
    }[what]()
    faiss.omp_set_num_threads(os.cpu_count() or 1)  # only for building
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    vectors = None
    return lambda probe: index.search(probe[None], 50)[1]


def _import_torch() -> bool:
    """Import torch before memory is measured, because the import alone takes some hundred MB."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def _timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _memory() -> tuple[float, float]:
    """Return the private and mapped resident memory of this process in MB, zeros where the system has no figures."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    found = {line.split(":")[0]: int(line.split()[1]) / 1000 for line in lines if line.startswith("Rss")}
    return found.get("RssAnon", 0.0), found.get("RssFile", 0.0)


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table of facedex, and one of the rivals beside it."""
    ours = Table("", *(f"{row['faces']:,}" for row in rows), title="facedex")

    def line(label: str, value: Callable[[dict[str, Any]], str]) -> None:
        ours.add_row(label, *(value(row) for row in rows))

    line("index", lambda row: row["kind"])
    for label in (
        "same five",
        "same first, enrolled",
        "same first, strangers",
        "same decision, strangers",
        "rank-1 of the enrolled",
    ):
        line(label, partial(_cell, "agreement", label, "{:.2%}"))
    line("probes", lambda row: f"{row['agreement']['probes']}")
    for label in (
        "p50, ms",
        "p99, ms",
        "p50 by the clock, ms",
        "first answer, s",
        "first answer by the clock, s",
        "private, MB",
        "mapped, MB",
        "enroll one, ms",
        "enroll one by the clock, ms",
        "remove one by the clock, s",
    ):
        line(label, partial(_cell, "facedex", label, "{:.2f}"))
    line("bulk, faces/s", lambda row: f"{row['bulk, faces/s']:,.0f}")
    line("bulk, faces/s of cpu", lambda row: f"{row['bulk, faces/s of cpu']:,.0f}")
    line("index built, s of cpu", lambda row: f"{row['index, s of cpu']:.1f}")
    console = Console(width=120)
    console.print(ours)
    table = Table("p50 of a look-up, ms of cpu (times ours)", *(f"{row['faces']:,}" for row in rows))
    for rival in RIVALS:
        cells = []
        for row in rows:
            if rival in row:
                spent = row[rival]["p50, ms"]
                cells.append(
                    f"{spent:.2f} ({spent / row['facedex']['p50, ms']:.1f} x), {row[rival]['private, MB']:.0f} MB"
                )
            else:
                cells.append("")
        table.add_row(rival, *cells)
    console.print(table)


def _cell(part: str, label: str, form: str, row: dict[str, Any]) -> str:
    return form.format(row[part][label])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time and memory against size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for way in ("facedex", *RIVALS):
        have = [row for row in rows if way in row]
        for axis, label in zip(axes, ("p50, ms", "private, MB"), strict=True):
            style = {"linewidth": 2.5, "color": "black"} if way == "facedex" else {"linewidth": 1, "alpha": 0.8}
            axis.plot([row["faces"] for row in have], [row[way][label] for row in have], "o-", label=way, **style)
    for axis, label in zip(axes, ("one look-up, ms of processor time (median)", "private memory, MB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="faces enrolled", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    run_script(main)
