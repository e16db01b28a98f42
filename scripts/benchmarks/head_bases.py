"""Measure what the head gains from seeing embeddings in several bases: TAR over all pairs by the number of bases.

    python -m scripts.benchmarks.head_bases PEOPLE [--aligned] [--corrections CSV] [--model FILE] [--bases 1,2,4,8]
        [--draws 3] [--embeddings teachers.npz]

The model's encoder encodes PEOPLE (a folder or pack) once. Three kinds of scores are compared: heads of equal weights,
which add L1 distances in several orthonormal bases; the model's own head; and the cosine. Bases but the first are drawn
anew for each draw. Prints a table in Markdown, with the range over the draws in each cell.

--embeddings names a file of scripts/teachers.py with the embeddings of each network of the model, for instance of
uncompressed photos. These are then compared instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import faiss
import numpy as np

from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.evaluation.embedded_photos import read_people
from facedex.evaluation.matchers import model_matcher
from facedex.model.encoder import Joint
from facedex.model.head import frame
from facedex.model.modelfile import ModelFile, read_model, shipped_model
from facedex.model.vectors import unit
from scripts.runner import list_of, run_script

FARS = (1e-2, 1e-3, 1e-4)


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path)
    parser.add_argument("--aligned", action="store_true")
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--bases", type=list_of(int, 1), default="1,2,4,8")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--embeddings", type=Path)
    options = parser.parse_args()
    model = read_model(options.model or shipped_model())
    matcher = model_matcher(model)
    photos = read_people(options.people, [matcher], options.aligned, options.corrections)
    vectors = stored(options.embeddings, model, photos.keys)[0] if options.embeddings else photos.embeddings[0]

    print("| bases | " + " | ".join(f"TAR@FAR={far:g}" for far in FARS) + " |")
    print("|---" * (len(FARS) + 1) + "|")
    for bases in options.bases:
        found = [
            rates(by_bases(vectors, bases, draw), photos.people) for draw in range(options.draws if bases > 1 else 1)
        ]
        show(str(bases), np.array(found))
    points = matcher.points(vectors)
    show("the model's head", np.array([rates(matcher.block(points, points), photos.people)]))
    show("cosine", np.array([rates(vectors @ vectors.T, photos.people)]))


def stored(path: Path, model: ModelFile, keys: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the model's embeddings (n, dim) and qualities (n,) of photos, from those of its networks in a file.

    Raises DataError.
    """
    with np.load(path) as file:
        place = {str(key): at for at, key in enumerate(file["key"])}
        missing = [key for key in keys if key not in place]
        if missing or any(branch.name not in file for branch in model.branches):
            raise DataError(
                f"{path} lacks the networks' embeddings of {(missing or ['these photos'])[0]}; name another file"
            )
        rows = [place[key] for key in keys]
        raw = [
            unit(file[branch.name][rows].astype(np.float32))[0] * file[f"{branch.name}_norm"][rows, None]
            for branch in model.branches
        ]
    return Joint.from_file(model, sum(part.shape[1] for part in raw))(raw)


def by_bases(vectors: np.ndarray, bases: int, draw: int) -> np.ndarray:
    """Return minus the L1 distances (n, n) between vectors (n, d), added over several bases."""
    seen = np.ascontiguousarray(vectors @ frame(vectors.shape[1], bases, draw).T)
    return -faiss.pairwise_distances(seen, seen, metric=faiss.METRIC_L1)


def rates(scores: np.ndarray, people: np.ndarray) -> list[float]:
    """Return the TAR at each of FARS, over all pairs of a matrix of scores (n, n)."""
    genuine, impostor = metrics.pair_scores(scores, people)
    return [metrics.tar_at_far(genuine, impostor, far) for far in FARS]


def show(name: str, found: np.ndarray) -> None:
    """Print one row: the least and the most of several draws (draws, FARS)."""
    cells = [
        f"{low:.1%}" if low == high else f"{low:.1%} to {high:.1%}"
        for low, high in zip(found.min(0), found.max(0), strict=True)
    ]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    run_script(main)
