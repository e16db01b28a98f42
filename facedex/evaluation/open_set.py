"""One face against many: N-way one-shot, rank-1 and CMC, strangers against an enrolled crowd, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.evaluation.bootstrap import Curve, Figure
from facedex.evaluation.error_rates import Key
from facedex.evaluation.matchers import Matcher

WAYS = (2, 5, 20, 50)
TRIALS = 1000
RANKS = (1, 5, 10)
FPIRS = (0.01, 0.001)
SIZES = (10, 100, 500)

_CMC = 100  # ranks of the curve
_SPLITS = 20  # galleries drawn of each size
_ROWS = 1024


@dataclass(frozen=True)
class Realised:
    """At the model's own threshold for a target FPIR and `enrolled` people: the FPIR that strangers had, and the
    FNIR it cost; means over galleries drawn at random.
    """

    enrolled: int
    target: float
    fpir: Figure
    fnir: Figure


@dataclass(frozen=True)
class Identification:
    """Figures by (name, argument); the CMC (share found over the rank); the N-way accuracy over N; the realised FPIR."""

    figures: dict[Key, Figure]
    cmc: Curve
    ways: Curve
    realised: list[Realised]


@dataclass(frozen=True)
class _Galleries:
    """Photos against random galleries of one size: `enrolled` (splits, people) bool, `best` (splits, photos) the
    highest score of anybody enrolled but the person shown, and `whose` (splits, photos) it is.
    """

    enrolled: np.ndarray
    best: np.ndarray
    whose: np.ndarray


def identification(
    matcher: Matcher, points: np.ndarray, people: np.ndarray, weights: np.ndarray, seed: int = 0
) -> Identification:
    """Figures of n points (n, dim) whose people (n,) are 0 .. P - 1 in rising order; `weights` (replicates, P).

    Each person's first photo is the one enrolled. Replicates draw the people who are looked for; the galleries stay,
    as nobody can be enrolled twice.
    """
    first, sizes = np.unique(people, return_index=True, return_counts=True)[1:]
    rng = np.random.default_rng([seed, 0x1D])
    paired = np.flatnonzero(sizes >= 2)
    half = np.zeros((_SPLITS, len(sizes)), bool)
    for split in half:
        split[rng.permutation(paired)[: max(1, len(paired) // 2)]] = True
    drawn = [half]
    fitting = [size for size in SIZES if size <= 0.75 * len(sizes)]
    for size in fitting:
        rows = np.zeros((_SPLITS, len(sizes)), bool)
        for split in rows:
            split[rng.choice(len(sizes), size, replace=False)] = True
        drawn.append(rows)
    own, rank, galleries = _against(matcher, points, people, first, drawn)

    figures: dict[Key, Figure] = {}
    ways = nway(matcher, points, people, weights, rng)
    figures.update({("n_way", name): figure for name, figure in ways.items()})
    probes = np.ones(len(people), bool)
    probes[first] = False
    hits = rank[probes, None] <= np.arange(1, min(_CMC, len(sizes)) + 1)
    found, spread = share(hits, people[probes], weights)
    figures.update(
        {("rank", str(r)): Figure(float(found[r - 1]), spread[:, r - 1], len(paired)) for r in RANKS if r <= len(found)}
    )
    for fpir in FPIRS:
        figures["fnir", f"{fpir:g}"] = fnir_at_fpir(galleries[0], own, people, probes, weights, fpir)
    at = np.array([len(sizes) if name == "all" else int(name) for name in ways])
    return Identification(
        figures,
        Curve.of(np.arange(1, len(found) + 1), found, spread),
        Curve.of(at, np.array([one.value for one in ways.values()]), np.stack([one.draws for one in ways.values()], 1)),
        [
            realised(gallery, own, people, probes, weights, matcher.calibration, size, fpir)
            for size, gallery in zip(fitting, galleries[1:], strict=True)
            for fpir in FPIRS
            if matcher.calibration
        ],
    )


def _against(
    matcher: Matcher, points: np.ndarray, people: np.ndarray, first: np.ndarray, drawn: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[_Galleries]]:
    """Everybody's photos against everybody's first photo, block by block: the score against one's own (n,), one's
    rank among all (n,), and the best of others in each gallery drawn (splits, people).
    """
    own, rank = np.empty(len(people), np.float32), np.empty(len(people), np.int64)
    best = [np.empty((len(rows), len(people)), np.float32) for rows in drawn]
    whose = [np.empty((len(rows), len(people)), np.int32) for rows in drawn]
    columns = [[np.flatnonzero(split) for split in rows] for rows in drawn]
    for start in range(0, len(people), _ROWS):
        part = slice(start, start + _ROWS)
        scores = matcher.block(points[part], points[first])
        at = np.arange(len(scores)), people[part]
        own[part] = scores[at]
        scores[at] = -np.inf
        rank[part] = 1 + (scores >= own[part, None]).sum(1)  # a tie counts against
        for out, who, lists in zip(best, whose, columns, strict=True):
            for split, chosen in enumerate(lists):
                among = scores[:, chosen]
                highest = among.argmax(1)
                out[split, part], who[split, part] = among[at[0], highest], chosen[highest]
    return own, rank, [_Galleries(*each) for each in zip(drawn, best, whose, strict=True)]


def nway(
    matcher: Matcher, points: np.ndarray, people: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> dict[str, Figure]:
    """N-way one-shot accuracy: of N people drawn, each enrolled with one photo drawn, is another photo of the first
    most like that person's? 1,000 trials an N; a tie is a miss. Koch et al. 2015, section 4.3 (after Lake et al.
    2013). For all people ten galleries of one photo each are drawn, and a hundred probes for each.
    """
    starts, sizes = np.unique(people, return_index=True, return_counts=True)[1:]
    paired, everybody = np.flatnonzero(sizes >= 2), np.arange(len(sizes))
    found = {}
    for way in (*(way for way in WAYS if way < len(sizes)), len(sizes)):
        person = rng.choice(paired, TRIALS)
        shown = rng.integers(sizes[person])
        probe = points[starts[person] + shown]
        kept = (shown + 1 + rng.integers(sizes[person] - 1)) % sizes[person]  # another photo of the same
        own = matcher.pairs(probe, points[starts[person] + kept])
        rival = np.full(TRIALS, -np.inf, np.float32)
        if way == len(sizes):
            for trials in np.array_split(np.arange(TRIALS), 10):
                scores = matcher.block(probe[trials], points[starts + rng.integers(sizes)])
                scores[np.arange(len(trials)), person[trials]] = -np.inf
                rival[trials] = scores.max(1)
        else:
            others = np.stack([rng.choice(everybody[:-1], way - 1, replace=False) for _ in range(TRIALS)])
            others += others >= person[:, None]
            for column in others.T:
                enrolled = points[starts[column] + rng.integers(sizes[column])]
                rival = np.maximum(rival, matcher.pairs(probe, enrolled))
        value, draws = share((own > rival)[:, None], person, weights)
        found["all" if way == len(sizes) else str(way)] = Figure(float(value[0]), draws[:, 0], len(paired))
    return found


def share(hits: np.ndarray, person: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of hits (n, k) bool, whose rows show `person` (n,): (k,), and of each replicate (replicates, k)."""
    total = np.bincount(person, minlength=weights.shape[1]).astype(np.float32)
    by_person = np.zeros((weights.shape[1], hits.shape[1]), np.float32)
    np.add.at(by_person, person, hits.astype(np.float32))
    with np.errstate(invalid="ignore"):
        return hits.mean(0), (weights @ by_person) / (weights @ total)[:, None]


