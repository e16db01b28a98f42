"""Figures of scored pairs against metrics.py and against the same counted longhand; intervals that cover the truth."""

import numpy as np
import pytest

from facedex.evaluation import bootstrap, error_rates, metrics
from facedex.evaluation.allpairs import all_pairs
from facedex.evaluation.bootstrap import Figure, difference, people_weights
from facedex.evaluation.comparison import mcnemar
from facedex.evaluation.error_rates import Sample
from facedex.evaluation.matchers import Matcher
from tests.helpers import calibration, unit

FARS = (0.2, 0.05, 0.01)
COSINE = Matcher("cosine", "f", None)
CALIBRATION = calibration(slope=3.0, offset=-0.5)


def scores(rng, ties):
    """Genuine and impostor scores, highest first; with ties, both in quarters."""
    genuine, impostor = rng.normal(1, 1, rng.integers(1, 40)), rng.normal(0, 1, rng.integers(1, 60))
    if ties:
        genuine, impostor = np.round(4 * genuine) / 4, np.round(4 * impostor) / 4
    return -np.sort(-genuine), -np.sort(-impostor)


def people_set(seed, people=40, photos=5, dim=12, noise=1.2):
    """(vectors, people): embeddings round a centre of each person's own."""
    centre = unit(people, dim, seed)
    index = np.repeat(np.arange(people), photos)
    vectors = centre[index] + noise * np.random.default_rng([seed, 1]).normal(size=(len(index), dim)) / np.sqrt(dim)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), index


def crossing(genuine, impostor):
    """The equal error rate: over all thresholds, between the two where FNMR overtakes FMR."""
    before = None
    for threshold in sorted({*genuine, *impostor}):
        fnmr, fmr = (genuine < threshold).mean(), (impostor >= threshold).mean()
        if fnmr >= fmr:
            if before is None:
                return (fnmr + fmr) / 2
            share = (before[1] - before[0]) / ((before[1] - before[0]) + (fnmr - fmr))
            return before[1] + share * (fmr - before[1])
        before = fnmr, fmr
    return sum(before) / 2


