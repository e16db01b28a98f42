"""Fine-tuning: close to where it started, judged on people kept out, never worse without being told to."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("onnx", reason="needs the extra train")

from facedex.data.dataset import load_faces  # noqa: E402
from facedex.decision.calibration import Calibration  # noqa: E402
from facedex.errors import DataError  # noqa: E402
from facedex.model.encoder import open_encoder  # noqa: E402
from facedex.model.modelfile import read_model  # noqa: E402
from facedex.training import judging, tuning  # noqa: E402
from facedex.training.judging import Judgement  # noqa: E402
from facedex.training.siamese import Siamese, to_file  # noqa: E402
from facedex.training.tuning import tune  # noqa: E402
from tests.helpers import own_model, own_network  # noqa: E402
from tests.synthetic import write_pack  # noqa: E402


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    return load_faces(write_pack(folder / "people.tar", 44, 3), folder / "cache", aligned=True)


def test_who_is_kept_apart_does_not_depend_on_the_seed(faces, start, tmp_path, monkeypatch):
    seen = []

    def train(recipe, known, validation, *a, **k):
        seen.append([part.keys for part in (known, *validation)])
        return tuning_result(start)

    monkeypatch.setattr(tuning, "train", train)
    monkeypatch.setattr(judging, "judged", lambda *a: Judgement("TAR", 10, 0.5, 0.4, -0.2, 0.0))
    for seed in (0, 1):
        tune(start, faces, tmp_path / "m.safetensors", work=tmp_path / "work", seed=seed)
    assert seen[0] == seen[1]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A network whose head weighs its numbers at random, so that there is something to be learnt."""
    network = own_network()
    torch.nn.init.normal_(network.head.v, -3.0, 3.0, generator=torch.Generator().manual_seed(2))
    path = tmp_path_factory.mktemp("model") / "start.safetensors"
    own_model(path, network)
    return read_model(path)


@pytest.mark.slow
def test_enough_people_tune_the_network_and_the_report_is_of_people_kept_out(faces, start, tmp_path):
    tuned = tune(
        start, faces, tmp_path / "m.safetensors", work=tmp_path / "work", steps=20, rate=10, force=True, device="cpu"
    )
    assert tuned.kind == "network"
    assert tuned.model is not None
    assert tuned.judgement is not None
    written = read_model(tmp_path / "m.safetensors")
    assert written.meta["tuned"]["held_out_people"] == tuned.judgement.people >= 4
    assert written.meta["tuned"]["people"] + tuned.judgement.people < 44
    assert written.meta["init"] == start.fingerprint
    crops = faces.crops112(slice(0, 30))
    a, b = (open_encoder(model).encode(crops)[0] for model in (start, written))
    assert float((a * b).sum(1).mean()) > 0.8, "it stays near what it was"
    for name, tensor in start.tensors.items():
        if "running" in name:
            np.testing.assert_array_equal(written.tensors[name], tensor, err_msg=name)
    assert (written.tensors["encoder.norm.weight"] != start.tensors["encoder.norm.weight"]).any()
    old, new = (Calibration.from_meta(model.meta) for model in (start, written))
    assert (new.people, new.faces) == (old.people, old.faces), "so few people bring no tail of their own"
    assert old.unclear != new.unclear
    before, after = old.scores[0].impostor, new.scores[0].impostor
    assert (before.start, before.share, before.rate, before.bend) == (after.start, after.share, after.rate, after.bend)
    # But the scores are the new model's; where no step was better than none, that is the old one.
    changed = any((start.tensors[name] != tensor).any() for name, tensor in written.tensors.items())
    assert ((before.location, before.scale) != (after.location, after.scale)) == changed


def test_a_worse_network_is_not_written_unless_forced(faces, start, tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "judged", lambda *a: Judgement("TAR", 10, 0.5, 0.4, -0.2, 0.0))
    monkeypatch.setattr(tuning, "train", lambda *a, **k: tuning_result(start))
    for force in (False, True):
        tuned = tune(start, faces, tmp_path / "m.safetensors", work=tmp_path / "work", force=force)
        assert (tuned.model is not None) == (tmp_path / "m.safetensors").exists() == force
        assert tuned.judgement is not None
        assert tuned.judgement.worse


