"""What training minimises, each with its equation."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pair_labels(people: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Same-person and usable masks, (n, n) bool, of all pairs i < j of a batch; -1 is nobody: never in a pair."""
    upper = torch.ones(len(people), len(people), dtype=torch.bool, device=people.device).triu(1)
    known = people >= 0
    usable = upper & known[:, None] & known[None]
    return (people[:, None] == people[None]) & usable, usable


def siamese_bce(logits: torch.Tensor, people: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy over **all** pairs of a batch, same and different counting half each.

        L = 1/2 mean_{same} -log p  +  1/2 mean_{different} -log(1 - p),   p = sigmoid(logit)

    Koch et al. 2015, section 3.3, over every pair instead of one drawn pair a picture; the halves stand for the
    paper's "half of the pairs same". logits: (n, n); people: (n,) int64. Returns a scalar.
    """
    same, usable = pair_labels(people)
    different = usable & ~same
    zero = logits.sum() * 0
    genuine = F.softplus(-logits[same]).mean() if bool(same.any()) else zero
    impostor = F.softplus(logits[different]).mean() if bool(different.any()) else zero
    return 0.5 * (genuine + impostor)


def distillation(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - cos(student, teacher): the teacher's vector of each picture is its label.

    Hinton et al. 2015 with embeddings for labels. Both (n, d), of unit length.
    """
    return (1 - (embeddings * targets).sum(1)).mean()


def relational(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the batch's similarity matrices, student's and teacher's, off the diagonal.

    Park et al. 2019 (relational knowledge distillation), with cosines. Both (n, d), of unit length.
    """
    n = len(embeddings)
    gap = embeddings @ embeddings.T - targets @ targets.T
    off = ~torch.eye(n, dtype=torch.bool, device=gap.device)
    return gap[off].square().mean()


def relational_l1(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the batch's L1 distances, student's and teacher's, in units of sqrt(2 d / pi).

    Park et al. 2019, equation 5 (distance-wise), in the distance that the head sums: what counts is that L1 distances
    are right, not cosines. The unit makes two unit vectors of R^d about their L2 distance apart. Both (n, d).
    """
    unit = (2 * embeddings.shape[1] / torch.pi) ** 0.5
    return (torch.pdist(embeddings, p=1) - torch.pdist(targets, p=1)).div(unit).square().mean()


def l2_penalty(terms: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
    """sum of lambda * ||w||^2 over (lambda, tensor) pairs: Koch et al. 2015, the regulariser of section 3.3."""
    return torch.stack([decay * tensor.square().sum() for decay, tensor in terms]).sum()
