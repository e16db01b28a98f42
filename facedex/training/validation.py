"""Validation: how well a network tells apart people it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facedex.data.dataset import Faces
from facedex.decision.fitting import sample
from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.model.vectors import unit
from facedex.training.siamese import Siamese

_ROWS = 256  # faces compared with all others at a time


def validate(model: Siamese, faces: Faces, side: int | None = None, most: int = 1500) -> dict[str, Any]:
    """Accuracy at the best threshold, AUC and TAR@FAR=1e-3 over all pairs of at most `most` faces, by the head's logit.

    "cosine_tar_at_1e-3" and "…_1e-4" are of the cosine of the same embeddings, for comparison with the head. "score"
    chooses checkpoints: TAR@FAR=1e-3, with the AUC as a tie-break. `side` of the crops in pixels, else the network's
    own. Raises DataError where there are no two photos of one person, or no two people.
    """
    chosen = sample(faces.people, most)
    people = faces.people[chosen]
    embeddings = model.embed_crops(faces.crops112(chosen), side=side)
    genuine, impostor = metrics.pair_scores(logit_matrix(model, embeddings), people)
    if not len(genuine) or not len(impostor):
        raise DataError("Nobody of those kept apart to choose by has two photos, or there is only one; add people")
    accuracy, _ = metrics.best_accuracy(genuine, impostor)
    tar, auc = metrics.tar_at_far(genuine, impostor, 1e-3), metrics.auc(genuine, impostor)
    vectors = unit(embeddings)[0]
    cosines = metrics.pair_scores(vectors @ vectors.T, people)
    by_cosine = {f"cosine_tar_at_{name}": metrics.tar_at_far(*cosines, float(name)) for name in ("1e-3", "1e-4")}
    return {"accuracy": accuracy, "tar_at_1e-3": tar, **by_cosine, "auc": auc, "score": tar + auc / 100}


@torch.no_grad()
def logit_matrix(model: Siamese, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of all pairs by the torch head, (n, dim) to (n, n) float32."""
    vectors = torch.from_numpy(embeddings).to(next(model.parameters()).device)
    blocks = [model.head.pairwise(vectors[i : i + _ROWS], vectors) for i in range(0, len(vectors), _ROWS)]
    logits: NDArray[np.float32] = torch.cat(blocks).cpu().numpy()
    return logits
