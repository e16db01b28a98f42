"""Measure whether the stated rate of false alarms and the stated probabilities hold.

    python -m scripts.benchmarks.stranger_rates DATA... [--model FILE] [--aligned] [--cache DIR] [--generated FILE]
        [--fpir 0.01] [--photos 1]

DATA are folders or packs of people who neither trained the model, chose its checkpoint nor calibrated it. Many times, N
of them are enrolled and all others are strangers. Every person counts the same. Prints:

- realised FPIR and FNIR at the threshold that the model's calibration gives for N and --fpir, with 95 % intervals by a
  bootstrap over people, both as enrolled and as strangers (pigeonhole bootstrap, Owen 2007);
- the share of best candidates with a probability of about p that are the right person, for several N and priors, with
  the log loss and the Brier score of the probability;
- FMR and FNMR at the threshold that `facedex verify` takes for a stated FMR, and log loss and Brier score of a pair's
  probability by the score alone and with quality, as `verify` states it.

Then prints the same rates at 10,000 and 100,000 people on generated embeddings. They are drawn from normal
distributions with DATA's covariances between and within people. --generated names embeddings instead: a file of
`generate_embeddings.py draw FACES.npz VECTORS.npy --people 104000 --photos 2`, or an .npz with `vectors` (n, d) and
`people` (n,). A new calibration is fitted on a thousand of the generated people, which checks how far its tail can be
extrapolated.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.data import dataset
from facedex.decision.calibration import Calibration, fit_calibration
from facedex.decision.fusion import fuse
from facedex.decision.posterior import CONTENDERS
from facedex.errors import DataError
from facedex.evaluation.bootstrap import people_weights
from facedex.model.encoder import open_encoder
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from scripts.runner import run_script

BINS = np.array([0, 0.02, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 1.0001])
DRAWS = {10: 150, 100: 50, 500: 50}  # drawn galleries by size; few photos of one gallery have a middle probability
IMPOSTOR_PAIRS = 60_000  # at most, for the losses of a pair's probability
GAMMAS = 10_000  # drawn for an interval
STRANGERS = 400  # strangers' photos a gallery for which probabilities are computed
LEAST_GENERATED = 14_000  # people: a thousand calibrate, 3,000 are strangers, 10,000 are enrolled


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--aligned", action="store_true")
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--generated", type=Path)
    parser.add_argument("--fpir", type=float, default=0.01)
    parser.add_argument("--photos", type=int, default=1, help="photos a person is enrolled from")
    parser.add_argument("--draws", type=int, default=200)
    options = parser.parse_args()
    model = read_model(options.model or shipped_model())
    head, calibration = Head.from_file(model), Calibration.from_meta(model.meta)
    made = read_generated(options.generated, model.meta["dim"]) if options.generated else None
    with tempfile.TemporaryDirectory() as folder:
        parts = [dataset.load_faces(path, options.cache or Path(folder), options.aligned) for path in options.data]
        faces = dataset.join([dataset.correct(part, options.corrections) for part in parts])
        vectors, quality = open_encoder(model).encode(faces.crops112())
    people = faces.people
    print(f"{len(people):,} photos of {people.max() + 1:,} people, {options.photos} of each enrolled")
    matrix = head.pairwise(vectors, vectors).astype(np.float64)

    table = Table(
        "people enrolled", "threshold", "target FPIR", "its own error (90 %)", "realised FPIR (95 %)", "FNIR (95 %)"
    )
    rng = np.random.default_rng(0)
    for size in (10, 100, 500):
        if size > 0.7 * np.sum(np.bincount(people) >= options.photos):
            continue
        enrolled = np.full(size, options.photos)
        threshold = calibration.threshold(enrolled, options.fpir)
        low, high = calibration.interval(threshold, enrolled)
        alarms, missed = realised(matrix, people, size, options.photos, threshold, options.draws, rng)
        table.add_row(f"{size:,}", f"{threshold:.2f}", f"{options.fpir:.2%}", error(low, high), alarms, missed)
    console = Console(width=150)
    console.print(table)
    reliability(console, matrix, people, quality, calibration, rng)
    verified(console, matrix, people, calibration)
    print(pair_losses(matrix, people, quality, calibration))
    rng = np.random.default_rng(1)
    generated(console, head, *(made or generate(vectors, people, 104_000, 2, rng)), options.fpir, rng)


def error(low: float, high: float) -> str:
    """Return an interval as text. A calibration without replicates has none."""
    return f"{low:.2%} to {high:.2%}" if np.isfinite(low) else "not stated"


def realised(
    matrix: np.ndarray,
    people: np.ndarray,
    size: int,
    photos: int,
    threshold: float,
    draws: int,
    rng: np.random.Generator,
) -> tuple[str, str]:
    """Return the realised FPIR and FNIR of scores (n, n), each with its interval, as text."""
    total = int(people.max()) + 1
    blame = np.zeros((total, total))  # [stranger, enrolled person]: share of the stranger's photos named as that person
    strange, tried, failed = np.zeros(total), np.zeros(total), np.zeros(total)
    for _ in range(draws):
        known, gallery, probes, outside = draw(people, size, photos, rng)
        scores = fuse(matrix[:, gallery]) if photos > 1 else matrix[:, gallery[:, 0]]
        best, top = scores.argmax(1), scores.max(1)
        weight = shares(people, outside)
        passed = top[outside] > threshold
        np.add.at(blame, (people[outside][passed], known[best[outside][passed]]), weight[passed])
        strange[np.unique(people[outside])] += 1
        weight = shares(people, probes)
        wrong = (top[probes] <= threshold) | (known[best[probes]] != people[probes])
        np.add.at(failed, people[probes], weight * wrong)
        tried[np.unique(people[probes])] += 1
    times = np.stack([np.bincount(rng.integers(0, total, total), minlength=total) for _ in range(1000)]).astype(float)
    alarms = np.einsum("bi,ij,bj->b", times, blame, times, optimize=True) / (times @ strange)
    alarms = np.minimum(alarms, 1)  # the product of two people's weights can exceed the trials
    misses = (times @ failed) / np.maximum(times @ tried, 1)
    return tuple(
        f"{value:.2%} ({low:.2%} to {high:.2%})"
        for value, (low, high) in (
            (blame.sum() / strange.sum(), np.quantile(alarms, [0.025, 0.975])),
            (failed.sum() / max(tried.sum(), 1), np.quantile(misses, [0.025, 0.975])),
        )
    )  # type: ignore[return-value]


def draw(
    people: np.ndarray, size: int, photos: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a gallery. Return its people (size,), their enrolled photos (size, photos), their other photos and the
    strangers' photos.
    """
    counts = np.bincount(people)
    known = rng.permutation(np.flatnonzero(counts >= photos))[:size]
    shuffled = rng.permutation(len(people))
    order = shuffled[np.argsort(people[shuffled], kind="stable")]
    first = np.cumsum(counts) - counts
    gallery = order[first[known][:, None] + np.arange(photos)]
    inside = np.isin(people, known)
    outside = np.flatnonzero(~inside)
    inside[gallery] = False
    return known, gallery, np.flatnonzero(inside), outside


