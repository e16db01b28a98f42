"""Graphs without their constants, put together again: read by the onnx package and run by the engine."""

import numpy as np
import pytest

from facedex.model.graph import LastMatrix, assembled, eight_bits
from facedex.model.runtime import in_opencv
from tests.helpers import grid_graph, grid_weight

onnx = pytest.importorskip("onnx", reason="needs the extra train")


def without_constants(graph):
    """The same ONNX file without its initializers."""
    model = onnx.load_from_string(graph)
    del model.graph.initializer[:]
    return model.SerializeToString()


def read_again(graph):
    """Constants by name, as the onnx package reads them."""
    from onnx import numpy_helper

    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def test_a_graph_with_its_own_constants_passes_through():
    graph = grid_graph()
    assert assembled(graph, {}) == graph
    assert assembled(b"", {}) == b""


def test_a_graph_taken_apart_and_put_together_is_the_same_to_the_onnx_package():
    whole = grid_graph()
    again = assembled(without_constants(whole), {"w": grid_weight()})
    assert onnx.load_from_string(again) == onnx.load_from_string(whole)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_constants_come_back_as_float32_exactly(kind):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(6, 192)).astype(kind)
    weight[0, :4] = 0, -0.0, np.finfo(kind).tiny / 4, np.finfo(kind).max  # with a number below the normal ones
    found = read_again(assembled(without_constants(grid_graph()), {"w": weight}))["w"]
    assert found.dtype == np.float32
    assert found.tobytes() == weight.astype(np.float32).tobytes()


def test_eight_bits_times_the_factor_of_their_row_are_the_matrix():
    matrix = grid_weight() * np.logspace(-3, 3, 6)[:, None].astype(np.float32)
    matrix[2] = 0
    small, step = eight_bits(matrix)
    assert small.dtype == np.int8
    assert step.dtype == np.float32
    assert step.shape == (6,)
    assert (np.abs(small[[0, 1, 3, 4, 5]]).max(1) == 127).all()
    assert not small[2].any()
    assert (np.abs(small * step[:, None] - matrix) <= 0.5001 * step[:, None]).all()


def test_the_last_matrix_is_applied_as_its_numbers_say():
    rng = np.random.default_rng(0)
    x, bias = rng.normal(size=50_000).astype(np.float32), rng.normal(size=6).astype(np.float16)
    small, step = eight_bits(rng.normal(size=(6, 50_000)))
    expected = (small * step[:, None].astype(np.float64)) @ x + bias
    found = LastMatrix(small, step, bias)(x)
    assert found.dtype == np.float32
    assert found.shape == (6,)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
    with pytest.raises(ValueError, match="operand"):
        LastMatrix(small, step, bias)(x[1:])


@pytest.mark.parametrize(
    ("rows", "step", "bias"),
    [
        (np.ones((2, 3), np.float32), np.ones(2, np.float32), np.ones(2, np.float32)),
        (np.ones((2, 3), np.int8), np.ones((2, 1), np.float32), np.ones(2, np.float32)),
        (np.ones((2, 3), np.int8), np.ones(3, np.float32), np.ones(2, np.float32)),
        (np.ones((2, 3), np.int8), np.ones(2, np.float32), np.ones(3, np.float32)),
        (np.ones(2, np.int8), np.ones(2, np.float32), np.ones(2, np.float32)),
    ],
)
def test_a_last_matrix_of_another_kind_is_refused(rows, step, bias):
    with pytest.raises(ValueError, match="the last matrix"):
        LastMatrix(rows, step, bias)


def test_shapes_and_names_of_every_kind_are_kept():
    from onnx import TensorProto, helper

    constants = {
        "one": np.float32(3),
        "none": np.empty((0, 4), np.float32),
        "größe": np.arange(200, dtype=np.float16),
        "cube": np.arange(300, dtype=np.float32).reshape(1, 300, 1),
        "x" * 200: np.ones((2, 3), np.float16),
    }
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    made = helper.make_graph([node], "g", [given], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    found = read_again(assembled(model.SerializeToString(), {k: np.asarray(v) for k, v in constants.items()}))
    assert found.keys() == constants.keys()
    for name, value in constants.items():
        assert found[name].shape == np.shape(value), name
        assert np.array_equal(found[name], value), name


def test_what_is_put_together_is_run_as_the_whole_is():
    picture = np.random.default_rng(1).normal(0, 50, (3, 112, 112)).astype(np.float32)
    weight = grid_weight().astype(np.float16)
    whole = in_opencv(grid_graph(weight=weight), (3, 112, 112))(picture)
    apart = in_opencv(assembled(without_constants(grid_graph()), {"w": weight}), (3, 112, 112))(picture)
    assert np.array_equal(whole, apart)
    assert np.ptp(whole) > 1


def test_the_order_in_which_constants_are_given_changes_nothing():
    one, two = np.ones(3, np.float32), np.ones(4, np.float16)
    assert assembled(b"", {"a": one, "b": two}) == assembled(b"", {"b": two, "a": one})


@pytest.mark.parametrize(
    "constants",
    [
        {"w": np.ones((2, 3), np.float64)},
        {"w": np.ones((2, 3), np.int64)},
        {"w": np.ones((2, 3), np.int8)},
    ],
)
def test_constants_of_another_kind_are_refused(constants):
    with pytest.raises(ValueError, match="its constant w"):
        assembled(b"", constants)
