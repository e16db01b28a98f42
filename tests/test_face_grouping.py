"""Tests of the figures that compare ways of grouping faces."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra dev)")

from scripts.benchmarks.face_grouping import alone, score


def test_figures_of_a_grouping_worked_out_by_hand():
    found = score(np.array([0, 0, 0, 1, 1, 2]), np.array([7, 7, 8, 8, 8, 9]))
    assert found.precision == pytest.approx(14 / 18)
    assert found.recall == pytest.approx(14 / 18)
    assert found.f.value == pytest.approx(14 / 18)
    assert (found.pair_precision, found.pair_recall) == (0.5, 0.5)
    assert found.impure == 0.5
    assert found.placed == pytest.approx(5 / 6)
    assert found.answers == 3
    low, high = found.f.interval
    assert low < found.f.value < high


def test_figures_over_people_with_several_photos_leave_out_the_others():
    found = score(np.array([0, 0, 1]), np.array([0, 0, 1]), least=2)
    assert (found.precision, found.recall, found.placed) == (1, 1, 1)
    assert score(np.array([0, 1, 0]), np.array([0, 0, 1]), least=2).recall == 0.5


def test_faces_without_a_group_are_alone():
    assert alone(np.array([-1, 5, -1, 5])).tolist() == [1, 0, 2, 0]
