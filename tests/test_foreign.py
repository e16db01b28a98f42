"""An encoder from elsewhere: preprocessing longhand, graphs of one picture at a time, errors that say what to do."""

import cv2
import numpy as np
import pytest

from facedex.errors import ModelError
from facedex.faces import alignment
from facedex.model.encoder import GraphEncoder, Networks
from facedex.model.foreign import foreign_model
from facedex.model.head import Head
from facedex.model.modelfile import read_model
from tests.helpers import grid_graph, grid_weight, own_model, unit

onnx = pytest.importorskip("onnx", reason="needs the extra train")

DIM, SIDE = 6, 112
POINTS = ((30.0, 46.0), (66.0, 46.0), (48.0, 62.0), (33.0, 80.0), (63.0, 80.0))  # in 96 pixels


def graph(path, **shape):
    """grid_graph as a file."""
    path.write_bytes(grid_graph(**shape))
    return path


def longhand(crops, weight, mean, scale, rgb):
    """The same network, one crop and one channel at a time."""
    out = []
    for crop in crops.astype(np.float64):
        planes = [(crop[:, :, c] - mean[c]) * scale[c] for c in range(3)]
        planes = planes if rgb else planes[::-1]
        cell = crop.shape[0] // 8
        grid = [plane.reshape(8, cell, 8, cell).mean((1, 3)).ravel() for plane in planes]
        vector = weight @ np.concatenate(grid)
        out.append(vector / np.linalg.norm(vector))
    return np.array(out)


