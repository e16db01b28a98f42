"""The learned head in numpy: embeddings to logits, with the same numbers as the head in torch (training/l1head.py)."""

from __future__ import annotations

import numpy as np

from facedex.errors import ModelError
from facedex.model.modelfile import ModelFile
from facedex.model.vectors import product

# The head sees a face as up to so many numbers, in as many whole bases as fit. Then L1 loses little to the cosine.
SEEN = 512


class Head:
    """logit = beta - sum_i w_i |(F a)_i - (F b)_i|, w >= 0 (Koch et al. 2015, section 3.2, with the sign held).

    F shows embeddings in several bases, because one basis adds noise (training/l1head.py). With z = w * F f(x) the
    logit is beta - ||z_a - z_b||_1, so an L1 search over z finds people in the order of their logits.
    """

    def __init__(self, weight: np.ndarray, beta: float, frame: np.ndarray | None = None) -> None:
        """`weight` (m,), `frame` (m, d) for embeddings of d numbers. Without a frame m is d."""
        self.weight = np.asarray(weight, np.float32)
        self.beta = float(beta)
        self.frame = None if frame is None else np.asarray(frame, np.float32)
        if self.frame is not None:
            self._turn = np.ascontiguousarray(self.frame.T.astype(np.float64) * self.weight)

    @classmethod
    def from_file(cls, file: ModelFile) -> Head:
        """The head of a stored model. Raises ModelError for weights of either sign and for a damaged head."""
        if file.meta.get("free_sign"):
            raise ModelError(
                f"{file.path} ({file.meta.get('arch')}) has a head with weights of either sign, which no index can "
                "search; use it with `facedex evaluate`, or train --arch compact"
            )
        return cls(*head_tensors(file))

    @property
    def dim(self) -> int:
        """The length of z."""
        return len(self.weight)

    def project(self, embeddings: np.ndarray) -> np.ndarray:
        """z = w * F f: (…, d) float32 to (…, dim) float32. The L1 distance of two z is beta - logit.

        The sums are in double precision. Rounded, the numbers of a face then do not depend on the other rows.
        """
        if self.frame is None:
            return np.ascontiguousarray(embeddings, np.float32) * self.weight
        return np.asarray(product(np.asarray(embeddings, np.float64), self._turn), np.float32)

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Logits of pairs that broadcast, (…, d) and (…, d) to (…) float32."""
        return np.asarray(self.beta - np.abs(self.project(a) - self.project(b)).sum(-1), np.float32)

    def pairwise(self, a: np.ndarray, b: np.ndarray, block: int = 64) -> np.ndarray:
        """Logits of all pairs, (n, d) and (m, d) to (n, m) float32, computed in blocks to save memory."""
        za, zb = self.project(a), self.project(b)
        out = np.empty((len(za), len(zb)), np.float32)
        for i in range(0, len(za), block):
            for j in range(0, len(zb), block):
                gap = np.abs(za[i : i + block, None] - zb[None, j : j + block])
                out[i : i + block, j : j + block] = self.beta - gap.sum(-1)
        return out


def head_tensors(file: ModelFile) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Weights (m,), offset, and frame (m, d) or None, of a stored head. Raises ModelError."""
    try:
        v, beta = file.tensors["head.v"].astype(np.float64).ravel(), float(file.tensors["head.beta"])
    except KeyError:
        raise ModelError(f"{file.path} holds no head; train or copy it again") from None
    frame, dim = file.tensors.get("head.frame"), file.meta.get("dim", len(v))
    if (len(v) != dim) if frame is None else (frame.shape != (len(v), dim) or not np.isfinite(frame).all()):
        raise ModelError(f"{file.path} has a head for other embeddings than its own; train or copy it again")
    return v if file.meta.get("free_sign") else np.logaddexp(0.0, v), beta, frame


def bases_of(dim: int) -> int:
    """The number of bases in which a head sees unit embeddings of `dim` numbers."""
    return max(1, SEEN // dim)


def frame(dim: int, bases: int, seed: int = 0xF4A) -> np.ndarray:
    """The identity and `bases` - 1 random rotations, (bases * dim, dim) float32, rounded to half precision."""
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.standard_normal((dim, dim)))[0] for _ in range(bases - 1)]
    return np.concatenate([np.eye(dim), *turns]).astype(np.float16).astype(np.float32)
