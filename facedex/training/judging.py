"""Is an adapted model better than the one it came from? Judged on people kept out of all training; no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedex.data.dataset import Faces, split_people
from facedex.decision import fitting as fitting_module
from facedex.decision.calibration import Calibration, with_tail_of
from facedex.decision.fitting import Pairs, platt, sample, weighed_pairs
from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.evaluation.allpairs import all_pairs
from facedex.evaluation.bootstrap import Figure, difference, people_weights
from facedex.evaluation.error_rates import verification
from facedex.evaluation.matchers import Matcher
from facedex.model.modelfile import ModelFile

# People of so many photos each, below which only the calibration is fitted: of 40, some 20 are left to learn from, and
# so few made every model tried worse for others.
LEAST_PEOPLE, LEAST_PHOTOS = 40, 3
TAIL_PEOPLE = 100  # to replace the impostor tail that came with the model: 1 % of these is one person
_FARS = (1e-3, 1e-2, 1e-1)

Embed = Callable[[Faces], np.ndarray]  # faces to unit embeddings (n, dim) float32, in order


@dataclass(frozen=True)
class Comparison:
    """One figure before and after, on the same people, and the 95 % interval of the difference."""

    figure: str
    people: int
    before: float
    after: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """Whether the figure fell at all: a model is not replaced on a hope."""
        return self.after < self.before

    def facts(self) -> dict[str, Any]:
        """What a model's metadata keeps of it."""
        return {
            "figure": self.figure, "before": round(self.before, 5), "after": round(self.after, 5),
            "held_out_people": self.people,
        }  # fmt: skip


@dataclass(frozen=True)
class Tuned:
    """What adapting a model came to. `model` is None when it was worse, or stopped.

    `kind`: "network", "projection and head" or "calibration", the most that was fitted. `comparison` is None where the
    run was stopped, or where there was nothing to compare with.
    """

    kind: str
    model: ModelFile | None
    comparison: Comparison | None


def enough_people(faces: Faces, least: int = LEAST_PEOPLE) -> bool:
    """Whether the people are enough to fit more than a calibration."""
    return int((np.bincount(faces.people, minlength=len(faces.names)) >= LEAST_PHOTOS).sum()) >= least


def split(faces: Faces, held: Faces | None, judged: bool = True) -> tuple[Faces, Faces, Faces, Faces]:
    """People to learn from, to choose by, to calibrate on, and to judge by, or nobody where nothing is `judged`.

    Without `held` all are taken from `faces`. Raises DataError where they are too few.
    """
    known = faces
    if held is None:
        known, held = split_people(faces, 0.45 if judged else 0.1, least=3 * fitting_module.LEAST_PEOPLE, most=600)
    judges = held.select(np.empty(0, np.int64))
    if judged:
        judges, held = split_people(held, 2 / 3, least=2 * fitting_module.LEAST_PEOPLE)
    return known, *split_people(held, 0.5, least=fitting_module.LEAST_PEOPLE), judges


def scores(matcher: Matcher, vectors: np.ndarray) -> np.ndarray:
    """Logits (n, n) float32 of everybody against everybody, of unit embeddings (n, dim)."""
    points = matcher.points(vectors)
    return matcher.block(points, points)


def tars(matcher: Matcher, vectors: np.ndarray, people: np.ndarray, seed: int) -> dict[float, Figure]:
    """TAR at every FAR that the pairs of unit embeddings (n, dim) of `people` (n,) can tell, the strictest first.

    Raises DataError where there is none.
    """
    order = np.argsort(people, kind="stable")
    pairs = all_pairs(matcher, matcher.points(vectors[order]), people[order], seed)
    weights = people_weights(int(people.max()) + 1, seed)
    figures = verification(pairs, weights, fars=_FARS, seed=seed).figures
    found = {far: figure for far in _FARS if (figure := figures.get(("tar", f"{far:g}"))) and np.isfinite(figure.value)}
    if not found:
        raise DataError("The people kept out have too few photos to tell two models apart; add people or photos")
    return found


