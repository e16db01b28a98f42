"""A network from elsewhere, trained on with other encoders' embeddings as targets."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")
onnx = pytest.importorskip("onnx", reason="needs the extra train")

from facedex.data.dataset import load_faces, split_people  # noqa: E402
from facedex.errors import DataError, ModelError  # noqa: E402
from facedex.faces import alignment  # noqa: E402
from facedex.model.encoder import GraphEncoder  # noqa: E402
from facedex.model.modelfile import Branch, ModelFile, read_model, with_graphs  # noqa: E402
from facedex.model.torchgraph import GraphNetwork  # noqa: E402
from facedex.training import train as training  # noqa: E402
from facedex.training.augment import augment  # noqa: E402
from facedex.training.distillation import Teachers  # noqa: E402
from facedex.training.recipe import STUDENT, recipe_for  # noqa: E402
from facedex.training.siamese import Siamese, from_file, to_file  # noqa: E402
from tests.helpers import calibration, grid_graph  # noqa: E402
from tests.synthetic import person_crop, write_pack  # noqa: E402

POINTS = ((26.0, 36.0), (54.0, 36.0), (40.0, 52.0), (28.0, 67.0), (52.0, 67.0))
BRANCH = Branch("left", 24, 80, points=POINTS, rgb=False, mean=(120.0, 110.0, 100.0), scale=(0.02, 0.02, 0.02))


def made_up(branch=BRANCH, dim=16):
    """A frozen model of one made-up network, with a projection of random directions, a head and a calibration."""
    graph = grid_graph(branch.dim, branch.size, seed=3)
    rng = np.random.default_rng(4)
    tensors = {
        "projection.centre": 0.1 * rng.normal(size=branch.dim).astype(np.float32),
        "projection.matrix": rng.normal(size=(branch.dim, dim)).astype(np.float32),
        "head.v": np.full(dim, 0.7, np.float32),
        "head.beta": np.array(12.0, np.float32),
    }
    facts = {"arch": "frozen", "dim": dim, "mirrored": False, "normalised": True, "free_sign": False}
    return with_graphs(ModelFile(tensors, {**facts, "calibration": calibration().to_meta()}), [(branch, graph)])


def crops(count):
    return alignment.centre_crop(np.stack([person_crop(person, 0) for person in range(count)]))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    faces = load_faces(write_pack(folder / "people.tar", 24, 4), folder / "cache", aligned=True)
    known, held = split_people(faces, 0.4, seed=1)
    return known, split_people(held, 0.5, seed=1)


@pytest.fixture(scope="module")
def teachers(data, tmp_path_factory):
    """A teacher who knows every photo's person, with little noise."""
    known, _ = data
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(known.names), 32))[known.people] + 0.1 * rng.normal(size=(len(known), 32))
    path = tmp_path_factory.mktemp("teachers") / "t.npz"
    np.savez(path, key=np.array(known.keys), teacher=vectors)
    return Teachers(path)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Runs on a busy machine measure different speeds, and so would differ."""
    monkeypatch.setattr(training, "bf16_is_faster", lambda device: False)


@pytest.fixture
def start(tmp_path):
    path = tmp_path / "start.safetensors"
    made_up().save(path)
    return path


def learn(data, teachers, start, folder, **options):
    known, validation = data
    recipe = replace(STUDENT, people=4, sizes=((0.0, 80),), steps=12, validations=3, validations_apart=4, head_people=0)
    recipe = replace(recipe, **options.pop("recipe", {}))
    folder.mkdir(exist_ok=True)
    return training.train(
        recipe,
        known,
        validation,
        folder / "m.safetensors",
        work=folder / "m.train",
        teachers=teachers,
        init=start,
        device="cpu",
        **options,
    )


@pytest.mark.parametrize("model", ["fast", "made up"])
def test_the_network_in_torch_says_what_the_model_says_before_and_after_it_has_learnt(model):
    file = read_model("fast") if model == "fast" else made_up()
    student = from_file(file)
    np.testing.assert_allclose(student.embed_crops(crops(3)), GraphEncoder(file).encode(crops(3))[0], atol=1e-4)
    first = student.embed_crops(crops(3))
    with torch.no_grad():
        for number, weight in enumerate(student.encoder.parameters()):
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
            weight.add_(0.05 * weight.abs().mean() * noise)
    stored = to_file(student, {})
    moved = GraphEncoder(stored).encode(crops(3))[0]
    assert np.abs(moved - first).max() > 1e-3
    np.testing.assert_allclose(moved, student.embed_crops(crops(3)), atol=2e-3)  # stored in half precision
    np.testing.assert_allclose(from_file(stored).embed_crops(crops(3)), moved, atol=1e-4)
    assert stored.frozen
    assert {name for name in stored.tensors if not name.startswith("graph.")} == {
        name for name in file.tensors if not name.startswith("graph.")
    }


def test_matrices_and_offsets_are_learnt_and_the_scaling_of_pixels_and_slopes_are_not():
    file = read_model("fast")
    network = GraphNetwork(file, file.branches[0])
    constants = {name: value for name, value in file.tensors.items() if name.startswith("graph.reid.")}
    others = [value for name, value in constants.items() if name.removeprefix("graph.reid.") not in network.learnt]
    assert {value.size for value in others} == {1, 3}, "slopes, and the scaling of the three colours"
    assert len(network.learnt) + len(others) == len(constants)
    network(torch.rand(2, 3, 128, 128) * 255).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in network.parameters())


def test_half_precision_gives_nearly_the_same_embeddings():
    student = from_file(read_model("fast"))
    x = student.pictures(crops(2))
    with torch.no_grad():
        whole = student.embed(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = student.embed(x)
    assert float((half * whole).sum(1).min()) > 0.99


def test_the_crops_of_a_step_show_the_face_as_the_network_wants_it():
    canvas = torch.from_numpy(np.stack([person_crop(person, 0) for person in range(8)])).permute(0, 3, 1, 2)
    seen = augment(canvas, torch.Generator().manual_seed(1), 80, 0.0, 0.0, POINTS)
    wanted = alignment.fitted(crops(8), 80, POINTS).astype(np.float32).transpose(0, 3, 1, 2)
    gap = np.abs(seen.numpy() - wanted).mean((1, 2, 3))
    mirrored = gap > 2  # about half of the crops
    assert 0 < mirrored.sum() < 8
    assert gap[~mirrored].max() < 1


def test_a_student_comes_nearer_to_its_teachers_and_stays_a_model_of_the_same_graph(data, teachers, tmp_path):
    known, _ = data
    start, branch = tmp_path / "start.safetensors", replace(BRANCH, dim=6)
    made_up(branch, 6).save(start)
    result = learn(data, teachers, start, tmp_path / "run", recipe={"steps": 40, "adam_rate": 3e-2, "bad": 0.0})
    targets = teachers.targets_of([known], 6)
    before = from_file(read_model(start))
    before.encoder.aim(before.pictures(known.crops112()), torch.from_numpy(targets))
    model = read_model(tmp_path / "run" / "m.safetensors")
    near = [
        float((vectors * targets).sum(1).mean())
        for vectors in (before.embed_crops(known.crops112()), GraphEncoder(model).encode(known.crops112())[0])
    ]
    assert near[1] > near[0] + 0.02, "nearer than the network as it was, turned to the targets"
    assert result.best["step"] > 0
    assert (model.frozen, model.branches, model.meta["dim"]) == (True, (branch,), 6)
    assert model.meta["calibration"]["people"] == len(data[1][1].names)
    assert model.meta["calibration"] != calibration().to_meta()
    assert model.meta["init"] == read_model(start).fingerprint


def test_the_projection_turns_to_the_targets_and_shrinks_no_direction():
    student, x = from_file(read_model("fast")), torch.rand(40, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    targets = torch.nn.functional.normalize(torch.randn(40, 128, generator=torch.Generator().manual_seed(2)), dim=1)

    def agreement():
        with torch.no_grad():
            return float((student.encoder(255 * x) * targets).sum())

    student.encoder.aim(255 * x, targets)
    matrix, best = student.encoder.matrix.clone(), agreement()
    assert torch.allclose(matrix.T @ matrix, torch.eye(128), atol=1e-4)
    for seed in range(5):  # every other turn of the same directions agrees less
        noise = 0.1 * torch.randn(128, 128, generator=torch.Generator().manual_seed(seed))
        student.encoder.matrix = matrix @ torch.matrix_exp(noise - noise.T)
        assert agreement() < best


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(data, teachers, start, tmp_path):
    learn(data, teachers, start, tmp_path / "whole")
    steps = []
    learn(data, teachers, start, tmp_path / "cut", stop=lambda: len(steps) >= 5, on_event=steps.append)
    assert not (tmp_path / "cut" / "m.safetensors").exists()
    learn(data, teachers, start, tmp_path / "cut", resume=True)
    whole, cut = (read_model(tmp_path / name / "m.safetensors") for name in ("whole", "cut"))
    assert whole.fingerprint == cut.fingerprint != read_model(start).fingerprint


def test_a_run_that_made_good_photos_worse_goes_back_until_they_are_as_good(data, start, tmp_path, monkeypatch):
    first, last = (from_file(read_model(start)) for _ in range(2))
    matrix = first.encoder.matrix.clone()
    last.encoder.matrix.add_(1.0)
    best_path, best = tmp_path / "best.safetensors", {"step": 0, "side": BRANCH.size, "score": 0.9}
    to_file(first, {}).save(best_path)

    def chosen(scored, **others):
        monkeypatch.setattr(training, "validate", lambda network, *_: {"score": scored(network.encoder.matrix)})
        return training._with_bad_photos(best_path, {**best, **others}, last, 7, data[1][0], STUDENT)

    assert chosen(lambda kept: 0.89) == best
    assert chosen(lambda kept: 0.95, step=3) == {**best, "step": 3}
    assert torch.equal(from_file(read_model(best_path)).encoder.matrix, matrix)
    found = chosen(lambda kept: 0.9 if float((kept - matrix).mean()) < 0.6 else 0.8)
    assert found == {"step": 7, "share_of_training": 0.5, "side": BRANCH.size, "score": 0.9}
    assert torch.allclose(from_file(read_model(best_path)).encoder.matrix, matrix + 0.5, atol=1e-6)


def test_a_student_that_learnt_nothing_good_is_a_model_all_the_same(data, teachers, start, tmp_path):
    learn(data, teachers, start, tmp_path / "run", recipe={"steps": 3, "adam_rate": 3.0})
    assert read_model(tmp_path / "run" / "m.safetensors").frozen


def test_the_time_of_a_step_is_measured_on_the_network_itself(data, teachers, start, tmp_path):
    result = learn(data, teachers, start, tmp_path / "run", recipe={"steps": 0, "most_steps": 2}, minutes=0.05)
    assert result.step == 2


def test_a_model_of_several_networks_and_a_size_that_is_not_the_networks_are_refused():
    with pytest.raises(ModelError, match="one network"):
        from_file(read_model("default"))
    with pytest.raises(ModelError, match="one network"):
        Siamese("frozen", 96, file=made_up())


def test_the_recipe_is_that_of_a_student():
    recipe = recipe_for("frozen", True, "cpu", 128, begun=True)
    assert recipe == replace(STUDENT, sizes=((0.0, 128),))
    assert recipe_for("frozen", True, "cuda", 128, begun=True).people > recipe.people
    with pytest.raises(DataError, match="leave out --init"):
        training._network_to_train_on(made_up(), recipe_for("compact", True, "cpu", 80, begun=True))
