"""Aligned crops to embeddings, by one network or by several networks side by side.

Each network (branch) gets the picture of the face that it was trained on. Its vector f_i is scaled to unit length. The
vectors side by side, minus their mean and times a matrix, are the embedding:

    f(x) = unit( ([unit(f_1(x)), …, unit(f_n(x))] - centre) @ matrix )

One network needs neither centre nor matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from facedex.errors import ModelError
from facedex.faces.alignment import checked, fitted
from facedex.model.mirror import both_ways
from facedex.model.modelfile import Branch, ModelFile
from facedex.model.runtime import Runtime, open_graph
from facedex.model.torchcode import torch_code
from facedex.model.vectors import product, unit
from facedex.threads import side_by_side

_BLOCK = 4  # crops that a thread encodes at a time


class Encoder(Protocol):
    """Turns crops into embeddings."""

    dim: int

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crops (n, 112, 112, 3) uint8 RGB to unit embeddings (n, dim) float32 and their quality (n,) float32."""
        ...


class Networks:
    """The networks of a model, open. Threads may share them."""

    def __init__(self, model: ModelFile, runtime: Runtime = open_graph) -> None:
        """`runtime` runs the graphs. Raises ModelError for a model without inference graphs, or with what is none."""
        model.need_graphs()
        self._branches = [_OpenBranch(model, branch, runtime) for branch in model.branches]
        self._mirrored = model.mirrored
        self.width = sum(branch.dim for branch in self._branches)  # length of all branches' vectors together

    def __call__(self, crops: np.ndarray) -> list[np.ndarray]:
        """The vectors of crops (n, 112, 112, 3) uint8 RGB, one array (n, branch dim) float32 a network, of any length.

        Several threads encode many crops. The caller's thread alone encodes few.
        """
        crops = checked(crops)
        if len(crops) <= _BLOCK:
            return [both_ways(one, crops) if self._mirrored else one(crops) for one in self._branches]
        blocks = [crops[start : start + _BLOCK] for start in range(0, len(crops), _BLOCK)]
        with side_by_side() as pool:
            return [np.concatenate(column) for column in zip(*pool.map(self, blocks), strict=True)]


class GraphEncoder:
    """The encoder of a model, run by its inference graphs. Threads may share it."""

    def __init__(self, model: ModelFile, runtime: Runtime = open_graph) -> None:
        """`runtime` runs the graphs. Raises ModelError for a model without inference graphs, or with what is none."""
        self._networks = Networks(model, runtime)
        self._joint = Joint.from_file(model, self._networks.width)
        self.dim = self._joint.dim

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Encoder.encode."""
        return self._joint(self._networks(crops))


class Joint:
    """Joins the vectors of several networks into one embedding."""

    def __init__(self, dim: int, centre: np.ndarray | None = None, matrix: np.ndarray | None = None) -> None:
        """`centre` (m,) and `matrix` (m, dim) float32 for networks of m numbers together; None for one network."""
        self.dim, self.centre, self.matrix = dim, centre, matrix

    @classmethod
    def from_file(cls, model: ModelFile, width: int) -> Joint:
        """From a stored model whose networks give `width` numbers. Raises ModelError where the two do not fit."""
        centre, matrix = (model.tensors.get(f"projection.{name}") for name in ("centre", "matrix"))
        dim = model.meta.get("dim")
        if len(model.branches) > 1 or matrix is not None:
            fits = (
                centre is not None
                and matrix is not None
                and centre.shape == (width,)
                and matrix.shape == (width, dim)
                and bool(np.isfinite(centre).all() and np.isfinite(matrix).all())
            )
        else:
            fits = dim == width
        if not fits:
            raise ModelError(f"{model.path} has networks of {width} numbers, which do not fit it; copy it again")
        return cls(int(model.meta["dim"]), centre, matrix)

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors by their names in a model file."""
        if self.centre is None or self.matrix is None:
            return {}
        return {"projection.centre": self.centre, "projection.matrix": self.matrix}

    def __call__(self, raw: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of each network (n, branch dim) to unit embeddings (n, dim) float32 and their quality (n,) float32.

        The quality is the length of a network's vector, for several networks the geometric mean of the lengths. A
        network that sees little of a face gives a short vector.
        """
        parts = [unit(part) for part in raw]
        quality = np.exp(np.mean([np.log(np.maximum(length, 1e-12)) for _, length in parts], axis=0))
        if self.matrix is None or self.centre is None:
            return parts[0][0], quality.astype(np.float32)
        joined = np.concatenate([vectors for vectors, _ in parts], axis=1)
        return unit(product(joined - self.centre, self.matrix))[0], quality.astype(np.float32)


class TorchEncoder:
    """The encoder in torch on a device, for galleries so large that a GPU pays."""

    def __init__(self, model: ModelFile, device: str) -> None:
        """Raises MissingExtra without torch, DataError when there is no such device, ModelError."""
        networks, pick_device = (torch_code(name, f"Encoding on {device}") for name in ("graph networks", "device"))
        self._networks = networks(model, pick_device(device))
        self._joint = Joint.from_file(model, self._networks.width)
        self.dim = self._joint.dim

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Encoder.encode."""
        return self._joint(self._networks(np.asarray(crops)))


def open_encoder(model: ModelFile, device: str = "cpu") -> Encoder:
    """The encoder of a stored model: its graphs on the CPU, torch on other devices.

    Raises ModelError, MissingExtra, DataError.
    """
    return GraphEncoder(model) if device == "cpu" else TorchEncoder(model, device)


def finite(answers: np.ndarray, network: str) -> np.ndarray:
    """The vectors, unchanged. Raises ModelError where a number is not finite."""
    if not np.isfinite(answers).all():
        raise ModelError(f"{network}, gives numbers that are not finite; check its mean and scale")
    return answers


class _OpenBranch:
    """A branch with an open graph."""

    def __init__(self, model: ModelFile, branch: Branch, runtime: Runtime) -> None:
        self._name, self._branch, self.dim = f"{model.path}, network {branch.name}", branch, branch.dim
        try:
            self._run, self._last = runtime(model.graph(branch), (3, branch.size, branch.size)), model.last(branch)
        except ValueError:
            raise self._unusable() from None
        self._mean, self._scale = (np.array(three, np.float32) for three in (branch.mean, branch.scale))

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Crops (n, 112, 112, 3) uint8 RGB to vectors (n, dim) float32."""
        out = np.empty((len(crops), self.dim), np.float32)
        for row, seen in zip(out, fitted(crops, self._branch.size, self._branch.points), strict=True):
            pixels = (seen.astype(np.float32) - self._mean) * self._scale
            if not self._branch.rgb:
                pixels = pixels[..., ::-1]
            try:
                answer = self._run(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
                answer = answer if self._last is None else self._last(answer)
            except ValueError:
                raise self._unusable() from None
            if len(answer) != self.dim:
                raise self._unusable()
            row[:] = answer
        return finite(out, self._name)

    def _unusable(self) -> ModelError:
        size = self._branch.size
        return ModelError(
            f"{self._name}, cannot be run on pictures of {size} x {size} pixels; give the size it was made for, or "
            "export it again as plain float32 operators"
        )
