"""Whether a model got better, on people kept out of everything else."""

from dataclasses import replace

import numpy as np
import pytest

from facedex.data.dataset import load_faces
from facedex.decision.calibration import Calibration
from facedex.errors import DataError
from facedex.evaluation.matchers import head_matcher
from facedex.model.encoder import GraphEncoder
from facedex.model.modelfile import read_model
from facedex.training import judging
from tests.synthetic import write_pack


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    return load_faces(write_pack(folder / "people.tar", 44, 3, singles=3), folder / "cache", aligned=True)


@pytest.fixture(scope="module")
def start():
    return read_model("fast")


@pytest.fixture(scope="module")
def vectors(faces, start):
    return GraphEncoder(start).encode(faces.crops112())[0]


def test_each_person_is_in_exactly_one_set(faces):
    for judged in (True, False):
        sets = judging.split(faces, None, judged)
        names = [set(part.names) for part in sets]
        assert set.union(*names) == set(faces.names)
        assert sum(map(len, names)) == len(faces.names)
        assert bool(names[3]) is judged
        assert len(names[0]) > len(faces.names) / 2
        for part in sets[1:]:
            assert (np.bincount(part.people) >= 2).all(), "whoever is kept out has a pair"


def test_a_named_held_out_set_leaves_all_other_people_for_learning(faces, tmp_path):
    held = load_faces(write_pack(tmp_path / "held.tar", 30, 2, first=60), tmp_path / "cache", aligned=True)
    known, *apart = judging.split(faces, held)
    assert known is faces
    assert set.union(*(set(part.names) for part in apart)) == set(held.names)


def test_enough_people_have_photos_enough(faces):
    assert judging.enough_people(faces)
    assert not judging.enough_people(faces, 45)
    assert not judging.enough_people(faces.select(np.flatnonzero(np.arange(len(faces)) % 3)), 20), "two photos are few"


def test_a_model_equals_itself_and_a_broken_one_is_worse(faces, start, vectors):
    matcher = head_matcher(start)
    was, again = (judging.tars(matcher, vectors, faces.people, 0) for _ in range(2))
    same = judging.judged(was, again, len(faces.names))
    assert same.before == same.after
    assert same.low == same.high == 0
    assert not same.worse
    assert same.people == 47
    broken = replace(start, tensors={**start.tensors, "head.v": start.tensors["head.v"] * 0 - 20.0})
    now = judging.tars(head_matcher(broken), vectors, faces.people, 0)
    worse = judging.judged(was, now, len(faces.names))
    assert worse.worse
    assert worse.low <= worse.after - worse.before <= worse.high < 0
    assert worse.facts()["held_out_people"] == 47
    assert worse.facts()["before"] == round(worse.before, 5)


def test_the_order_of_the_faces_changes_no_figure(faces, start, vectors):
    order = np.random.default_rng(0).permutation(len(vectors))
    matcher = head_matcher(start)
    one, other = (judging.tars(matcher, vectors[at], faces.people[at], 0) for at in (np.arange(len(vectors)), order))
    assert {far: figure.value for far, figure in one.items()} == {far: figure.value for far, figure in other.items()}


def test_people_who_cannot_tell_two_models_apart_are_an_error(faces, start, vectors):
    few = np.flatnonzero(faces.people < 2)
    with pytest.raises(DataError, match="too few photos to tell two models apart"):
        judging.tars(head_matcher(start), vectors[few], faces.people[few], 0)


def test_enough_people_get_a_tail_of_their_own_and_few_keep_the_old_tail(faces, start, vectors):
    from facedex.decision.calibration import fit_calibration

    matrix = head_matcher(start).matrix(vectors)
    fitted, old = fit_calibration(matrix, faces.people), Calibration.from_meta(start.meta)
    own, kept = (
        judging.with_own_tail_or_old(fitted, start, people, matrix, matrix, faces.people)
        for people in (judging.TAIL_PEOPLE, judging.TAIL_PEOPLE - 1)
    )
    assert own == fitted
    assert (kept.slope, kept.offset) == (fitted.slope, fitted.offset)
    assert (kept.people, kept.faces) == (old.people, old.faces) != (fitted.people, fitted.faces)
