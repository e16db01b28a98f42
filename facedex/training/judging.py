"""Whether an adapted model is better than the one it came from, judged on people kept out of the training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.data.dataset import Faces, split_people
from facedex.decision import fitting as fitting_module
from facedex.decision.calibration import Calibration, with_tail_of
from facedex.decision.fitting import Pairs, platt, sample, weighed_pairs
from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.evaluation.allpairs import all_pairs
from facedex.evaluation.bootstrap import Figure, difference, people_weights
from facedex.evaluation.error_rates import measure_error_rates
from facedex.evaluation.matchers import Matcher
from facedex.model.modelfile import ModelFile

# With fewer people of so many photos, only the calibration is fitted. Of 40 people some 20 are left to train on, and so
# few made every model that was tried worse for other people.
LEAST_PEOPLE, LEAST_PHOTOS = 40, 3
TAIL_PEOPLE = 100  # needed to replace the model's impostor tail: 1 % of these is one person
_FARS = (1e-3, 1e-2, 1e-1)

Vectors = NDArray[np.float32]
Indices = NDArray[np.integer[Any]]
Embed = Callable[[Faces], Vectors]  # faces to unit embeddings (n, dim) float32, in order


@dataclass(frozen=True)
class Judgement:
    """One figure before and after, on the same people, and the 95 % interval of the difference, `low` to `high`."""

    figure: str
    people: int
    before: float
    after: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """Whether the figure fell at all. A model is replaced only by one that is measured to be no worse."""
        return self.after < self.before

    def facts(self) -> dict[str, Any]:
        """The part of the judgement that a model's metadata keeps."""
        return {
            "figure": self.figure,
            "before": round(self.before, 5),
            "after": round(self.after, 5),
            "held_out_people": self.people,
        }


@dataclass(frozen=True)
class Tuned:
    """The result of adapting a model. `model` is None when it got worse, or when the run was stopped.

    `kind` is the most that was fitted: "network", "projection and head" or "calibration". `judgement` is None where the
    run was stopped, or where there is no earlier model.
    """

    kind: str
    model: ModelFile | None
    judgement: Judgement | None


def enough_people(faces: Faces, least: int = LEAST_PEOPLE) -> bool:
    """Whether at least `least` people have LEAST_PHOTOS photos, enough to fit more than a calibration."""
    photos = np.bincount(faces.people, minlength=len(faces.names))
    return int((photos >= LEAST_PHOTOS).sum()) >= least


def split(faces: Faces, held: Faces | None, judged: bool = True) -> tuple[Faces, Faces, Faces, Faces]:
    """People to train on, to choose a checkpoint by, to calibrate on, and to judge by.

    Nobody judges where nothing is `judged`. Without `held` all are taken from `faces`. Raises DataError where they are
    too few.
    """
    known = faces
    if held is None:
        known, held = split_people(faces, 0.45 if judged else 0.1, least=3 * fitting_module.LEAST_PEOPLE, most=600)
    judges = held.select(np.empty(0, np.int64))
    if judged:
        judges, held = split_people(held, 2 / 3, least=2 * fitting_module.LEAST_PEOPLE)
    return known, *split_people(held, 0.5, least=fitting_module.LEAST_PEOPLE), judges


def tars(matcher: Matcher, vectors: Vectors, people: Indices, seed: int) -> dict[float, Figure]:
    """TAR at every FAR that enough pairs support, by the FAR, the strictest first.

    `vectors` (n, dim) are unit embeddings of `people` (n,). Raises DataError where no FAR is supported.
    """
    order = np.argsort(people, kind="stable")
    pairs = all_pairs(matcher, matcher.points(vectors[order]), people[order], seed)
    weights = people_weights(int(people.max()) + 1, seed)
    figures = measure_error_rates(pairs, weights, fars=_FARS, seed=seed).figures
    found = {far: figure for far in _FARS if (figure := figures.get(("tar", f"{far:g}"))) and np.isfinite(figure.value)}
    if not found:
        raise DataError("The people kept out have too few photos to tell two models apart; add people or photos")
    return found


