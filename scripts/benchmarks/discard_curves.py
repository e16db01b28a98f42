"""Which measures of a face tell how well it is recognised, and below what it is not.

    python -m scripts.benchmarks.discard_curves FOLDER [--model FILE] [--most 1000]

FOLDER holds NAME/*.jpg, photos and not aligned faces. Prints error-versus-discard curves (Grother and Tabassi 2007):
the threshold is the one that 0.1 % of different pairs pass, then the worst faces by each measure are set aside, a pair
by the worse of its two, and the FNMR of what is left is shown; a good measure makes it fall fast. Then photos are
shrunk, and blurred, so that a face is so many pixels wide, and the FNMR is that of the changed against the unchanged
photo of another occasion, a face that is not found counting as missed: the limits that facedex.quality warns at come
from there. Intervals (95 %) by drawing people again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from facedex.decision.calibration import Calibration
from facedex.errors import DataError, PhotoError
from facedex.evaluation.bootstrap import people_weights
from facedex.evaluation.metrics import threshold_at_fmr
from facedex.faces import alignment
from facedex.faces.quality import Quality
from facedex.model.head import Head
from facedex.model.modelfile import read_model, shipped_model
from facedex.model.reader import FaceReader
from facedex.photos import images
from scripts.runner import run_script

MEASURES = ("width", "sharpness", "turn (less is better)", "detector's score", "embedding's length", "facedex warns")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--most", type=int, default=1000, help="people to look at")
    parser.add_argument("--pairs", type=int, default=150, help="that are shrunk and blurred")
    options = parser.parse_args()
    model = read_model(options.model or shipped_model())
    head, reader = Head.from_file(model), FaceReader(model)
    unclear = Calibration.from_meta(model.meta).unclear
    vectors, people, measured, photos = [], [], [], []
    for person, folder in enumerate(sorted(path for path in options.folder.iterdir() if path.is_dir())[: options.most]):
        for path in images.find_photos(folder):
            found = _read(reader, _pixels(path), unclear)
            if found is not None:
                vectors.append(found[0])
                measured.append(found[1])
                people.append(person)
                photos.append(path)
    if not 1 < len(set(people)) < len(people):
        raise DataError(
            f"{options.folder} must show two people or more, one of them in two photos; put each person's in NAME/*.jpg"
        )
    whole, owner, table = np.stack(vectors), np.array(people), np.array(measured)
    print(
        f"{len(owner):,} faces of {owner.max() + 1:,} people; measures (5 %, median): "
        + ", ".join(
            f"{name} {low:.3g}, {mid:.3g}"
            for name, low, mid in zip(MEASURES[:-1], np.quantile(table, 0.05, 0), np.median(table, 0), strict=False)
        )
    )
    matrix = head.pairwise(whole, whole)
    i, j = np.triu_indices(len(owner), 1)
    same = owner[i] == owner[j]
    impostor = matrix[i, j][~same]
    threshold = threshold_at_fmr(impostor, 1e-3)
    a, b = i[same], j[same]
    missed = matrix[a, b] < threshold
    console = Console(width=120)
    curve = Table("FNMR at FMR 0.1 %, discarding", "nothing", "5 %", "10 %", "20 %", "30 %", "50 %")
    for number, name in enumerate(MEASURES[:-1]):
        value = -table[:, number] if "turn" in name else table[:, number]
        worse = np.minimum(value[a], value[b])
        order = np.argsort(worse)
        kept = [missed[order[int(share * len(order)) :]].mean() for share in (0, 0.05, 0.1, 0.2, 0.3, 0.5)]
        curve.add_row(name, *(f"{rate:.1%}" for rate in kept))
    console.print(curve)
    warned = table[:, 5] > 0
    told = warned[a] | warned[b]
    print(
        f"facedex warns of {warned.mean():.1%} of the faces; FNMR of pairs with such a face "
        f"{missed[told].mean() if told.any() else float('nan'):.1%}, of the others {missed[~told].mean():.1%}"
    )

    pairs = np.random.default_rng(0).permutation(len(a))[: options.pairs]
    degraded = Table("the face in one photo is", "found", "FNMR", "sharpness (median)", "warned of")
    degraded.add_row(
        "as it is",
        "100%",
        spread(missed[pairs], owner[a[pairs]]),
        f"{np.median(table[a[pairs], 1]):.4f}",
        f"{table[a[pairs], 5].mean():.0%}",
    )
    for kind, amounts in (("px wide", (96, 64, 48, 32, 24, 16)), ("px of blur at 100 px", (1, 2, 3, 4, 6))):
        for amount in amounts:
            scores, notes = np.full(len(pairs), -np.inf), []
            for number, at in enumerate(pairs):
                pixels = _pixels(photos[a[at]])
                width = table[a[at], 0]
                if kind == "px wide":
                    size = [max(8, round(side * amount / width)) for side in pixels.shape[1::-1]]
                    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
                else:
                    pixels = cv2.GaussianBlur(pixels, (0, 0), amount * width / 100)
                found = _read(reader, pixels, unclear)
                if found is not None:
                    scores[number] = float(head.logits(found[0], whole[b[at]]))
                    notes.append(found[1])
            rates = np.array(notes)
            degraded.add_row(
                f"{amount} {kind}",
                f"{len(notes) / len(pairs):.0%}",
                spread(scores < threshold, owner[a[pairs]]),
                *((f"{np.median(rates[:, 1]):.4f}", f"{np.mean(rates[:, 5]):.0%}") if notes else ("", "")),
            )
    console.print(degraded)


def spread(missed: np.ndarray, owner: np.ndarray) -> str:
    """The share missed of pairs (n,) with its 95 % interval, drawing their people (n,) again."""
    weights = people_weights(int(owner.max()) + 1, 0)[:, owner]
    low, high = np.nanquantile((weights @ missed) / np.maximum(weights.sum(1), 1e-9), [0.025, 0.975])
    return f"{missed.mean():.1%} ({low:.1%} to {high:.1%})"


def _pixels(path: Path) -> np.ndarray:
    return images.decode(images.read_bytes(str(path)), str(path))


def _read(reader: FaceReader, pixels: np.ndarray, unclear: float) -> tuple[np.ndarray, tuple[float, ...]] | None:
    """The embedding of the subject, and its measures; the last is 1 where facedex would warn."""
    try:
        faces = reader.detector.detect(pixels)
    except PhotoError:
        return None
    if not faces:
        return None
    face = faces[0]
    crop = alignment.align(pixels, face.landmarks)
    one = reader.encode_crops([crop], [face])[0]
    quality = Quality.of(face, crop, one.quality)
    return one.vector, (
        quality.width,
        quality.sharpness,
        quality.turn,
        quality.score,
        one.quality,
        float(quality.reason(unclear) is not None),
    )


if __name__ == "__main__":
    run_script(main)
