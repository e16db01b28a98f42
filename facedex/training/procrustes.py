"""Turning a trained network to new targets, where those are its old ones seen from elsewhere."""

from __future__ import annotations

import numpy as np
import torch

from facedex.data.dataset import Faces
from facedex.errors import ModelError
from facedex.training.siamese import Compact, Siamese


def turn_to(model: Siamese, faces: Faces, targets: np.ndarray, most: int = 2000, least: float = 0.01) -> bool:
    """Turn a compact network's embeddings, all alike, to where they lie nearest to `targets` (n, dim) of `faces`; whether
    it was done.

    Orthogonal Procrustes (Schönemann 1966), folded into the last layer: cosines between embeddings stay what they were.
    Targets are principal components, and those of a few photos more or less can point elsewhere altogether; what the
    network has learnt would have to be learnt anew. Fitted on half of `most` photos and done where it brings the
    other half nearer by a mean cosine of `least` or more. The head's weights belong to coordinates; they are levelled.
    Raises ModelError where embeddings are not finite.
    """
    if not isinstance(model.encoder, Compact):
        return False
    taught = np.flatnonzero(~np.isnan(targets[:, 0]))
    some = np.random.default_rng(0).permutation(taught)[:most]
    if len(some) < 4 * model.encoder.dim:  # a turn of so few says nothing about others
        return False
    embeddings, wanted = model.embed_crops(faces.crops112(some)), targets[some]
    if not np.isfinite(embeddings).all():
        raise ModelError("The model to start from gives embeddings that are not finite; train or copy it again")
    fitted, judged = slice(0, None, 2), slice(1, None, 2)
    turn = _nearest(embeddings[fitted], wanted[fitted])
    if ((embeddings[judged] @ turn - embeddings[judged]) * wanted[judged]).sum(1).mean() < least:
        return False
    turn_by(model, _nearest(embeddings, wanted))
    with torch.no_grad():
        model.head.v.fill_(model.head.weight.mean().expm1().log())
    return True


@torch.no_grad()
def turn_by(model: Siamese, turn: np.ndarray) -> None:
    """Embeddings (n, dim) of a compact network become embeddings @ `turn`, an orthogonal (dim, dim)."""
    turned = torch.from_numpy(turn.T).float()
    for part in (model.encoder.project.weight, model.encoder.project.bias):
        part.copy_(turned @ part)


def _nearest(embeddings: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The orthogonal (dim, dim) float32 that brings the rows of the one nearest to those of the other."""
    left, _, right = np.linalg.svd(embeddings.T @ wanted)
    return (left @ right).astype(np.float32)
