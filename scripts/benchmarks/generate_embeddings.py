"""Generate embeddings by the million, distributed like a model's real ones, to measure galleries at scale.

    python -m scripts.benchmarks.generate_embeddings fit PEOPLE [PEOPLE...] -o FACES.npz [--model FILE] [--aligned]
        [--cache DIR]
    python -m scripts.benchmarks.generate_embeddings check FACES.npz OTHERS [--model FILE] [--aligned] [--cache DIR]
    python -m scripts.benchmarks.generate_embeddings draw FACES.npz VECTORS.npy [--people 100000] [--photos 1]
        [--seed 0]

PEOPLE holds NAME/*.jpg or is a pack. `fit` encodes some photos and keeps only statistics: means, two covariances and
quantiles. `check` generates as many people and photos as OTHERS has. It prints quantiles of real and generated
scores: genuine, impostor, and the best impostor of each probe, which decides a look-up. `draw` writes generated
embeddings.

The model has two levels, as in PLDA (Prince and Elder 2007): x = mu + r_p y_p + s_p t_i e_i, scaled to unit length,
with y ~ N(0, B) between people and e ~ N(0, W) within one person. Real embeddings have heavier tails. Therefore a
person has a spread s_p and a photo a spread t_i, drawn from the measured ones, and a person is more or less distinct
(r_p, log-normal). y is the sum of a part of the person's own and of parts shared by groups of people, some large and
some small, who resemble each other. Photos of one scene, which are nearly the same, are not imitated, because they
are easy to find.
"""

from __future__ import annotations

import argparse
import os
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.data import dataset
from facedex.errors import DataError
from facedex.model.encoder import open_encoder
from facedex.model.head import Head
from facedex.model.modelfile import ModelFile, read_model, shipped_model
from scripts.runner import run_script

GROUPS = ((8, 0.36), (64, 0.25), (512, 0.15))  # how many, and their share of the variance between people
DISTINCT = 0.35  # standard deviation of log r_p
LEVELS = 256  # quantiles kept
QUANTILES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


@dataclass(frozen=True)
class Faces:
    """Statistics of real embeddings: `mean` (d,), `between` and `within` (d, d), quantiles of s^2 and t^2 (LEVELS,)."""

    mean: np.ndarray
    between: np.ndarray
    within: np.ndarray
    person_spread: np.ndarray
    photo_spread: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, people: np.ndarray) -> Faces:
        """Fit to unit embeddings (n, d) and their people (n,). People with one photo count only for the mean."""
        x = vectors.astype(np.float64)
        _, who, photos = np.unique(people, return_inverse=True, return_counts=True)
        means = np.zeros((len(photos), x.shape[1]))
        np.add.at(means, who, x)
        means /= photos[:, None]
        rest = x - means[who]
        within = rest.T @ rest / (photos - 1).sum()
        between = np.cov(means.T) - within * (1 / photos).mean()
        several = photos[who] > 1
        rest, who = rest[several], who[several]
        radius = np.einsum("ij,jk,ik->i", rest, np.linalg.pinv(within), rest) / x.shape[1]
        radius *= photos[who] / (photos[who] - 1)
        spread = np.bincount(who, radius, len(photos)) / np.maximum(photos, 1)
        levels = (np.arange(LEVELS) + 0.5) / LEVELS
        return cls(
            means.mean(0),
            between,
            within,
            np.quantile(spread[photos > 1], levels),
            np.quantile(radius / spread[who], levels),
        )

    def save(self, path: Path) -> None:
        with open(path, "wb") as file:  # np.savez would add a suffix
            np.savez(file, **{name: array.astype(np.float32) for name, array in asdict(self).items()})

    @classmethod
    def load(cls, path: Path) -> Faces:
        """Read the file that `save` wrote. Raises DataError."""
        try:
            with np.load(path) as stored:
                return cls(*(stored[field.name].astype(np.float64) for field in fields(cls)))
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} holds no statistics of faces ({error}); make it by `generate_embeddings.py fit`"
            ) from None


