"""The encoder's inference graph: ONNX with BatchNorm folded, of operators OpenCV's dnn reads."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from facedex.errors import MissingExtra, ModelError

_OPSET = 13
_WINOGRAD = 12  # pixels a side of a map from which on OpenCV's dnn takes that way (4.14)


def require_onnx() -> None:
    """Raise MissingExtra without the package onnx: to be asked before hours of training, not after them."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise MissingExtra("Exporting a model", "train") from None


def export_onnx(encoder: nn.Module, size: int) -> bytes:
    """The graph of an encoder in evaluation mode: input "faces" (n, 3, size, size) float32 RGB in 0..255, output
    "embeddings" (n, dim) float32 before normalisation.

    Raises MissingExtra without the package onnx, ModelError for a layer that has no counterpart here.
    """
    require_onnx()
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    traced = fx.GraphModule(encoder.eval(), _Tracer().trace(encoder))
    with torch.no_grad():
        ShapeProp(traced).propagate(torch.zeros(1, 3, size, size))
    modules = dict(traced.named_modules())
    nodes: list = []
    constants: dict[str, np.ndarray] = {}
    value: dict[fx.Node, str] = {}
    folded: set[fx.Node] = set()
    dim = 0

    def constant(name: str, array: np.ndarray, kind: type = np.float32) -> str:
        constants[name] = np.ascontiguousarray(array, kind)
        return name

    def emit(node: fx.Node, kind: str, inputs: list[str], **attributes: Any) -> None:
        nodes.append(helper.make_node(kind, inputs, [node.name], name=node.name, **attributes))
        value[node] = node.name

    for node in traced.graph.nodes:
        inputs = [value[argument] for argument in node.args if isinstance(argument, fx.Node) and argument in value]
        if node.op == "placeholder":
            value[node] = "faces"
        elif node.op == "output":
            nodes.append(helper.make_node("Identity", inputs, ["embeddings"], name="embeddings"))
        elif node in folded:
            value[node] = inputs[0]
        elif node.op == "call_function" and node.target in (operator.sub, operator.mul, operator.add):
            kind = {operator.sub: "Sub", operator.mul: "Mul", operator.add: "Add"}[node.target]
            if len(inputs) == 1:
                inputs.append(constant(f"{node.name}_by", np.array(node.args[1])))
            emit(node, kind, inputs)
        elif node.op == "call_method" and node.target == "flatten":
            emit(node, "Flatten", inputs, axis=1)
        elif node.op == "call_module":
            module = modules[str(node.target)]
            if isinstance(module, nn.Conv2d):
                weight, bias = module.weight.detach(), module.bias
                bias = torch.zeros(len(weight)) if bias is None else bias.detach()
                user = next(iter(node.users)) if len(node.users) == 1 else None
                norm = modules.get(str(user.target)) if user is not None and user.op == "call_module" else None
                if isinstance(norm, nn.BatchNorm2d):
                    assert user is not None
                    weight, bias = _fold(weight, bias, norm)
                    folded.add(user)
                margin = [*module.padding, *module.padding]  # type: ignore[misc]
                if _wants_margin(module, node.all_input_nodes[0].meta["tensor_meta"].shape[-1]):
                    around = constant("margin", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.int64)
                    wide = f"{node.name}_wide"
                    nodes.append(helper.make_node("Pad", [*inputs, around], [wide], name=wide))
                    inputs, margin = [wide], [0, 0, 0, 0]
                emit(
                    node, "Conv",
                    [*inputs, constant(f"{node.name}_w", weight.numpy()), constant(f"{node.name}_b", bias.numpy())],
                    kernel_shape=list(module.kernel_size), strides=list(module.stride), group=module.groups, pads=margin,
                )  # fmt: skip
            elif isinstance(module, nn.ReLU):
                emit(node, "Relu", inputs)
            elif isinstance(module, nn.AvgPool2d):
                side = int(module.kernel_size)  # type: ignore[arg-type]
                emit(node, "AveragePool", inputs, kernel_shape=[side, side], strides=[side, side])
            elif isinstance(module, nn.Linear):
                dim = module.out_features
                matrix, shift = module.weight.detach().numpy(), module.bias.detach().numpy()
                emit(
                    node, "Gemm",
                    [*inputs, constant(f"{node.name}_w", matrix), constant(f"{node.name}_b", shift)], transB=1,
                )  # fmt: skip
            else:
                raise ModelError(
                    f"{type(module).__name__} has no counterpart in the exported graph; add it to export.py"
                )
        else:
            raise ModelError(f"{node.op} {node.target} has no counterpart in the exported graph; add it to export.py")

    graph = helper.make_graph(
        nodes,
        "facedex-encoder",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dim])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="facedex")
    model.ir_version = 8  # what readers of this opset expect; onnx would write its newest
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def _wants_margin(convolution: nn.Conv2d, side: int) -> bool:
    """Whether the zeros around a map of `side` pixels are better put there by a step of their own.

    OpenCV's dnn computes 3 x 3 convolutions by Winograd's way (Lavin & Gray 2016) in half the time, but only on maps of
    12 pixels a side and more: the margin makes one of 10 pixels large enough.
    """
    shape = convolution.kernel_size, convolution.stride, convolution.padding, convolution.groups
    return shape == ((3, 3), (1, 1), (1, 1), 1) and side < _WINOGRAD <= side + 2


def _fold(weight: torch.Tensor, bias: torch.Tensor, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """A convolution and the BatchNorm behind it as one convolution; computed in double precision."""
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    shifted = (bias.double() - norm.running_mean.double()) * gain + norm.bias.detach().double()
    return (weight.double() * gain.view(-1, 1, 1, 1)).float(), shifted.float()
