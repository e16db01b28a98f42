"""How rarely a right photo resembles its person's others as little as a wrong one."""

import itertools
import math

import numpy as np
import pytest

from facedex.decision.calibration import Calibration
from facedex.decision.misfit import own_below
from facedex.decision.posterior import Normal, Scores
from facedex.decision.tail import Tail, over_probes

TAIL = Tail(-2.0, 0.1, 0.6, 0.05, 0.2, 1.7, 0.05, 1.7, 0.2)


def right_share(score, mean=3.0, sd=1.0):
    return 0.5 * math.erfc((mean - score) / (sd * math.sqrt(2)))


def with_wrong_labels(share):
    """A calibration whose genuine scores are normal, but for a share of wrong labels that score as strangers do."""
    strangers = Normal(share, -2.0, 0.75)
    return Scores(1, (Normal(1 - share, 3.0, 1.0), strangers), TAIL)


@pytest.mark.parametrize("wrong", [0.0, 0.005, 0.03])
def test_wrong_labels_of_the_calibration_do_not_make_a_wrong_photo_look_usual(wrong):
    scores = with_wrong_labels(wrong)
    for score in (-0.2, 0.5, 1.5, 3.0):
        assert own_below(scores, score) == pytest.approx(right_share(score), abs=0.15 * wrong + 1e-4)
    if wrong:
        assert scores.genuine_below(-0.2) > 5 * own_below(scores, -0.2)


def test_the_share_rises_with_the_score_and_is_a_share():
    scores = with_wrong_labels(0.01)
    shares = [own_below(scores, score) for score in np.linspace(-6, 8, 60)]
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1, abs=1e-3)
    assert all(later >= earlier for earlier, later in itertools.pairwise(shares))


def test_every_photo_of_a_person_may_be_the_odd_one_but_two_are_one_comparison():
    calibration = Calibration(1.0, 0.0, (with_wrong_labels(0.0),), (), 100, 500)
    one = own_below(calibration.scores[0], 0.5)
    assert calibration.misfit_rate(0.5, 2) == pytest.approx(one)
    assert calibration.misfit_rate(0.5, 7) == pytest.approx(7 * one)
    assert calibration.misfit_rate(9.0, 7) == 1


def test_strangers_score_lower_than_the_rate_of_one_in_a_hundred_asks_for():
    """The calibrations that ship find nine wrong photos in ten among three, five and ten, by their own numbers."""
    from facedex.model.modelfile import read_model

    for name in ("default", "fast"):
        calibration = Calibration.from_meta(read_model(name).meta)
        for photos in (3, 5, 10):
            grid = np.linspace(-3, 3, 200)
            least = grid[[calibration.misfit_rate(score, photos) > 0.01 for score in grid].index(True)]
            level = calibration.scores[min(2, photos // 3)]
            assert 1 - over_probes(level.impostor.survival(least)) > 0.9, (name, photos)
