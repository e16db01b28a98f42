"""Faces grouped by person: agglomerative clustering by the head's scores, with a cut that keeps a stated rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedex.decision.calibration import Calibration

RATE = 0.05  # the share of faces of people with no other photo that may join a wrong group

_REPRESENTATIVES = 8  # faces that stand for a large group where its score with another group is computed
# The score of two large groups spreads less than the score of two faces, so large groups may meet at a lower one. This
# share of the way from the usual score of strangers to the cut of two faces remains for groups without end.
_LARGE = 0.85
# People of one library resemble each other more than strangers do, above all families. The cut is at least the one for
# so many people. In libraries of six people who look alike, precision is then 99 %, and else 43 % (decision/README.md).
_LEAST_PEOPLE = 1000
# Faces with hardly any detail resemble each other, whoever they show. Below a sharpness of _FAINT, the cut for two of
# them rises by _RISE logits for each factor e. Then 34 of 250 faces with 8 pixels of detail share a group, and else 208
# (people of train.tar, by whom both numbers were chosen).
_FAINT, _RISE = 0.006, 8.0
_PASSES = 4  # of the search for the number of people
_BLOCK = 1000  # pairs whose logits are computed at a time: 2 MB stay near the processor, 40 MB take 2.5 times as long

Numbers = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Cut:
    """The score from which two groups are taken for one person, by their sizes.

    `single`: the cut for two single faces, a logit. `usual` and `scale`: where the logits of strangers lie, and how far
    they spread.
    """

    single: float
    usual: float
    scale: float

    @classmethod
    def for_people(cls, calibration: Calibration, people: int, rate: float) -> Cut:
        """The cut at which the face of a stranger resembles one of `people` faces with probability `rate`.

        Fewer people than _LEAST_PEOPLE count as so many.
        """
        impostor = calibration.scores[0].impostor
        return cls(calibration.threshold(max(people, _LEAST_PEOPLE), rate), impostor.location, impostor.scale)

    @property
    def least(self) -> float:
        """The cut for the largest groups."""
        return self.usual + _LARGE * (self.single - self.usual)

    def between(self, a: Numbers, b: Numbers) -> Scores:
        """The cuts (n,) for groups of `a` (n,) and `b` (n,) faces."""
        part = _LARGE + (1 - _LARGE) * (1 / np.sqrt(a) + 1 / np.sqrt(b)) / 2
        return np.asarray(self.usual + (self.single - self.usual) * part)

    def lowered(self, a: Numbers, b: Numbers) -> Scores:
        """By how much the cuts (n,) for groups of `a` (n,) and `b` (n,) faces lie below that for two single faces."""
        return np.asarray(self.single - self.between(a, b))


def faintness(sharpness: Scores) -> Scores:
    """How much detail faces lack (n,), 0 for clear ones, by their `sharpness` (n,) (Quality.sharpness).

    The unit is a logit: the cut for two groups rises by the lower of their mean values. So faint faces join a clear
    face as before.
    """
    return np.asarray(_RISE * np.log(np.maximum(_FAINT / np.maximum(sharpness, 1e-6), 1.0)))


@dataclass(frozen=True)
class Links:
    """What is known of n faces besides their scores.

    `person` (n,) int64: faces with the same number above 0 show one person. Faces with two such numbers show two
    people. 0 means unknown. `apart` (p, 2) int64: pairs of faces of two people, as all faces of one photo are.
    """

    person: Numbers
    apart: Numbers

    @classmethod
    def none(cls, faces: int) -> Links:
        """No links between so many faces."""
        return cls(np.zeros(faces, np.int64), np.empty((0, 2), np.int64))


def group_faces(
    z: NDArray[np.float32],
    beta: float,
    calibration: Calibration,
    pairs: Numbers,
    links: Links | None = None,
    clear: NDArray[np.bool_] | None = None,
    rate: float = RATE,
    faint: Scores | None = None,
) -> tuple[Numbers, Cut]:
    """Group n faces by person. Returns the group of each face (n,) int64, and the cut for two single faces.

    A group has the number of its first face. `z` (n, dim) and `beta` are the head's (model/head.py). `pairs` (p, 2)
    int64 are the candidates: each face with those nearest to it. Faces that are not `clear` (n,) bool join last, so
    that a blurred face is no bridge between two people. `rate`: see RATE; the cut follows from it by the calibration's
    FPIR. `faint` (n,) is that of `faintness`. Raises ValueError for a rate outside 0..1.

    The FPIR depends on the number of people, which is the number of groups. Cut and groups are found in turns.
    """
    links = links or Links.none(len(z))
    logits = pair_logits(z, beta, pairs)
    people, before = len(z), 0
    for _ in range(_PASSES):
        cut = Cut.for_people(calibration, people, rate)
        groups = _group_in_two_steps(z, beta, cut, pairs, logits, links, clear, faint)
        people, before = len(np.unique(groups)), people
        if people == before:
            break
    return groups, cut


def pair_logits(z: NDArray[np.float32], beta: float, pairs: Numbers) -> Scores:
    """The logits (p,) of pairs (p, 2) of n faces: beta - ||z_a - z_b||_1, for `z` (n, dim)."""
    logits = np.empty(len(pairs))
    for start in range(0, len(pairs), _BLOCK):
        a, b = pairs[start : start + _BLOCK].T
        logits[start : start + _BLOCK] = beta - np.abs(z[a] - z[b]).sum(1)
    return logits


def close_groups(
    z: NDArray[np.float32],
    beta: float,
    cut: Cut,
    pairs: Numbers,
    logits: Scores,
    links: Links,
    groups: Numbers,
    depth: float,
    faint: Scores | None = None,
) -> tuple[Numbers, Numbers, Scores]:
    """Pairs of groups that may yet be one person.

    Returns both groups (p,) int64, and by how much each pair passes the cut (p,), a logit. `groups` (n,) int64 is the
    group of each face, 0 for a face alone, and the results are such groups. Faces of one person of `links` must have
    one group. Pairs that lie more than `depth` below the cut (logits) are left out, and so are those that `links` keeps
    apart. `logits` (p,) belong to `pairs`. The other arguments are those of `group_faces`.
    """
    found = _Groups(z, beta, cut, links, groups, faint).close(pairs, logits, depth)
    return groups[found[0]], groups[found[1]], found[2]


def _group_in_two_steps(
    z: NDArray[np.float32],
    beta: float,
    cut: Cut,
    pairs: Numbers,
    logits: Scores,
    links: Links,
    clear: NDArray[np.bool_] | None,
    faint: Scores | None,
) -> Numbers:
    """Group the clear faces first. The groups found then stay apart while the others join."""
    if clear is not None and not clear.all():
        among = clear[pairs].all(1)
        first = _Groups(z, beta, cut, links, faint=faint).merge(pairs[among], logits[among])
        settled = (np.bincount(first, minlength=len(z))[first] > 1) | (links.person > 0)
        links = Links(np.where(settled, first + 1, 0), links.apart)
    return _Groups(z, beta, cut, links, faint=faint).merge(pairs, logits)


class _Groups:
    """Groups of faces that are merged step by step. The number of a group is that of its first face.

    The score of two groups is a soft mean of the logits s of their pairs of faces, scale * log(mean(exp(s / scale))).
    It lies between the mean of average linkage (Sokal and Michener 1958) and the maximum of single linkage. So one
    photo in common is worth more than many different ones, and one bridge is still not enough.

    Groups that are each other's best are merged at once, as in the algorithm of reciprocal nearest neighbours (Murtagh
    1983). Only pairs of groups that pass the least cut are kept. A merged group never scores higher than the better of
    its parts. So a pair that is left out is looked at again only where a part has a pair that is kept.
    """

    def __init__(
        self,
        z: NDArray[np.float32],
        beta: float,
        cut: Cut,
        links: Links,
        groups: Numbers | None = None,
        faint: Scores | None = None,
    ) -> None:
        """Start with the faces of each person of `links` together, or with those of each of `groups` (n,)."""
        self._z, self._beta, self._cut = z, beta, cut
        self._least = cut.least
        self._group = np.arange(len(z))
        self._size = np.ones(len(z), np.int64)
        self._faint = np.zeros(len(z)) if faint is None else faint.copy()  # the sum over each group
        self._faces = [np.array([face]) for face in range(len(z))]
        self._person = links.person.copy()
        self._apart = np.empty(0, np.int64)
        together = links.person if groups is None else groups
        known = np.flatnonzero(together)
        _, first, person = np.unique(together[known], return_index=True, return_inverse=True)
        into = known[first][person]
        self._join(known[into != known], into[into != known])
        a, b = self._group[links.apart].T
        self._apart = np.unique(self._keys(a, b)[a != b])

    def merge(self, pairs: Numbers, logits: Scores) -> Numbers:
        """Merge until no two groups pass the cut. Returns the group of each face (n,).

        `pairs` (p, 2) are candidates without repetition, and `logits` (p,) their logits.
        """
        a, b = self._group[pairs].T
        # Most pairs are of two single faces below the least cut. Left out here, they take no memory further on.
        kept = (logits > self._cut.least) | (self._size[a] > 1) | (self._size[b] > 1)
        a, b = a[kept], b[kept]
        found = self._scores(a, b, self._strength(logits[kept]), np.ones(len(a), np.int64))
        while True:
            a, b, strength = found
            into, leaving = self._best_pairs(a, b, self._score(strength))
            if not len(into):
                return self._group
            weight = self._size[a] * self._size[b]
            new = self._join(leaving, into)
            found = self._scores(new[a], new[b], strength, weight)

    def close(self, pairs: Numbers, logits: Scores, depth: float) -> tuple[Numbers, Numbers, Scores]:
        """Pairs of groups (a, b) that fall short of the cut by `depth` at most, and by how much they pass it."""
        self._least = self._cut.least - depth
        a, b = self._group[pairs].T
        keys, place = np.unique(self._keys(a, b), return_inverse=True)
        best = np.full(len(keys), -np.inf)
        np.maximum.at(best, place, logits)
        # A mean lies below its best part. So few pairs need their mean: .5 s in place of 2.0 s for 4,291 faces.
        near = best[place] > self._cuts(a, b) - depth
        a, b, strength = self._scores(a[near], b[near], self._strength(logits[near]), np.ones(near.sum(), np.int64))
        excess = self._score(strength) - self._cuts(a, b)
        kept = excess > -depth
        return a[kept], b[kept], excess[kept]

    def _join(self, leaving: Numbers, into: Numbers) -> Numbers:
        """Let groups join others, and return the new number of each group (n,)."""
        new = np.arange(len(self._z))
        new[leaving] = into
        self._group = new[self._group]
        for one, other in zip(leaving.tolist(), into.tolist(), strict=True):
            self._faces[other] = np.concatenate([self._faces[other], self._faces[one]])
            self._person[other] = max(self._person[other], self._person[one])
        np.add.at(self._size, into, self._size[leaving])
        np.add.at(self._faint, into, self._faint[leaving])
        a, b = np.divmod(self._apart, len(self._z))
        self._apart = np.unique(self._keys(new[a], new[b]))
        return new

    def _scores(self, a: Numbers, b: Numbers, strength: Scores, weight: Numbers) -> tuple[Numbers, Numbers, Scores]:
        """Pairs of different groups (a, b) that may be one person, and their strengths.

        The arguments (p,) may name a pair several times, each time with the mean strength of `weight` pairs of faces.
        Where these are not all pairs of faces, the strength is computed from the faces.
        """
        different = a != b
        keys, place = np.unique(self._keys(a, b)[different], return_inverse=True)
        covered = np.bincount(place, weight[different], len(keys))
        strength = np.bincount(place, (strength * weight)[different], len(keys)) / covered
        a, b = np.divmod(keys, len(self._z))
        allowed = (self._person[a] == 0) | (self._person[b] == 0) | (self._person[a] == self._person[b])
        allowed &= ~np.isin(keys, self._apart, assume_unique=True)
        a, b, strength, covered = a[allowed], b[allowed], strength[allowed], covered[allowed]
        for pair in np.flatnonzero(covered < self._size[a] * self._size[b]):
            za, zb = (self._z[_representatives(self._faces[group])] for group in (a[pair], b[pair]))
            strength[pair] = self._strength(self._beta - np.abs(za[:, None] - zb).sum(-1, dtype=np.float64)).mean()
        passing = self._score(strength) > self._least
        return a[passing], b[passing], strength[passing]

    def _best_pairs(self, a: Numbers, b: Numbers, score: Scores) -> tuple[Numbers, Numbers]:
        """Groups that are each other's best and pass the cut: those that stay, and those that join them."""
        excess = score - self._cuts(a, b)
        passing = excess > 0
        a, b, excess = a[passing], b[passing], excess[passing]
        group, other = np.concatenate([a, b]), np.concatenate([b, a])
        order = np.lexsort((other, -np.concatenate([excess, excess]), group))
        group, other = group[order], other[order]
        first = np.flatnonzero(np.diff(group, prepend=-1))
        best = np.full(len(self._z), -1)
        best[group[first]] = other[first]
        into = np.flatnonzero((best >= 0) & (best[best] == np.arange(len(best))) & (np.arange(len(best)) < best))
        return into, best[into]

    def _cuts(self, a: Numbers, b: Numbers) -> Scores:
        """The cuts (n,) for groups a and b: higher where the faces of both are faint."""
        rise = np.minimum(self._faint[a] / self._size[a], self._faint[b] / self._size[b])
        most = max(self._beta - self._cut.single, 0.0) / 2  # so that blurred shots of one moment stay together
        return np.asarray(self._cut.between(self._size[a], self._size[b]) + np.minimum(rise, most))

    def _strength(self, logits: Scores) -> Scores:
        return np.exp((logits - self._beta) / self._cut.scale)  # at most 1, because beta is the highest logit

    def _score(self, strength: Scores) -> Scores:
        return self._beta + self._cut.scale * np.log(np.maximum(strength, 1e-300))

    def _keys(self, a: Numbers, b: Numbers) -> Numbers:
        return np.minimum(a, b) * len(self._z) + np.maximum(a, b)


def _representatives(faces: Numbers) -> Numbers:
    if len(faces) <= _REPRESENTATIVES:
        return faces
    return faces[np.linspace(0, len(faces) - 1, _REPRESENTATIVES).astype(np.int64)]