@pytest.mark.parametrize("ties", [False, True])
def test_weights_count_as_so_many_pairs(ties):
    """A weight of three is the pair three times over; with ones everywhere the figures are those of metrics.py."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        genuine, impostor = scores(rng, ties)
        sample = Sample(genuine, impostor, FARS, CALIBRATION)
        drawn = [rng.integers(0, 4, len(one)) for one in (genuine, impostor)]
        for weights in ([np.ones(len(genuine)), np.ones(len(impostor))], drawn):
            if not all(weight.any() for weight in weights):
                continue
            found = sample.figures(*weights)
            g, i = (
                np.repeat(one, weight.astype(int)) for one, weight in zip((genuine, impostor), weights, strict=True)
            )
            assert found["tar"][:3] == pytest.approx([metrics.tar_at_far(g, i, far) for far in FARS])
            assert found["auc"] == pytest.approx(metrics.auc(g, i))
            if weights is not drawn:  # a threshold nobody was drawn at stays on the grid, and may be crossed at
                assert found["eer"] == pytest.approx(crossing(g, i))
            likely = [CALIBRATION.similarity(one) for one in (g, i)]
            assert found["p50"] == pytest.approx(((likely[0] > 0.5).mean() + (likely[1] <= 0.5).mean()) / 2)
            ece = 0.0
            for low in np.arange(10) / 10:
                inside = [(one >= low) & (one < low + 0.1) for one in likely]
                was = inside[0].mean() / 2
                said = sum((one * within).mean() for one, within in zip(likely, inside, strict=True)) / 2
                ece += abs(was - said)
            assert found["ece"] == pytest.approx(ece, abs=1e-9)
            assert found["weight"].sum() == pytest.approx(1)


def test_the_figures_are_of_every_pair():
    vectors, people = people_set(1)
    genuine, impostor = metrics.pair_scores(vectors @ vectors.T, people)
    found = error_rates.measure_error_rates(
        all_pairs(COSINE, vectors, people), people_weights(40, 0, 50), (0.01, 0.001), CALIBRATION
    )
    for far in (0.01, 0.001):
        assert found.figures["tar", f"{far:g}"].value == metrics.tar_at_far(genuine, impostor, far)
    assert found.figures["auc", ""].value == pytest.approx(metrics.auc(genuine, impostor), abs=1e-5)
    likely = CALIBRATION.similarity(genuine), CALIBRATION.similarity(impostor)
    assert found.figures["p50", ""].value == pytest.approx(
        ((likely[0] > 0.5).mean() + (likely[1] <= 0.5).mean()) / 2, abs=1e-4
    )
    assert set(found.figures) == {("tar", "0.01"), ("tar", "0.001"), ("eer", ""), ("auc", ""), ("p50", ""), ("ece", "")}


def test_a_rate_that_needs_more_pairs_is_not_stated():
    vectors, people = people_set(2, 10, 3)  # 405 impostor pairs
    found = error_rates.measure_error_rates(all_pairs(COSINE, vectors, people), people_weights(10, 0, 50))
    assert np.isnan(found.figures["tar", "0.01"].value)  # 4 pairs would lie above it
    assert np.isnan(found.figures["tar", "1e-05"].value)
    assert np.isnan(found.figures["tar", "1e-05"].interval).all()
    assert found.reliability is None
    assert ("ece", "") not in found.figures


def test_replicates_of_a_sample_of_pairs_agree_with_all_pairs(monkeypatch):
    vectors, people = people_set(4, 60, 6)
    pairs, weights = all_pairs(COSINE, vectors, people), people_weights(60, 0, 200)
    whole = error_rates.measure_error_rates(pairs, weights, (0.01, 0.001), CALIBRATION)
    monkeypatch.setattr(error_rates, "_TOP", 400)
    monkeypatch.setattr(error_rates, "_SOME", 1500)
    monkeypatch.setattr(error_rates, "_BODY", 20_000)
    thin = error_rates.measure_error_rates(pairs, weights, (0.01, 0.001), CALIBRATION)
    for key, figure in whole.figures.items():
        other = thin.figures[key]
        assert other.value == figure.value
        assert np.abs(other.draws - figure.draws).mean() < 0.4 * figure.draws.std(), key


def test_people_are_drawn_with_replacement_and_the_same_again():
    weights = people_weights(30, 7, 400)
    assert weights.shape == (400, 30)
    assert (weights.sum(1) == 30).all()
    assert (weights == people_weights(30, 7, 400)).all()
    assert (weights != people_weights(30, 8, 400)).any()
    assert weights.var() == pytest.approx(29 / 30, rel=0.1)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Eighty samples of 30 people each, from one world; the truth is that of 600 people of it."""
    truth = error_rates.measure_error_rates(
        all_pairs(COSINE, *people_set(999, 600, 4)), people_weights(600, 0, 2), (0.01,)
    )
    covered = dict.fromkeys(truth.figures, 0)
    for seed in range(80):
        found = error_rates.measure_error_rates(
            all_pairs(COSINE, *people_set(seed, 30, 4)), people_weights(30, seed, 100), (0.01,)
        )
        for key, figure in found.figures.items():
            low, high = figure.interval
            covered[key] += low <= truth.figures[key].value <= high
    assert all(times >= 68 for times in covered.values()), covered  # 95 % of 80 is 76
    assert min(covered.values()) < 80, covered


def test_where_nobody_fails_the_interval_is_not_a_point():
    low, high = Figure(1.0, np.ones(100), people=50).interval
    assert high == 1
    assert low == pytest.approx(1 - 0.0711, abs=1e-3)
    assert Figure(0.0, np.zeros(100), people=50).interval == pytest.approx((0, 1 - low))
    assert Figure(0.3, np.full(100, 0.3), people=50).interval == (0.3, 0.3)
    assert np.isnan(Figure(float("nan"), np.empty(0)).interval).all()


def test_a_difference_is_taken_replicate_by_replicate():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.05, 1000)
    better, worse = Figure(0.81, 0.81 + shared), Figure(0.8, 0.8 + shared + rng.normal(0, 0.001, 1000))
    apart, p = difference(better, worse)
    assert apart.value == pytest.approx(0.01)
    assert apart.interval[0] > 0
    assert p == pytest.approx(2 / 1001)
    apart, p = difference(worse, better)
    assert apart.interval[1] < 0
    assert p == pytest.approx(2 / 1001)
    assert difference(better, better)[1] == 1
    assert difference(better, better)[0].value == 0
    noise = Figure(0.8, 0.8 + rng.normal(0, 0.05, 1000))
    assert difference(better, noise)[1] > 0.3


def test_mcnemar_is_the_binomials_tail():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(5, 0) == mcnemar(0, 5)
    assert mcnemar(2, 10) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert 0 < mcnemar(1000, 1600) < 1e-30
    assert mcnemar(40_000, 40_100) == pytest.approx(0.726, abs=0.002)


def test_replicates_are_a_thousand():
    assert bootstrap.REPLICATES == 1000
    assert len(people_weights(3, 0)) == 1000
