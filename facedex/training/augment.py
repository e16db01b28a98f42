"""Face-safe augmentation of a whole batch on its device.

Every number is drawn from the step's generator, so a step can be repeated exactly. Nothing here changes who is
seen: no vertical flips, no strong warps, hue kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as TF

from facedex import align


def augment(
    canvas: torch.Tensor, generator: torch.Generator, size: int = align.SIZE, jitter: float = 1.0, light: bool = True
) -> torch.Tensor:
    """Jittered crops of `size` from canvases with a margin.

    canvas: (n, 3, 128, 128) uint8 RGB. Returns (n, 3, size, size) float32 in 0..255. `jitter` is a factor on turn,
    scale and shift; 3 is about what faces cut out without landmarks look like. Without `light` nothing else is varied.
    `generator` lives on the CPU whatever the device, so that the draw does not depend on it.
    """
    n, device = len(canvas), canvas.device

    def uniform(low: float, high: float, count: int = n) -> torch.Tensor:
        return torch.empty(count).uniform_(low, high, generator=generator).to(device)

    def chance(share: float) -> torch.Tensor:
        return (torch.rand(n, generator=generator) < share).to(device)

    def some(share: float) -> torch.Tensor:  # positions, found on the CPU so that an accelerator need not be waited for
        return torch.nonzero(torch.rand(n, generator=generator) < share)[:, 0].to(device)

    x = _warp(canvas.float(), size, jitter, uniform, chance)
    if not light:
        return x

    # Light: gain, offset and gamma of each picture, then the saturation.
    x = 255 * (x / 255).clamp(0, 1) ** uniform(0.75, 1.35).view(-1, 1, 1, 1)
    x = (x - 127.5) * uniform(0.7, 1.3).view(-1, 1, 1, 1) + 127.5 + uniform(-25, 25).view(-1, 1, 1, 1)
    grey = TF.rgb_to_grayscale(x, num_output_channels=3)
    saturation = torch.where(chance(0.12), torch.zeros_like(uniform(0, 1)), uniform(0.6, 1.3)).view(-1, 1, 1, 1)
    x = grey + (x - grey) * saturation

    # Detail: a part of the batch goes through a smaller size, another through a blur; one strength a step.
    part = some(0.15)
    small = int(torch.randint(20, 80, (1,), generator=generator))
    sigma = float(torch.empty(1).uniform_(0.6, 2.2, generator=generator))
    if len(part):
        low = F.interpolate(x[part], (small, small), mode="bilinear", antialias=True)
        x[part] = F.interpolate(low, (size, size), mode="bilinear")
    part = some(0.08)
    if len(part):
        x[part] = TF.gaussian_blur(x[part], kernel_size=[7, 7], sigma=[sigma, sigma])

    x = _occlude(x, chance(0.2), uniform)
    return x.clamp(0, 255)


def _warp(x, size, jitter, uniform, chance):  # type: ignore[no-untyped-def]
    """Mirror, turn by up to 8 degrees, scale by up to 7 %, shift by up to 4 px: one bilinear sampling."""
    n, side = len(x), x.shape[-1]
    angle = torch.deg2rad(jitter * uniform(-8, 8))
    scale = (1 + jitter * uniform(-0.07, 0.07)) * align.SIZE / side
    mirror = torch.where(chance(0.5), -1.0, 1.0)
    shift = jitter * torch.stack([uniform(-4, 4), uniform(-4, 4)], 1) * (2 / side)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
    theta = torch.cat([theta, shift[:, :, None]], 2)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _occlude(x, part, uniform):  # type: ignore[no-untyped-def]
    """Cover a rectangle of some pictures (a hand, a scarf, dark glasses) with one grey level (Zhong et al. 2020)."""
    size = x.shape[-1]
    at = torch.arange(size, device=x.device)
    inside = part[:, None, None]
    for axis in (1, 2):
        start, length = uniform(0, 0.85) * size, uniform(0.15, 0.45) * size
        line = (at >= start[:, None]) & (at < (start + length)[:, None])
        inside = inside & (line[:, :, None] if axis == 1 else line[:, None, :])
    return torch.where(inside[:, None], uniform(0, 255).view(-1, 1, 1, 1), x)