def fnir_at_fpir(
    galleries: _Galleries, own: np.ndarray, people: np.ndarray, probes: np.ndarray, weights: np.ndarray, fpir: float
) -> Figure:
    """FNIR: the share of enrolled people's other photos that are not given their name, at the threshold that gives
    at most a share `fpir` of strangers' photos one. A mean over galleries; each has a threshold of its own.

    A miss is a score below the threshold or a higher one of somebody else (ISO/IEC 19795-1; NIST's FRVT 1:N at rank
    1). nan where no gallery has enough strangers for one alarm.
    """
    values: list[np.ndarray] = []
    draws: list[np.ndarray] = []
    looked_for = np.zeros(weights.shape[1], bool)
    for enrolled, best in zip(galleries.enrolled, galleries.best, strict=True):
        strangers = np.flatnonzero(~enrolled[people])
        mated = np.flatnonzero(enrolled[people] & probes)
        if fpir * len(strangers) < 1 or not len(mated):
            continue
        looked_for[people[mated]] = True
        strangers = strangers[np.argsort(-best[strangers], kind="stable")]
        # The score by which each mated photo is found, if it is at all; and how many strangers' lie at or above.
        named = np.where(own[mated] > best[mated], own[mated], -np.inf)
        order = np.argsort(-named, kind="stable")
        passing = np.searchsorted(-named[order], -best[strangers], side="left")  # mated scores above each stranger's
        for wanted, out in ((np.ones((1, weights.shape[1]), np.float32), values), (weights, draws)):
            parts = []
            for chunk in np.array_split(wanted, max(1, len(wanted) // 100)):
                alarms = np.cumsum(chunk[:, people[strangers]], axis=1)
                first = (alarms <= fpir * (1 + 1e-6) * alarms[:, -1:]).sum(1)
                hits = np.cumsum(chunk[:, people[mated[order]]], axis=1)
                count = np.append(passing, len(mated))[np.minimum(first, len(strangers))]
                count = np.minimum(count, np.isfinite(named).sum())
                reached = np.where(count > 0, hits[np.arange(len(chunk)), np.maximum(count - 1, 0)], 0)
                with np.errstate(invalid="ignore"):
                    parts.append(1 - reached / hits[:, -1])
            out.append(np.concatenate(parts))
    if not values:
        return Figure(float("nan"), np.empty(0))
    return Figure(float(np.mean(values)), np.mean(draws, axis=0), int(looked_for.sum()))


def realised(
    galleries: _Galleries,
    own: np.ndarray,
    people: np.ndarray,
    probes: np.ndarray,
    weights: np.ndarray,
    calibration: Calibration | None,
    size: int,
    target: float,
) -> Realised:
    """FPIR and FNIR at the calibration's threshold for `size` enrolled people. Replicates draw people again, as
    strangers and as whom these are taken for together (pigeonhole bootstrap, Owen 2007).
    """
    assert calibration is not None
    threshold = calibration.threshold(size, target)
    enrolled = galleries.enrolled[:, people]  # (splits, photos)
    alarms = (galleries.best >= threshold) & ~enrolled
    mated = enrolled & probes
    missed = mated & ~((own >= threshold) & (own > galleries.best))

    def rate(events: np.ndarray, trials: np.ndarray, blamed: np.ndarray | None) -> Figure:
        if not trials.any():
            return Figure(float("nan"), np.empty(0))
        split, photo = np.nonzero(events)
        pairs, times = np.unique(
            np.stack([people[photo], people[photo] if blamed is None else blamed[split, photo]]),
            axis=1,
            return_counts=True,
        )
        sums = np.zeros(len(weights))
        for start in range(0, pairs.shape[1], _ROWS):
            one, other = pairs[:, start : start + _ROWS]
            both = weights[:, one] if blamed is None else weights[:, one] * weights[:, other]
            sums += both @ times[start : start + _ROWS]
        tried = np.bincount(people, trials.sum(0), minlength=weights.shape[1])
        with np.errstate(invalid="ignore"):
            draws = np.minimum(sums / (weights @ tried), 1)  # two people's weights may come to more than all trials
        return Figure(float(events.sum() / trials.sum()), draws, len(np.unique(people[trials.any(0)])))

    return Realised(size, target, rate(alarms, ~enrolled, galleries.whose), rate(missed, mated, None))
