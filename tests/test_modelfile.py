"""A model on disk: what is written comes back, what was altered is refused, and nothing is ever half there."""

import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from facedex.errors import ModelError
from facedex.files import replace_file
from facedex.model.graph import assembled
from facedex.model.modelfile import Branch, ModelFile, read_model, shipped_model, shipped_models, with_graphs
from tests.helpers import grid_networks, make_model, own_model, python

POINTS = ((30.0, 46.0), (66.0, 46.0), (48.0, 62.0), (33.0, 80.0), (63.0, 80.0))
LEFT = Branch("left", 6, 96, POINTS, False, (1.0, 2.0, 3.0), (0.5, 0.25, 0.125))


def small(**tensors):
    tensors = {"encoder.a": np.arange(6, dtype=np.float16).reshape(2, 3), "head.v": np.ones(3, np.float32), **tensors}
    return ModelFile(tensors, {"arch": "compact", "dim": 3})


def frozen(**facts):
    """A frozen encoder of two networks with everything that shapes an answer; the graphs are never run."""
    tensors = {
        "graph.right.w": np.arange(6, dtype=np.float16),
        "graph.right:rows": np.ones((5, 2), np.int8),
        "projection.centre": np.zeros(5, np.float32),
        "projection.matrix": np.ones((5, 2), np.float32),
        "head.v": np.ones(2, np.float32),
        "head.beta": np.array(1.0, np.float32),
        "head.frame": np.eye(2, dtype=np.float16),
    }
    model = with_graphs(ModelFile({}, {}), [(LEFT, b"left"), (Branch("right", 5), b"right")])
    meta = {"arch": "frozen", "dim": 2, "mirrored": False, "calibration": {"slope": 1.0}, **model.meta, **facts}
    return ModelFile({**model.tensors, **tensors}, meta)


