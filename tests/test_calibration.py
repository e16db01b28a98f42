"""Logits to answers: the fit finds what was put in, and the promised rate of false alarms is kept."""

import json
import math
import warnings
from dataclasses import replace
from functools import cache, partial

import faiss
import numpy as np
import pytest

from facedex.decision import calibration as calibration_module
from facedex.decision.calibration import Calibration, fit_calibration, with_tail_of
from facedex.decision.fitting import platt, sample
from facedex.decision.fusion import fuse
from facedex.decision.posterior import CONTENDERS, Normal, Scores
from facedex.decision.tail import PROBE_WEIGHT, Impostors, Tail, fit_excess, over_probes
from facedex.errors import DataError, ModelError

TAIL = Tail(0.0, 0.4, 1.0, 0.1, 0.2, 1.7, 0.05, 2.0, 0.0)
PLAIN = Calibration(0.8, -1.0, (Scores(1, (Normal(1.0, 5.0, 1.5),), TAIL),), ((TAIL,),), 100, 200, 7.5)
LEVEL = PLAIN.to_meta()["scores"][0]
BENT = replace(
    PLAIN, scores=(Scores(1, (Normal(1.0, 5.0, 1.5),), replace(TAIL, bend=0.4)),)
)  # falls faster the further out


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
        assert PLAIN.similarity(-1e6) == 0
        assert PLAIN.similarity(1e6) == 1


# the threshold


