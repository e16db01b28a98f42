"""What training minimises, each with its equation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

BALANCE, SCALE, MARGIN, POWER = 0.7, 30.0, 0.4, 3.0  # lambda, r, m, t of SphereFace2, as its authors chose them


def siamese_bce(
    logits: torch.Tensor, same: torch.Tensor, different: torch.Tensor, hardest: float = 1.0
) -> torch.Tensor:
    """Binary cross-entropy over **all** pairs given, same and different counting half each.

        L = 1/2 mean_{same} -log p  +  1/2 mean_{different} -log(1 - p),   p = sigmoid(logit)

    Koch et al. 2015, section 3.3, over every pair instead of one drawn pair a picture; the halves stand for the
    paper's "half of the pairs same". With `hardest` < 1 only that share of the different pairs counts, those with
    the highest logits (hard negatives; Schroff et al. 2015, section 3.2). logits: (n, m); same, different: (n, m)
    bool masks. Returns a scalar, zero for a kind without pairs.
    """
    genuine = (F.softplus(-logits) * same).sum() / same.sum().clamp(min=1)
    if hardest < 1:
        count = int(different.sum())
        chosen = logits[different].topk(max(min(count, 1), round(hardest * count))).values
        impostor = F.softplus(chosen).sum() / max(len(chosen), 1)
    else:
        impostor = (F.softplus(logits) * different).sum() / different.sum().clamp(min=1)
    return 0.5 * (genuine + impostor)


def pair_masks(people: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pairs i < j of a batch are one person's and which two people's, (n, n) bool; -1 is nobody's face."""
    upper = torch.ones(len(people), len(people), dtype=torch.bool, device=people.device).triu(1)
    known = people >= 0
    usable = upper & known[:, None] & known[None]
    same = people[:, None] == people[None]
    return same & usable, ~same & usable


def one_against_all(cosines: torch.Tensor, people: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Every person a yes-or-no question of its own, with one bias for all: SphereFace2 (Wen et al. 2022, equation 7).

        L = lambda / r softplus(-r (g(cos_y) - m) - b) + (1 - lambda) / r sum_{j != y} softplus(r (g(cos_j) + m) + b)
        g(z) = 2 ((z + 1) / 2)^t - 1

    Unlike a softmax it asks for the same threshold everywhere, which is what a same-or-different answer needs.
    cosines: (n, people) between faces and the people's proxies; people: (n,) int64; bias: scalar. The mean over n.
    """
    adjusted = 2 * ((cosines + 1) / 2).clamp(min=1e-6) ** POWER - 1
    own = F.one_hot(people, cosines.shape[1]).bool()
    yes = F.softplus(-SCALE * (adjusted - MARGIN) - bias)
    no = F.softplus(SCALE * (adjusted + MARGIN) + bias)
    return (torch.where(own, BALANCE * yes, (1 - BALANCE) * no).sum(1) / SCALE).mean()


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
    gap = (embeddings @ embeddings.T - targets @ targets.T).fill_diagonal_(0)
    return gap.square().sum() / (n * (n - 1))


def relational_l1(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the batch's L1 distances, student's and teacher's, in units of sqrt(2 d / pi).

    Park et al. 2019, equation 5 (distance-wise), in what a head of one basis sums: there L1 distances have to be right,
    not only cosines. The unit makes two unit vectors of R^d about their L2 distance apart. Both (n, d).
    """
    unit = (2 * embeddings.shape[1] / torch.pi) ** 0.5
    return (torch.pdist(embeddings, p=1) - torch.pdist(targets, p=1)).div(unit).square().mean()


def l2_penalty(terms: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
    """sum of lambda * ||w||^2 over (lambda, tensor) pairs: Koch et al. 2015, the regulariser of section 3.3."""
    return torch.stack([decay * tensor.square().sum() for decay, tensor in terms]).sum()
