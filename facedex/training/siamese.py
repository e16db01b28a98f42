"""The Siamese network: one encoder, used twice, and the head that compares what it says (Koch et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from facedex.data.dataset import Faces
from facedex.errors import ModelError
from facedex.faces import alignment
from facedex.model.head import head_tensors
from facedex.model.modelfile import ModelFile
from facedex.model.vectors import unit
from facedex.training.torchhead import L1Head

DIM = 128
BLOCKS = (1, 2, 2)  # of compact models whose file does not say how many they have at each width
DEPTHS = range(1, 65)  # blocks that a width may have


class Block(nn.Module):
    """Two 3 x 3 convolutions and a short cut (He et al. 2016); the short cut of a smaller map averages first."""

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
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        short = x if self.pool is None else self.pool(x)
        return self.relu(y + (short if self.skip is None else self.skip(short)))


class Place(nn.Conv2d):
    """A depthwise convolution over the whole map, each place with a weight of its own (Chen et al. 2018, MobileFaceNets).

    On a map of another size, as in the early, cheaper part of training, the kernel is resized with it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.kernel(x.shape[-1]), groups=self.groups)

    def kernel(self, side: int) -> torch.Tensor:
        """The weights for a map of `side` x `side`, (n, 1, side, side)."""
        own = self.kernel_size[0]
        if side == own:
            return self.weight
        return F.interpolate(self.weight, (side, side), mode="bilinear") * (own / side) ** 2


