"""Crops to embeddings, by OpenCV, by OpenVINO where that is installed, and by torch: each the same."""

import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from facedex.errors import DataError, ModelError
from facedex.model import runtime
from facedex.model.encoder import GraphEncoder, Joint, Networks, TorchEncoder, open_encoder
from facedex.model.modelfile import Branch, ModelFile, read_model, with_graphs
from facedex.model.vectors import unit
from facedex.threads import side_by_side, workers
from tests.helpers import grid_graph, grid_networks, grid_weight, make_model, need_openvino, own_model

POINTS = ((30.0, 46.0), (66.0, 46.0), (48.0, 62.0), (33.0, 80.0), (63.0, 80.0))
LEFT = Branch("left", 6, 96, POINTS, rgb=False, mean=(100.0, 110.0, 120.0), scale=(0.01, 0.02, 0.03))
RIGHT = Branch("right", 5)


def crops(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


def engine_of(name):
    """What runs a graph, or a skipped test where it is not installed."""
    if name == "openvino":
        need_openvino()
    return {"opencv": runtime.in_opencv, "openvino": runtime.in_openvino}[name]


def two_networks(dim=4, mirrored=False):
    """A made-up encoder of two networks and a projection of what they say together."""
    model = grid_networks(LEFT, RIGHT, mirrored=mirrored)
    rng = np.random.default_rng(4)
    projection = Joint(dim, rng.normal(0, 0.1, 11).astype(np.float32), rng.normal(size=(11, dim)).astype("f4"))
    return ModelFile({**model.tensors, **projection.tensors()}, {**model.meta, "dim": dim})


@pytest.fixture(scope="module", params=["opencv", "openvino"])
def encoder(request):
    """The encoder of a model that ships, by each engine."""
    return GraphEncoder(read_model("fast"), engine_of(request.param))


@pytest.mark.parametrize("name", ["fast", "default", "made up", "made up, mirrored", "ours"])
@pytest.mark.parametrize("way", ["openvino", "torch"])
def test_every_engine_gives_the_same_embeddings(name, way):
    makers = {
        "made up": two_networks,
        "made up, mirrored": lambda: two_networks(mirrored=True),
        "ours": own_model,
    }
    model = makers[name]() if name in makers else read_model(name)
    faces = crops(3 if name == "default" else 9)
    expected, lengths = GraphEncoder(model, runtime.in_opencv).encode(faces)
    if way == "torch":
        pytest.importorskip("torch", reason="needs the extra train")
        found = TorchEncoder(model, "cpu").encode(faces)
    else:
        found = GraphEncoder(model, engine_of(way)).encode(faces)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    np.testing.assert_allclose(found[1], lengths, rtol=1e-3)
    assert np.ptp(expected, axis=0).max() > 1e-3, "not one embedding for all"


def test_two_networks_are_brought_together_as_the_formula_says():
    model, faces = two_networks(), crops(6)
    parts = [part.astype(np.float64) for part in Networks(model)(faces)]
    assert [part.shape for part in parts] == [(6, 6), (6, 5)]
    joined = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], 1)
    moved = (joined - model.tensors["projection.centre"]) @ model.tensors["projection.matrix"].astype(np.float64)
    vectors, quality = GraphEncoder(model).encode(faces)
    np.testing.assert_allclose(vectors, moved / np.linalg.norm(moved, axis=1, keepdims=True), atol=1e-5)
    lengths = [np.linalg.norm(part, axis=1) for part in parts]
    np.testing.assert_allclose(quality, np.sqrt(lengths[0] * lengths[1]), rtol=1e-4)


