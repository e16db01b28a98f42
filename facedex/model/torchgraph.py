"""Inference graphs run by torch, so that frozen encoders run on a GPU too, and can be trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper
from torch import nn

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


class GraphNetwork(nn.Module):
    """One network of a model as a module of torch, which computes what its inference graph says.

    `learnt` are the names of the constants that can be trained: matrices and offsets of convolutions and of `Gemm`. The
    other constants stay as they are: slopes, the scaling of the pixels, the statistics of batch norms.
    """

    def __init__(self, model: ModelFile, branch: Branch) -> None:
        """Raises ModelError for a graph with operators that OPERATORS lacks."""
        super().__init__()
        self.name = f"{model.path}, network {branch.name}"
        try:
            graph = onnx.load_from_string(model.graph(branch)).graph
        except DecodeError:
            raise ModelError(f"{self.name}, is no ONNX file; train or copy it again") from None
        fixed = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
        self._given = next(one.name for one in graph.input if one.name not in fixed)
        self._made = graph.output[0].name
        unknown = sorted({_unknown(node) for node in graph.node} - {""})
        if unknown:
            raise ModelError(f"{self.name}, has {', '.join(unknown)}, which runs on the CPU alone; leave out --device")
        self._steps = _joined([_step(node, fixed) for node in graph.node], fixed, self._made)
        weights = {name for step in self._steps if step.kind in ("Conv", "Gemm") for name in step.inputs[1:]}
        self.learnt = sorted(weights & fixed.keys())
        self._weights = nn.ParameterList([nn.Parameter(fixed[name]) for name in self.learnt])
        self._others = sorted(fixed.keys() - weights)
        for at, name in enumerate(self._others):
            self.register_buffer(f"other{at}", fixed[name], persistent=False)
        self._rgb = branch.rgb
        for name, three in (("mean", branch.mean), ("scale", branch.scale)):
            self.register_buffer(name, torch.tensor(three, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) float RGB in 0..255 to the graph's answers (n, d) float32."""
        x = (x - self.get_buffer("mean")) * self.get_buffer("scale")
        values: Values = dict(zip(self.learnt, self._weights, strict=True))
        values.update({name: self.get_buffer(f"other{at}") for at, name in enumerate(self._others)})
        values[self._given] = x if self._rgb else x.flip(1)
        for step in self._steps:
            values[step.output] = OPERATORS[step.kind]([values[name] for name in step.inputs], step.facts)
        return values[self._made].flatten(1).float()

    def constants(self) -> dict[str, np.ndarray]:
        """The learnt constants as they are now, float32 by their names in the graph."""
        weights = zip(self.learnt, self._weights, strict=True)
        return {name: weight.detach().cpu().contiguous().numpy() for name, weight in weights}


class _TorchBranch:
    def __init__(self, model: ModelFile, branch: Branch, device: torch.device) -> None:
        self._branch, self._device = branch, device
        self._network = GraphNetwork(model, branch).to(device)
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
        out, name = [], self._network.name
        for start in range(0, len(crops), _BATCH):
            seen = fitted(crops[start : start + _BATCH], self._branch.size, self._branch.points)
            y = self._network(torch.from_numpy(np.ascontiguousarray(seen)).to(self._device).permute(0, 3, 1, 2).float())
            if y.shape[1] != self._width:
                raise ModelError(f"{name}, gives {y.shape[1]} numbers and not {self._width}; copy it again")
            out.append((y if self._last is None else F.linear(y, *self._last)).cpu().numpy())
        return finite(np.concatenate(out) if out else np.empty((0, self.dim), np.float32), name)


@dataclass(frozen=True)
class _Step:
    """A node of a graph: its kind, the names of what goes in and of what comes out, and its settings."""

    kind: str
    inputs: list[str]
    output: str
    facts: dict[str, Any]


def _step(node: onnx.NodeProto, fixed: Values) -> _Step:
    facts = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    inputs = [name for name in node.input if name]
    if node.op_type == "PRelu" and (slope := fixed.get(inputs[1])) is not None and slope.numel() == 1:
        facts["slope"] = float(slope)
    return _Step(node.op_type, inputs, node.output[0], facts)


def _joined(steps: list[_Step], fixed: Values, made: str) -> list[_Step]:
    """The steps with each offset joined to the convolution right before it, so that the offset is learnt too."""
    uses = Counter([made, *(name for step in steps for name in step.inputs)])
    joined: list[_Step] = []
    for step in steps:
        before = joined[-1] if joined else None
        if before and before.kind == "Conv" and step.kind == "Add" and uses[before.output] == 1:
            weight, offset = fixed.get(before.inputs[1]), fixed.get(step.inputs[1])
            plain = len(before.inputs) == 2 and step.inputs[0] == before.output
            if plain and weight is not None and offset is not None and offset.shape == (1, len(weight), 1, 1):
                joined[-1] = _Step("Conv", [*before.inputs, step.inputs[1]], step.output, before.facts)
                continue
        joined.append(step)
    return joined


def _convolution(x: Sequence[torch.Tensor], facts: dict[str, Any]) -> torch.Tensor:
    given = _padded(x[0], facts)
    bias = x[2].flatten() if len(x) > 2 else None
    stride, dilation, groups = _pair(facts.get("strides", 1)), _pair(facts.get("dilations", 1)), facts.get("group", 1)
    if given.dtype == torch.bfloat16 and given.device.type == "cpu" and groups > 1 and max(stride) > 1:
        # The gradient of such a layer takes 3 to 15 times as long in half precision: 78 photos a second of a training
        # step on one thread become 55 (reid's network at 96 pixels, x86-64 with avx512_bf16).
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(given.float(), x[1], bias, stride, 0, dilation, groups).to(given.dtype)
    return F.conv2d(given, x[1], bias, stride, 0, dilation, groups)


def _average(x: Sequence[torch.Tensor], facts: dict[str, Any]) -> torch.Tensor:
    return F.avg_pool2d(x[0], _pair(facts["kernel_shape"]), _pair(facts.get("strides", 1)))


def _matrix(x: Sequence[torch.Tensor], facts: dict[str, Any]) -> torch.Tensor:
    weight = x[1] if facts.get("transB") else x[1].T
    offset = facts.get("beta", 1.0) * x[2] if len(x) > 2 else torch.zeros(())
    return torch.add(offset.to(x[0].device), F.linear(x[0], weight), alpha=facts.get("alpha", 1.0))


def _padded(x: torch.Tensor, facts: dict[str, Any]) -> torch.Tensor:
    top, left, bottom, right = facts.get("pads", (0, 0, 0, 0))
    return F.pad(x, (left, right, top, bottom)) if any((top, left, bottom, right)) else x


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
    # One slope for the whole map, known beforehand: 78 photos a second of a training step instead of 48.
    "PRelu": lambda x, facts: (
        F.leaky_relu(x[0], facts["slope"]) if "slope" in facts else torch.where(x[0] >= 0, x[0], x[0] * x[1])
    ),
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
