"""Face-safe augmentation of a whole batch on its device.

Every number is drawn from the step's generator, so a step can be repeated exactly. No change makes another person of
a face: there are no vertical flips and no strong warps, and the hue stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as TF

from facedex.faces import alignment
from facedex.training.badphotos import covered, degraded
from facedex.training.draws import Draws

_MISPLACED = 0.15  # the share of pictures whose landmarks are misplaced, where all become bad


def augment(
    canvas: torch.Tensor,
    generator: torch.Generator,
    size: int = alignment.SIZE,
    jitter: float = 1.0,
    varied: float = 1.0,
    points: Sequence[Sequence[float]] | None = None,
    bad: float = 0.0,
) -> torch.Tensor:
    """Jittered crops of `size` from canvases with a margin.

    canvas: (n, 3, 128, 128) uint8 RGB. Returns (n, 3, size, size) float32 in 0..255. `jitter` is a factor on rotation,
    scale and shift; 3 imitates faces that were cut out without landmarks. `varied` is the share of pictures that also
    change in light and detail. `points` are a network's own template, as `alignment.fitted` takes it. `bad` of 0..1
    says how many pictures become bad photos (badphotos.py) or have their landmarks misplaced. `generator` is on the
    CPU.
    """
    draws = Draws(generator, len(canvas), canvas.device)
    x: torch.Tensor = canvas.float()
    widths: torch.Tensor | float = jitter
    if bad:
        x = covered(x, draws, bad)
        widths = torch.where(draws.chance(_MISPLACED * bad), 3.0, jitter)
    x = _warp(x, size, widths, draws, points)
    if varied >= 1:
        x = _vary(x, draws)
    else:
        part = draws.some(varied)
        if len(part):
            x[part] = _vary(x[part], draws.of(part))
    return degraded(x, draws, bad) if bad else x


def _warp(
    x: torch.Tensor,
    size: int,
    jitter: torch.Tensor | float,
    draws: Draws,
    points: Sequence[Sequence[float]] | None,
) -> torch.Tensor:
    """Mirror, rotate by up to 8 degrees, scale by up to 7 % and shift by up to 4 px, in one bilinear sampling.

    `jitter` is a factor on these, one for all or (n,).
    """
    n, side, uniform = len(x), x.shape[-1], draws.uniform
    angle = torch.deg2rad(jitter * uniform(-8, 8))
    scale = 1 + jitter * uniform(-0.07, 0.07)
    mirror = torch.where(draws.chance(0.5), -1.0, 1.0)
    shift = torch.stack([jitter * uniform(-4, 4), jitter * uniform(-4, 4)], 1) * (2 / side)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    turn = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
    seen = _seen(size, points).to(x)
    theta = torch.cat([turn @ seen[:, :2], turn @ seen[:, 2:] + shift[:, :, None]], 2)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _seen(size: int, points: Sequence[Sequence[float]] | None) -> torch.Tensor:
    """The part of a canvas that a crop of `size` pixels shows: a map (2, 3) from the crop to the canvas.

    Both have coordinates of -1 to 1 from edge to edge, as `affine_grid` takes them.
    """
    canvas = alignment.SIZE + 2 * alignment.MARGIN
    if points is None:
        return torch.eye(2, 3) * (alignment.SIZE / canvas)
    to_crop = alignment.similarity(alignment.TEMPLATE + alignment.MARGIN, np.array(points, np.float64))
    back = np.linalg.inv(to_crop[:, :2])
    middle = back @ ((size - 1) / 2 - to_crop[:, 2])  # the crop's middle in the canvas's pixels
    turned = np.concatenate([back * (size / canvas), ((2 * middle + 1) / canvas - 1)[:, None]], axis=1)
    return torch.from_numpy(turned.astype(np.float32))


def _vary(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Change light and detail, and cover parts: (n, 3, size, size) float32 in 0..255, in place where possible."""
    uniform, some, generator, size = draws.uniform, draws.some, draws.generator, x.shape[-1]

    # Gain, offset and gamma of each picture, then the saturation.
    gamma, gain, offset = (uniform(*span).view(-1, 1, 1, 1) for span in ((0.75, 1.35), (0.7, 1.3), (-25, 25)))
    x = x.mul_(1 / 255).pow_(gamma).mul_(255 * gain).add_(127.5 * (1 - gain) + offset)
    grey = draws.chance(0.12)
    saturation = torch.where(grey, 0.0, uniform(0.6, 1.3)).view(-1, 1, 1, 1)
    x = torch.lerp(TF.rgb_to_grayscale(x), x, saturation)

    # Detail: one part of the batch is made smaller and larger again, another is blurred. A step has one strength.
    part = some(0.15)
    small = int(torch.randint(20, 80, (1,), generator=generator))
    sigma = float(torch.empty(1).uniform_(0.6, 2.2, generator=generator))
    if len(part):
        low = F.interpolate(x[part], (small, small), mode="bilinear", antialias=True)
        x[part] = F.interpolate(low, (size, size), mode="bilinear")
    part = some(0.08)
    if len(part):
        x[part] = TF.gaussian_blur(x[part], kernel_size=[7, 7], sigma=[sigma, sigma])

    return _occlude(x, draws).clamp_(0, 255)


def _occlude(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Cover a rectangle of some pictures with one grey level, like a hand or dark glasses (Zhong et al. 2020)."""
    size, uniform = x.shape[-1], draws.uniform
    position = torch.arange(size, device=x.device)
    inside = draws.chance(0.2)[:, None, None]
    for axis in (1, 2):
        start, length = uniform(0, 0.85) * size, uniform(0.15, 0.45) * size
        line = (position >= start[:, None]) & (position < (start + length)[:, None])
        inside = inside & (line[:, :, None] if axis == 1 else line[:, None, :])
    return torch.where(inside[:, None], uniform(0, 255).view(-1, 1, 1, 1), x)
