"""Compare ways to look up several views of one face, as a video gives them.

    python -m scripts.benchmarks.several_views PACK [--corrections CSV] [--model NAME|FILE] [--enrolled 20,100]
        [--views 1,3,5] [--draws 30] [--seed 0]

PACK holds aligned faces of people, 128 x 128. In each draw some people are enrolled from one photo each, and the
others are strangers. Each person is looked up by several other photos together, at the threshold for FPIR 1 %. Prints
a row for each size of gallery, way and number of views: the share of enrolled people named right, and the share of
strangers named. `mean odds` is what Gallery.match does. Photos of one person differ more than frames of one video.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facedex.data.dataset import correct, load_faces
from facedex.decision.calibration import Calibration
from facedex.decision.fusion import fuse
from facedex.errors import DataError
from facedex.evaluation.matchers import model_matcher
from facedex.model.head import Head
from facedex.model.modelfile import DEFAULT, read_model
from facedex.recognition.identification import FPIR
from scripts.runner import list_of, run_script

WAYS = ("one view", "mean embedding", "best view", "mean odds")


def main() -> None:
    """Run from the command line. Raises DataError and ModelError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--enrolled", type=list_of(int, 1), default=[20, 100])
    parser.add_argument("--views", type=list_of(int, 1), default=[1, 3, 5])
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = read_model(options.model)
    with tempfile.TemporaryDirectory() as folder:
        faces = correct(load_faces(options.pack, Path(folder), True), options.corrections)
        vectors = model_matcher(model).encode(faces.crops112())
    needed = max(options.views) + 1
    everybody = (vectors[faces.people == person] for person in np.unique(faces.people))
    people = [photos for photos in everybody if len(photos) >= needed]
    if len(people) <= max(options.enrolled):
        raise DataError(
            f"{options.pack} has {len(people)} people with {needed} photos; give --enrolled a smaller number"
        )
    head, calibration = Head.from_file(model), Calibration.from_meta(model.meta)
    print("| people enrolled | looked up by | views | named right | strangers named |")
    print("|---" * 5 + "|")
    for size in options.enrolled:
        threshold = calibration.threshold(size, FPIR)
        for views in options.views:
            random = np.random.default_rng(options.seed)
            shares = np.mean(
                [named(people, size, views, head, threshold, random) for _ in range(options.draws)], axis=0
            )
            for way, (right, strangers) in zip(WAYS, shares, strict=True):
                print(f"| {size} | {way} | {views} | {100 * right:.1f} % | {100 * strangers:.2f} % |", flush=True)


def named(
    people: Sequence[np.ndarray], size: int, views: int, head: Head, threshold: float, random: np.random.Generator
) -> np.ndarray:
    """(ways, 2): the share of enrolled people named right, and of strangers named, in one draw.

    `people`: the embeddings of each person, (photos, dim) each. `size` of them are enrolled from one photo.
    """
    order = random.permutation(len(people))
    shown = [people[person][random.permutation(len(people[person]))[: views + 1]] for person in order]
    gallery = np.stack([one[0] for one in shown[:size]])
    hits = np.zeros((len(WAYS), 2))
    for place, one in enumerate(shown):
        probes = one[1:]
        mean = probes.mean(0)
        logits = head.pairwise(np.concatenate([probes, mean[None] / np.linalg.norm(mean)]), gallery)
        each, pooled = logits[:-1], logits[-1]
        for way, scores in enumerate((each[0], pooled, each.max(0), fuse(each, axis=0))):
            passes = scores.max() >= threshold
            hits[way, int(place >= size)] += passes and (place >= size or scores.argmax() == place)
    return hits / np.array([size, len(people) - size])


if __name__ == "__main__":
    run_script(main)
