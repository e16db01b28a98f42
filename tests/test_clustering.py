"""Tests of grouping faces by person, on made-up projections z and by the shipped calibration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from facedex.decision import clustering
from facedex.decision.calibration import Calibration
from facedex.decision.clustering import Cut, Links, faintness, group_faces
from facedex.index.neighbours import nearest_pairs
from facedex.model.head import Head
from facedex.model.modelfile import read_model
from tests.helpers import unit

BETA, DIM = 5.5, 64
CALIBRATION = Calibration.from_meta(read_model("fast").meta)
GENUINE, STRANGERS = 2.5, 7.5  # L1 distances: logits of 3 and -2
UNIT = np.sqrt(np.pi) / 2 / DIM  # the standard deviation of both faces' numbers for a mean L1 distance of 1


def faces(photos, seed=0, genuine=GENUINE):
    """z (n, DIM) of people with so many photos each, and the person of each (n,)."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(len(photos)), photos)
    own = np.sqrt(STRANGERS**2 - genuine**2) * UNIT * rng.standard_normal((len(photos), DIM))
    z = own[people] + genuine * UNIT * rng.standard_normal((len(people), DIM))
    return z.astype(np.float32), people


def all_pairs(count):
    return np.array(list(itertools.combinations(range(count), 2)), np.int64).reshape(-1, 2)


def grouped(z, **options):
    return group_faces(z, BETA, CALIBRATION, all_pairs(len(z)), **options)[0]


def partition(groups):
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in set(groups.tolist())}


def test_the_photos_of_each_person_are_one_group():
    z, people = faces([1, 1, 2, 3, 5, 8, 12, 30])
    groups = grouped(z)
    assert partition(groups) == partition(people)
    assert all(groups[first] == first for first in groups)  # a group has the number of its first face


def test_the_order_of_the_faces_does_not_matter():
    z, _ = faces([1, 2, 3, 4, 5] * 6, genuine=5.0)  # hard: genuine logits of .5
    order = np.random.default_rng(3).permutation(len(z))
    again = grouped(z[order])
    assert 30 < len(partition(again)) < len(z)
    assert partition(grouped(z)) == {frozenset(order[list(group)].tolist()) for group in partition(again)}


def soft_mean(z, a, b, scale):
    logits = BETA - np.abs(z[list(a)][:, None].astype(np.float64) - z[list(b)]).sum(-1)
    return scale * np.log(np.exp(logits / scale).mean())


def merged_one_by_one(z, cut):
    """The best pair of groups is merged until none passes the cut: cubic in time, without short cuts."""
    groups = [(face,) for face in range(len(z))]
    while len(groups) > 1:
        pairs = list(itertools.combinations(range(len(groups)), 2))
        scores = [soft_mean(z, groups[a], groups[b], cut.scale) for a, b in pairs]
        best = int(np.argmax(scores))
        if scores[best] <= cut.single:
            break
        a, b = pairs[best]
        groups[a] = groups[a] + groups[b]
        del groups[b]
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize("seed", range(4))
def test_merging_many_pairs_at_once_gives_what_merging_one_by_one_gives(monkeypatch, seed):
    monkeypatch.setattr(clustering, "_LARGE", 1.0)  # one cut for all sizes, so that the order cannot matter
    z, _ = faces([1, 2, 3, 4, 5, 6] * 2, seed, genuine=5.2)
    groups, cut = group_faces(z, BETA, CALIBRATION, all_pairs(len(z)))
    assert len(partition(groups)) > 12
    assert partition(groups) == merged_one_by_one(z, cut)


def test_a_pair_that_is_no_candidate_is_scored_when_a_neighbour_is_one():
    z, _ = faces([4])
    chain = np.array([[0, 1], [1, 2], [2, 3]])
    assert partition(group_faces(z, BETA, CALIBRATION, chain)[0]) == {frozenset(range(4))}


def test_two_faces_of_one_photo_are_never_one_person():
    z, _ = faces([6, 6])
    apart = np.array([[0, 1], [2, 3], [6, 7]])
    for group in partition(grouped(z, links=Links(np.zeros(12, np.int64), apart))):
        assert not any(set(pair) <= group for pair in apart.tolist())


def test_named_faces_stay_with_their_name_and_two_names_never_meet():
    z, _ = faces([6, 2])
    person = np.array([1, 1, 2, 0, 0, 0, 1, 0])  # the seventh face resembles nobody called 1, the third everybody
    groups = grouped(z, links=Links(person, np.empty((0, 2), np.int64)))
    assert groups[0] == groups[1] == groups[6]
    assert groups[2] != groups[0]
    named = {groups[0], groups[2]}
    assert all(groups[face] in named for face in (3, 4, 5))  # unknown faces join a name


def test_one_face_between_two_people_does_not_join_them():
    z, people = faces([5, 5, *[1] * 90])
    bridge = (z[:5].mean(0) + z[5:10].mean(0)) / 2
    assert soft_mean(np.concatenate([z, bridge[None]]), [100], range(10), 1.0) > 0.5  # it resembles both
    assert partition(grouped(np.concatenate([z, bridge[None]]))[:100]) == partition(people)