@pytest.fixture
def crops():
    return np.random.default_rng(1).integers(0, 256, (11, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("rgb", [True, False])
@pytest.mark.parametrize(("mean", "scale"), [(0, 1), (127.5, 1 / 128), ((100, 110, 120), (0.01, 0.02, 0.03))])
def test_preprocessing_is_what_was_asked_for(tmp_path, crops, rgb, mean, scale):
    model = foreign_model(graph(tmp_path / "e.onnx"), mean=mean, scale=scale, rgb=rgb)
    expected = longhand(crops, grid_weight(), np.broadcast_to(mean, 3), np.broadcast_to(scale, 3), rgb)
    encoder = GraphEncoder(model)
    found = encoder.encode(crops)[0]
    assert found.shape == (11, DIM)
    assert found.dtype == np.float32
    assert encoder.dim == model.meta["dim"] == DIM
    assert np.abs(found - expected).max() < 1e-4


def test_faces_are_aligned_to_the_landmarks_that_a_network_states(tmp_path, crops):
    path = graph(tmp_path / "e.onnx", side=96)
    matrix = alignment.similarity(alignment.TEMPLATE, np.array(POINTS))
    seen = np.stack([cv2.warpAffine(crop, matrix, (96, 96)) for crop in crops])
    found = GraphEncoder(foreign_model(path, size=96, points=POINTS)).encode(crops)[0]
    assert np.abs(found - longhand(seen, grid_weight(), (0, 0, 0), (1, 1, 1), True)).max() < 1e-4
    plain = GraphEncoder(foreign_model(path, size=96)).encode(crops)[0]
    assert np.abs(found - plain).max() > 1e-2


def test_the_usual_landmarks_are_the_usual_crop(tmp_path, crops):
    path = graph(tmp_path / "e.onnx")
    usual, said = (GraphEncoder(foreign_model(path, points=points)) for points in (None, alignment.TEMPLATE))
    np.testing.assert_allclose(usual.encode(crops)[0], said.encode(crops)[0], atol=1e-3)


def test_numbers_that_are_not_finite_are_a_model_error(tmp_path, crops):
    path = graph(tmp_path / "e.onnx", weight=grid_weight() * np.float32(1e36))
    encoder = GraphEncoder(foreign_model(path, mean=127.5))
    with pytest.raises(ModelError, match=r"e\.onnx.* gives numbers that are not finite"):
        encoder.encode(np.full_like(crops, 255))


def test_a_graph_for_one_picture_at_a_time_gives_the_same(tmp_path, crops):
    free, fixed = (GraphEncoder(foreign_model(graph(tmp_path / f"{b}.onnx", batch=b))) for b in ("n", 1))
    assert np.allclose(free.encode(crops)[0], fixed.encode(crops)[0], atol=1e-5)


def test_another_size_is_resized_to(tmp_path, crops):
    model = foreign_model(graph(tmp_path / "e.onnx", side=96), size=96)
    small = np.stack([cv2.resize(crop, (96, 96), interpolation=cv2.INTER_AREA) for crop in crops])
    expected = longhand(small, grid_weight(), (0, 0, 0), (1, 1, 1), True)
    assert np.abs(GraphEncoder(model).encode(crops)[0] - expected).max() < 1e-4


def test_our_own_graph_gives_our_own_embeddings(tmp_path, crops):
    model = own_model(tmp_path / "m.safetensors")
    (branch,) = model.branches
    (tmp_path / "own.onnx").write_bytes(model.graph(branch))
    found = GraphEncoder(foreign_model(tmp_path / "own.onnx", branch.size, mirrored=model.mirrored)).encode(crops)[0]
    assert model.mirrored
    assert np.allclose(found, GraphEncoder(model).encode(crops)[0], atol=1e-5)


def test_the_fingerprint_is_of_the_graph_and_the_preprocessing_and_not_of_the_name(tmp_path):
    path = graph(tmp_path / "e.onnx")
    first = foreign_model(path).fingerprint
    (tmp_path / "renamed.v2.onnx").write_bytes(path.read_bytes())
    assert foreign_model(tmp_path / "renamed.v2.onnx").fingerprint == first
    assert len(first) == 64
    ways = [
        {"mean": 1},
        {"mean": (0, 0, 1)},
        {"scale": 2},
        {"rgb": False},
        {"mirrored": True},
        {"points": alignment.TEMPLATE},
    ]
    others = [foreign_model(path, **way) for way in ways]
    others.append(foreign_model(graph(tmp_path / "f.onnx", weight=np.ones((2, 192)) * [[1], [2]])))
    others.append(foreign_model(graph(tmp_path / "g.onnx", side=96), size=96))
    assert len({first, *(one.fingerprint for one in others)}) == len(others) + 1


def test_a_foreign_model_has_no_head_and_is_stored_like_any_other(tmp_path, crops):
    model = foreign_model(graph(tmp_path / "e.onnx", side=96), 96, (1, 2, 3), 0.5, False, True, POINTS)
    assert model.frozen
    assert model.mirrored
    assert [branch.points for branch in model.branches] == [POINTS]
    with pytest.raises(ModelError, match="holds no head"):
        Head.from_file(model)
    model.save(tmp_path / "m.safetensors")
    again = read_model(tmp_path / "m.safetensors")
    assert again.branches == model.branches
    assert again.fingerprint == model.fingerprint
    assert np.array_equal(GraphEncoder(again).encode(crops)[0], GraphEncoder(model).encode(crops)[0])


def two_inputs(path):
    """A graph that wants two pictures."""
    from onnx import TensorProto, helper

    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, SIDE, SIDE]) for name in "ab"]
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    model = helper.make_model(helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "g", given, [made]))
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def test_unusable_graphs_are_a_one_sentence_error(tmp_path):
    path = graph(tmp_path / "e.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"not a network" * 50)
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "torn.onnx").write_bytes(path.read_bytes()[:-700])
    always = graph(tmp_path / "always.onnx", weight=np.zeros((4, 192), np.float32))
    single = graph(tmp_path / "single.onnx", weight=np.ones((1, 192), np.float32))
    for name, options, match in (
        (tmp_path / "gone.onnx", {}, "cannot be read"),
        (tmp_path, {}, "cannot be read"),
        (tmp_path / "junk.onnx", {}, "can be run"),
        (tmp_path / "empty.onnx", {}, "can be run"),
        (tmp_path / "torn.onnx", {}, "can be run"),
        (two_inputs(tmp_path / "two.onnx"), {}, "can be run"),
        (path, {"size": 64}, "can be run on pictures of 64 x 64"),
        (path, {"size": 5}, "can be run on pictures of 5 x 5"),
        (path, {"points": POINTS[:4]}, "has wrong facts about its networks"),
        (path, {"points": ((float("nan"), 0.0), *POINTS[1:])}, "has wrong facts about its networks"),
        (always, {}, "no embedding"),
        (single, {}, "no embedding"),
        (path, {"mean": (1, 2)}, "--mean"),
        (path, {"scale": float("nan")}, "--scale"),
    ):
        with pytest.raises(ModelError, match=match) as caught:
            foreign_model(name, **options)
        assert "\n" not in str(caught.value), name


def test_crops_of_another_shape_are_refused(tmp_path):
    model = foreign_model(graph(tmp_path / "e.onnx"))
    assert GraphEncoder(model).encode(np.empty((0, SIDE, SIDE, 3), np.uint8))[0].shape == (0, DIM)
    for wrong in (np.zeros((2, 128, 128, 3), np.uint8), np.zeros((2, SIDE, SIDE, 3), np.float32), unit(3)):
        for encode in (GraphEncoder(model).encode, Networks(model)):
            with pytest.raises(ValueError, match="112"):
                encode(wrong)
