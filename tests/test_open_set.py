"""One face against many, recounted longhand; and weights that count a person as often as drawn."""

import itertools

import numpy as np
import pytest

from facedex.evaluation import open_set
from facedex.evaluation.bootstrap import Curve, people_weights
from facedex.evaluation.matchers import Matcher
from tests.helpers import calibration, unit

COSINE = Matcher("cosine", "f", None)
CALIBRATED = Matcher(
    "own", "f", None, calibration=calibration(slope=3.0, offset=0.0, start=0.2, start_sd=0.1, rate=8.0)
)
SIZES = np.array([1, 4, 2, 3, 1, 5, 2, 3, 4, 2, 1, 3, 2, 6, 2, 3])
PEOPLE = np.repeat(np.arange(len(SIZES)), SIZES)
FIRST = np.concatenate([[0], np.cumsum(SIZES)[:-1]])
PROBES = [i for i in range(len(PEOPLE)) if i not in FIRST]


@pytest.fixture(scope="module")
def vectors():
    noisy = unit(len(SIZES), 10, 3)[PEOPLE] + 0.35 * np.random.default_rng(4).normal(size=(len(PEOPLE), 10))
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def found(vectors):
    return open_set.measure_open_set(CALIBRATED, vectors, PEOPLE, people_weights(len(SIZES), 0, 100), seed=1)


def test_ranks_and_cmc(vectors, found):
    scores = vectors @ vectors[FIRST].T
    ranks = [1 + sum(scores[i, p] >= scores[i, PEOPLE[i]] for p in range(16) if p != PEOPLE[i]) for i in PROBES]
    assert 0.2 < np.mean(np.array(ranks) == 1) < 0.95
    for rank in range(1, 17):
        assert found.cmc.y[rank - 1] == pytest.approx(np.mean(np.array(ranks) <= rank))
    for rank in ("1", "5", "10"):
        assert found.figures["rank", rank].value == pytest.approx(np.mean(np.array(ranks) <= int(rank)))
    assert (found.cmc.low <= found.cmc.y + 1e-6).all()
    assert (found.cmc.y <= found.cmc.high + 1e-6).all()


def test_shares_count_each_person_as_often_as_drawn():
    rng = np.random.default_rng(0)
    hits, person = rng.random((30, 2)) < 0.5, np.sort(rng.integers(0, 6, 30))
    weights = people_weights(6, 1, 20)
    value, draws = open_set.share(hits, person, weights)
    assert value == pytest.approx(hits.mean(0))
    for weight, draw in zip(weights, draws, strict=True):
        again = np.concatenate([np.repeat(hits[person == p], int(weight[p]), axis=0) for p in range(6)])
        assert draw == pytest.approx(again.mean(0))


def test_n_way_is_what_all_choices_would_give():
    """With four photos each, the expected accuracy over every probe, enrolled photo and rival photo, for two people."""
    people = np.repeat(np.arange(12), 4)
    noisy = unit(12, 8, 1)[people] + 0.45 * np.random.default_rng(2).normal(size=(48, 8))
    vectors = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    scores = vectors @ vectors.T
    wins = []
    for probe, own in itertools.permutations(range(48), 2):
        if people[probe] == people[own]:
            rivals = scores[probe, people != people[probe]]
            wins.append([(scores[probe, own] > rivals).mean(), (scores[probe, own] > rivals).mean() ** 4])
    ways = open_set.nway(COSINE, vectors, people, people_weights(12, 0, 50), np.random.default_rng(0))
    assert list(ways) == ["2", "5", "all"]
    expected = np.mean([two for two, _ in wins])
    assert 0.6 < expected < 0.95
    assert ways["2"].value == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 1000))
    # Rivals of one trial are four different people: close to four independent ones.
    assert ways["5"].value == pytest.approx(np.mean([five for _, five in wins]), abs=0.07)
    assert ways["all"].value < ways["5"].value < ways["2"].value


def test_n_way_of_people_who_never_change_is_perfect_and_of_noise_a_guess():
    people = np.repeat(np.arange(60), 2)
    same = unit(60, 16)[people]
    weights = people_weights(60, 0, 10)
    perfect = open_set.nway(COSINE, same, people, weights, np.random.default_rng(0))
    assert {name: one.value for name, one in perfect.items()} == dict.fromkeys(["2", "5", "20", "50", "all"], 1.0)
    noise = open_set.nway(COSINE, unit(120, 16), people, weights, np.random.default_rng(0))
    for name, one in noise.items():
        chance = 1 / (60 if name == "all" else int(name))
        assert one.value == pytest.approx(chance, abs=4 * np.sqrt(chance / 1000))
    equal = open_set.nway(COSINE, np.ones((120, 1), np.float32), people, weights, np.random.default_rng(0))
    assert equal["2"].value == 0  # a tie is a miss


def probes_of(own):
    """The probes of these tests by the score each has with its own person's first photo; ranks do not matter here."""
    return open_set.Probes(PEOPLE, own, np.zeros(len(PEOPLE), int), np.isin(np.arange(len(PEOPLE)), PROBES))


def gallery_of(vectors, enrolled):
    """Best score of anybody enrolled but oneself, longhand."""
    scores = vectors @ vectors[FIRST].T
    return np.array(
        [
            max((scores[i, p] for p in np.flatnonzero(enrolled) if p != PEOPLE[i]), default=-9)
            for i in range(len(PEOPLE))
        ]
    )


