"""LFW's protocol: ten-fold accuracy on listed pairs. The listed photos' pairs are also all compared with each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.evaluation.bootstrap import Figure, people_weights
from facedex.evaluation.embedded_photos import EmbeddedPhotos
from facedex.evaluation.error_rates import Key, PairPeople, Sample, replicates
from facedex.evaluation.matchers import Matcher
from facedex.evaluation.people_protocol import PeopleReport, evaluate_people

FARS = (1e-1, 1e-2, 1e-3)

Scores = NDArray[np.float32]
Bools = NDArray[np.bool_]
Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Pair:
    """Two photos (paths below the images folder, without suffix), whether of one person, and the fold (0-9)."""

    a: str
    b: str
    same: bool
    fold: int


@dataclass(frozen=True)
class PairsReport:
    """Ten-fold accuracy (LFW's View 2 protocol, Huang et al. 2007) with its standard error, TAR by FAR, and AUC.

    `failed` lists photos without a usable face; their pairs count as "different". `correct` (pairs,) bool are the pairs
    decided rightly, each by the threshold of the other folds. `figures` are the same figures with their draws.
    `every_pair` compares all the listed photos with each other, or is None where too few are usable.
    """

    pairs: int
    accuracy: float
    accuracy_se: float
    tar: dict[float, float]
    auc: float
    failed: list[str]
    model: str = ""
    correct: Bools = field(default_factory=lambda: np.empty(0, bool))
    figures: dict[Key, Figure] = field(default_factory=dict)
    every_pair: PeopleReport | None = None


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """Read a pairs file in LFW's format: a header "N" or "FOLDS N", then N same and N different pairs for each fold.

    A file without folds is cut into ten equal parts, same and different, in file order. Raises DataError.
    """
    try:
        lines = [line.split() for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
        header = [int(number) for number in lines[0]]
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        raise DataError(f"{path} is no pairs file ({error}); it starts with the number of pairs, as LFW's do") from None
    folds, each = (header[0], header[1]) if len(header) == 2 else (1, header[0])
    if len(lines) - 1 != 2 * folds * each:
        raise DataError(f"{path} announces {2 * folds * each} pairs and holds {len(lines) - 1}; get the file again")
    pairs = []
    for number, fields in enumerate(lines[1:]):
        try:
            a, b, same = _photos(fields)
        except ValueError:
            raise DataError(f"Line {number + 2} of {path} is no pair: NAME N N, or NAME N NAME N") from None
        fold = number // (2 * each) if folds > 1 else (number % each) * 10 // each
        pairs.append(Pair(a, b, same, fold))
    for same in (True, False):
        if len({pair.fold for pair in pairs if pair.same == same}) < 2:
            raise DataError(f"{path} needs two pairs of the same person and two of different ones; add pairs")
    return pairs


def _photos(fields: list[str]) -> tuple[str, str, bool]:
    """The two photos of a line, NAME N N or NAME N NAME N, and whether of one person. Raises ValueError."""
    if len(fields) not in (3, 4):
        raise ValueError
    name, other = fields[0], fields[0] if len(fields) == 3 else fields[2]
    return f"{name}/{name}_{int(fields[1]):04d}", f"{other}/{other}_{int(fields[-1]):04d}", len(fields) == 3


def photos_of(pairs: list[Pair]) -> list[str]:
    """Every photo that the pairs name, once."""
    return sorted({name for pair in pairs for name in (pair.a, pair.b)})


def evaluate_pairs(
    matchers: list[Matcher],
    pairs: list[Pair],
    photos: EmbeddedPhotos,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[PairsReport]:
    """Score the pairs with each matcher; `photos` are those of `photos_of`, encoded with the same matchers.

    Raises DataError when no pair has a face in both photos.
    """
    position = {key: i for i, key in enumerate(photos.keys)}
    usable = [number for number, pair in enumerate(pairs) if pair.a in position and pair.b in position]
    if not usable:
        raise DataError("Of no listed pair were both faces found; nothing can be compared")
    i = np.array([position[pairs[number].a] for number in usable])
    j = np.array([position[pairs[number].b] for number in usable])
    same, folds = np.array([pair.same for pair in pairs]), np.array([pair.fold for pair in pairs])
    try:
        every_pair: list[PeopleReport] | list[None] = evaluate_people(matchers, photos, seed, progress)
    except DataError:  # too few photos have a face; the listed pairs can still be scored
        every_pair = [None] * len(matchers)
    reports = []
    for matcher, embeddings, report in zip(matchers, photos.embeddings, every_pair, strict=True):
        scores = np.full(len(pairs), -np.inf, np.float32)
        scores[usable] = matcher.listed(matcher.points(embeddings), i, j)
        failed = [key for key, _ in photos.failed]
        reports.append(pairs_report(scores, same, folds, failed, _people(pairs), matcher.name, seed, report))
    return reports


def pairs_report(
    scores: Scores,
    same: Bools,
    folds: Indices,
    failed: list[str],
    people: Indices | None = None,
    model: str = "",
    seed: int = 0,
    every_pair: PeopleReport | None = None,
) -> PairsReport:
    """Figures of scored pairs: scores (n,) float32, -inf where a face is missing; same (n,) bool; folds (n,) int.

    The threshold of a fold is chosen on the other folds. With `people` (n, 2) int, the two people of each pair, the
    figures have intervals.
    """
    floor = scores[np.isfinite(scores)].min() - 1
    scores = np.where(np.isfinite(scores), scores, floor).astype(np.float32)
    accuracies = []
    correct = np.empty(len(scores), bool)
    for fold in np.unique(folds):
        judged = folds == fold
        _, threshold = metrics.best_accuracy(scores[~judged & same], scores[~judged & ~same])
        correct[judged] = (scores[judged] >= threshold) == same[judged]
        accuracies.append(correct[judged].mean())
    accuracy = float(np.mean(accuracies))
    tar = {far: metrics.tar_at_far(scores[same], scores[~same], far) for far in FARS}
    auc = metrics.auc(scores[same], scores[~same])
    figures: dict[Key, Figure] = {}
    if people is not None:
        draws = _draws(scores, same, correct, people, people_weights(int(people.max()) + 1, seed))
        paired_people = len(np.unique(people[same, 0]))  # those of the genuine pairs, which every figure rests on
        shifted = np.clip(draws["accuracy"] + accuracy - draws["accuracy of all"], 0, 1)
        figures["accuracy", ""] = Figure(accuracy, shifted, paired_people)
        for place, far in enumerate(FARS):
            figures["tar", f"{far:g}"] = Figure(tar[far], draws["tar"][:, place], paired_people)
        figures["auc", ""] = Figure(auc, draws["auc"], paired_people)
    error = float(np.std(accuracies, ddof=1) / np.sqrt(len(accuracies)))
    return PairsReport(len(scores), accuracy, error, tar, auc, failed, model, correct, figures, every_pair)


def _draws(
    scores: Scores, same: Bools, correct: Bools, people: Indices, weights: NDArray[np.float32]
) -> dict[str, NDArray[np.floating[Any]]]:
    """Replicates of the listed pairs' figures; the thresholds of the folds stay.

    A pair comes as often as its first person was drawn. Few listed pairs share anybody, and the product of both
    people's draws would make the spread some 1.7 times too wide. "accuracy of all" is the accuracy when everybody
    counts once, which differs from the mean over folds where folds are unequal.
    """
    order = np.argsort(-scores, kind="stable")
    genuine, impostor = order[same[order]], order[~same[order]]
    sample = Sample(scores[genuine], scores[impostor], FARS, None)
    # An extra person with the weight 1 stands in for each pair's second person.
    extra = np.full(len(impostor), weights.shape[1])
    with_extra = np.hstack([weights, np.ones((len(weights), 1), np.float32)])
    pair_people = PairPeople(people[genuine, 0], people[impostor, 0], extra, np.ones(len(impostor)))
    found = replicates(sample, with_extra, pair_people)
    by_genuine, by_impostor = weights[:, people[genuine, 0]], weights[:, people[impostor, 0]]
    with np.errstate(invalid="ignore"):
        accepted = by_genuine @ correct[genuine] / by_genuine.sum(1)
        rejected = by_impostor @ correct[impostor] / by_impostor.sum(1)
    found["accuracy"] = (accepted + rejected) / 2
    found["accuracy of all"] = np.array((correct[genuine].mean() + correct[impostor].mean()) / 2)
    return found


def _people(pairs: list[Pair]) -> Indices:
    """The two people of each pair, (pairs, 2) int, from their folders."""
    names = np.array([[name.rpartition("/")[0] for name in (pair.a, pair.b)] for pair in pairs], dtype=object)
    return np.unique(names.astype(str), return_inverse=True)[1].reshape(names.shape)
