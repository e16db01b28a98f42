"""Compare models on good photos and on bad ones: one photo of a pair is good, the other is made bad.

    python -m scripts.benchmarks.bad_probes PACK [--corrections CSV] [--model NAME|FILE]... [--photos N] [--seed 0]

PACK holds aligned faces of people, 128 x 128. Each face is made bad once (facedex/training/badphotos.py, two in three
of them change): small, blurred, noisy, dark, off colour, compressed, covered or with misplaced landmarks. Prints a row
for each model, in Markdown: TAR at FAR 1e-3 and 1e-4 of all pairs of good photos, and of each good photo with every
bad one of another photo, by the model's head and by cosine. --photos takes the first N only. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from facedex.data.dataset import Faces, correct, load_faces
from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.evaluation.matchers import Matcher, model_matcher
from facedex.faces import alignment
from facedex.model.modelfile import DEFAULT, read_model
from facedex.training.augment import augment
from scripts.runner import run_script

FARS = (1e-3, 1e-4)
_BATCH = 64  # a batch has one strength of blur and three sizes, so many batches have many


def main() -> None:
    """Run from the command line. Raises DataError and ModelError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--model", action="append")
    parser.add_argument("--photos", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        faces = load_faces(options.pack, Path(folder), True)
        faces = correct(faces, options.corrections) if options.corrections else faces
        count = min(options.photos or len(faces), len(faces))
        good, bad, people = faces.crops112(slice(0, count)), made_bad(faces, count, options.seed), faces.people[:count]
    if len(np.unique(people)) in (1, count):
        raise DataError(f"{options.pack} needs two photos of somebody, and two people; give a larger pack")
    print("| model | score | good with good: TAR@FAR=1e-3 | 1e-4 | good with bad: 1e-3 | 1e-4 |")
    print("|---" * 6 + "|")
    for name in options.model or [DEFAULT]:
        matcher = model_matcher(read_model(name))
        vectors, spoilt = matcher.encode(good), matcher.encode(bad)
        for score, compared in (("head", matcher), ("cosine", Matcher())):
            ours, others = compared.points(vectors), compared.points(spoilt)
            rates = [rate for probes in (ours, others) for rate in tars(compared.block(ours, probes), people)]
            print(f"| {name} | {score} | " + " | ".join(f"{100 * rate:.1f} %" for rate in rates) + " |", flush=True)


def made_bad(faces: Faces, count: int, seed: int) -> np.ndarray:
    """The first `count` faces as bad photos, (count, 112, 112, 3) uint8 RGB."""
    out = np.empty((count, alignment.SIZE, alignment.SIZE, 3), np.uint8)
    for start in range(0, count, _BATCH):
        canvas = torch.from_numpy(np.array(faces.crops[faces.rows[start : min(start + _BATCH, count)]]))
        generator = torch.Generator().manual_seed(seed + start)
        made = augment(canvas.permute(0, 3, 1, 2), generator, jitter=0.0, varied=0.0, bad=1.0)
        out[start : start + len(made)] = made.round().byte().permute(0, 2, 3, 1).numpy()
    return out


def tars(scores: np.ndarray, people: np.ndarray) -> list[float]:
    """TAR at each of FARS of scores (n, n) between two sets of photos of the same `people` (n,).

    A photo is never compared with itself, nor with its own bad copy.
    """
    apart, same = ~np.eye(len(people), dtype=bool), people[:, None] == people
    return [metrics.tar_at_far(scores[same & apart], scores[~same], far) for far in FARS]


if __name__ == "__main__":
    run_script(main)
