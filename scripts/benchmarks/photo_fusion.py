"""How to make one score of several photos of a person, and what naming nobody twice in a photo does.

    python -m scripts.benchmarks.photo_fusion DATA... [--model FILE] [--aligned] [--corrections CSV] [--cache DIR]

DATA: folders or packs of people with several photos each, never trained on. Every third of them teaches the learned
way. Half of the others are enrolled from k photos, again and again; the rest are strangers. For each way of fusing:
FNIR at the threshold that 1 % of the strangers pass (chosen on these very strangers, so that only the fusion counts),
and rank-1 accuracy, with standard errors over the draws; `fuse` is what facedex does. Then the model's own threshold
for FPIR 1 % with k photos each, and the FPIR it has.

Group photos are simulated: twelve people are enrolled, eight of them and two strangers are in the photo, one face each,
so that nobody is there twice. Shown is how often a face gets the right name, a wrong one, and how many photos show a
name twice, with and without --allow-repeat.
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
from facedex.decision.assignment import assign
from facedex.decision.calibration import Calibration
from facedex.decision.fusion import fuse
from facedex.model.encoder import open_encoder
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from scripts.runner import run_script


def tempered(temperature: float) -> Callable[[np.ndarray], np.ndarray]:
    """log mean exp with another temperature: 0 is the maximum, infinity the mean."""
    return lambda logits: temperature * fuse(logits / temperature)


def top_mean(count: int) -> Callable[[np.ndarray], np.ndarray]:
    """The mean of the best few."""
    return lambda logits: np.sort(logits, -1)[..., -count:].mean(-1)


WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "max": lambda logits: logits.max(-1),
    "mean of the best 2": top_mean(2),
    "mean of the best 3": top_mean(3),
    "mean": lambda logits: logits.mean(-1),
    "log mean exp, T = 0.5": tempered(0.5),
    "log mean exp (`fuse`)": fuse,
    "log mean exp, T = 2": tempered(2.0),
}
LEARNED = "learned weights, best to worst"


def learned(scores: np.ndarray, right: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A weight for the best of a person's logits, for the second, and so on: logistic regression, both kinds of pairs
    counting half, on scores (probes, people, k) and which person each probe shows (probes,), -1 for nobody.
    """
    x = np.sort(scores, -1)[..., ::-1].reshape(-1, scores.shape[-1])
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    y = (right[:, None] == np.arange(scores.shape[1])).ravel()
    weight, solution = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum()), np.zeros(x.shape[1])
    for _ in range(30):  # Newton's steps; a little ridge, as the logits of one person hang together
        p = 1 / (1 + np.exp(-np.clip(x @ solution, -30, 30)))
        curve = (x * (weight * p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(len(solution))
        solution = solution + np.linalg.solve(curve, x.T @ (weight * (y - p)) - 1e-6 * solution)
    return lambda logits: np.sort(logits, -1)[..., ::-1] @ solution[:-1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--aligned", action="store_true")
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    model = read_model(options.model or shipped_model())
    head, calibration = Head.from_file(model), Calibration.from_meta(model.meta)
    with tempfile.TemporaryDirectory() as folder:
        parts = [dataset.load_faces(path, options.cache or Path(folder), options.aligned) for path in options.data]
        if options.corrections:
            parts = [dataset.correct(part, options.corrections) for part in parts]
        faces = dataset.join(parts)
        vectors = open_encoder(model).encode(faces.crops112())[0]
    matrix = head.pairwise(vectors, vectors).astype(np.float64)
    everybody = [np.flatnonzero(faces.people == person) for person in range(len(faces.names))]
    print(f"{len(faces):,} photos of {len(everybody):,} people, of whom every third taught the learned way")
    teaching, photos_of = everybody[::3], [mine for at, mine in enumerate(everybody) if at % 3]
    console = Console(width=120)
    rng = np.random.default_rng(0)
    table = Table("fused by", *(f"{k} photos: {what}" for k in (2, 3, 5) for what in ("FNIR", "rank-1")))
    cells: dict[str, list[str]] = {name: [] for name in (*WAYS, LEARNED)}
    own = Table("photos each", "people enrolled", "threshold", "target FPIR", "realised FPIR", "FNIR")
    for k in (1, 2, 3, 5):
        scores, _, right, _, _ = trial(matrix, teaching, k, rng)
        ways = {**WAYS, LEARNED: learned(scores, right)} if k > 1 else {}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        stated = []
        for _ in range(10):
            scores, inside, right, weight, size = trial(matrix, photos_of, k, rng)
            for name, way in ways.items():
                found[name].append(rates(way(scores), inside, right, weight))
            threshold = calibration.threshold(np.full(size, k), 0.01)
            fused = fuse(scores)
            named = fused.max(1) > threshold
            wrong = ~(named & (fused.argmax(1) == right))
            stated.append((weight[~inside] @ named[~inside], weight[inside] @ wrong[inside]))
        for name, values in found.items():
            if values:
                mean, error = np.mean(values, 0), np.std(values, 0) / np.sqrt(len(values))
                cells[name] += [f"{mean[i]:.1%} ± {error[i]:.1%}" for i in (0, 1)]
        alarms, missed = np.mean(stated, 0)
        own.add_row(str(k), str(size), f"{threshold:.2f}", "1.00%", f"{alarms:.2%}", f"{missed:.1%}")
    for name, row in cells.items():
        table.add_row(name, *row)
    console.print(table)
    console.print(own)
    groups(console, matrix, everybody, calibration, rng)


def trial(
    matrix: np.ndarray, photos_of: list[np.ndarray], k: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Half of the people enrolled from k photos: scores (probes, people, k), who is enrolled, weights, count."""
    several = [mine for mine in photos_of if len(mine) > k]
    order = rng.permutation(len(several))
    size = len(order) // 2
    known = [rng.permutation(several[i]) for i in order[:size]]
    others = [several[i] for i in order[size:]]
    probes = [mine[k:] for mine in known]
    right = np.concatenate([np.full(len(mine), at) for at, mine in enumerate(probes)] + [[-1] * sum(map(len, others))])
    weight = np.concatenate(
        [np.full(len(mine), 1 / len(mine) / len(part)) for part in (probes, others) for mine in part]
    )
    gallery = np.stack([mine[:k] for mine in known])
    return matrix[np.concatenate([*probes, *others])][:, gallery], right >= 0, right.astype(int), weight, size


def rates(
    scores: np.ndarray, inside: np.ndarray, right: np.ndarray, weight: np.ndarray, fpir: float = 0.01
) -> tuple[float, float]:
    """(FNIR, rank-1) at the threshold that a share of the strangers passes."""
    best, top = scores.argmax(1), scores.max(1)
    order = np.argsort(-top[~inside])
    threshold = top[~inside][order][np.searchsorted(np.cumsum(weight[~inside][order]), fpir)]
    found = best[inside] == right[inside]
    named = found & (top[inside] > threshold)
    return float(1 - weight[inside] @ named), float(weight[inside] @ found)


def groups(
    console: Console,
    matrix: np.ndarray,
    photos_of: list[np.ndarray],
    calibration: Calibration,
    rng: np.random.Generator,
    photos: int = 3000,
) -> None:
    """Group photos with and without the rule that nobody is there twice."""
    table = Table("threshold for FPIR", "the rule", "faces named right", "named wrongly", "photos with a name twice")
    several = [mine for mine in photos_of if len(mine) > 1]
    made = []
    for _ in range(photos):
        order = rng.permutation(len(several))
        known = [rng.permutation(several[i]) for i in order[:12]]
        who = [*range(8), -1, -1]
        probes = [*(mine[1] for mine in known[:8]), *(rng.choice(several[i]) for i in order[-2:])]
        made.append((matrix[np.ix_(probes, [mine[0] for mine in known])], who))
    size = made[0][0].shape[1]
    for fpir in (0.01, 0.1, 0.3):
        threshold = calibration.threshold(size, fpir)
        for rule in (True, False):
            right = wrong = twice = 0
            for scores, who in made:
                gains = [{str(i): row[i] - threshold for i in np.flatnonzero(row >= threshold)} for row in scores]
                first = [max(options, key=options.__getitem__, default=None) for options in gains]
                names = assign(gains) if rule else first
                given = [name for name in names if name is not None]
                twice += len(set(given)) < len(given)
                right += sum(name == str(one) for name, one in zip(names, who, strict=True))
                wrong += sum(name not in (None, str(one)) for name, one in zip(names, who, strict=True))
            table.add_row(
                f"{fpir:.0%}",
                "nobody twice" if rule else "--allow-repeat",
                f"{right / photos / 8:.2%} of those enrolled",
                f"{wrong / photos / 10:.2%} of all faces",
                f"{twice / photos:.2%}",
            )
    print(f"{photos:,} simulated group photos of ten people, eight of them among the {size} enrolled")
    console.print(table)


if __name__ == "__main__":
    run_script(main)
