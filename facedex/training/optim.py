"""Muon for the convolutions, the learning rate over the steps, and a moving average of the weights."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonalised update (Jordan et al. 2024, "Muon"), for convolutions as out x (in k k).

        m <- mu m + g;   u = g + mu m (Nesterov);   w <- w - lr sqrt(max(1, rows / columns)) * NS5(u)

    NS5 is five Newton-Schulz steps of the quintic (3.4445, -4.7750, 2.0315), which bring all singular values near 1.
    torch.optim.Muon takes matrices only and works in bfloat16. On processors that emulate bfloat16, this class in
    float32 is some twenty times faster.
    """

    def __init__(
        self, params: list[torch.Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change every weight by its gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight.grad)
                buffer = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad.add(buffer, alpha=group["momentum"]).flatten(1)
                update = orthogonalise(update).view_as(weight)
                rows, columns = weight.shape[0], weight[0].numel()
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * math.sqrt(max(1.0, rows / columns)))


def orthogonalise(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """An approximation of U V^T for a matrix U S V^T: Newton-Schulz with Jordan's quintic; same shape, float32.

    A step is x <- (a + b xx^T + c (xx^T)^2) x. Every factor is a polynomial of the first xx^T. So the small square
    factors are multiplied first and then once with the long matrix, which takes two fifths of the arithmetic.
    """
    x = matrix.float()
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    product = identity = torch.eye(len(gram), device=gram.device)
    for step in range(steps):
        factor = 3.4445 * identity - 4.7750 * gram + 2.0315 * gram @ gram
        product = factor @ product
        if step + 1 < steps:
            gram = factor @ gram @ factor
    result: torch.Tensor = product @ x
    return result if wide else result.T


def rate(step: int, steps: int, warmup: float = 0.02, decay: float = 0.5) -> float:
    """The learning rate's factor at a step: a linear rise, a level part, and a linear fall over the last `decay`.

    The level part (Hägele et al. 2024, "constant learning rate and cooldown") lets a run be made longer or shorter
    under way. The factor depends on the step alone.
    """
    rise = max(1, round(warmup * steps))
    return min(1.0, (step + 1) / rise, max(0.0, (steps - step) / max(1.0, decay * steps)))


class Average(Generic[Network]):
    """Exponential moving average of a network's tensors (Polyak averaging). The average is validated and kept.

    The decay grows with the steps, min(decay, (1 + t) / (10 + t)), so that short runs are averaged too.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the network's tensors."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages = self.model.state_dict()
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                averages[name].lerp_(tensor, 1 - decay)
            else:
                averages[name].copy_(tensor)
