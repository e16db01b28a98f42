"""How long the encoder takes a face, beside others, and what one whole `facedex identify` process spends its time on.

    python scripts/encoder_speed.py [--model FILE] [--onnx FILE --size 112]... [--mirrored] [--photo PHOTO] [--sweep]
        [--json]

Milliseconds a face at batch 1 and 64 with one and two threads: the model's graph in OpenCV's dnn and, where that is
installed, in onnxruntime, as facedex runs it (twice a face where the model takes its mirror image too), the same
network in torch, and any other encoder given as ONNX, likewise (once a face, with --mirrored twice). They take turns in
one run, so that whatever else the machine does slows all of them alike: compare the ratios (medians over rounds of each
round's ratio to the first), not the milliseconds of two runs. --sweep tries more batch sizes on the first. With --photo
(of a face), the wall and processor time of whole processes `facedex identify PHOTO` against made-up people, and what
their imports cost; --beside PYTHON times another installation's in turns with them. --seconds 0 leaves encoders out.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex import Gallery, runtime
from facedex.errors import DataError, FacedexError
from facedex.mirror import both_ways
from facedex.modelfile import ModelFile, read_graph, read_model, shipped_model
from facedex.records import FaceRecord
from facedex.store import Store

Run = Callable[[np.ndarray], object]  # crops (n, size, size, 3) uint8, encoded

_FACES_A_TURN = 8  # at batch 1: several calls, or the clock's grain and the first call's cold caches would show


def by_runtime(name: str, graph: bytes, size: int, mirrored: bool = False) -> dict[str, tuple[Run, int]]:
    """An ONNX encoder as encoder.GraphEncoder runs it, in each runtime that is installed. Raises ValueError."""
    made = {name: runtime.in_opencv(graph)}
    with suppress(ImportError):
        fast = runtime.in_onnxruntime(importlib.import_module("onnxruntime"), graph)
        try:
            fast(np.zeros((2, 3, size, size), np.float32))
        except Exception:  # its exceptions have no common base; OpenCV takes more than a graph was exported for

            def singly(pictures: np.ndarray, fast: runtime.Run = fast) -> np.ndarray:
                return np.concatenate([fast(pictures[i : i + 1]) for i in range(len(pictures))])

            made[f"{name} in onnxruntime"] = singly
        else:
            made[f"{name} in onnxruntime"] = fast

    def run(inner: runtime.Run, crops: np.ndarray) -> np.ndarray:
        return inner(np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32))

    once = {name: partial(run, inner) for name, inner in made.items()}
    return {name: (partial(both_ways, each) if mirrored else each, size) for name, each in once.items()}


def in_torch(model: ModelFile) -> Run | None:
    """The same network in torch, as training and `--device` run it; None where torch is not installed."""
    try:
        from facedex.encoder import TorchEncoder

        return TorchEncoder(model, "cpu").encode
    except FacedexError:
        return None


def set_threads(count: int) -> None:
    """For OpenCV, and for torch if it was imported."""
    cv2.setNumThreads(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def take_turns(runs: dict[str, tuple[Run, int]], batch: int, seconds: float, least: int = 3) -> dict[str, list[float]]:
    """Milliseconds a face of each encoder (its function and input size), round by round, for about so many seconds.

    Each round begins with another encoder; a first round warms up and does not count.
    """
    rng = np.random.default_rng(0)
    crops = {size: rng.integers(0, 256, (batch, size, size, 3), np.uint8) for _, size in runs.values()}
    names, times = list(runs), {name: list[float]() for name in runs}
    calls = max(1, _FACES_A_TURN // batch)
    began, turn = time.perf_counter(), 0
    while turn <= least or time.perf_counter() - began < seconds:
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            run, size = runs[name]
            start = time.perf_counter()
            for _ in range(calls):
                run(crops[size])
            if turn:
                times[name].append(1000 * (time.perf_counter() - start) / (calls * batch))
        turn += 1
    return times


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median and least milliseconds a face, and the median over rounds of the ratio to the first encoder."""
    first = np.array(next(iter(times.values())))
    return {
        name: {
            "ms": round(float(np.median(rounds)), 3),
            "best_ms": round(min(rounds), 3),
            "ratio": round(float(np.median(np.array(rounds) / first)), 3),
        }
        for name, rounds in times.items()
    }


def import_times(report: str) -> dict[str, float]:
    """Milliseconds that each top-level package's own modules took, from what `python -X importtime` writes."""
    spent: dict[str, float] = defaultdict(float)
    for own, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)$", report, re.MULTILINE):
        top = name.split(".")[0]
        spent["standard library" if top.lstrip("_") in _STANDARD or top in _STANDARD else top] += int(own) / 1000
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


_STANDARD = {*sys.stdlib_module_names, "site", "sitecustomize"}


