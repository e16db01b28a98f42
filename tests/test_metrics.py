"""Error rates against the same counted longhand."""

import itertools

import numpy as np
import pytest

from facedex.evaluation.metrics import auc, best_accuracy, pair_scores, tar_at_far, threshold_at_fmr

RATES = [0, 0.001, 0.05, 0.1, 0.25, 0.5, 0.9, 1]


def small_scores():
    """Many pairs of short score lists: continuous, with ties, and all the same."""
    rng = np.random.default_rng(9)
    for _ in range(60):
        sizes = rng.integers(1, 12, 2)
        yield tuple(rng.normal(size=size) for size in sizes)
        yield tuple(rng.integers(0, 4, size).astype(np.float64) for size in sizes)
        yield tuple(rng.integers(0, 4, size).astype(np.float32) for size in sizes)
    yield np.ones(3), np.ones(4)


def candidates(*scores):
    """Every threshold that decides differently: each score itself, and one above them all."""
    values = sorted({float(score) for score in np.concatenate(scores)})
    return [*values, values[-1] + 1]


def balanced(genuine, impostor, threshold):
    return ((genuine >= threshold).mean() + (impostor < threshold).mean()) / 2


@pytest.mark.parametrize("rate", RATES)
def test_threshold_lets_at_most_the_stated_share_of_impostors_through(rate):
    for _, impostor in small_scores():
        assert (impostor >= threshold_at_fmr(impostor, rate)).mean() <= rate


@pytest.mark.parametrize("rate", RATES)
def test_no_lower_threshold_would_do(rate):
    for _, impostor in small_scores():
        threshold = threshold_at_fmr(impostor, rate)
        lower = np.nextafter(np.asarray(threshold, impostor.dtype), -np.inf, dtype=impostor.dtype)
        assert rate == 1 or (impostor >= lower).mean() > rate


@pytest.mark.parametrize("rate", RATES)
def test_tar_is_the_best_share_of_genuine_pairs_at_that_rate(rate):
    for genuine, impostor in small_scores():
        allowed = [t for t in candidates(genuine, impostor) if (impostor >= t).mean() <= rate]
        assert tar_at_far(genuine, impostor, rate) == max((genuine >= t).mean() for t in allowed)


def test_tar_of_separated_scores_is_one_and_of_reversed_scores_nought():
    low, high = np.arange(10.0), np.arange(20.0, 30)
    assert tar_at_far(high, low, 0.001) == 1
    assert tar_at_far(low, high, 0.001) == 0


def test_best_accuracy_is_the_best_of_all_thresholds():
    for genuine, impostor in small_scores():
        accuracy, threshold = best_accuracy(genuine, impostor)
        assert accuracy == pytest.approx(max(balanced(genuine, impostor, t) for t in candidates(genuine, impostor)))
        assert balanced(genuine, impostor, threshold) == pytest.approx(accuracy)


def test_best_accuracy_weighs_both_kinds_the_same_however_many_there_are():
    accuracy, _ = best_accuracy(np.array([1.0, 3.0]), np.array([0.0] * 500 + [2.0] * 500))
    assert accuracy == pytest.approx(0.75)


def test_auc_is_the_share_of_pairs_in_order_ties_counting_half():
    for genuine, impostor in small_scores():
        wins = [(g > i) + 0.5 * (g == i) for g, i in itertools.product(genuine, impostor)]
        assert auc(genuine, impostor) == pytest.approx(np.mean(wins))


def test_pair_scores_are_every_pair_once():
    rng = np.random.default_rng(10)
    for n in range(2, 9):
        matrix, people = rng.normal(size=(n, n)), rng.integers(0, 3, n)
        pairs = list(itertools.combinations(range(n), 2))
        genuine, impostor = pair_scores(matrix, people)
        assert genuine.tolist() == [matrix[i, j] for i, j in pairs if people[i] == people[j]]
        assert impostor.tolist() == [matrix[i, j] for i, j in pairs if people[i] != people[j]]
