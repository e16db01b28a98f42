"""`facedex train` as a user meets it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from facedex.cli.training_data import TrainingData
from facedex.cli.training_progress import TrainingProgress
from facedex.cli.training_runs import stop_after_step
from facedex.model.encoder import open_encoder
from facedex.model.foreign import foreign_model
from facedex.model.head import Head
from facedex.model.modelfile import read_model
from tests.helpers import grid_graph
from tests.synthetic import person_crop, write_pack

POINTS = ["30", "46", "66", "46", "48", "62", "33", "80", "63", "80"]


def facedex(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "facedex", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        **options,
    )


def test_the_error_without_the_extra_says_what_to_install(tmp_path):
    code = """
import sys
sys.modules["torch"] = None
from facedex.cli import main
sys.argv[1:] = ["train", "x", "-o", "m.safetensors", "--from-scratch"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "facedex[train]" in done.stderr
    assert "Traceback" not in done.stderr


torch = pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("onnx", reason="needs the extra train")

from facedex.training import train as training  # noqa: E402
from facedex.training.recipe import recipe_for  # noqa: E402


@pytest.mark.slow
def test_a_pack_becomes_a_model_that_enrolls_and_says_what_it_learnt_from(tmp_path):
    pack = write_pack(tmp_path / "people.tar", 12, 3)
    model = tmp_path / "models" / "m.safetensors"
    done = facedex("train", pack, "-o", model, "--from-scratch", "--aligned", "--steps", 2, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    file = read_model(model)
    assert file.meta["data"]["people"] + file.meta["data"]["validation_people"] <= 12
    assert [path.name for path in model.parent.iterdir() if path.is_file()] == ["m.safetensors"]
    assert "accuracy" in done.stderr
    assert done.stdout == ""
    assert file.size == 80
    further = ["train", pack, "--from-scratch", "--aligned", "--steps", 1, "--device", "cpu", "--init", model]
    for options, side in (([], 80), (["--size", 48], 48)):
        assert facedex(*further, *options, "-o", tmp_path / "further.safetensors").returncode == 0
        further_on = read_model(tmp_path / "further.safetensors")
        assert further_on.size == side
        assert further_on.meta["recipe"]["sizes"] == [[0.0, side]]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_saves_and_resume_finishes(tmp_path):
    pack = write_pack(tmp_path / "people.tar", 12, 3)
    arguments = ["train", str(pack), "-o", str(tmp_path / "m.safetensors"), "--from-scratch", "--aligned"]
    arguments += ["--steps", "6"]
    process = subprocess.Popen(
        [sys.executable, "-m", "facedex", *arguments], stderr=subprocess.PIPE, encoding="utf-8", cwd=tmp_path
    )
    assert process.stderr is not None
    assert any("steps on" in line for line in process.stderr)  # reads up to the line that says training began
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "m.safetensors").exists()
    done = facedex(*arguments, "--resume")
    assert done.returncode == 0
    assert (tmp_path / "m.safetensors").exists()


def test_ctrl_c_waits_for_a_step_where_steps_are_taken_and_else_ends_at_once(capsys):
    def press():
        signal.raise_signal(signal.SIGINT)

    display = TrainingProgress(Console(quiet=True))
    with stop_after_step(display), pytest.raises(KeyboardInterrupt):
        press()  # nothing is there to be saved
    facts = {"steps": 2, "photos": 9, "people": 3, "device": "cpu", "bf16": False}
    display.on_event({"event": "start", "step": 0, **facts})
    with stop_after_step(display) as stop:
        assert not stop()
        press()
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            press()
    assert "saving the state after this step" in capsys.readouterr().err
    for event in ({"event": "saved", "step": 2}, {"event": "start", "step": 2, **facts}):
        display.on_event(event)
        with stop_after_step(display), pytest.raises(KeyboardInterrupt):
            press()
        notice = capsys.readouterr().err
        assert "every step is taken and saved" in notice
        assert "after this step" not in notice


@pytest.mark.slow
def test_a_run_of_another_size_is_resumed_without_naming_it(tmp_path):
    """As one begun on CUDA, where the network sees larger crops, on a CPU."""
    pack, output = write_pack(tmp_path / "people.tar", 12, 3), tmp_path / "m.safetensors"
    work = output.with_suffix(".train")
    known, *held = TrainingData([pack], [], work, True, None).split()
    recipe = replace(recipe_for("compact", False, "cuda"), steps=2, people=4, photos=2)
    training.train(recipe, known, tuple(held), output, work=work, device="cpu", stop=lambda: True)
    options = ["--from-scratch", "--aligned", "--device", "cpu", "--resume"]
    refused = facedex("train", pack, "-o", output, *options, "--size", 80)
    assert refused.returncode == 2
    assert "another --size" in refused.stderr
    done = facedex("train", pack, "-o", output, *options)
    assert done.returncode == 0, done.stderr
    assert read_model(output).size == 96


def test_it_says_how_many_corrections_are_of_these_people(tmp_path, capsys):
    pack, table = write_pack(tmp_path / "people.tar", 4, 2), tmp_path / "corrections.csv"
    held = write_pack(tmp_path / "held.tar", 2, 2, first=6)

    def corrections_notice(*keys):
        table.write_text("key,person\n" + "".join(f"{key},\n" for key in keys))
        data = TrainingData([pack], [held], tmp_path / "cache", True, table)
        data.people()
        data.say_corrections()
        return capsys.readouterr().err

    notice = corrections_notice("person001", "person002/01", "person006/00", "elsewhere")
    assert notice == f"3 of 4 rows of {table} are of these people\n"
    notice = corrections_notice("elsewhere")
    assert "0 of 1 row of" in notice
    assert "NAME/PHOTO without suffix" in notice


def test_the_help_says_what_options_do():
    help_text = " ".join(facedex("train", "--help").stdout.split())
    for words in (
        "from scratch 80 (on CUDA 96, koch 112), with --init the size of that model",
        "Same seed, data, machine and --steps: same weights",
        "key (NAME, or NAME/PHOTO without suffix) and person",
        "key (NAME/PHOTO without suffix), and (n, d) arrays",
    ):
        assert words in help_text
    for arch, device, side in (("compact", "cpu", 80), ("compact", "cuda", 96), ("koch", "cuda", 112)):
        assert recipe_for(arch, False, device).final_size == side


def test_bad_arguments_are_one_line_each(tmp_path):
    folder = tmp_path / "people"
    (folder / "Ann").mkdir(parents=True)
    (folder / "Ann" / "notes.txt").write_text("no photo")
    model, taken = tmp_path / "m.safetensors", tmp_path / "taken.safetensors"
    taken.mkdir()
    pack = write_pack(tmp_path / "people.tar", 12, 3)
    grid, known = tmp_path / "grid.onnx", tmp_path / "teachers.npz"
    grid.write_bytes(grid_graph())
    keys = [f"person{person:03d}/{photo:02d}" for person in range(12) for photo in range(3)]
    np.savez(known, key=keys, teacher=np.eye(len(keys), 200))
    for arguments, words in (
        (["train", tmp_path / "nowhere", "-o", model], "does not exist"),
        (["train", folder, "-o", model], "no usable photo"),
        (["train", folder, "-o", tmp_path / "m.pt"], ".safetensors"),
        (["train", folder, "-o", model, "--arch", "vgg"], "compact"),
        (["train", folder, "-o", model, "--from-scratch", "--unlabelled", folder], "--teachers"),
        (["train", folder, "-o", model, "--from-scratch", "--size", "90"], "96, 112"),
        (["train", folder, "-o", model, "--size", "96"], "leave out --size"),
        (["train", folder, "-o", model, "--mean", "127.5"], "go with --encoder"),
        (["train", folder, "-o", model, "--bgr"], "go with --encoder"),
        (["train", folder, "-o", model, "--from-scratch", "--force"], "leave out --force"),
        (["train", folder, "-o", model, "--minutes", "inf"], "inf is not a number"),
        (["train", pack, "-o", taken, "--aligned"], "is a folder"),
        (["train", pack, "-o", pack / "m.safetensors", "--aligned"], "give another place"),
        (["train", pack, "-o", model, "--aligned", "--validation", pack], "Everybody in --validation"),
        (["train", folder, "-o", model, "--encoder", tmp_path / "no.onnx"], "no.onnx"),
        (["train", folder, "-o", model, "--encoder", tmp_path / "no.onnx", "--from-scratch"], "as it is"),
        (["train", folder, "-o", model, "--encoder", grid, "--mean", "a"], "--mean"),
        (["train", folder, "-o", model, "--encoder", grid, "--points", "1,2"], "--points takes ten numbers"),
        (["train", folder, "-o", model, "--encoder", grid, "--size", "64"], "64 x 64"),
        (["train", folder, "-o", model, "--points", "1,2"], "go with --encoder"),
        (["train", folder, "-o", model, "--minutes", "5"], "stay as they are"),
        (["train", folder, "-o", model, "--init", "fast", "--device", "cpu"], "stay as they are"),
        (["train", folder, "-o", model, "--init", "nosuch"], "one of: default or fast"),
        (["train", pack, "-o", model, "--aligned", "--from-scratch", "--init", "fast"], "leave out --init"),
        (["train", pack, "-o", model, "--aligned", "--teachers", known, "--init", "fast", "--size", "96"], "its input"),
        (["train", pack, "-o", model, "--aligned", "--teachers", known, "--init", "default"], "one network"),
    ):
        done = facedex(*arguments)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_few_people_of_ones_own_change_the_calibration_alone(tmp_path):
    pack = write_pack(tmp_path / "people.tar", 12, 3)
    done = facedex("train", pack, "-o", tmp_path / "m.safetensors", "--aligned", "--force")
    assert done.returncode == 0, done.stderr
    assert "only the calibration" in done.stderr
    assert "before" in done.stderr
    before, after = read_model("default"), read_model(tmp_path / "m.safetensors")
    assert before.fingerprint == after.fingerprint
    assert before.head_fingerprint == after.head_fingerprint
    old, new = before.meta["calibration"], after.meta["calibration"]
    assert (old["slope"], old["offset"]) != (new["slope"], new["offset"])
    assert {k: v for k, v in old.items() if k not in ("slope", "offset")} == {
        k: v for k, v in new.items() if k not in ("slope", "offset")
    }


def test_people_enough_fit_projection_and_head_of_a_model_that_ships_by_its_name(tmp_path):
    pack, model = write_pack(tmp_path / "people.tar", 44, 3), tmp_path / "m.safetensors"
    done = facedex("train", pack, "-o", model, "--aligned", "--force", "--init", "fast", "--steps", 5)
    assert done.returncode == 0, done.stderr
    assert "projection and head fitted, started from" in done.stderr
    assert "people kept out" in done.stderr
    file = read_model(model)
    assert file.branches == read_model("fast").branches
    assert file.meta["tuned"]["held_out_people"] >= 4
    assert not model.with_suffix(".train").joinpath("checkpoint.safetensors").exists()


def test_a_head_for_an_encoder_from_elsewhere_makes_a_model_like_any_other(tmp_path):
    pack, model, foreign = write_pack(tmp_path / "people.tar", 30, 3), tmp_path / "m.safetensors", tmp_path / "e.onnx"
    foreign.write_bytes(grid_graph(24, side=96))
    shown = [
        "--size",
        96,
        "--mean",
        "100,110,120",
        "--scale",
        "0.01",
        "--bgr",
        "--mirrored",
        "--points",
        ",".join(POINTS),
    ]
    arguments = ["train", pack, "-o", model, "--aligned", "--encoder", foreign, *shown, "--steps", 20]
    done = facedex(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"{model}: projection and head fitted, started from {foreign}" in done.stderr
    file = read_model(model)
    points = tuple(zip(map(float, POINTS[::2]), map(float, POINTS[1::2]), strict=True))
    ours = foreign_model(foreign, 96, (100, 110, 120), 0.01, False, True, points)
    assert file.fingerprint == ours.fingerprint
    assert file.mirrored
    assert file.branches[0].points == points
    crops = np.stack([person_crop(i, 0, 112) for i in range(3)])
    for a, b in zip(open_encoder(file).encode(crops), open_encoder(ours).encode(crops), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    head = Head.from_file(file)
    assert head.weight.shape == (21 * 24,)
    assert (head.weight > 0).all()
    assert head.frame.shape == (21 * 24, 24)
    assert file.meta["calibration"]["people"] >= 4
    for option in (["--minutes", "3"], ["--resume"], ["--force"], ["--rate", "2"], ["--device", "cpu"]):
        ignored = facedex(*arguments, *option)
        assert ignored.returncode == 2
        assert "leave out --resume, --force, --minutes" in ignored.stderr
    assert (
        facedex("train", pack, "-o", model, "--aligned", "--encoder", foreign, "--size", 96, "--steps", 2).returncode
        == 0
    )
    assert read_model(model).fingerprint != file.fingerprint, "other preprocessing, other embeddings"


def test_mirror_images_are_for_encoders_from_elsewhere(tmp_path):
    done = facedex("train", tmp_path, "-o", tmp_path / "m.safetensors", "--mirrored")
    assert done.returncode == 2
    assert "--encoder" in done.stderr


def test_too_few_people_is_an_error_that_says_how_many_are_needed(tmp_path):
    pack = write_pack(tmp_path / "people.tar", 3, 2)
    done = facedex("train", pack, "-o", tmp_path / "m.safetensors", "--from-scratch", "--aligned")
    assert done.returncode == 2
    assert "at least 10" in done.stderr


def test_synthetic_people_differ_and_resemble_themselves():
    a, again, b = (person_crop(*key).astype(float) for key in ((1, 0), (1, 1), (2, 0)))
    assert abs(a - again).mean() < abs(a - b).mean()


def test_scripts_are_listed_in_their_readme():
    scripts = Path(__file__).parent.parent / "scripts"
    for folder in (scripts, scripts / "benchmarks", scripts / "fetching"):
        listed = (folder / "README.md").read_text("utf-8")
        modules = [path.name for path in folder.iterdir() if path.suffix in (".py", ".sh") and path.name[0] != "_"]
        assert modules
        assert all(f"`{name}`" in listed for name in modules)


@pytest.mark.slow
def test_raw_photos_are_detected_aligned_and_cached_once(shared, tmp_path):
    import shutil

    people = [folder for folder in sorted((shared / "lfw" / "images").iterdir()) if len(list(folder.iterdir())) > 1]
    for folder in people[:12]:
        shutil.copytree(folder, tmp_path / "people" / folder.name)
    (tmp_path / "people" / people[0].name / "broken.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    model = tmp_path / "m.safetensors"
    done = facedex("train", tmp_path / "people", "-o", model, "--from-scratch", "--steps", 1, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stderr
    assert "broken.jpg" in done.stderr
    again = facedex("train", tmp_path / "people", "-o", model, "--from-scratch", "--steps", 1, "--device", "cpu")
    assert again.returncode == 0
    assert "broken.jpg" not in again.stderr
