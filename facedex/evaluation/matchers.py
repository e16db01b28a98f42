"""What is measured: an encoder with the score that compares its embeddings. Higher scores mean "same person"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.errors import MissingExtra
from facedex.model.encoder import open_encoder
from facedex.model.head import head_tensors
from facedex.model.modelfile import ModelFile

_CHUNK = 4096  # pairs scored together: a few MB of differences


@dataclass(frozen=True)
class Matcher:
    """An encoder and a score: beta - sum_i w_i |(F a)_i - (F b)_i| with a head's `weight` (m,) and `frame` F (m, dim), if it
    has one; or the cosine without.

    `encode`: crops (n, 112, 112, 3) uint8 RGB to embeddings (n, dim) float32; `fingerprint` is theirs.
    `calibration` turns a score into a probability; None where nothing is known of it.
    """

    name: str
    fingerprint: str
    encode: Callable[[np.ndarray], np.ndarray]
    weight: np.ndarray | None = None
    beta: float = 0.0
    calibration: Calibration | None = None
    frame: np.ndarray | None = None

    def points(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings as `pairs` and `block` take them, (n, dim or m) float32: for a head each number times |w|.

        Weights below zero, which the 2015 network may have, count their distance as evidence for, not against;
        their columns come last.
        """
        if self.weight is None:
            return np.ascontiguousarray(embeddings, np.float32)
        seen = embeddings if self.frame is None else embeddings @ self.frame.T.astype(np.float32)
        return np.ascontiguousarray((seen * np.abs(self.weight))[:, self._order], np.float32)

    def pairs(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Scores of pairs of points, (n, dim) and (n, dim) to (n,) float32."""
        if self.weight is None:
            return np.einsum("ij,ij->i", a, b, dtype=np.float32)
        signs = np.sign(self.weight[self._order]).astype(np.float32)
        return (self.beta - np.abs(a - b) @ signs).astype(np.float32)

    def listed(self, points: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Scores of the pairs (points[i], points[j]), (m,) float32, in bounded memory."""
        out = np.empty(len(i), np.float32)
        for start in range(0, len(i), _CHUNK):
            part = slice(start, start + _CHUNK)
            out[part] = self.pairs(points[i[part]], points[j[part]])
        return out

    def block(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Scores of everybody against everybody, (n, dim) and (m, dim) to (n, m) float32.

        L1 distances by FAISS, which is several times as fast as |a - b| in numpy and needs no (n, m, dim) array.
        """
        if self.weight is None:
            return a @ b.T
        import faiss

        plus = int((self.weight >= 0).sum())
        scores = np.full((len(a), len(b)), self.beta, np.float32)
        for sign, columns in ((-1, slice(0, plus)), (1, slice(plus, None))):
            if a[:, columns].shape[1]:
                left, right = (np.ascontiguousarray(points[:, columns]) for points in (a, b))
                scores += sign * faiss.pairwise_distances(left, right, metric=faiss.METRIC_L1)
        return scores

    @property
    def _order(self) -> np.ndarray:
        assert self.weight is not None
        return np.argsort(self.weight < 0, kind="stable")


def model_matcher(model: ModelFile, name: str = "", device: str = "cpu") -> Matcher:
    """A stored model's encoder and head. Raises ModelError, MissingExtra.

    A model without a graph (koch) encodes in torch; MissingExtra says so where torch is not installed.
    """
    if model.branches:
        encoder = open_encoder(model, device)
        return head_matcher(model, name, lambda crops: encoder.encode(crops)[0])
    try:
        from facedex.training.siamese import from_file
    except ModuleNotFoundError:
        raise MissingExtra(f"Evaluating {model.meta.get('arch')!r}", "train") from None
    return head_matcher(model, name, from_file(model).embed_crops)


def head_matcher(model: ModelFile, name: str = "", encode: Callable[[np.ndarray], np.ndarray] | None = None) -> Matcher:
    """A stored model's head, for embeddings that `encode` makes, or that are there already. Raises ModelError."""
    weight, beta, frame = head_tensors(model)
    calibration = Calibration.from_meta(model.meta) if model.meta.get("calibration") else None
    made = encode or (lambda crops: crops)
    return Matcher(name, model.fingerprint, made, weight.astype(np.float32), beta, calibration, frame)


def cosine_matcher(model: ModelFile, name: str) -> Matcher:
    """A model's embeddings compared by cosine, whether or not it has a head. Raises ModelError."""
    encoder = open_encoder(model)
    return Matcher(name, model.fingerprint, lambda crops: encoder.encode(crops)[0])


def distinct_names(paths: list[Path]) -> list[str]:
    """What to call each file in a table: its stem, or its name, or as much of its path as tells it from the others."""

    def ways(path: Path) -> list[str]:
        longer = [str(Path(*path.parts[-parts:])) for parts in range(1, len(path.parts) + 1)]
        return [path.stem, *longer]

    names = []
    for number, path in enumerate(paths, 1):
        taken = {way for at, other in enumerate(paths, 1) if at != number for way in ways(other)}
        names.append(next((way for way in ways(path) if way not in taken), f"{path} ({number})"))
    return names