@pytest.mark.parametrize("way", ["opencv", "openvino", "torch"])
def test_a_matrix_behind_a_graph_is_applied_by_every_engine_and_must_fit(way):
    def encode(columns):
        rng = np.random.default_rng(5)
        behind = {
            "rows": rng.integers(-127, 128, (3, columns), np.int8),
            "step": rng.random(3, np.float32),
            "bias": rng.normal(size=3).astype(np.float16),
        }
        own = {f"graph.right:{part}": value for part, value in behind.items()}
        model = ModelFile({**inner.tensors, **own}, {**inner.meta, "branches": [Branch("right", 3).to_meta()]})
        if way != "torch":
            return behind, Networks(model, engine_of(way))(crops(3))[0]
        pytest.importorskip("torch", reason="needs the extra train")
        from facedex.model.torchgraph import TorchNetworks, torch

        return behind, TorchNetworks(model, torch.device("cpu"))(crops(3))[0]

    inner = grid_networks(RIGHT)
    behind, found = encode(5)
    expected = Networks(inner, runtime.in_opencv)(crops(3))[0] @ (behind["rows"] * behind["step"][:, None]).T
    np.testing.assert_allclose(found, expected + behind["bias"], rtol=1e-4, atol=1e-2)
    with pytest.raises(ModelError, match="network right"):
        encode(4)


def test_each_network_is_shown_the_face_as_it_wants_it():
    model, faces = two_networks(), crops(3)
    for at, branch in enumerate((LEFT, RIGHT)):
        alone = with_graphs(ModelFile({}, {"arch": "frozen"}), [(branch, model.graph(branch))])
        np.testing.assert_allclose(Networks(model)(faces)[at], Networks(alone)(faces)[0], rtol=1e-5)


@pytest.mark.parametrize("mirrored", [False, True])
def test_torch_gives_the_same_network_outputs_as_opencv(mirrored):
    torch = pytest.importorskip("torch", reason="needs the extra train")
    from facedex.model.torchgraph import TorchNetworks

    model = two_networks(mirrored=mirrored)
    found = TorchNetworks(model, torch.device("cpu"))
    assert found.width == Networks(model).width == 11
    for ours, theirs in zip(found(crops(5)), Networks(model, runtime.in_opencv)(crops(5)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert [part.shape for part in found(crops(0))] == [(0, 6), (0, 5)]


def test_opencv_runs_graphs_without_openvino(monkeypatch):
    graph, shape = grid_graph(), (3, 112, 112)
    picture = np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)
    opened = []
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(runtime, "in_opencv", lambda *given, real=runtime.in_opencv: opened.append(1) or real(*given))
    found = runtime.open_graph(graph, shape)(picture)
    assert opened == [1]
    expected = grid_weight() @ picture.reshape(3, 8, 14, 8, 14).mean((2, 4)).ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_ctrl_c_is_an_exception_after_encoders_are_deleted_in_order_of_creation():
    """OpenVINO left a stack for signal handlers that no longer existed, and Ctrl-C crashed. Runs in another process."""
    source = """if True:
        import signal
        from facedex.model.encoder import open_encoder
        from facedex.model.modelfile import read_model
        signal.signal(signal.SIGINT, signal.default_int_handler)
        first, second = open_encoder(read_model("fast")), open_encoder(read_model("fast"))
        del first
        del second
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("interrupted")
    """
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


@pytest.mark.parametrize("name", ["opencv", "openvino"])
def test_bytes_that_are_no_graph_are_a_value_error_in_either_engine(name):
    engine, shape = engine_of(name), (3, 112, 112)
    for data in (b"", b"not a network" * 50, grid_graph()[:-700], grid_graph(side=96)):
        with pytest.raises(ValueError, match=r"."):
            engine(data, shape)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", ["opencv", "openvino"])
def test_a_graph_runs_one_picture_at_a_time_whatever_batch_it_was_written_for(name):
    engine, shape = engine_of(name), (3, 112, 112)
    picture = np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)
    free, fixed = (engine(grid_graph(batch=batch), shape)(picture) for batch in ("n", 1))
    assert free.shape == fixed.shape == (6,)
    assert free.dtype == np.float32
    np.testing.assert_allclose(free, fixed, rtol=1e-5)


def test_embeddings_have_unit_length_and_the_former_length_is_returned(encoder):
    vectors, lengths = encoder.encode(crops(3))
    assert vectors.shape == (3, encoder.dim)
    assert vectors.dtype == lengths.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (lengths > 0).all()
    assert not np.allclose(lengths, 1)


def test_no_crops_no_embeddings(encoder):
    vectors, lengths = encoder.encode(crops(0))
    assert vectors.shape == (0, encoder.dim)
    assert lengths.shape == (0,)


