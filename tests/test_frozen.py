"""What stands behind frozen networks, fitted without torch: from photos of people to a model, and never a worse one."""

from dataclasses import replace

import numpy as np
import pytest

from facedex.data.dataset import Faces, load_faces
from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.model.encoder import GraphEncoder, Networks
from facedex.model.foreign import foreign_model
from facedex.model.head import Head
from facedex.model.modelfile import Branch, ModelFile, read_model, with_graphs
from facedex.training import judging
from facedex.training.frozen import DIM, fit_frozen, principal
from tests.helpers import calibration, grid_graph, grid_networks, python
from tests.synthetic import write_pack

pytest.importorskip("onnx", reason="needs the extra train")

POINTS = ((30.0, 46.0), (66.0, 46.0), (48.0, 62.0), (33.0, 80.0), (63.0, 80.0))
LEFT, RIGHT = (
    Branch("left", 100, 96, POINTS, False, (110.0,) * 3, (0.01,) * 3),
    Branch("right", 60, 112, None, True, (110.0,) * 3),
)


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """Forty-four people with three photos each, and thirty others."""
    folder = tmp_path_factory.mktemp("people")
    return write_pack(folder / "people.tar", 44, 3), write_pack(folder / "others.tar", 30, 3, first=60)


@pytest.fixture(scope="module")
def faces(packs, tmp_path_factory):
    return load_faces(packs[0], tmp_path_factory.mktemp("cache"), aligned=True)


@pytest.fixture(scope="module")
def others(packs, tmp_path_factory):
    return load_faces(packs[1], tmp_path_factory.mktemp("cache"), aligned=True)


