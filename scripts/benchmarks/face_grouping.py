"""Compare ways of grouping faces by person: facedex's, and scikit-learn's, on the same embeddings in one run.

    python -m scripts.benchmarks.face_grouping PHOTOS [PACK...] --distractors PACK [--sizes 0,10000,75000]
        [--embeddings teachers.npz] [--corrections CSV] [--model FILE] [--only facedex,DBSCAN]

PHOTOS is a folder of people. Each PACK holds aligned faces of further people. --distractors adds faces of others, so
many as --sizes says. --embeddings names a file of scripts/teachers.py with the embeddings of the packs. Needs
the package scikit-learn.

A face that a method leaves alone is a group of one. For each method, over everybody and over people with two photos or
more, with 95 % intervals by a bootstrap over people:

- BCubed precision, recall and F (Amigo et al. 2009);
- precision and recall of pairs of faces; the share of groups of two or more that hold two people;
- placed: the share of faces in a group of two or more;
- answers: how many groups must be named, the largest first, until nine in ten faces have their right name;
- seconds of the clock, without the search of neighbours, and the peak of memory so far.

A method's parameter is its own default, or "best": the one of its steps with the best F among those with a pairwise
precision of .99. "best" is chosen on the very faces it is measured on, which flatters it. The plain row of DBSCAN has
immich's parameters: a distance of .5, 3 faces.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import faiss
import numpy as np
from scipy.sparse import csr_matrix
from sklearn.cluster import DBSCAN, HDBSCAN, AgglomerativeClustering

from facedex.data.dataset import read_corrections
from facedex.decision.calibration import Calibration
from facedex.decision.clustering import RATE, group_faces, pair_logits
from facedex.errors import DataError
from facedex.evaluation.bootstrap import Figure, people_weights
from facedex.evaluation.embedded_photos import read_people
from facedex.evaluation.matchers import model_matcher
from facedex.index.neighbours import nearest_pairs
from facedex.model.head import Head
from facedex.model.modelfile import ModelFile, read_model, shipped_model
from facedex.photos.sources import open_people
from scripts.benchmarks.head_bases import stored
from scripts.runner import list_of, run_script

PRECISION = 0.99
NAMED = 0.9
RATES = (0.01, 0.02, 0.05, 0.1)
DISTANCES = (0.35, 0.4, 0.45, 0.5, 0.55)  # cosine distances, for DBSCAN
LOGITS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)  # cuts, for average linkage and Chinese whispers
MOST_SQUARE = 20_000  # faces up to which a method that needs all pairs is run

Groups = np.ndarray


@dataclass(frozen=True)
class Library:
    """n faces: embeddings (n, d) float32 and people (n,) int64, and what the methods share."""

    vectors: np.ndarray
    people: np.ndarray
    head: Head
    calibration: Calibration
    z: np.ndarray
    pairs: np.ndarray
    logits: np.ndarray
    seconds: float  # of the search for pairs

    @classmethod
    def of(cls, model: ModelFile, vectors: np.ndarray, people: np.ndarray) -> Library:
        """Search for each face's nearest."""
        head = Head.from_file(model)
        began = time.perf_counter()
        pairs, z = nearest_pairs(head, vectors), head.project(vectors)
        seconds = time.perf_counter() - began
        logits = pair_logits(z, head.beta, pairs)
        return cls(vectors, people, head, Calibration.from_meta(model.meta), z, pairs, logits, seconds)


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("packs", type=Path, nargs="*")
    parser.add_argument("--distractors", type=Path)
    parser.add_argument("--sizes", type=list_of(int, 0), default="0,10000")
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--model", default=str(shipped_model()))
    parser.add_argument("--only", help="methods, by the beginnings of their names")
    options = parser.parse_args()
    model = read_model(options.model)
    known = [read_photos(options.photos, model, False, None, None)]
    known += [read_photos(pack, model, True, options.corrections, options.embeddings) for pack in options.packs]
    others = (
        read_photos(options.distractors, model, True, options.corrections, options.embeddings)
        if any(options.sizes)
        else (np.empty((0, 0), np.float32), np.empty(0, str))
    )
    for size in options.sizes:
        chosen = others[0][:0], others[1][:0]
        if size:
            order = np.random.default_rng(0).permutation(len(np.unique(others[1])))
            rank = order[np.unique(others[1], return_inverse=True)[1]]
            rows = np.argsort(rank, kind="stable")[:size]
            chosen = others[0][rows], others[1][rows]
        parts = [*known, chosen] if size else known
        vectors = np.concatenate([part[0] for part in parts])
        people = np.unique(np.concatenate([part[1] for part in parts]), return_inverse=True)[1]
        report(Library.of(model, vectors, people), options.only)


