"""The Siamese network of Koch et al. 2015: one encoder, used for both faces, and the head that compares embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from facedex.data.dataset import Faces
from facedex.errors import ModelError
from facedex.faces import alignment
from facedex.model.head import head_tensors
from facedex.model.modelfile import FROZEN, ModelFile
from facedex.model.vectors import unit
from facedex.training.l1head import L1Head
from facedex.training.networks import ARCHITECTURES, BLOCKS, Compact
from facedex.training.student import Student

_BLOCK = 256  # crops read at a time
_BATCH = 64  # crops that the network takes at a time

Crops = NDArray[np.uint8]
Vectors = NDArray[np.float32]


class Siamese(nn.Module):
    """One encoder for both faces and the head between them."""

    def __init__(
        self, arch: str = "compact", size: int = alignment.SIZE, bases: int | None = None, **shape: Any
    ) -> None:
        """`size` of the crops in pixels; `bases` of the head's frame, else the head's own choice.

        `shape` are further arguments of the architecture. Raises ModelError for one that is not in ARCHITECTURES.
        """
        super().__init__()
        if arch not in (*ARCHITECTURES, FROZEN):
            raise ModelError(f"There is no architecture {arch!r}; choose one of: {', '.join(ARCHITECTURES)}")
        self.arch = arch
        self.encoder: Any = (Student if arch == FROZEN else ARCHITECTURES[arch])(size, **shape)
        encoder: Any = self.encoder
        self.head = L1Head(encoder.dim, encoder.normalised, arch == "koch", bases)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) float RGB in 0..255 to embeddings (n, dim), of unit length if the encoder normalises.

        Outside training a mirrored encoder also sees the mirror images (facedex/model/mirror.py).
        """
        y = self._raw(x)
        return F.normalize(y.float(), dim=1) if self.encoder.normalised else y

    def pictures(self, crops: Crops, side: int | None = None) -> torch.Tensor:
        """(n, 112, 112, 3) uint8 RGB as the encoder takes them, (n, 3, size, size) float32, or of another `side`."""
        fitted = alignment.fitted(crops, side or self.encoder.size, self.encoder.points)
        return torch.from_numpy(np.ascontiguousarray(fitted)).permute(0, 3, 1, 2).float()

    def _raw(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.encoder(x)
        return (y + self.encoder(x.flip(3))) / 2 if self.encoder.mirrored and not self.training else y

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Logits (n,) of n pairs of faces: the whole network, not split into encoder and head."""
        logits: torch.Tensor = self.head(self.embed(a), self.embed(b))
        return logits

    def embed_crops(self, crops: Crops, side: int | None = None) -> Vectors:
        """(n, 112, 112, 3) uint8 RGB to (n, dim) float32, on the model's device, at `side` pixels or its own size."""
        raw = self.raw_crops(crops, side)
        return unit(raw)[0] if self.encoder.normalised else raw

    @torch.no_grad()
    def raw_crops(self, crops: Crops, side: int | None = None) -> Vectors:
        """As `embed_crops`, before embeddings are brought to unit length."""
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        out = np.empty((len(crops), self.encoder.dim), np.float32)
        for i in range(0, len(crops), _BATCH):
            x = self.pictures(crops[i : i + _BATCH], side)
            out[i : i + _BATCH] = self._raw(x.to(device)).float().cpu().numpy()
        self.train(was_training)
        return out


def embed_faces(model: Siamese, faces: Faces) -> Vectors:
    """Embeddings (n, dim) float32 of every unjittered crop, in order; the crops are read a block at a time."""
    vectors = np.empty((len(faces), model.encoder.dim), np.float32)
    for i in range(0, len(faces), _BLOCK):
        vectors[i : i + _BLOCK] = model.embed_crops(faces.crops112(slice(i, i + _BLOCK)))
    return vectors


def input_size(file: ModelFile) -> int:
    """The side in pixels of the faces that the network of a stored model takes. Raises ModelError."""
    return file.branches[0].size if file.frozen and file.branches else file.size


def at_size(model: Siamese, size: int) -> Siamese:
    """The same network for crops of another size: the kernel over the last map is resized with that map."""
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
    tensors = {}
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            stored = tensor.half() if tensor.dim() > 1 else tensor
            tensors[name] = stored.detach().cpu().contiguous().numpy()
    if isinstance(model.encoder, Student):
        stored, own = model.encoder.stored()
        tensors = {**{name: value for name, value in tensors.items() if name.startswith("head.")}, **stored}
    else:
        own = {"size": model.encoder.size, "template": "arcface-112"}
    facts = {
        "arch": model.arch,
        "dim": model.encoder.dim,
        "normalised": model.encoder.normalised,
        "mirrored": model.encoder.mirrored,
        "free_sign": model.head.free,
        **own,
        **{name: list(value) for name, value in _shape(model).items()},
    }
    return ModelFile(tensors, {**meta, **facts})


def from_file(file: ModelFile) -> Siamese:
    """The torch network of a stored model, in evaluation mode. Raises ModelError when its tensors do not fit."""
    arch = str(file.meta.get("arch"))
    shapes: dict[str, dict[str, Any]] = {"compact": {"blocks": file.meta.get("blocks", BLOCKS)}, FROZEN: {"file": file}}
    frame = head_tensors(file)[2]
    bases = 1 if frame is None else max(1, len(frame) // frame.shape[1])
    model = Siamese(arch, input_size(file), bases, **shapes.get(arch, {}))
    model.encoder.mirrored = file.mirrored
    state = {
        name: torch.from_numpy(tensor.astype(np.float32))
        for name, tensor in file.tensors.items()
        if name.startswith(("encoder.", "head."))
    }
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError:
        missing, unexpected = ["shapes"], []
    stored = "head." if file.frozen else ""  # a graph brought its own constants
    if unexpected or any(name.startswith(stored) and not name.endswith("num_batches_tracked") for name in missing):
        raise ModelError(f"{file.path} does not hold the tensors of {model.arch!r}; train or copy it again")
    return model.eval()
