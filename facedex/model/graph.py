"""An inference graph whose constants are stored apart in half precision, and joined when the graph is opened.

ONNX files are protocol buffers. Two messages one after another read as one message with the fields of both. So the
constants are appended to a graph without constants
(https://protobuf.dev/programming-guides/encoding/#last-one-wins). A very large last matrix stays outside the graph.
"""

from __future__ import annotations

import numpy as np

# Field numbers of onnx.proto3, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_DATA = 1, 2, 8, 9
_FLOAT = 1
_VARINT, _BYTES = 0, 2


class LastMatrix:
    """The last layer of a network, behind its graph: rows of 8-bit numbers, and a factor and an offset for each row.

    Two thirds of SFace's numbers are in this layer. Within the graph, as float32, the layer cost a `facedex identify`
    95 ms of processor time, beside 420 (2026-11-30, two shared x86-64 cores, OpenCV 5.0).
    """

    def __init__(self, rows: np.ndarray, step: np.ndarray, bias: np.ndarray) -> None:
        """`rows` (dim, m) int8, `step` and `bias` (dim,) float32 or float16. Raises ValueError for others."""
        if rows.dtype != np.int8 or rows.ndim != 2 or not step.shape == bias.shape == (len(rows),):
            raise ValueError("the last matrix is not rows of 8-bit numbers with a factor and an offset for each row")
        self.rows, self.step, self.bias = rows, step.astype(np.float32), bias.astype(np.float32)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(m,) float32 to (dim,) float32. Raises ValueError for another number of inputs."""
        # einsum widens a few thousand numbers at a time. BLAS would need all in float32, and would start threads.
        return np.asarray(np.einsum("dm,m->d", self.rows, x) * self.step + self.bias)


def assembled(skeleton: bytes, constants: dict[str, np.ndarray]) -> bytes:
    """An ONNX file as runtimes read it: `skeleton`, with `constants` by name as its float32 initializers.

    Constants are float32 or float16 (exactly widened). Raises ValueError for others.
    """
    if not constants:
        return skeleton
    parts: list[bytes | memoryview] = []  # joined once: the largest graph has 13 MB
    for name, value in sorted(constants.items()):
        if value.dtype not in (np.float32, np.float16):
            raise ValueError(f"its constant {name} is of {value.dtype}")
        data = value.astype("<f4", order="C").reshape(-1).view(np.uint8).data
        facts = b"".join(_key(_TENSOR_DIMS, _VARINT) + _varint(side) for side in value.shape)
        facts += _key(_TENSOR_TYPE, _VARINT) + _varint(_FLOAT) + _field(_TENSOR_NAME, name.encode())
        facts += _key(_TENSOR_DATA, _BYTES) + _varint(len(data))
        parts += [_key(_GRAPH_INITIALIZER, _BYTES) + _varint(len(facts) + len(data)) + facts, data]
    size = sum(map(len, parts))
    return b"".join([skeleton, _key(_MODEL_GRAPH, _BYTES) + _varint(size), *parts])


def eight_bits(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (rows, columns) as int8, and the factor of each row (rows,) float32; each uses all of -127..127."""
    step = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-30) / 127
    return np.round(matrix / step).astype(np.int8), step[:, 0].astype(np.float32)


def _field(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(content)) + content


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
