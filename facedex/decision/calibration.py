"""Logits to probabilities, and the threshold for a stated rate of false alarms at a gallery's size.

Fitted on people that were neither trained on nor used to choose the checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from facedex.decision.fitting import LEAST_PEOPLE, Enrolled, platt, sample, weighed_pairs
from facedex.decision.posterior import CONTENDERS, Normal, Scores, posterior
from facedex.decision.tail import Tail, over_probes
from facedex.errors import DataError, ModelError

__all__ = ["CONTENDERS", "LEAST_PEOPLE", "Calibration", "Normal", "Scores", "fit_calibration", "platt", "with_tail_of"]

VERSION = 4
PHOTOS = (1, 2, 4)  # a person: numbers for which scores are fitted; others count as the next lower

_REPLICATES = 40  # of the bootstrap: enough for an interval of 90 %


@dataclass(frozen=True)
class Calibration:
    """What turns a logit into an answer.

    `slope`, `offset`: Platt scaling, P(same) = sigmoid(slope * logit + offset) when half the pairs are the same.
    `scores`: how enrolled people score, by their number of photos. `replicates`: the tails of fits on
    resampled people (bootstrap), from which the error follows. `people`, `faces`: how many it was fitted on. `unclear`: the length, before it is brought to 1, that one embedding in twenty falls short of; 0 where not known.
    `by_quality`, `usual`: how own faces' scores follow quality, see `shifts`.
    """

    slope: float
    offset: float
    scores: tuple[Scores, ...]
    replicates: tuple[tuple[Tail, ...], ...]
    people: int
    faces: int
    unclear: float = 0.0
    by_quality: float = 0.0
    usual: float = 0.0

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> Calibration:
        """Read from a model's metadata. Raises ModelError when it has none, or one of another version."""
        try:
            stored = meta["calibration"]
            if stored["version"] == 2:
                stored = _second_version(stored)
            if stored["version"] == 3:
                stored = {**stored, "version": VERSION, "by_quality": 0.0, "usual": 0.0}
            if stored["version"] != VERSION:
                raise ModelError(
                    f"The model's calibration has version {stored['version']!r}, this facedex reads {VERSION}; "
                    "use the facedex that made the model, or train the model again"
                )
            scores = tuple(
                Scores(
                    int(one["photos"]),
                    tuple(Normal(*map(float, part)) for part in one["genuine"]),
                    Tail(*map(float, one["impostor"])),
                )
                for one in stored["scores"]
            )
            replicates = tuple(tuple(Tail(*map(float, tail)) for tail in tails) for tails in stored["replicates"])
            if (
                [one.photos for one in scores][:1] != [1]
                or not all(one.genuine for one in scores)
                or any(len(tails) != len(scores) for tails in replicates)
            ):
                raise ValueError("levels are missing")
            return cls(float(stored["slope"]), float(stored["offset"]), scores, replicates, int(stored["people"]),
                       int(stored["faces"]), float(stored["unclear"]), float(stored["by_quality"]),
                       float(stored["usual"]))  # fmt: skip
        except (KeyError, TypeError, ValueError):
            raise ModelError("The model has no calibration that this facedex can read; train it again") from None

    def to_meta(self) -> dict[str, Any]:
        """What `from_meta` reads."""
        return {
            "version": VERSION, "slope": self.slope, "offset": self.offset,
            "scores": [
                {"photos": one.photos, "genuine": [[round(value, 6) for value in astuple(part)] for part in one.genuine],
                 "impostor": one.impostor.to_meta()} for one in self.scores
            ],
            "replicates": [[tail.to_meta() for tail in tails] for tails in self.replicates],
            "people": self.people, "faces": self.faces, "unclear": self.unclear,
            "by_quality": self.by_quality, "usual": self.usual,
        }  # fmt: skip

    def similarity(self, logit: np.ndarray | float) -> np.ndarray:
        """Calibrated probability that a pair is the same person, if half of all pairs were."""
        return _sigmoid(self.slope * np.asarray(logit, np.float64) + self.offset)

    def false_alarm_rate(self, threshold: float, people: int | np.ndarray) -> float:
        """FPIR: the chance that the best of the enrolled people, all strangers to the probe, passes the threshold.

        `people`: how many are enrolled from one photo each, or everybody's number of photos (n,). With S the
        survival of a probe's impostor scores, the mean over probes of 1 - (1 - S)^N.
        """
        return _rate([one.impostor for one in self.scores], self._counts(people), threshold)

    def threshold(self, people: int | np.ndarray, fpir: float) -> float:
        """The logit above which a stranger is named with probability `fpir` against these enrolled people."""
        return _threshold([one.impostor for one in self.scores], self._counts(people), fpir)

    def threshold_error(self, people: int | np.ndarray, fpir: float) -> float:
        """The threshold's standard error, from the bootstrap over the people it was fitted on; NaN without one."""
        counts = self._counts(people)
        found = [_threshold(list(tails), counts, fpir) for tails in self.replicates]
        return float(np.std(found, ddof=1)) if len(found) > 1 and counts.any() else float("nan")

    def interval(self, threshold: float, people: int | np.ndarray) -> tuple[float, float]:
        """The FPIR that a threshold may stand for, given the fit's error: the middle 90 % of the bootstrap."""
        counts = self._counts(people)
        found = [_rate(list(tails), counts, threshold) for tails in self.replicates]
        if not found:
            return float("nan"), float("nan")
        # numpy's own quantile loads its masked arrays first, which takes as long as many a look-up.
        low, high = np.interp([0.05, 0.95], np.linspace(0, 1, len(found)), np.sort(found))
        return float(low), float(high)

    def posterior(
        self, scores: np.ndarray, photos: np.ndarray, people: int, prior: float, shifts: np.ndarray | None = None
    ) -> np.ndarray:
        """See posterior.posterior; `photos` (n,) are the candidates' numbers of photos. Raises ValueError for a prior
        outside 0..1.
        """
        _check(prior)
        return posterior(self.scores, scores, self._level(photos), people, prior, shifts)

    def shifts(self, quality: float, faces: np.ndarray, owner: np.ndarray, people: np.ndarray) -> np.ndarray:
        """By how much more than usual a probe would score against its own person, if that were each of `people` (n,).

        `quality` is the probe's, `faces` (m,) those of enrolled faces, `owner` (m,) whose these are; a quality of 0 is
        not known, and counts as usual. A short embedding says that the network saw little of the face, so the own
        person scores lower (as in Meng et al. 2021, MagFace, where the length is trained to say so). With q the
        qualities and the mean over the person's faces

            h = by_quality (log q_probe - usual + mean(log q_face - usual)).
        """
        persons, at = np.unique(owner, return_inverse=True)
        means = np.bincount(at, self._clear(faces)) / np.bincount(at)
        return self.by_quality * (self._clear(np.array(quality)) + means[np.searchsorted(persons, people)])

    def _clear(self, quality: np.ndarray) -> np.ndarray:
        known = (quality > 0) & (quality < np.inf)
        return np.where(known, np.log(np.where(known, quality, 1.0)) - self.usual, 0.0)

    def pair_posterior(self, logit: float, prior: float) -> float:
        """Probability that two photos show one person, if `prior` of such pairs did: Bayes on `similarity`. Raises
        ValueError for a prior outside 0..1.
        """
        _check(prior)
        if prior in (0, 1):
            return float(prior)
        odds = self.slope * logit + self.offset + math.log(prior / (1 - prior))
        return float(_sigmoid(np.array(odds)))

    def _level(self, photos: np.ndarray) -> np.ndarray:
        return np.searchsorted([one.photos for one in self.scores], np.maximum(photos, 1), "right") - 1

    def _counts(self, people: int | np.ndarray) -> np.ndarray:
        """How many people count as having the number of photos of each of `scores`."""
        if isinstance(people, np.ndarray):
            return np.bincount(self._level(people), minlength=len(self.scores))
        return np.array([people] + [0] * (len(self.scores) - 1))


