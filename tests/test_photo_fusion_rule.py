"""Several photos, one score."""

import numpy as np
import pytest

from facedex.decision.fusion import fuse, fuse_people


def test_one_photo_is_its_own_score():
    assert fuse(np.array([[3.25]])) == pytest.approx([3.25])
    persons, scores, photos = fuse_people(np.array([1.0, 3.0, 2.0]), np.array([7, 5, 6]))
    assert (persons.tolist(), scores.tolist(), photos.tolist()) == ([5, 6, 7], [3, 2, 1], [1, 1, 1])


def test_the_fused_score_is_the_logarithm_of_the_mean_odds():
    logits = np.random.default_rng(1).normal(0, 3, (50, 6))
    fused = fuse(logits)
    assert fused == pytest.approx(np.log(np.exp(logits).mean(1)))
    assert (fused <= logits.max(1)).all()
    assert (fused >= logits.mean(1)).all()
    with np.errstate(over="raise"):
        assert fuse(np.array([2000.0, 2000.0])) == pytest.approx(2000)


def test_people_are_fused_each_from_their_own_photos_best_first():
    rng = np.random.default_rng(2)
    logits, people = rng.normal(0, 2, 400), rng.integers(0, 60, 400) * 3
    persons, scores, photos = fuse_people(logits, people)
    assert sorted(persons) == sorted(set(people))
    assert (np.diff(scores) <= 0).all()
    assert photos.sum() == 400
    for person, score, count in zip(persons, scores, photos, strict=True):
        mine = logits[people == person]
        assert len(mine) == count
        assert score == pytest.approx(fuse(mine))


def test_equals_come_in_the_order_of_their_numbers():
    assert fuse_people(np.zeros(4), np.array([9, 2, 5, 2]))[0].tolist() == [2, 5, 9]
