"""The faces of each step of training, which can be drawn again."""

import numpy as np
import pytest

from facedex.errors import DataError
from facedex.training.sampler import PKSampler


def population(paired=20, photos=6, singles=0):
    return np.concatenate([np.repeat(np.arange(paired), photos), np.arange(paired, paired + singles)])


def test_batch_is_p_people_of_k_photos_each():
    people = population()
    for step in range(20):
        batch = PKSampler(people, p=8, k=4, seed=1).batch(step)
        assert len(set(batch.tolist())) == 32
        assert sorted(np.bincount(people[batch])[np.unique(people[batch])]) == [4] * 8


def test_same_step_is_the_same_batch_whatever_came_before():
    one, other = (PKSampler(population(singles=9), 8, 4, seed=1) for _ in range(2))
    steps = {step: one.batch(step) for step in range(10)}
    for step in (7, 2, 7, 9):
        assert np.array_equal(other.batch(step), steps[step])


def test_steps_and_seeds_differ():
    sampler = PKSampler(population(), 8, 4, seed=1)
    assert not np.array_equal(sampler.batch(0), sampler.batch(1))
    assert not np.array_equal(sampler.batch(0), PKSampler(population(), 8, 4, seed=2).batch(0))


@pytest.mark.parametrize("singles", [0, 3, 8, 500])
def test_people_of_one_photo_fill_a_quarter_at_the_most(singles):
    people = population(singles=singles)
    for step in range(10):
        batch = PKSampler(people, p=8, k=4, seed=1).batch(step)
        alone = batch[people[batch] >= 20]
        assert len(batch) == 32
        assert len(alone) == len(set(alone.tolist())) == min(8, singles)


def test_everybody_is_drawn_in_time():
    people = population(singles=12)
    sampler = PKSampler(people, p=8, k=4, seed=1)
    seen = {int(i) for step in range(100) for i in sampler.batch(step)}
    assert seen == set(range(len(people)))


def test_small_album_fills_the_batch_all_the_same():
    people = population(paired=2, photos=3, singles=1)
    batch = PKSampler(people, p=8, k=4, seed=1).batch(0)
    assert len(batch) == 32
    assert set(people[batch].tolist()) == {0, 1, 2}


def test_numbers_that_nobody_has_do_no_harm():
    people = np.array([3, 3, 7, 7, 7, 9])
    batch = PKSampler(people, p=2, k=2, seed=1).batch(0)
    assert len(batch) == 4
    assert set(people[batch].tolist()) <= {3, 7, 9}


def test_nobody_with_two_photos_is_a_data_error():
    with pytest.raises(DataError, match="two photos"):
        PKSampler(np.arange(10), 4, 2, seed=1)


def test_pairs_are_of_one_person_or_of_two():
    people = population(paired=5, photos=2, singles=5)
    sampler, rng = PKSampler(people, 4, 2, seed=1), np.random.default_rng(18)
    for _ in range(200):
        a, b = sampler._same_pair(rng)
        assert a != b
        assert people[a] == people[b]
        a, b = sampler._different_pair(rng)
        assert people[a] != people[b]