def test_unclear_faces_join_last_and_are_no_bridge():
    z, _ = faces([1, 1], seed=5)
    towards = np.linspace(0, 1, 5)[1:-1, None]
    z = np.concatenate([z, (1 - towards) * z[0] + towards * z[1]]).astype(np.float32)  # a chain between two people
    clear = np.array([True, True, False, False, False])
    assert grouped(z)[0] == grouped(z)[1]  # the chain would join them
    z = np.concatenate([z, z[:2] + np.float32(1e-3)])  # each has a second clear photo
    groups = grouped(z, clear=np.append(clear, [True, True]))
    assert groups[0] == groups[5]
    assert groups[1] == groups[6]
    assert groups[0] != groups[1]


def test_the_cut_rises_with_the_number_of_people_and_falls_with_the_size_of_groups():
    few, many = (Cut.for_people(CALIBRATION, people, 0.05) for people in (10, 10_000))
    assert few.single < many.single
    sizes = np.array([1, 2, 8, 1000])
    cuts = few.between(sizes, sizes)
    assert cuts[0] == pytest.approx(few.single)
    assert np.all(np.diff(cuts) < 0)
    assert few.least < cuts[-1]


def test_the_cut_is_that_of_the_number_of_groups_found(monkeypatch):
    monkeypatch.setattr(clustering, "_LEAST_PEOPLE", 1)
    z, people = faces([20] * 5)
    groups, cut = group_faces(z, BETA, CALIBRATION, all_pairs(100), rate=0.02)
    assert partition(groups) == partition(people)
    assert cut.single == pytest.approx(CALIBRATION.threshold(5, 0.02))


def test_few_people_count_as_many_because_families_look_alike():
    z, people = faces([8] * 6)
    own = np.stack([z[people == person].mean(0) for person in range(6)])
    near = z + 0.35 * (own.mean(0) - own)[people]  # people move a third of the way to a common face
    logits = np.array([soft_mean(near, [a], [b], 1.0) for a, b in all_pairs(48) if people[a] != people[b]])
    assert CALIBRATION.threshold(1, 0.05) < np.median(logits) < CALIBRATION.threshold(1000, 0.05)
    assert partition(grouped(near.astype(np.float32))) == partition(people)


def test_no_faces_and_one_face():
    assert grouped(np.empty((0, DIM), np.float32)).tolist() == []
    assert grouped(np.zeros((1, DIM), np.float32)).tolist() == [0]


def test_a_rate_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        grouped(faces([2])[0], rate=1.5)


def test_every_face_is_paired_with_those_nearest_to_it_and_no_pair_comes_twice():
    vectors = unit(300, seed=4)
    head = Head.from_file(read_model("fast"))
    pairs = nearest_pairs(head, vectors, nearest=5)
    assert np.all(pairs[:, 0] < pairs[:, 1])
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    points = head.project(vectors).astype(np.float64)
    distance = ((points[:, None] - points) ** 2).sum(-1) + np.where(np.eye(300), np.inf, 0)
    nearest = np.argsort(distance, 1)[:, :5]
    wanted = {tuple(sorted((face, int(other)))) for face in range(300) for other in nearest[face]}
    assert len(wanted ^ set(map(tuple, pairs.tolist()))) <= 2  # two distances may be equal to rounding


def test_nearest_pairs_of_few_faces():
    head = Head.from_file(read_model("fast"))
    assert nearest_pairs(head, unit(3)).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert nearest_pairs(head, unit(1)).shape == (0, 2)
    assert nearest_pairs(head, np.empty((0, 128), np.float32)).shape == (0, 2)


def test_faces_that_lack_detail_gather_only_at_a_higher_cut():
    z, people = faces([8, 8])
    faint = faintness(np.where(people == 0, 0.003, 0.1))
    assert sorted(map(len, partition(grouped(z)))) == [8, 8]  # likeness alone would gather them
    assert sorted(map(len, partition(grouped(z, faint=faint)))) == [*[1] * 8, 8]
    near = np.concatenate([z[:1] + np.float32(1e-3) * np.arange(8)[:, None], z[8:]])  # eight shots of one moment
    assert sorted(map(len, partition(grouped(near, faint=faint)))) == [8, 8]


def test_faces_that_lack_detail_join_clear_groups():
    z, people = faces([8, 8])
    faint = faintness(np.where(np.arange(16) % 8 < 2, 0.002, 0.1))
    assert partition(grouped(z, faint=faint)) == partition(people)
    blurs = grouped(z[[0, 1, 8, 9]], faint=faint[[0, 1, 8, 9]])
    assert sorted(map(len, partition(blurs))) == [1, 1, 1, 1]  # without the clear ones they stay alone


def test_faintness_rises_as_detail_falls_and_is_none_for_sharp_faces():
    found = faintness(np.array([0.2, 0.0061, 0.004, 0.001, 0.0]))
    assert found[:2].tolist() == [0, 0]
    assert np.all(np.diff(found[1:]) > 0)
    assert np.isfinite(found).all()


def test_pairs_of_groups_without_detail_lie_further_below_the_cut():
    z, _ = faces([2])
    pairs, links, cut = all_pairs(2), Links.none(2), Cut.for_people(CALIBRATION, 2, 0.05)
    logits = clustering.pair_logits(z, BETA, pairs)

    def excess(*faint):
        faint = np.array(faint)
        return clustering.close_groups(z, BETA, cut, pairs, logits, links, np.array([1, 2]), 100.0, faint)[2][0]

    assert excess(2.0, 0.5) == pytest.approx(excess(0.0, 0.0) - 0.5)
    assert excess(2.0, 0.0) == pytest.approx(excess(0.0, 0.0))
