"""Training from data to a model file: it learns, it resumes, it is the same twice."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("onnx", reason="needs the extra train")

from facedex.data.dataset import Faces, load_faces, split_people  # noqa: E402
from facedex.errors import DataError, MissingExtra, ModelError  # noqa: E402
from facedex.model.modelfile import read_model  # noqa: E402
from facedex.model.torchgraph import pick_device  # noqa: E402
from facedex.training import train as training  # noqa: E402
from facedex.training.augment import augment  # noqa: E402
from facedex.training.checkpoint import read_facts  # noqa: E402
from facedex.training.distillation import Teachers  # noqa: E402
from facedex.training.history import COLUMNS, append_metrics, plot_metrics, read_metrics  # noqa: E402
from facedex.training.optim import Average, orthogonalise, rate  # noqa: E402
from facedex.training.recipe import RECIPES, Recipe, recipe_for  # noqa: E402
from facedex.training.siamese import Siamese, to_file  # noqa: E402
from facedex.training.trainer import Trainer  # noqa: E402
from tests.synthetic import write_pack  # noqa: E402

TINY = replace(RECIPES["compact"], people=4, photos=2, steps=12, validations=3, validations_apart=4)


@pytest.fixture(autouse=True)
def always_float32(monkeypatch):
    """Whether half-width arithmetic pays is measured by the clock, and other work beside may change the answer."""
    monkeypatch.setattr(training, "bf16_is_faster", lambda device: False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    faces = load_faces(write_pack(folder / "people.tar", 24, 4, singles=3), folder / "cache", aligned=True)
    known, held = split_people(faces, 0.4, seed=1)
    return known, split_people(held, 0.5, seed=1)


def run(data, folder: Path, recipe=TINY, **options):
    known, validation = data
    return training.train(
        recipe, known, validation, folder / "m.safetensors", work=folder / "m.train", device="cpu", **options
    )


def weights(path: Path):
    return read_model(path).tensors


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_training_learns_writes_a_calibrated_model_and_its_metrics(data, tmp_path):
    losses = []
    result = run(
        data,
        tmp_path,
        replace(TINY, people=8, photos=4, steps=30),
        on_event=lambda e: losses.append(e["loss"]) if e["event"] == "step" else None,
    )
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert result.best["accuracy"] > 0.8  # chance is .5
    meta = read_model(tmp_path / "m.safetensors").meta
    assert meta["calibration"]["people"] == len(data[1][1].names)
    assert meta["data"]["people"] == len(data[0].names)
    assert meta["data"]["sha256"] == data[0].digest()
    rows = list(csv.DictReader((tmp_path / "m.train" / "metrics.csv").read_text("utf-8").splitlines()))
    assert rows
    assert int(rows[-1]["step"]) == 30
    assert 0 <= float(rows[-1]["cosine_tar_at_1e-3"]) <= 1
    assert (tmp_path / "m.train" / "metrics.png").read_bytes()[:4] == b"\x89PNG"
    assert not (tmp_path / "m.train" / "checkpoint.safetensors").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors", "m.train"], "graph and all in one file"
    (branch,) = result.model.branches
    assert (branch.name, branch.dim, branch.size) == ("own", 128, 80)
    assert result.model.mirrored


def test_the_same_seed_gives_the_same_weights_and_another_does_not(data, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(data, tmp_path / name, replace(TINY, steps=3, seed=seed))
    a, b, c = (weights(tmp_path / name / "m.safetensors") for name in "abc")
    assert_same(a, b)
    assert any((a[name] != c[name]).any() for name in a)


_RUN = """
import sys
from dataclasses import asdict, replace
from pathlib import Path
sys.path.insert(0, {root!r})
from facedex.training import train as training
from facedex.training.recipe import RECIPES
from facedex.data.dataset import load_faces, split_people
training.bf16_is_faster = lambda device: False
folder = Path({folder!r})
faces = load_faces(folder / "people.tar", folder / "cache", aligned=True)
known, held = split_people(faces, 0.4, seed=1)
recipe = replace(RECIPES["compact"], people=4, photos=2, steps=12, validations=3, validations_apart=4)
training.train(
    recipe, known, split_people(held, 0.5, seed=1), folder / "m.safetensors", work=folder / "m.train", device="cpu",
    resume=True, checkpoint_seconds=0, on_event=lambda e: print(e["event"], e["step"], flush=True),
)
"""


def start(folder: Path):
    code = _RUN.format(root=str(Path(__file__).parents[1]), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_continued_run_draws_on_from_where_the_first_ended(data, tmp_path):
    run(data, tmp_path / "first", replace(TINY, steps=3))
    start = tmp_path / "first" / "m.safetensors"
    drawn = [Trainer(replace(TINY, steps=3), data[0], None, None, torch.device("cpu"), False) for _ in range(2)]
    drawn[1].recipe = replace(drawn[1].recipe, earlier=3)
    assert not np.array_equal(drawn[0].places(0)[0], drawn[1].places(0)[0])
    np.testing.assert_array_equal(drawn[0].places(3)[0], drawn[1].places(0)[0])
    run(data, tmp_path / "second", replace(TINY, steps=2), init=start)
    second = tmp_path / "second" / "m.safetensors"
    assert read_model(second).meta["recipe"]["earlier"] == 3
    run(data, tmp_path / "third", replace(TINY, steps=2), init=second)
    assert read_model(tmp_path / "third" / "m.safetensors").meta["recipe"]["earlier"] == 5


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        write_pack(tmp_path / name / "people.tar", 24, 4)
    whole = start(tmp_path / "whole")
    whole_validations = [int(line.split()[1]) for line in whole.stdout if line.startswith("validation")]
    assert whole.wait(120) == 0

    for stop_at in (
        "saved 2",
        "validation 4",
        "step 7",
    ):  # on a checkpoint, just after judging, between two checkpoints
        process = start(tmp_path / "killed")
        for line in process.stdout:
            if line.strip() == stop_at:
                process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
                break
        process.wait(60)
        assert not (tmp_path / "killed" / "m.safetensors").exists()
    last = start(tmp_path / "killed")
    steps = [line.split()[1] for line in last.stdout if line.startswith("step")]
    assert last.wait(120) == 0
    assert 5 <= int(steps[0]) <= 8
    assert whole_validations == [4, 8, 12]
    assert_same(weights(tmp_path / "whole" / "m.safetensors"), weights(tmp_path / "killed" / "m.safetensors"))
    first, second = ((tmp_path / n / "m.train" / "metrics.csv").read_text().splitlines() for n in ("whole", "killed"))
    assert [line.split(",")[0] for line in first] == [line.split(",")[0] for line in second]
    # All but the time it took and the loss's mean, whose window a kill begins anew.
    told = [[row[key] for key in ("step", "side", "accuracy", "tar_at_1e-3", "auc")] for row in csv.DictReader(first)]
    assert told == [
        [row[key] for key in ("step", "side", "accuracy", "tar_at_1e-3", "auc")] for row in csv.DictReader(second)
    ]


def test_stopping_saves_and_writes_no_model_and_resume_finishes(data, tmp_path):
    result = run(data, tmp_path, stop=lambda: True)
    assert result.model is None
    assert result.step == 1
    assert (tmp_path / "m.train" / "checkpoint.safetensors").exists()
    with pytest.raises(DataError, match="--resume"):
        run(data, tmp_path)
    with pytest.raises(DataError, match="steps"):
        run(data, tmp_path, recipe=replace(TINY, steps=1), resume=True)
    result = run(data, tmp_path, recipe=replace(TINY, steps=14), resume=True)
    assert result.model is not None
    assert result.step == 14, "more steps may be asked for on the way"


def test_a_run_cut_off_while_its_model_is_written_is_finished_by_resume(data, tmp_path, monkeypatch):
    whole = run(data, tmp_path / "whole", replace(TINY, steps=3)).model

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(training, "finish", full)
    with pytest.raises(OSError, match="No space left"):
        run(data, tmp_path / "cut", replace(TINY, steps=3))
    monkeypatch.undo()
    result = run(data, tmp_path / "cut", replace(TINY, steps=0), resume=True)
    assert result.step == 3
    assert_same(whole.tensors, result.model.tensors)
    assert whole.meta["calibration"] == result.model.meta["calibration"]


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda log: log + b"\0" * 60, ["1", "2", "3"]),
        (lambda log: log[:-9], ["1", "3"]),
        (lambda log: log.replace(b"\r\n1,", b"\r\n\xff,"), ["2", "3"]),
        (lambda log: b"", ["3"]),
    ],
)
def test_a_damaged_log_loses_rows_and_ends_no_run(data, tmp_path, damage, kept):
    recipe = replace(TINY, steps=3, validations_apart=1)
    run(data, tmp_path, recipe, stop=lambda: (tmp_path / "m.train" / "metrics.csv").read_bytes().count(b"\n") == 3)
    log = tmp_path / "m.train" / "metrics.csv"
    log.write_bytes(damage(log.read_bytes()))
    assert run(data, tmp_path, recipe, resume=True).step == 3
    assert [row["step"] for row in csv.DictReader(log.open())] == kept


def test_a_damaged_log_is_plotted_as_far_as_it_is_whole(tmp_path):
    row = dict.fromkeys(COLUMNS, 0.5)
    append_metrics(tmp_path / "m.csv", {**row, "step": 1})
    with open(tmp_path / "m.csv", "ab") as file:
        file.write(b"2,0.5,0.5\n\0\0\0,\n3,0.5")
    plot_metrics(tmp_path / "m.csv", tmp_path / "m.png")
    assert read_metrics(tmp_path / "m.csv") == [{**row, "step": 1}]
    assert (tmp_path / "m.png").exists()


def test_a_log_that_cannot_be_written_ends_no_run(data, tmp_path):
    for name in ("metrics.csv", "metrics.png"):
        (tmp_path / "m.train" / name).mkdir(parents=True)
    assert run(data, tmp_path, replace(TINY, steps=1)).model is not None


def test_without_onnx_training_does_not_even_begin(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match="train"):
        run(data, tmp_path)
    assert not (tmp_path / "m.train").exists()


def test_resume_keeps_where_a_run_started_from(data, tmp_path):
    first = run(data, tmp_path / "first", replace(TINY, steps=2)).model
    once = replace(first, meta={**first.meta, "mirrored": False})
    once.save(tmp_path / "once.safetensors")
    run(data, tmp_path / "cut", replace(TINY, steps=3), init=once.path, stop=lambda: True)
    result = run(data, tmp_path / "cut", replace(TINY, steps=0), resume=True).model
    assert not result.mirrored
    assert first.mirrored
    assert result.meta["init"] == once.fingerprint != first.fingerprint


def test_a_deeper_network_is_planned_and_resumed_as_deep_as_it_is(data, tmp_path):
    deeper = to_file(Siamese("compact", 80, blocks=(1, 3, 2)), {})
    deeper.save(tmp_path / "deeper.safetensors")
    run(data, tmp_path / "cut", replace(TINY, steps=3), init=deeper.path, stop=lambda: True)
    result = run(data, tmp_path / "cut", replace(TINY, steps=0), resume=True).model
    assert result.meta["blocks"] == list(result.meta["recipe"]["blocks"]) == [1, 3, 2]
    timed = Trainer(Recipe.from_json(result.meta["recipe"]), data[0], None, None, torch.device("cpu"), False)
    assert timed.model.encoder.depth == (1, 3, 2)


def test_weights_of_another_architecture_and_impossible_depths_are_errors(data, tmp_path):
    first = run(data, tmp_path / "first", replace(TINY, steps=2)).model
    with pytest.raises(DataError, match="--arch"):
        run(data, tmp_path / "koch", replace(RECIPES["koch"], steps=2), init=first.path)
    replace(first, meta={**first.meta, "blocks": 5}).save(tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match="blocks"):
        run(data, tmp_path / "odd", replace(TINY, steps=2), init=tmp_path / "odd.safetensors")
    with pytest.raises(DataError, match="came as a graph, which learns from teachers alone; leave out --init"):
        run(data, tmp_path / "frozen", replace(TINY, steps=2), init=Path("fast"))


def test_a_run_from_a_head_of_one_basis_keeps_it_and_is_resumed_with_it(data, tmp_path):
    """As models and checkpoints of before frames are."""
    plain = to_file(Siamese("compact", 80, bases=1), {})
    plain.save(tmp_path / "plain.safetensors")
    run(data, tmp_path / "cut", init=tmp_path / "plain.safetensors", stop=lambda: True)
    facts = read_facts(tmp_path / "cut" / "m.train" / "checkpoint.safetensors")
    assert facts["bases"] == 1
    result = run(data, tmp_path / "cut", replace(TINY, steps=2), resume=True).model
    assert "head.frame" not in result.tensors
    assert len(result.tensors["head.v"]) == 128
    run(data, tmp_path / "new", stop=lambda: True)
    result = run(data, tmp_path / "new", replace(TINY, steps=2), resume=True).model
    assert result.tensors["head.frame"].shape == (512, 128)


def test_checkpoints_are_judged_on_all_people_however_many_photos_the_first_has(data):
    known, _ = data
    rows = np.concatenate([np.repeat(np.flatnonzero(known.people == 0)[:1], 200), np.arange(len(known))])
    crowd = Faces(known.crops, known.rows[rows], known.people[rows], known.names, [known.keys[i] for i in rows])
    model = Siamese("compact", 80)
    assert 0 < training.validate(model, crowd, most=60)["accuracy"] <= 1
    single = np.unique(known.people, return_index=True)[1]
    with pytest.raises(DataError, match="two photos"):
        training.validate(model, known.select(single))


def test_a_checkpoint_of_other_data_is_refused(data, tmp_path):
    run(data, tmp_path, stop=lambda: True)
    known, (choosing, calibrating) = data
    with pytest.raises(DataError, match="other photos"):
        run((choosing, (known, calibrating)), tmp_path, resume=True)
    with pytest.raises(DataError, match="other people kept apart"):
        run((known, (calibrating, choosing)), tmp_path, resume=True)
    np.savez(tmp_path / "t.npz", key=np.array(known.keys), one=np.random.default_rng(0).normal(size=(len(known), 128)))
    with pytest.raises(DataError, match="other photos without names and teachers; give the same"):
        run(data, tmp_path, resume=True, teachers=Teachers(tmp_path / "t.npz"), unlabelled=choosing)


def judged_by(monkeypatch, score):
    """Networks are judged by `score` of the network and the side it saw."""
    zero = dict.fromkeys(("accuracy", "tar_at_1e-3", "cosine_tar_at_1e-3", "auc"), 0.0)
    monkeypatch.setattr(
        training, "validate", lambda model, faces, side=None: {**zero, "score": float(score(model, side))}
    )


@pytest.mark.parametrize("change", [1.0, -1.0])
def test_the_head_is_trained_again_at_the_end_where_that_is_better(data, tmp_path, monkeypatch, change):
    asked = []

    def other_head(best, faces, choosing, people, seed):
        asked.append((faces, choosing, people, best.tensors["head.beta"]))
        return replace(
            best, tensors={**best.tensors, "head.beta": np.asarray(best.tensors["head.beta"] + np.float32(change))}
        )

    monkeypatch.setattr(training, "with_new_head", other_head)
    judged_by(monkeypatch, lambda model, side: model.head.beta)
    run(data, tmp_path, replace(TINY, steps=2, head_people=8))
    [(faces, choosing, people, before)] = asked
    assert faces is data[0]
    assert choosing is data[1][0]
    assert people == 8
    assert weights(tmp_path / "m.safetensors")["head.beta"] == before + max(change, 0)


def test_what_was_best_on_smaller_crops_is_not_kept(data, tmp_path, monkeypatch):
    judged_by(monkeypatch, lambda model, side: {64: 2.0, 80: 1.0}[side])
    result = run(data, tmp_path, replace(TINY, steps=8, sizes=((0, 64), (0.5, 80))))
    sides = [row["side"] for row in csv.DictReader((tmp_path / "m.train" / "metrics.csv").open())]
    assert sides == ["64", "80"]
    assert (result.best["step"], result.best["side"]) == (8, 80)


@pytest.mark.parametrize(
    ("scores", "kept"), [((0.9, 0.897, 0.894), 8), ((0.9, 0.892, 0.898), 12), ((0.5, 0.6, 0.7), 12)]
)
def test_the_later_of_two_nearly_equal_checkpoints_is_kept(data, tmp_path, monkeypatch, scores, kept):
    left = iter(scores)
    judged_by(monkeypatch, lambda model, side: next(left))
    assert run(data, tmp_path, replace(TINY, sizes=((0.0, 80),))).best["step"] == kept


def test_resume_with_other_options_is_refused_and_they_are_named(data, tmp_path):
    first = run(data, tmp_path / "first", replace(TINY, steps=2)).model
    run(data, tmp_path / "cut", init=first.path, stop=lambda: True)
    changes = {
        "--seed": {"seed": 1},
        "--rate": {"rate": 0.5},
        "--size": {"sizes": ((0, 96),)},
        "--arch": {"arch": "koch"},
    }
    for option, change in changes.items():
        with pytest.raises(DataError, match=f"another {option};"):
            run(data, tmp_path / "cut", replace(TINY, **change), init=first.path, resume=True)
    (tmp_path / "second").mkdir()
    second = replace(
        first, tensors={**first.tensors, "encoder.project.bias": first.tensors["encoder.project.bias"] + 1}
    )
    second.save(tmp_path / "second" / "m.safetensors")
    with pytest.raises(DataError, match="another --init;"):
        run(data, tmp_path / "cut", init=second.path, resume=True)


def test_a_recipe_of_another_version_is_an_error():
    stored = asdict(TINY)
    assert Recipe.from_json(json.loads(json.dumps(stored))) == replace(TINY)
    for other in ({**stored, "unlabelled_share": 1.0}, {}, {**stored, "sizes": [5]}):
        with pytest.raises(DataError, match="another version"):
            Recipe.from_json(other)


def test_a_device_that_is_not_there_is_an_error():
    for name in ("cuda:x", "tpu", "cuda:77"):
        with pytest.raises(DataError, match="no device"):
            pick_device(name)
    assert pick_device("auto").type in ("cuda", "cpu")


def test_a_broken_checkpoint_is_an_error_not_a_traceback(data, tmp_path):
    run(data, tmp_path, stop=lambda: True)
    path = tmp_path / "m.train" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="delete it"):
        run(data, tmp_path, resume=True)


def test_koch_trains_on_random_pairs_and_has_no_graph(data, tmp_path):
    recipe = replace(RECIPES["koch"], people=2, photos=2, steps=2, validations=1)
    result = run(data, tmp_path, recipe)
    assert result.model is not None
    assert not result.model.branches
    with pytest.raises(ModelError, match="no inference graph"):
        read_model(tmp_path / "m.safetensors").need_graphs()


def test_half_of_kochs_pairs_are_the_same_person(data):
    known, _ = data
    recipe = replace(RECIPES["koch"], people=8, photos=4, steps=2)
    trainer = Trainer(recipe, known, None, None, torch.device("cpu"), False)
    pairs = trainer.places(0)[0].reshape(-1, 2)
    same = known.people[pairs[:, 0]] == known.people[pairs[:, 1]]
    assert same.mean() == 0.5
    assert (pairs[:, 0] != pairs[:, 1]).all()


def test_a_taught_network_comes_near_its_teacher(data, tmp_path):
    known, _ = data
    rng = np.random.default_rng(0)
    of_person = rng.normal(size=(len(known.names), 192))
    vectors = of_person[known.people] + 0.1 * rng.normal(size=(len(known), 192))
    np.savez(tmp_path / "t.npz", key=np.array(known.keys), teacher=vectors, teacher_norm=np.ones(len(known)))
    seen = []
    run(
        data,
        tmp_path,
        replace(TINY, people=8, photos=4, steps=30),
        teachers=Teachers(tmp_path / "t.npz"),
        on_event=lambda e: seen.append(e["loss"]) if e["event"] == "step" else None,
    )
    assert np.mean(seen[-3:]) < 0.75 * np.mean(seen[:3])


def test_teachers_targets_are_unit_vectors_that_keep_the_teachers_similarities(tmp_path):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(60, 8))
    keys = [f"p{i}/0" for i in range(60)]
    np.savez(tmp_path / "t.npz", key=np.array(keys), one=vectors[:, :4], two=vectors[:, 4:])
    targets = Teachers(tmp_path / "t.npz").targets([*keys, "stranger/0"], 8)
    assert np.isnan(targets[-1]).all()
    np.testing.assert_allclose(np.linalg.norm(targets[:-1], axis=1), 1, atol=1e-5)

    def centred(x):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        x = x - x.mean(0)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    joined = np.concatenate([centred(vectors[:, :4]), centred(vectors[:, 4:])], 1)
    joined = joined - joined.mean(0)
    joined /= np.linalg.norm(joined, axis=1, keepdims=True)
    np.testing.assert_allclose(targets[:-1] @ targets[:-1].T, joined @ joined.T, atol=1e-4)


def test_teachers_of_other_data_are_refused(tmp_path):
    np.savez(tmp_path / "t.npz", key=np.array(["a/1"]), one=np.ones((1, 200)))
    with pytest.raises(DataError, match=r"other data.* NAME/PHOTO without suffix"):
        Teachers(tmp_path / "t.npz").targets(["b/1", "c/1"], 128)
    good = (tmp_path / "t.npz").read_bytes()
    np.save(tmp_path / "plain.npy", np.ones((2, 3)))
    np.savez(tmp_path / "nan.npz", key=np.array(["a/1"]), one=np.full((1, 200), np.nan))
    contents = [
        b"PK nonsense",
        b"",
        good[:-40],
        (tmp_path / "plain.npy").read_bytes(),
        (tmp_path / "nan.npz").read_bytes(),
    ]
    for content in contents:
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(DataError, match="no file of teachers"):
            Teachers(tmp_path / "broken.npz")


def test_augmentation_repeats_with_its_generator_and_keeps_shape_and_range():
    canvas = torch.randint(0, 256, (16, 3, 128, 128), dtype=torch.uint8)
    a, b, c = (augment(canvas, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.shape == (16, 3, 112, 112)
    assert float(a.min()) >= 0
    assert float(a.max()) <= 255


def test_only_the_share_asked_for_varies_in_light_and_detail():
    canvas = torch.full((400, 3, 128, 128), 90, dtype=torch.uint8)
    changed = [
        float(
            (augment(canvas, torch.Generator().manual_seed(4), 48, 1.0, varied) - 90)
            .abs()
            .amax((1, 2, 3))
            .gt(1e-3)
            .float()
            .mean()
        )
        for varied in (0.0, 0.25, 1.0)
    ]
    assert changed[0] == 0
    assert 0.18 < changed[1] < 0.32
    assert changed[2] > 0.95


def test_crops_are_gentle_at_the_end_of_a_taught_run_only():
    taught = replace(recipe_for("compact", True, "cpu"), steps=100)
    assert [taught.variation(step) for step in (0, 59, 60, 99)] == [(1.0, 1.0)] * 2 + [(0.5, 0.25)] * 2
    alone = replace(recipe_for("compact", False, "cpu"), steps=100)
    assert {alone.variation(step) for step in range(100)} == {(1.0, 1.0)}


def test_crops_grow_to_the_side_asked_for_and_weights_keep_theirs():
    assert (
        recipe_for("compact", True, "cpu").sizes == recipe_for("compact", True, "cpu", 80).sizes == ((0, 64), (0.6, 80))
    )
    assert recipe_for("compact", True, "cpu", 112).sizes == ((0, 96), (0.6, 112))
    assert recipe_for("compact", True, "cpu", 32).sizes == ((0, 32), (0.6, 32))
    begun = recipe_for("compact", True, "cpu", 96, begun=True)
    assert begun.sizes == ((0, 96),)
    assert begun.gentle < recipe_for("compact", True, "cpu").gentle
    assert recipe_for("koch", False, "cpu", 96).sizes == ((0, 96),)
    assert recipe_for("koch", False, "cpu", 100).sizes == ((0, 100),), "it has no sizes that do not fit"
    for side in (16, 90, 128):
        with pytest.raises(DataError, match="32, 48, 64, 80, 96, 112"):
            recipe_for("compact", True, "cpu", side)
    for side in range(32, 113, 16):  # those offered are those that fit
        assert Siamese("compact", side).embed(torch.zeros(2, 3, side, side)).shape == (2, 128)


def test_augmentation_keeps_the_face_where_the_template_has_it():
    canvas = torch.zeros(64, 3, 128, 128, dtype=torch.uint8)
    canvas[:, :, 54:74, 54:74] = 255  # the middle: stays within jitter of the crop's middle
    out = augment(canvas, torch.Generator().manual_seed(3)).mean(1)
    bright = (out > out.amax((1, 2), keepdim=True) * 0.6).float()
    at = torch.arange(112.0)
    for axis in (1, 2):
        weight = bright.sum(3 - axis)
        centre = (weight * at).sum(1) / weight.sum(1).clamp(min=1)
        assert float((centre - 55.5).abs().median()) < 5


def test_orthogonalise_brings_singular_values_near_one():
    matrix = torch.randn(20, 60, generator=torch.Generator().manual_seed(1)) @ torch.diag(torch.linspace(0.5, 3, 60))
    for m in (matrix, matrix.T):
        values = torch.linalg.svdvals(orthogonalise(m))
        assert float(values.min()) > 0.5
        assert float(values.max()) < 1.3


def test_orthogonalise_is_newton_schulz_on_the_matrix_itself():
    generator = torch.Generator().manual_seed(2)
    for rank in (24, 3):  # gradients are often nearly of low rank
        matrix = torch.randn(24, rank, generator=generator) @ torch.randn(rank, 90, generator=generator)
        matrix = matrix + 1e-4 * torch.randn(24, 90, generator=generator)
        for m in (matrix, matrix.T):
            x = (m / m.norm()).double()
            for _ in range(5):
                x = 3.4445 * x - 4.7750 * x @ x.T @ x + 2.0315 * x @ x.T @ x @ x.T @ x
            assert float((orthogonalise(m) - x).abs().max()) < 5e-3


def test_the_rate_rises_falls_and_ends_near_zero():
    rates = [rate(step, 1000) for step in range(1000)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(1)
    assert rates[-1] < 0.01
    assert rates.index(max(rates)) <= 31
    assert rates[100:500] == [1.0] * 400, "level, so that a run can still be made longer"
    assert np.all(np.diff(rates[500:]) < 0)


def test_crops_grow_with_the_steps_and_a_stored_recipe_keeps_their_sizes():
    recipe = replace(RECIPES["compact"], steps=100, sizes=((0.0, 64), (0.4, 80), (0.8, 112)))
    assert [recipe.size(step) for step in (0, 39, 40, 79, 80, 99)] == [64, 64, 80, 80, 112, 112]
    assert recipe.final_size == 112
    assert Recipe.from_json(json.loads(json.dumps(asdict(recipe)))) == recipe


def test_the_average_follows_the_weights():
    model = torch.nn.Linear(1, 1, bias=False)
    average = Average(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(float(average.model.weight) + 1)
    before = float(average.model.weight)
    average.update(model, step=1000)
    assert float(average.model.weight) == pytest.approx(before + 0.5)


def test_an_unavailable_device_is_an_error():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DataError, match="cuda"):
        pick_device("cuda")
