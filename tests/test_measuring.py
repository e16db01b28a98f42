"""The statistics of the scripts that README's tables come from, against what they should find by construction."""

import io
import re
import sys

import numpy as np
import pytest
from rich.console import Console

from facedex.decision.calibration import Calibration
from facedex.decision.posterior import Normal, Scores
from facedex.decision.tail import Tail
from facedex.errors import DataError
from facedex.model.head import Head
from facedex.model.modelfile import read_model
from scripts import recalibrate
from scripts.benchmarks import generate_embeddings
from scripts.benchmarks import head_bases as bases
from scripts.benchmarks import stranger_rates as fpir
from tests.helpers import make_model
from tests.synthetic import write_pack

# Strangers' scores are normal about 0; the tail says so from 1.645 on, where S falls about as a normal one's does.
CALIBRATION = Calibration(
    1.0, -3.0, (Scores(1, (Normal(1.0, 6.0, 1.0),), Tail(0, 1e-3, 1, 1e-3, 0, 1.645, 0.05, 2.06, 0.32)),), (), 100, 200
)


@pytest.fixture(scope="module")
def scored():
    """Logits of 200 people with two photos each: 6 +- 1 for one person's, 0 +- 1 for two people's."""
    people = np.repeat(np.arange(200), 2)
    rng = np.random.default_rng(0)
    matrix = rng.normal(0, 1, (400, 400)) + 6 * (people[:, None] == people)
    return np.triu(matrix) + np.triu(matrix, 1).T, people


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


def percentages(text):
    return [float(part.strip(" %()")) for part in text.replace("(", "to ").split("to")]


def test_realised_rates_of_people_whose_scores_are_known(scored):
    matrix, people = scored
    rng = np.random.default_rng(1)
    threshold = CALIBRATION.threshold(50, 0.1)
    alarms, missed = fpir.realised(matrix, people, 50, 1, threshold, 100, rng)
    value, low, high = percentages(alarms)
    assert low < value < high
    assert low < 10 < high
    assert high - low < 8
    below = np.mean(matrix[np.arange(0, 400, 2), np.arange(1, 400, 2)] <= threshold)
    assert percentages(missed)[0] == pytest.approx(100 * below, abs=1)


def test_one_stranger_whom_everybody_resembles_widens_the_interval(scored):
    matrix, people = scored
    odd = matrix.copy()
    odd[people == 0] += 5 * (people != 0)
    narrow, wide = (
        percentages(fpir.realised(m, people, 50, 1, 3.5, 100, np.random.default_rng(1))[0]) for m in (matrix, odd)
    )
    assert wide[0] > narrow[0]
    assert wide[2] - wide[1] > narrow[2] - narrow[1]


def test_verifys_rates(scored):
    matrix, people = scored
    console = Console(width=150, record=True, file=io.StringIO())
    fpir.verified(console, matrix, people, CALIBRATION)
    own = matrix[np.arange(0, 400, 2), np.arange(1, 400, 2)]
    lines = [line.split("│")[1:-1] for line in console.export_text().splitlines() if line.startswith("│")]
    for target, line in zip((1.0, 0.1, 0.01), lines, strict=True):
        value, low, high = percentages(line[2])
        assert low <= value <= high
        assert value == pytest.approx(target, rel=0.5, abs=0.006)
        below = np.mean(own <= CALIBRATION.threshold(1, target / 100))
        assert percentages(line[3])[0] == pytest.approx(100 * below, abs=0.01)


def test_the_losses_of_a_pairs_probability(scored):
    matrix, people = scored
    told = fpir.pair_losses(matrix, people, np.zeros(400), CALIBRATION)
    found = [[float(part) for part in numbers.split(", ")] for numbers in re.findall(r"\d\.\d+, \d\.\d+", told)]
    i, j = np.triu_indices(400, 1)
    same = people[i] == people[j]
    for stated, numbers in zip((CALIBRATION.similarity(matrix[i, j]), bayes(matrix[i, j])), found, strict=True):
        kept = np.clip(stated, 1e-6, 1 - 1e-6)
        log_loss = np.mean([-np.log(kept[same]).mean(), -np.log(1 - kept[~same]).mean()])
        brier = np.mean([((stated - same) ** 2)[kind].mean() for kind in (same, ~same)])
        assert numbers == pytest.approx([log_loss, brier], rel=0.25, abs=0.002)


