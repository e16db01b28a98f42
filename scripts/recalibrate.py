"""Fit a model's calibration again, on people it was not trained on. No tensor changes.

    python -m scripts.recalibrate MODEL DATA... [--training DATA] [--corrections CSV] [--aligned] [--cache DIR] [--all]
        [--output MODEL]

DATA are the folders or packs that `facedex train` was given as --validation. As there, people who are also in
--training are left out. Half of the others chose the checkpoint; the other half, always the same, are calibrated on.
--all calibrates on everybody. Prints the fit and its thresholds at several sizes. On the half that chose the
checkpoint, also prints Platt scaling beside isotonic regression, and whether the probabilities of names hold. Only
--output writes a file, which may be MODEL: the model with the new calibration.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.data import dataset
from facedex.decision.calibration import Calibration, fit_calibration
from facedex.decision.fitting import LEAST_PEOPLE
from facedex.evaluation.matchers import model_matcher
from facedex.model.encoder import open_encoder
from facedex.model.modelfile import read_model
from facedex.photos.sources import open_people
from scripts.benchmarks.stranger_rates import reliability
from scripts.runner import run_script


def main() -> None:
    """Run from the command line. Raises FacedexError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--training", type=Path, nargs="*", default=[], help="training data, whose people are left out")
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--aligned", action="store_true")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--all", action="store_true", help="calibrate on everybody")
    parser.add_argument("--output", type=Path, help="file to write the model to; without it nothing is written")
    options = parser.parse_args()
    model = read_model(options.model)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows cannot delete mapped files
        cache = options.cache or Path(folder)
        held = dataset.join([_load(path, cache, options) for path in options.data])
        known = {name for path in options.training for name in _names(path, options.corrections)}
        held = dataset.without_people(held, known & set(held.names))
        others, chosen = None, held
        if not options.all:
            others, chosen = dataset.split_people(held, 0.5, least=LEAST_PEOPLE)
        whole = model_matcher(model)

        def matrix(faces: dataset.Faces) -> tuple[np.ndarray, np.ndarray | None]:
            crops, lengths = faces.crops112(), None
            if not model.branches:  # only torch can encode an architecture without graphs, such as koch
                vectors = whole.encode(crops)
            else:
                vectors, lengths = open_encoder(model).encode(crops)
            points = whole.points(vectors)
            return whole.block(points, points), lengths

        fitted, lengths = matrix(chosen)
        found = fit_calibration(fitted, chosen.people, lengths)
        model.meta["calibration"] = found.to_meta()
        model.meta.setdefault("data", {})["calibration_people"] = len(chosen.names)
        print(f"{options.model}: calibrated on {found.faces:,} faces of {found.people:,} people")
        show_thresholds(found)
        if others is not None:
            other, quality = matrix(others)
            other = other.astype(np.float64)
            show_similarity(found, (fitted, chosen.people), (other, others.people))
            quality = np.zeros(len(others)) if quality is None else quality
            reliability(Console(width=150), other, others.people, quality, found, np.random.default_rng(0))
    if options.output:
        model.save(options.output)
        print(f"written to {options.output}")
    else:
        print("nothing is written without --output")


def show_thresholds(found: Calibration) -> None:
    """Print the threshold for FPIR 1 % and its error, by size and photos a person."""
    table = Table("people", "photos each", "threshold for FPIR 1 %", "standard error", "FPIR it may stand for (90 %)")
    for size in (10, 100, 500, 10_000, 100_000):
        for photos in (1, 4):
            enrolled = np.full(size, photos)
            threshold = found.threshold(enrolled, 0.01)
            low, high = found.interval(threshold, enrolled)
            table.add_row(
                f"{size:,}",
                str(photos),
                f"{threshold:.2f}",
                f"{found.threshold_error(enrolled, 0.01):.2f}",
                f"{low:.2%} to {high:.2%}",
            )
    Console(width=100).print(table)


def show_similarity(
    found: Calibration, fitted: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> None:
    """Print expected calibration error, log loss and Brier score of three ways to a probability."""
    scores, same, weight = pairs(*fitted)
    isotonic = isotonic_regression(scores, same, weight)
    scores, same, weight = pairs(*other)
    table = Table("similarity", "expected calibration error", "log loss", "Brier score")
    for name, p in (
        ("sigmoid of the head's logit", 1 / (1 + np.exp(-scores))),
        ("Platt scaling", found.similarity(scores)),
        ("isotonic regression", isotonic(scores)),
    ):
        kept = np.clip(p, 1e-9, 1 - 1e-9)
        loss = -(weight * np.where(same, np.log(kept), np.log(1 - kept))).sum()
        table.add_row(
            name, f"{calibration_error(p, same, weight):.4f}", f"{loss:.4f}", f"{(weight * (p - same) ** 2).sum():.4f}"
        )
    print(f"on {other[1].max() + 1:,} people not calibrated on, with genuine and impostor pairs weighing the same:")
    Console(width=100).print(table)


def pairs(matrix: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores of all pairs, whether each is genuine, and weights.

    Genuine and impostor pairs weigh half each, and every person the same.
    """
    i, j = np.triu_indices(len(people), 1)
    same, counts = people[i] == people[j], np.bincount(people)
    own = np.maximum(counts * (counts - 1) / 2, 1)
    weight = np.where(same, 1 / own[people[i]], 1 / (counts[people[i]] * counts[people[j]]))
    for kind in (same, ~same):
        weight[kind] /= 2 * weight[kind].sum()
    return matrix[i, j].astype(np.float64), same, weight


def calibration_error(p: np.ndarray, same: np.ndarray, weight: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3) over bins of equal width."""
    at = np.minimum((p * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(at, weight * (p - same), bins)).sum())


def isotonic_regression(
    scores: np.ndarray, same: np.ndarray, weight: np.ndarray, groups: int = 4000
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit P(same) to grouped scores by pooling adjacent violators (Zadrozny and Elkan 2002)."""
    pooled: list[list[float]] = []  # mean, weight, first and last score of each block
    for part in np.array_split(np.argsort(scores), groups):
        if not len(part):
            continue
        total = float(weight[part].sum())
        pooled.append([float((weight[part] * same[part]).sum()) / total, total, scores[part[0]], scores[part[-1]]])
        while len(pooled) > 1 and pooled[-2][0] >= pooled[-1][0]:
            last, before = pooled.pop(), pooled.pop()
            total = before[1] + last[1]
            pooled.append([(before[0] * before[1] + last[0] * last[1]) / total, total, before[2], last[3]])
    middles, means = [(block[2] + block[3]) / 2 for block in pooled], [block[0] for block in pooled]
    return lambda values: np.interp(values, middles, means)


def _load(path: Path, cache: Path, options: argparse.Namespace) -> dataset.Faces:
    return dataset.correct(dataset.load_faces(path, cache, options.aligned), options.corrections)


def _names(path: Path, corrections: Path | None) -> set[str]:
    """Return the names of the people in a folder or pack, without decoding a photo."""
    with open_people(path) as photos:
        found = [(photo.name, photo.key) for photo in photos]
    names, people = np.unique([name for name, _ in found], return_inverse=True)
    listed = dataset.Faces(np.empty(0), np.arange(len(found)), people, names.tolist(), [key for _, key in found])
    return set(dataset.correct(listed, corrections).names)


if __name__ == "__main__":
    run_script(main)
