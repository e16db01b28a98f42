"""A matcher is what an evaluation measures: an encoder and the score that compares two of its embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.decision.calibration import Calibration
from facedex.model.encoder import open_encoder
from facedex.model.head import head_tensors
from facedex.model.modelfile import ModelFile
from facedex.model.torchcode import torch_code

_CHUNK = 4096  # pairs scored together: a few MB of differences

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Points = NDArray[np.float32]


def no_encoder(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The `encode` of a matcher for embeddings that exist already. Raises TypeError."""
    raise TypeError("this matcher compares embeddings and encodes no crops")


@dataclass(frozen=True)
class Matcher:
    """An encoder and a score of two embeddings. Higher scores mean "same person".

    The score of a head with weights w (m,) and, if it has one, a frame F (m, dim) is
    beta - sum_i w_i |(F a)_i - (F b)_i|. Without a `weight` the score is the cosine.

    `encode` turns crops (n, 112, 112, 3) uint8 RGB into embeddings (n, dim) float32. `fingerprint` identifies the
    encoder. `calibration` turns a score into a probability, or is None.
    """

    name: str = ""
    fingerprint: str = ""
    encode: Encode = no_encoder
    weight: NDArray[np.float32] | None = None
    beta: float = 0.0
    calibration: Calibration | None = None
    frame: NDArray[Any] | None = None

    def points(self, embeddings: NDArray[np.float32]) -> Points:
        """Embeddings (n, dim) as the other methods take them: (n, dim or m) float32, with a head each times |w|.

        A head of the 2015 network may have weights below zero, whose distance raises the score. Their columns come
        last.
        """
        if self.weight is None:
            return np.ascontiguousarray(embeddings, np.float32)
        framed = embeddings if self.frame is None else embeddings @ self.frame.T.astype(np.float32)
        return np.ascontiguousarray((framed * np.abs(self.weight))[:, self._order], np.float32)

    def pairs(self, a: Points, b: Points) -> NDArray[np.float32]:
        """Scores of pairs of points, (n, dim) and (n, dim) to (n,) float32."""
        if self.weight is None:
            return np.asarray(np.einsum("ij,ij->i", a, b, dtype=np.float32))
        signs = np.sign(self.weight[self._order]).astype(np.float32)
        return np.asarray(self.beta - np.abs(a - b) @ signs, np.float32)

    def matrix(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of all pairs of embeddings, (n, dim) to (n, n) float32."""
        points = self.points(embeddings)
        return self.block(points, points)

    def listed(self, points: Points, i: NDArray[np.integer[Any]], j: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Scores of the pairs (points[i], points[j]), (m,) float32, in bounded memory."""
        out = np.empty(len(i), np.float32)
        for start in range(0, len(i), _CHUNK):
            part = slice(start, start + _CHUNK)
            out[part] = self.pairs(points[i[part]], points[j[part]])
        return out

    def block(self, a: Points, b: Points) -> NDArray[np.float32]:
        """Scores of all of `a` with all of `b`, (n, dim) and (m, dim) to (n, m) float32.

        FAISS computes the L1 distances several times as fast as numpy, and without an array (n, m, dim).
        """
        if self.weight is None:
            return np.asarray(a @ b.T)
        import faiss

        positive = int((self.weight >= 0).sum())
        scores = np.full((len(a), len(b)), self.beta, np.float32)
        for sign, columns in ((-1, slice(0, positive)), (1, slice(positive, None))):
            if a[:, columns].shape[1]:
                left, right = (np.ascontiguousarray(points[:, columns]) for points in (a, b))
                scores += sign * faiss.pairwise_distances(left, right, metric=faiss.METRIC_L1)
        return scores

    @property
    def _order(self) -> NDArray[np.int64]:
        """The columns of the head, weights below zero last."""
        assert self.weight is not None
        return np.argsort(self.weight < 0, kind="stable")


def model_matcher(model: ModelFile, name: str = "", device: str = "cpu") -> Matcher:
    """A stored model's encoder and head.

    A model without a graph (koch) encodes in torch. Raises ModelError, and MissingExtra where torch is not installed.
    """
    if model.branches:
        encoder = open_encoder(model, device)
        return head_matcher(model, name, lambda crops: encoder.encode(crops)[0])
    network_from_file = torch_code("siamese network", f"Evaluating {model.meta.get('arch')!r}")
    return head_matcher(model, name, network_from_file(model).embed_crops)


def head_matcher(model: ModelFile, name: str = "", encode: Encode = no_encoder) -> Matcher:
    """A stored model's head, with `encode` or for embeddings that exist already. Raises ModelError."""
    weight, beta, frame = head_tensors(model)
    calibration = Calibration.from_meta(model.meta) if model.meta.get("calibration") else None
    return Matcher(name, model.fingerprint, encode, weight.astype(np.float32), beta, calibration, frame)


def cosine_matcher(model: ModelFile, name: str) -> Matcher:
    """A model's embeddings compared by cosine, whether or not the model has a head. Raises ModelError."""
    encoder = open_encoder(model)
    return Matcher(name, model.fingerprint, lambda crops: encoder.encode(crops)[0])


def distinct_names(paths: list[Path]) -> list[str]:
    """A name for each file in a table: its stem, its name, or as much of its path as no other file shares."""

    def choices(path: Path) -> list[str]:
        longer = [str(Path(*path.parts[-parts:])) for parts in range(1, len(path.parts) + 1)]
        return [path.stem, *longer]

    names = []
    for number, path in enumerate(paths, 1):
        others = [other for place, other in enumerate(paths, 1) if place != number]
        taken = {choice for other in others for choice in choices(other)}
        names.append(next((choice for choice in choices(path) if choice not in taken), f"{path} ({number})"))
    return names
