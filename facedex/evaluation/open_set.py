"""One face against many: N-way one-shot, rank-1 and CMC, and strangers against a gallery, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.decision.calibration import Calibration
from facedex.evaluation.bootstrap import Curve, Figure
from facedex.evaluation.error_rates import Key
from facedex.evaluation.matchers import Matcher

WAYS = (2, 5, 20, 50)
TRIALS = 1000
RANKS = (1, 5, 10)
FPIRS = (0.01, 0.001)
SIZES = (10, 100, 500)

_CMC_RANKS = 100
_SPLITS = 20  # galleries drawn of each size
_ROWS = 1024  # photos scored at a time
_REPLICATES = 100  # replicates worked out at a time, so that memory stays bounded

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class RealisedRates:
    """The FPIR and FNIR at the model's own threshold for a `target` FPIR and `enrolled` people.

    Both are means over galleries drawn at random.
    """

    enrolled: int
    target: float
    fpir: Figure
    fnir: Figure


@dataclass(frozen=True)
class OpenSet:
    """Figures by (name, argument), the CMC (share found over the rank), N-way accuracy over N, and realised rates."""

    figures: dict[Key, Figure]
    cmc: Curve
    ways: Curve
    realised: list[RealisedRates]


@dataclass(frozen=True)
class Probes:
    """Every photo searched for among all people, each of whom is enrolled with the first photo.

    `people` (n,) is the person of each photo and `own` (n,) float32 the score with that person's enrolled photo.
    `rank` (n,) is where that score ranks among all people, from 1; a tie counts against it. `mated` (n,) bool is False
    for the enrolled photos themselves.
    """

    people: Indices
    own: Floats
    rank: Indices
    mated: Bools


@dataclass(frozen=True)
class Galleries:
    """Random galleries of one size, and how every photo scores against each.

    `enrolled` (galleries, people) bool. `best` (galleries, photos) float32 is the highest score with anybody enrolled
    but the person shown, and `rival` (galleries, photos) is that other person.
    """

    enrolled: Bools
    best: Floats
    rival: Indices


def measure_open_set(matcher: Matcher, points: Floats, people: Indices, weights: Floats, seed: int = 0) -> OpenSet:
    """Figures of n points (n, dim) whose people (n,) are 0 .. P - 1 in rising order; `weights` (replicates, P).

    Each person's first photo is enrolled. Replicates resample the people who are searched for. The galleries stay,
    because nobody can be enrolled twice.
    """
    first, sizes = np.unique(people, return_index=True, return_counts=True)[1:]
    rng = np.random.default_rng([seed, 0x1D])
    paired = np.flatnonzero(sizes >= 2)
    half_of_paired = np.zeros((_SPLITS, len(sizes)), bool)
    for row in half_of_paired:
        row[rng.permutation(paired)[: max(1, len(paired) // 2)]] = True
    fitting = [size for size in SIZES if size <= 0.75 * len(sizes)]
    drawn = [half_of_paired, *(_random_galleries(len(sizes), size, rng) for size in fitting)]
    probes, galleries = _search(matcher, points, people, first, drawn)

    ways = nway(matcher, points, people, weights, rng)
    figures: dict[Key, Figure] = {("n_way", way): figure for way, figure in ways.items()}
    hits = probes.rank[probes.mated, None] <= np.arange(1, min(_CMC_RANKS, len(sizes)) + 1)
    found, spread = share(hits, people[probes.mated], weights)
    for rank in RANKS:
        if rank <= len(found):
            figures["rank", str(rank)] = Figure(float(found[rank - 1]), spread[:, rank - 1], len(paired))
    for fpir in FPIRS:
        figures["fnir", f"{fpir:g}"] = fnir_at_fpir(galleries[0], probes, weights, fpir)
    calibration = matcher.calibration
    realised = [
        realised_rates(gallery, probes, weights, calibration, size, fpir)
        for size, gallery in zip(fitting, galleries[1:], strict=True)
        for fpir in FPIRS
        if calibration
    ]
    cmc = Curve.of(np.arange(1.0, len(found) + 1), found, spread)
    return OpenSet(figures, cmc, _ways_curve(ways, len(sizes)), realised)


def _random_galleries(people: int, size: int, rng: np.random.Generator) -> Bools:
    """Galleries of `size` people each, (galleries, people) bool."""
    enrolled = np.zeros((_SPLITS, people), bool)
    for row in enrolled:
        row[rng.choice(people, size, replace=False)] = True
    return enrolled


def _search(
    matcher: Matcher, points: Floats, people: Indices, first: Indices, drawn: list[Bools]
) -> tuple[Probes, list[Galleries]]:
    """Score every photo against every person's first photo, block by block.

    `first` (P,) are the positions of the first photos. `drawn` are galleries, (galleries, P) bool each.
    """
    own, rank = np.empty(len(people), np.float32), np.empty(len(people), np.int64)
    best = [np.empty((len(rows), len(people)), np.float32) for rows in drawn]
    rivals = [np.empty((len(rows), len(people)), np.int32) for rows in drawn]
    columns = [[np.flatnonzero(gallery) for gallery in rows] for rows in drawn]
    for start in range(0, len(people), _ROWS):
        part = slice(start, start + _ROWS)
        scores = matcher.block(points[part], points[first])
        rows = np.arange(len(scores))
        own[part] = scores[rows, people[part]]
        scores[rows, people[part]] = -np.inf
        rank[part] = 1 + (scores >= own[part, None]).sum(1)
        for best_of_size, rival_of_size, enrolled_lists in zip(best, rivals, columns, strict=True):
            for gallery, enrolled in enumerate(enrolled_lists):
                among = scores[:, enrolled]
                highest = among.argmax(1)
                best_of_size[gallery, part] = among[rows, highest]
                rival_of_size[gallery, part] = enrolled[highest]
    mated = np.ones(len(people), bool)
    mated[first] = False
    galleries = [Galleries(*parts) for parts in zip(drawn, best, rivals, strict=True)]
    return Probes(people, own, rank, mated), galleries


def nway(
    matcher: Matcher, points: Floats, people: Indices, weights: Floats, rng: np.random.Generator
) -> dict[str, Figure]:
    """N-way one-shot accuracy, by "2", "5", … and "all" (Koch et al. 2015, section 4.3, after Lake et al. 2013).

    N people are drawn, and each is enrolled with one photo drawn. A trial succeeds if another photo of the first person
    is most like that person's enrolled photo; a tie is a miss. There are 1,000 trials for each N. For all people, ten
    galleries of one photo each are drawn, and a hundred probes for each.
    """
    starts, sizes = np.unique(people, return_index=True, return_counts=True)[1:]
    paired, others = np.flatnonzero(sizes >= 2), np.arange(len(sizes) - 1)
    found = {}
    for way in (*(way for way in WAYS if way < len(sizes)), len(sizes)):
        person = rng.choice(paired, TRIALS)
        photo = rng.integers(sizes[person])
        probe = points[starts[person] + photo]
        enrolled_photo = (photo + 1 + rng.integers(sizes[person] - 1)) % sizes[person]  # never the probe itself
        own = matcher.pairs(probe, points[starts[person] + enrolled_photo])
        rival = np.full(TRIALS, -np.inf, np.float32)
        if way == len(sizes):
            for trials in np.array_split(np.arange(TRIALS), 10):
                scores = matcher.block(probe[trials], points[starts + rng.integers(sizes)])
                scores[np.arange(len(trials)), person[trials]] = -np.inf
                rival[trials] = scores.max(1)
        else:
            rivals = np.stack([rng.choice(others, way - 1, replace=False) for _ in range(TRIALS)])
            rivals += rivals >= person[:, None]
            for column in rivals.T:
                enrolled = points[starts[column] + rng.integers(sizes[column])]
                rival = np.maximum(rival, matcher.pairs(probe, enrolled))
        value, draws = share((own > rival)[:, None], person, weights)
        found["all" if way == len(sizes) else str(way)] = Figure(float(value[0]), draws[:, 0], len(paired))
    return found


def _ways_curve(ways: dict[str, Figure], people: int) -> Curve:
    """The N-way accuracy over N."""
    n = np.array([float(people if way == "all" else way) for way in ways])
    values = np.array([figure.value for figure in ways.values()])
    return Curve.of(n, values, np.stack([figure.draws for figure in ways.values()], 1))


def share(hits: Bools, person: Indices, weights: Floats) -> tuple[Floats, Floats]:
    """Means of hits (n, k) bool, whose rows show `person` (n,): (k,), and of each replicate (replicates, k)."""
    total = np.bincount(person, minlength=weights.shape[1]).astype(np.float32)
    by_person = np.zeros((weights.shape[1], hits.shape[1]), np.float32)
    np.add.at(by_person, person, hits.astype(np.float32))
    with np.errstate(invalid="ignore"):
        return hits.mean(0), (weights @ by_person) / (weights @ total)[:, None]


def fnir_at_fpir(galleries: Galleries, probes: Probes, weights: Floats, fpir: float) -> Figure:
    """FNIR at the threshold that names at most a share `fpir` of the strangers; a mean over galleries.

    A miss is a mated probe that scores below the threshold, or lower than somebody else (ISO/IEC 19795-1; NIST's FRVT
    1:N at rank 1). Each gallery has a threshold of its own. nan where no gallery has enough strangers for one false
    alarm.
    """
    values: list[NDArray[Any]] = []
    draws: list[NDArray[Any]] = []
    searched = np.zeros(weights.shape[1], bool)
    once = np.ones((1, weights.shape[1]), np.float32)
    for enrolled, best in zip(galleries.enrolled, galleries.best, strict=True):
        strangers = np.flatnonzero(~enrolled[probes.people])
        mated = np.flatnonzero(enrolled[probes.people] & probes.mated)
        if fpir * len(strangers) < 1 or not len(mated):
            continue
        searched[probes.people[mated]] = True
        strangers = strangers[np.argsort(-best[strangers], kind="stable")]
        # A mated probe is found by its own score, or never where somebody else scores as high.
        found_at = np.where(probes.own[mated] > best[mated], probes.own[mated], -np.inf)
        order = np.argsort(-found_at, kind="stable")
        count_above = np.append(np.searchsorted(-found_at[order], -best[strangers], side="left"), len(mated))
        count_above = np.minimum(count_above, np.isfinite(found_at).sum())  # mated probes above each stranger
        for people_weights, out in ((once, values), (weights, draws)):
            parts = []
            for chunk in np.array_split(people_weights, max(1, len(people_weights) // _REPLICATES)):
                alarms = np.cumsum(chunk[:, probes.people[strangers]], axis=1)
                allowed = (alarms <= fpir * (1 + 1e-6) * alarms[:, -1:]).sum(1)
                hits = np.cumsum(chunk[:, probes.people[mated[order]]], axis=1)
                count = count_above[np.minimum(allowed, len(strangers))]
                hit = np.where(count > 0, hits[np.arange(len(chunk)), np.maximum(count - 1, 0)], 0)
                with np.errstate(invalid="ignore"):
                    parts.append(1 - hit / hits[:, -1])
            out.append(np.concatenate(parts))
    if not values:
        return Figure(float("nan"), np.empty(0))
    return Figure(float(np.mean(values)), np.mean(draws, axis=0), int(searched.sum()))


def realised_rates(
    galleries: Galleries, probes: Probes, weights: Floats, calibration: Calibration, size: int, target: float
) -> RealisedRates:
    """FPIR and FNIR at the calibration's threshold for `size` enrolled people and a `target` FPIR.

    For the FPIR, replicates resample people as strangers and as the people they are taken for (pigeonhole bootstrap,
    Owen 2007).
    """
    threshold = calibration.threshold(size, target)
    enrolled = galleries.enrolled[:, probes.people]  # (galleries, photos)
    alarms = (galleries.best >= threshold) & ~enrolled
    mated = enrolled & probes.mated
    missed = mated & ~((probes.own >= threshold) & (probes.own > galleries.best))
    fpir = _rate(alarms, ~enrolled, probes.people, weights, galleries.rival)
    return RealisedRates(size, target, fpir, _rate(missed, mated, probes.people, weights, None))


def _rate(events: Bools, trials: Bools, people: Indices, weights: Floats, rival: Indices | None) -> Figure:
    """The share of `trials` that are `events`, both (galleries, photos) bool.

    In a replicate an event counts as often as its person was drawn, times how often its `rival` was, where given.
    """
    if not trials.any():
        return Figure(float("nan"), np.empty(0))
    gallery, photo = np.nonzero(events)
    second = people[photo] if rival is None else rival[gallery, photo]
    pairs, times = np.unique(np.stack([people[photo], second]), axis=1, return_counts=True)
    sums = np.zeros(len(weights))
    for start in range(0, pairs.shape[1], _ROWS):
        person, other = pairs[:, start : start + _ROWS]
        weight = weights[:, person] if rival is None else weights[:, person] * weights[:, other]
        sums += weight @ times[start : start + _ROWS]
    tried = np.bincount(people, trials.sum(0), minlength=weights.shape[1])
    with np.errstate(invalid="ignore"):
        draws = np.minimum(sums / (weights @ tried), 1)  # the product of two weights may exceed all trials
    return Figure(float(events.sum() / trials.sum()), draws, len(np.unique(people[trials.any(0)])))
