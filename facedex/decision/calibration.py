"""Logits to probabilities, and the threshold that keeps a stated rate of false alarms at a gallery's size.

A calibration is fitted on people that were neither trained on nor used to choose the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from facedex.decision.fitting import LEAST_PEOPLE, EnrolledSets, platt, sample, weighed_pairs
from facedex.decision.misfit import own_below
from facedex.decision.posterior import Scores, posterior
from facedex.decision.tail import PROBE_WEIGHT, Tail, over_probes
from facedex.errors import DataError, ModelError

VERSION = 4
PHOTOS = (1, 2, 4)  # photos a person for which scores are fitted; another number counts as the next lower one

_REPLICATES = 40  # of the bootstrap, enough for an interval of 90 %


@dataclass(frozen=True)
class Calibration:
    """What turns a logit into an answer.

    `slope`, `offset`: Platt scaling, P(same) = sigmoid(slope * logit + offset), when half of the pairs are genuine.
    `scores`: the distributions of genuine and impostor scores, one for each number of photos in PHOTOS.
    `replicates`: the impostor tails of fits on resampled people (bootstrap), which give the error of a threshold.
    `people`, `faces`: how many the calibration was fitted on.
    `unclear`: the quality below which one face in twenty lies, 0 where unknown. Quality is the length of a network's
    vector before it is scaled to 1, or the geometric mean of these lengths with several networks.
    `by_quality`, `usual`: how genuine scores follow quality, see `shifts`.
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
            if stored["version"] != VERSION:
                raise ModelError(
                    f"The model's calibration has version {stored['version']!r}, this facedex reads {VERSION}; "
                    "use the facedex that made the model, or train the model again"
                )
            scores = tuple(map(Scores.from_meta, stored["scores"]))
            replicates = tuple(tuple(Tail(*map(float, tail)) for tail in tails) for tails in stored["replicates"])
            if scores[0].photos != 1 or any(len(tails) != len(scores) for tails in replicates):
                raise ValueError("levels are missing")
            numbers = {name: float(stored[name]) for name in ("slope", "offset", "unclear", "by_quality", "usual")}
            return cls(
                scores=scores,
                replicates=replicates,
                people=int(stored["people"]),
                faces=int(stored["faces"]),
                **numbers,
            )
        except (KeyError, IndexError, TypeError, ValueError):
            raise ModelError("The model has no calibration that this facedex can read; train it again") from None

    def to_meta(self) -> dict[str, Any]:
        """What `from_meta` reads."""
        return {
            "version": VERSION,
            "slope": self.slope,
            "offset": self.offset,
            "scores": [one.to_meta() for one in self.scores],
            "replicates": [[tail.to_meta() for tail in tails] for tails in self.replicates],
            "people": self.people,
            "faces": self.faces,
            "unclear": self.unclear,
            "by_quality": self.by_quality,
            "usual": self.usual,
        }

    def similarity(self, logit: np.ndarray | float) -> np.ndarray:
        """Probability that a pair shows one person, if half of all pairs did; the shape of `logit`, float64."""
        return _sigmoid(self.slope * np.asarray(logit, np.float64) + self.offset)

    def false_alarm_rate(self, threshold: float, people: int | np.ndarray) -> float:
        """The false positive identification rate (FPIR): the share of strangers whose best score passes the threshold.

        `people`: how many are enrolled from one photo each, or the number of photos of each person (n,) int. Each level
        k of `scores` has a survival function S_k of a probe's impostor scores, and N_k people. The FPIR is the mean
        over probes of 1 - prod_k (1 - S_k)^N_k.
        """
        return _rate([one.impostor for one in self.scores], self._counts(people), threshold)

    def threshold(self, people: int | np.ndarray, fpir: float) -> float:
        """The logit that a share `fpir` of strangers passes, 0..1. `people` as in `false_alarm_rate`.

        A score at the threshold passes. The result is infinite where nobody is enrolled. Raises ValueError for an
        `fpir` outside 0..1.
        """
        return _threshold([one.impostor for one in self.scores], self._counts(people), fpir)

    def threshold_error(self, people: int | np.ndarray, fpir: float) -> float:
        """Standard error of the threshold, a logit, by the bootstrap over people; NaN without replicates."""
        counts = self._counts(people)
        found = [_threshold(list(tails), counts, fpir) for tails in self.replicates]
        return float(np.std(found, ddof=1)) if len(found) > 1 and counts.any() else float("nan")

    def interval(self, threshold: float, people: int | np.ndarray) -> tuple[float, float]:
        """The FPIRs that a threshold may stand for: the middle 90 % of the bootstrap, or NaN without replicates."""
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
        """See posterior.posterior. `photos` (n,) int is each candidate's number of photos.

        Raises ValueError for a prior outside 0..1.
        """
        _check(prior)
        return posterior(self.scores, scores, self._level(photos), people, prior, shifts)

    def shifts(self, quality: float, faces: np.ndarray, owner: np.ndarray, people: np.ndarray) -> np.ndarray:
        """How far genuine scores lie above the usual ones, for each candidate of `people` (n,), as logits (n,).

        `quality` is the quality of the probe. `faces` (m,) are the qualities of the candidates' enrolled faces, `owner`
        (m,) the person of each. A quality of 0 is unknown and counts as the usual one. A short embedding means that the
        network saw little of the face, so its genuine scores are lower (Meng et al. 2021, MagFace, train the length to
        say so). With q the qualities, and the mean taken over the person's faces:

            h = by_quality (log q_probe - usual + mean(log q_face - usual))
        """
        persons, at = np.unique(owner, return_inverse=True)
        means = np.bincount(at, self._clear(faces)) / np.bincount(at)
        shift = self._clear(np.array(quality)) + means[np.searchsorted(persons, people)]
        return np.asarray(self.by_quality * shift)

    def _clear(self, quality: np.ndarray) -> np.ndarray:
        known = (quality > 0) & (quality < np.inf)
        return np.where(known, np.log(np.where(known, quality, 1.0)) - self.usual, 0.0)

    def pair_posterior(self, logits: np.ndarray, prior: float, qualities: np.ndarray) -> np.ndarray:
        """Probability (n,) that the two photos of each pair show one person when a share `prior` of such pairs does.

        It is `posterior` with one person enrolled from one photo. `qualities` (n, 2) are those of the two faces, which
        count as in `shifts`. The log loss is less than that of `similarity`: by 26 to 31 % on LFW, and by 7 to 9 % on
        people of CelebA kept out (2026-11-30).
        Raises ValueError for a prior outside 0..1.
        """
        _check(prior)
        kinds = np.broadcast_to(PROBE_WEIGHT, (len(logits), len(PROBE_WEIGHT)))
        shares = prior * self.scores[0].ratios(logits, kinds, self.by_quality * self._clear(qualities).sum(1))
        return np.asarray(shares / (1 - prior + shares))

    def misfit_rate(self, score: float, photos: int) -> float:
        """The share of people with `photos` right photos, two or more, of whom a photo scores below `score`.

        The score is that of one photo against the person's others, fused. The share is a bound: the sum over the
        person's photos. Two photos are one comparison.
        """
        scores = self.scores[int(self._level(np.array(photos - 1)))]
        return min(1.0, (photos if photos > 2 else 1) * own_below(scores, score))

    def _level(self, photos: np.ndarray) -> np.ndarray:
        return np.asarray(np.searchsorted([one.photos for one in self.scores], np.maximum(photos, 1), "right") - 1)

    def _counts(self, people: int | np.ndarray) -> np.ndarray:
        """How many people fall to each of `scores` by their number of photos."""
        if isinstance(people, np.ndarray):
            return np.bincount(self._level(people), minlength=len(self.scores))
        return np.array([people] + [0] * (len(self.scores) - 1))