def fit_calibration(matrix: np.ndarray, people: np.ndarray, lengths: np.ndarray | None = None) -> Calibration:
    """Fit on a matrix of logits (n, n) of n faces and whom each shows (n,). Everybody counts the same, whatever
    the number of photos. `lengths` (n,) are the embeddings', before they were brought to 1.

    Raises DataError with fewer than four people, or no two faces of one.
    """
    people = np.unique(people, return_inverse=True)[1]
    if people.size == 0 or people.max() + 1 < LEAST_PEOPLE or np.bincount(people).max() < 2:
        raise DataError("Calibration needs at least four people, some of them with two photos; add people")
    chosen = sample(people)
    people = np.unique(people[chosen], return_inverse=True)[1]  # of many people some are left out
    matrix = matrix[np.ix_(chosen, chosen)].astype(np.float64)
    genuine, impostor, weights = weighed_pairs(matrix, people)
    slope, offset = platt(genuine, impostor, weights)

    usual, clear = 0.0, np.zeros(len(people))
    if lengths is not None:
        logs = np.log(np.maximum(lengths[chosen].astype(np.float64), 1e-12))
        usual = round(float(np.average(logs, weights=1 / np.bincount(people)[people])), 6)
        clear = logs - usual
    sets = [found for photos in PHOTOS if (found := Enrolled.of(matrix, people, photos, clear)) is not None]
    by_quality = round(sets[0].by_quality(), 6)
    once = np.ones(people.max() + 1)
    scores = tuple(Scores(one.photos, one.genuine(by_quality), one.tail(once)) for one in sets)
    rng = np.random.default_rng(0xB007)
    replicates = []
    for _ in range(_REPLICATES):
        times = np.bincount(rng.integers(0, len(once), len(once)), minlength=len(once)).astype(np.float64)
        if (times > 0).sum() >= LEAST_PEOPLE and all(one.owners(times) >= LEAST_PEOPLE for one in sets):
            replicates.append(
                tuple(one.tail(times, level.impostor.start) for one, level in zip(sets, scores, strict=True))
            )
    unclear = 0.0 if lengths is None else round(float(np.quantile(lengths, 0.05)), 4)
    return Calibration(slope, offset, scores, tuple(replicates), len(once), len(people), unclear, by_quality, usual)