@pytest.fixture(scope="module")
def fitted(faces, tmp_path_factory):
    """Two networks of 160 numbers together, with projection, head and calibration."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    fit_frozen(grid_networks(LEFT, RIGHT), faces, path, steps=20)
    return read_model(path)


def rates(model, faces):
    """AUC and TAR@FAR=1e-2 by the head."""
    vectors = GraphEncoder(model).encode(faces.crops112())[0]
    scores = metrics.pair_scores(Head.from_file(model).pairwise(vectors, vectors), faces.people)
    return metrics.auc(*scores), metrics.tar_at_far(*scores, 1e-2)


def test_two_networks_get_a_projection_a_head_and_a_calibration(faces, others, tmp_path):
    start, told = grid_networks(LEFT, RIGHT), []
    output = tmp_path / "m.safetensors"
    tuned = fit_frozen(start, faces, output, steps=20, progress=lambda *said: told.append(said))
    assert tuned.kind == "projection and head"
    assert tuned.judgement is None, "there was nothing to compare with"
    model = read_model(output)
    assert model.identity == tuned.model.identity
    assert model.branches == start.branches == (LEFT, RIGHT)
    assert model.frozen
    assert model.meta["dim"] == DIM == 128
    assert model.tensors["projection.matrix"].shape == (160, 128)
    assert model.tensors["head.frame"].shape == (512, 128)
    data, calibration = model.meta["data"], model.meta["calibration"]
    assert data["people"] + data["validation_people"] + calibration["people"] == 44
    assert data["photos"] == 3 * data["people"]
    assert data["calibration_people"] == calibration["people"] >= 4
    assert calibration["unclear"] > 0
    assert told[-1] == (132, 132)
    assert [done for done, _ in told] == sorted({done for done, _ in told}), "each photo once"
    area, accepted = rates(model, others)
    assert area > 0.99
    assert accepted > 0.9


def test_the_projection_is_the_principal_components_of_the_joined_embeddings(faces):
    raw = Networks(grid_networks(LEFT, RIGHT))(faces.crops112())
    found = principal(raw, 30)
    joined = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in raw], 1).astype(np.float64)
    _, _, rows = np.linalg.svd(joined - joined.mean(0), full_matrices=False)
    np.testing.assert_allclose(found.centre, joined.mean(0), atol=1e-6)
    cosines = np.abs((found.matrix * rows[:30].T).sum(0))
    np.testing.assert_allclose(cosines, 1, atol=1e-3)
    assert (found.matrix[np.abs(found.matrix).argmax(0), np.arange(30)] > 0).all(), "of one sign on every machine"


@pytest.mark.parametrize(("left", "right", "dim"), [(6, 5, 11), (100, 60, 128)])
def test_no_network_is_left_out(faces, tmp_path, left, right, dim):
    path = tmp_path / "m.safetensors"
    fit_frozen(grid_networks(replace(LEFT, dim=left), replace(RIGHT, dim=right)), faces, path, steps=2)
    model = read_model(path)
    assert model.meta["dim"] == dim
    assert model.tensors["projection.matrix"].shape == (left + right, dim)
    crops = faces.crops112(slice(0, 5))
    graphs = {branch.name: model.graph(branch) for branch in model.branches}
    for name in graphs:
        other = {**graphs, name: grid_graph(left if name == "left" else right, 96 if name == "left" else 112, seed=9)}
        changed = with_graphs(model, [(branch, other[branch.name]) for branch in model.branches])
        assert np.abs(GraphEncoder(changed).encode(crops)[0] - GraphEncoder(model).encode(crops)[0]).max() > 0.01


def test_one_small_network_needs_no_projection(faces, tmp_path):
    (tmp_path / "e.onnx").write_bytes(grid_graph(24))
    start = foreign_model(tmp_path / "e.onnx", mean=110)
    fit_frozen(start, faces, tmp_path / "m.safetensors", steps=2)
    model = read_model(tmp_path / "m.safetensors")
    assert model.fingerprint == start.fingerprint
    assert model.meta["dim"] == 24
    assert not any(name.startswith("projection.") for name in model.tensors)


def test_the_same_people_and_seed_give_the_same_model(faces, fitted, tmp_path):
    fit_frozen(grid_networks(LEFT, RIGHT), faces, tmp_path / "again.safetensors", steps=20)
    assert read_model(tmp_path / "again.safetensors").identity == fitted.identity


def test_a_model_that_has_a_head_is_compared_on_people_kept_out(faces, fitted, tmp_path):
    tuned = fit_frozen(fitted, faces, tmp_path / "m.safetensors", steps=20, force=True)
    assert tuned.kind == "projection and head"
    assert tuned.judgement is not None
    facts = tuned.model.meta["tuned"]
    assert facts["held_out_people"] == tuned.judgement.people >= 4
    kept = facts["people"] + facts["held_out_people"] + tuned.model.meta["data"]["validation_people"]
    assert kept + tuned.model.meta["data"]["calibration_people"] == 44
    old, new = fitted.meta["calibration"], tuned.model.meta["calibration"]
    assert (new["people"], new["faces"]) == (old["people"], old["faces"]), "so few people bring no tail of their own"


def misleading():
    """People to learn from and people kept out, of four photos each, and a model that sees both halves of a face.

    Those who judge are told apart by the lower half of the face alone, and everybody else by the upper half alone.
    """

    def listed(people, first):
        whose = np.repeat(np.arange(people), 4)
        keys = [f"p{first + person:03d}/{at}" for at, person in enumerate(whose)]
        return Faces(np.empty(0), np.arange(len(whose)), whose, [f"p{first + i:03d}" for i in range(people)], keys)

    known, held = listed(42, 0), listed(30, 100)
    judges = set(judging.split(known, held)[3].names)
    for faces in (known, held):
        faces.crops = np.empty((len(faces), 128, 128, 3), np.uint8)
        for at, person in enumerate(faces.people):
            name = faces.names[person]
            of_person, of_photo = (np.random.default_rng([int(name[1:]), seed]) for seed in (1000, at))
            cells = of_photo.uniform(60, 200, (8, 8, 3))
            told = slice(4, 8) if name in judges else slice(0, 4)
            cells[told] = of_person.uniform(60, 200, (4, 8, 3)) + of_photo.normal(0, 25, (4, 8, 3))
            faces.crops[at] = np.clip(np.kron(cells, np.ones((16, 16, 1))), 0, 255)
    upper = np.arange(192) % 64 < 32
    weight = np.random.default_rng(0).normal(size=(16, 192)) * np.where(np.arange(16)[:, None] < 8, upper, ~upper)
    graphs = [(Branch("both", 16, mean=(130.0,) * 3), grid_graph(weight=weight))]
    facts = {"arch": "frozen", "mirrored": False, "normalised": True, "dim": 16, "calibration": calibration().to_meta()}
    head = {"head.v": np.full(16, 1.5, np.float32), "head.beta": np.array(9.0, np.float32)}
    return known, held, with_graphs(ModelFile(head, facts), graphs)


def test_a_model_that_got_worse_for_people_kept_out_is_not_written_unless_forced(tmp_path):
    known, held, start = misleading()
    for force in (False, True):
        path = tmp_path / "m.safetensors"
        tuned = fit_frozen(start, known, path, held=held, steps=400, force=force)
        assert tuned.judgement.worse
        assert tuned.judgement.after < tuned.judgement.before
        assert (tuned.model is not None) == path.exists() == force
    weights = Head.from_file(read_model(path)).weight
    assert weights[:8].mean() > 1.5 * weights[8:].mean(), "it learnt what it was shown"


def few_of(faces, chosen):
    return faces.select(np.flatnonzero(np.isin(faces.people, chosen)))


def test_few_people_fit_the_calibration_alone(faces, fitted, tmp_path):
    few, told = few_of(faces, range(8)), []
    path = tmp_path / "m.safetensors"
    tuned = fit_frozen(fitted, few, path, force=True, progress=lambda *said: told.append(said))
    assert tuned.kind == "calibration"
    assert tuned.judgement.people == 8
    assert told[-1] == (24, 24)
    model = read_model(path)
    assert model.fingerprint == fitted.fingerprint
    assert model.head_fingerprint == fitted.head_fingerprint
    old, new = fitted.meta["calibration"], model.meta["calibration"]
    assert (old["slope"], old["offset"]) != (new["slope"], new["offset"])
    assert {k: v for k, v in old.items() if k not in ("slope", "offset")} == {
        k: v for k, v in new.items() if k not in ("slope", "offset")
    }


def test_a_fit_to_few_people_is_judged_on_the_held_out_set_where_there_is_one(faces, others, fitted, tmp_path):
    few = few_of(faces, range(8))
    by_turns = fit_frozen(fitted, few, tmp_path / "a.safetensors", force=True)
    apart = fit_frozen(fitted, few, tmp_path / "b.safetensors", held=others, force=True)
    assert (by_turns.judgement.people, apart.judgement.people) == (8, 30)
    assert by_turns.judgement.before != apart.judgement.before
    assert by_turns.model.meta["calibration"] == apart.model.meta["calibration"], "fitted to the same people"


def test_a_calibration_that_got_worse_for_people_kept_out_is_not_written(faces, others, fitted, tmp_path):
    """Photos with the wrong people's names."""
    few = few_of(faces, range(8))
    wrong = Faces(few.crops, few.rows, np.roll(few.people, 1), few.names, few.keys)
    for force in (False, True):
        tuned = fit_frozen(fitted, wrong, tmp_path / "m.safetensors", held=others, force=force)
        assert tuned.kind == "calibration"
        assert tuned.judgement.worse
        assert (tuned.model is not None) == (tmp_path / "m.safetensors").exists() == force


