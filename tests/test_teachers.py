"""An encoder's word on photos, kept for a network to learn from."""

import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("onnx", reason="needs the extra train")


from facedex.data.dataset import join, load_faces
from facedex.errors import DataError, FacedexError
from facedex.faces.alignment import TEMPLATE
from facedex.model.encoder import GraphEncoder
from facedex.model.foreign import foreign_model
from facedex.model.runtime import openvino_core
from facedex.training.distillation import Teachers
from scripts import teachers
from tests.helpers import grid_graph, need_openvino
from tests.synthetic import write_pack


def graph(path, **shape):
    path.write_bytes(grid_graph(**shape))
    return path


@pytest.fixture
def packs(tmp_path):
    return [write_pack(tmp_path / "a.tar", 12, 3), write_pack(tmp_path / "b.tar", 40, 1, first=50)]


def test_the_written_embeddings_are_a_networks_targets(tmp_path, packs, capsys):
    output, sums = tmp_path / "made" / "teachers.npz", np.random.default_rng(5).normal(size=(5, 192)).astype(np.float32)
    first, second = graph(tmp_path / "e.onnx"), graph(tmp_path / "f.onnx", weight=sums)
    data = [*map(str, packs), "--aligned", "--output", str(output)]
    teachers.main([*data, "--onnx", f"one={first}"])
    teachers.main([*data, "--onnx", f"two={second}", "--bgr", "--mean", "100,110,120", "--scale", ".01"])
    assert "76 photos, embeddings by one, two" in capsys.readouterr().out

    faces = join([load_faces(path, tmp_path / "cache", aligned=True) for path in packs])
    seen = {"one": foreign_model(first), "two": foreign_model(second, mean=(100, 110, 120), scale=0.01, rgb=False)}
    said = {name: GraphEncoder(model).encode(faces.crops112())[0] for name, model in seen.items()}
    with np.load(output) as stored:
        assert stored["key"].tolist() == faces.keys
        assert stored["key"][4] == "person001/01"
        for name, vectors in said.items():
            assert stored[name].dtype == np.float16
            assert np.abs(stored[name] - vectors).max() < 1e-3
    np.savez(tmp_path / "longhand.npz", key=np.array(faces.keys), **said)
    found, wanted = (Teachers(path).targets(faces.keys, 8) for path in (output, tmp_path / "longhand.npz"))
    assert found.shape == (76, 8)
    assert np.abs(found - wanted).max() < 0.02
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_what_does_not_go_together_is_refused_and_the_file_left(tmp_path, packs):
    output, encoder = tmp_path / "teachers.npz", graph(tmp_path / "e.onnx")

    def made(data, onnx):
        teachers.main([*map(str, data), "--aligned", "--onnx", onnx, "--output", str(output)])

    made(packs, f"one={encoder}")
    before = output.read_bytes()
    for data, onnx, match in (
        (packs[:1], f"two={encoder}", "other photos"),
        (packs[::-1], f"two={encoder}", "another order"),
        (packs, f"one={encoder}", "holds a one already"),
        (packs, str(encoder), "NAME=FILE"),
        (packs, f"key={encoder}", "NAME=FILE"),
        (packs, "two=gone.onnx", "gone.onnx cannot be read"),
        ([tmp_path / "gone"], f"two={encoder}", "gone does not exist"),
    ):
        with pytest.raises(FacedexError, match=match):
            made(data, onnx)
    assert output.read_bytes() == before
    output.write_bytes(b"no such file")
    with pytest.raises(DataError, match="no file of teachers"):
        made(packs, f"one={encoder}")


def test_a_network_of_openvinos_own_form_says_the_same_as_its_onnx_and_cuts_faces_as_it_wants(tmp_path, packs):
    need_openvino()
    encoder = graph(tmp_path / "e.onnx")
    model = openvino_core().read_model(encoder)
    sys.modules["openvino"].save_model(model, tmp_path / "e.xml", compress_to_fp16=False)
    data = [*map(str, packs), "--aligned"]
    usual = ",".join(str(number) for number in TEMPLATE.ravel())
    moved = ",".join(str(number) for number in (TEMPLATE + 9).ravel())
    for name, file, options in (
        ("onnx", "e.onnx", []),
        ("plain", "e.xml", []),
        ("usual", "e.xml", ["--points", usual]),
        ("moved", "e.xml", ["--points", moved]),
        ("onnx-moved", "e.onnx", ["--points", moved]),
        ("bgr", "e.xml", ["--bgr"]),
    ):
        output = ["--output", str(tmp_path / "t.npz")]
        teachers.main([*data, "--onnx", f"{name}={tmp_path / file}", *options, *output])
    with np.load(tmp_path / "t.npz") as said:
        for name in ("plain", "usual"):
            assert np.abs(said[name] - said["onnx"]).max() < 2e-3, name
        for name in ("moved", "bgr"):
            assert np.abs(said[name] - said["onnx"]).max() > 2e-2, name
        assert np.abs(said["moved"] - said["onnx-moved"]).max() < 2e-3
    for file, points, match in (
        ("e.xml", "1,2,3", "ten numbers"),
        ("e.onnx", "1,2,3", "ten numbers"),
        ("gone.xml", usual, "no OpenVINO network"),
    ):
        with pytest.raises(FacedexError, match=match):
            teachers.main(
                [*data, "--onnx", f"x={tmp_path / file}", "--points", points, "--output", str(tmp_path / "x.npz")]
            )
