"""Pictures of unusual colour: how many are told, and whether the stated rate of false matches holds for them.

    python -m scripts.benchmarks.unusual_colours FOLDER [--model FILE] [--photos 120]

FOLDER holds NAME/*.jpg. The face of each photo is found once, in the ordinary photo. Then the photo is changed and read
as a file would be, so known scales of false colour become grey. For each change: the share of pictures that
`facedex/faces/unusual.py` tells, and the shares of different people passed and of same people missed at the threshold
that `verify` takes for .1 % of different pairs. First, of all ordinary photos, the share that is told wrongly.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.decision.calibration import Calibration
from facedex.errors import DataError
from facedex.faces.alignment import align
from facedex.faces.detector import FaceDetector
from facedex.faces.unusual import unusual
from facedex.model.encoder import open_encoder
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from facedex.photos.falsecolour import in_grey
from facedex.photos.images import read_photo
from facedex.photos.listing import find_photos
from scripts.runner import run_script

Change = Callable[[np.ndarray], np.ndarray]
FMR = 1e-3


def scale(name: int) -> Change:
    """Brightness shown by one of OpenCV's scales of colours."""
    return lambda pixels: cv2.applyColorMap(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), name)[..., ::-1].copy()


def tinted(*colour: int) -> Change:
    """Mostly seen through a filter of this colour."""
    return lambda pixels: np.clip(pixels * (0.2 + 0.8 * 1.3 * np.array(colour) / 255), 0, 255).astype(np.uint8)


def levels(count: int) -> Change:
    """Posterised: so many levels in each channel."""
    return lambda pixels: (np.round(pixels / 255 * (count - 1)) * (255 / (count - 1))).astype(np.uint8)


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def sepia(pixels: np.ndarray) -> np.ndarray:
    mixed = pixels @ np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]).T
    return np.clip(mixed, 0, 255).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "none": lambda pixels: pixels,
    "grey": grey,
    "viridis": scale(cv2.COLORMAP_VIRIDIS),
    "jet": scale(cv2.COLORMAP_JET),
    "jet, reversed": lambda pixels: scale(cv2.COLORMAP_JET)(255 - pixels),
    "bone": scale(cv2.COLORMAP_BONE),
    "autumn": scale(cv2.COLORMAP_AUTUMN),
    "twilight": scale(cv2.COLORMAP_TWILIGHT),
    "sepia": sepia,
    "green tint": tinted(80, 255, 90),
    "blue tint": tinted(70, 110, 255),
    "purple tint": tinted(210, 60, 255),
    "red and blue exchanged": lambda pixels: pixels[..., ::-1].copy(),
    "negative": lambda pixels: 255 - pixels,
    "grey negative": lambda pixels: 255 - grey(pixels),
    "2 levels": levels(2),
    "3 levels": levels(3),
    "4 levels": levels(4),
    "6 levels": levels(6),
}
HARMFUL = ("twilight", "negative", "grey negative", "2 levels", "3 levels", "4 levels")  # the stated rate breaks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--photos", type=int, default=120)
    options = parser.parse_args()
    model = read_model(options.model or shipped_model())
    head, threshold = Head.from_file(model), Calibration.from_meta(model.meta).threshold(1, FMR)
    encoder, detector = open_encoder(model), FaceDetector()
    found = []
    for path in find_photos(options.folder):
        pixels = read_photo(path)
        faces = detector.detect(pixels, only_subject=True)
        if faces:
            found.append((path.parent.name, pixels, faces[0].landmarks))
    if not found:
        raise DataError(f"{options.folder} holds no photo with a face; put each person's photos in NAME/*.jpg")
    wrong = sum(unusual(align(pixels, landmarks)) is not None for _, pixels, landmarks in found)
    print(f"told of {wrong} of {len(found):,} ordinary photos")
    names, counts = np.unique([name for name, _, _ in found], return_counts=True)
    several = set(names[counts > 1].tolist())
    chosen = [one for one in found if one[0] in several][: options.photos]
    people = np.array([name for name, _, _ in chosen])
    first, second = np.triu_indices(len(people), 1)
    same = people[first] == people[second]
    table = Table("changed to", "told", "different people passed", "same people missed")
    for name, change in CHANGES.items():
        crops = [align(in_grey(change(pixels)), landmarks) for _, pixels, landmarks in chosen]
        vectors, _ = encoder.encode(np.stack(crops))
        passed = head.pairwise(vectors, vectors)[first, second] >= threshold
        told = np.mean([unusual(crop) is not None for crop in crops])
        table.add_row(name, f"{told:.1%}", f"{passed[~same].mean():.2%}", f"{(~passed[same]).mean():.1%}")
    Console(width=120).print(table)


if __name__ == "__main__":
    run_script(main)
