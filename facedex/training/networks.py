"""The encoders that can be trained: our compact network, and the network of Koch et al. 2015."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from facedex.errors import ModelError
from facedex.faces import alignment

DIM = 128
WIDTHS = (48, 96, 192)  # channels of the compact network's three stages
BLOCKS = (1, 2, 2)  # its residual blocks at each width
DEPTHS = range(1, 65)  # blocks that a width may have


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016). With stride 2 the shortcut averages 2 x 2 pixels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.pool = nn.AvgPool2d(2) if stride == 2 else None
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False) if stride == 2 or inputs != outputs else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        y: torch.Tensor = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        short = x if self.pool is None else self.pool(x)
        y = self.relu(y + (short if self.skip is None else self.skip(short)))
        return y


class Place(nn.Conv2d):
    """A depthwise convolution over the whole map, with a weight for each place (Chen et al. 2018, MobileFaceNets).

    For a map of another size, as in the early and cheaper part of training, the kernel is resized.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, channels, side, side) to (n, channels, 1, 1)."""
        return F.conv2d(x, self.kernel(x.shape[-1]), groups=self.groups)

    def kernel(self, side: int) -> torch.Tensor:
        """The weights for a map of `side` x `side`, (channels, 1, side, side)."""
        own = self.kernel_size[0]
        if side == own:
            return self.weight
        return F.interpolate(self.weight, (side, side), mode="bilinear") * (own / side) ** 2


class Compact(nn.Module):
    """Our encoder: RGB faces of `size` x `size` to 128 numbers, 1.6 M parameters, plain 3 x 3 convolutions.

    - Depthwise-separable layers have fewer multiplications but are slower on CPUs, in training several times.
    - The first layer has stride 4. A small network spends most of its time on its largest maps, which matter least.
    - The last map is weighted by place, because a place in an aligned face always shows the same feature.
    """

    dim = DIM
    mirrored = True  # an embedding in use is the mean over a face and its mirror image; in training it is of one face
    normalised = True  # embeddings have unit length; the length before measures quality
    points = None  # the usual template

    def __init__(
        self, size: int = alignment.SIZE, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = BLOCKS
    ) -> None:
        """`size` in pixels; `blocks` are the residual blocks at each width. Raises ModelError for impossible ones."""
        super().__init__()
        if (
            not isinstance(blocks, list | tuple)
            or len(blocks) != len(widths)
            or not all(type(n) is int and n in DEPTHS for n in blocks)
        ):
            raise ModelError(
                f"There is no network of {blocks!r} blocks; give {len(widths)} numbers of 1 to {DEPTHS[-1]}"
            )
        self.size, self.depth = size, tuple(blocks)
        self.stem = nn.Conv2d(3, widths[0], 7, 4, 2, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        layers, inputs = [], widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                layers.append(Block(inputs, width, stride=2 if stage > 0 and block == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*layers)
        side = self.size // 4 // 2 ** (len(widths) - 1)
        self.place = Place(inputs, inputs, side, groups=inputs, bias=False)
        self.place_norm = nn.BatchNorm2d(inputs)
        self.project = nn.Linear(inputs, self.dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) float RGB in 0..255 to (n, 128) before normalisation; in training also other sizes."""
        x = (x - 127.5) * (1 / 127.5)
        x = self.blocks(self.relu(self.norm(self.stem(x))))
        y: torch.Tensor = self.project(self.place_norm(self.place(x)).flatten(1))
        return y


class Koch(nn.Module):
    """The network of Koch et al. 2015, figure 4, on grey 100 x 100 faces: the baseline."""

    dim = 4096
    mirrored = False
    normalised = False
    points = None

    def __init__(self, size: int = alignment.SIZE) -> None:
        """`size` of the faces given, in pixels; they are resized to 100 x 100."""
        super().__init__()
        self.size = size
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 64, 10), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(64, 128, 7), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(128, 128, 4), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(128, 256, 4), nn.ReLU()),
        )
        self.dense = nn.Linear(256 * 5 * 5, self.dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) float RGB in 0..255 to (n, 4096) in 0..1."""
        grey = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True) * (1 / 255)
        grey = F.interpolate(grey, (100, 100), mode="bilinear", antialias=True)
        return torch.sigmoid(self.dense(self.features(grey).flatten(1)))


ARCHITECTURES: dict[str, Callable[..., Any]] = {"compact": Compact, "koch": Koch}