def test_a_first_head_needs_no_forty_people(others, tmp_path):
    (tmp_path / "e.onnx").write_bytes(grid_graph(24))
    start = foreign_model(tmp_path / "e.onnx", mean=110)
    tuned = fit_frozen(start, few_of(others, range(16)), tmp_path / "m.safetensors", steps=2)
    assert tuned.kind == "projection and head"
    assert tuned.model.meta["data"]["people"] == 4
    with pytest.raises(DataError, match="at least 14 are needed"):
        fit_frozen(start, few_of(others, range(13)), tmp_path / "m.safetensors", steps=2)


def test_people_who_cannot_teach_are_an_error(faces, fitted, tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(DataError, match="No photo is left"):
        fit_frozen(fitted, faces.select(np.empty(0, np.int64)), path)
    singles = load_faces(write_pack(tmp_path / "singles.tar", 0, 1, singles=6), tmp_path / "cache", aligned=True)
    with pytest.raises(DataError, match="too few people"):
        fit_frozen(fitted, singles, path)
    assert not path.exists()


_WITHOUT_TORCH = """
import sys
from facedex.cli import main
try:
    main()
except SystemExit as done:
    code = done.code or 0
print(code, sorted({"torch", "torchvision", "onnx", "matplotlib"} & set(sys.modules)))
"""


def test_training_a_frozen_model_never_imports_torch(packs, fitted, tmp_path):
    (tmp_path / "e.onnx").write_bytes(grid_graph(24))
    people, others = map(str, packs)
    model, output = str(fitted.path), tmp_path / "m.safetensors"
    for arguments in (
        [people, "--encoder", tmp_path / "e.onnx", "--mean", "110", "--steps", "2"],
        [people, "--init", model, "--steps", "2", "--force"],
        [write_pack(tmp_path / "few.tar", 8, 3), "--init", model, "--validation", others, "--force"],
    ):
        output.unlink(missing_ok=True)
        process = python(_WITHOUT_TORCH, "train", *arguments, "--aligned", "-o", output)
        said, errors = process.communicate(timeout=300)
        assert said.splitlines()[-1:] == ["0 []"], errors
        assert output.exists()