def with_tail_of(fitted: Calibration, other: Calibration, impostors: tuple[np.ndarray, np.ndarray]) -> Calibration:
    """A calibration with the scores of another, the impostor tail among them: for people too few to show one of their
    own. `impostors` are the logits (n,) of the same pairs of strangers by the other's model and by this one's: two
    models may differ in where and how wide their logits lie, so the scores are moved by mean and standard deviation.
    """
    theirs, mine = impostors
    factor = float(mine.std() / theirs.std()) if min(mine.std(), theirs.std()) > 1e-9 else 1.0
    shift = float(mine.mean() - factor * theirs.mean())
    return replace(
        other, slope=fitted.slope, offset=fitted.offset, unclear=fitted.unclear, usual=fitted.usual,
        by_quality=factor * other.by_quality,
        scores=tuple(one.moved(factor, shift) for one in other.scores),
        replicates=tuple(tuple(tail.moved(factor, shift) for tail in tails) for tails in other.replicates),
    )  # fmt: skip


def _check(prior: float) -> None:
    if not 0 <= prior <= 1:
        raise ValueError(f"prior must lie between 0 and 1, not {prior}")


def _rate(tails: list[Tail], counts: np.ndarray, threshold: float) -> float:
    logs = sum(
        count * np.log1p(-np.minimum(tail.survival(threshold), 1 - 1e-12))
        for tail, count in zip(tails, counts, strict=True)
        if count
    )
    return over_probes(-np.expm1(logs)) if np.ndim(logs) else 0.0


def _threshold(tails: list[Tail], counts: np.ndarray, fpir: float) -> float:
    if not 0 < fpir < 1:
        raise ValueError(f"fpir must lie between 0 and 1, not {fpir}")
    fpir = min(fpir, 1 - 1e-9)  # beyond, no threshold is low enough
    if not counts.any():
        return float("inf")
    step = max(tails[0].scale, 1e-6)
    low, high = tails[0].location, tails[0].location + step
    while _rate(tails, counts, low) < fpir:
        low, step = low - step, 2 * step
    while _rate(tails, counts, high) > fpir:
        low, high, step = high, high + step, 2 * step
    while high - low > 1e-9 * max(1.0, abs(high)):
        middle = (low + high) / 2
        low, high = (middle, high) if _rate(tails, counts, middle) > fpir else (low, middle)
    return float(high)


def _second_version(stored: dict[str, Any]) -> dict[str, Any]:
    """A calibration of galleries' models of the first format: own faces by one normal distribution, and among the
    replicates such of a form of tail that is gone, which have a tenth number.
    """
    scores = [{**one, "genuine": [[1.0, *one["genuine"]]]} for one in stored["scores"]]
    replicates = [tails for tails in stored["replicates"] if all(len(tail) == 9 for tail in tails)]
    return {**stored, "version": 3, "scores": scores, "replicates": replicates}


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -z))
