"""The terms that training minimises, each with its equation."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def siamese_bce(logits: torch.Tensor, same: torch.Tensor, different: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy over all pairs given; same and different pairs count half each.

        L = 1/2 mean_{same} -log p  +  1/2 mean_{different} -log(1 - p),   p = sigmoid(logit)

    Koch et al. 2015, section 3.3, over every pair of the batch instead of one random pair for each picture. The halves
    stand for the paper's "half of the pairs same". logits (n, m); same and different (n, m) bool masks. Returns a
    scalar; a kind without pairs adds zero.
    """
    genuine = (F.softplus(-logits) * same).sum() / same.sum().clamp(min=1)
    impostor = (F.softplus(logits) * different).sum() / different.sum().clamp(min=1)
    return 0.5 * (genuine + impostor)


def pair_masks(people: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs i < j of a batch that show one person, and those that show two: (n, n) bool each.

    people (n,) int64; -1 marks a face without a name, which is in no pair.
    """
    upper = torch.ones(len(people), len(people), dtype=torch.bool, device=people.device).triu(1)
    named = people >= 0
    usable = upper & named[:, None] & named[None]
    same = people[:, None] == people[None]
    return same & usable, ~same & usable


def distillation(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - cos(student, teacher): the teacher's vector of each picture is its label.

    Hinton et al. 2015 with embeddings for labels. Both (n, d), of unit length. Returns a scalar.
    """
    return (1 - (embeddings * targets).sum(1)).mean()


def relational(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the batch's similarity matrices, student's and teacher's, off the diagonal.

    Park et al. 2019 (relational knowledge distillation), with cosines. Both (n, d), of unit length. Returns a scalar.
    """
    n = len(embeddings)
    gap = (embeddings @ embeddings.T - targets @ targets.T).fill_diagonal_(0)
    return gap.square().sum() / (n * (n - 1))


def relational_l1(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the batch's L1 distances, student's and teacher's, in units of sqrt(2 d / pi).

    Park et al. 2019, equation 5 (distance-wise). A head of one basis sums L1 distances, so these must be right and not
    only cosines. The unit makes two unit vectors of R^d about their L2 distance apart. Both (n, d). Returns a scalar.
    """
    unit = (2 * embeddings.shape[1] / torch.pi) ** 0.5
    return (torch.pdist(embeddings, p=1) - torch.pdist(targets, p=1)).div(unit).square().mean()


def l2_penalty(terms: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
    """Sum of lambda * ||w||^2 over pairs (lambda, w): the regulariser of Koch et al. 2015, section 3.3."""
    return torch.stack([decay * tensor.square().sum() for decay, tensor in terms]).sum()
