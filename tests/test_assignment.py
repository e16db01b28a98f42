"""Faces to people, nobody twice: always the best there is, by comparison with trying everything."""

import itertools

import numpy as np
import pytest

from facedex.decision.assignment import assign


def best_of_all(gains):
    """The largest sum any allowed naming has, by trying them all."""
    return max(
        sum(options[name] for name, options in zip(names, gains, strict=True) if name is not None)
        for names in itertools.product(*[[None, *options] for options in gains])
        if len({name for name in names if name}) == sum(name is not None for name in names)
    )


@pytest.mark.parametrize("seed", range(8))
def test_the_assignment_has_the_greatest_total_gain(seed):
    rng = np.random.default_rng(seed)
    for _ in range(100):
        people = "abcde"[: rng.integers(1, 6)]
        gains = [
            {name: float(rng.random()) for name in people if rng.random() < 0.7} for _ in range(rng.integers(0, 6))
        ]
        found = assign(gains)
        given = [name for name in found if name is not None]
        assert len(set(given)) == len(given)
        assert all(name is None or name in options for name, options in zip(found, gains, strict=True))
        reached = sum(options[name] for name, options in zip(found, gains, strict=True) if name is not None)
        assert reached == pytest.approx(best_of_all(gains))


def test_a_face_that_loses_a_name_gets_its_next_name_or_none():
    assert assign([{"Ada": 2.0}, {"Ada": 1.0, "Bob": 0.5}]) == ["Ada", "Bob"]
    assert assign([{"Ada": 1.0}, {"Ada": 2.0}]) == [None, "Ada"]
    assert assign([{"Ada": 2.0, "Bob": 1.9}, {"Ada": 1.8}]) == ["Bob", "Ada"]  # together 3.7, not 2.0


def test_faces_without_candidates_get_no_name():
    assert assign([]) == []
    assert assign([{}, {}]) == [None, None]
    assert assign([{"Ada": 0.0}, {}]) == ["Ada", None]


def test_a_crowd_is_quick():
    rng = np.random.default_rng(9)
    gains = [{f"p{i}": float(rng.random()) for i in rng.integers(0, 60, 10)} for _ in range(150)]
    found = [name for name in assign(gains) if name is not None]
    assert len(found) == len(set(found)) == 60