def read_photos(
    path: Path, model: ModelFile, aligned: bool, corrections: Path | None, embeddings: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) of a folder or pack, and each photo's person as SOURCE/NAME (n,). Raises DataError."""
    if embeddings is None:
        photos = read_people(path, [model_matcher(model)], aligned, corrections)
        return photos.embeddings[0], np.array([f"{path.name}/{photos.names[person]}" for person in photos.people])
    keys, people = labelled(path, corrections)
    return stored(embeddings, model, keys)[0], people


def labelled(path: Path, corrections: Path | None) -> tuple[list[str], np.ndarray]:
    """The keys NAME/PHOTO of a pack's photos, and each photo's person as SOURCE/NAME (n,). Raises DataError."""
    with open_people(path) as named:
        keys = [f"{photo.name}/{Path(photo.source).stem}" for photo in named]
    if not keys:
        raise DataError(f"{path} holds no photos; name another pack")
    right = read_corrections(corrections) if corrections else {}
    people = [right.get(key, right.get(key.split("/")[0], key.split("/")[0])) for key in keys]
    kept = [at for at, person in enumerate(people) if person]
    return [keys[at] for at in kept], np.array([f"{path.name}/{people[at]}" for at in kept])


# ways of grouping


def methods(library: Library) -> Iterator[tuple[str, list[Callable[[], Groups]]]]:
    """Each method's name, and its runs: the first is its plain one, further ones are steps of its parameter."""
    yield "facedex", [partial(by_rate, library, rate) for rate in (RATE, *RATES)]
    steps = [(0.5, 3), *itertools.product(DISTANCES, (2, 3))]
    yield "DBSCAN", [partial(dbscan, library, distance, least) for distance, least in steps]
    yield "Chinese whispers", [partial(whispers, library, cut) for cut in (1.5, *LOGITS)]
    if len(library.people) <= MOST_SQUARE:
        yield "HDBSCAN", [partial(hdbscan, library)]
        distances = library.head.beta - library.head.pairwise(library.vectors, library.vectors)
        distances = np.maximum((distances + distances.T) / 2, 0)
        yield "average linkage", [partial(average, library, distances, cut) for cut in (1.5, *LOGITS)]


def by_rate(library: Library, rate: float) -> Groups:
    """facedex's own grouping."""
    return group_faces(library.z, library.head.beta, library.calibration, library.pairs, rate=rate)[0]


def hdbscan(library: Library) -> Groups:
    """HDBSCAN (Campello et al. 2013) on the embeddings, with groups of two faces or more."""
    groups: Groups = HDBSCAN(min_cluster_size=2, copy=True).fit(library.vectors).labels_
    return groups


def dbscan(library: Library, distance: float, least: int) -> Groups:
    """DBSCAN (Ester et al. 1996) on cosine distances."""
    index = faiss.IndexFlatIP(library.vectors.shape[1])
    index.add(library.vectors)
    limits, cosines, rows = index.range_search(library.vectors, 1 - distance)
    near = csr_matrix(
        (np.maximum(1 - cosines, 1e-9), rows, limits.astype(np.int64)), (len(library.people), len(library.people))
    )
    groups: Groups = DBSCAN(eps=distance, min_samples=least, metric="precomputed").fit(near).labels_
    return groups


def whispers(library: Library, cut: float, rounds: int = 20) -> Groups:
    """Chinese whispers (Biemann 2006) on the graph of pairs above a logit, weighted by the difference."""
    near: list[list[tuple[int, float]]] = [[] for _ in library.people]
    for (a, b), logit in zip(library.pairs.tolist(), library.logits.tolist(), strict=True):
        if logit > cut:
            near[a].append((b, logit - cut))
            near[b].append((a, logit - cut))
    groups = list(range(len(near)))
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for face in rng.permutation(len(near)).tolist():
            votes: Counter[int] = Counter()
            for other, weight in near[face]:
                votes[groups[other]] += weight  # type: ignore[assignment]
            if votes:
                groups[face] = max(votes, key=lambda group: (votes[group], -group))
    return np.array(groups)


def average(library: Library, distances: np.ndarray, cut: float) -> Groups:
    """Average linkage with a fixed cut."""
    linkage = AgglomerativeClustering(
        None, metric="precomputed", linkage="average", distance_threshold=library.head.beta - cut
    )
    groups: Groups = linkage.fit(distances).labels_
    return groups


# figures


