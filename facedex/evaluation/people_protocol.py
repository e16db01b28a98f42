"""The protocol for a folder or pack of people: all pairs of photos, and each photo searched for among all people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.evaluation.allpairs import AllPairs, ScoredPairs, all_pairs
from facedex.evaluation.bootstrap import Figure, people_weights
from facedex.evaluation.embedded_photos import EmbeddedPhotos
from facedex.evaluation.error_rates import ErrorRates, Key, measure_error_rates
from facedex.evaluation.matchers import Matcher
from facedex.evaluation.open_set import OpenSet, measure_open_set

ERRORS = 12  # of either kind that are kept
_CANDIDATES = 20_000  # pairs, worst first, among which the errors are looked for
_MOST_OF_ONE_PERSON = 2  # errors
_BINS = 80  # of the histogram

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Mistake:
    """Two photos, by key, with their score, and the probability of "same person" where the model gives one."""

    a: str
    b: str
    score: float
    similarity: float | None


@dataclass(frozen=True)
class Histogram:
    """Shares of the genuine and of the impostor pairs, (n,) each, whose scores lie between `edges` (n + 1,)."""

    edges: NDArray[np.floating[Any]]
    genuine: NDArray[np.floating[Any]]
    impostor: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class PeopleReport:
    """One matcher's figures on one set of people.

    `genuine` and `impostors` count the pairs. `figures` are by (name, argument), each with its draws. `false_matches`
    and `false_non_matches` are the worst errors.
    """

    model: str
    people: int
    photos: int
    failed: list[tuple[str, str]]
    genuine: int
    impostors: int
    figures: dict[Key, Figure]
    error_rates: ErrorRates
    open_set: OpenSet
    histogram: Histogram
    false_matches: list[Mistake]
    false_non_matches: list[Mistake]


def evaluate_people(
    matchers: list[Matcher], photos: EmbeddedPhotos, seed: int = 0, progress: Progress | None = None
) -> list[PeopleReport]:
    """Figures of each matcher on the same photos, the same trials and the same draws of people.

    `progress` is called with (matcher's name, rows of pairs done, rows in all). Raises DataError where no two photos
    can be compared.
    """
    weights = people_weights(len(photos.names), seed)
    reports = []
    for matcher, embeddings in zip(matchers, photos.embeddings, strict=True):
        points = matcher.points(embeddings)

        def report_rows(done: int, total: int, name: str = matcher.name) -> None:
            if progress:
                progress(name, done, total)

        pairs = all_pairs(matcher, points, photos.people, seed, report_rows)
        rates = measure_error_rates(pairs, weights, calibration=matcher.calibration, seed=seed)
        open_set = measure_open_set(matcher, points, photos.people, weights, seed)
        reports.append(
            PeopleReport(
                model=matcher.name,
                people=len(photos.names),
                photos=len(photos),
                failed=photos.failed,
                genuine=pairs.genuine_pairs,
                impostors=pairs.impostors,
                figures={**rates.figures, **open_set.figures},
                error_rates=rates,
                open_set=open_set,
                histogram=_histogram(pairs),
                false_matches=_mistakes(pairs.tail, photos, matcher),
                false_non_matches=_mistakes(pairs.genuine[::-1], photos, matcher),
            )
        )
    return reports


def _histogram(pairs: AllPairs) -> Histogram:
    scores, counts = pairs.impostor_scores()
    low_impostor = scores[np.searchsorted(np.cumsum(counts), 0.999 * counts.sum())]
    low = min(float(pairs.genuine.scores[-1]), float(low_impostor))
    high = max(float(pairs.genuine.scores[0]), float(scores[0])) + 1e-6
    edges = np.linspace(low, high, _BINS + 1)
    parts = []
    for values, weights in ((pairs.genuine.scores, np.ones(len(pairs.genuine))), (scores, counts)):
        parts.append(np.histogram(np.maximum(values, low), edges, weights=weights)[0] / weights.sum())
    return Histogram(edges, *parts)


def _mistakes(worst: ScoredPairs, photos: EmbeddedPhotos, matcher: Matcher) -> list[Mistake]:
    """The first of the pairs, at most one of the same two people and two of one person, so that errors vary."""
    found: list[Mistake] = []
    seen: set[tuple[int, int]] = set()
    shown: Counter[int] = Counter()
    worst = worst[:_CANDIDATES]
    for score, i, j in zip(worst.scores, worst.i, worst.j, strict=True):
        pair = int(photos.people[i]), int(photos.people[j])
        if pair in seen or max(shown[pair[0]], shown[pair[1]]) >= _MOST_OF_ONE_PERSON:
            continue
        seen.add(pair)
        shown.update(set(pair))
        similarity = float(matcher.calibration.similarity(float(score))) if matcher.calibration else None
        found.append(Mistake(photos.keys[i], photos.keys[j], float(score), similarity))
        if len(found) == ERRORS:
            break
    return found
