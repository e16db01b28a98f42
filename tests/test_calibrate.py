"""Logits to answers: the fit finds what was put in, and the promised rate of false alarms is kept."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from facedex.calibrate import Calibration, fit, fit_tail, platt
from facedex.errors import DataError, ModelError

PLAIN = Calibration(0.8, -1.0, (1.0, 2.0, 3.5), 0.05, 2.0, 0.0, 100, 200)
BENT = replace(PLAIN, tail_bend=0.4)  # as of a Gaussian: the further out, the faster it falls


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


# pairs


def test_platt_recovers_a_known_logistic():
    rng = np.random.default_rng(11)
    x = rng.normal(2, 3, 200_000)
    same = rng.random(len(x)) < sigmoid(1.7 * x - 4)
    slope, offset = platt(x[same], x[~same])
    # As many impostor as genuine pairs are assumed: the odds move by the ratio there was.
    assert slope == pytest.approx(1.7, rel=0.03)
    assert offset == pytest.approx(-4 + np.log((~same).sum() / same.sum()), abs=0.1)


def test_platt_weighs_both_kinds_the_same_however_many_there_are():
    rng = np.random.default_rng(12)
    genuine, impostor = rng.normal(3, 1, 20_000), rng.normal(-1, 1, 20_000)
    few = platt(genuine[:2000], impostor)
    assert few == pytest.approx(platt(genuine, impostor), rel=0.1)
    assert platt(genuine, impostor) == pytest.approx((4, -4), rel=0.05)  # of two normals: exactly a logistic


def test_platt_of_separated_scores_is_finite():
    slope, offset = platt(np.array([5.0, 6.0]), np.array([-5.0, -6.0]))
    assert np.isfinite([slope, offset]).all()
    assert 0.5 < sigmoid(slope * 5 + offset) < 1


def test_platt_never_prefers_the_lower_score():
    rng = np.random.default_rng(13)
    genuine, impostor = rng.normal(90, 1, 500), rng.normal(110, 1, 500)
    slope, offset = platt(genuine, impostor)
    assert slope > 0
    assert sigmoid(slope * 100 + offset) == pytest.approx(0.5, abs=0.05)  # it can tell nothing


def test_platt_of_one_score_is_undecided():
    slope, offset = platt(np.full(10, 3.0), np.full(10, 3.0))
    assert sigmoid(slope * 3 + offset) == pytest.approx(0.5)


def test_similarity_is_the_logistic():
    logits = np.array([-3.0, 0.0, 1.25, 8.0])
    assert PLAIN.similarity(logits) == pytest.approx(sigmoid(0.8 * logits - 1))
    with np.errstate(over="raise", invalid="raise"):
        assert PLAIN.similarity(-1e6) == 0 and PLAIN.similarity(1e6) == 1


# the threshold


@pytest.mark.parametrize("calibration", [PLAIN, BENT], ids=["plain", "bent"])
@pytest.mark.parametrize("fpir", [0.001, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("size", [1, 20, 5000, 10_000_000])
def test_threshold_and_false_alarm_rate_are_inverse(calibration, size, fpir):
    threshold = calibration.threshold(size, fpir)
    assert calibration.false_alarm_rate(threshold, size) == pytest.approx(fpir, rel=1e-6)


def test_false_alarm_rate_of_one_tail_is_the_poisson_form():
    one = replace(PLAIN, tail_start=(2.0,))
    passes = 300 * 0.05 * np.exp(-(4.5 - 2) / 0.5)
    assert one.false_alarm_rate(4.5, 300) == pytest.approx(1 - np.exp(-passes))


def test_threshold_rises_with_the_gallery():
    thresholds = [PLAIN.threshold(size, 0.01) for size in (1, 2, 10, 1000, 100_000)]
    assert thresholds == sorted(set(thresholds))


def test_threshold_falls_as_more_false_alarms_are_allowed():
    thresholds = [PLAIN.threshold(1000, fpir) for fpir in (0.5, 0.1, 0.01, 0.001)]
    assert thresholds == sorted(set(thresholds))


def test_false_alarm_rate_falls_with_the_threshold_and_rises_with_the_gallery():
    falling = [BENT.false_alarm_rate(threshold, 100) for threshold in np.linspace(-5, 10, 30)]
    rising = [BENT.false_alarm_rate(5, size) for size in (0, 1, 10, 1000)]
    assert falling == sorted(falling, reverse=True) and 0 <= falling[-1] < falling[0] <= 1
    assert rising[0] == 0 and rising == sorted(set(rising))


def test_nobody_passes_where_nobody_is_enrolled():
    assert PLAIN.threshold(0, 0.01) == float("inf")


@pytest.mark.parametrize("fpir", [0, 1, -0.1, 1.5])
def test_rate_outside_nought_and_one_is_refused(fpir):
    with pytest.raises(ValueError, match="between 0 and 1"):
        PLAIN.threshold(100, fpir)


# the tail


@pytest.mark.parametrize(("rate", "bend"), [(2.0, 0.0), (1.5, 0.8), (0.3, 2.0)])
def test_tail_recovers_its_rate_and_bend(rate, bend):
    surviving = -np.log(1 - np.random.default_rng(21).random(100_000))  # rate e + bend e^2, solved for e
    excess = 2 * surviving / (rate + np.sqrt(rate**2 + 4 * bend * surviving))
    assert fit_tail(excess) == pytest.approx((rate, bend), abs=0.06)


@pytest.mark.parametrize("excess", [np.zeros(5), np.array([1.0]), np.array([0.0, 0, 0, 9])])
def test_tail_of_few_scores_still_falls(excess):
    rate, bend = fit_tail(excess)
    assert 0 < rate < np.inf and 0 <= bend < np.inf


# simulated strangers: each probe resembles everybody a little more or less than the next one does


@cache
def simulated(tail, spread, people=400):
    """A calibration fitted on two faces of each person."""
    rng = np.random.default_rng(14)
    who = np.repeat(np.arange(people), 2)
    matrix = rng.normal(0, spread, (len(who), 1)) + tail(rng, (len(who), len(who)))
    matrix[who[:, None] == who[None]] += 12
    return fit(matrix, who)


def realised(calibration, tail, spread, size, fpir, probes=3000):
    """The share of strangers' probes whose best of `size` enrolled passes the threshold for `fpir`."""
    rng = np.random.default_rng(15)
    threshold = calibration.threshold(size, fpir)
    offsets = rng.normal(0, spread, probes)
    return np.mean([offset + tail(rng, size).max() > threshold for offset in offsets])


