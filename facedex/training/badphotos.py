"""Photos made bad in the ways in which photos are: small, blurred, noisy, dark, off colour, compressed, covered.

A network from elsewhere keeps the target of the clean photo, and so learns to find the same person in a bad one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as TF

from facedex.opencv import cv2
from facedex.training.draws import Draws

_LEAST_SIDE = 14  # pixels of the smallest crop: a face about 12 pixels wide
_MOTION_SIDE = 21  # pixels of the kernel of motion blur

Change = Callable[[torch.Tensor, Draws], torch.Tensor]


def covered(canvas: torch.Tensor, draws: Draws, share: float) -> torch.Tensor:
    """Eyes, mouths or an edge covered on some canvases (n, 3, 128, 128) float32 in 0..255, with a `share` of 0..1.

    The template says where eyes and mouth are. An edge is black, as `alignment.align` leaves what the photo lacks.
    """
    for change, part in ((_eyes, 0.10), (_lower_face, 0.12), (_edge, 0.08)):
        canvas = _on_some(canvas, draws, share * part, change)
    return canvas


def degraded(x: torch.Tensor, draws: Draws, share: float) -> torch.Tensor:
    """Some crops (n, 3, size, size) float32 in 0..255 as a bad camera would give them; with a `share` of 0..1.

    With a share of 1, two crops in three are changed, many of them in several ways. The order is that of a camera:
    light, lens, sensor, file. A step has one strength of blur and three sizes.
    """
    changes: tuple[tuple[Change, float], ...] = (
        (_colour_cast, 0.12),
        (_false_colour, 0.03),
        (_night, 0.12),
        (_out_of_focus, 0.10),
        (_moved, 0.08),
        (_noisy, 0.10),
        *((_small, 0.10),) * 3,
        (_compressed, 0.12),
    )
    for change, part in changes:
        x = _on_some(x, draws, share * part, change)
    return x.clamp(0, 255)


def _on_some(x: torch.Tensor, draws: Draws, share: float, change: Change) -> torch.Tensor:
    part = draws.some(share)
    if len(part):
        x[part] = change(x[part], draws.of(part))
    return x


def _eyes(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """A bar of one colour over the eyes, like dark glasses."""
    middle, half = draws.uniform(57, 63), draws.uniform(7, 13)
    box = draws.uniform(20, 38), middle - half, draws.uniform(90, 108), middle + half
    return _painted(x, box, draws.uniform(0, 255, 3))


def _lower_face(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """One colour from below the eyes down, like a mask or a scarf."""
    box = draws.uniform(18, 36), draws.uniform(74, 90), draws.uniform(92, 110), draws.uniform(115, 140)
    return _painted(x, box, draws.uniform(0, 255, 3))


def _edge(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Black beyond the photo's edge, which takes up to two fifths of the canvas."""
    side = float(x.shape[-1])
    depth = draws.uniform(10, 0.4 * side)
    zero = torch.zeros_like(depth)
    sides = [
        torch.stack(box)
        for box in (
            (zero, zero, depth, zero + side),
            (side - depth, zero, zero + side, zero + side),
            (zero, zero, zero + side, depth),
            (zero, side - depth, zero + side, zero + side),
        )
    ]
    which = torch.randint(4, (draws.count,), generator=draws.generator).to(draws.device)
    box = torch.stack(sides)[which, :, torch.arange(draws.count, device=draws.device)].T
    return _painted(x, (box[0], box[1], box[2], box[3]), torch.zeros(draws.count, 3, device=draws.device))


def _painted(x: torch.Tensor, box: tuple[torch.Tensor, ...], colour: torch.Tensor) -> torch.Tensor:
    """Each picture with its box (left, top, right, bottom), (n,) pixels each, in its colour (n, 3)."""
    left, top, right, bottom = (edge[:, None] for edge in box)
    at = torch.arange(x.shape[-1], device=x.device)
    across, down = (at >= left) & (at < right), (at >= top) & (at < bottom)
    return torch.where((down[:, :, None] & across[:, None])[:, None], colour[:, :, None, None], x)


def _colour_cast(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    return x * draws.uniform(0.5, 1.5, 3)[:, :, None, None]


def _false_colour(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Brightness shown by a scale of colours that no photo has."""
    cycles, start = (draws.uniform(*span, 3)[:, :, None, None] for span in ((0.3, 1.0), (0.0, 1.0)))
    coloured: torch.Tensor = 127.5 * (1 - torch.cos(math.pi * (TF.rgb_to_grayscale(x) / 255 * cycles + start)))
    return coloured


def _night(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Little light with the noise of the sensor; half of the pictures are made bright again afterwards."""
    light, noise = (draws.uniform(*span).view(-1, 1, 1, 1) for span in ((0.05, 0.35), (0.5, 3.0)))
    dark = (x * light + noise * draws.noise(x)).round().clamp(0, 255)
    bright = draws.uniform(0.5, 1.0).view(-1, 1, 1, 1) / light
    return torch.where(draws.chance(0.5).view(-1, 1, 1, 1), dark * bright, dark)


def _out_of_focus(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    sigma = draws.one(1.0, 5.0)
    side = 2 * math.ceil(2.5 * sigma) + 1
    blurred: torch.Tensor = TF.gaussian_blur(x, kernel_size=[side, side], sigma=[sigma, sigma])
    return blurred


def _moved(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Blurred along a line, as where a face or the camera moves."""
    length, angle = draws.one(4, _MOTION_SIDE - 2), draws.one(0, math.pi)
    at = torch.arange(_MOTION_SIDE, device=x.device) - _MOTION_SIDE // 2
    along = at * math.cos(angle) + at[:, None] * math.sin(angle)
    beside = at[:, None] * math.cos(angle) - at * math.sin(angle)
    kernel = (1 - beside.abs()).clamp(min=0) * (along.abs() <= length / 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1, -1)
    return F.conv2d(F.pad(x, (_MOTION_SIDE // 2,) * 4, "replicate"), kernel, groups=3)


def _noisy(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    return x + draws.uniform(3, 30).view(-1, 1, 1, 1) * draws.noise(x)


def _small(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Made small, compressed, and enlarged again."""
    whole = x.shape[-1]
    side = round(math.exp(draws.one(math.log(_LEAST_SIDE), math.log(0.6 * whole))))
    low = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
    return F.interpolate(_jpeg(low, round(draws.one(40, 100))), (whole, whole), mode="bilinear")


def _compressed(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    return _jpeg(x, round(draws.one(8, 60)))


def _jpeg(x: torch.Tensor, quality: int) -> torch.Tensor:
    pictures = x.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    stored = np.empty_like(pictures)
    for picture, out in zip(pictures, stored, strict=True):
        file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        out[:] = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))
    return torch.from_numpy(stored).permute(0, 3, 1, 2).to(x)