def bayes(scores):
    """The probability of one person, of normal scores about 6 and about 0."""
    return 1 / (1 + np.exp(-6 * scores + 18))


def test_isotonic_regression_rises_and_keeps_the_mean():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=500)
    truth = (rng.random(500) < 1 / (1 + np.exp(-2 * scores))).astype(float)
    fitted = recalibrate.isotonic_regression(scores, truth, np.ones(500))
    rising = fitted(np.sort(scores))
    assert np.all(np.diff(rising) >= -1e-12)
    assert rising[-1] - rising[0] > 0.8
    assert rising.mean() == pytest.approx(truth.mean(), abs=0.02)


def test_the_calibration_error_is_stated_less_observed_probability():
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
    assert found[1][1] < found[4][1]
    assert abs(found[4][1] - cosine[1]) < 0.7 * (cosine[1] - found[1][1])
    bases.show("4", np.array([[0.5, 0.25, 0.125], [0.5, 0.5, 0.125]]))
    assert capsys.readouterr().out == "| 4 | 50.0% | 25.0% to 50.0% | 12.5% |\n"


def drawn(folder, monkeypatch, people=14_000, photos=2, dim=8):
    """Made-up people as a fit and a draw of generate_embeddings.py leave them: their statistics, and their vectors."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(200), 3)
    vectors = rng.standard_normal((200, dim))[who] + 0.4 * rng.standard_normal((600, dim))
    fitted = generate_embeddings.Faces.fit(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), who)
    fitted.save(folder / "FACES.npz")
    files = folder / "FACES.npz", folder / "VECTORS.npy"
    run(generate_embeddings, monkeypatch, "draw", *files, "--people", people, "--photos", photos)
    return files


def test_generated_people_can_be_measured(tmp_path, monkeypatch):
    _, vectors = drawn(tmp_path, monkeypatch)
    made, owner = fpir.read_generated(vectors, 8)
    assert made.shape == (28_000, 8)
    assert (np.bincount(owner) == 2).all()
    assert (made[owner == 7] == np.load(vectors)[7]).all()
    order = np.random.default_rng(1).permutation(len(made))
    np.savez(tmp_path / "listed.npz", vectors=made[order], people=np.array([f"person {i:05d}" for i in owner])[order])
    again, whose = fpir.read_generated(tmp_path / "listed.npz", 8)
    assert (again == made[order]).all()
    assert (whose == owner[order]).all()
    console = Console(width=150, record=True, file=io.StringIO())
    fpir.generated(console, Head(np.full(8, 4.0), 6.0), made, owner, 0.01, np.random.default_rng(1))
    lines = [line.split("│")[1:-1] for line in console.export_text().splitlines() if line.startswith("│")]
    assert [line[0].strip() for line in lines] == ["10,000", "10,000"]
    assert all(0 <= percentages(cell)[0] <= 100 for line in lines for cell in line[4:])


def test_made_up_people_that_cannot_be_measured_on_are_refused_before_anything_is_measured(tmp_path, monkeypatch):
    faces, few = drawn(tmp_path, monkeypatch, people=100)
    np.save(tmp_path / "flat.npy", np.zeros((5, 8), np.float32))
    np.savez(tmp_path / "short.npz", vectors=np.zeros((5, 8)), people=np.zeros(4))
    (tmp_path / "torn.npz").write_bytes(b"PK\3\4 and no more")
    np.save(tmp_path / "single.npy", np.zeros((14_000, 1, 8), np.float32))
    for path, reason in (
        (faces, "vectors"),
        (few, "100 people; 14,000 are needed"),
        (tmp_path / "flat.npy", r"\(5, 8\)"),
        (tmp_path / "short.npz", r"\(5, 8\)"),
        (tmp_path / "single.npy", "two photos"),
        (tmp_path / "torn.npz", "zip"),
        (tmp_path / "nosuch.npz", "No such file"),
    ):
        with pytest.raises(DataError, match=rf"{path.name} holds no made-up people .*{reason}.*draw"):
            fpir.read_generated(path, 8)
    with pytest.raises(DataError, match="the model's embeddings have 128 numbers"):
        run(fpir, monkeypatch, tmp_path / "no photos either", "--generated", tmp_path / "single.npy")


def test_lists_that_are_none_are_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(bases, monkeypatch, "people", "--bases", "x")
    assert "--bases: 'x' will not do" in capsys.readouterr().err


def test_a_calibration_is_written_where_that_is_asked_for_and_nowhere_else(tmp_path, monkeypatch, capsys):
    model, pack = make_model(tmp_path / "m.safetensors"), write_pack(tmp_path / "held.tar", 12, 3)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    command = [model, pack, "--aligned"]
    run(recalibrate, monkeypatch, *command)
    said = capsys.readouterr().out
    assert "18 faces of 6 people" in said
    assert "nothing is written" in said
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    other = tmp_path / "other.safetensors"
    run(recalibrate, monkeypatch, *command, "--output", other)
    assert f"written to {other}" in capsys.readouterr().out
    assert model.read_bytes() == before[model]
    found = read_model(other)
    assert found.meta["calibration"]["people"] == 6
    assert found.fingerprint == read_model(model).fingerprint
    run(recalibrate, monkeypatch, *command, "--output", model)
    assert model.read_bytes() == other.read_bytes()


def bin_interval(rng, enrolled=120, strangers=900):
    """The interval of a stated probability that holds: half of the weight at it is of enrolled people, who are few.

    An enrolled person's photos have it at a rate of 2 %. Strangers' photos have it at the same rate.
    """
    people = np.arange(enrolled + strangers)
    own = people < enrolled
    weight = np.where(own, 1 / enrolled, 1 / strangers) * rng.uniform(0.5, 1.5, len(people))
    each = [weight * own, weight * ~own]
    held = rng.random(len(people)) < 0.02
    return fpir.right_share(each[0] * held, each[1] * held, each, rng)


def test_the_interval_of_a_probability_that_holds_covers_it():
    rng = np.random.default_rng(3)
    covered = [low <= 0.5 <= high for low, high in (bin_interval(rng) for _ in range(400))]
    assert np.mean(covered) >= 0.94


def test_where_no_photo_is_right_the_interval_says_how_few_people_could_be():
    enrolled, strangers = np.zeros(1000), np.zeros(1000)
    enrolled[:100], strangers[100:] = 0.01, 1 / 900
    held = strangers * (np.arange(1000) < 118)  # 2 % of all strangers
    low, high = fpir.right_share(np.zeros(1000), held, [enrolled, strangers], np.random.default_rng(0))
    assert low == 0
    assert 0.5 < high < 0.9
    many = np.zeros(100_000)
    many[:50_000] = 1 / 50_000  # so many enrolled people would have shown
    held = np.zeros(100_000)
    held[50_000:51_000] = 1 / 50_000
    _, high = fpir.right_share(np.zeros(100_000), held, [many, many[::-1]], np.random.default_rng(0))
    assert high < 0.01
    low, high = fpir.right_share(many, np.zeros(100_000), [many, np.zeros(100_000)], np.random.default_rng(0))
    assert low == high == 1


def test_stated_probabilities_have_an_interval_where_none_is_right(scored, monkeypatch):
    matrix, people = scored
    same = people[:, None] == people
    # No own photo scores in the middle, but the calibration promises some of them.
    matrix = np.where(same, 9.0, matrix)
    console = Console(width=300, file=io.StringIO())
    monkeypatch.setattr(fpir, "DRAWS", {10: 3})
    monkeypatch.setattr(fpir, "STRANGERS", 200)
    fpir.reliability(console, matrix, people, np.zeros(400), CALIBRATION, np.random.default_rng(0))
    intervals = re.findall(r"\(0%-(\d+)%\)", console.file.getvalue())
    assert intervals
    assert "0" not in intervals
