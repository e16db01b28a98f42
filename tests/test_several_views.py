"""Ways to look up several views of one face: which are compared, and the table."""

import numpy as np
import pytest

from facedex.errors import DataError
from facedex.model.head import Head
from scripts.benchmarks import several_views
from tests.helpers import PLAIN_HEAD, near, unit
from tests.synthetic import write_pack


def test_people_are_named_right_and_strangers_are_not():
    people = [np.stack([near(one, photo, 0.2) for photo in range(4)]) for one in unit(30, seed=1)]
    head = Head(**{"weight": PLAIN_HEAD["v"], "beta": PLAIN_HEAD["beta"]})
    logits = head.pairwise(people[0], np.concatenate(people))
    own, others = logits[:, :4].min(), logits[:, 4:].max()
    assert others < own
    random = np.random.default_rng(0)
    assert several_views.named(people, 10, 3, head, (own + others) / 2, random).tolist() == [[1.0, 0.0]] * 4
    everybody = several_views.named(people, 10, 3, head, -np.inf, random)
    assert everybody[:, 1].tolist() == [1.0] * 4
    nobody = several_views.named(people, 10, 3, head, np.inf, random)
    assert nobody.tolist() == [[0.0, 0.0]] * 4


def test_prints_a_row_for_each_way(tmp_path, capsys, monkeypatch):
    pack = write_pack(tmp_path / "people.tar", 8, 4)
    arguments = ["--enrolled", "3", "--views", "1,3", "--draws", "2", "--model", "fast"]
    monkeypatch.setattr("sys.argv", ["several_views", str(pack), *arguments])
    several_views.main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:3] for row in rows] == [["3", way, views] for views in "13" for way in several_views.WAYS]
    assert len({tuple(row[3:]) for row in rows[:4]}) == 1  # of one view all ways are alike


def test_too_few_people_are_refused(tmp_path, monkeypatch):
    pack = write_pack(tmp_path / "people.tar", 8, 2)
    monkeypatch.setattr("sys.argv", ["several_views", str(pack), "--model", "fast"])
    with pytest.raises(DataError, match="has 0 people with 6 photos"):
        several_views.main()