@pytest.mark.parametrize("fpir", [0.05, 0.2, 0.5])
def test_fnir_at_fpir(vectors, fpir):
    rng = np.random.default_rng(7)
    scores = vectors @ vectors[FIRST].T
    own = scores[np.arange(len(PEOPLE)), PEOPLE]
    enrolled = np.stack([rng.permutation(np.arange(16) % 2 == 0) for _ in range(6)])
    best = np.stack([gallery_of(vectors, row) for row in enrolled])
    weights = people_weights(16, 2, 8)

    def longhand(weight):
        values = []
        for row, rival in zip(enrolled, best, strict=True):
            strangers = [s for i, s in enumerate(rival) if not row[PEOPLE[i]] for _ in range(int(weight[PEOPLE[i]]))]
            mated = [
                own[i] if own[i] > rival[i] else -9.0
                for i in PROBES
                if row[PEOPLE[i]]
                for _ in range(int(weight[PEOPLE[i]]))
            ]
            if fpir * len([i for i in range(len(PEOPLE)) if not row[PEOPLE[i]]]) < 1:
                continue
            allowed = [t for t in [-5.0, *strangers] if np.mean(np.array(strangers) > t) <= fpir]
            values.append(np.mean(np.array(mated) <= min(allowed)))
        return np.mean(values)

    galleries = open_set.Galleries(enrolled, best, np.zeros(best.shape, int))
    found = open_set.fnir_at_fpir(galleries, probes_of(own), weights, fpir)
    assert found.value == pytest.approx(longhand(np.ones(16)))
    assert found.draws == pytest.approx([longhand(weight) for weight in weights])


def test_too_few_strangers_for_the_rate_claim_nothing(found):
    assert np.isnan(found.figures["fnir", "0.001"].value)
    assert len(found.figures["fnir", "0.001"].draws) == 0


def test_realised_rates_at_the_models_own_threshold(vectors):
    rng = np.random.default_rng(8)
    scores = vectors @ vectors[FIRST].T
    own = scores[np.arange(len(PEOPLE)), PEOPLE]
    enrolled = np.zeros((5, 16), bool)
    for row in enrolled:
        row[rng.choice(16, 8, replace=False)] = True
    best = np.stack([gallery_of(vectors, row) for row in enrolled])
    rivals = np.array(
        [
            [max((scores[i, p], p) for p in np.flatnonzero(row) if p != PEOPLE[i])[1] for i in range(len(PEOPLE))]
            for row in enrolled
        ]
    )
    weights = people_weights(16, 0, 200)
    galleries = open_set.Galleries(enrolled, best, rivals)
    got = open_set.realised_rates(galleries, probes_of(own), weights, CALIBRATED.calibration, 8, 0.3)
    threshold = CALIBRATED.calibration.threshold(8, 0.3)
    alarms = [best[g, i] >= threshold for g in range(5) for i in range(len(PEOPLE)) if not enrolled[g, PEOPLE[i]]]
    missed = [
        not (own[i] >= threshold and own[i] > best[g, i]) for g in range(5) for i in PROBES if enrolled[g, PEOPLE[i]]
    ]
    assert got.enrolled == 8
    assert got.target == 0.3
    assert got.fpir.value == pytest.approx(np.mean(alarms))
    assert 0 < got.fpir.value < 1
    assert got.fnir.value == pytest.approx(np.mean(missed))
    assert 0 < got.fnir.value < 1
    for weight, drawn in list(zip(weights, got.fpir.draws, strict=True))[
        :20
    ]:  # as strangers, and as whom they seem to be
        events = trials = 0.0
        for g, i in itertools.product(range(5), range(len(PEOPLE))):
            if not enrolled[g, PEOPLE[i]]:
                trials += weight[PEOPLE[i]]
                events += (best[g, i] >= threshold) * weight[PEOPLE[i]] * weight[rivals[g, i]]
        assert drawn == pytest.approx(min(events / trials, 1))
    low, high = got.fpir.interval
    assert high <= 1
    assert low <= got.fpir.value <= high
    assert high - low > 0.01


def test_galleries_of_each_size_that_the_people_suffice_for(found):
    assert [(row.enrolled, row.target) for row in found.realised] == [(10, 0.01), (10, 0.001)]
    uncalibrated = open_set.measure_open_set(COSINE, unit(len(PEOPLE)), PEOPLE, people_weights(len(SIZES), 0, 10))
    assert uncalibrated.realised == []


def test_rows_at_a_time_do_not_show(vectors, found, monkeypatch):
    monkeypatch.setattr(open_set, "_ROWS", 3)
    again = open_set.measure_open_set(CALIBRATED, vectors, PEOPLE, people_weights(len(SIZES), 0, 100), seed=1)
    for key, figure in found.figures.items():
        assert np.array_equal(figure.value, again.figures[key].value, equal_nan=True)


def test_a_seed_is_the_same_trials(vectors, found):
    weights = people_weights(len(SIZES), 0, 100)
    again, other = (open_set.measure_open_set(CALIBRATED, vectors, PEOPLE, weights, seed=seed) for seed in (1, 2))
    assert again.figures["n_way", "5"].value == found.figures["n_way", "5"].value
    assert other.figures["n_way", "5"].value != found.figures["n_way", "5"].value


def test_a_band_leaves_out_undefined_replicates():
    draws = np.array([[0.2, 0.4], [np.nan, np.nan], [0.3, 0.6]])
    band = Curve.of(np.arange(2), np.array([0.25, 0.5]), draws)
    assert np.isfinite(band.low).all()
    assert (band.low <= band.high).all()
    assert band.high[1] == pytest.approx(0.6, abs=0.01)