def shares(people: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the weight of each of these photos when every person counts the same."""
    return 1 / np.bincount(people[chosen])[people[chosen]]


def reliability(
    console: Console,
    matrix: np.ndarray,
    people: np.ndarray,
    quality: np.ndarray,
    calibration: Calibration,
    rng: np.random.Generator,
) -> None:
    """Print the share of right best candidates by stated probability, with 95 % intervals over the probes' people.

    `quality` (n,) holds the faces' embedding lengths, 0 where unknown. A share `prior` of the probes' weight is of
    enrolled people, so the shares are those that the stated probability means.
    """
    table = Table(
        "people enrolled",
        "prior",
        *(f"{a:.0%}-{min(b, 1):.0%}" for a, b in pairwise(BINS)),
        "log loss, Brier",
        title="stated probability (columns): its mean > share that is right, its interval, photos a draw; people right",
    )
    for size in DRAWS:
        if size > 0.7 * (people.max() + 1):
            continue
        for prior in (0.5, 0.1):
            stated, right, weight, probe_people = [], [], [], []
            draws = DRAWS[size]
            for _ in range(draws):
                _, gallery, probes, outside = draw(people, size, 1, rng)
                if not len(probes):
                    continue  # without second photos of enrolled people the prior cannot hold
                outside = rng.permutation(outside)[:STRANGERS]
                both = np.concatenate([probes, outside])
                each = np.concatenate([shares(people, probes), shares(people, outside)])
                each[: len(probes)] *= prior / each[: len(probes)].sum()
                each[len(probes) :] *= (1 - prior) / each[len(probes) :].sum()
                scores = matrix[np.ix_(both, gallery[:, 0])]
                order = np.argsort(-scores, axis=1)[:, :CONTENDERS]
                ones, each_own = np.ones(order.shape[1], int), np.arange(order.shape[1])
                for row, at in enumerate(order):
                    shifts = calibration.shifts(quality[both[row]], quality[gallery[at, 0]], each_own, each_own)
                    stated.append(calibration.posterior(scores[row, at], ones, size, prior, shifts)[0])
                right.append(people[gallery[order[:, 0], 0]] == people[both])
                weight.append(each)
                probe_people.append(people[both])
            p, truth, counts, who = np.array(stated), *map(np.concatenate, (right, weight, probe_people))
            middle = (p >= BINS[1]) & (p < BINS[-2])
            sums = [np.bincount(who, counts * kind * middle, people.max() + 1) for kind in (truth, ~truth)]
            whole = [np.bincount(who, counts * kind, people.max() + 1) for kind in (truth, ~truth)]
            typical = [some if some.any() else every for some, every in zip(sums, whole, strict=True)]
            cells = []
            for a, b in pairwise(BINS):
                held = (p >= a) & (p < b)
                if not held.any():
                    cells.append("")
                    continue
                part = counts[held]
                right_here, wrong_here = (
                    np.bincount(who[held], part * kind, people.max() + 1) for kind in (truth[held], ~truth[held])
                )
                low, high = right_share(right_here, wrong_here, typical, np.random.default_rng(0))
                cells.append(
                    f"{part @ p[held] / part.sum():.0%} > {right_here.sum() / part.sum():.0%}\n"
                    f"({low:.0%}-{high:.0%})\n{held.sum() / draws:.3g}; {np.count_nonzero(right_here)}"
                )
            table.add_row(f"{size:,}", f"{prior:g}", *cells, losses(p, truth, counts))
    console.print(table)


def right_share(
    right: np.ndarray, wrong: np.ndarray, typical: list[np.ndarray], rng: np.random.Generator
) -> tuple[float, float]:
    """The 95 % interval of the share that is right among probes of one stated probability.

    `right` and `wrong` (people,) are the weights of each person's right and wrong probes of that probability. `typical`
    holds two more such arrays, of probes whose people tell what one person weighs. The two sums are independent gamma
    variables (Fay and Feuer 1997). The upper limit of a sum counts one more person, of mean weight (Tiwari, Clegg and
    Zou 2006). Drawing people again would show no spread where no probe is right. But one more person would change such
    a share much, because the few photos of enrolled people weigh as much as the photos of all strangers.
    """

    def limits(weights: np.ndarray, others: np.ndarray) -> list[np.ndarray]:
        more = others[others > 0] if others.any() else np.zeros(1)
        found = []
        for mean, square in ((0.0, 0.0), (more.mean(), (more**2).mean())):
            total, spread = weights.sum() + mean, (weights**2).sum() + square
            found.append(rng.gamma(total**2 / spread, spread / total, GAMMAS) if total else np.zeros(GAMMAS))
        return found

    (least_right, most_right), (least_wrong, most_wrong) = map(limits, (right, wrong), typical)
    low = np.quantile(least_right / np.maximum(least_right + most_wrong, 1e-300), 0.025)
    high = np.quantile(most_right / np.maximum(most_right + least_wrong, 1e-300), 0.975)
    return float(low), float(high)


def verified(console: Console, matrix: np.ndarray, people: np.ndarray, calibration: Calibration) -> None:
    """Print FMR and FNMR of one photo against one. Every person counts the same; intervals are as in `realised`."""
    total, each = int(people.max()) + 1, 1 / np.bincount(people)[people]
    i, j = np.triu_indices(len(people), 1)
    same, weight, scores = people[i] == people[j], each[i] * each[j], matrix[i, j]
    table = Table("threshold for FMR", "its own error (90 %)", "realised FMR (95 %)", "FNMR (95 %)")
    times = people_weights(total, 0).astype(float)
    for target in (1e-2, 1e-3, 1e-4):
        threshold = calibration.threshold(1, target)
        cells = []
        for kind, wrong in ((~same, scores > threshold), (same, scores <= threshold)):
            blame, tried = np.zeros((total, total)), np.zeros((total, total))
            np.add.at(tried, (people[i[kind]], people[j[kind]]), weight[kind])
            np.add.at(blame, (people[i[kind & wrong]], people[j[kind & wrong]]), weight[kind & wrong])
            if kind is same:
                draws = (times @ blame.diagonal()) / np.maximum(times @ tried.diagonal(), 1e-12)
            else:
                draws = ((times @ blame) * times).sum(1) / ((times @ tried) * times).sum(1)
            low, high = np.quantile(draws, [0.025, 0.975])
            cells.append(f"{blame.sum() / tried.sum():.3%} ({low:.3%} to {high:.3%})")
        table.add_row(f"{target:.2%}", error(*calibration.interval(threshold, 1)), *cells)
    console.print(table)


def losses(stated: np.ndarray, right: np.ndarray, weight: np.ndarray) -> str:
    """Return log loss and Brier score of probabilities (n,) as text. A stated 0 or 1 counts as 1e-6 off."""
    kept = np.clip(stated, 1e-6, 1 - 1e-6)
    log_loss = -np.average(np.where(right, np.log(kept), np.log(1 - kept)), weights=weight)
    return f"{log_loss:.4f}, {np.average((stated - right) ** 2, weights=weight):.4f}"


def pair_losses(matrix: np.ndarray, people: np.ndarray, quality: np.ndarray, calibration: Calibration) -> str:
    """Return log loss and Brier score of a pair's probability, half of all pairs genuine, without quality and with it.

    Every person counts the same. All genuine pairs are taken, and every so many of the others.
    """
    i, j = np.triu_indices(len(people), 1)
    same = people[i] == people[j]
    kept = same | (np.arange(len(same)) % (len(same) // IMPOSTOR_PAIRS + 1) == 0)
    i, j, same, each = i[kept], j[kept], same[kept], 1 / np.bincount(people)[people]
    owned = np.bincount(people)
    weight = np.where(same, 1 / np.maximum(owned * (owned - 1), 1)[people[i]], each[i] * each[j])
    for kind in (same, ~same):
        weight[kind] /= 2 * weight[kind].sum()
    pairs = zip(
        np.array_split(matrix[i, j], 40), np.array_split(np.stack([quality[i], quality[j]], 1), 40), strict=True
    )
    stated = np.concatenate([calibration.pair_posterior(logits, 0.5, both) for logits, both in pairs])
    return (
        "a pair's probability, log loss and Brier score: "
        f"by the score alone {losses(calibration.similarity(matrix[i, j]), same, weight)}; "
        f"with quality, as verify states it, {losses(stated, same, weight)}"
    )


def read_generated(path: Path, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Read vectors (n, dim) of made-up people and the person of each (n,). Raises DataError."""
    try:
        stored = np.load(path)
        if isinstance(stored, np.ndarray):
            if stored.ndim != 3:
                raise ValueError(f"its shape is {stored.shape}, not people x photos x numbers")
            made, owner = stored.reshape(-1, stored.shape[2]), np.repeat(np.arange(len(stored)), stored.shape[1])
        else:
            with stored:
                made, owner = stored["vectors"], np.unique(stored["people"], return_inverse=True)[1]
        if made.shape != (len(owner), dim):
            raise ValueError(f"its vectors are {made.shape}, the model's embeddings have {dim} numbers")
        if len(counts := np.bincount(owner)) < LEAST_GENERATED or counts.min() < 2:
            raise ValueError(f"{len(counts):,} people; {LEAST_GENERATED:,} are needed, each with two photos or more")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} holds no made-up people to measure on ({error}); make it by `generate_embeddings.py draw`"
        ) from None
    return made, owner


