"""Are wrong photos found, and how many right people are warned of?

    python -m scripts.benchmarks.wrong_photos DATA... [--model FILE] [--aligned] [--corrections FILE] [--cache DIR]
        [--photos 3,5,10] [--false-warnings 0.01] [--draws 5]

DATA: folders or packs of people. For each number k of --photos, everybody with k photos or more is enrolled from k of
them. What `Gallery.suspicions` then tells of is a false warning, or a fault of DATA; the photos are listed, so that one
can look at them. Then one photo of each person is exchanged for a photo of somebody else, and it counts how many of
these are told. Last, everybody with two photos is enrolled under two names. Intervals (95 %) are over people (Clopper
and Pearson 1934, for the mean over the draws).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from facedex import Gallery
from facedex.data import dataset
from facedex.gallery.suspicion import Suspicion
from facedex.model.encoder import open_encoder
from facedex.model.modelfile import read_model, shipped_model
from facedex.photos.images import sha256
from facedex.store.rows import FaceRecord
from scripts.runner import list_of, run_script

Faces = tuple[np.ndarray, np.ndarray, list[str]]  # vectors (n, dim), the person of each (n,), the key of each


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--aligned", action="store_true")
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--photos", type=list_of(int, 2), default=[3, 5, 10])
    parser.add_argument("--false-warnings", type=float, default=0.01)
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    model = options.model or shipped_model()
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder)
        parts = [dataset.load_faces(path, cache, options.aligned) for path in options.data]
        faces = dataset.join([dataset.correct(part, options.corrections) for part in parts])
        vectors, _ = open_encoder(read_model(model)).encode(faces.crops112())
    data = vectors, faces.people, faces.keys

    table = Table("photos of each", "people", "right people warned of", "wrong photos told", "pairs of names told")
    told: dict[str, str] = {}
    for count in options.photos:
        table.add_row(str(count), *measured(data, count, model, options.false_warnings, options.draws, told))
    table.add_row("1, two names", *doubled(data, model, options.false_warnings, options.draws))
    Console(width=150).print(table)
    for key, reason in sorted(told.items()):
        print(f"{key}: {reason}")


def measured(data: Faces, count: int, model: Path, rate: float, draws: int, told: dict[str, str]) -> list[str]:
    """The row for people with `count` photos. `told` gets the right photos that were told, with the reason."""
    people = with_photos(data[1], count)
    if not len(people):
        return ["0", "-", "-", "-"]
    rng = np.random.default_rng(count)
    warned = found = paired = 0.0
    for _ in range(draws):
        chosen = {person: rng.choice(np.flatnonzero(data[1] == person), count, replace=False) for person in people}
        right = suspicions(data, chosen, model, rate)
        odd = {one.name: one for one in right if one.kind != "same"}
        told.update({one.photo: one.reason for one in odd.values()})
        warned += len(odd) / len(people)
        paired += 2 * sum(one.kind == "same" for one in right) / len(people)
        for person, photos in chosen.items():
            photos[-1] = rng.choice(np.flatnonzero(data[1] != person))
        wrong = {(str(person), data[2][photos[-1]]) for person, photos in chosen.items()}
        found += len(wrong & {(one.name, one.photo) for one in suspicions(data, chosen, model, rate)}) / len(people)
    return [f"{len(people):,}", *(share(part / draws, len(people)) for part in (warned, found, paired))]


def doubled(data: Faces, model: Path, rate: float, draws: int) -> list[str]:
    """The row for everybody with two photos, under two names each."""
    people = with_photos(data[1], 2)
    if not len(people):
        return ["0", "-", "-", "-"]
    rng = np.random.default_rng(0)
    found = wrong = 0.0
    for _ in range(draws):
        pairs = {person: rng.choice(np.flatnonzero(data[1] == person), 2, replace=False) for person in people}
        chosen = {f"{person} {n}": pair[n : n + 1] for person, pair in pairs.items() for n in (0, 1)}
        right = {
            one.name.split()[0]
            for one in suspicions(data, chosen, model, rate)
            if one.kind == "same" and one.name.split()[0] == str(one.other).split()[0]
        }
        found += len(right) / len(people)
        single = {f"{person}": pair[:1] for person, pair in pairs.items()}
        wrong += 2 * sum(one.kind == "same" for one in suspicions(data, single, model, rate)) / len(people)
    return [f"{len(people):,}", share(wrong / draws, len(people)), "-", share(found / draws, len(people))]


def with_photos(people: np.ndarray, count: int) -> np.ndarray:
    """The people with `count` photos or more, from the person of each photo (n,)."""
    return np.flatnonzero(np.bincount(people) >= count)


def suspicions(data: Faces, chosen: dict[str, np.ndarray], model: Path, rate: float) -> list[Suspicion]:
    """What a gallery of these people tells, each with the positions of the person's photos."""

    def records() -> Iterator[FaceRecord]:
        for name, photos in chosen.items():
            for at in photos:
                digest = sha256(f"{name} {data[2][at]}".encode())
                yield FaceRecord(str(name), data[0][at], (0.0, 0.0, 112.0, 112.0), 1.0, 0.0, data[2][at], digest)

    with tempfile.TemporaryDirectory() as folder, Gallery(folder, model, create=True) as gallery:
        gallery.add_faces(records())
        return gallery.suspicions(rate=rate)


def share(value: float, people: int) -> str:
    """A share of people, with its interval (Clopper and Pearson 1934), in words."""
    hits = value * people
    low = 0.0 if hits <= 0 else _beta_quantile(0.025, hits, people - hits + 1)
    high = 1.0 if hits >= people else _beta_quantile(0.975, hits + 1, people - hits)
    return f"{value:.1%} ({low:.1%}-{high:.1%})"


def _beta_quantile(level: float, a: float, b: float) -> float:
    """The quantile of a beta distribution, from its density on a fine grid."""
    x = np.linspace(0, 1, 200_001)[1:-1]
    logs = (a - 1) * np.log(x) + (b - 1) * np.log1p(-x)
    weights = np.cumsum(np.exp(logs - logs.max()))
    return float(x[np.searchsorted(weights, level * weights[-1])])


if __name__ == "__main__":
    run_script(main)
