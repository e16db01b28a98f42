"""Aligned crops to embeddings: one network or several side by side, and what brings their answers together.

Each network (branch) sees the face as it was trained to. Its vector is brought to unit length. Several vectors stand
side by side; less their mean and times a matrix they are the embedding:

    f(x) = unit( ([unit(f_1(x)), …, unit(f_n(x))] - centre) @ matrix )

One network needs neither centre nor matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from facedex.errors import MissingExtra, ModelError
from facedex.faces.alignment import checked, fitted
from facedex.model.mirror import both_ways
from facedex.model.modelfile import Branch, ModelFile
from facedex.model.runtime import Engine, open_graph
from facedex.model.vectors import product, unit
from facedex.threads import side_by_side

_BLOCK = 4  # crops that a thread encodes at a time


class Encoder(Protocol):
    """Whatever turns crops into embeddings."""

    dim: int

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 112, 112, 3) uint8 RGB to unit embeddings (n, dim) float32 and their quality, (n,) float32."""
        ...


class Networks:
    """The networks of a model, open. Threads may share them."""

    def __init__(self, model: ModelFile, engine: Engine = open_graph) -> None:
        """`engine` runs the graphs. Raises ModelError for a model without inference graphs, or with what is none."""
        model.need_graphs()
        self._branches = [_OpenBranch(model, branch, engine) for branch in model.branches]
        self._mirrored = model.mirrored
        self.width = sum(branch.dim for branch in self._branches)  # numbers that they give together

    def __call__(self, crops: np.ndarray) -> list[np.ndarray]:
        """What each network says of crops (n, 112, 112, 3) uint8 RGB, (n, its dim) float32 of whatever length.

        Many crops are worked at side by side, few by the caller's thread alone.
        """
        crops = checked(crops)
        if len(crops) <= _BLOCK:
            return [both_ways(one, crops) if self._mirrored else one(crops) for one in self._branches]
        blocks = [crops[start : start + _BLOCK] for start in range(0, len(crops), _BLOCK)]
        with side_by_side() as pool:
            return [np.concatenate(column) for column in zip(*pool.map(self, blocks), strict=True)]


class GraphEncoder:
    """The encoder of a model by its inference graphs. Threads may share one."""

    def __init__(self, model: ModelFile, engine: Engine = open_graph) -> None:
        """`engine` runs the graphs. Raises ModelError for a model without inference graphs, or with what is none."""
        self._networks = Networks(model, engine)
        self._projection = Projection.from_file(model, self._networks.width)
        self.dim = self._projection.dim

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Encoder.encode."""
        return self._projection(self._networks(crops))


class Projection:
    """Vectors of several networks to one embedding."""

    def __init__(self, dim: int, centre: np.ndarray | None = None, matrix: np.ndarray | None = None) -> None:
        """`centre` (m,) and `matrix` (m, dim) float32 for networks of m numbers together; None for one network."""
        self.dim, self.centre, self.matrix = dim, centre, matrix

    @classmethod
    def from_file(cls, model: ModelFile, width: int) -> Projection:
        """The projection of a stored model, whose networks give `width` numbers. Raises ModelError for another's."""
        centre, matrix = (model.tensors.get(f"projection.{name}") for name in ("centre", "matrix"))
        dim = model.meta.get("dim")
        fits = (
            centre is not None and matrix is not None and centre.shape == (width,) and matrix.shape == (width, dim)
            and np.isfinite(centre).all() and np.isfinite(matrix).all()
            if len(model.branches) > 1 or matrix is not None
            else dim == width
        )  # fmt: skip
        if not fits:
            raise ModelError(f"{model.path} has networks of {width} numbers, for which it was not made; copy it again")
        return cls(int(model.meta["dim"]), centre, matrix)

    def tensors(self) -> dict[str, np.ndarray]:
        """As a model file holds them."""
        if self.centre is None or self.matrix is None:
            return {}
        return {"projection.centre": self.centre, "projection.matrix": self.matrix}

    def __call__(self, raw: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of each network (n, its dim) to unit embeddings (n, dim) float32 and their quality (n,) float32.

        The quality is the length that a network's vector had: a network that sees little of a face answers with a
        short one. Of several networks the quality is the geometric mean of the lengths.
        """
        parts = [unit(part) for part in raw]
        quality = np.exp(np.mean([np.log(np.maximum(length, 1e-12)) for _, length in parts], axis=0))
        if self.matrix is None or self.centre is None:
            return parts[0][0], quality.astype(np.float32)
        joined = np.concatenate([vectors for vectors, _ in parts], axis=1)
        return unit(product(joined - self.centre, self.matrix))[0], quality.astype(np.float32)


class TorchEncoder:
    """The encoder in torch on a device, for galleries large enough that a GPU pays."""

    def __init__(self, model: ModelFile, device: str) -> None:
        """Raises MissingExtra without torch, DataError when the device is not there, ModelError."""
        try:
            from facedex.model.torchgraph import TorchNetworks, pick_device
        except ModuleNotFoundError:
            raise MissingExtra(f"Encoding on {device}", "train") from None
        self._networks = TorchNetworks(model, pick_device(device))
        self._projection = Projection.from_file(model, self._networks.width)
        self.dim = self._projection.dim

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Encoder.encode."""
        return self._projection(self._networks(np.asarray(crops)))


def open_encoder(model: ModelFile, device: str = "cpu") -> Encoder:
    """The encoder of a stored model: by its graphs on the CPU, by torch elsewhere. Raises ModelError, MissingExtra,
    DataError.
    """
    return GraphEncoder(model) if device == "cpu" else TorchEncoder(model, device)


def finite(answers: np.ndarray, network: str) -> np.ndarray:
    """What a network says, as it is. Raises ModelError where numbers are not finite."""
    if not np.isfinite(answers).all():
        raise ModelError(f"{network}, gives numbers of a face that are not finite; check its mean and scale")
    return answers


class _OpenBranch:
    """A branch whose graph is open."""

    def __init__(self, model: ModelFile, branch: Branch, engine: Engine) -> None:
        self._name, self._branch, self.dim = f"{model.path}, network {branch.name}", branch, branch.dim
        try:
            self._run, self._last = engine(model.graph(branch), (3, branch.size, branch.size)), model.last(branch)
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
            f"{self._name}, cannot be run on pictures of {size} x {size} pixels; give the size it was made for, or export "
            "it again as plain float32 operators"
        )
