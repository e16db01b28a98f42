"""A model on disk: what is written comes back, what was altered is refused, and nothing is ever half there."""

import hashlib
import json
import os
import pickle
import shutil

import numpy as np
import pytest
from helpers import make_model, python
from safetensors.numpy import save_file

from facedex.errors import ModelError
from facedex.modelfile import ModelFile, read_graph, read_model, replace_file, shipped_model


def small(**tensors):
    tensors = {"encoder.a": np.arange(6, dtype=np.float16).reshape(2, 3), "head.v": np.ones(3, np.float32), **tensors}
    return ModelFile(tensors, {"arch": "compact", "dim": 3})


def test_tensors_and_facts_come_back(tmp_path):
    file = small()
    file.save(tmp_path / "m.safetensors", b"graph")
    again = read_model(tmp_path / "m.safetensors")
    assert again.tensors.keys() == file.tensors.keys()
    for name, tensor in file.tensors.items():
        assert again.tensors[name].dtype == tensor.dtype and np.array_equal(again.tensors[name], tensor)
    assert again.meta == {**file.meta, "arch": "compact", "dim": 3} and again.meta["format"] == "facedex-model/1"
    assert again.identity == file.identity and read_graph(again) == b"graph"


def test_no_files_are_left_beside_the_two(tmp_path):
    small().save(tmp_path / "m.safetensors", b"graph")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.safetensors"]


def test_the_fingerprint_is_the_encoders_alone():
    base = small()
    assert small(**{"head.v": np.zeros(3)}).fingerprint == base.fingerprint
    assert small(**{"encoder.a": np.zeros((2, 3))}).fingerprint != base.fingerprint
    assert ModelFile(base.tensors, {"arch": "koch"}).fingerprint != base.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),  # another type
        np.arange(6, dtype=np.float16).reshape(3, 2),  # another shape
        np.arange(6, dtype=np.float16).reshape(2, 3)[::-1],  # another order
    ],
)
def test_the_fingerprint_knows_types_shapes_and_order(other):
    assert small(**{"encoder.a": other}).fingerprint != small().fingerprint


def test_the_identity_knows_head_calibration_and_graph_too():
    base = small()
    base.meta.update(calibration={"slope": 1.0}, graph_sha256="a")
    others = [ModelFile(base.tensors, {**base.meta, **more}) for more in ({"calibration": {}}, {"graph_sha256": "b"})]
    others.append(ModelFile({**base.tensors, "head.v": np.zeros(3, np.float32)}, base.meta))
    assert len({base.identity, *(other.identity for other in others)}) == 4
    assert {other.fingerprint for other in others} == {base.fingerprint}


def test_facts_that_shape_no_answer_leave_the_identity():
    assert ModelFile(small().tensors, {"arch": "compact", "data": "more"}).identity == small().identity


def test_saving_without_a_graph_forgets_the_old_one(tmp_path):
    file = small()
    file.save(tmp_path / "a.safetensors", b"graph")
    file.save(tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match="no inference graph"):
        read_graph(read_model(tmp_path / "b.safetensors"))


# what is no model


def written(path, data):
    path.write_bytes(data)
    return path


def foreign(path):
    save_file({"a": np.zeros(3)}, path)
    return path


def headed(path, meta):
    save_file({"a": np.zeros(3)}, path, {"facedex": meta})
    return path


BROKEN = {
    "empty": lambda path: written(path, b""),
    "junk": lambda path: written(path, b"junk" * 100),
    "a huge header": lambda path: written(path, b"\xff" * 64),
    "a pickle": lambda path: written(path, pickle.dumps({"encoder": [1, 2]})),
    "not ours": foreign,
    "facts that are no JSON": lambda path: headed(path, "{"),
    "facts that are a list": lambda path: headed(path, "[]"),
    "no format": lambda path: headed(path, "{}"),
    "a newer format": lambda path: headed(path, json.dumps({"format": "facedex-model/2"})),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_model_is_refused(tmp_path, kind):
    with pytest.raises(ModelError, match=r"m\.safetensors"):
        read_model(BROKEN[kind](tmp_path / "m.safetensors"))


def test_a_newer_format_names_the_remedy(tmp_path):
    with pytest.raises(ModelError, match="upgrade facedex"):
        read_model(BROKEN["a newer format"](tmp_path / "m.safetensors"))


def test_a_missing_model_or_a_folder_is_said(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ModelError, match="no model"):
            read_model(path)


def test_a_truncated_model_is_refused(tmp_path):
    path = make_model(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="damaged"):
        read_model(path)


def test_a_pickle_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    with pytest.raises(ModelError):
        read_model(written(tmp_path / "m.safetensors", pickle.dumps(Trap())))
    assert not (tmp_path / "sprung").exists()


# the graph beside it


def test_a_graph_that_is_missing_or_anothers_is_refused(tmp_path):
    model = read_model(make_model(tmp_path / "m.safetensors"))
    model.graph_path.write_bytes(model.graph_path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="does not belong"):
        read_graph(model)
    model.graph_path.unlink()
    with pytest.raises(ModelError, match="missing"):
        read_graph(model)


def test_a_model_that_was_never_saved_has_no_graph_yet():
    with pytest.raises(ModelError, match="never saved"):
        small().graph_path  # noqa: B018


# whole or not there


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "file"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two" and [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "inside").touch()
    with pytest.raises(OSError):
        replace_file(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


REPLACE_FOR_EVER = """
import sys
from pathlib import Path
from facedex.modelfile import replace_file
print("go", flush=True)
number = 0
while True:
    number += 1
    replace_file(Path(sys.argv[1]), bytes([number % 256]) * 1_000_000)
"""


def test_a_file_is_never_seen_half_written_nor_left_so_by_kill_9(tmp_path):
    path = tmp_path / "file"
    replace_file(path, b"\0" * 1_000_000)
    process = python(REPLACE_FOR_EVER, path)
    process.stdout.readline()
    seen = set()
    for _ in range(60):
        data = path.read_bytes()
        assert len(data) == 1_000_000 and len(set(data)) == 1
        seen.add(data[0])
    process.kill()
    process.communicate()
    assert len(seen) > 1 and len(path.read_bytes()) == 1_000_000


# what is shipped


def test_the_shipped_model_is_complete(tmp_path):
    model = read_model(shipped_model())
    assert hashlib.sha256(read_graph(model)).hexdigest() == model.meta["graph_sha256"]
    assert model.meta["arch"] == "compact" and model.meta["dim"] == 128
    assert model.tensors["head.frame"].shape == (len(model.tensors["head.v"]), 128) == (512, 128)
    for suffix in (".safetensors", ".onnx"):
        shutil.copy(shipped_model().with_suffix(suffix), tmp_path)
    assert read_model(tmp_path / shipped_model().name).identity == model.identity
