"""The learned head in numpy: embeddings to logits, the same as training.head.L1Head."""

from __future__ import annotations

import numpy as np

from facedex.errors import ModelError
from facedex.model.modelfile import ModelFile
from facedex.model.vectors import product

# Numbers that the head sees of a face, in as many whole bases as fit; with so many L1 loses little to the angle.
SEEN = 512


class Head:
    """logit = beta - sum_i w_i |(F a)_i - (F b)_i|, w >= 0 (Koch et al. 2015, section 3.2, with the sign held).

    F shows embeddings in several bases, against the noise of one (training/head.py says why); models of before have none.
    With z = w * F f(x) the logit is beta - ||z_a - z_b||_1: an L1 search over z finds the head's own order.
    """

    def __init__(self, weight: np.ndarray, beta: float, frame: np.ndarray | None = None) -> None:
        """`weight` (m,), `frame` (m, d) for embeddings of d numbers; without it m is d."""
        self.weight = np.asarray(weight, np.float32)
        self.beta = float(beta)
        self.frame = None if frame is None else np.asarray(frame, np.float32)
        if self.frame is not None:
            self._turn = np.ascontiguousarray(self.frame.T.astype(np.float64) * self.weight)

    @classmethod
    def from_file(cls, file: ModelFile) -> Head:
        """The head of a stored model. Raises ModelError for one whose weights have free signs, or that is not whole."""
        if file.meta.get("free_sign"):
            raise ModelError(
                f"{file.path} ({file.meta.get('arch')}) has a head with weights of either sign, which no index can "
                "search; use it with `facedex evaluate`, or train --arch compact"
            )
        return cls(*head_tensors(file))

    @property
    def dim(self) -> int:
        """How many numbers z has."""
        return len(self.weight)

    def project(self, embeddings: np.ndarray) -> np.ndarray:
        """z = w * F f: (…, d) float32 to (…, dim) float32, in which L1 distance is beta - logit.

        Summed in double precision, so that once rounded a face's numbers do not depend on the faces beside it.
        """
        if self.frame is None:
            return np.ascontiguousarray(embeddings, np.float32) * self.weight
        return product(np.asarray(embeddings, np.float64), self._turn).astype(np.float32)

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Logits of pairs that broadcast, (…, d) and (…, d) to (…) float32."""
        return (self.beta - np.abs(self.project(a) - self.project(b)).sum(-1)).astype(np.float32)

    def pairwise(self, a: np.ndarray, b: np.ndarray, block: int = 64) -> np.ndarray:
        """Logits of everybody against everybody, (n, d) and (m, d) to (n, m) float32, block-wise in memory."""
        za, zb = self.project(a), self.project(b)
        out = np.empty((len(za), len(zb)), np.float32)
        for i in range(0, len(za), block):
            for j in range(0, len(zb), block):
                gap = np.abs(za[i : i + block, None] - zb[None, j : j + block])
                out[i : i + block, j : j + block] = self.beta - gap.sum(-1)
        return out


def head_tensors(file: ModelFile) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Weights (m,), offset and frame (m, d), or None for none, of a stored head. Raises ModelError."""
    try:
        v, beta = file.tensors["head.v"].astype(np.float64).ravel(), float(file.tensors["head.beta"])
    except KeyError:
        raise ModelError(f"{file.path} holds no head; train or copy it again") from None
    frame, dim = file.tensors.get("head.frame"), file.meta.get("dim", len(v))
    if (len(v) != dim) if frame is None else (frame.shape != (len(v), dim) or not np.isfinite(frame).all()):
        raise ModelError(f"{file.path} has a head for other embeddings than its own; train or copy it again")
    return v if file.meta.get("free_sign") else np.logaddexp(0.0, v), beta, frame


def bases_of(dim: int) -> int:
    """In how many bases a head sees unit embeddings of `dim` numbers."""
    return max(1, SEEN // dim)


def frame(dim: int, bases: int, seed: int = 0xF4A) -> np.ndarray:
    """The coordinates themselves and `bases` - 1 random rotations of them, (bases * dim, dim) float32, rounded to what
    half precision stores.
    """
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.standard_normal((dim, dim)))[0] for _ in range(bases - 1)]
    return np.concatenate([np.eye(dim), *turns]).astype(np.float16).astype(np.float32)