def compared(old: dict[float, Figure], new: dict[float, Figure], people: int) -> Comparison:
    """TAR before and after at the strictest FAR that `old` tells."""
    far = next(iter(old))
    gap = difference(new[far], old[far])[0]
    return Comparison(f"TAR@FAR={far:g}", people, old[far].value, new[far].value, *gap.interval)


def calibrated(
    start: ModelFile, matcher: Matcher, embed: Embed, faces: Faces, held: Faces | None, seed: int
) -> tuple[ModelFile, Comparison]:
    """`start` with slope and offset fitted to own people; its impostor tail stays. And whether pairs gain by it.

    Judged on `held`, else by cross-fitting over two halves of these people. Raises DataError.
    """
    old = Calibration.from_meta(start.meta)

    def scored(those: Faces) -> tuple[Faces, np.ndarray]:
        those = those.select(sample(those.people))
        return those, scores(matcher, embed(those))

    faces, matrix = scored(faces)
    everybody = np.ones(len(faces), bool)
    line = platt(*_pairs(matrix, faces.people, everybody))
    losses: list[list[float]] = []
    if held is not None:
        judges, kept_out = scored(held)
        judged = _pairs(kept_out, judges.people, np.ones(len(judges), bool))
        losses.append([_log_loss(judged, *each) for each in ((old.slope, old.offset), line)])
    else:
        judges, halves = faces, np.random.default_rng([seed, 0x7A11]).permutation(len(faces.names)) % 2
        for half in (0, 1):
            fitting, judging = (halves[faces.people] == side for side in (half, 1 - half))
            by_half = platt(*_pairs(matrix, faces.people, fitting))
            judged = _pairs(matrix, faces.people, judging)
            losses.append([_log_loss(judged, *each) for each in ((old.slope, old.offset), by_half)])
    before, after = np.mean(losses, axis=0)
    # A lower loss is better: as a figure that should rise it is turned round.
    figure = "- log loss of pairs" if held is not None else "- log loss of pairs, each half by the other's fit,"
    comparison = Comparison(figure, len(judges.names), -before, -after, np.nan, np.nan)
    slope, offset = line
    meta = {**start.meta, "calibration": {**start.meta["calibration"], "slope": slope, "offset": offset}}
    meta["tuned"] = {"people": len(faces.names), "photos": len(faces), **comparison.facts()}
    return ModelFile(start.tensors, meta), comparison


def with_own_tail_or_old(
    fitted: Calibration, start: ModelFile, people: int, before: np.ndarray, after: np.ndarray, whose: np.ndarray
) -> Calibration:
    """`fitted`, but with the impostor tail of `start` where fewer than TAIL_PEOPLE people show one of their own.

    `before` and `after` (n, n) are logits of the same faces, of `whose` (n,), by the model before and after.
    """
    if people >= TAIL_PEOPLE:
        return fitted
    strangers = tuple(metrics.pair_scores(matrix, whose)[1] for matrix in (before, after))
    return with_tail_of(fitted, Calibration.from_meta(start.meta), strangers)  # type: ignore[arg-type]


def _pairs(matrix: np.ndarray, people: np.ndarray, chosen: np.ndarray) -> Pairs:
    genuine, impostor, weights = weighed_pairs(matrix[chosen][:, chosen], people[chosen])
    if not len(genuine) or not len(impostor):
        raise DataError(
            "There are too few people with two photos to fit even the calibration; add people or photos, at least "
            f"{2 * fitting_module.LEAST_PEOPLE} people with two"
        )
    return genuine, impostor, weights


def _log_loss(pairs: Pairs, slope: float, offset: float) -> float:
    """Cross-entropy of calibrated pairs, both kinds counting half, and everybody the same."""
    genuine, impostor, weights = pairs
    yes = np.logaddexp(0, -(slope * genuine.astype(np.float64) + offset))
    no = np.logaddexp(0, slope * impostor.astype(np.float64) + offset)
    return float(0.5 * (np.average(yes, weights=weights[0]) + np.average(no, weights=weights[1])))
