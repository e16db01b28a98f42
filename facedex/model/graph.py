"""An inference graph whose constants are stored apart, small, and put back when it is opened.

ONNX files are protocol buffers. Two messages one after another read as one message that has the fields of both, so the
constants are appended to a graph without them (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
"""

from __future__ import annotations

import numpy as np

STEP = ":step"  # "NAME:step" (rows, 1) float32 is the factor of a matrix "NAME" of 8-bit numbers

# Field numbers of onnx.proto3, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_DATA = 1, 2, 8, 9
_FLOAT = 1
_VARINT, _BYTES = 0, 2


def assembled(skeleton: bytes, constants: dict[str, np.ndarray]) -> bytes:
    """An ONNX file as engines read it: `skeleton`, and `constants` by name as its float32 initializers.

    Constants are float32, float16 (exactly widened) or int8 with a STEP beside them. Raises ValueError for others.
    """
    if not constants:
        return skeleton
    parts: list[bytes | memoryview] = []  # joined once: the largest graph has 38 MB
    for name, value in sorted(constants.items()):
        if name.endswith(STEP):
            continue
        if value.dtype not in (np.float32, np.float16, np.int8):
            raise ValueError(f"its constant {name} is of {value.dtype}")
        whole = value.astype("<f4", order="C")
        if value.dtype == np.int8:
            step = constants.get(name + STEP)
            if step is None or value.ndim != 2 or step.dtype != np.float32 or step.shape != (len(value), 1):
                raise ValueError(f"its constant {name} of 8 bits lacks a factor for each row")
            whole *= step
        data = whole.reshape(-1).view(np.uint8).data
        facts = b"".join(_key(_TENSOR_DIMS, _VARINT) + _varint(side) for side in value.shape)
        facts += _key(_TENSOR_TYPE, _VARINT) + _varint(_FLOAT) + _field(_TENSOR_NAME, name.encode())
        facts += _key(_TENSOR_DATA, _BYTES) + _varint(len(data))
        parts += [_key(_GRAPH_INITIALIZER, _BYTES) + _varint(len(facts) + len(data)) + facts, data]
    size = sum(map(len, parts))
    return b"".join([skeleton, _key(_MODEL_GRAPH, _BYTES) + _varint(size), *parts])


def eight_bits(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (rows, columns) as int8 and its STEP (rows, 1) float32; each row uses all of -127..127."""
    step = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-30) / 127
    return np.round(matrix / step).astype(np.int8), step.astype(np.float32)


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
