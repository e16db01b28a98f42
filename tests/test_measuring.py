"""The statistics of the scripts that README's tables come from, against what they should find by construction."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("torch", reason="needs the extra train")

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import bases
import fpir
import fusion
import quality
import recalibrate

from facedex.calibrate import Calibration, Scores
from facedex.tail import Tail

# Strangers' scores are normal about 0; the tail says so from 1.645 on, where S falls about as a normal one's does.
CALIBRATION = Calibration(
    1.0, -3.0, (Scores(1, 6.0, 1.0, Tail(0, 1e-3, 1, 1e-3, 0, 1.645, 0.05, 2.06, 0.32)),), (), 100, 200
)


@pytest.fixture(scope="module")
def scored():
    """Logits of 200 people with two photos each: 6 +- 1 for one person's, 0 +- 1 for two people's."""
    people = np.repeat(np.arange(200), 2)
    rng = np.random.default_rng(0)
    matrix = rng.normal(0, 1, (400, 400)) + 6 * (people[:, None] == people)
    return np.triu(matrix) + np.triu(matrix, 1).T, people


def percentages(text):
    return [float(part.strip(" %()")) for part in text.replace("(", "to ").split("to")]


def test_realised_rates_of_people_whose_scores_are_known(scored):
    matrix, people = scored
    rng = np.random.default_rng(1)
    threshold = CALIBRATION.threshold(50, 0.1)
    alarms, missed = fpir.realised(matrix, people, 50, 1, threshold, 100, rng)
    value, low, high = percentages(alarms)
    assert low < value < high and low < 10 < high and high - low < 8
    below = np.mean(matrix[np.arange(0, 400, 2), np.arange(1, 400, 2)] <= threshold)
    assert percentages(missed)[0] == pytest.approx(100 * below, abs=1)


def test_one_stranger_whom_everybody_resembles_widens_the_interval(scored):
    matrix, people = scored
    odd = matrix.copy()
    odd[people == 0] += 5 * (people != 0)
    narrow, wide = (
        percentages(fpir.realised(m, people, 50, 1, 3.5, 100, np.random.default_rng(1))[0]) for m in (matrix, odd)
    )
    assert wide[0] > narrow[0] and wide[2] - wide[1] > narrow[2] - narrow[1]


def test_verifys_rates(scored):
    matrix, people = scored
    console = Console(width=150, record=True, file=io.StringIO())
    fpir.verified(console, matrix, people, CALIBRATION)
    own = matrix[np.arange(0, 400, 2), np.arange(1, 400, 2)]
    lines = [line.split("│")[1:-1] for line in console.export_text().splitlines() if line.startswith("│")]
    for target, line in zip((1.0, 0.1, 0.01), lines, strict=True):
        value, low, high = percentages(line[2])
        assert low <= value <= high and value == pytest.approx(target, rel=0.5, abs=0.006)
        below = np.mean(own <= CALIBRATION.threshold(1, target / 100))
        assert percentages(line[3])[0] == pytest.approx(100 * below, abs=0.01)


def test_learned_weights_find_which_photo_tells():
    """Only the best of three logits tells anything: its weight is the largest, and nothing beats it alone."""
    rng = np.random.default_rng(2)
    right = rng.integers(0, 30, 400)
    scores = rng.normal(0, 1, (400, 30, 3))
    scores[np.arange(400), right, 0] += 5
    way = fusion.learned(scores, right)
    steps = way(np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]))
    first, second, third = np.diff(steps)
    assert first > 5 * abs(second) and first > 5 * abs(third)
    assert np.mean(way(scores).argmax(1) == right) > 0.9


def test_a_share_and_its_interval():
    owner = np.repeat(np.arange(100), 2)
    value, low, high = percentages(quality.spread(np.arange(200) % 10 == 0, owner))
    assert value == 10 and 4 < low < 8 and 12 < high < 17


def test_isotonic_regression_rises_and_keeps_the_mean():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=500)
    truth = (rng.random(500) < 1 / (1 + np.exp(-2 * scores))).astype(float)
    fitted = recalibrate.isotonic_regression(scores, truth, np.ones(500))
    rising = fitted(np.sort(scores))
    assert np.all(np.diff(rising) >= -1e-12) and rising[-1] - rising[0] > 0.8
    assert rising.mean() == pytest.approx(truth.mean(), abs=0.02)


def test_the_calibration_error_is_what_is_said_less_what_is():
    same, weight = np.arange(1000) % 4 == 0, np.full(1000, 1e-3)
    assert recalibrate.calibration_error(np.full(1000, 0.25), same, weight) == pytest.approx(0, abs=1e-9)
    assert recalibrate.calibration_error(np.full(1000, 0.9), same, weight) == pytest.approx(0.65)


def test_more_bases_bring_the_heads_rates_to_the_cosines(capsys):
    rng, people = np.random.default_rng(0), np.repeat(np.arange(150), 4)
    vectors = rng.standard_normal((150, 128))[people] + 1.35 * rng.standard_normal((600, 128))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    one = bases.by_bases(vectors, 1, 0)
    assert one[3, 5] == pytest.approx(-np.abs(vectors[3] - vectors[5]).sum(), rel=1e-4)
    cosine = bases.rates(vectors @ vectors.T, people)
    found = {
        count: np.mean([bases.rates(bases.by_bases(vectors, count, draw), people) for draw in range(3)], 0)
        for count in (1, 4)
    }
    assert 0.2 < cosine[1] < 0.98, "neither easy nor hopeless"
    assert found[1][1] < found[4][1] and abs(found[4][1] - cosine[1]) < 0.7 * (cosine[1] - found[1][1])
    bases.show("4", np.array([[0.5, 0.25, 0.125], [0.5, 0.5, 0.125]]))
    assert capsys.readouterr().out == "| 4 | 50.0% | 25.0% to 50.0% | 12.5% |\n"
