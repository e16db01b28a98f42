"""The head of the Siamese network: what two embeddings have to do with each other (Koch et al. 2015)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from facedex.model.head import bases_of, frame


class L1Head(nn.Module):
    """logit of "same person" = beta - sum_i w_i |(F a)_i - (F b)_i|, w_i = softplus(v_i) >= 0.

    After Koch et al. 2015, section 3.2, on embeddings a and b as a frame F of several bases shows them. With w >= 0
    the logit falls with an L1 distance between w * F a and w * F b, which is what lets an index shortlist without ever
    disagreeing with the head. `free` leaves the sign of w open, as the paper does.

    F is not learnt. The sum of |x_i| over one orthonormal basis depends on how x lies to its axes, by chance: that is
    noise beside the length of x. Over several bases the chance averages out, and the sum comes near to a multiple of
    the length (by Dvoretzky's theorem in the limit; Figiel, Lindenstrauss & Milman 1977).
    """

    def __init__(self, dim: int, normalised: bool, free: bool = False, bases: int | None = None) -> None:
        """`bases`: how many F has, if not as many as `bases_of` says; with 1 the embeddings are compared as they are."""
        super().__init__()
        if bases is None:
            bases = bases_of(dim) if normalised else 1
        # Unit vectors of strangers are some sqrt(2 d / pi) * sqrt(2) apart in L1; this w puts that at about 14.
        start = (14.0 / math.sqrt(4 * dim / math.pi) if normalised else 4.0 / dim) / bases
        self.free, self.bases = free, bases
        self.frame: torch.Tensor | None
        self.register_buffer("frame", torch.from_numpy(frame(dim, bases)) if bases > 1 else None)
        self.v = nn.Parameter(torch.full((bases * dim,), start if free else math.log(math.expm1(start))))
        self.beta = nn.Parameter(torch.tensor(12.0 if normalised else 0.5))

    @property
    def weight(self) -> torch.Tensor:
        return self.v if self.free else F.softplus(self.v)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Logits of pairs that broadcast: (…, dim) and (…, dim) to (…)."""
        return self.beta - ((self.seen(a) - self.seen(b)).abs() * self.weight).sum(-1)

    def pairwise(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Logits of everybody against everybody: (n, dim) and (m, dim) to (n, m)."""
        w, a, b = self.weight, self.seen(a), self.seen(b)
        apart = torch.cdist(a * w.clamp(min=0), b * w.clamp(min=0), p=1)
        if self.free:  # weights below zero count similarity as evidence against: a second distance, added
            apart = apart - torch.cdist(a * w.clamp(max=0), b * w.clamp(max=0), p=1)
        return self.beta - apart

    def seen(self, x: torch.Tensor) -> torch.Tensor:
        """F x: (…, dim) to (…, bases * dim)."""
        return x if self.frame is None else x @ self.frame.T
