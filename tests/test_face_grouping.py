"""Tests of the figures that compare ways of grouping faces."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra dev)")

from scripts.benchmarks.face_grouping import alone, score


def test_figures_of_a_grouping_worked_out_by_hand():
    found = score(np.array([0, 0, 0, 1, 1, 2]), np.array([7, 7, 8, 8, 8, 9]))
    values = [figure.value for figure in found.figures]
    assert values == pytest.approx([14 / 18, 14 / 18, 14 / 18, 1 / 2, 1 / 2, 1 / 2, 5 / 6])
    assert found.answers == 3
    for figure in found.figures:
        low, high = figure.interval
        assert low <= figure.value <= high
        assert figure.people == 3
    assert found.recall.interval == pytest.approx((5 / 9, 1))  # of one person's faces, or of another's, drawn thrice


def test_figures_over_people_with_several_photos_leave_out_the_others():
    found = score(np.array([0, 0, 1]), np.array([0, 0, 1]), least=2)
    assert [figure.value for figure in found.figures] == [1, 1, 1, 1, 1, 0, 1]
    assert found.precision.people == 1
    found = score(np.array([0, 0, 1, 1, 2, 3]), np.array([0, 0, 0, 1, 2, 3]), least=2)  # the second group holds a guest
    values = [figure.value for figure in found.figures]
    assert values == pytest.approx([2 / 3, 5 / 6, 5 / 9, 2 / 3, 1 / 3, 1 / 3, 1])


def test_faces_without_a_group_are_alone():
    assert alone(np.array([-1, 5, -1, 5])).tolist() == [1, 0, 2, 0]
