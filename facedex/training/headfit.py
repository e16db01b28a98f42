"""The L1 head of embeddings that stay as they are, trained in numpy without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedex.evaluation import metrics
from facedex.evaluation.matchers import Matcher
from facedex.model.head import bases_of, frame
from facedex.training.sampler import PKSampler

STEPS = 1500
_PEOPLE, _PHOTOS, _RATE = 32, 4, 0.02
L2 = 1e-4
_APART, _BETA = 14.0, 12.0  # at the start: the L1 distance of two people, as in our own networks, and the offset
_FALLING = 0.5  # the share of the steps after which the rate falls to 0
_LOOKS = 10  # validations in the whole run
BETTER = 0.005  # a fitted head replaces the first one only if its score is better by so much: less is chance


@dataclass(frozen=True)
class FittedHead:
    """Weights (m,) >= 0, offset, and the frame (m, dim) float32 or None, as facedex.model.head.Head takes them."""

    weight: np.ndarray
    beta: float
    frame: np.ndarray | None

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors of the head in a model file."""
        stored = {"head.v": _stored(self.weight).astype(np.float32), "head.beta": np.array(self.beta, np.float32)}
        return stored if self.frame is None else {**stored, "head.frame": self.frame.astype(np.float16)}

    def matrix(self, vectors: np.ndarray) -> np.ndarray:
        """Logits (n, n) float32 of all pairs of unit embeddings (n, dim)."""
        return self.matcher().matrix(vectors)

    def matcher(self) -> Matcher:
        """The head for embeddings that exist already."""
        return Matcher(weight=self.weight, beta=self.beta, frame=self.frame)


def equal_head(vectors: np.ndarray) -> FittedHead:
    """A head with equal weights for embeddings (n, dim): of all L1 heads it is nearest to the cosine."""
    dim = vectors.shape[1]
    seen = frame(dim, bases_of(dim)) if bases_of(dim) > 1 else None
    some = vectors[np.random.default_rng(0).permutation(len(vectors))[:500]]
    apart = -FittedHead(np.ones(dim if seen is None else len(seen), np.float32), 0.0, seen).matrix(some)
    middle = float(np.median(apart[np.triu_indices(len(some), 1)]))
    weight = _APART / max(middle, 1e-6)  # embeddings may all be equal
    return FittedHead(np.full(dim if seen is None else len(seen), weight, np.float32), _BETA, seen)


def fit_head(
    known: np.ndarray,
    people: np.ndarray,
    choosing: np.ndarray,
    choosing_people: np.ndarray,
    start: FittedHead | None = None,
    seed: int = 0,
    steps: int = STEPS,
) -> FittedHead:
    """The L1 head of unit embeddings `known` (n, dim) of `people` (n,), from `start`, or else from equal weights.

    It minimises the Siamese cross-entropy with L2 weight decay by Adam (Kingma & Ba 2015) on v, where w = softplus(v).
    The cross-entropy is over all pairs of P x K faces, and either kind counts half (Koch et al. 2015, section 3.3).
    Returned is the head that is best on `choosing` (m, dim); the first one stays unless another is clearly better.
    """
    first = start or equal_head(known)
    seen = known if first.frame is None else known @ first.frame.T
    sampler = PKSampler(people, _PEOPLE, _PHOTOS, seed)
    upper = np.triu_indices(sampler.size, 1)
    state = np.append(_stored(first.weight), first.beta)
    mean, square = np.zeros_like(state), np.zeros_like(state)
    best, best_score = first, choosing_score(first.matrix(choosing), choosing_people)
    for step in range(steps):
        drawn = sampler.batch(step)
        z, shown = seen[drawn], people[drawn]
        i, j = (side[(upper[0] < len(drawn)) & (upper[1] < len(drawn))] for side in upper)
        gradient = gradient_of(state, np.abs(z[i] - z[j]), shown[i] == shown[j])
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        rate = _RATE * min(1.0, (steps - step) / (steps * (1 - _FALLING)))
        corrected = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
        state -= rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        if (step + 1) % max(1, steps // _LOOKS) == 0:
            found = FittedHead(np.logaddexp(0, state[:-1]).astype(np.float32), float(state[-1]), first.frame)
            score = choosing_score(found.matrix(choosing), choosing_people)
            if score > best_score + (BETTER if best is first else 0.0):
                best, best_score = found, score
    return best


def gradient_of(state: np.ndarray, gaps: np.ndarray, same: np.ndarray) -> np.ndarray:
    """The gradient (m + 1,) of the loss of `fit_head` at `state` (m + 1,), which holds v and beta.

    `gaps` (pairs, m) float32 are the absolute differences of each pair's framed embeddings. `same` (pairs,) bool marks
    the pairs of one person.
    """
    weight = np.logaddexp(0, state[:-1]).astype(np.float32)
    logit = state[-1] - gaps @ weight
    share = np.where(same, 0.5 / max(same.sum(), 1), 0.5 / max((~same).sum(), 1))
    with np.errstate(over="ignore"):  # e to the power of a logit far below 0 is infinite, and 1 / that is 0
        slope = (share * (1 / (1 + np.exp(-logit)) - same)).astype(np.float32)
    by_weight = -(slope @ gaps) + 2 * L2 * weight
    return np.append(by_weight * -np.expm1(-np.logaddexp(0, state[:-1])), slope.sum())


def _stored(weight: np.ndarray) -> np.ndarray:
    """v with softplus(v) = weight, in double precision and without overflow for weights of thousands."""
    double = np.maximum(weight.astype(np.float64), 1e-6)
    return np.asarray(double + np.log(-np.expm1(-double)))


def choosing_score(scores: np.ndarray, people: np.ndarray) -> float:
    """What chooses among heads and projections: TAR@FAR=1e-3, with the AUC as a tie-break.

    `scores` (n, n) are those of all pairs of faces, which show `people` (n,).
    """
    genuine, impostor = metrics.pair_scores(scores, people)
    return metrics.tar_at_far(genuine, impostor, 1e-3) + metrics.auc(genuine, impostor) / 100
