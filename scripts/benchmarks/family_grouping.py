"""Group small libraries of people who look alike, as families do, by the least number of people that the cut is for.

    python -m scripts.benchmarks.family_grouping PACK --embeddings teachers.npz [--corrections CSV] [--model FILE]
        [--least 1,100,300,1000,3000] [--libraries 60]

PACK holds aligned faces of people, and --embeddings names a file of scripts/teachers.py with their embeddings. Each
library has up to twelve photos of each of six people: somebody, and the five people of 2,500 who look most like that
person. As a comparison, as many libraries have six people by chance. People nearer to each other than .75 (cosine of
their mean embeddings) are left out, because they may be one person under two labels. --least 1 is the bare rule.

Prints a table in Markdown: means over the libraries of BCubed precision, recall and F, the lowest precision, and the
share of faces in the largest group. Needs the package scikit-learn.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from facedex.decision import clustering
from facedex.decision.calibration import Calibration
from facedex.decision.clustering import group_faces
from facedex.index.neighbours import nearest_pairs
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from scripts.benchmarks.face_grouping import labelled, score
from scripts.benchmarks.head_bases import stored
from scripts.runner import list_of, run_script

_PEOPLE, _PHOTOS, _POOL = 6, 12, 2500
_ONE_PERSON = 0.75


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--model", default=str(shipped_model()))
    parser.add_argument("--least", type=list_of(int, 1), default="1,100,300,1000,3000")
    parser.add_argument("--libraries", type=int, default=60)
    options = parser.parse_args()
    model = read_model(options.model)
    keys, names = labelled(options.pack, options.corrections)
    everybody, people = np.unique(names, return_inverse=True)
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(np.isin(people, rng.permutation(len(everybody))[:_POOL]))
    people = np.unique(people[rows], return_inverse=True)[1]
    vectors = stored(options.embeddings, model, [keys[row] for row in rows])[0]
    alike = likeness(vectors, people)
    chosen = rng.permutation(len(alike))[: options.libraries]
    libraries = {
        "six people who look alike": [family(alike[one], one) for one in chosen],
        "six people by chance": [rng.permutation(len(alike))[:_PEOPLE] for _ in chosen],
    }
    head, calibration = Head.from_file(model), Calibration.from_meta(model.meta)
    print("| libraries of | least people | precision | lowest | recall | F | faces in the largest group |")
    print("|---" * 7 + "|")
    for kind, libraries_of_kind in libraries.items():
        for least in options.least:
            clustering._LEAST_PEOPLE = least
            found = []
            for members in libraries_of_kind:
                own = np.concatenate([np.flatnonzero(people == one)[:_PHOTOS] for one in members])
                pairs = nearest_pairs(head, vectors[own])
                groups = group_faces(head.project(vectors[own]), head.beta, calibration, pairs)[0]
                scores = score(groups, people[own])
                largest = np.bincount(groups).max() / len(own)
                found.append((scores.precision.value, scores.recall.value, scores.f.value, largest))
            precision, recall, f, largest = np.mean(found, axis=0)
            lowest = min(row[0] for row in found)
            figures = " | ".join(f"{100 * value:.1f} %" for value in (precision, lowest, recall, f, largest))
            print(f"| {kind} | {least:,} | {figures} |", flush=True)


def likeness(vectors: np.ndarray, people: np.ndarray) -> np.ndarray:
    """The cosines (n, n) of the mean embeddings of n people; -1 for a person and herself."""
    sums = np.zeros((people.max() + 1, vectors.shape[1]))
    np.add.at(sums, people, vectors)
    means = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(np.eye(len(means), dtype=bool), -1, means @ means.T)


def family(alike: np.ndarray, person: int) -> np.ndarray:
    """A person and those who look most like that person, by the person's row of `likeness`."""
    order = np.argsort(-alike)
    return np.append(person, order[alike[order] < _ONE_PERSON][: _PEOPLE - 1])


if __name__ == "__main__":
    run_script(main)