def fit_calibration(matrix: np.ndarray, people: np.ndarray, lengths: np.ndarray | None = None) -> Calibration:
    """Fit on a matrix of logits (n, n) of n faces and the person of each (n,).

    Every person counts the same, whatever the number of photos. `lengths` (n,) are the qualities of the faces
    (EncodedFace.quality). Raises DataError with fewer than four people, or without two faces of one person.
    """
    people = np.unique(people, return_inverse=True)[1]
    if people.size == 0 or people.max() + 1 < LEAST_PEOPLE or np.bincount(people).max() < 2:
        raise DataError("Calibration needs at least four people, some of them with two photos; add people")
    chosen = sample(people)
    people = np.unique(people[chosen], return_inverse=True)[1]  # a sample leaves out some people of many
    matrix = matrix[np.ix_(chosen, chosen)].astype(np.float64)
    genuine, impostor, weights = weighed_pairs(matrix, people)
    slope, offset = platt(genuine, impostor, weights)

    usual, clear = 0.0, np.zeros(len(people))
    if lengths is not None:
        logs = np.log(np.maximum(lengths[chosen].astype(np.float64), 1e-12))
        usual = round(float(np.average(logs, weights=1 / np.bincount(people)[people])), 6)
        clear = logs - usual
    sets = [found for photos in PHOTOS if (found := EnrolledSets.of(matrix, people, photos, clear)) is not None]
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
    """The calibration `fitted` with the score distributions of `other`, for people too few to show an impostor tail.

    `impostors` are the logits (n,) of the same impostor pairs by the model of `other` and by the fitted model. Two
    models may differ in mean and width of their logits, so the distributions are moved by mean and standard deviation.
    """
    before, after = impostors
    factor = float(after.std() / before.std()) if min(after.std(), before.std()) > 1e-9 else 1.0
    shift = float(after.mean() - factor * before.mean())
    return replace(
        other,
        slope=fitted.slope,
        offset=fitted.offset,
        unclear=fitted.unclear,
        usual=fitted.usual,
        by_quality=factor * other.by_quality,
        scores=tuple(one.moved(factor, shift) for one in other.scores),
        replicates=tuple(tuple(tail.moved(factor, shift) for tail in tails) for tails in other.replicates),
    )


def _check(prior: float) -> None:
    if not 0 <= prior <= 1:
        raise ValueError(f"prior must lie between 0 and 1, not {prior}")


def _rate(tails: list[Tail], counts: np.ndarray, threshold: float) -> float:
    """The FPIR at a threshold, a logit, for `counts` (levels,) people with the impostor tail of each level.

    One person of a level stays below the threshold with probability 1 - S. The logs of all people's probabilities add
    up for each kind of probe. The mean over the kinds comes last, because the scores of one probe depend on each other.
    """
    logs = sum(
        count * np.log1p(-np.minimum(tail.survival(threshold), 1 - 1e-12))
        for tail, count in zip(tails, counts, strict=True)
        if count
    )
    return over_probes(-np.expm1(logs)) if np.ndim(logs) else 0.0


def _threshold(tails: list[Tail], counts: np.ndarray, fpir: float) -> float:
    """The logit at which `_rate` is `fpir`, by bisection between two logits whose rates lie on either side.

    The result is infinite where nobody is enrolled. Raises ValueError for an `fpir` outside 0..1.
    """
    if not 0 < fpir < 1:
        raise ValueError(f"fpir must lie between 0 and 1, not {fpir}")
    fpir = min(fpir, 1 - 1e-9)  # no threshold is low enough for more
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


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)))
