"""An encoder from elsewhere: preprocessing longhand, batches it cannot take, and errors that say what to do."""

import numpy as np
import pytest
from helpers import unit

from facedex.errors import ModelError
from facedex.modelfile import read_graph, read_model, shipped_model
from facedex.onnxencoder import OnnxEncoder

onnx = pytest.importorskip("onnx", reason="needs the extra train")

DIM, SIDE = 6, 112


def graph(path, batch="n", side=SIDE, weight=None, flat=True):
    """A network that averages over an 8 x 8 grid and multiplies by a matrix; `batch` may be fixed."""
    from onnx import TensorProto, helper, numpy_helper

    cell = side // 8
    weight = np.random.default_rng(3).normal(size=(DIM, 192)).astype(np.float32) if weight is None else weight
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[cell, cell], strides=[cell, cell]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, len(weight)])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path, weight


def longhand(crops, weight, mean, scale, rgb):
    """The same network, one crop and one channel at a time."""
    out = []
    for crop in crops.astype(np.float64):
        planes = [(crop[:, :, c] - mean[c]) * scale[c] for c in range(3)]
        planes = planes if rgb else planes[::-1]
        grid = [plane.reshape(8, 14, 8, 14).mean((1, 3)).ravel() for plane in planes]
        vector = weight @ np.concatenate(grid)
        out.append(vector / np.linalg.norm(vector))
    return np.array(out)


@pytest.fixture
def crops():
    return np.random.default_rng(1).integers(0, 256, (37, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("rgb", [True, False])
@pytest.mark.parametrize("mean, scale", [(0, 1), (127.5, 1 / 128), ((100, 110, 120), (0.01, 0.02, 0.03))])
def test_preprocessing_is_what_was_asked_for(tmp_path, crops, rgb, mean, scale):
    path, weight = graph(tmp_path / "e.onnx")
    encoder = OnnxEncoder(path, mean=mean, scale=scale, rgb=rgb)
    expected = longhand(crops, weight, np.broadcast_to(mean, 3), np.broadcast_to(scale, 3), rgb)
    found = encoder.encode(crops)
    assert found.shape == (37, DIM) and found.dtype == np.float32 and encoder.dim == DIM
    assert np.abs(found - expected).max() < 1e-4


def test_numbers_that_are_not_finite_are_a_model_error(tmp_path, crops):
    weight = np.random.default_rng(3).normal(size=(DIM, 192)).astype(np.float32) * np.float32(1e36)
    encoder = OnnxEncoder(graph(tmp_path / "e.onnx", weight=weight)[0], mean=127.5)
    with pytest.raises(ModelError, match=r"e\.onnx gives numbers of a face that are not finite"):
        encoder.encode(np.full_like(crops, 255))


def test_a_graph_for_one_picture_at_a_time_gives_the_same(tmp_path, crops):
    free, fixed = (OnnxEncoder(graph(tmp_path / f"{b}.onnx", b)[0]) for b in ("n", 1))
    assert np.allclose(free.encode(crops), fixed.encode(crops), atol=1e-5)


def test_another_size_is_resized_to(tmp_path, crops):
    encoder = OnnxEncoder(graph(tmp_path / "e.onnx", side=96)[0], size=96)
    assert np.allclose(np.linalg.norm(encoder.encode(crops[:3]), axis=1), 1, atol=1e-5)


def test_our_own_graph_gives_our_own_embeddings(crops):
    from facedex.encoder import GraphEncoder

    model = read_model(shipped_model())
    read_graph(model)
    assert np.allclose(
        OnnxEncoder(model.graph_path, model.size, mirrored=model.mirrored).encode(crops),
        GraphEncoder(model).encode(crops)[0],
        atol=1e-5,
    )


def test_the_fingerprint_is_of_the_file_and_the_preprocessing(tmp_path):
    path, _ = graph(tmp_path / "e.onnx")
    first = OnnxEncoder(path).fingerprint
    assert OnnxEncoder(path).fingerprint == first and len(first) == 64
    others = [OnnxEncoder(path, mean=1), OnnxEncoder(path, scale=2), OnnxEncoder(path, rgb=False)]
    others.append(OnnxEncoder(graph(tmp_path / "f.onnx", weight=np.ones((2, 192), np.float32) * [[1], [2]])[0]))
    assert len({first, *(one.fingerprint for one in others)}) == 5


def test_what_cannot_be_used_is_one_sentence(tmp_path):
    path, _ = graph(tmp_path / "e.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"not a network" * 50)
    always, _ = graph(tmp_path / "always.onnx", weight=np.zeros((4, 192), np.float32))
    single, _ = graph(tmp_path / "single.onnx", weight=np.ones((1, 192), np.float32))
    for name, options, match in (
        (tmp_path / "gone.onnx", {}, "cannot be read"),
        (tmp_path, {}, "cannot be read"),
        (tmp_path / "junk.onnx", {}, "not an ONNX network"),
        (path, {"size": 64}, "--size"),
        (always, {}, "no embedding"),
        (single, {}, "no embedding"),
        (path, {"mean": (1, 2)}, "--mean"),
        (path, {"scale": float("nan")}, "--scale"),
    ):
        with pytest.raises(ModelError, match=match) as caught:
            OnnxEncoder(name, **options)
        assert "\n" not in str(caught.value)


def test_crops_of_another_shape_are_refused(tmp_path):
    encoder = OnnxEncoder(graph(tmp_path / "e.onnx")[0])
    assert encoder.encode(np.empty((0, SIDE, SIDE, 3), np.uint8)).shape == (0, DIM)
    for wrong in (np.zeros((2, 128, 128, 3), np.uint8), np.zeros((2, SIDE, SIDE, 3), np.float32), unit(3)):
        with pytest.raises(ValueError, match="112"):
            encoder.encode(wrong)