class Compact(nn.Module):
    """Our encoder: RGB faces of `size` x `size` to 128 numbers, 1.6 M parameters, plain 3 x 3 convolutions.

    Depthwise-separable layers have fewer multiplications but are slower on CPUs, in training several times so.
    The first layer steps by 4: most of a small net's time goes into its largest maps, where a face needs
    least of it. The last map is weighed by place, because in an aligned face a place is a feature.
    """

    dim = DIM
    mirrored = True  # in use an embedding is the mean over a face and its mirror image; in training it is of one
    normalised = True  # embeddings are brought to unit length; the length before is kept as a sign of quality

    def __init__(
        self, size: int = alignment.SIZE, widths: tuple[int, ...] = (48, 96, 192), blocks: tuple[int, ...] = BLOCKS
    ) -> None:
        """`blocks`: residual blocks at each of the widths. Raises ModelError for impossible ones."""
        super().__init__()
        if (
            not isinstance(blocks, (list, tuple))
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
        """(n, 3, size, size) float RGB in 0..255 to (n, 128), before normalisation; in training also other sizes."""
        x = (x - 127.5) * (1 / 127.5)
        x = self.blocks(self.relu(self.norm(self.stem(x))))
        return self.project(self.place_norm(self.place(x)).flatten(1))


class Koch(nn.Module):
    """The network of Koch et al. 2015, figure 4, on grey 100 x 100 faces: the baseline we compare with."""

    dim = 4096
    mirrored = False
    normalised = False

    def __init__(self, size: int = alignment.SIZE) -> None:
        """`size` of the faces given, which are brought to 100 x 100 here."""
        super().__init__()
        self.size = size
        self.features = nn.Sequential(
            nn.Conv2d(1, 64, 10), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 7), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(128, 128, 4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(128, 256, 4), nn.ReLU(),
        )  # fmt: skip
        self.dense = nn.Linear(256 * 5 * 5, self.dim)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) float RGB in 0..255 to (n, 4096) in 0..1."""
        grey = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True) * (1 / 255)
        grey = F.interpolate(grey, (100, 100), mode="bilinear", antialias=True)
        return torch.sigmoid(self.dense(self.features(grey).flatten(1)))


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"compact": Compact, "koch": Koch}


class Siamese(nn.Module):
    """One encoder for both faces and the head between them."""

    def __init__(
        self, arch: str = "compact", size: int = alignment.SIZE, bases: int | None = None, **shape: tuple[int, ...]
    ) -> None:
        """`size` of the crops in pixels; `bases` of the head's frame, if not its own choice; `shape` as the architecture
        has it. Raises ModelError for one that is not in ARCHITECTURES.
        """
        super().__init__()
        if arch not in ARCHITECTURES:
            raise ModelError(f"There is no architecture {arch!r}; choose one of: {', '.join(ARCHITECTURES)}")
        self.arch = arch
        self.encoder: Any = ARCHITECTURES[arch](size, **shape)
        encoder: Any = self.encoder
        self.head = L1Head(encoder.dim, encoder.normalised, arch == "koch", bases)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) float RGB in 0..255 to embeddings (n, dim), of unit length where the encoder says so; not
        in training, also of the mirror images where it says so (mirror.py).
        """
        y = self._raw(x)
        return F.normalize(y.float(), dim=1) if self.encoder.normalised else y

    def _raw(self, x: torch.Tensor) -> torch.Tensor:
        once = self.encoder(x)
        return (once + self.encoder(x.flip(3))) / 2 if self.encoder.mirrored and not self.training else once

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Logits (n,) of n pairs of faces: the unsplit network."""
        return self.head(self.embed(a), self.embed(b))

    def embed_crops(self, crops: np.ndarray, batch: int = 64, side: int | None = None) -> np.ndarray:
        """(n, 112, 112, 3) uint8 RGB to (n, dim) float32, on the device the model is on; at `side` pixels, else at the
        size that is its own.
        """
        raw = self.raw_crops(crops, batch, side)
        return unit(raw)[0] if self.encoder.normalised else raw

    @torch.no_grad()
    def raw_crops(self, crops: np.ndarray, batch: int = 64, side: int | None = None) -> np.ndarray:
        """The same, before embeddings are brought to unit length."""
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        out = np.empty((len(crops), self.encoder.dim), np.float32)
        for i in range(0, len(crops), batch):
            seen = np.ascontiguousarray(alignment.fitted(crops[i : i + batch], side or self.encoder.size))
            x = torch.from_numpy(seen).to(device).permute(0, 3, 1, 2).float()
            out[i : i + batch] = self._raw(x).float().cpu().numpy()
        self.train(was_training)
        return out


def embedded(model: Siamese, faces: Faces) -> np.ndarray:
    """(n, dim) float32: what a network says of every unjittered crop, in order; the crops are read a block at a time."""
    vectors = np.empty((len(faces), model.encoder.dim), np.float32)
    for i in range(0, len(faces), 256):
        vectors[i : i + 256] = model.embed_crops(faces.crops112(slice(i, i + 256)))
    return vectors


def at_size(model: Siamese, size: int) -> Siamese:
    """The same network for crops of another size: its kernel over the last map is resized with that map."""
    if model.encoder.size == size:
        return model
    other = Siamese(model.arch, size, model.head.bases, **_shape(model))
    other.encoder.mirrored = model.encoder.mirrored
    state = model.state_dict()
    if isinstance(model.encoder, Compact):
        state["encoder.place.weight"] = model.encoder.place.kernel(other.encoder.place.kernel_size[0])
    other.load_state_dict(state)
    return other.train(model.training)


def _shape(model: Siamese) -> dict[str, tuple[int, ...]]:
    return {"blocks": model.encoder.depth} if isinstance(model.encoder, Compact) else {}


def to_file(model: Siamese, meta: dict[str, Any]) -> ModelFile:
    """A model as it is stored: matrices in half precision, vectors in full."""
    tensors = {
        name: (tensor.half() if tensor.dim() > 1 else tensor)
        .detach().cpu().contiguous().numpy()
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }  # fmt: skip
    facts = {
        "arch": model.arch, "size": model.encoder.size, "dim": model.encoder.dim,
        "normalised": model.encoder.normalised, "mirrored": model.encoder.mirrored, "free_sign": model.head.free,
        "template": "arcface-112", **{name: list(value) for name, value in _shape(model).items()},
    }  # fmt: skip
    return ModelFile(tensors, {**meta, **facts})


def from_file(file: ModelFile) -> Siamese:
    """The torch network of a stored model, in evaluation mode. Raises ModelError when they do not fit."""
    arch = str(file.meta.get("arch"))
    shape = {"blocks": file.meta.get("blocks", BLOCKS)} if arch == "compact" else {}
    frame = head_tensors(file)[2]
    model = Siamese(arch, file.size, 1 if frame is None else max(1, len(frame) // frame.shape[1]), **shape)
    model.encoder.mirrored = file.mirrored
    state = {name: torch.from_numpy(tensor.astype(np.float32)) for name, tensor in file.tensors.items()
             if name.startswith(("encoder.", "head."))}  # fmt: skip
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError:
        missing, unexpected = ["shapes"], []
    if unexpected or [name for name in missing if not name.endswith("num_batches_tracked")]:
        raise ModelError(f"{file.path} does not hold the tensors of {model.arch!r}; train or copy it again")
    return model.eval()
