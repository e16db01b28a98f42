"""Good photos against bad copies of other photos: which pairs count, and the table."""

import numpy as np
import pytest

from facedex.data.dataset import load_faces
from facedex.errors import DataError
from scripts.benchmarks import bad_probes
from tests.synthetic import write_pack


def test_a_photo_is_not_compared_with_its_own_bad_copy():
    people = np.array([0, 0, 1, 1])
    scores = np.where(people[:, None] == people, 0.5, 0.1) + np.diag(np.full(4, 9.0))
    assert bad_probes.tars(scores, people) == [1.0, 1.0]
    scores[0, 1] = scores[1, 0] = 0.0  # half of the genuine pairs are below every impostor
    assert bad_probes.tars(scores, people) == [0.5, 0.5]


def test_bad_copies_are_the_same_each_time_and_most_differ(tmp_path):
    faces = load_faces(write_pack(tmp_path / "people.tar", 10, 4), tmp_path / "cache", aligned=True)
    first, again, other = (bad_probes.made_bad(faces, 30, seed) for seed in (0, 0, 1))
    assert first.shape == (30, 112, 112, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    changed = np.abs(first.astype(int) - faces.crops112(slice(0, 30))).mean((1, 2, 3)) > 3
    assert changed.mean() > 0.4


def test_prints_both_scores_of_each_model(tmp_path, capsys, monkeypatch):
    pack = write_pack(tmp_path / "people.tar", 6, 3)
    monkeypatch.setattr("sys.argv", ["bad_probes", str(pack), "--photos", "12", "--model", "fast"])
    bad_probes.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| fast | head | ")
    assert lines[3].startswith("| fast | cosine | ")
    rates = [float(cell.split()[0]) for cell in lines[3].strip("| ").split(" | ")[2:]]
    assert all(0 <= rate <= 100 for rate in rates)
    assert rates[0] >= rates[2]  # bad photos are not recognised more often than good ones


def test_a_pack_without_two_photos_of_anybody_has_no_rates(tmp_path, monkeypatch):
    pack = write_pack(tmp_path / "people.tar", 6, 1)
    monkeypatch.setattr("sys.argv", ["bad_probes", str(pack), "--model", "fast"])
    with pytest.raises(DataError, match="two photos"):
        bad_probes.main()
