"""The ladder adds one thing a rung, ends at the recipe of the model that ships, and keeps what it has climbed."""

import sys
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest

from tests.helpers import save_face
from tests.synthetic import write_pack

pytest.importorskip("torch", reason="needs the extra train")


from facedex.training import train as train_module
from facedex.training.recipe import RECIPES, recipe_for
from scripts.benchmarks import training_ladder


def test_the_ladder_goes_from_the_network_of_2015_to_the_recipe_that_ships():
    rungs = training_ladder.ladder()
    assert rungs[1].recipe == RECIPES["koch"]
    assert rungs[-1].recipe == recipe_for("compact", True, "cpu")
    assert rungs[-1].taught
    assert rungs[-1].unlabelled
    assert len({(str(rung.recipe), rung.taught, rung.unlabelled) for rung in rungs}) == len(rungs)
    for below, rung in pairwise(rungs[2:]):
        changed = {name for name, value in asdict(rung.recipe).items() if value != getattr(below.recipe, name)}
        assert len(changed) <= 3, (rung.name, changed)


def test_a_rung_is_trained_measured_and_not_trained_again(tmp_path, monkeypatch, capsys):
    tiny = [
        replace(rung, recipe=replace(rung.recipe, people=4, photos=2, validations=1))
        for rung in training_ladder.ladder()
    ]
    monkeypatch.setattr(training_ladder, "ladder", lambda: tiny)
    monkeypatch.setattr(train_module, "steps_in", lambda *_: 2)  # timing the steps would take most of the test
    names = [f"face_{i}" for i in range(10)]
    for i, name in enumerate(names):
        (tmp_path / "images" / name).mkdir(parents=True)
        for photo in (1, 2):
            save_face(tmp_path / "images" / name / f"{name}_000{photo}.jpg", i if photo == 1 else (i + 1) % 10)
    rows = (
        ["5"]
        + [f"{n}\t1\t2" for n in names[:5]]
        + [f"{a}\t1\t{b}\t2" for a, b in zip(names[:5], names[5:], strict=True)]
    )
    (tmp_path / "pairs.txt").write_text("\n".join(rows) + "\n")
    train, held = write_pack(tmp_path / "train.tar", 8, 2), write_pack(tmp_path / "held.tar", 20, 2, first=50)
    command = [
        "training_ladder.py",
        str(train),
        "--validation",
        str(held),
        "--pairs",
        str(tmp_path / "pairs.txt"),
        "--images",
        str(tmp_path / "images"),
        "--out",
        str(tmp_path / "out"),
        "--rungs",
        "1,4",
        "--minutes",
        ".1",
    ]
    monkeypatch.setattr(sys, "argv", command)
    training_ladder.main()
    printed = capsys.readouterr().out
    assert "| 1. the network of 2015, faces not aligned | 2 |" in printed
    assert "| 4. + all pairs of a batch | 2 |" in printed

    monkeypatch.setattr(training_ladder, "train", None)
    training_ladder.main()
    assert capsys.readouterr().out.splitlines()[-1] == printed.splitlines()[-1]
    tiny[3] = replace(tiny[3], recipe=replace(tiny[3].recipe, weight_decay=0.5))
    with pytest.raises(SystemExit):
        training_ladder.main()
    assert "rung-04-0.1min.safetensors was trained by another recipe" in capsys.readouterr().err


@pytest.mark.parametrize("rungs", ["12", "0", "1,x", ""])
def test_rungs_that_the_ladder_does_not_have_are_refused(monkeypatch, capsys, rungs):
    files = ["data", "--validation", "held", "--pairs", "pairs", "--images", "images"]
    monkeypatch.setattr(sys, "argv", ["training_ladder.py", *files, "--rungs", rungs])
    with pytest.raises(SystemExit) as ended:
        training_ladder.main()
    assert ended.value.code == 2
    assert "give whole numbers of 1 to 11" in capsys.readouterr().err


def test_faces_that_were_never_aligned_are_always_the_same(tmp_path):
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    moved = training_ladder.unaligned(crops)
    assert moved.shape == crops.shape
    assert (moved == training_ladder.unaligned(crops[::-1])[::-1]).all()
    assert (moved != crops).any()
