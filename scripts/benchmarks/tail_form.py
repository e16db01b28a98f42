"""In what form should strangers' scores be carried on beyond the sample: as they are, or as a logarithm of a distance?

    python -m scripts.benchmarks.tail_form DATA... [--model FILE] [--teachers FILE.npz] [--aligned] [--corrections CSV]
    [--cache DIR]

DATA: folders or packs of people, best several thousand, whom the model was not trained on. Again and again, 194 of them
(as many as calibrate the model that ships) calibrate, and the others are each other's strangers: shown is the realised
FPIR over the target, at the threshold for N people enrolled from one photo each. It is the mean over all galleries of N
people, not over some drawn: of M people, k of whom a probe would be taken for, N contain none with chance C(M - k, N) /
C(M, N).

The distance between two faces is what a score lacks of a face's with itself. Its tail is fitted (facedex.decision.tail)
as the score itself, as the root of the distance and as its logarithm. With --teachers (`key`, and an (n, d) array for
each encoder), these are looked at instead of a model, by L1 distance; being no part of facedex, they have not been
tuned to any form of it. Label faults would be false alarms: photos nearer to the mean of somebody else than to that of
their own person, and people whose means are nearly the same, are left out, unless --faults.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.data import dataset
from facedex.decision.calibration import Calibration, fit_calibration
from facedex.decision.fitting import EnrolledSets, sample
from facedex.decision.posterior import Normal, Scores
from facedex.model.encoder import open_encoder
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from facedex.model.vectors import unit
from facedex.training.distillation import Teachers, evenly
from scripts.runner import run_script

SIZES = (10, 100, 500, 1000, 2000, 3000)
CALIBRATING = 194
FORMS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[float], float]]] = {
    "the score": (lambda d: -d, lambda y: -y),
    "root of the distance": (lambda d: -np.sqrt(d), lambda y: min(y, 0.0) ** 2),
    "logarithm of the distance": (lambda d: -np.log(np.maximum(d, 1e-6)), lambda y: math.exp(-y)),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--teachers", type=Path)
    parser.add_argument("--aligned", action="store_true")
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--faults", action="store_true", help="leave nobody out")
    parser.add_argument("--people", type=int, default=4500, help="at most, drawn at random")
    parser.add_argument("--draws", type=int, default=6, help="of people to calibrate on")
    parser.add_argument("--fpir", type=float, default=0.01)
    parser.add_argument("--intervals", action="store_true", help="how often the stated 90 %% hold the realised rate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = [dataset.load_faces(path, options.cache or Path(folder), options.aligned) for path in options.data]
        if options.corrections:
            parts = [dataset.correct(part, options.corrections) for part in parts]
        faces = dataset.join(parts)
        several = np.flatnonzero(np.bincount(faces.people) >= 2)
        chosen = np.random.default_rng(0).permutation(several)[: options.people]
        faces = faces.select(np.flatnonzero(np.isin(faces.people, chosen)))
        if options.teachers:
            found = taught(options.teachers, faces.keys)
        else:
            model = read_model(options.model or shipped_model())
            found = {
                str(options.model or "the model that ships"): Head.from_file(model).project(
                    open_encoder(model).encode(faces.crops112())[0]
                )
            }
    kept = np.arange(len(faces)) if options.faults else faultless(next(iter(found.values())), faces.people)
    people = np.unique(faces.people[kept], return_inverse=True)[1]
    print(
        f"{len(kept):,} photos of {people.max() + 1:,} people; {len(faces) - len(kept)} left out as likely label faults"
    )
    for name, points in found.items():
        show(name, np.ascontiguousarray(points[kept], np.float32), people, options)


def taught(path: Path, keys: list[str]) -> dict[str, np.ndarray]:
    """Each teacher's embeddings, and before them all of theirs together as the training takes them."""
    found = {"teachers together": Teachers(path).targets(keys, 128)}
    with np.load(path) as stored:
        at = {str(key): row for row, key in enumerate(stored["key"])}
        rows = [at[key] for key in keys]
        for name in stored.files:
            if stored[name].ndim == 2:
                vectors = unit(stored[name][rows].astype(np.float32))[0]
                found[name] = unit(vectors - vectors.mean(0))[0] @ evenly(vectors.shape[1])
    return found