def test_tensors_and_facts_come_back_from_one_file(tmp_path):
    file = frozen(data={"people": 3})
    file.save(tmp_path / "m.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    again = read_model(tmp_path / "m.safetensors")
    assert again.tensors.keys() == file.tensors.keys()
    for name, tensor in file.tensors.items():
        assert again.tensors[name].dtype == tensor.dtype
        assert np.array_equal(again.tensors[name], tensor)
    assert again.meta == file.meta
    assert again.meta["format"] == "facedex-model/1"
    assert again.identity == file.identity
    assert again.fingerprint == file.fingerprint
    assert again.branches == (LEFT, Branch("right", 5))
    assert again.graph(again.branches[0]) == b"left"
    assert again.graph(again.branches[1]) == assembled(b"right", {"w": np.arange(6, dtype=np.float16)})


def test_a_model_without_points_or_with_is_read_as_it_was_written():
    for branch in (LEFT, Branch("right", 5), Branch("x", 2, 64, rgb=False), Branch("y", 3, mean=(0.0, 1.5, 2.0))):
        assert Branch.from_meta(json.loads(json.dumps(branch.to_meta()))) == branch
    assert "points" not in Branch("right", 5).to_meta()


def test_graphs_are_put_in_the_place_of_others():
    model = with_graphs(frozen(), [(Branch("only", 2), b"new")])
    assert [name for name in model.tensors if name.startswith("graph.")] == ["graph.only"]
    assert model.branches == (Branch("only", 2),)
    assert model.graph(Branch("only", 2)) == b"new"
    assert "projection.centre" in model.tensors
    assert model.meta["dim"] == 2


# what shapes an embedding is in the fingerprint, and what shapes an answer in the identity


def moved(name):
    """The made-up model with one tensor a little different."""
    file = frozen()
    tensor = file.tensors[name].copy()
    tensor.reshape(-1)[-1] += 1
    return replace(file, tensors={**file.tensors, name: tensor})


EMBEDDING = {
    "one byte of a graph": lambda: moved("graph.left"),
    "a constant of a graph": lambda: moved("graph.right.w"),
    "a matrix behind a graph": lambda: moved("graph.right:rows"),
    "the centre": lambda: moved("projection.centre"),
    "the matrix": lambda: moved("projection.matrix"),
    "the architecture": lambda: frozen(arch="compact"),
    "the mirror image": lambda: frozen(mirrored=True),
    "the order of the networks": lambda: frozen(branches=frozen().meta["branches"][::-1]),
    "one network less": lambda: frozen(branches=frozen().meta["branches"][:1]),
    **{
        f"the {what} of what is shown": lambda change=change: frozen(
            branches=[replace(LEFT, **change).to_meta(), Branch("right", 5).to_meta()]
        )
        for what, change in (
            ("length", {"dim": 7}),
            ("size", {"size": 112}),
            ("points", {"points": None}),
            ("place of a point", {"points": ((31.0, 46.0), *POINTS[1:])}),
            ("colours", {"rgb": True}),
            ("mean", {"mean": (1.0, 2.0, 4.0)}),
            ("scale", {"scale": (0.5, 0.25, 0.25)}),
        )
    },
}


@pytest.mark.parametrize("kind", EMBEDDING)
def test_the_fingerprint_changes_with_each_thing_that_shapes_an_embedding(kind):
    other = EMBEDDING[kind]()
    assert other.fingerprint != frozen().fingerprint
    assert other.identity != frozen().identity
    assert other.head_fingerprint == frozen().head_fingerprint


ANSWER = {
    "the weights": lambda: moved("head.v"),
    "the offset": lambda: moved("head.beta"),
    "the frame": lambda: moved("head.frame"),
    "the calibration": lambda: frozen(calibration={"slope": 1.5}),
}


@pytest.mark.parametrize("kind", ANSWER)
def test_head_and_calibration_leave_the_fingerprint_and_change_the_identity(kind):
    other = ANSWER[kind]()
    assert other.fingerprint == frozen().fingerprint
    assert other.identity != frozen().identity


def test_facts_that_shape_no_answer_leave_both(tmp_path):
    other = frozen(data="more", recipe={"steps": 3}, facedex="99")
    assert (other.fingerprint, other.identity) == (frozen().fingerprint, frozen().identity)
    other.save(tmp_path / "m.safetensors")
    assert read_model(tmp_path / "m.safetensors").identity == frozen().identity


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


def test_the_fingerprint_of_a_network_that_torch_alone_runs_knows_its_size():
    sizes = [replace(small(), meta={"arch": "koch", "size": size}).fingerprint for size in (96, 112)]
    assert sizes[0] != sizes[1]


# what networks are shown


NONSENSE = {
    "no name": {"name": None},
    "a number for a name": {"name": 5},
    "no length": {"dim": 0},
    "a length that is no whole number": {"dim": 6.0},
    "a length that is a yes": {"dim": True},
    "a length that is text": {"dim": "6"},
    "a tiny size": {"size": 8},
    "a huge size": {"size": 4000},
    "a size that is no whole number": {"size": 96.5},
    "a size that is a yes": {"size": True},
    "a size that is text": {"size": "112"},
    "colours that are text": {"rgb": "no"},
    "colours that are nothing": {"rgb": None},
    "four points": {"points": [list(point) for point in POINTS[:4]]},
    "points of one number": {"points": [[1.0]] * 5},
    "points that are no numbers": {"points": [["a", "b"]] * 5},
    "no points": {"points": []},
    "points without an end": {"points": [[float("inf"), 1.0]] * 5},
    "two means": {"mean": [0.0, 0.0]},
    "a mean that is one number": {"mean": 0.5},
    "a mean that is none": {"mean": [0.0, 0.0, float("nan")]},
    "scales that are no numbers": {"scale": ["a", "b", "c"]},
    "no scale": {"scale": None},
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_impossible_facts_about_a_network_are_refused(kind):
    stored = {**LEFT.to_meta(), **NONSENSE[kind]}
    with pytest.raises((ValueError, TypeError)):
        Branch.from_meta(stored)
    with pytest.raises(ModelError, match="has wrong facts about its networks"):
        _ = frozen(branches=[stored, Branch("right", 5).to_meta()]).branches


@pytest.mark.parametrize("fact", ["name", "dim", "size", "rgb", "mean", "scale"])
def test_every_fact_but_the_points_is_required(fact):
    stored = LEFT.to_meta()
    del stored[fact]
    with pytest.raises(KeyError):
        Branch.from_meta(stored)


@pytest.mark.parametrize(
    "branches",
    [5, "left", ["left"], [None], [[]], [LEFT.to_meta(), LEFT.to_meta()], [replace(LEFT, name="gone").to_meta()]],
)
def test_networks_that_are_none_are_refused(branches):
    with pytest.raises(ModelError, match="has wrong facts about its networks"):
        frozen(branches=branches).need_graphs()


def test_a_network_is_not_called_as_anothers_constant():
    model = with_graphs(ModelFile({}, {}), [(Branch("a", 2), b"a"), (Branch("a.b", 2), b"b")])
    with pytest.raises(ModelError, match="has wrong facts about its networks"):
        _ = model.branches
    model = with_graphs(ModelFile({}, {}), [(Branch("a", 2), b"a"), (Branch("ab", 2), b"b")])
    assert model.graph(model.branches[0]) == b"a"


def test_constants_that_cannot_be_put_back_are_a_model_error(tmp_path):
    model = frozen()
    model.tensors["graph.left.w"] = np.ones((2, 3), np.int8)
    model.save(tmp_path / "m.safetensors")
    again = read_model(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"m\.safetensors, network left: its constant w"):
        again.graph(again.branches[0])
    model.tensors |= {f"graph.left:{part}": np.ones(2, np.int8) for part in ("rows", "step", "bias")}
    assert again.last(again.branches[0]) is None
    with pytest.raises(ModelError, match="network left: the last matrix"):
        model.last(model.branches[0])


def test_a_model_without_graphs_has_no_place_in_a_gallery(tmp_path):
    small().save(tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match=r"b\.safetensors has no inference graph \(architecture compact\)"):
        read_model(tmp_path / "b.safetensors").need_graphs()


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


# whole or not there


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "file"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "inside").touch()
    with pytest.raises(OSError, match="file"):
        replace_file(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


REPLACE_FOR_EVER = """
import sys
from pathlib import Path
from facedex.files import replace_file
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
        assert len(data) == 1_000_000
        assert len(set(data)) == 1
        seen.add(data[0])
    process.kill()
    process.communicate()
    assert len(seen) > 1
    assert len(path.read_bytes()) == 1_000_000


# what is shipped


def test_the_models_that_ship_are_named_the_default_first():
    assert shipped_models() == ["default", "fast"]
    for name in shipped_models():
        model = read_model(name)
        assert model.path == shipped_model(name)
        assert model.identity == read_model(shipped_model(name)).identity
    assert shipped_model() == shipped_model("default")


def test_a_copy_of_a_model_that_ships_has_its_name_and_another_file_its_own(tmp_path):
    copy, own = tmp_path / "model-0123.safetensors", tmp_path / "mine.safetensors"
    shutil.copy(shipped_model("fast"), copy)
    small().save(own)
    assert [read_model(path).name for path in (copy, own)] == ["fast", "mine.safetensors"]


def test_a_file_is_not_mistaken_for_a_model_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "fast.safetensors", beta=5.0)
    for name in ("fast.safetensors", "./fast.safetensors", tmp_path / "fast.safetensors"):
        assert read_model(name).tensors["head.beta"] == 5.0
    assert read_model("fast").tensors["head.beta"] != 5.0
    assert read_model(Path("fast")).path == shipped_model("fast")
    for name in ("./fast", "slow", "weights/fast", ""):
        with pytest.raises(ModelError, match="one of: default or fast"):
            read_model(name)
    with pytest.raises(ModelError, match="lacks its model 'slow'; install facedex again"):
        shipped_model("slow")


@pytest.mark.parametrize(("name", "networks", "most"), [("default", ("sface", "reid"), 16e6), ("fast", ("reid",), 3e6)])
def test_a_model_that_ships_is_complete_in_one_file(tmp_path, name, networks, most):
    model = read_model(name)
    assert tuple(branch.name for branch in model.branches) == networks
    assert model.meta["arch"] == "frozen"
    assert model.frozen
    assert model.meta["dim"] == 128
    assert model.tensors["head.frame"].shape == (len(model.tensors["head.v"]), 128) == (512, 128)
    assert model.meta["calibration"]
    assert shipped_model(name).stat().st_size <= most
    shutil.copy(shipped_model(name), tmp_path / "m.safetensors")
    assert read_model(tmp_path / "m.safetensors").identity == model.identity


def test_a_model_of_ours_and_a_frozen_one_are_stored_alike(tmp_path):
    for number, model in enumerate((own_model(), grid_networks(LEFT, Branch("right", 5)))):
        model.save(tmp_path / f"{number}.safetensors")
        again = read_model(tmp_path / f"{number}.safetensors")
        assert again.branches == model.branches
        assert again.frozen is bool(number)
        assert [again.graph(branch) for branch in again.branches] == [model.graph(branch) for branch in model.branches]
