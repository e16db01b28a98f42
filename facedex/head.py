"""The learned head in numpy: embeddings to logits, the same as model.L1Head."""

from __future__ import annotations

import numpy as np

from facedex.errors import ModelError
from facedex.modelfile import ModelFile


class Head:
    """logit = beta - sum_i w_i |a_i - b_i|, w >= 0 (Koch et al. 2015, section 3.2, with the sign held).

    With z = w * f(x) that is beta - ||z_a - z_b||_1: an L1 search over z finds the head's own order.
    """

    def __init__(self, weight: np.ndarray, beta: float) -> None:
        self.weight = np.asarray(weight, np.float32)
        self.beta = float(beta)

    @classmethod
    def from_file(cls, file: ModelFile) -> Head:
        """The head of a stored model. Raises ModelError for one whose weights have free signs."""
        if file.meta.get("free_sign"):
            raise ModelError(
                f"{file.path} ({file.meta.get('arch')}) has a head with weights of either sign, which no index can "
                "search; use it with `facedex evaluate`, or train --arch compact"
            )
        try:
            v, beta = file.tensors["head.v"].astype(np.float64), float(file.tensors["head.beta"])
        except KeyError:
            raise ModelError(f"{file.path} holds no head; train or copy it again") from None
        return cls(np.logaddexp(0.0, v), beta)

    def project(self, embeddings: np.ndarray) -> np.ndarray:
        """z = w * f: (n, d) float32 to (n, d) float32, in which L1 distance is beta - logit."""
        return np.ascontiguousarray(embeddings, np.float32) * self.weight

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Logits of pairs that broadcast, (…, d) and (…, d) to (…) float32."""
        return (self.beta - (np.abs(a - b) * self.weight).sum(-1)).astype(np.float32)

    def pairwise(self, a: np.ndarray, b: np.ndarray, block: int = 256) -> np.ndarray:
        """Logits of everybody against everybody, (n, d) and (m, d) to (n, m) float32, block-wise in memory."""
        za, zb = self.project(a), self.project(b)
        out = np.empty((len(za), len(zb)), np.float32)
        for i in range(0, len(za), block):
            for j in range(0, len(zb), block):
                gap = np.abs(za[i : i + block, None] - zb[None, j : j + block])
                out[i : i + block, j : j + block] = self.beta - gap.sum(-1)
        return out