def faultless(points: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Positions of the faces whose label nothing speaks against, by the cosine to the means of people's faces."""
    vectors = unit(points - points.mean(0))[0]
    counts = np.bincount(people)
    sums = np.zeros((len(counts), vectors.shape[1]), np.float32)
    np.add.at(sums, people, vectors)
    means = unit(sums)[0]
    own = np.einsum("ij,ij->i", vectors, unit(sums[people] - vectors)[0])
    known = counts >= 3
    good = np.ones(len(people), bool)
    for rows in np.array_split(np.arange(len(people)), 64):
        others = np.where(known, vectors[rows] @ means.T, -1)
        others[np.arange(len(rows)), people[rows]] = -1
        good[rows] = (others.max(1) < 0.5) | (others.max(1) < own[rows])
    alike = np.triu(means @ means.T, 1) > 0.6
    good[np.isin(people, np.flatnonzero((alike & known[:, None] & known).any(0)))] = False
    return np.flatnonzero(good)


def show(name: str, points: np.ndarray, people: np.ndarray, options: argparse.Namespace) -> None:
    """Realised FPIR over the target, a row a form: mean over the draws, lowest and highest."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(people))
    order = order[np.argsort(people[order], kind="stable")]
    counts = np.bincount(people)
    first = np.cumsum(counts) - counts
    gallery = order[first]
    probes = np.concatenate([order[first[counts > more] + more] for more in (1, 2)])
    owner = people[probes]
    apart = faiss.pairwise_distances(points[probes], points[gallery], metric=faiss.METRIC_L1)
    apart[np.arange(len(probes)), owner] = np.inf
    sizes = [size for size in SIZES if size < 0.95 * (len(counts) - CALIBRATING)]
    found: dict[str, list[list[float]]] = {form: [] for form in FORMS}
    held = np.zeros(len(sizes), int)
    for _ in range(options.draws):
        fitting = rng.permutation(np.flatnonzero((counts >= 2) & (counts <= 40)))[:CALIBRATING]
        rows = np.flatnonzero(np.isin(people, fitting))
        who = np.unique(people[rows], return_inverse=True)[1]
        few = sample(who)
        rows, who = rows[few], who[few]
        left = np.ones(len(counts), bool)
        left[fitting] = False
        tested = apart[np.ix_(left[owner], left)]
        matrix = faiss.pairwise_distances(points[rows], points[rows], metric=faiss.METRIC_L1).astype(np.float64)
        for form, (forward, back) in FORMS.items():
            enrolled = EnrolledSets.of(forward(matrix), who, 1, np.zeros(len(who)))
            assert enrolled is not None
            tail = enrolled.tail(np.ones(CALIBRATING))
            fitted = Calibration(1.0, 0.0, (Scores(1, (Normal(1.0, 0.0, 1.0),), tail),), (), CALIBRATING, len(rows))
            near = [(tested < back(fitted.threshold(size, options.fpir))).sum(1) for size in sizes]
            found[form].append([alarms(k, int(left.sum()) - 1, size) for k, size in zip(near, sizes, strict=True)])
        if options.intervals:  # of facedex's own fit
            fitted = fit_calibration(-matrix, who)
            for at, size in enumerate(sizes):
                threshold = fitted.threshold(size, options.fpir)
                low, high = fitted.interval(threshold, size)
                rate = alarms((tested < -threshold).sum(1), int(left.sum()) - 1, size)
                held[at] += low <= rate <= high
    table = Table("tail fitted to", *(f"N = {size:,}" for size in sizes), title=name, title_justify="left")
    for form, values in found.items():
        ratios = np.array(values) / options.fpir
        table.add_row(
            form,
            *(
                f"{m:.2f} ({a:.2f}-{b:.2f})"
                for m, a, b in zip(ratios.mean(0), ratios.min(0), ratios.max(0), strict=True)
            ),
        )
    if options.intervals:
        table.add_row("stated interval (90 %) holds", *(f"{count} of {options.draws}" for count in held))
    Console(width=150).print(table)


def alarms(taken: np.ndarray, people: int, size: int) -> float:
    """FPIR of `size` enrolled of `people`, where each probe would be taken for so many of these, (n,)."""
    times = np.bincount(taken)
    none = [
        math.exp(
            math.lgamma(people - k + 1)
            - math.lgamma(people - k - size + 1)
            - math.lgamma(people + 1)
            + math.lgamma(people - size + 1)
        )
        if people - k >= size
        else 0.0
        for k in range(len(times))
    ]
    return float(times @ (1 - np.array(none)) / len(taken))


if __name__ == "__main__":
    run_script(main)