@pytest.mark.parametrize("batch", [2, 4, 5, 17])
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
@pytest.mark.parametrize("way", [GraphEncoder, lambda model: TorchEncoder(model, "cpu")])
def test_arrays_that_are_no_crops_are_refused(wrong, way):
    pytest.importorskip("torch", reason="needs the extra train")
    with pytest.raises(ValueError, match="112"):
        way(two_networks()).encode(wrong)


def test_threads_may_share_an_encoder(encoder):
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


def test_threads_that_share_an_encoder_open_no_more_networks_than_workers(monkeypatch):
    """Each of OpenCV's networks has the weights again, and a server may have hundreds of threads."""
    opened = []
    real = cv2.dnn.readNetFromONNX
    monkeypatch.setattr(cv2.dnn, "readNetFromONNX", lambda data: opened.append(1) or real(data))
    networks = Networks(two_networks(), runtime.in_opencv)
    expected = [part.copy() for part in networks(crops(20))]
    found = {}

    def work(number):
        found[number] = networks(crops(20))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 <= len(opened) <= 2 * workers()
    assert len(found) == 12
    for answer in found.values():
        assert all(np.array_equal(part, right) for part, right in zip(answer, expected, strict=True))


def test_many_crops_are_encoded_in_parallel_and_few_by_the_calling_thread():
    seen = []

    def engine(data, shape):
        def run(picture):
            seen.append(threading.get_ident())
            return np.ones(3, np.float32)

        return run

    model = with_graphs(ModelFile({}, {"arch": "frozen", "dim": 3}), [(Branch("right", 3), b"")])
    networks = Networks(model, engine)
    for count, alone in ((1, True), (4, True), (40, False)):
        seen.clear()
        assert networks(crops(count))[0].shape == (count, 3)
        assert len(seen) == count
        assert (set(seen) == {threading.get_ident()}) is alone
        assert len(set(seen)) <= workers()


def test_worker_threads_may_call_an_encoder(encoder):
    expected = encoder.encode(crops(6))[0]
    with side_by_side() as pool:
        for found in pool.map(lambda _: encoder.encode(crops(6))[0], range(4)):
            assert np.array_equal(found, expected)


def test_a_graph_that_cannot_be_run_is_a_model_error(tmp_path):
    broken = with_graphs(ModelFile({}, {"dim": 128}), [(RIGHT, b"no graph at all")])
    broken.save(tmp_path / "m.safetensors")
    file = read_model(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"m\.safetensors, network right, cannot be run"):
        GraphEncoder(file)
    pytest.importorskip("torch", reason="needs the extra train")
    with pytest.raises(ModelError, match=r"m\.safetensors, network right, is no ONNX file"):
        TorchEncoder(file, "cpu")
    with pytest.raises(ModelError, match="no inference graph"):
        TorchEncoder(ModelFile({}, {"arch": "koch"}), "cpu")
    with pytest.raises(ModelError, match="no inference graph"):
        GraphEncoder(ModelFile({}, {"arch": "koch"}))


def test_a_projection_for_other_networks_than_these_is_refused():
    model = two_networks()
    centre, matrix = (model.tensors[f"projection.{name}"] for name in ("centre", "matrix"))
    wrong = [
        {"projection.centre": centre[:-1]},
        {"projection.matrix": matrix[:-1]},
        {"projection.matrix": matrix[:, :-1]},
        {"projection.matrix": np.full_like(matrix, np.nan)},
        {"projection.centre": np.full_like(centre, np.inf)},
    ]
    for tensors in wrong:
        with pytest.raises(ModelError, match="networks of 11 numbers"):
            GraphEncoder(ModelFile({**model.tensors, **tensors}, model.meta))
    for left_out in ("projection.centre", "projection.matrix"):
        rest = {name: tensor for name, tensor in model.tensors.items() if name != left_out}
        with pytest.raises(ModelError, match="networks of 11 numbers"):
            GraphEncoder(ModelFile(rest, model.meta))
    one = grid_networks(RIGHT)
    assert GraphEncoder(ModelFile(one.tensors, {**one.meta, "dim": 5})).dim == 5
    with pytest.raises(ModelError, match="networks of 5 numbers"):
        GraphEncoder(ModelFile(one.tensors, {**one.meta, "dim": 6}))


