"""Compare facedex's kinds of index with FAISS's own in one run: time, bytes a face, build time, coverage.

    python -m scripts.benchmarks.generate_embeddings fit PEOPLE -o FACES.npz
    python -m scripts.benchmarks.index_kinds FACES.npz [--sizes 20000,200000] [--probes 200]

The faces are generated, one photo a person. Probes are another photo of enrolled people, and as many strangers.
Coverage is the share of the head's own five nearest among the 56 rows that an index returns and the head re-scores.
Times are processor time of one thread. FAISS's L2 kinds hold the embedding, "flat" holds z. The build time of
"quantised" includes its tuning. The others with a k_factor take the smallest that reaches the coverage of "quantised".
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np

from facedex.index.flat import Flat
from facedex.index.manifest import COVERAGE
from facedex.index.quantised import Quantised
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from scripts.benchmarks.generate_embeddings import Faces, Generator
from scripts.runner import list_of, run_script

SHORTLIST = 56
BLOCK = 20_000
MOST_FLAT = 75_000  # faces up to which kind flat is measured
REFINED = ("PQ64x4fs,Refine(SQ8)", "PCAR96,PQ48x4fs,Refine(SQ8)")
FACTORS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@dataclass
class Measured:
    """One kind of index: its search for probe number i, and what it cost."""

    search: Callable[[int], np.ndarray]
    face_bytes: float
    build_seconds: float


class Trial:
    """The kinds of index at one size."""

    def __init__(self, faces: Faces, head: Head, size: int, probes: int) -> None:
        generator = Generator(faces, 0)
        enrolled, spread = generator.people(probes)
        self.vectors = np.concatenate([generator.photos(enrolled, spread), *generator.gallery(size - probes)])
        strangers = generator.photos(*generator.people(probes))
        self.probes = np.concatenate([generator.photos(enrolled, spread), strangers])
        self.head, self.z_probes = head, head.project(self.probes)
        self.nearest = self._exhaustive()

    def run(self) -> dict[str, Measured]:
        """Build every kind. FAISS's approximate ones are tuned to the coverage of quantised."""
        kinds = {"flat": self.flat()} if len(self.vectors) <= MOST_FLAT else {}
        kinds["quantised"] = self.quantised()
        kinds["FAISS Flat, L2"] = self.faiss("Flat")[0]
        kinds["FAISS SQ8, L2"] = self.faiss("SQ8")[0]
        goal = self.coverage(kinds["quantised"])
        for factory in REFINED:
            measured, index = self.faiss(factory)
            for factor in FACTORS:
                index.k_factor = factor
                if self.coverage(measured) >= goal:
                    break
            kinds[f"FAISS {factory}, k_factor {index.k_factor:g}"] = measured
        return kinds

    def flat(self) -> Measured:
        """facedex/index/flat.py."""
        began = time.process_time()
        index = Flat(self.head.project(self.vectors))
        return self._ours(index, time.process_time() - began)

    def quantised(self) -> Measured:
        """facedex/index/quantised.py."""
        began = time.process_time()
        index = Quantised.build(self.head, self.vectors, COVERAGE, None)
        spent = time.process_time() - began
        print(index.parameters)
        return self._ours(index, spent)

    def _ours(self, index: Flat | Quantised, spent: float) -> Measured:
        size = sum(array.nbytes for array in index.arrays().values()) / len(self.vectors)
        return Measured(lambda i: index.search(self.z_probes[i], SHORTLIST).rows[:SHORTLIST], size, spent)

    def faiss(self, factory: str) -> tuple[Measured, Any]:
        """An index of embeddings under L2 by FAISS's factory."""
        began = time.process_time()
        index = faiss.index_factory(self.probes.shape[1], factory)
        sample = np.linspace(0, len(self.vectors) - 1, min(len(self.vectors), 60_000)).astype(np.int64)
        index.train(self.vectors[sample])
        index.add(self.vectors)
        spent = time.process_time() - began
        size = len(faiss.serialize_index(index)) / len(self.vectors)
        return Measured(lambda i: index.search(self.probes[i : i + 1], SHORTLIST)[1][0], size, spent), index

    def coverage(self, kind: Measured) -> float:
        """The share of the head's five nearest that a kind returns."""
        return float(np.mean([np.isin(nearest, kind.search(i)).mean() for i, nearest in enumerate(self.nearest)]))

    def milliseconds(self, kinds: dict[str, Measured]) -> dict[str, float]:
        """Medians; the kinds take turns, a quarter of the probes each time."""
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for part in np.array_split(np.arange(len(self.probes)), 4):
            for name, kind in kinds.items():
                kind.search(0)
                for i in part.tolist():
                    began = time.thread_time()
                    kind.search(i)
                    times[name].append(1000 * (time.thread_time() - began))
        return {name: float(np.median(spent)) for name, spent in times.items()}

    def _exhaustive(self) -> np.ndarray:
        """Rows (probes, 5) of the five nearest by the head."""
        distances, rows = [], []
        for start in range(0, len(self.vectors), BLOCK):
            index = faiss.IndexFlat(self.head.dim, faiss.METRIC_L1)
            index.add(self.head.project(self.vectors[start : start + BLOCK]))
            near, found = index.search(self.z_probes, 5)
            distances.append(near)
            rows.append(found + start)
        order = np.argsort(np.hstack(distances), axis=1)[:, :5]
        return np.take_along_axis(np.hstack(rows), order, 1)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--sizes", type=list_of(int, 1), default="20000,200000")
    parser.add_argument("--probes", type=int, default=200, help="of either kind")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    cv2.setNumThreads(1)
    head = Head.from_file(read_model(shipped_model()))
    for size in options.sizes:
        trial = Trial(Faces.load(options.faces), head, size, options.probes)
        kinds = trial.run()
        times = trial.milliseconds(kinds)
        print(f"{size:,} faces")
        for name, kind in kinds.items():
            print(
                f"  {name:45} {times[name]:7.3f} ms  {kind.face_bytes:5.0f} bytes  "
                f"built in {kind.build_seconds:5.1f} s  coverage {trial.coverage(kind):.4f}",
                flush=True,
            )


if __name__ == "__main__":
    run_script(main)
