"""The head that is fitted in numpy: its gradient, what it learns, and when it leaves well alone."""

import numpy as np
import pytest

from facedex.evaluation import metrics
from facedex.model.head import Head
from facedex.model.modelfile import ModelFile
from facedex.training.headfit import L2, FittedHead, equal_head, fit_head, gradient_of
from tests.helpers import unit


def crowd(people, photos, spread, seed=0):
    """Unit embeddings of made-up people, and the person of each. `spread` (d,) is how far photos differ."""
    rng = np.random.default_rng(seed)
    whose = np.repeat(np.arange(people), photos)
    vectors = (
        rng.standard_normal((people, len(spread)))[whose] + rng.standard_normal((len(whose), len(spread))) * spread
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), whose


def rates(head, vectors, people):
    """AUC and TAR@FAR=1e-2."""
    scores = metrics.pair_scores(head.matrix(vectors), people)
    return metrics.auc(*scores), metrics.tar_at_far(*scores, 1e-2)


def loss(state, gaps, same):
    """What is minimised, longhand: Siamese cross-entropy of which either kind is half, and weight decay."""
    weight = np.log1p(np.exp(state[:-1]))
    logits = state[-1] - gaps.astype(np.float64) @ weight
    yes, no = np.log1p(np.exp(-logits[same])).mean(), np.log1p(np.exp(logits[~same])).mean()
    return 0.5 * (yes + no) + L2 * (weight**2).sum()


def test_the_gradient_is_that_of_the_loss_by_finite_differences():
    rng = np.random.default_rng(0)
    gaps, same = rng.exponential(0.3, (60, 7)).astype(np.float32), rng.random(60) < 0.2
    for state in (rng.normal(0, 1, 8), np.append(rng.normal(3, 1, 7), 2.0), np.append(rng.normal(-4, 1, 7), -1.0)):
        found = gradient_of(state, gaps, same)
        for at in range(8):
            step = np.zeros(8)
            step[at] = 1e-5
            slope = (loss(state + step, gaps, same) - loss(state - step, gaps, same)) / 2e-5
            assert found[at] == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_pairs_of_one_kind_alone_and_logits_far_from_0_give_a_finite_gradient():
    gaps = np.full((3, 2), 1e4, np.float32)
    for same in (np.zeros(3, bool), np.ones(3, bool)):
        with np.errstate(all="raise", under="ignore"):
            assert np.isfinite(gradient_of(np.array([5.0, 5.0, 1.0]), gaps, same)).all()


def test_informative_numbers_gain_weight_and_noise_loses_weight():
    spread = np.array([0.2] * 8 + [6.0] * 8)
    known, choosing, others = (crowd(60, 4, spread, seed) for seed in (1, 2, 3))
    first = FittedHead(np.full(16, 4.0, np.float32), 12.0, None)
    fitted = fit_head(*known, *choosing, first, steps=300)
    assert fitted.weight[:8].min() > 1.5 * fitted.weight[8:].max()
    assert (fitted.weight >= 0).all()
    before, after = rates(first, *others), rates(fitted, *others)
    assert before[0] < 0.93
    assert after[0] > before[0] + 0.03
    assert after[1] > before[1] + 0.1


def test_a_frame_is_learnt_through_too():
    spread = np.array([0.2] * 64 + [3.0] * 64)
    known, choosing, others = (crowd(60, 4, spread, seed) for seed in (1, 2, 3))
    fitted = fit_head(*known, *choosing, steps=60)
    assert fitted.frame.shape == (512, 128)
    assert np.array_equal(fitted.frame[:128], np.eye(128))
    assert fitted.weight[:64].mean() > 2 * fitted.weight[64:128].mean()
    assert rates(fitted, *others)[1] > rates(equal_head(known[0]), *others)[1] + 0.2


def test_equal_weights_stay_where_no_others_are_clearly_better():
    known, choosing = crowd(60, 4, np.full(64, 1.2), 1), crowd(150, 4, np.full(64, 1.2), 2)
    fitted, equal = fit_head(*known, *choosing, steps=60), equal_head(known[0])
    assert 0.5 < rates(equal, *choosing)[1] < 0.95, "neither easy nor hopeless"
    assert np.array_equal(fitted.weight, equal.weight)
    assert np.ptp(fitted.weight) == 0
    assert fitted.beta == equal.beta


def test_a_given_head_stays_where_the_learnt_one_is_worse_on_the_selection_set():
    """Numbers that tell the learning people apart are noise in the selection set."""
    known, choosing = crowd(40, 4, np.array([0.2] * 8 + [6.0] * 8)), crowd(40, 4, np.array([6.0] * 8 + [0.2] * 8))
    first = FittedHead(np.linspace(3, 5, 16).astype(np.float32), 11.0, None)
    assert fit_head(*known, *choosing, first, steps=100) is first


def test_equal_weights_put_strangers_where_logits_are_small():
    vectors, people = crowd(100, 2, np.full(24, 0.3))
    for dim in (24, 512):
        vectors = unit(200, dim)
        head = equal_head(vectors)
        assert head.weight.shape == ((504,) if dim == 24 else (512,))
        assert (head.frame is None) is (dim == 512)
        impostor = metrics.pair_scores(head.matrix(vectors), people)[1]
        assert np.median(impostor) == pytest.approx(12 - 14, abs=0.3)


def test_the_same_seed_learns_the_same_and_another_does_not():
    spread = np.array([0.2] * 8 + [6.0] * 8)
    known, choosing = crowd(40, 4, spread, 1), crowd(40, 4, spread, 2)
    first = FittedHead(np.full(16, 4.0, np.float32), 12.0, None)
    a, b, c = (fit_head(*known, *choosing, first, seed, 200) for seed in (0, 0, 1))
    assert np.array_equal(a.weight, b.weight)
    assert a.beta == b.beta
    assert not np.array_equal(a.weight, c.weight)


@pytest.mark.parametrize("weight", [0.0, 1e-7, 0.5, 30.0, 5e4])
def test_what_is_stored_is_read_as_the_same_head(weight):
    vectors = unit(6, 8)
    head = FittedHead(np.full(16, weight, np.float32), 3.5, np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32))
    read = Head.from_file(ModelFile(head.tensors(), {"dim": 8}))
    np.testing.assert_allclose(read.weight, head.weight, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(read.pairwise(vectors, vectors), head.matrix(vectors), rtol=1e-4, atol=1e-4)


def test_identical_embeddings_still_give_a_finite_head():
    same = np.repeat(unit(1, 8), 20, axis=0)
    head = equal_head(same)
    assert np.isfinite(head.weight).all()
    assert np.isfinite(head.tensors()["head.v"]).all()