@pytest.mark.parametrize("calibration", [PLAIN, BENT], ids=["plain", "bent"])
@pytest.mark.parametrize("fpir", [0.001, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("size", [1, 20, 5000, 10_000_000])
def test_threshold_and_false_alarm_rate_are_inverse(calibration, size, fpir):
    threshold = calibration.threshold(size, fpir)
    assert calibration.false_alarm_rate(threshold, size) == pytest.approx(fpir, rel=1e-6)


def test_the_rate_of_one_probes_tail_is_that_of_the_best_of_n():
    one = replace(TAIL, location_sd=0.0, scale_sd=0.0)
    calibration = replace(PLAIN, scores=(Scores(1, (Normal(1.0, 5.0, 1.5),), one),))
    passed = 0.05 * np.exp(-2 * (4.5 - 1.7))
    assert calibration.false_alarm_rate(4.5, 300) == pytest.approx(1 - (1 - passed) ** 300)


def test_the_rate_averages_over_probes():
    """By simulation: 200,000 probes with a location and a scale of their own, against 50 people."""
    rng = np.random.default_rng(3)
    u, v = rng.standard_normal((2, 200_000))
    scale = np.exp(0.1 * (0.2 * u + np.sqrt(1 - 0.2**2) * v))
    passed = 0.05 * np.exp(-2 * ((4.0 - 0.4 * u) / scale - 1.7))
    assert PLAIN.false_alarm_rate(4.0, 50) == pytest.approx(1 - ((1 - passed) ** 50).mean(), rel=0.02)


def test_several_photos_of_a_person_count_by_their_own_tail():
    shorter = replace(TAIL, location=0.2, scale=0.7)
    both = replace(
        PLAIN, scores=(*PLAIN.scores, Scores(4, (Normal(1.0, 5.5, 1.2),), shorter)), replicates=((TAIL, shorter),)
    )
    photos = np.array([1] * 30 + [2] * 10 + [4] * 25 + [9] * 35)  # two count as one, nine as four
    expected = 1 - (1 - TAIL.survival(3.0)) ** 40 * (1 - shorter.survival(3.0)) ** 60
    assert both.false_alarm_rate(3.0, photos) == pytest.approx(over_probes(expected))
    assert both.false_alarm_rate(3.0, 30) == pytest.approx(both.false_alarm_rate(3.0, np.ones(30, int)))
    assert both.threshold(np.full(100, 4), 0.01) < both.threshold(photos, 0.01) < both.threshold(100, 0.01)


def test_threshold_rises_with_the_gallery():
    thresholds = [PLAIN.threshold(size, 0.01) for size in (1, 2, 10, 1000, 100_000)]
    assert thresholds == sorted(set(thresholds))


def test_threshold_falls_as_more_false_alarms_are_allowed():
    thresholds = [PLAIN.threshold(1000, fpir) for fpir in (0.5, 0.1, 0.01, 0.001)]
    assert thresholds == sorted(set(thresholds))


def test_false_alarm_rate_falls_with_the_threshold_and_rises_with_the_gallery():
    falling = [BENT.false_alarm_rate(threshold, 100) for threshold in np.linspace(-5, 10, 30)]
    rising = [BENT.false_alarm_rate(5, size) for size in (0, 1, 10, 1000)]
    assert falling == sorted(falling, reverse=True)
    assert 0 <= falling[-1] < falling[0] <= 1 + 1e-12
    assert rising[0] == 0
    assert rising == sorted(set(rising))


def test_nobody_passes_where_nobody_is_enrolled():
    assert PLAIN.threshold(0, 0.01) == float("inf")


@pytest.mark.parametrize("fpir", [0, 1, -0.1, 1.5])
def test_rate_outside_nought_and_one_is_refused(fpir):
    with pytest.raises(ValueError, match="between 0 and 1"):
        PLAIN.threshold(100, fpir)


@pytest.mark.timeout(60)
def test_a_rate_that_nearly_everybody_passes_has_a_threshold():
    assert PLAIN.threshold(100, 1 - 1e-15) < PLAIN.threshold(100, 0.99)


@pytest.mark.parametrize("prior", [-0.1, 1.5, float("nan")])
def test_prior_outside_nought_and_one_is_refused(prior):
    with pytest.raises(ValueError, match="prior must lie between 0 and 1"):
        PLAIN.posterior(np.array([4.0]), np.ones(1, int), 10, prior)
    with pytest.raises(ValueError, match="prior must lie between 0 and 1"):
        PLAIN.pair_posterior(np.array([4.0]), prior, np.full((1, 2), 9.0))


def test_a_certain_prior_needs_no_score():
    same, different = (PLAIN.pair_posterior(np.array([s]), p, np.full((1, 2), 9.0)) for s, p in ((4.0, 0), (-4.0, 1)))
    assert (same[0], different[0]) == (0, 1)


# the tail


@pytest.mark.parametrize(("rate", "bend"), [(2.0, 0.0), (1.5, 0.8), (0.3, 2.0)])
def test_tail_recovers_its_rate_and_bend(rate, bend):
    surviving = -np.log(1 - np.random.default_rng(21).random(100_000))  # rate e + bend e^2, solved for e
    excess = 2 * surviving / (rate + np.sqrt(rate**2 + 4 * bend * surviving))
    assert fit_excess(excess) == pytest.approx((rate, bend), abs=0.06)


@pytest.mark.parametrize("excess", [np.zeros(5), np.array([1.0]), np.array([0.0, 0, 0, 9]), np.empty(0)])
def test_tail_of_few_scores_still_falls(excess):
    rate, bend = fit_excess(excess)
    assert 0 < rate < np.inf
    assert 0 <= bend < np.inf


# simulated strangers: each probe resembles everybody a little more or less than the next one does


@cache
def simulated(tail, spread, people=400):
    """A calibration fitted on two faces of each person."""
    rng = np.random.default_rng(14)
    who = np.repeat(np.arange(people), 2)
    matrix = rng.normal(0, spread, (len(who), 1)) + tail(rng, (len(who), len(who)))
    matrix[who[:, None] == who[None]] += 12
    return fit_calibration(matrix, who)


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


@pytest.mark.parametrize("size", [50, 1000, 20_000])
def test_realised_rate_of_an_l1_distance_is_near_the_target(size):
    """Made-up embeddings as a head sees them: absolute differences of unit vectors, people known from two photos."""
    rng = np.random.default_rng([22, size])

    def people(count, photos):
        middle = rng.standard_normal((count, 1, 64))
        faces = (middle + 0.3 * rng.standard_normal((count, photos, 64))).reshape(-1, 64).astype(np.float32)
        return faces / np.linalg.norm(faces, axis=1, keepdims=True)

    def logits(a, b):
        return 20 - 8 * faiss.pairwise_distances(a, b, metric=faiss.METRIC_L1)

    some = people(300, 2)
    calibration = fit_calibration(logits(some, some), np.repeat(np.arange(300), 2))
    gallery, probes = people(size, 1), people(1500, 1)
    best = logits(probes, gallery).max(1)
    for fpir in (0.2, 0.03):
        assert fpir / 2 < np.mean(best > calibration.threshold(size, fpir)) < fpir * 2


@pytest.mark.parametrize("people", [30, 150])
def test_a_fit_to_few_people_does_not_understate_false_alarms(people):
    """A high score widens its own divisor, and chance makes probes look different: neither may count."""
    ratios = []
    for seed in range(10):
        rng = np.random.default_rng([23, seed])
        who = np.repeat(np.arange(people), 2)
        matrix = rng.normal(0, 0.1, (len(who), 1)) + gaussian(rng, (len(who), len(who)))
        threshold = fit_calibration(matrix, who).threshold(100, 0.05)
        u = np.linspace(-4, 4, 81)
        weight = np.exp(-(u**2) / 2) / np.exp(-(u**2) / 2).sum()
        below = np.array([1 - 0.5 * math.erfc((threshold - 0.1 * one) / math.sqrt(2)) for one in u])
        ratios.append(weight @ (1 - below**100) / 0.05)
    assert 0.8 < np.mean(ratios) < 1.2


def test_probes_that_differ_need_a_higher_threshold_than_their_pooled_scores_do():
    """What a single tail for all probes would get wrong."""
    apart = simulated(exponential, spread=1.5)
    tail = apart.scores[0].impostor
    pooled = replace(apart, scores=(replace(apart.scores[0], impostor=replace(tail, location_sd=0.0)),))
    assert tail.location_sd / tail.scale == pytest.approx(1.5, rel=0.15)
    assert apart.threshold(100, 0.01) > pooled.threshold(100, 0.01) + 1


def test_the_stated_error_covers_fits_to_other_people():
    fits = []
    for seed in range(12):
        rng = np.random.default_rng([77, seed])
        who = np.repeat(np.arange(60), 2)
        matrix = rng.normal(0, 0.5, (60, 1))[who] + gaussian(rng, (120, 120))
        matrix[who[:, None] == who[None]] += 9
        np.fill_diagonal(matrix, 20)
        fits.append(fit_calibration(matrix, who))
    thresholds = [one.threshold(1000, 0.01) for one in fits]
    stated = np.mean([one.threshold_error(1000, 0.01) for one in fits])
    assert np.std(thresholds, ddof=1) / 2.5 < stated < 2.5 * np.std(thresholds, ddof=1)
    low, high = fits[0].interval(thresholds[0], 1000)
    assert 0 < low < 0.01 < high < 0.2


def test_a_fit_without_replicates_states_no_error():
    alone = replace(PLAIN, replicates=())
    assert math.isnan(alone.threshold_error(10, 0.01))
    assert all(map(math.isnan, alone.interval(3.0, 10)))


def test_fit_knows_people_with_several_photos():
    """Four photos each: the fused score of strangers spreads less, and the fit says so."""
    rng = np.random.default_rng(18)
    who = np.repeat(np.arange(60), 6)
    matrix = rng.normal(0, 0.3, (len(who), 1)) + gaussian(rng, (len(who), len(who)))
    matrix[who[:, None] == who[None]] += 6
    np.fill_diagonal(matrix, 20)
    found = fit_calibration(matrix, who, np.linspace(1, 21, len(who)))
    assert [one.photos for one in found.scores] == [1, 2, 4]
    thresholds = [found.threshold(np.full(200, photos), 0.05) for photos in (1, 2, 4)]
    assert thresholds == sorted(thresholds, reverse=True)
    best = [rng.normal(0, 0.3) + fuse(gaussian(rng, (200, 4))).max() for _ in range(3000)]
    assert 0.05 / 1.5 < np.mean(np.array(best) > thresholds[2]) < 0.05 * 1.5
    means = [sum(part.share * part.mean for part in one.genuine) for one in found.scores]
    assert means[2] > means[0] == pytest.approx(6, abs=0.1)
    assert found.unclear == pytest.approx(2, abs=0.1)  # a twentieth of the way from 1 to 21


def test_few_people_with_photos_to_spare_do_not_ruin_the_stated_error():
    """Five people of forty have more than two photos. Draws that leave too few of those photos out do not count."""
    rng = np.random.default_rng(19)
    who = np.concatenate([np.repeat(np.arange(5), 6), np.repeat(np.arange(5, 40), 2)])
    matrix = rng.normal(0, 0.3, (len(who), 1)) + gaussian(rng, (len(who), len(who)))
    matrix[who[:, None] == who[None]] += 6
    np.fill_diagonal(matrix, 20)
    found = fit_calibration(matrix, who)
    assert [one.photos for one in found.scores] == [1, 2, 4]
    assert 2 <= len(found.replicates) < 40
    for tails in found.replicates:
        for tail, one in zip(tails, found.scores, strict=True):
            assert 0.8 < tail.scale / one.impostor.scale < 1.25
            assert 0.02 < tail.share < 0.1


def test_a_probe_that_meets_no_stranger_does_not_count():
    """The only enrolled stranger of the last probe has weight 0, so the fit learns nothing from this probe."""
    rng = np.random.default_rng(20)
    scores, strangers, owner = gaussian(rng, (6, 5)) + 10, np.ones((6, 5), bool), np.arange(5)
    strangers[5, :4], gallery = False, np.array([1.0, 1, 1, 1, 0])
    found = Impostors(scores, strangers, owner).fit(np.ones(6), gallery)
    assert found == Impostors(scores[:5], strangers[:5], owner).fit(np.ones(5), gallery)


@pytest.mark.parametrize("photos", [[2] * 1500, [900, 900, 3, 2], [1] * 30 + [5000]])
def test_a_sample_is_no_larger_than_asked_for_and_of_whole_pairs(photos):
    people = np.repeat(np.arange(len(photos)), photos)
    chosen = sample(people, 1500)
    counts = np.bincount(people[chosen], minlength=len(photos))
    assert 0 < len(chosen) <= 1500
    assert np.array_equal(chosen, np.unique(chosen))
    assert set(np.minimum(photos, 2)) >= set(counts[counts > 0].clip(max=2))
    assert np.array_equal(sample(people[chosen][: counts[0]], 1500), np.arange(counts[0]))


def test_everybody_counts_the_same_whatever_the_number_of_photos():
    """One person with many odd photos moves the fit no more than one with two."""
    rng = np.random.default_rng(19)
    who = np.repeat(np.arange(100), 2)
    many = np.concatenate([who, np.zeros(100, int)])
    matrix = gaussian(rng, (len(many), len(many)))
    matrix[many[:, None] == many[None]] += 9
    np.fill_diagonal(matrix, 20)
    matrix[many == 0] += 3  # as a probe this one resembles everybody
    few = fit_calibration(matrix[: len(who), : len(who)], who)
    assert fit_calibration(matrix, many).threshold(100, 0.05) == pytest.approx(few.threshold(100, 0.05), abs=0.25)


def test_the_similarity_too_counts_everybody_the_same():
    """One person with unlike photos moves the similarity no more with fifty photos than with two."""
    who = np.repeat(np.arange(60), 2)
    many = np.concatenate([who, np.zeros(48, int)])
    matrix = gaussian(np.random.default_rng(21), (len(many), len(many)))
    matrix = (matrix + matrix.T) / 2
    matrix[many[:, None] == many[None]] += 4
    matrix[np.ix_(many == 0, many == 0)] = -1
    few = fit_calibration(matrix[: len(who), : len(who)], who)
    assert 0.2 < few.similarity(2.0) < 0.8
    assert fit_calibration(matrix, many).similarity(2.0) == pytest.approx(few.similarity(2.0), abs=0.1)


def test_a_fit_to_a_sample_states_the_number_of_people_in_it(monkeypatch):
    monkeypatch.setattr(calibration_module, "sample", partial(sample, faces=100))
    who = np.repeat(np.arange(80), 2)
    matrix = gaussian(np.random.default_rng(3), (len(who), len(who)))
    matrix[who[:, None] == who[None]] += 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_calibration(matrix, who)
    assert (found.people, found.faces) == (50, 100)


def test_fit_counts_people_and_faces():
    calibration = simulated(gaussian, 0.5, people=40)
    assert (calibration.people, calibration.faces) == (40, 80)
    assert [one.photos for one in calibration.scores] == [1]
    assert len(calibration.replicates) > 10


@pytest.mark.parametrize("people", [[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5]])
def test_too_few_people_or_no_pair_is_a_data_error(people):
    with pytest.raises(DataError, match="at least four people"):
        fit_calibration(np.zeros((6, 6)), np.array(people))


def test_smallest_possible_fit_still_calibrates():
    people = np.array([0, 0, 1, 2, 3])
    calibration = fit_calibration(np.random.default_rng(16).normal(size=(5, 5)), people)
    assert np.isfinite(calibration.threshold(10, 0.01))


# the posterior


def posterior(scores, size, prior=0.5, calibration=BENT):
    return calibration.posterior(np.array(scores, float), np.ones(len(scores), int), size, prior)


def test_posterior_is_bayes_rule():
    """Longhand: for each kind of probe the likelihood of all three scores and of 47 lower ones, by who is who."""
    scores, size, prior = np.array([4.0, 3.0, 2.5]), 50, 0.4
    density, survival = BENT.scores[0].impostor.by_probe(scores)
    below = 1 - survival[-1]
    genuine = np.exp(-(((scores - 5.0) / 1.5) ** 2) / 2) / 1.5 / math.sqrt(2 * math.pi)
    nobody = (1 - prior) * PROBE_WEIGHT @ (density.prod(0) * below**47)
    each = [
        prior / size * genuine[i] * (PROBE_WEIGHT @ (np.delete(density, i, 0).prod(0) * below**47)) for i in range(3)
    ]
    missed = 0.5 * math.erfc((5.0 - 2.5) / 1.5 / math.sqrt(2)) * nobody * prior / (1 - prior)
    assert posterior(scores, size, prior) == pytest.approx(np.array(each) / (nobody + sum(each) + missed), rel=1e-2)


def test_the_posterior_depends_on_the_other_candidates_scores():
    """A face whose other candidates score low resembles few people, so its best score is stronger evidence."""
    spread = replace(BENT, scores=(Scores(1, (Normal(1.0, 5.0, 1.5),), replace(TAIL, location_sd=0.8, bend=0.4)),))
    clear = posterior([4.5, *np.linspace(1.5, 1, 9)], 100, 0.5, spread)[0]
    blurred = posterior([4.5, *np.linspace(3.5, 3, 9)], 100, 0.5, spread)[0]
    assert clear > 0.9 > 0.6 > blurred


def test_density_is_that_of_the_survival():
    for score in (-1.0, 1.0, 3.0, 5.0):
        around = TAIL.by_probe(np.array([score - 1e-4, score + 1e-4]))[1]
        density, survival = TAIL.by_probe(np.array([score]))
        assert density[0] == pytest.approx((around[0] - around[1]) / 2e-4, rel=1e-3)
        assert PROBE_WEIGHT @ survival[0] == pytest.approx(over_probes(TAIL.survival(score)), rel=1e-3)


def test_posterior_is_honest():
    """Strangers and enrolled people drawn as the calibration says: of names with probability p, about p are right."""
    rng = np.random.default_rng(20)
    tail = replace(TAIL, location_sd=0.2, scale_sd=0.05, bend=0.3)
    calibration = replace(PLAIN, scores=(Scores(1, (Normal(1.0, 4.0, 1.5),), tail),))
    grid = np.linspace(-4, 12, 4000)
    levels = np.array([tail.survival(score) for score in grid])  # (grid, probes)
    weight = np.exp(-(np.linspace(-5, 5, 41) ** 2) / 2)
    weight = np.outer(weight, weight).ravel() / weight.sum() ** 2
    stated, right = [], []
    for prior, size in ((0.5, 20), (0.2, 300)):
        for probe in rng.choice(len(weight), 1500, p=weight):
            scores = np.interp(rng.random(size), levels[::-1, probe], grid[::-1])
            known = rng.random() < prior
            if known:
                scores[0] = rng.normal(4.0, 1.5)
            order = np.argsort(-scores)
            stated.append(calibration.posterior(scores[order], np.ones(size, int), size, prior)[0])
            right.append(known and order[0] == 0)
    stated, right = np.array(stated), np.array(right)
    for low, high in ((0, 0.1), (0.1, 0.4), (0.4, 0.8), (0.8, 1.01)):
        held = (stated >= low) & (stated < high)
        assert held.sum() > 50
        error = 3.5 * np.sqrt(0.25 / held.sum()) if 0.1 < low < 0.8 else 0.06
        assert right[held].mean() == pytest.approx(stated[held].mean(), abs=error)


@pytest.mark.parametrize("size", [10, 100, 500])
def test_a_stated_half_is_right_half_the_time_though_some_own_faces_score_low(size):
    """One own face in eight scores far lower than one normal distribution has it; the mean of four fits."""
    rng = np.random.default_rng([24, size])

    def own(shape):
        return np.where(rng.random(shape) < 0.12, rng.normal(0, 0.8, shape), rng.normal(4, 1.2, shape))

    def strangers(shape):
        return rng.normal(0, 0.05, (shape[0], 1)) + rng.normal(-2, 0.7, shape)

    who, known, shares = np.repeat(np.arange(200), 3), np.arange(1000) % 2 == 0, []
    for _ in range(4):
        matrix = strangers((len(who), len(who)))
        same = who[:, None] == who
        matrix[same] = own(int(same.sum()))
        calibration = fit_calibration(matrix, who)
        right = []
        while len(right) < 100:  # of a thousand probes those whose best candidate is as probable as not
            scores = strangers((1000, size))
            scores[known, 0] = own(500)
            order = np.argsort(-scores, axis=1)[:, :CONTENDERS]
            best = np.take_along_axis(scores, order, 1)
            half = undecided(calibration, best[~known].mean(0), size)
            for at in np.flatnonzero(np.abs(best[:, 0] - half) < 0.1):
                if abs(posterior(best[at], size, 0.5, calibration)[0] - 0.5) < 0.1:
                    right.append(known[at] and order[at, 0] == 0)
        shares.append(np.mean(right))
    assert 0.4 < np.mean(shares) < 0.6


def followed(seed, people=200, photos=3):
    """Logits of faces, the person of each, and their quality. Only genuine scores rise with quality."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), photos)
    quality = np.exp(rng.normal(2.5, 0.3, len(who)))
    matrix = rng.normal(-2, 0.7, (len(who), len(who)))
    clearer = np.log(quality)[:, None] + np.log(quality) - 5
    same = who[:, None] == who
    matrix[same] = (2.5 + 4 * clearer + rng.normal(0, 0.6, matrix.shape))[same]
    return matrix, who, quality


@cache
def stated_and_right(seed=26, size=50):
    """A calibration of scores that follow quality, and 4,000 probes: scores, both qualities, the right person."""
    calibration = fit_calibration(*followed(25))
    rng = np.random.default_rng(seed)
    known = np.arange(4000) % 2 == 0
    probe, enrolled = np.exp(rng.normal(2.5, 0.3, 4000)), np.exp(rng.normal(2.5, 0.3, (4000, size)))
    scores = rng.normal(-2, 0.7, (4000, size))
    own = 2.5 + 4 * (np.log(probe) + np.log(enrolled[:, 0]) - 5) + rng.normal(0, 0.6, 4000)
    scores[known, 0] = own[known]
    order = np.argsort(-scores, axis=1)[:, :CONTENDERS]
    scores, enrolled = (np.take_along_axis(part, order, 1) for part in (scores, enrolled))
    return calibration, scores, probe, enrolled, known & (order[:, 0] == 0)


def told_by(quality):
    """Of the best candidates: the stated probability, with quality or without."""
    calibration, scores, probe, enrolled, _ = stated_and_right()
    ones, own = np.ones(CONTENDERS, int), np.arange(CONTENDERS)
    stated = []
    for row, mine, theirs in zip(scores, probe, enrolled, strict=True):
        shifts = calibration.shifts(mine, theirs, own, own) if quality else None
        stated.append(calibration.posterior(row, ones, 50, 0.5, shifts)[0])
    return np.array(stated)


def test_the_probability_follows_quality_where_genuine_scores_do():
    """Calibrated in bins, for blurred probes and for clear ones apart, which no share of all probes could be."""
    calibration, _, probe, _, right = stated_and_right()
    assert calibration.by_quality == pytest.approx(4, rel=0.05)
    assert calibration.usual == pytest.approx(2.5, abs=0.05)
    stated, plain = told_by(quality=True), told_by(quality=False)
    for part in (probe < np.exp(2.3), probe > np.exp(2.5)):
        for low, high in ((0.02, 0.3), (0.3, 0.7), (0.7, 0.98)):
            held = part & (stated >= low) & (stated < high)
            if held.sum() >= 20:
                error = 3 * np.sqrt(0.25 / held.sum())
                assert right[held].mean() == pytest.approx(stated[held].mean(), abs=error)
    losses = [-np.mean(np.log(np.where(right, p, 1 - p))) for p in (stated, plain)]
    assert losses[0] < 0.9 * losses[1]


def test_unknown_quality_counts_as_usual():
    calibration = replace(PLAIN, by_quality=4.0, usual=2.5)
    usual = np.exp(2.5)
    people, owner = np.array([7, 3]), np.array([3, 7, 3, 5])
    # The first of `people` has one face, twice as clear as usual; the second has two, of which one is not known.
    found = calibration.shifts(usual * 2, np.array([usual * 4, usual * 2, 0.0, 1e9]), owner, people)
    assert found == pytest.approx([4 * (math.log(2) + math.log(2)), 4 * (math.log(2) + math.log(4) / 2)])
    for unknown in (0.0, math.nan, math.inf, -1.0):
        nothing = calibration.shifts(unknown, np.full(4, unknown), owner, people)
        assert nothing == pytest.approx([0, 0])
        assert list(posterior([6.0, 2.0], 50, 0.5, calibration)) == list(
            calibration.posterior(np.array([6.0, 2.0]), np.ones(2, int), 50, 0.5, nothing)
        )


@pytest.mark.parametrize("quality", [None, "all the same", "nothing to do with it"])
def test_an_uninformative_length_changes_nothing(quality):
    matrix, who, lengths = followed(27, people=60)
    lengths = {
        "all the same": np.ones(len(who)),
        "nothing to do with it": np.random.default_rng(1).permutation(lengths),
    }
    found = fit_calibration(matrix, who, lengths.get(quality))
    assert found.by_quality == pytest.approx(0, abs=0.4 if quality == "nothing to do with it" else 0)
    assert found.scores[0].impostor == fit_calibration(matrix, who).scores[0].impostor


def test_the_threshold_does_not_depend_on_quality():
    matrix, who, quality = followed(28, people=60)
    assert fit_calibration(matrix, who, quality).threshold(100, 0.01) == fit_calibration(matrix, who).threshold(
        100, 0.01
    )


def undecided(calibration, others, size):
    """The best score that makes the name as probable as not, with the others where they mostly are."""
    low, high = others[1], others[1] + 9
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if posterior([middle, *others[1:]], size, 0.5, calibration)[0] > 0.5 else (middle, high)
        )
    return low


def test_the_best_of_a_hundred_thousand_strangers_is_not_probable():
    best = PLAIN.threshold(100_000, 0.5)  # half of all strangers' best candidates score higher
    assert PLAIN.similarity(best) > 0.98
    assert posterior([best], 100_000, 0.5, PLAIN)[0] < 0.5
    assert posterior([best], 100_000, 0.01, PLAIN)[0] < 0.02


def test_posterior_does_not_depend_on_how_many_candidates_are_listed():
    scores = np.sort(np.random.default_rng(21).normal(1, 1, 60))[::-1]
    whole = posterior(scores, 500)
    for listed in (CONTENDERS, CONTENDERS + 1, 30):
        assert posterior(scores[:listed], 500) == pytest.approx(whole[:listed])


def test_posteriors_sum_to_at_most_one():
    rng = np.random.default_rng(17)
    for _ in range(50):
        found = posterior(np.sort(rng.normal(0, 4, rng.integers(1, 30)))[::-1], 1000)
        assert (found > 0).all()
        assert found[:CONTENDERS].sum() < 1 + 1e-12


def test_posterior_falls_with_the_gallery():
    """With the others where the best strangers of so many are found."""
    tops = [posterior([6.0, BENT.threshold(size, 0.5)], size)[0] for size in (2, 10, 1000, 10**6)]
    assert tops == sorted(set(tops), reverse=True)


def test_posterior_falls_when_another_candidate_comes_near():
    alone, contested = posterior([6.0, 0.0], 100)[0], posterior([6.0, 5.95], 100)[0]
    assert alone > 0.8
    assert contested < 0.6


def test_posterior_keeps_the_order_and_survives_extremes():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = posterior([2000.0, 6.0, 5.0, 0.0, -2000.0], 10)
    assert np.isfinite(found).all()
    assert list(found) == sorted(found, reverse=True)


def test_more_alike_is_never_less_probable():
    tops = [posterior([score], 100)[0] for score in np.linspace(-2, 40, 200)]
    assert (np.diff(tops) > -1e-9).all()
    assert tops[-1] > 0.999


def test_posterior_of_no_candidates_is_empty():
    assert PLAIN.posterior(np.empty(0), np.empty(0), 0, 0.5).shape == (0,)


def test_a_pair_is_a_gallery_of_one_person():
    calibration = replace(PLAIN, by_quality=4.0, usual=2.5)
    shift = 4 * (math.log(15) + math.log(10) - 5)
    for prior in (0.5, 0.1):
        right = calibration.posterior(np.array([2.0]), np.ones(1, int), 1, prior, np.array([shift]))[0]
        pairs = np.array([(15.0, 10.0), (10.0, 15.0)])
        assert calibration.pair_posterior(np.full(2, 2.0), prior, pairs) == pytest.approx([right, right])


def test_the_probability_of_a_pair_follows_quality_where_genuine_scores_do():
    calibration = fit_calibration(*followed(25))
    matrix, who, quality = followed(29, people=60)
    i, j = np.triu_indices(len(who), 1)
    same = who[i] == who[j]
    kept = same | (np.arange(len(i)) % 40 == 0)
    i, j, same = i[kept], j[kept], same[kept]
    weight = np.where(same, 0.5 / same.sum(), 0.5 / (~same).sum())
    by_score = calibration.similarity(matrix[i, j])
    stated = calibration.pair_posterior(matrix[i, j], 0.5, np.stack([quality[i], quality[j]], 1))
    losses = [-(weight @ np.log(np.where(same, p, 1 - p))) for p in (stated, by_score)]
    assert losses[0] < 0.8 * losses[1]


# in a model file


def test_a_tail_of_another_head_is_rescaled_to_the_new_heads_logits():
    other = replace(PLAIN, replicates=((TAIL,), (replace(TAIL, rate=1.8),)))
    other = replace(other, by_quality=2.0, usual=1.0)
    fitted = replace(PLAIN, slope=0.3, offset=-4.0, unclear=5.5, by_quality=9.0, usual=3.0)
    theirs = np.random.default_rng(1).normal(-2, 1.3, 500)
    moved = with_tail_of(fitted, other, (theirs, 2.5 * theirs + 4))
    assert (moved.slope, moved.offset, moved.unclear, moved.usual) == (0.3, -4.0, 5.5, 3.0)
    assert moved.by_quality == pytest.approx(2.5 * 2)
    for people in (1, 100):
        assert moved.threshold(people, 0.01) == pytest.approx(2.5 * other.threshold(people, 0.01) + 4, abs=1e-4)
        assert moved.threshold_error(people, 0.01) == pytest.approx(2.5 * other.threshold_error(people, 0.01), abs=1e-4)
    scores, photos = np.array([4.0, 1.0]), np.array([1, 1])
    before, after = other.posterior(scores, photos, 50, 0.5), moved.posterior(2.5 * scores + 4, photos, 50, 0.5)
    np.testing.assert_allclose(after, before, atol=1e-3)


def test_calibration_survives_json():
    found = simulated(gaussian, 0.5, people=40)
    for calibration in (PLAIN, replace(PLAIN, by_quality=5.561504, usual=2.575422), found):
        meta = json.loads(json.dumps({"calibration": calibration.to_meta()}))
        again = Calibration.from_meta(meta)
        assert again.threshold(1000, 0.01) == pytest.approx(calibration.threshold(1000, 0.01), abs=1e-3)
        assert (again.people, again.faces, again.unclear) == (
            calibration.people,
            calibration.faces,
            calibration.unclear,
        )
        assert Calibration.from_meta({"calibration": again.to_meta()}) == again
        assert (again.by_quality, again.usual) == (calibration.by_quality, calibration.usual)


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"calibration": None},
        {"calibration": {"slope": 1.0}},
        {"calibration": {**PLAIN.to_meta(), "slope": "x"}},
        {"calibration": {**PLAIN.to_meta(), "scores": []}},
        {"calibration": {**PLAIN.to_meta(), "scores": [{**LEVEL, "genuine": []}]}},
        {"calibration": {**PLAIN.to_meta(), "scores": [{**LEVEL, "genuine": [1.0, 5.0, 1.5]}]}},
        {"calibration": {**PLAIN.to_meta(), "scores": [{**LEVEL, "impostor": [1.0]}]}},
        {"calibration": {**PLAIN.to_meta(), "replicates": [[]]}},
        {"calibration": {**PLAIN.to_meta(), "version": 2}},
        {"calibration": {**PLAIN.to_meta(), "version": 5}},
        {"calibration": {key: value for key, value in PLAIN.to_meta().items() if key != "by_quality"}},
        {"calibration": {key: value for key, value in PLAIN.to_meta().items() if key != "version"}},
    ],
)
def test_model_without_a_calibration_is_a_model_error(meta):
    with pytest.raises(ModelError, match="calibration"):
        Calibration.from_meta(meta)
