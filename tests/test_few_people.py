"""The experiment draws whom it says, judges on others, and goes on where it stopped."""

import json

import numpy as np
import pytest

from facedex.data.dataset import load_faces
from facedex.errors import FacedexError
from facedex.model.modelfile import read_model
from facedex.training import frozen
from scripts.benchmarks import few_people
from tests.synthetic import write_pack


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    return load_faces(write_pack(folder / "people.tar", 44, 4), folder / "cache", aligned=True)


def test_training_and_judging_use_different_people(faces):
    held, others = few_people.hold_back(faces)
    learnt, judged = few_people.draw(faces, others, 8, 0)
    sets = [set(held.names), set(learnt.names), set(judged.names)]
    assert [len(one) for one in sets] == [24, 8, 12]
    assert len(set.union(*sets)) == 44
    assert set(np.bincount(learnt.people)) <= {3, 4}
    assert len(judged) == 48
    again, other = few_people.draw(faces, others, 8, 0)[0], few_people.draw(faces, others, 8, 1)[0]
    assert again.keys == learnt.keys != other.keys
    with pytest.raises(FacedexError, match="add people"):
        few_people.draw(faces, others, 17, 0)


def test_finished_measurements_are_kept_and_not_repeated(tmp_path, monkeypatch, capsys):
    pack, calls = write_pack(tmp_path / "people.tar", 6, 3), []

    def measured(start, faces, people, number, work):
        calls.append((people, number))
        if len(calls) == 4:
            raise FacedexError("cut off")
        return {
            **few_people.shared_fields(start, faces),
            "people": people,
            "draw": number,
            "photos": 9,
            "figure": "TAR",
            "judged_people": 3,
            "before": 0.5,
            "after": 0.51 - 0.02 * number,
            "low": 0,
            "high": 0,
            "seconds": 1.0,
        }

    monkeypatch.setattr(few_people, "measure", measured)
    command = [str(pack), "--out", str(tmp_path / "out"), "--aligned", "--people", "5,10", "--draws", "2"]
    with pytest.raises(FacedexError, match="cut off"):
        few_people.main(command)
    assert calls == [(5, 0), (10, 0), (5, 1), (10, 1)]
    results = tmp_path / "out" / "results.jsonl"
    assert len(results.read_text().splitlines()) == 3
    with open(results, "a") as file:
        file.write('{"model": "another", "people": 10, "draw": 1, "before": 0.1}\n')
        file.write('{"people": 10, "dr\n')
    few_people.main(command)
    assert calls[4:] == [(10, 1)]
    assert [json.loads(line)["draw"] for line in results.read_text().splitlines()[5:]] == [1]
    printed = capsys.readouterr().out
    assert "| 5 | 2 | 9 | 50.00% | 50.00% | +1.00, -1.00 | 1 of 2 |" in printed
    other = [*command, "--model", "fast", "--people", "5", "--draws", "1"]
    few_people.main(other)
    assert calls[5:] == [(5, 0)], "rows of another model are others"
    few_people.main(other)
    assert len(calls) == 6


def test_a_row_measures_the_fitted_model_on_unseen_people(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "STEPS", 10)
    row = few_people.measure(read_model("fast"), faces, 6, 0, tmp_path)
    assert row["people"] == 6
    assert row["judged_people"] == 14
    assert row["figure"].startswith("TAR@FAR")
    assert 0 <= row["before"] <= 1
    assert 0 <= row["after"] <= 1
    assert row["low"] <= row["high"]
    assert (tmp_path / "tuned.safetensors").exists(), "even where it got worse"
