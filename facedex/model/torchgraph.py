"""Inference graphs run by torch, so that frozen encoders run on a GPU too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper

from facedex.errors import DataError, ModelError
from facedex.faces.alignment import checked, fitted
from facedex.model.encoder import finite
from facedex.model.mirror import both_ways
from facedex.model.modelfile import Branch, ModelFile

_BATCH = 256

Values = dict[str, torch.Tensor]


class TorchNetworks:
    """Does what encoder.Networks does, on a device of torch."""

    def __init__(self, model: ModelFile, device: torch.device) -> None:
        """Raises ModelError for a graph with operators that OPERATORS lacks."""
        model.need_graphs()
        self._branches = [_TorchBranch(model, branch, device) for branch in model.branches]
        self._mirrored = model.mirrored
        self.width = sum(branch.dim for branch in self._branches)

    def __call__(self, crops: np.ndarray) -> list[np.ndarray]:
        """Crops (n, 112, 112, 3) uint8 RGB to the vectors of each network (n, branch dim) float32, of any length."""
        crops = checked(crops)
        return [both_ways(one, crops) if self._mirrored else one(crops) for one in self._branches]


class _TorchBranch:
    def __init__(self, model: ModelFile, branch: Branch, device: torch.device) -> None:
        self._name, self._branch, self._device = f"{model.path}, network {branch.name}", branch, device
        try:
            graph = onnx.load_from_string(model.graph(branch)).graph
        except DecodeError:
            raise ModelError(f"{self._name}, is no ONNX file; train or copy it again") from None
        self._fixed = {
            one.name: torch.from_numpy(numpy_helper.to_array(one).copy()).to(device) for one in graph.initializer
        }
        self._given = next(one.name for one in graph.input if one.name not in self._fixed)
        self._made = graph.output[0].name
        self._nodes = list(graph.node)
        unknown = sorted({_unknown(node) for node in self._nodes} - {""})
        if unknown:
            raise ModelError(f"{self._name}, has {', '.join(unknown)}, which runs on the CPU alone; leave out --device")
        self._mean, self._scale = (
            torch.tensor(three, dtype=torch.float32, device=device).view(1, 3, 1, 1)
            for three in (branch.mean, branch.scale)
        )
        self.dim = self._width = branch.dim
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None
        if last := model.last(branch):
            self._last = (
                torch.from_numpy(last.rows * last.step[:, None]).to(device),
                torch.from_numpy(last.bias).to(device),
            )
            self._width = last.rows.shape[1]

    @torch.no_grad()
    def __call__(self, crops: np.ndarray) -> np.ndarray:
        out = []
        for start in range(0, len(crops), _BATCH):
            seen = fitted(crops[start : start + _BATCH], self._branch.size, self._branch.points)
            x = torch.from_numpy(np.ascontiguousarray(seen)).to(self._device).permute(0, 3, 1, 2).float()
            x = (x - self._mean) * self._scale
            values = {**self._fixed, self._given: x if self._branch.rgb else x.flip(1)}
            for node in self._nodes:
                facts = {one.name: helper.get_attribute_value(one) for one in node.attribute}
                inputs = [values[name] for name in node.input if name]
                values[node.output[0]] = OPERATORS[node.op_type](inputs, facts)
            y = values[self._made].flatten(1).float()
            if y.shape[1] != self._width:
                raise ModelError(f"{self._name}, gives {y.shape[1]} numbers and not {self._width}; copy it again")
            out.append((y if self._last is None else F.linear(y, *self._last)).cpu().numpy())
        return finite(np.concatenate(out) if out else np.empty((0, self.dim), np.float32), self._name)


def _convolution(x: Sequence[torch.Tensor], facts: dict[str, Any]) -> torch.Tensor:
    given = _padded(x[0], facts, 0.0)
    bias = x[2] if len(x) > 2 else None
    stride, dilation = facts.get("strides", 1), facts.get("dilations", 1)
    return F.conv2d(given, x[1], bias, _pair(stride), 0, _pair(dilation), facts.get("group", 1))


def _average(x: Sequence[torch.Tensor], facts: dict[str, Any]) -> torch.Tensor:
    return F.avg_pool2d(x[0], _pair(facts["kernel_shape"]), _pair(facts.get("strides", 1)))


def _matrix(x: Sequence[torch.Tensor], facts: dict[str, Any]) -> torch.Tensor:
    weight = x[1] if facts.get("transB") else x[1].T
    offset = facts.get("beta", 1.0) * x[2] if len(x) > 2 else torch.zeros(())
    return torch.add(offset.to(x[0].device), F.linear(x[0], weight), alpha=facts.get("alpha", 1.0))


def _padded(x: torch.Tensor, facts: dict[str, Any], value: float) -> torch.Tensor:
    top, left, bottom, right = facts.get("pads", (0, 0, 0, 0))
    return F.pad(x, (left, right, top, bottom), value=value) if any((top, left, bottom, right)) else x


def _border(x: Sequence[torch.Tensor], facts: dict[str, Any]) -> torch.Tensor:
    before, after = x[1].reshape(2, -1).tolist()
    # torch begins with the last axis.
    sides = [side for axis in zip(before[::-1], after[::-1], strict=True) for side in axis]
    return F.pad(x[0], sides, value=float(x[2]) if len(x) > 2 else 0.0)


def _unknown(node: onnx.NodeProto) -> str:
    """The kind of a node, or a setting of it, that OPERATORS does not know; "" where everything is known."""
    if node.op_type not in OPERATORS:
        return str(node.op_type)
    for one in node.attribute:
        value = helper.get_attribute_value(one)
        idle = value in (0, b"NOTSET", b"constant") or (isinstance(value, list) and not any(value))
        if not idle and one.name not in _SETTINGS.get(node.op_type, ()):
            return f"{node.op_type} with {one.name}"
    return ""


def _pair(sides: int | Sequence[int]) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else (int(sides[0]), int(sides[1]))


OPERATORS: dict[str, Callable[[Sequence[torch.Tensor], dict[str, Any]], torch.Tensor]] = {
    "Add": lambda x, facts: x[0] + x[1],
    "Sub": lambda x, facts: x[0] - x[1],
    "Mul": lambda x, facts: x[0] * x[1],
    "Relu": lambda x, facts: F.relu(x[0]),
    "PRelu": lambda x, facts: torch.where(x[0] >= 0, x[0], x[0] * x[1]),
    "Sigmoid": lambda x, facts: torch.sigmoid(x[0]),
    "Identity": lambda x, facts: x[0],
    "Flatten": lambda x, facts: x[0].flatten(facts.get("axis", 1)),
    "Conv": _convolution,
    "Pad": _border,
    "AveragePool": _average,
    "GlobalAveragePool": lambda x, facts: x[0].mean((2, 3), keepdim=True),
    "Gemm": _matrix,
    "BatchNormalization": lambda x, facts: F.batch_norm(
        x[0], x[3], x[4], x[1], x[2], training=False, eps=facts.get("epsilon", 1e-5)
    ),
}

_SETTINGS = {
    "Conv": ("kernel_shape", "strides", "pads", "dilations", "group"),
    "AveragePool": ("kernel_shape", "strides", "count_include_pad"),  # there is no border to count
    "Flatten": ("axis",),
    "Gemm": ("transB", "alpha", "beta"),
    "BatchNormalization": ("epsilon", "momentum"),
}


def pick_device(wanted: str) -> torch.device:
    """The device of that name. "auto" takes CUDA, else the CPU, because MPS may lack operators that training needs.

    Raises DataError when there is no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = "cuda" if available["cuda"] else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or not available.get(device.type, False) or (device.index or 0) >= _count(device.type):
        raise DataError(f"There is no device {wanted!r} here; leave out --device, or choose cpu")
    return device


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1