class Generator:
    """Generates people and photos without end, the same ones for the same seed."""

    def __init__(self, faces: Faces, seed: int = 0) -> None:
        self.faces, self.rng = faces, np.random.default_rng(seed)
        self._between, self._within = (_root(matrix) for matrix in (faces.between, faces.within))
        dim = len(faces.mean)
        self._groups = [(np.sqrt(share), self.rng.standard_normal((size, dim))) for size, share in GROUPS]

    def people(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the centres (count, d) and spreads (count,) of new people."""
        rng, dim = self.rng, len(self.faces.mean)
        own = np.sqrt(1 - sum(share for _, share in GROUPS))
        y = own * rng.standard_normal((count, dim))
        for weight, centres in self._groups:
            y += weight * centres[rng.integers(0, len(centres), count)]
        distinct = np.exp(DISTINCT * rng.standard_normal(count) - DISTINCT**2)
        spread = np.sqrt(rng.choice(self.faces.person_spread, count))
        return self.faces.mean + distinct[:, None] * (y @ self._between), spread

    def photos(self, centres: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Return one more unit embedding (n, d) float32 of each of these people."""
        rng = self.rng
        size = spread * np.sqrt(rng.choice(self.faces.photo_spread, len(centres)))
        x = centres + size[:, None] * (rng.standard_normal(centres.shape) @ self._within)
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    def gallery(self, count: int, block: int = 50_000) -> Iterator[np.ndarray]:
        """Yield the embeddings of `count` people, one photo each, in blocks (n, d)."""
        for start in range(0, count, block):
            yield self.photos(*self.people(min(block, count - start)))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def encode(model: ModelFile, source: Path, aligned: bool, cache: Path, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Encode about `limit` photos, at most five of a person. Return embeddings (n, d) and their people (n,)."""
    faces = dataset.load_faces(source, cache, aligned)
    rng = np.random.default_rng(0)
    chosen: list[int] = []
    for person in rng.permutation(len(faces.names)):
        photos = np.flatnonzero(faces.people == person)
        chosen += rng.permutation(photos)[:5].tolist()
        if len(chosen) >= limit:
            break
    encoder = open_encoder(model, "cpu")
    parts = [encoder.encode(faces.crops112(np.array(chosen[i : i + 64])))[0] for i in range(0, len(chosen), 64)]
    return np.concatenate(parts), faces.people[chosen]


def scores(head: Head, vectors: np.ndarray, people: np.ndarray) -> dict[str, np.ndarray]:
    """Return logits of all genuine pairs, of all impostor pairs, and each photo's best against one photo of each other
    person.
    """
    matrix = head.pairwise(vectors, vectors)
    i, j = np.triu_indices(len(people), 1)
    same = people[i] == people[j]
    _, first, who = np.unique(people, return_index=True, return_inverse=True)
    against = matrix[:, first]
    against[np.arange(len(people)), who] = -np.inf
    return {"genuine": matrix[i, j][same], "impostor": matrix[i, j][~same], "best impostor": against.max(1)}


def check(faces: Faces, head: Head, vectors: np.ndarray, people: np.ndarray) -> Table:
    """Return a table of real beside generated scores, as many of each."""
    generator = Generator(faces, 1)
    photos = np.unique(people, return_counts=True)[1]
    centres, spread = generator.people(len(photos))
    who = np.repeat(np.arange(len(photos)), photos)
    made = scores(head, generator.photos(centres[who], spread[who]), who)
    table = Table("logits", "", *(f"{q:g}" for q in QUANTILES), title="quantiles")
    for kind, real in scores(head, vectors, people).items():
        for label, values in (("real", real), ("generated", made[kind])):
            table.add_row(kind, label, *(f"{value:.2f}" for value in np.quantile(values, QUANTILES)))
    return table


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("fit", "check"):
        command = commands.add_parser(name)
        if name == "check":
            command.add_argument("faces", type=Path)
        command.add_argument("people", type=Path, nargs="+")
        command.add_argument("--model", type=Path)
        command.add_argument("--aligned", action="store_true")
        command.add_argument("--cache", type=Path, default=Path(".data/cache"))
        command.add_argument("--limit", type=int, default=6000)
        if name == "fit":
            command.add_argument("-o", "--output", type=Path, required=True)
    command = commands.add_parser("draw")
    command.add_argument("faces", type=Path)
    command.add_argument("output", type=Path)
    command.add_argument("--people", type=int, default=100_000)
    command.add_argument("--photos", type=int, default=1)
    command.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.command == "draw":
        generator = Generator(Faces.load(options.faces), options.seed)
        centres, spread = generator.people(options.people)
        drawn = np.stack([generator.photos(centres, spread) for _ in range(options.photos)], 1)
        np.save(options.output, drawn)
        print(f"{options.output}: {drawn.shape[0]:,} people, {drawn.shape[1]} photos each, {drawn.shape[2]} numbers")
        return
    model = read_model(options.model or shipped_model())
    found = [encode(model, path, options.aligned, options.cache, options.limit) for path in options.people]
    offset = np.cumsum([0] + [people.max() + 1 for _, people in found])
    vectors = np.concatenate([part for part, _ in found])
    people = np.concatenate([part + start for (_, part), start in zip(found, offset, strict=False)])
    if options.command == "fit":
        Faces.fit(vectors, people).save(options.output)
        size = os.path.getsize(options.output)
        print(
            f"{options.output}: fitted to {len(vectors):,} photos of {len(np.unique(people)):,} people, {size:,} bytes"
        )
    else:
        Console(width=120).print(check(Faces.load(options.faces), Head.from_file(model), vectors, people))


if __name__ == "__main__":
    run_script(main)
