"""The protocol for a folder or pack of people: everything that its photos, compared with each other, can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facedex.evaluation.allpairs import AllPairs, Scored, all_pairs
from facedex.evaluation.bootstrap import Figure, people_weights
from facedex.evaluation.error_rates import Key, Verification, verification
from facedex.evaluation.matchers import Matcher
from facedex.evaluation.open_set import Identification, identification
from facedex.evaluation.photosets import Photos

ERRORS = 12  # of either kind that are kept to be looked at
_BINS = 80


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

    edges: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


@dataclass(frozen=True)
class PeopleReport:
    """One matcher's figures on one set of people. `figures` by (name, argument), each with its draws.

    `false_matches` and `false_non_matches`: the worst errors, one a pair of people or a person. `identification` is
    None where only pairs were asked for.
    """

    model: str
    people: int
    photos: int
    failed: list[tuple[str, str]]
    genuine: int
    impostors: int
    figures: dict[Key, Figure]
    verification: Verification
    identification: Identification | None
    histogram: Histogram
    false_matches: list[Mistake]
    false_non_matches: list[Mistake]


def evaluate_people(
    matchers: list[Matcher],
    photos: Photos,
    seed: int = 0,
    one_to_many: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[PeopleReport]:
    """Figures of each matcher on the same photos, the same trials and the same draws of people.

    `progress` is told (matcher, rows of the pairs done, of). Raises DataError where there is nothing to compare.
    """
    weights = people_weights(len(photos.names), seed)
    reports = []
    for matcher, embeddings in zip(matchers, photos.embeddings, strict=True):
        points = matcher.points(embeddings)

        def tell(done: int, total: int, name: str = matcher.name) -> None:
            if progress:
                progress(name, done, total)

        pairs = all_pairs(matcher, points, photos.people, seed, tell)
        one = verification(pairs, weights, calibration=matcher.calibration, seed=seed)
        many = identification(matcher, points, photos.people, weights, seed) if one_to_many else None
        reports.append(
            PeopleReport(
                matcher.name, len(photos.names), len(photos), photos.failed, pairs.genuine_pairs, pairs.impostors,
                {**one.figures, **(many.figures if many else {})}, one, many, _histogram(pairs),
                _mistakes(pairs.tail, photos, matcher), _mistakes(pairs.genuine[::-1], photos, matcher),
            )
        )  # fmt: skip
    return reports


def _histogram(pairs: AllPairs) -> Histogram:
    scores, counts = pairs.impostor_scores()
    low = min(float(pairs.genuine.scores[-1]), float(scores[np.searchsorted(np.cumsum(counts), 0.999 * counts.sum())]))
    edges = np.linspace(low, max(float(pairs.genuine.scores[0]), float(scores[0])) + 1e-6, _BINS + 1)
    parts = []
    for values, stands in ((pairs.genuine.scores, np.ones(len(pairs.genuine))), (scores, counts)):
        parts.append(np.histogram(np.maximum(values, low), edges, weights=stands)[0] / stands.sum())
    return Histogram(edges, *parts)


def _mistakes(worst: Scored, photos: Photos, matcher: Matcher) -> list[Mistake]:
    """The first of the pairs, but of two people one pair and of one person two, so that no one face fills the page."""
    found: list[Mistake] = []
    seen: set[tuple[int, int]] = set()
    shown: Counter[int] = Counter()
    for score, i, j in zip(worst.scores[:20_000], worst.i[:20_000], worst.j[:20_000], strict=True):
        pair = int(photos.people[i]), int(photos.people[j])
        if pair in seen or max(shown[pair[0]], shown[pair[1]]) >= 2:
            continue
        seen.add(pair)
        shown.update(set(pair))
        similarity = float(matcher.calibration.similarity(float(score))) if matcher.calibration else None
        found.append(Mistake(photos.keys[i], photos.keys[j], float(score), similarity))
        if len(found) == ERRORS:
            break
    return found