def exponential(rng, shape):
    return rng.standard_exponential(shape)


def gaussian(rng, shape):
    return rng.standard_normal(shape)


@pytest.mark.parametrize("size", [20, 200, 2000])
@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("tail", [exponential, gaussian])
def test_realised_rate_of_false_alarms_is_near_the_target(tail, spread, size):
    calibration = simulated(tail, spread)
    for fpir, factor in ((0.1, 1.35), (0.02, 1.6)):
        assert fpir / factor < realised(calibration, tail, spread, size, fpir) < fpir * factor


def test_probes_that_differ_need_a_higher_threshold_than_their_pooled_scores_do():
    """What a single tail for all probes would get wrong."""
    apart = simulated(exponential, spread=1.5)
    pooled = replace(apart, tail_start=(float(np.mean(apart.tail_start)),))
    assert apart.threshold(100, 0.01) > pooled.threshold(100, 0.01) + 1


def test_fit_counts_people_and_faces():
    calibration = simulated(gaussian, 0.5, people=40)
    assert (calibration.people, calibration.faces) == (40, 80)
    assert len(calibration.tail_start) == 64 and list(calibration.tail_start) == sorted(calibration.tail_start)


@pytest.mark.parametrize("people", [[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5]])
def test_too_few_people_or_no_pair_is_a_data_error(people):
    with pytest.raises(DataError, match="at least four people"):
        fit(np.zeros((6, 6)), np.array(people))


def test_smallest_possible_fit_still_calibrates():
    people = np.array([0, 0, 1, 2, 3])
    calibration = fit(np.random.default_rng(16).normal(size=(5, 5)), people)
    assert np.isfinite(calibration.threshold(10, 0.01))


# the posterior


def test_posterior_is_bayes_rule():
    logits = np.array([3.0, 1.0, -2.0])
    ratios = np.exp(0.8 * logits - 1)
    expected = 0.4 / 50 * ratios / (1 - 0.4 + 0.4 / 50 * ratios.sum())
    assert PLAIN.posterior(logits, size=50, prior=0.4) == pytest.approx(expected)


def test_posteriors_sum_to_less_than_one():
    rng = np.random.default_rng(17)
    for _ in range(100):
        logits = rng.normal(0, 8, rng.integers(1, 30))
        posterior = PLAIN.posterior(logits, size=1000, prior=0.5)
        assert (posterior > 0).all() and posterior.sum() < 1


def test_posterior_falls_with_the_gallery():
    tops = [PLAIN.posterior(np.array([6.0, 1.0]), size, 0.5)[0] for size in (2, 10, 1000, 10**6)]
    assert tops == sorted(set(tops), reverse=True)


def test_posterior_falls_when_another_candidate_comes_near():
    alone = PLAIN.posterior(np.array([9.0, -9.0]), 100, 0.5)[0]
    contested = PLAIN.posterior(np.array([9.0, 8.9]), 100, 0.5)[0]
    assert alone > 0.8 and contested < 0.5


def test_posterior_keeps_the_order_and_survives_extremes():
    with np.errstate(over="raise", invalid="raise"):
        assert PLAIN.posterior(np.array([2000.0, 1999.0, -2000.0]), 10, 0.5).tolist() == pytest.approx(
            [sigmoid(0.8), sigmoid(-0.8), 0]
        )
        assert PLAIN.posterior(np.array([-2000.0]), 10, 0.5) == pytest.approx([0])


def test_posterior_of_no_candidates_is_empty():
    assert PLAIN.posterior(np.empty(0), 0, 0.5).shape == (0,)


# in a model file


def test_calibration_survives_json():
    meta = json.loads(json.dumps({"calibration": PLAIN.to_meta()}))
    assert Calibration.from_meta(meta) == PLAIN


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"calibration": None},
        {"calibration": {"slope": 1.0}},
        {"calibration": {**PLAIN.to_meta(), "tail_start": ["x"]}},
        {"calibration": {**PLAIN.to_meta(), "later": 1}},
    ],
)
def test_model_without_a_calibration_is_a_model_error(meta):
    with pytest.raises(ModelError, match="calibration"):
        Calibration.from_meta(meta)
