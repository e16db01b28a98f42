"""Time look-ups while other processes keep the cores busy, with numpy's BLAS threads and without.

    python -m scripts.benchmarks.lookup_load [--faces 1000] [--lookups 300] [--busy 2] [--json]

A gallery of made-up people answers the same probes in turns of two ways. One uses facedex's own small products
(vectors.product), the other numpy's `@`, whose BLAS threads wait for cores. --busy processes multiply matrices
meanwhile. Prints the median, the 99th percentile and the longest look-up of each way, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from facedex import Gallery
from facedex.model import vectors
from facedex.store.rows import FaceRecord
from scripts.runner import run_script

Product = Callable[[np.ndarray, np.ndarray], np.ndarray]
_ROUND = 10  # look-ups in one turn


def busy(stop: multiprocessing.synchronize.Event) -> None:
    """Multiply matrices until `stop` is set."""
    a = np.random.default_rng(0).standard_normal((400, 400))
    while not stop.is_set():
        a @ a


def measured(gallery: Gallery, probes: np.ndarray, lookups: int) -> dict[str, list[float]]:
    """Return the milliseconds of each look-up by the kind of product."""
    own_product = vectors.product
    ways: dict[str, Product] = {"facedex": own_product, "with BLAS threads": np.matmul}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-(-lookups // _ROUND)):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            vectors.product = ways[name]  # type: ignore[assignment]
            for at in range(_ROUND):
                began = time.perf_counter()
                gallery.match(probes[(turn * _ROUND + at) % len(probes)])
                times[name].append(1000 * (time.perf_counter() - began))
    vectors.product = own_product
    return times


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--lookups", type=int, default=300)
    parser.add_argument("--busy", type=int, default=2, help="busy processes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder, Gallery(Path(folder), "fast", create=True) as gallery:
        dim = int(gallery.model.meta["dim"])
        made, _ = vectors.unit(np.random.default_rng(0).standard_normal((options.faces + 100, dim)).astype(np.float32))
        gallery.add_faces(
            FaceRecord(f"person {i}", vector, (0.0, 0.0, 60.0, 80.0), 0.9, 20.0, "", f"{i:064x}")
            for i, vector in enumerate(made[100:])
        )
        gallery.match(made[0])
        for beside in sorted({0, options.busy}):
            stop = multiprocessing.Event()
            others = [multiprocessing.Process(target=busy, args=(stop,)) for _ in range(beside)]
            for other in others:
                other.start()
            try:
                for name, times in measured(gallery, made[:100], options.lookups).items():
                    rows[f"{name}, {beside} processes beside"] = [
                        round(float(value), 2) for value in (*np.quantile(times, [0.5, 0.99]), max(times))
                    ]
            finally:
                stop.set()
                for other in others:
                    other.join()
    if options.json:
        print(json.dumps(rows))
        return
    table = Table("look-ups", "median ms", "99th percentile", "longest", title=f"among {options.faces:,} faces")
    for name, values in rows.items():
        table.add_row(name, *map(str, values))
    Console().print(table)


if __name__ == "__main__":
    run_script(main)