def judged(before: dict[float, Figure], after: dict[float, Figure], people: int) -> Judgement:
    """Judge by the TAR at the strictest FAR of `before`."""
    far = next(iter(before))
    gap = difference(after[far], before[far])[0]
    return Judgement(f"TAR@FAR={far:g}", people, before[far].value, after[far].value, *gap.interval)


def calibrated(
    start: ModelFile, matcher: Matcher, embed: Embed, faces: Faces, held: Faces | None, seed: int
) -> tuple[ModelFile, Judgement]:
    """`start` with the slope and offset of its calibration fitted to `faces`, and a judgement; the impostor tail stays.

    The judgement is on `held`, else by cross-fitting over two halves of these people. Raises DataError.
    """
    old = Calibration.from_meta(start.meta)

    def scored(part: Faces) -> tuple[Faces, Vectors]:
        part = part.select(sample(part.people))
        return part, matcher.matrix(embed(part))

    faces, matrix = scored(faces)
    everybody = np.ones(len(faces), bool)
    line = platt(*_weighed_pairs(matrix, faces.people, everybody))
    losses: list[list[float]] = []
    if held is not None:
        judges, kept_out = scored(held)
        pairs = _weighed_pairs(kept_out, judges.people, np.ones(len(judges), bool))
        losses.append([_log_loss(pairs, *each) for each in ((old.slope, old.offset), line)])
    else:
        judges, halves = faces, np.random.default_rng([seed, 0x7A11]).permutation(len(faces.names)) % 2
        for half in (0, 1):
            fitting, judging = (halves[faces.people] == side for side in (half, 1 - half))
            by_half = platt(*_weighed_pairs(matrix, faces.people, fitting))
            pairs = _weighed_pairs(matrix, faces.people, judging)
            losses.append([_log_loss(pairs, *each) for each in ((old.slope, old.offset), by_half)])
    before, after = np.mean(losses, axis=0)
    # A judgement's figure should rise, so the loss is negated.
    figure = "- log loss of pairs" if held is not None else "- log loss of pairs, each half by the other's fit,"
    judgement = Judgement(figure, len(judges.names), -before, -after, np.nan, np.nan)
    slope, offset = line
    meta = {**start.meta, "calibration": {**start.meta["calibration"], "slope": slope, "offset": offset}}
    meta["tuned"] = {"people": len(faces.names), "photos": len(faces), **judgement.facts()}
    return ModelFile(start.tensors, meta), judgement


def with_own_tail_or_old(
    fitted: Calibration, start: ModelFile, people: int, before: Vectors, after: Vectors, shown: Indices
) -> Calibration:
    """`fitted`, but with the impostor tail of `start` where it rests on fewer than TAIL_PEOPLE `people`.

    `before` and `after` (n, n) are logits of the same faces, which show the people `shown` (n,), by the old model and
    the new one.
    """
    if people >= TAIL_PEOPLE:
        return fitted
    impostors = metrics.pair_scores(before, shown)[1], metrics.pair_scores(after, shown)[1]
    return with_tail_of(fitted, Calibration.from_meta(start.meta), impostors)


def _weighed_pairs(matrix: Vectors, people: Indices, chosen: NDArray[np.bool_]) -> Pairs:
    """Genuine and impostor logits of the chosen faces with their weights. Raises DataError where there are none."""
    genuine, impostor, weights = weighed_pairs(matrix[chosen][:, chosen], people[chosen])
    if not len(genuine) or not len(impostor):
        raise DataError(
            "There are too few people with two photos to fit even the calibration; add people or photos, at least "
            f"{2 * fitting_module.LEAST_PEOPLE} people with two"
        )
    return genuine, impostor, weights


def _log_loss(pairs: Pairs, slope: float, offset: float) -> float:
    """Cross-entropy of calibrated pairs; both kinds count half, and all people count the same."""
    genuine, impostor, weights = pairs
    yes = np.logaddexp(0, -(slope * genuine.astype(np.float64) + offset))
    no = np.logaddexp(0, slope * impostor.astype(np.float64) + offset)
    return float(0.5 * (np.average(yes, weights=weights[0]) + np.average(no, weights=weights[1])))
