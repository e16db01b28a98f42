"""Crops to embeddings with the exported graph: no torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from facedex.align import resized
from facedex.errors import MissingExtra, ModelError
from facedex.mirror import both_ways
from facedex.modelfile import FOREIGN, ModelFile, read_graph
from facedex.onnxencoder import OnnxEncoder
from facedex.runtime import open_graph

_BATCH = 16  # crops a forward pass: larger ones are no faster on a CPU and only take memory


class Encoder(Protocol):
    """Whatever turns crops into embeddings."""

    dim: int

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 112, 112, 3) uint8 RGB to unit embeddings (n, dim) float32 and their lengths before, (n,) float32."""
        ...


class GraphEncoder:
    """The encoder's inference graph. Threads may share one."""

    def __init__(self, model: ModelFile) -> None:
        """Raises ModelError when the graph is missing, altered or unreadable."""
        data = read_graph(model)
        try:
            self._graph = open_graph(data)
        except ValueError:
            raise ModelError(f"{model.graph_path} is no graph that can be run; train it again") from None
        self.dim, self._size, self._mirrored = int(model.meta["dim"]), model.size, model.mirrored

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Encoder.encode."""
        crops = np.asarray(crops)
        if crops.ndim != 4 or crops.shape[1:] != (112, 112, 3) or crops.dtype != np.uint8:
            raise ValueError(f"crops must be (n, 112, 112, 3) uint8, not {crops.shape} {crops.dtype}")
        raw = np.empty((len(crops), self.dim), np.float32)
        for start in range(0, len(crops), _BATCH):
            batch = resized(crops[start : start + _BATCH], self._size)
            raw[start : start + _BATCH] = both_ways(self._run, batch) if self._mirrored else self._run(batch)
        return unit(raw)

    def _run(self, faces: np.ndarray) -> np.ndarray:
        return self._graph(np.ascontiguousarray(faces.transpose(0, 3, 1, 2), dtype=np.float32))


class ForeignEncoder:
    """An encoder from elsewhere, with a head of ours (`facedex train --encoder`)."""

    def __init__(self, model: ModelFile) -> None:
        """Raises ModelError when the graph is missing, altered or unreadable."""
        data = read_graph(model)
        self._encoder = OnnxEncoder(model.graph_path, **model.meta["input"], data=data)
        self.dim = self._encoder.dim

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Encoder.encode."""
        return unit(self._encoder.raw(crops))


class TorchEncoder:
    """The encoder in torch on a device, for galleries large enough that a GPU pays."""

    def __init__(self, model: ModelFile, device: str) -> None:
        """Raises MissingExtra without torch, DataError when the device is not there."""
        try:
            from facedex.training.model import from_file
            from facedex.training.trainer import pick_device
        except ModuleNotFoundError:
            raise MissingExtra(f"Encoding on {device}", "train") from None
        self._device = pick_device(device)
        self._network = from_file(model).to(self._device)
        self.dim = int(model.meta["dim"])

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Encoder.encode."""
        return unit(self._network.raw_crops(crops, batch=256))


def open_encoder(model: ModelFile, device: str = "cpu") -> Encoder:
    """The encoder of a stored model: its graph on the CPU, torch elsewhere. Raises ModelError, MissingExtra, DataError."""
    if model.meta.get("arch") == FOREIGN:
        if device != "cpu":
            raise ModelError(f"{model.path} holds an encoder from elsewhere, which runs on the CPU; leave out --device")
        return ForeignEncoder(model)
    return GraphEncoder(model) if device == "cpu" else TorchEncoder(model, device)


def unit(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, d) brought to unit length, and the lengths they had (n,)."""
    length = np.linalg.norm(raw, axis=1)
    return raw / np.maximum(length, 1e-12)[:, None], length.astype(np.float32)
