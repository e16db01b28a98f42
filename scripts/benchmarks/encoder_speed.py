"""Time encoders by model and engine, and what a whole `facedex identify` process spends its time on.

    python -m scripts.benchmarks.encoder_speed [--model NAME]... [--onnx FILE --size 112]... [--photo PHOTO]
        [--beside PYTHON]... [--seconds 6] [--json]

Prints milliseconds a face on one thread, from crop to embedding, of each --model (without one: default and fast) and
each --onnx. OpenCV's dnn runs each, and OpenVINO and torch where they are installed. All take turns in one run, so that
other load on the machine slows all alike. Compare the ratios, not the milliseconds of two runs. A ratio is the median
over rounds of each round's ratio to the first encoder. --seconds 0 skips the encoders.

--photo names a photo of a face. It adds the wall and processor time of whole processes `facedex identify PHOTO` against
made-up people for each --model, and the cost of the first one's imports. --beside times another installation in turns
with them.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.errors import FacedexError
from facedex.model import runtime
from facedex.model.encoder import Networks
from facedex.model.foreign import foreign_model
from facedex.model.modelfile import ModelFile, read_model, shipped_models

Run = Callable[[np.ndarray], object]  # crops (n, 112, 112, 3) uint8, encoded

_FACES_A_TURN = 8  # several calls hide the clock's resolution and the first call's cold caches


def by_engine(name: str, model: ModelFile) -> dict[str, Run]:
    """Return a model's networks, run by each installed engine. Raises ModelError."""
    made: dict[str, Run] = {f"{name} in OpenCV {cv2.__version__}": Networks(model, runtime.in_opencv)}
    with suppress(ImportError):
        made[f"{name} in OpenVINO"] = Networks(model, runtime.in_openvino)
    with suppress(ImportError):
        from facedex.model.torchgraph import TorchNetworks, pick_device

        made[f"{name} in torch"] = TorchNetworks(model, pick_device("cpu"))
    return made


def one_thread() -> None:
    """Limit OpenCV to one thread, and torch if it was imported."""
    cv2.setNumThreads(1)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def take_turns(runs: dict[str, Run], seconds: float, least: int = 3) -> dict[str, list[float]]:
    """Return the milliseconds a face of each encoder in each round, measured for about `seconds`.

    Each round begins with another encoder. The first round warms up and does not count.
    """
    crops = np.random.default_rng(0).integers(0, 256, (_FACES_A_TURN, 112, 112, 3), np.uint8)
    names, times = list(runs), {name: list[float]() for name in runs}
    began, turn = time.perf_counter(), 0
    while turn <= least or time.perf_counter() - began < seconds:
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            for at in range(len(crops)):
                runs[name](crops[at : at + 1])
            if turn:
                times[name].append(1000 * (time.perf_counter() - start) / len(crops))
        turn += 1
    return times


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return median and least milliseconds a face, and the median over rounds of the ratio to the first encoder."""
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
    """Add up the milliseconds of each top-level package's own modules, from the report of `python -X importtime`."""
    spent: dict[str, float] = defaultdict(float)
    for own, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)$", report, re.MULTILINE):
        top = name.split(".")[0]
        spent["standard library" if top.lstrip("_") in _STANDARD or top in _STANDARD else top] += int(own) / 1000
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


_STANDARD = {*sys.stdlib_module_names, "site", "sitecustomize"}


_MADE_UP = """
import hashlib, sys
from pathlib import Path
import numpy as np
from facedex.gallery.gallery import Gallery
from facedex.store.rows import FaceRecord
from facedex.store.store import Store

folder, model, people = sys.argv[1], sys.argv[2] or None, int(sys.argv[3])
with Gallery(folder, model, create=True) as gallery:
    dim = int(gallery.model.meta["dim"])
vectors = np.random.default_rng(0).standard_normal((people, dim)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
with Store(Path(folder)) as store:
    store.add([
        FaceRecord(f"person {i}", vector, (0.0, 0.0, 60.0, 80.0), 0.9, 20.0, "", hashlib.sha256(b"%d" % i).hexdigest())
        for i, vector in enumerate(vectors)
    ])
"""


