"""The head of the Siamese network in torch: it compares two embeddings (Koch et al. 2015)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from facedex.model.head import bases_of, frame


class L1Head(nn.Module):
    """logit of "same person" = beta - sum_i w_i |(F a)_i - (F b)_i|, w_i = softplus(v_i) >= 0.

    After Koch et al. 2015, section 3.2, on embeddings a and b, which the frame F writes in several bases. With w >= 0
    the logit falls with the L1 distance of w * F a and w * F b, so an index by that distance agrees with the head.
    `free` leaves the sign of w open, as in the paper.

    F is not trained. The sum of |x_i| over one orthonormal basis depends by chance on how x lies to the axes. That is
    noise beside the length of x. Over several bases the noise averages out, and the sum approaches a multiple of the
    length (in the limit by Dvoretzky's theorem; Figiel, Lindenstrauss & Milman 1977).
    """

    def __init__(self, dim: int, normalised: bool, free: bool = False, bases: int | None = None) -> None:
        """`bases`: how many F has, else as `bases_of` chooses; with 1, embeddings are compared as they are."""
        super().__init__()
        if bases is None:
            bases = bases_of(dim) if normalised else 1
        # Unit vectors of two people are about sqrt(2 d / pi) * sqrt(2) apart in L1; this w scales that to about 14.
        start = (14.0 / math.sqrt(4 * dim / math.pi) if normalised else 4.0 / dim) / bases
        self.free, self.bases = free, bases
        self.frame: torch.Tensor | None
        self.register_buffer("frame", torch.from_numpy(frame(dim, bases)) if bases > 1 else None)
        self.v = nn.Parameter(torch.full((bases * dim,), start if free else math.log(math.expm1(start))))
        self.beta = nn.Parameter(torch.tensor(12.0 if normalised else 0.5))

    @property
    def weight(self) -> torch.Tensor:
        """w, (bases * dim,)."""
        return self.v if self.free else F.softplus(self.v)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Logits of pairs that broadcast: (…, dim) and (…, dim) to (…)."""
        return self.beta - ((self.framed(a) - self.framed(b)).abs() * self.weight).sum(-1)

    def pairwise(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Logits of all of `a` with all of `b`: (n, dim) and (m, dim) to (n, m)."""
        w, a, b = self.weight, self.framed(a), self.framed(b)
        distance = torch.cdist(a * w.clamp(min=0), b * w.clamp(min=0), p=1)
        if self.free:  # weights below zero count similarity as evidence against: a second distance, added
            distance = distance - torch.cdist(a * w.clamp(max=0), b * w.clamp(max=0), p=1)
        return self.beta - distance

    def framed(self, x: torch.Tensor) -> torch.Tensor:
        """F x: (…, dim) to (…, bases * dim)."""
        return x if self.frame is None else x @ self.frame.T
