"""What the head gains from seeing embeddings in several bases: TAR over all pairs, by how many bases it has.

    python -m scripts.benchmarks.head_bases PEOPLE [--aligned] [--corrections CSV] [--model FILE] [--bases 1,2,4,8]
    [--draws 3]
        [--embeddings teachers.npz]

PEOPLE (a folder or pack) are encoded once by the model's encoder and compared by heads of equal weights: by the L1
distance in that many orthonormal bases, the further ones drawn anew each time; by the model's own head; and by the
cosine. Prints a table in Markdown, the range over the draws in each cell. --embeddings names a file of teachers.py that
holds what each network of the model says of these photos, uncompressed say: then that is compared.
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
from scripts.runner import list_of, run_script

FARS = (1e-2, 1e-3, 1e-4)


def main() -> None:
    """Encode, compare, print."""
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
    vectors = stored(options.embeddings, model, photos.keys) if options.embeddings else photos.embeddings[0]

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


def stored(path: Path, model: ModelFile, keys: list[str]) -> np.ndarray:
    """The model's embeddings (n, dim) of photos by what its networks said of them. Raises DataError."""
    with np.load(path) as file:
        place = {str(key): at for at, key in enumerate(file["key"])}
        missing = [key for key in keys if key not in place]
        if missing or any(branch.name not in file for branch in model.branches):
            raise DataError(f"{path} lacks what the networks say of {(missing or ['these photos'])[0]}; name another")
        rows = [place[key] for key in keys]
        raw = [file[branch.name][rows].astype(np.float32) for branch in model.branches]
    return Joint.from_file(model, sum(part.shape[1] for part in raw))(raw)[0]


def by_bases(vectors: np.ndarray, bases: int, draw: int) -> np.ndarray:
    """Minus the L1 distances of everybody from everybody (n, n), of vectors (n, d) seen in so many bases."""
    seen = np.ascontiguousarray(vectors @ frame(vectors.shape[1], bases, draw).T)
    return -faiss.pairwise_distances(seen, seen, metric=faiss.METRIC_L1)


def rates(scores: np.ndarray, people: np.ndarray) -> list[float]:
    """TAR at FARS of all pairs, by their scores (n, n)."""
    genuine, impostor = metrics.pair_scores(scores, people)
    return [metrics.tar_at_far(genuine, impostor, far) for far in FARS]


def show(name: str, found: np.ndarray) -> None:
    """One row: the least and the most of several draws (draws, FARS)."""
    cells = [
        f"{low:.1%}" if low == high else f"{low:.1%} to {high:.1%}"
        for low, high in zip(found.min(0), found.max(0), strict=True)
    ]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    run_script(main)