def made_up_gallery(python: str, folder: Path, model: str, people: int) -> None:
    """Make a gallery of people with random embeddings by the code of an installation. Raises FacedexError."""
    done = subprocess.run(
        [python, "-c", _MADE_UP, str(folder), model, str(people)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FacedexError(f"{python} made no gallery ({done.stderr.strip().splitlines()[-1]}); install facedex there")


def identify_processes(
    photo: Path, people: int, processes: int, ways: Sequence[tuple[str, str]]
) -> tuple[dict[tuple[str, str], list[tuple[float, float]]], dict[str, float]]:
    """Time whole `facedex identify` processes in turns.

    Returns wall and processor seconds for each (Python, model) of `ways`, and the import milliseconds of the first one
    by package. Processor seconds are 0 on Windows. Raises FacedexError when the command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        # An installation's modules are compiled, so that bytecode is written whatever this shell sets.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        commands = {}
        for number, (python, model) in enumerate(ways):
            made_up_gallery(python, Path(folder) / str(number), model, people)
            commands[python, model] = ["-m", "facedex", "identify", str(photo), "--gallery", f"{folder}/{number}"]
        seconds: dict[tuple[str, str], list[tuple[float, float]]] = {way: [] for way in ways}
        for turn in range(processes + 1):  # the first turn compiles and builds the index
            for way in ways if turn % 2 else ways[::-1]:
                began, before = time.perf_counter(), os.times()
                done = subprocess.run(
                    [way[0], *commands[way], *([] if turn else ["--json"])],
                    capture_output=True,
                    text=True,
                    env=environment,
                    check=False,
                )
                wall, after = time.perf_counter() - began, os.times()
                spent = after.children_user + after.children_system - before.children_user - before.children_system
                if turn:
                    seconds[way].append((wall, spent))
                if done.returncode not in (0, 1) or (not turn and json.loads(done.stdout)["error"]):
                    raise FacedexError(
                        f"facedex identify {photo} failed ({done.stderr.strip()}); give a photo of a face"
                    )
        traced = subprocess.run(
            [ways[0][0], "-X", "importtime", *commands[ways[0]]],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    return seconds, import_times(traced.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="a file, or the name of one that ships")
    parser.add_argument("--onnx", type=Path, action="append", default=[], help="another encoder; may be given again")
    parser.add_argument("--size", type=int, action="append", default=[], help="pixels a side it takes (default 112)")
    parser.add_argument("--seconds", type=float, default=6.0, help="for all encoders together")
    parser.add_argument("--photo", type=Path, help="a photo of a face, to time whole processes with")
    parser.add_argument("--people", type=int, default=963, help="made-up people it is compared with")
    parser.add_argument("--processes", type=int, default=9)
    parser.add_argument(
        "--beside", action="append", default=[], metavar="PYTHON", help="of another installation, to time too"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    models = options.model or shipped_models()
    try:
        runs: dict[str, Run] = {}
        if options.seconds:
            for name in models:
                runs |= by_engine(Path(name).stem, read_model(name))
            for i, path in enumerate(options.onnx):
                runs |= by_engine(path.stem, foreign_model(path, options.size[i] if i < len(options.size) else 112))
        result: dict = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "encoders": []}
        if runs:
            one_thread()
            found = summary(take_turns(runs, options.seconds))
            result["encoders"] = [{"encoder": name, **row} for name, row in found.items()]
        if options.photo:
            ways = [*((sys.executable, name) for name in models), *((python, "") for python in options.beside)]
            times, imports = identify_processes(options.photo, options.people, options.processes, ways)
            result["people"] = options.people
            result["identify"] = [
                {
                    "python": python,
                    "model": model,
                    "wall_s": round(float(np.median(wall)), 3),
                    "least_s": round(min(wall), 3),
                    "processor_s": round(float(np.median(spent)), 3),
                }
                for python, model in ways
                for wall, spent in [zip(*times[python, model], strict=True)]
            ]
            result["import_ms"] = {name: round(ms, 1) for name, ms in imports.items() if ms >= 3}
            result["import_ms_total"] = round(sum(imports.values()), 1)
    except (FacedexError, OSError, ValueError, cv2.error) as error:
        print(f"encoder_speed.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result)) if options.json else _show(result)
    return 0


def _show(result: dict) -> None:
    console = Console()
    print(result["machine"])
    if rows := result["encoders"]:
        table = Table(*rows[0], title="ms a face, one thread")
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