@dataclass(frozen=True)
class Score:
    """Figures of one grouping over some of its faces. `impure`: the share of groups of two or more with two people."""

    f: Figure
    precision: Figure
    recall: Figure
    pair_precision: Figure
    pair_recall: Figure
    impure: Figure
    placed: Figure
    answers: int

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All but the answers, in the order of the table."""
        return self.f, self.precision, self.recall, self.pair_precision, self.pair_recall, self.impure, self.placed


def score(groups: Groups, people: np.ndarray, least: int = 1) -> Score:
    """Measure groups (n,) of faces of `people` (n,), over the faces of people with at least so many photos.

    A group of such faces and others counts whole, with the faces of others in it. Its pairs of two people count half
    for each of them.
    """
    groups, people = alone(groups), np.unique(people, return_inverse=True)[1]
    both = groups.astype(np.int64) * (people.max() + 1) + people
    _, place, count = np.unique(both, return_inverse=True, return_counts=True)
    together, size, photos = count[place], np.bincount(groups)[groups], np.bincount(people)[people]
    most = np.zeros(groups.max() + 1, np.int64)
    np.maximum.at(most, groups, together)
    chosen = photos >= least
    weights = people_weights(people.max() + 1, 0)

    def share(part: np.ndarray, whole: np.ndarray) -> Figure:
        """The sum of `part` (n,) over that of `whole` (n,), over the chosen faces, with draws of people."""
        parts, wholes = (np.bincount(people[chosen], one[chosen], people.max() + 1) for one in (part, whole))
        with np.errstate(invalid="ignore"):  # a draw may hold none of these people
            draws = weights @ parts / (weights @ wholes)
        value = parts.sum() / wholes.sum() if wholes.any() else 0.0
        return Figure(float(value), draws, len(np.unique(people[chosen])))

    precision, recall = (share(together / whole, np.ones(len(people))) for whole in (size, photos))
    p, r = (np.append(figure.draws, figure.value) for figure in (precision, recall))
    *f_draws, f = 2 * p * r / (p + r)
    real = (size > 1) / size  # the faces of a group add up to 1
    return Score(
        Figure(float(f), np.array(f_draws), precision.people),
        precision,
        recall,
        share(together - 1, size - 1),
        share(together - 1, photos - 1),
        share(real * (most[groups] < size), real),
        share(size > 1, np.ones(len(people))),
        answers(most, len(people)),
    )


def alone(groups: Groups) -> Groups:
    """Groups numbered from 0, in which each face without a group (-1) has one of its own."""
    groups = np.asarray(groups).copy()
    noise = groups < 0
    groups[noise] = groups.max() + 1 + np.arange(noise.sum())
    return np.asarray(np.unique(groups, return_inverse=True)[1])


def answers(right: np.ndarray, faces: int) -> int:
    """How many groups must be named until nine in ten faces are right. `right`: the faces each name is right for."""
    named = np.cumsum(np.sort(right)[::-1])
    reached = np.flatnonzero(named >= NAMED * faces)
    return int(reached[0]) + 1 if len(reached) else len(right)


def report(library: Library, only: str | None) -> None:
    """Print one table in Markdown."""
    people = library.people
    print(f"\n{len(people):,} faces of {people.max() + 1:,} people; neighbours found in {library.seconds:.1f} s\n")
    print("| method | over people with | F | precision | recall | pairs: precision | recall |", end="")
    print(" groups of two people | placed | answers | s | MB |")
    print("|---" * 12 + "|")
    for name, runs in methods(library):
        if only and not any(name.startswith(part) for part in only.split(",")):
            continue
        tried = []
        for number, run in enumerate(runs):
            began = time.perf_counter()
            groups = run()
            spent = time.perf_counter() - began
            tried.append((score(groups, people), groups, spent))
            if number == 0:
                show(name, tried[0], people)
        good = [entry for entry in tried if entry[0].pair_precision.value >= PRECISION]
        if len(runs) > 1 and good:
            show(f"{name}, best", max(good, key=lambda entry: entry[0].f.value), people)


def show(name: str, tried: tuple[Score, Groups, float], people: np.ndarray) -> None:
    """Print two rows: over everybody, and over people with two photos or more."""
    found, groups, spent = tried
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for over, figures in (("one photo or more", found), ("two or more", score(groups, people, 2))):
        cells = " | ".join(map(described, figures.figures))
        print(f"| {name} | {over} | {cells} | {found.answers:,} | {spent:.1f} | {peak:,.0f} |", flush=True)


def described(figure: Figure) -> str:
    """A share with its 95 % interval, as in 97.4 % (96.9-97.9)."""
    low, high = figure.interval
    return f"{100 * figure.value:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


if __name__ == "__main__":
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    run_script(main)