def test_a_path_outside_ascii_is_no_obstacle(tmp_path):
    path = make_model(tmp_path / "模型 é.safetensors")
    assert GraphEncoder(read_model(path)).encode(crops(1))[0].shape == (1, 128)
    assert read_model(path).fingerprint == read_model("fast").fingerprint


def test_graphs_that_torch_cannot_run_exactly_are_refused():
    pytest.importorskip("torch", reason="needs the extra train")
    onnx = pytest.importorskip("onnx", reason="needs the extra train")

    def changed(change):
        graph = onnx.load_from_string(grid_graph())
        change(graph.graph.node)
        return with_graphs(
            ModelFile({}, {"arch": "frozen", "dim": 6}), [(Branch("right", 6), graph.SerializeToString())]
        )

    def kind(nodes):
        nodes[1].op_type = "Tanh"

    def setting(name, value):
        return lambda nodes: nodes[0].attribute.append(onnx.helper.make_attribute(name, value))

    for change, said in (
        (kind, "Tanh"),
        (setting("ceil_mode", 1), "AveragePool with ceil_mode"),
        (setting("pads", [1, 1, 1, 1]), "AveragePool with pads"),
        (setting("auto_pad", "SAME_UPPER"), "AveragePool with auto_pad"),
    ):
        with pytest.raises(ModelError, match=f"{said}, which runs on the CPU alone"):
            TorchEncoder(changed(change), "cpu")
    for idle in (setting("ceil_mode", 0), setting("pads", [0, 0, 0, 0]), setting("auto_pad", "NOTSET")):
        assert TorchEncoder(changed(idle), "cpu").dim == 6


@pytest.mark.parametrize("dim", [1, 7])
def test_a_network_that_gives_other_numbers_than_its_file_says_is_refused(dim):
    model = with_graphs(ModelFile({}, {"arch": "frozen", "dim": 6}), [(Branch("right", 6), grid_graph(dim))])
    for engine in ("opencv", "openvino"):
        with pytest.raises(ModelError, match="cannot be run"):
            GraphEncoder(model, engine_of(engine)).encode(crops(1))
    pytest.importorskip("torch", reason="needs the extra train")
    with pytest.raises(ModelError, match=f"gives {dim} numbers and not 6"):
        TorchEncoder(model, "cpu").encode(crops(1))


def test_numbers_that_are_not_finite_are_an_error_in_torch_too():
    pytest.importorskip("torch", reason="needs the extra train")
    graph = grid_graph(weight=grid_weight() * np.float32(1e36))
    model = with_graphs(ModelFile({}, {"arch": "frozen", "dim": 6}), [(Branch("right", 6), graph)])
    with pytest.raises(ModelError, match="not finite"):
        TorchEncoder(model, "cpu").encode(np.full((1, 112, 112, 3), 255, np.uint8))


def test_torch_runs_a_network_with_padding():
    """The maps of 10 pixels that a network of 80 pixels has (training/export.py)."""
    pytest.importorskip("torch", reason="needs the extra train")
    from tests.helpers import own_network

    model = own_model(network=own_network(size=80))
    assert b"Pad" in model.graph(model.branches[0])
    found, expected = (way.encode(crops(3))[0] for way in (TorchEncoder(model, "cpu"), GraphEncoder(model)))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_device_that_is_not_there_is_said():
    torch = pytest.importorskip("torch", reason="needs the extra train")
    if torch.cuda.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(DataError, match="cuda"):
        open_encoder(read_model("fast"), "cuda")


def test_a_vector_of_nothing_does_not_divide_by_zero():
    vectors, lengths = unit(np.zeros((2, 4), np.float32))
    assert np.array_equal(vectors, np.zeros((2, 4)))
    assert np.array_equal(lengths, [0, 0])
    embeddings, quality = Joint(4)([np.zeros((2, 4), np.float32)])
    assert np.array_equal(embeddings, np.zeros((2, 4)))
    assert np.isfinite(quality).all()
