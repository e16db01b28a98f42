"""What learns beside the network, or remembers for it, and is thrown away with the run."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from facedex.training import losses


class Proxies(nn.Module):
    """One vector for every person of the training set, and the bias that all questions share (see
    losses.one_against_all).
    """

    def __init__(self, people: int, dim: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(F.normalize(torch.randn(people, dim), dim=1))
        # Where the one yes and the many noes of a face pull equally hard while all cosines are still near 0.
        share = losses.BALANCE / ((1 - losses.BALANCE) * max(people - 1, 1))
        asked = losses.SCALE * (2 * 0.5**losses.POWER - 1 + losses.MARGIN)
        self.bias = nn.Parameter(torch.tensor(math.log(share / max(1 - share, 1e-3)) - asked))

    def loss(self, embeddings: torch.Tensor, people: torch.Tensor) -> torch.Tensor:
        """embeddings (n, dim) of unit length, people (n,) int64. Returns a scalar."""
        return losses.one_against_all(embeddings @ F.normalize(self.vectors, dim=1).T, people, self.bias)


class Memory(nn.Module):
    """The last `size` named faces, to compare a batch with: cross-batch memory (Wang et al. 2020).

    Embeddings drift slowly, so old ones serve as partners without being encoded again. A part of the checkpoint,
    because what a step learns depends on it.
    """

    embeddings: torch.Tensor
    people: torch.Tensor
    at: torch.Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(size, dim))
        self.register_buffer("people", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("at", torch.zeros((), dtype=torch.int64))

    def masks(self, people: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs of a batch (n,) with the memory: one person's, two people's, (n, size) bool; empty places are neither."""
        filled = (self.people >= 0)[None]
        same = people[:, None] == self.people[None]
        return same & filled, ~same & filled

    @torch.no_grad()
    def remember(self, embeddings: torch.Tensor, people: torch.Tensor) -> None:
        """Put a batch, (n, dim) and (n,), in place of the oldest."""
        places = (self.at + torch.arange(len(people), device=people.device)) % len(self.people)
        self.embeddings[places] = embeddings.detach().float()
        self.people[places] = people
        self.at.copy_((self.at + len(people)) % len(self.people))
