"""All pairs of faces, block by block, against the same scored one by one."""

import itertools

import numpy as np
import pytest

from facedex.errors import DataError
from facedex.evaluation import allpairs
from facedex.evaluation.allpairs import all_pairs
from facedex.evaluation.matchers import Matcher, distinct_names
from tests.helpers import unit

DIM = 16
PEOPLE = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 7, 8, 9])


FRAME = np.random.default_rng(3).standard_normal((40, DIM)).astype(np.float16)


def matcher(kind):
    weights = {
        "head": np.linspace(0, 2, DIM),
        "signed": np.linspace(-1, 2, DIM),
        "framed": np.linspace(0, 1, len(FRAME)),
    }
    weight = weights[kind].astype(np.float32) if kind in weights else None
    return Matcher(kind, "f", None, weight, 3.0, frame=FRAME if kind == "framed" else None)


def one_score(one, a, b):
    seen = a - b if one.frame is None else one.frame.astype(np.float64) @ (a - b)
    return float(a @ b) if one.weight is None else one.beta - float((one.weight * np.abs(seen)).sum())


def longhand(one, vectors, people):
    """Scores of genuine and impostor pairs with their positions, highest first."""
    lists = {True: [], False: []}
    for i, j in itertools.combinations(range(len(people)), 2):
        lists[people[i] == people[j]].append((one_score(one, vectors[i], vectors[j]), i, j))
    return [sorted(lists[same], reverse=True) for same in (True, False)]


@pytest.fixture
def vectors():
    return unit(len(PEOPLE), DIM, seed=5)


@pytest.mark.parametrize("kind", ["cosine", "head", "signed", "framed"])
def test_every_pair_once(kind, vectors):
    one = matcher(kind)
    found = all_pairs(one, one.points(vectors), PEOPLE)
    genuine, impostor = longhand(one, vectors, PEOPLE)
    assert found.genuine_pairs == len(genuine) == len(found.genuine)
    assert found.impostors == len(impostor) == len(found.tail) + found.counts.sum()
    assert np.allclose(found.genuine.scores, [score for score, _, _ in genuine], atol=1e-5)
    assert np.allclose(found.tail.scores, [score for score, _, _ in impostor[: len(found.tail)]], atol=1e-5)
    for scored in (found.genuine, found.tail):
        again = [one_score(one, vectors[i], vectors[j]) for i, j in zip(scored.i, scored.j, strict=True)]
        assert np.allclose(scored.scores, again, atol=1e-5)
        same = {PEOPLE[i] == PEOPLE[j] for i, j in zip(scored.i, scored.j, strict=True)}
        assert same == {scored is found.genuine}
    assert len({(i, j) for i, j in zip(found.tail.i, found.tail.j, strict=True)}) == len(found.tail)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 5), (5, 7), (44, 3), (1000, 1000)])
def test_the_block_size_changes_no_result(monkeypatch, vectors, rows, columns):
    monkeypatch.setattr(allpairs, "_ROWS", rows)
    monkeypatch.setattr(allpairs, "_COLUMNS", columns)
    one = matcher("head")
    found = all_pairs(one, one.points(vectors), PEOPLE)
    _, impostor = longhand(one, vectors, PEOPLE)
    assert len(found.tail) == len(impostor)
    assert np.allclose(found.tail.scores, [score for score, _, _ in impostor], atol=1e-5)


def test_scores_below_the_tail_are_binned(monkeypatch):
    monkeypatch.setattr(allpairs, "_SHARE", 0.02)
    people = np.repeat(np.arange(100), 3)
    one, vectors = matcher("head"), unit(300, DIM, seed=2)
    found = all_pairs(one, one.points(vectors), people)
    _, impostor = longhand(one, vectors, people)
    exact = np.array([score for score, _, _ in impostor])
    scores, counts = found.impostor_scores()
    assert len(found.tail) == 1000 < len(exact)
    assert counts.sum() == len(exact)
    assert (np.diff(scores) <= 0).all()
    spread = np.repeat(scores, counts.astype(int))
    assert np.allclose(spread[:1000], exact[:1000], atol=1e-5)
    width = (exact[0] - exact[-1]) * 1.2 / allpairs._BINS
    assert np.abs(spread - exact).max() < width + 1e-5
    # The sample of what lies below is one of them all, and holds nothing of the tail.
    assert found.body.scores.max() < found.tail.scores[-1]
    assert np.quantile(found.body.scores, 0.5) == pytest.approx(np.quantile(exact[1000:], 0.5), abs=0.02)


def test_a_sample_of_very_many_genuine_pairs_is_kept(monkeypatch):
    monkeypatch.setattr(allpairs, "_MOST_GENUINE", 500)
    people = np.repeat([0, 1, 2], [2, 40, 20])
    one, vectors = matcher("cosine"), unit(62, DIM)
    both = all_pairs(one, one.points(vectors), people)
    found = both.genuine
    assert both.genuine_pairs == 971
    assert len(found) == 500
    assert (people[found.i] == people[found.j]).all()
    assert (found.i != found.j).all()
    share = (people[found.i] == 1).mean()
    assert share == pytest.approx(780 / 971, abs=0.08)


def test_nothing_to_compare_is_an_error():
    one, vectors = matcher("cosine"), unit(4, DIM)
    for people in ([0, 0, 0, 0], [0, 1, 2, 3], []):
        with pytest.raises(DataError, match="two people"):
            all_pairs(one, vectors[: len(people)], np.array(people, np.int64))
    with pytest.raises(ValueError, match="rising"):
        all_pairs(one, vectors, np.array([0, 1, 0, 1]))


def test_the_smallest_set_there_is():
    one, vectors = matcher("cosine"), unit(3, DIM)
    found = all_pairs(one, vectors, np.array([0, 0, 1]))
    assert len(found.genuine) == 1
    assert found.impostors == len(found.tail) == 2


def test_names_tell_files_apart(tmp_path):
    from pathlib import Path

    assert distinct_names([Path("a/x.onnx"), Path("b/y.safetensors")]) == ["x", "y"]
    both = [Path("a/x.onnx"), Path("b/x.onnx")]
    assert distinct_names([*both, Path("y.onnx")]) == [*map(str, both), "y"]
    assert distinct_names([Path("a/x.onnx"), Path("a/x.safetensors")]) == ["x.onnx", "x.safetensors"]
    assert len(set(distinct_names([Path("x.onnx"), Path("x.onnx")]))) == 2