def generated(
    console: Console, head: Head, made: np.ndarray, owner: np.ndarray, fpir: float, rng: np.random.Generator
) -> None:
    """Print the rates at sizes beyond the photos, on vectors (n, d) of made-up people and the person of each (n,)."""
    names = rng.permutation(owner.max() + 1)
    order = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[order], names)
    fitting, _, enrolled = np.split(names, [1000, 4000])
    chosen = np.flatnonzero(np.isin(owner, fitting))
    own = head.pairwise(made[chosen], made[chosen])
    found = fit_calibration(own, owner[chosen])
    gallery = order[first[len(names) - len(enrolled) :]][:100_000]
    probes = order[first[1000:4000]]
    z = head.project(made)
    best = np.full((len(probes), -(-len(gallery) // 10_000)), -np.inf)
    again = order[first[4000:6000] + 1]  # second photos of the first 2,000 enrolled, all in the first block
    mates = np.full(len(again), -np.inf)
    rival = np.full((len(again), best.shape[1]), -np.inf)
    for block in range(best.shape[1]):
        index = faiss.IndexFlat(z.shape[1], faiss.METRIC_L1)
        index.add(z[gallery[block * 10_000 : (block + 1) * 10_000]])
        best[:, block] = head.beta - index.search(z[probes], 1)[0][:, 0]
        distance, at = index.search(z[again], 2)
        own_person = at[:, 0] == np.arange(len(again)) if block == 0 else np.zeros(len(again), bool)
        rival[:, block] = head.beta - np.where(own_person, distance[:, 1], distance[:, 0])
    mates = head.logits(made[again], made[gallery[: len(again)]])
    table = Table(
        "generated people", "threshold", "target FPIR", "its own error (90 %)", "realised FPIR (95 %)", "FNIR (95 %)"
    )
    for size, top, other in (
        (10_000, best, rival[:, :1]),
        (len(gallery), best.max(1, keepdims=True), rival.max(1, keepdims=True)),
    ):
        threshold = found.threshold(size, fpir)
        low, high = found.interval(threshold, size)
        alarms, missed = (top > threshold).mean(1), (mates <= threshold) | (mates <= other[:, 0])
        table.add_row(
            f"{size:,}", f"{threshold:.2f}", f"{fpir:.2%}", error(low, high), spread(alarms, rng), spread(missed, rng)
        )
    console.print(table)


def spread(shares: np.ndarray, rng: np.random.Generator) -> str:
    """Return the mean of one number a person (n,), with its interval by a bootstrap over people, as text."""
    again = shares[rng.integers(0, len(shares), (400, len(shares)))].mean(1)
    return f"{shares.mean():.2%} ({np.quantile(again, 0.025):.2%} to {np.quantile(again, 0.975):.2%})"


def generate(
    vectors: np.ndarray, people: np.ndarray, count: int, photos: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Generate unit vectors (count * photos, d) with the covariances of real ones, and the person of each."""
    counts = np.bincount(people)
    means = np.stack([np.bincount(people, column) for column in vectors.T], 1) / counts[:, None]
    several = counts[people] > 1
    inner = (vectors - means[people])[several] * np.sqrt(counts / np.maximum(counts - 1, 1))[people][several, None]
    within = np.cov(inner.T)
    between = np.cov(vectors.T) - within
    values, axes = np.linalg.eigh(between)
    roots = axes * np.sqrt(np.maximum(values, 0))
    owner = np.repeat(np.arange(count), photos)
    made = vectors.mean(0) + (rng.standard_normal((count, vectors.shape[1])) @ roots.T)[owner]
    made += rng.multivariate_normal(np.zeros(vectors.shape[1]), within, len(owner), method="eigh")
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32), owner


if __name__ == "__main__":
    run_script(main)
