"""How good a model is on photos it has never seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedex import align, images
from facedex.detect import Face, FaceDetector
from facedex.encoder import open_encoder
from facedex.errors import DataError, MissingExtra, PhotoError
from facedex.evaluation import metrics
from facedex.head import Head
from facedex.modelfile import ModelFile

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_FARS = (1e-1, 1e-2, 1e-3)


@dataclass(frozen=True)
class Pair:
    """Two photos (paths below the images folder, without suffix), whether of one person, and the fold (0-9)."""

    a: str
    b: str
    same: bool
    fold: int


@dataclass(frozen=True)
class PairsReport:
    """Ten-fold accuracy (LFW's View 2 protocol, Huang et al. 2007) with its standard error, TAR by FAR, AUC.

    `failed` photos show no face that was found; their pairs count as "different".
    """

    pairs: int
    accuracy: float
    accuracy_se: float
    tar: dict[float, float]
    auc: float
    failed: list[str]


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """A pairs file in LFW's format: a header "N" or "FOLDS N", then N same and N different pairs a fold.

    A file without folds is cut into ten of equal parts, same and different, in file order. Raises DataError.
    """
    try:
        lines = [line.split() for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
        header = [int(field) for field in lines[0]]
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        raise DataError(f"{path} is no pairs file ({error}); it starts with the number of pairs, as LFW's do") from None
    folds, each = (header[0], header[1]) if len(header) == 2 else (1, header[0])
    if len(lines) - 1 != 2 * folds * each:
        raise DataError(f"{path} announces {2 * folds * each} pairs and holds {len(lines) - 1}; get the file again")
    pairs = []
    for number, fields in enumerate(lines[1:]):
        try:
            if len(fields) == 3:
                a, b, same = (fields[0], int(fields[1])), (fields[0], int(fields[2])), True
            elif len(fields) == 4:
                a, b, same = (fields[0], int(fields[1])), (fields[2], int(fields[3])), False
            else:
                raise ValueError
        except ValueError:
            raise DataError(f"Line {number + 2} of {path} is no pair: NAME N N, or NAME N NAME N") from None
        fold = number // (2 * each) if folds > 1 else (number % each) * 10 // each
        first, second = (f"{name}/{name}_{photo:04d}" for name, photo in (a, b))
        pairs.append(Pair(first, second, same, fold))
    for same in (True, False):
        if len({pair.fold for pair in pairs if pair.same == same}) < 2:
            raise DataError(f"{path} needs two pairs of the same person and two of different ones; add pairs")
    return pairs


def evaluate_pairs(
    model: ModelFile,
    pairs: list[Pair],
    photos: str | os.PathLike[str],
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> PairsReport:
    """Score pairs with the model's head, each photo encoded once. `progress` is told (photos done, of).

    Raises DataError when photos are missing, ModelError.
    """
    names = sorted({name for pair in pairs for name in (pair.a, pair.b)})
    crops, failed = _aligned(Path(photos), names, progress)
    embeddings, score = comparer(model, device)
    vectors = dict(zip(crops, embeddings(np.stack(list(crops.values()))), strict=True)) if crops else {}
    scores = np.full(len(pairs), -np.inf, np.float32)
    usable = [i for i, pair in enumerate(pairs) if pair.a in vectors and pair.b in vectors]
    if not usable:
        raise DataError(f"No face was found in the photos of {photos}; nothing can be compared")
    for start in range(0, len(usable), 256):
        part = usable[start : start + 256]
        scores[part] = score(
            np.stack([vectors[pairs[i].a] for i in part]), np.stack([vectors[pairs[i].b] for i in part])
        )
    return report(scores, np.array([pair.same for pair in pairs]), np.array([pair.fold for pair in pairs]), failed)


def report(scores: np.ndarray, same: np.ndarray, folds: np.ndarray, failed: list[str]) -> PairsReport:
    """Figures of scored pairs: scores (n,), same (n,) bool, folds (n,) int. The threshold of a fold is chosen on
    the others.
    """
    floor = scores[np.isfinite(scores)].min() - 1
    scores = np.where(np.isfinite(scores), scores, floor).astype(np.float32)
    accuracies = []
    for fold in np.unique(folds):
        mine = folds == fold
        _, threshold = metrics.best_accuracy(scores[~mine & same], scores[~mine & ~same])
        accuracies.append(((scores[mine] >= threshold) == same[mine]).mean())
    genuine, impostor = scores[same], scores[~same]
    return PairsReport(
        len(scores),
        float(np.mean(accuracies)),
        float(np.std(accuracies, ddof=1) / np.sqrt(len(accuracies))),
        {far: metrics.tar_at_far(genuine, impostor, far) for far in _FARS},
        metrics.auc(genuine, impostor),
        failed,
    )


def comparer(
    model: ModelFile, device: str = "cpu"
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Two functions: crops (n, 112, 112, 3) to embeddings, and two batches of embeddings to logits (n,).

    A model without a graph (koch) runs unsplit in torch; MissingExtra says so where torch is not installed.
    """
    if model.meta.get("graph_sha256"):
        encoder, head = open_encoder(model, device), Head.from_file(model)
        return (lambda crops: encoder.encode(crops)[0]), head.logits
    try:
        import torch

        from facedex.training.model import from_file
    except ModuleNotFoundError:
        raise MissingExtra(f"Evaluating {model.meta.get('arch')!r}", "train") from None
    network = from_file(model)

    def logits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network.head(torch.from_numpy(a), torch.from_numpy(b)).numpy()

    return network.embed_crops, logits


def _aligned(
    folder: Path, names: list[str], progress: Callable[[int, int], None] | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Crops by name of the face in the middle of each photo, and the names in which none was found."""
    detector = FaceDetector()

    def crop(name: str) -> np.ndarray | None:
        path = next((p for suffix in _SUFFIXES if (p := folder / f"{name}{suffix}").is_file()), None)
        if path is None:
            raise DataError(
                f"{folder / name}.jpg does not exist; --images must be the folder that holds NAME/NAME_0001.jpg"
            )
        try:
            pixels = images.decode(images.read_bytes(path), str(path))
        except PhotoError:
            return None
        faces = detector.detect(pixels)
        return align.align(pixels, central(faces, pixels.shape).landmarks) if faces else None

    crops: dict[str, np.ndarray] = {}
    failed = []
    with ThreadPoolExecutor(2) as pool:
        for done, (name, result) in enumerate(zip(names, pool.map(crop, names), strict=True), 1):
            if result is None:
                failed.append(name)
            else:
                crops[name] = result
            if progress:
                progress(done, len(names))
    return crops, failed


def central(faces: list[Face], shape: tuple[int, ...]) -> Face:
    """The face nearest the middle: in sets such as LFW the person named, whoever else is in the picture."""
    middle = np.array([shape[1] / 2, shape[0] / 2])

    def distance(face: Face) -> float:
        left, top, width, height = face.box
        return float(np.hypot(*(np.array([left + width / 2, top + height / 2]) - middle)))

    return min(faces, key=distance)
