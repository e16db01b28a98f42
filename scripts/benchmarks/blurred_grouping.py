"""Group clear faces together with blurred photos of the same people: do blurs gather in one group?

    python -m scripts.benchmarks.blurred_grouping PACK [--people 250] [--pixels 24,16,12,8] [--model FILE]

PACK holds aligned faces of people. One face of each person is taken as it is, and once more made so small that its side
has --pixels pixels, and enlarged again. Both are grouped. Prints a row for each size, in Markdown: the share of blurs
that count as clear by their quality, the sizes of the largest groups of blurs, the share of blurs in the group of their
own clear face, and how many clear faces share a group with somebody else.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from facedex.decision.calibration import Calibration
from facedex.decision.clustering import faintness, group_faces
from facedex.faces.quality import sharpness
from facedex.index.neighbours import nearest_pairs
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from facedex.model.reader import FaceReader
from facedex.photos.images import decode
from facedex.photos.sources import open_people
from scripts.runner import list_of, run_script

_MARGIN = 8  # pixels of a pack's face around its crop


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--people", type=int, default=250)
    parser.add_argument("--pixels", type=list_of(int, 1), default="24,16,12,8")
    parser.add_argument("--model", default=str(shipped_model()))
    options = parser.parse_args()
    model = read_model(options.model)
    encoder, head, calibration = FaceReader(model).encoder, Head.from_file(model), Calibration.from_meta(model.meta)
    crops: dict[str, np.ndarray] = {}
    with open_people(options.pack) as photos:
        for photo in photos:
            if photo.name not in crops and len(crops) < options.people:
                crops[photo.name] = decode(photo.read(), photo.path)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    clear = encoder.encode(np.stack(list(crops.values())))
    detail = [sharpness(crop) for crop in crops.values()]
    count = len(crops)
    print(
        "| pixels | count as clear | largest groups of blurs | with their own face | clear faces with somebody else |"
    )
    print("|---" * 5 + "|")
    for pixels in options.pixels:
        pictures = [blurred(crop, pixels) for crop in crops.values()]
        blurs = encoder.encode(np.stack(pictures))
        faint = faintness(np.array([*detail, *map(sharpness, pictures)]))
        vectors, quality = (np.concatenate(parts) for parts in zip(clear, blurs, strict=True))
        sharp = quality >= calibration.unclear
        pairs = nearest_pairs(head, vectors)
        groups = group_faces(head.project(vectors), head.beta, calibration, pairs, None, sharp, faint=faint)[0]
        sizes = np.sort(np.bincount(groups[count:]))[::-1][:3]
        own = np.mean(groups[:count] == groups[count:])
        person = np.tile(np.arange(count), 2)
        mixed = [len(set(person[groups == group].tolist())) > 1 for group in groups[:count].tolist()]
        largest = ", ".join(map(str, sizes))
        print(
            f"| {pixels} | {np.mean(sharp[count:]):.0%} | {largest} | {own:.0%} | {sum(mixed)} of {count} |", flush=True
        )


def blurred(crop: np.ndarray, pixels: int) -> np.ndarray:
    """A crop (side, side, 3) uint8 that has the detail of so many pixels a side."""
    image = Image.fromarray(crop)
    small = image.resize((pixels, pixels), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


if __name__ == "__main__":
    run_script(main)