def made_up_gallery(folder: Path, model: str | None, people: int) -> None:
    """A gallery of so many people, a random embedding each."""
    with Gallery(folder, model, create=True) as gallery:
        dim = int(gallery.model.meta["dim"])
    vectors = np.random.default_rng(0).standard_normal((people, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Store(folder) as store:
        store.add([
            FaceRecord(f"person {i}", vector, (0.0, 0.0, 60.0, 80.0), 0.9, 20.0, "", hashlib.sha256(b"%d" % i).hexdigest())
            for i, vector in enumerate(vectors)
        ])  # fmt: skip


def identify_processes(
    photo: Path, people: int, processes: int, model: str | None = None, pythons: Sequence[str] = (sys.executable,)
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, float]]:
    """Wall and processor seconds of whole `facedex identify` processes by each of `pythons`, in turns; and the
    milliseconds that one of the first spends on imports, by package.

    Processor seconds are 0 on Windows. Raises FacedexError when the command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        made_up_gallery(Path(folder), model, people)
        command = ["-m", "facedex", "identify", str(photo), "--gallery", folder]
        # Compiled once, as an installation is, whatever this shell says.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        seconds: dict[str, list[tuple[float, float]]] = {python: [] for python in pythons}
        for turn in range(processes + 1):  # the first compiles, and builds the index
            for python in pythons if turn % 2 else pythons[::-1]:
                began, before = time.perf_counter(), os.times()
                done = subprocess.run(
                    [python, *command, *([] if turn else ["--json"])],
                    capture_output=True, text=True, env=environment, check=False,
                )  # fmt: skip
                wall, after = time.perf_counter() - began, os.times()
                spent = after.children_user + after.children_system - before.children_user - before.children_system
                if turn:
                    seconds[python].append((wall, spent))
                if done.returncode not in (0, 1) or (not turn and json.loads(done.stdout)["error"]):
                    raise FacedexError(
                        f"facedex identify {photo} failed ({done.stderr.strip()}); give a photo of a face"
                    )
        traced = subprocess.run(
            [pythons[0], "-X", "importtime", *command], capture_output=True, text=True, env=environment, check=False
        )
    return seconds, import_times(traced.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="else the one that ships")
    parser.add_argument("--onnx", type=Path, action="append", default=[], help="another encoder; may be given again")
    parser.add_argument("--size", type=int, action="append", default=[], help="pixels a side it takes (default 112)")
    parser.add_argument("--mirrored", action="store_true", help="of --onnx: the mean over a face and its mirror image")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each batch size and number of threads")
    parser.add_argument("--sweep", action="store_true", help="batch sizes 1 to 64 of the model's graph")
    parser.add_argument("--photo", type=Path, help="a photo of a face, to time whole processes with")
    parser.add_argument("--people", type=int, default=963, help="made-up people it is compared with")
    parser.add_argument("--processes", type=int, default=9)
    parser.add_argument(
        "--beside", action="append", default=[], metavar="PYTHON", help="of another installation, to time too"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        if options.mirrored and not options.onnx:
            raise DataError("--mirrored goes with --onnx; a model knows by itself whether it sees mirror images")
        model = read_model(options.model or shipped_model())
        size = model.size
        graph = read_graph(model)
        runs = by_runtime("facedex", graph, size, model.mirrored)
        if torch := in_torch(model):
            runs["facedex in torch"] = (torch, size)
        for i, path in enumerate(options.onnx):
            side = options.size[i] if i < len(options.size) else 112
            runs |= by_runtime(path.stem, path.read_bytes(), side, options.mirrored)
        result: dict = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "encoders": []}
        for threads in (1, 2):
            set_threads(threads)
            for batch in (1, 64) if options.seconds else ():
                found = summary(take_turns(runs, batch, options.seconds))
                result["encoders"] += [
                    {"encoder": name, "threads": threads, "batch": batch, **row} for name, row in found.items()
                ]
            if options.sweep:
                result.setdefault("sweep", []).extend(_sweep(runs["facedex"], threads, options.seconds))
        if options.photo:
            pythons = [sys.executable, *options.beside]
            times, imports = identify_processes(
                options.photo, options.people, options.processes, options.model, pythons
            )
            result["people"] = options.people
            result["identify"] = [
                {"python": python, "wall_s": round(float(np.median(wall)), 3), "least_s": round(min(wall), 3),
                 "processor_s": round(float(np.median(spent)), 3)}
                for python in pythons for wall, spent in [zip(*times[python], strict=True)]
            ]  # fmt: skip
            result["import_ms"] = {name: round(ms, 1) for name, ms in imports.items() if ms >= 3}
            result["import_ms_total"] = round(sum(imports.values()), 1)
    except (FacedexError, OSError, ValueError, cv2.error) as error:
        print(f"encoder_speed.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result)) if options.json else _show(result)
    return 0


def _sweep(ours: tuple[Run, int], threads: int, seconds: float) -> list[dict]:
    run, size = ours
    crops = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), np.uint8)

    def cut(batch: int) -> Run:
        return lambda whole: [run(whole[i : i + batch]) for i in range(0, len(whole), batch)]

    runs = {str(batch): (cut(batch), size) for batch in (1, 4, 8, 16, 32, 64)}
    return [{"threads": threads, "batch": int(name), **row}
            for name, row in summary(take_turns(runs, len(crops), seconds)).items()]  # fmt: skip


def _show(result: dict) -> None:
    console = Console()
    print(result["machine"])
    for title, key in (("ms a face", "encoders"), ("the model's graph by batch size, ms a face", "sweep")):
        if rows := result.get(key):
            table = Table(*rows[0], title=title)
            for row in rows:
                table.add_row(*(f"{value}" for value in row.values()))
            console.print(table)
    if found := result.get("identify"):
        table = Table(
            *found[0], title=f"facedex identify, one photo against {result['people']} people, a process (medians)"
        )
        for row in found:
            table.add_row(*(f"{value}" for value in row.values()))
        console.print(table)
        table = Table("imports of", "ms", title=f"of these, imports: {result['import_ms_total']:.0f} ms while traced")
        for name, ms in result["import_ms"].items():
            table.add_row(name, f"{ms:.1f}")
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
