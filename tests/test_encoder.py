"""Crops to embeddings, by OpenCV and by onnxruntime where that is there."""

import sys
import threading

import cv2
import numpy as np
import pytest
from helpers import make_model

from facedex import runtime
from facedex.encoder import GraphEncoder, open_encoder
from facedex.errors import DataError, ModelError
from facedex.modelfile import ModelFile, read_model, shipped_model
from facedex.stock import side_by_side
from facedex.vectors import unit

SIDE = read_model(shipped_model()).size


def crops(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


def opened_by(name):
    """The shipped model's encoder, run by OpenCV or by onnxruntime."""
    with pytest.MonkeyPatch.context() as patch:
        if name == "opencv":
            patch.setattr("facedex.encoder.open_graph", runtime.in_opencv)
        else:
            pytest.importorskip("onnxruntime", reason="needs the extra fast")
        return GraphEncoder(read_model(shipped_model()))


@pytest.fixture(scope="module", params=["opencv", "onnxruntime"])
def encoder(request):
    return opened_by(request.param)


def test_both_runtimes_say_the_same():
    (a, long), (b, other) = (opened_by(name).encode(crops(5)) for name in ("opencv", "onnxruntime"))
    np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(long, other, rtol=1e-5)


def test_without_the_extra_it_is_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    graph = read_graph(read_model(shipped_model()))
    monkeypatch.setattr(runtime, "in_onnxruntime", None)
    x = np.zeros((2, 3, SIDE, SIDE), np.float32)
    np.testing.assert_array_equal(runtime.open_graph(graph)(x), runtime.in_opencv(graph)(x))


def test_onnxruntime_keeps_to_as_many_threads_as_opencv():
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra fast")
    made, before = [], cv2.getNumThreads()

    class Spy:
        SessionOptions, disable_telemetry_events = onnxruntime.SessionOptions, onnxruntime.disable_telemetry_events

        @staticmethod
        def InferenceSession(data, options, **others):
            made.append(options.intra_op_num_threads)
            return onnxruntime.InferenceSession(data, options, **others)

    try:
        cv2.setNumThreads(2)
        run = runtime.in_onnxruntime(Spy, read_graph(read_model(shipped_model())))
        x = np.random.default_rng(0).normal(0, 50, (1, 3, SIDE, SIDE)).astype(np.float32)
        two = run(x)
        with side_by_side():
            np.testing.assert_allclose(run(x), two, rtol=1e-4, atol=1e-4)
            run(x)
        run(x)
    finally:
        cv2.setNumThreads(before)
    assert made == [2, 1]


def test_embeddings_have_unit_length_and_the_length_before_is_told(encoder):
    vectors, lengths = encoder.encode(crops(3))
    assert vectors.shape == (3, encoder.dim) and vectors.dtype == lengths.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (lengths > 0).all() and not np.allclose(lengths, 1)


def test_no_crops_no_embeddings(encoder):
    vectors, lengths = encoder.encode(crops(0))
    assert vectors.shape == (0, encoder.dim) and lengths.shape == (0,)


@pytest.mark.parametrize("batch", [2, 7, 16, 17, 33])
def test_a_face_has_the_same_embedding_in_every_batch(encoder, batch):
    alone = np.concatenate([encoder.encode(crops(batch)[i : i + 1])[0] for i in range(batch)])
    np.testing.assert_allclose(encoder.encode(crops(batch))[0], alone, atol=1e-5)


def test_a_view_that_is_not_contiguous_is_encoded_as_its_copy(encoder):
    flipped = crops(2)[:, :, ::-1]
    assert np.array_equal(encoder.encode(flipped)[0], encoder.encode(flipped.copy())[0])
    upside_down = crops(2)[:, ::-1]
    assert np.array_equal(encoder.encode(upside_down)[0], encoder.encode(upside_down.copy())[0])
    assert not np.allclose(encoder.encode(upside_down)[0], encoder.encode(crops(2))[0], atol=1e-3)


def test_the_order_of_the_colours_matters(encoder):
    assert not np.allclose(encoder.encode(crops(1)[..., ::-1])[0], encoder.encode(crops(1))[0], atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [crops(1)[0], crops(1).astype(np.float32), crops(1)[:, :100], crops(1)[..., :1], crops(2).transpose(0, 3, 1, 2)],
)
def test_what_are_no_crops_is_refused(encoder, wrong):
    with pytest.raises(ValueError, match="112"):
        encoder.encode(wrong)


def test_threads_may_share_one(encoder):
    expected = [encoder.encode(crops(3, seed))[0] for seed in range(4)]
    found = {}

    def work(seed):
        for _ in range(3):
            found[seed] = encoder.encode(crops(3, seed))[0]
            assert np.array_equal(found[seed], expected[seed])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[seed], expected[seed]) for seed in range(4))


def test_a_graph_that_cannot_be_run_is_a_model_error(tmp_path):
    ModelFile({}, {"dim": 128}).save(tmp_path / "m.safetensors", b"no graph at all")
    with pytest.raises(ModelError, match="no graph that can be run"):
        GraphEncoder(read_model(tmp_path / "m.safetensors"))


def test_a_path_outside_ascii_is_no_obstacle(tmp_path):
    path = make_model(tmp_path / "模型 é.safetensors")
    assert GraphEncoder(read_model(path)).encode(crops(1))[0].shape == (1, 128)
    assert read_graph(read_model(path)) == read_graph(read_model(shipped_model()))


def test_torch_on_a_device_gives_the_same_embeddings(encoder):
    pytest.importorskip("torch", reason="needs the extra train")
    from facedex.encoder import TorchEncoder

    vectors, lengths = TorchEncoder(read_model(shipped_model()), "cpu").encode(crops(5))
    expected = encoder.encode(crops(5))
    np.testing.assert_allclose(vectors, expected[0], atol=2e-5)
    np.testing.assert_allclose(lengths, expected[1], rtol=1e-4)
    assert TorchEncoder(read_model(shipped_model()), "cpu").encode(crops(0))[0].shape == (0, 128)


def test_a_device_that_is_not_there_is_said():
    torch = pytest.importorskip("torch", reason="needs the extra train")
    if torch.cuda.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(DataError, match="cuda"):
        open_encoder(read_model(shipped_model()), "cuda")


def test_a_vector_of_nothing_does_not_divide_by_zero():
    vectors, lengths = unit(np.zeros((2, 4), np.float32))
    assert np.array_equal(vectors, np.zeros((2, 4))) and np.array_equal(lengths, [0, 0])
