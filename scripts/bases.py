"""What the head gains from seeing embeddings in several bases: TAR over all pairs, by how many bases it has.

    python scripts/bases.py PEOPLE [--aligned] [--corrections CSV] [--model FILE] [--bases 1,2,4,8] [--draws 3]

PEOPLE (a folder or pack) are encoded once by the model's encoder and compared by heads of equal weights (the ones that
train.py ends with): by the L1 distance in that many orthonormal bases, the further ones drawn anew each time, and by the
cosine. Prints a table in Markdown, the range over the draws in each cell.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import faiss
import numpy as np
from told import list_of, told

from facedex.evaluation import metrics
from facedex.evaluation.matchers import model_matcher
from facedex.evaluation.photos import read_people
from facedex.head import frame
from facedex.modelfile import read_model, shipped_model

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
    options = parser.parse_args()
    matcher = model_matcher(read_model(options.model or shipped_model()))
    photos = read_people(options.people, [matcher], options.aligned, options.corrections)
    vectors = photos.embeddings[0]

    print("| bases | " + " | ".join(f"TAR@FAR={far:g}" for far in FARS) + " |")
    print("|---" * (len(FARS) + 1) + "|")
    for bases in options.bases:
        found = [
            rates(by_bases(vectors, bases, draw), photos.people) for draw in range(options.draws if bases > 1 else 1)
        ]
        show(str(bases), np.array(found))
    show("cosine", np.array([rates(vectors @ vectors.T, photos.people)]))


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
    told(main)
