"""Random numbers for the pictures of a step, the same on every device."""

from __future__ import annotations

import torch


class Draws:
    """Random numbers for `count` pictures.

    They come from a generator on the CPU and do not depend on the pictures' `device`.
    """

    def __init__(self, generator: torch.Generator, count: int, device: torch.device) -> None:
        self.generator, self.count, self.device = generator, count, device

    def uniform(self, low: float, high: float, numbers: int = 1) -> torch.Tensor:
        """Numbers from `low` to `high` for each picture, (count,) float32, or (count, numbers)."""
        shape = (self.count,) if numbers == 1 else (self.count, numbers)
        return torch.empty(shape).uniform_(low, high, generator=self.generator).to(self.device)

    def one(self, low: float, high: float) -> float:
        """A number from `low` to `high` for all pictures together."""
        return float(torch.empty(1).uniform_(low, high, generator=self.generator))

    def noise(self, like: torch.Tensor) -> torch.Tensor:
        """Normally distributed numbers of variance 1 in the shape of `like`."""
        return torch.randn(like.shape, generator=self.generator).to(self.device)

    def chance(self, share: float) -> torch.Tensor:
        """True for about a `share` of the pictures, (count,) bool."""
        return (torch.rand(self.count, generator=self.generator) < share).to(self.device)

    def some(self, share: float) -> torch.Tensor:
        """Positions of about a `share` of the pictures, found on the CPU to avoid waiting for an accelerator."""
        return torch.nonzero(torch.rand(self.count, generator=self.generator) < share)[:, 0].to(self.device)

    def of(self, part: torch.Tensor) -> Draws:
        """Numbers for the pictures at these positions alone, from the same generator."""
        return Draws(self.generator, len(part), self.device)