def test_resume_repeats_a_failed_ending_without_another_step(faces, start, tmp_path):
    output, events = tmp_path / "m.safetensors", []
    state = tmp_path / "work" / "checkpoint.safetensors"

    def tuned(**options):
        return tune(start, faces, output, work=state.parent, steps=1, force=True, device="cpu", **options)

    output.mkdir()
    with pytest.raises(IsADirectoryError):
        tuned()
    assert state.exists()
    assert not any(output.iterdir())
    output.rmdir()
    assert tuned(resume=True, on_event=events.append).model is not None
    assert output.exists()
    assert [event["step"] for event in events] == [1], "it is at the last step, and takes none"
    assert not state.exists()


def test_a_run_that_was_judged_is_over(faces, start, tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "judged", lambda *a: Judgement("TAR", 10, 0.5, 0.4, -0.2, 0.0))
    worse = tune(start, faces, tmp_path / "m.safetensors", work=tmp_path / "work", steps=1, device="cpu")
    assert worse.model is None
    assert (tmp_path / "work" / tuning.CANDIDATE).exists()
    assert not (tmp_path / "work" / "checkpoint.safetensors").exists()


def test_the_network_of_2015_is_refused_before_anything_is_fitted(faces, start, tmp_path):
    koch = to_file(Siamese("koch"), {"calibration": start.meta["calibration"]})
    koch.save(tmp_path / "koch.safetensors")
    few = faces.select(np.flatnonzero(faces.people < 8))
    for people in (faces, few):
        with pytest.raises(DataError, match=r"koch\.safetensors is a 'koch'.* --arch koch"):
            tune(koch, people, tmp_path / "m.safetensors", work=tmp_path / "work")


def test_people_who_cannot_tell_two_models_apart_are_refused_before_the_work(faces, start, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "train", lambda *a, **k: pytest.fail("it trained"))
    held = load_faces(write_pack(tmp_path / "held.tar", 12, 2, first=60), tmp_path / "cache", aligned=True)
    with pytest.raises(DataError, match="too few photos to tell two models apart"):
        tune(start, faces, tmp_path / "m.safetensors", work=tmp_path / "work", held=held, force=True)


def tuning_result(start):
    from facedex.training.train import TrainingResult

    return TrainingResult(start, 1, {}, 0.0)


def test_a_fit_to_few_people_is_judged_on_the_held_out_set_where_there_is_one(faces, start, tmp_path):
    few, held = (faces.select(np.flatnonzero(np.isin(faces.people, chosen))) for chosen in (range(8), range(20, 36)))
    by_turns = tune(start, few, tmp_path / "a.safetensors", work=tmp_path / "work", force=True)
    apart = tune(start, few, tmp_path / "b.safetensors", work=tmp_path / "work", held=held, force=True)
    assert (by_turns.judgement.people, apart.judgement.people) == (8, 16)
    assert by_turns.judgement.before != apart.judgement.before
    for one in (by_turns, apart):
        assert one.kind == "calibration"
        assert one.model.meta["tuned"]["people"] == 8
    assert by_turns.model.meta["calibration"] == apart.model.meta["calibration"], "fitted to the same people"


def test_a_frozen_encoder_is_not_tuned_nor_is_anything_without_photos(faces, start, tmp_path):
    with pytest.raises(DataError, match="'frozen', and only a 'compact'"):
        tune(read_model("fast"), faces, tmp_path / "m.safetensors", work=tmp_path / "work")
    with pytest.raises(DataError, match="No photo is left"):
        tune(start, faces.select(np.empty(0, np.int64)), tmp_path / "m.safetensors", work=tmp_path / "work")


def test_people_without_two_photos_are_an_error(start, tmp_path):
    singles = load_faces(write_pack(tmp_path / "people.tar", 0, 1, singles=6), tmp_path / "cache", aligned=True)
    with pytest.raises(DataError, match="too few people"):
        tune(start, singles, tmp_path / "m.safetensors", work=tmp_path / "work")
