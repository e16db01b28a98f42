"""Each loss against its equation, written out longhand."""

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from facedex.training import losses  # noqa: E402


def test_siamese_bce_is_the_mean_over_all_pairs_of_each_kind():
    people = torch.tensor([0, 0, 1, -1, 1])
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    same, different = [], []
    for i in range(5):
        for j in range(i + 1, 5):
            if people[i] < 0 or people[j] < 0:
                continue
            p = 1 / (1 + math.exp(-float(logits[i, j])))
            (same if people[i] == people[j] else different).append(-math.log(p if people[i] == people[j] else 1 - p))
    expected = 0.5 * (sum(same) / len(same) + sum(different) / len(different))
    assert float(losses.siamese_bce(logits, *losses.pair_masks(people))) == pytest.approx(expected, rel=1e-5)


def test_siamese_bce_of_a_batch_without_pairs_is_zero_and_has_a_gradient():
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = losses.siamese_bce(logits, *losses.pair_masks(torch.tensor([-1, -1])))
    loss.backward()
    assert float(loss) == 0
    assert logits.grad is not None


def test_siamese_bce_falls_when_a_genuine_pair_scores_higher():
    people = torch.tensor([0, 0, 1])
    low, high = torch.zeros(3, 3), torch.zeros(3, 3)
    high[0, 1] = 2.0
    masks = losses.pair_masks(people)
    assert losses.siamese_bce(high, *masks) < losses.siamese_bce(low, *masks)


def test_distillation_is_one_minus_the_cosine():
    a = torch.nn.functional.normalize(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), dim=1)
    b = torch.nn.functional.normalize(torch.tensor([[4.0, 3.0], [0.0, 1.0]]), dim=1)
    assert float(losses.distillation(a, b)) == pytest.approx(((1 - 24 / 25) + 1) / 2, abs=1e-6)


def test_relational_compares_the_similarity_matrices_off_the_diagonal():
    a = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(2)), dim=1)
    b = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(3)), dim=1)
    gaps = [(float(a[i] @ a[j]) - float(b[i] @ b[j])) ** 2 for i in range(4) for j in range(4) if i != j]
    assert float(losses.relational(a, b)) == pytest.approx(sum(gaps) / len(gaps), rel=1e-5)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4)))[0]
    assert float(losses.relational(a @ turn, a)) == pytest.approx(0, abs=1e-10)  # only relations count


def test_l2_penalty_weighs_each_tensor_by_its_own_decay():
    penalty = losses.l2_penalty([(0.5, torch.tensor([1.0, 2.0])), (0.1, torch.tensor([[3.0]]))])
    assert float(penalty) == pytest.approx(0.5 * 5 + 0.1 * 9)


def test_relational_l1_is_the_mean_squared_gap_of_the_distances():
    a, b = (
        torch.nn.functional.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(i)), dim=1)
        for i in (1, 2)
    )
    unit = math.sqrt(2 * 8 / math.pi)
    gaps = [
        (float((a[i] - a[j]).abs().sum()) - float((b[i] - b[j]).abs().sum())) / unit
        for i in range(5)
        for j in range(i + 1, 5)
    ]
    assert float(losses.relational_l1(a, b)) == pytest.approx(sum(gap * gap for gap in gaps) / len(gaps), rel=1e-5)
    assert float(losses.relational_l1(a, a)) == 0
