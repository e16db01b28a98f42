"""LFW's protocol: ten-fold accuracy on listed pairs; and, the photos being encoded anyway, all pairs of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.evaluation.bootstrap import Figure, people_weights
from facedex.evaluation.error_rates import Key, Sample, replicates
from facedex.evaluation.matchers import Matcher
from facedex.evaluation.people import PeopleReport, evaluate_people
from facedex.evaluation.photosets import Photos

FARS = (1e-1, 1e-2, 1e-3)


@dataclass(frozen=True)
class Pair:
    """Two photos (paths below the images folder, without suffix), whether of one person, and the fold (0-9)."""

    a: str
    b: str
    same: bool
    fold: int


@dataclass(frozen=True)
class PairsReport:
    """Ten-fold accuracy (LFW's View 2 protocol, Huang et al. 2007) with its standard error, TAR by FAR, AUC.

    `failed` photos show no face that was found; their pairs count as "different". `correct` (pairs,) bool: which were
    decided rightly, each by the threshold of the other folds. `figures`: the same figures with their draws. `every`:
    all pairs of the photos listed, not only the listed ones; None where too few are left for that.
    """

    pairs: int
    accuracy: float
    accuracy_se: float
    tar: dict[float, float]
    auc: float
    failed: list[str]
    model: str = ""
    correct: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    figures: dict[Key, Figure] = field(default_factory=dict)
    every: PeopleReport | None = None


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """A pairs file in LFW's format: a header "N" or "FOLDS N", then N same and N different pairs a fold.

    A file without folds is cut into ten of equal parts, same and different, in file order. Raises DataError.
    """
    try:
        lines = [line.split() for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
        header = [int(field) for field in lines[0]]
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        raise DataError(f"{path} is no pairs file ({error}); it starts with the number of pairs, as LFW's do") from None
    folds, each = (header[0], header[1]) if len(header) == 2 else (1, header[0])
    if len(lines) - 1 != 2 * folds * each:
        raise DataError(f"{path} announces {2 * folds * each} pairs and holds {len(lines) - 1}; get the file again")
    pairs = []
    for number, fields in enumerate(lines[1:]):
        try:
            if len(fields) == 3:
                a, b, same = (fields[0], int(fields[1])), (fields[0], int(fields[2])), True
            elif len(fields) == 4:
                a, b, same = (fields[0], int(fields[1])), (fields[2], int(fields[3])), False
            else:
                raise ValueError
        except ValueError:
            raise DataError(f"Line {number + 2} of {path} is no pair: NAME N N, or NAME N NAME N") from None
        fold = number // (2 * each) if folds > 1 else (number % each) * 10 // each
        first, second = (f"{name}/{name}_{photo:04d}" for name, photo in (a, b))
        pairs.append(Pair(first, second, same, fold))
    for same in (True, False):
        if len({pair.fold for pair in pairs if pair.same == same}) < 2:
            raise DataError(f"{path} needs two pairs of the same person and two of different ones; add pairs")
    return pairs


def photos_of(pairs: list[Pair]) -> list[str]:
    """Every photo that the pairs name, once."""
    return sorted({name for pair in pairs for name in (pair.a, pair.b)})


def evaluate_pairs(
    matchers: list[Matcher],
    pairs: list[Pair],
    photos: Photos,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[PairsReport]:
    """Score the pairs with each matcher; `photos` are those of `photos_of`, encoded with the same matchers.

    Raises DataError when of no pair both faces were found.
    """
    at = {key: i for i, key in enumerate(photos.keys)}
    usable = np.array([number for number, pair in enumerate(pairs) if pair.a in at and pair.b in at], np.int64)
    if not len(usable):
        raise DataError("Of no listed pair were both faces found; nothing can be compared")
    i, j = (np.array([at[getattr(pairs[number], side)] for number in usable]) for side in "ab")
    same, folds = np.array([pair.same for pair in pairs]), np.array([pair.fold for pair in pairs])
    try:
        every: list[PeopleReport] | list[None] = evaluate_people(matchers, photos, seed, True, progress)
    except DataError:  # too many photos without a face; the listed pairs count as they are
        every = [None] * len(matchers)
    reports = []
    for matcher, embeddings, whole in zip(matchers, photos.embeddings, every, strict=True):
        scores = np.full(len(pairs), -np.inf, np.float32)
        scores[usable] = matcher.listed(matcher.points(embeddings), i, j)
        failed = [key for key, _ in photos.failed]
        reports.append(report(scores, same, folds, failed, _people(pairs), matcher.name, seed, whole))
    return reports


def report(
    scores: np.ndarray,
    same: np.ndarray,
    folds: np.ndarray,
    failed: list[str],
    people: np.ndarray | None = None,
    model: str = "",
    seed: int = 0,
    every: PeopleReport | None = None,
) -> PairsReport:
    """Figures of scored pairs: scores (n,), same (n,) bool, folds (n,) int. The threshold of a fold is chosen on
    the others. With `people` (n, 2) int, the two of each pair, figures have intervals.
    """
    floor = scores[np.isfinite(scores)].min() - 1
    scores = np.where(np.isfinite(scores), scores, floor).astype(np.float32)
    accuracies = []
    correct = np.empty(len(scores), bool)
    for fold in np.unique(folds):
        mine = folds == fold
        _, threshold = metrics.best_accuracy(scores[~mine & same], scores[~mine & ~same])
        correct[mine] = (scores[mine] >= threshold) == same[mine]
        accuracies.append(correct[mine].mean())
    genuine, impostor = scores[same], scores[~same]
    accuracy = float(np.mean(accuracies))
    tar = {far: metrics.tar_at_far(genuine, impostor, far) for far in FARS}
    area = metrics.auc(genuine, impostor)
    figures = {}
    if people is not None:
        weights = people_weights(int(people.max()) + 1, seed)
        draws = _draws(scores, same, correct, people, weights)
        drawn_from = len(np.unique(people[same, 0]))  # everybody of the genuine pairs, which all these figures rest on
        figures["accuracy", ""] = Figure(
            accuracy, np.clip(draws["accuracy"] + accuracy - draws.pop("start"), 0, 1), drawn_from
        )
        for place, far in enumerate(FARS):
            figures["tar", f"{far:g}"] = Figure(tar[far], draws["tar"][:, place], drawn_from)
        figures["auc", ""] = Figure(area, draws["auc"], drawn_from)
    error = float(np.std(accuracies, ddof=1) / np.sqrt(len(accuracies)))
    return PairsReport(len(scores), accuracy, error, tar, area, failed, model, correct, figures, every)


def _draws(
    scores: np.ndarray, same: np.ndarray, correct: np.ndarray, people: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Replicates of the listed pairs' figures; the folds' thresholds stay as they were chosen.

    A pair comes as often as its first person was drawn: few listed pairs share anybody, and the product of both
    would make their spread some 1.7 times too wide.
    """
    order = np.argsort(-scores, kind="stable")
    mine, other = order[same[order]], order[~same[order]]
    sample = Sample(scores[mine], scores[other], FARS, None)
    once = np.full(len(other), weights.shape[1])
    drawn = np.hstack([weights, np.ones((len(weights), 1), np.float32)])
    found = replicates(sample, drawn, people[mine, 0], people[other, 0], once, np.ones(len(other)))
    genuine, impostor = weights[:, people[mine, 0]], weights[:, people[other, 0]]
    with np.errstate(invalid="ignore"):
        found["accuracy"] = (genuine @ correct[mine] / genuine.sum(1) + impostor @ correct[other] / impostor.sum(1)) / 2
    found["start"] = np.array((correct[mine].mean() + correct[other].mean()) / 2)
    return found


def _people(pairs: list[Pair]) -> np.ndarray:
    """(pairs, 2) int: whom the two photos show, from their folders."""
    names = np.array([[name.rpartition("/")[0] for name in (pair.a, pair.b)] for pair in pairs], dtype=object)
    return np.unique(names.astype(str), return_inverse=True)[1].reshape(names.shape)
