"""The benchmark measures what it says."""

import json
import os
import sys
import time
from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from facedex.errors import FacedexError
from facedex.model.encoder import Joint
from facedex.model.modelfile import read_model
from scripts.benchmarks import encoder_speed
from tests.helpers import grid_graph, make_model, save_blank, save_face


@pytest.fixture(autouse=True)
def threads():
    torch = sys.modules.get("torch")
    before = cv2.getNumThreads(), torch.get_num_threads() if torch else 0
    yield
    cv2.setNumThreads(before[0])
    if torch:
        torch.set_num_threads(before[1])


def engines():
    """What of the three is installed."""
    found = [f"OpenCV {cv2.__version__}"]
    found += ["OpenVINO"] * (find_spec("openvino") is not None)
    return found + ["torch"] * (find_spec("torch") is not None and find_spec("onnx") is not None)


def test_the_timed_runs_give_facedexs_own_embeddings_in_every_engine():
    from facedex.model.encoder import GraphEncoder

    model = read_model("fast")
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    runs = encoder_speed.by_engine("ours", model)
    assert list(runs) == [f"ours in {engine}" for engine in engines()]
    expected = GraphEncoder(model).encode(crops)[0]
    for run in runs.values():
        raw = run(crops)
        np.testing.assert_allclose(Joint.from_file(model, 256)(raw)[0], expected, atol=1e-4)


def test_encoders_take_turns_and_are_compared_within_a_round():
    calls = []

    def sleeper(name, ms):
        def run(crops):
            calls.append((name, crops.shape))
            time.sleep(ms / 1000)

        return run

    times = encoder_speed.take_turns({"slow": sleeper("slow", 4), "fast": sleeper("fast", 1)}, 0.0)
    assert list(times) == ["slow", "fast"]
    assert len(times["slow"]) == len(times["fast"]) == 3
    assert {shape for _, shape in calls} == {(1, 112, 112, 3)}, "one face at a time, as facedex does"
    turns = [name for at, (name, _) in enumerate(calls) if at % 8 == 0]
    assert turns == ["slow", "fast", "fast", "slow", "slow", "fast", "fast", "slow"]
    found = encoder_speed.summary(times)
    assert found["slow"]["ratio"] == 1
    assert found["fast"]["ratio"] < 0.7
    assert 4 <= found["slow"]["best_ms"] <= found["slow"]["ms"]


def test_ratios_are_medians_of_rounds_and_not_ratios_of_medians():
    found = encoder_speed.summary({"a": [1.0, 10.0, 100.0], "b": [2.0, 5.0, 200.0]})
    assert found["b"] == {"ms": 5.0, "best_ms": 2.0, "ratio": 2.0}


def test_imports_are_added_up_by_package():
    report = """import time: self [us] | cumulative | imported package
import time:      1000 |       1000 |   _io
import time:      2500 |       9000 | numpy
import time:       500 |        600 |   numpy.linalg._linalg
import time:      4000 |       4000 |     cv2
import time:       250 |        250 | os.path
a notice in between
"""
    assert encoder_speed.import_times(report) == {"cv2": 4.0, "numpy": 3.0, "standard library": 1.25}


def test_whole_processes_are_timed_and_a_photo_without_a_face_is_refused(tmp_path):
    ways = [(sys.executable, "fast"), (sys.executable, str(make_model(tmp_path / "m.safetensors")))]
    times, imports = encoder_speed.identify_processes(save_face(tmp_path / "face.png"), 5, 1, ways)
    assert list(times) == ways
    for ((wall, processor),) in times.values():
        assert 0 < wall < 60
        assert 0 <= processor < 60
        assert os.name == "nt" or processor > 0.05
    # What one photo against a few people does not need, it does not wait for.
    assert imports["numpy"] > 1
    assert imports["cv2"] > 1
    assert not {"torch", "onnx", "faiss", "pydantic", "filelock"} & set(imports)
    with pytest.raises(FacedexError, match=r"blank\.png"):
        encoder_speed.identify_processes(save_blank(tmp_path / "blank.png"), 5, 1, ways[:1])


def test_the_report_lists_every_encoder_in_every_engine(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(encoder_speed, "take_turns", lambda runs, seconds: {name: [1.0] for name in runs})
    graph = tmp_path / "other.onnx"
    graph.write_bytes(grid_graph(side=96))
    assert encoder_speed.main(["--model", "fast", "--onnx", str(graph), "--size", "96", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["encoder"] for row in found["encoders"]] == [
        f"{name} in {engine}" for name in ("fast", "other") for engine in engines()
    ]
    assert encoder_speed.main(["--model", "fast"]) == 0
    assert "fast in OpenCV" in capsys.readouterr().out
    assert encoder_speed.main(["--onnx", str(graph)]) == 2, "it was made for another size"
    graph.write_bytes(b"nothing")
    assert encoder_speed.main(["--model", "fast", "--onnx", str(graph)]) == 2
    assert encoder_speed.main(["--model", "fast", "--onnx", str(tmp_path / "missing.onnx")]) == 2
    assert encoder_speed.main(["--model", "nosuch"]) == 2
    assert "encoder_speed.py: There is no model nosuch" in capsys.readouterr().err


def test_without_a_name_it_times_the_models_that_ship(tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(encoder_speed, "take_turns", lambda runs, seconds: seen.extend(runs) or {"a": [1.0]})
    assert encoder_speed.main(["--json"]) == 0
    assert [name for name in seen if "OpenCV" in name] == [
        f"{n} in OpenCV {cv2.__version__}" for n in ("default", "fast")
    ]
