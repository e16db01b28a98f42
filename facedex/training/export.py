"""The encoder's inference graph: ONNX with BatchNorm folded, of operators that OpenCV's dnn reads."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from facedex.errors import MissingExtra, ModelError

_OPSET = 13
_IR_VERSION = 8  # what readers of this opset expect; onnx would write its newest
_WINOGRAD = 12  # OpenCV's dnn (4.14) uses Winograd's algorithm on maps of so many pixels a side and more
_ARITHMETIC = {operator.sub: "Sub", operator.mul: "Mul", operator.add: "Add"}


def require_onnx() -> None:
    """Raise MissingExtra without the package onnx. Call it before hours of training, not after them."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise MissingExtra("Exporting a model", "train") from None


def export_onnx(encoder: nn.Module, size: int) -> bytes:
    """The graph of an encoder in evaluation mode, as an ONNX file.

    Its input is "faces" (n, 3, size, size) float32 RGB in 0..255. Its output is "embeddings" (n, dim) float32 before
    normalisation. Raises MissingExtra without the package onnx, and ModelError for a layer that is not known here.
    """
    require_onnx()
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    traced = fx.GraphModule(encoder.eval(), _Tracer().trace(encoder))
    with torch.no_grad():
        ShapeProp(traced).propagate(torch.zeros(1, 3, size, size))
    export = _Export(dict(traced.named_modules()))
    for node in traced.graph.nodes:
        export.add(node)
    graph = helper.make_graph(
        export.nodes,
        "facedex-encoder",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", export.dim])],
        [numpy_helper.from_array(array, name) for name, array in export.constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="facedex")
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


class _Export:
    """ONNX nodes and constants, made from the nodes of a traced module one after another."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.dim = 0  # of the embeddings: the outputs of the last linear layer
        self._modules = modules
        self._values: dict[fx.Node, str] = {}  # the ONNX value of each traced node
        self._folded: set[fx.Node] = set()  # batch norms that are part of the convolution before them

    def add(self, node: fx.Node) -> None:
        """Export the next node. Raises ModelError for one that is not known here."""
        inputs = [self._values[x] for x in node.args if isinstance(x, fx.Node) and x in self._values]
        if node.op == "placeholder":
            self._values[node] = "faces"
        elif node.op == "output":
            self._emit("Identity", inputs, "embeddings")
        elif node in self._folded:
            self._values[node] = inputs[0]
        elif node.op == "call_function" and node.target in _ARITHMETIC:
            if len(inputs) == 1:
                inputs.append(self._constant(f"{node.name}_by", np.array(node.args[1])))
            self._values[node] = self._emit(_ARITHMETIC[node.target], inputs, node.name)
        elif node.op == "call_method" and node.target == "flatten":
            self._values[node] = self._emit("Flatten", inputs, node.name, axis=1)
        elif node.op == "call_module":
            self._values[node] = self._layer(node, self._modules[str(node.target)], inputs)
        else:
            raise ModelError(f"{node.op} {node.target} has no counterpart in the exported graph; add it to export.py")

    def _layer(self, node: fx.Node, layer: nn.Module, inputs: list[str]) -> str:
        if isinstance(layer, nn.Conv2d):
            return self._convolution(node, layer, inputs)
        if isinstance(layer, nn.ReLU):
            return self._emit("Relu", inputs, node.name)
        if isinstance(layer, nn.AvgPool2d):
            shape = [layer.kernel_size, layer.kernel_size]
            return self._emit("AveragePool", inputs, node.name, kernel_shape=shape, strides=shape)
        if isinstance(layer, nn.Linear):
            self.dim = layer.out_features
            return self._emit("Gemm", [*inputs, *self._weights(node, layer.weight, layer.bias)], node.name, transB=1)
        raise ModelError(f"{type(layer).__name__} has no counterpart in the exported graph; add it to export.py")

    def _convolution(self, node: fx.Node, layer: nn.Conv2d, inputs: list[str]) -> str:
        weight = layer.weight.detach()
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        user = next(iter(node.users)) if len(node.users) == 1 else None
        norm = self._modules.get(str(user.target)) if user is not None and user.op == "call_module" else None
        if user is not None and isinstance(norm, nn.BatchNorm2d):
            weight, bias = _fold(weight, bias, norm)
            self._folded.add(user)
        padding = [*layer.padding, *layer.padding]
        if _needs_own_padding(layer, node.all_input_nodes[0].meta["tensor_meta"].shape[-1]):
            zeros = self._constant("margin", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.int64)
            inputs, padding = [self._emit("Pad", [*inputs, zeros], f"{node.name}_wide")], [0, 0, 0, 0]
        return self._emit(
            "Conv",
            [*inputs, *self._weights(node, weight, bias)],
            node.name,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            group=layer.groups,
            pads=padding,
        )

    def _weights(self, node: fx.Node, weight: torch.Tensor, bias: torch.Tensor) -> tuple[str, str]:
        """The constants of a layer."""
        weight_name = self._constant(f"{node.name}_w", weight.detach().numpy())
        return weight_name, self._constant(f"{node.name}_b", bias.detach().numpy())

    def _constant(self, name: str, array: NDArray[Any], dtype: type = np.float32) -> str:
        self.constants[name] = np.ascontiguousarray(array, dtype)
        return name

    def _emit(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node of this kind; its output has the node's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


def _needs_own_padding(convolution: nn.Conv2d, side: int) -> bool:
    """Whether a Pad node before the convolution makes a map of `side` pixels large enough for Winograd's algorithm.

    OpenCV's dnn computes 3 x 3 convolutions by Winograd's algorithm (Lavin & Gray 2016) in half the time, but only on
    maps of 12 pixels a side and more. With its padding a map of 10 pixels is large enough.
    """
    shape = convolution.kernel_size, convolution.stride, convolution.padding, convolution.groups
    return shape == ((3, 3), (1, 1), (1, 1), 1) and side < _WINOGRAD <= side + 2


def _fold(weight: torch.Tensor, bias: torch.Tensor, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """A convolution and the BatchNorm after it as one convolution, computed in double precision."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    shifted = (bias.double() - norm.running_mean.double()) * gain + norm.bias.detach().double()
    return (weight.double() * gain.view(-1, 1, 1, 1)).float(), shifted.float()
