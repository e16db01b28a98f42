"""Measure time and memory of the statistics over all pairs of generated embeddings, for a head (L1) and for cosine.

    python -m scripts.benchmarks.all_pairs_cost [--photos 10000] [--people 1000] [--dim 128]

Prints seconds of wall and of processor time for three steps: scoring every pair, the figures of verification with a
thousand replicates, and those of identification. Then prints the most memory that the process held.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.evaluation.allpairs import all_pairs
from facedex.evaluation.bootstrap import people_weights
from facedex.evaluation.error_rates import measure_error_rates
from facedex.evaluation.matchers import Matcher
from facedex.evaluation.open_set import measure_open_set
from scripts.runner import run_script

HEAD_DIM = 512  # numbers of a face in the head of the shipped model


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=128)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    people = np.sort(rng.integers(options.people, size=options.photos))
    people = np.unique(people, return_inverse=True)[1]
    vectors = rng.standard_normal((people.max() + 1, options.dim))[people]
    vectors = vectors + rng.standard_normal((options.photos, options.dim))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    weights = people_weights(int(people.max()) + 1, 0)

    table = Table("score", "impostor pairs", "every pair", "verification", "identification")
    bases = max(1, HEAD_DIM // options.dim)
    turns = [np.linalg.qr(rng.standard_normal((options.dim, options.dim)))[0] for _ in range(bases)]
    weight = np.full(bases * options.dim, 0.7 / bases, np.float32)
    head = Matcher("L1", weight=weight, beta=8.0, frame=np.concatenate(turns))
    for matcher in (head, Matcher("cosine")):
        points = matcher.points(vectors)
        marks = [_now()]
        pairs = all_pairs(matcher, points, people)
        marks.append(_now())
        measure_error_rates(pairs, weights)
        marks.append(_now())
        measure_open_set(matcher, points, people, weights)
        marks.append(_now())
        cells = [f"{b[0] - a[0]:.1f} s ({b[1] - a[1]:.1f})" for a, b in itertools.pairwise(marks)]
        table.add_row(matcher.name, f"{pairs.impostors:,}", *cells)
    Console(width=120).print(table)
    if sys.platform != "win32":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(f"most memory held: {peak:.0f} MB")


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    run_script(main)
