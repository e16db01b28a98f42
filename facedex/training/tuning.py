"""Fine-tuning a trained model on people of one's own: never further than they can carry it.

A model that ships knows faces in general; a few own people say how they differ from that: the archive's cameras, the
gate's light. Three things keep that from doing harm. The network's own embeddings are targets beside the names, so
that it stays close to what it was (learning without forgetting, Li & Hoiem 2018). Few people change the calibration
alone. And before and after are compared on people kept out of all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facedex import calibrate
from facedex.data import Faces, split_people
from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.evaluation.allpairs import all_pairs
from facedex.evaluation.bootstrap import Figure, difference, people_weights
from facedex.evaluation.matchers import model_matcher
from facedex.evaluation.verification import verification
from facedex.fitting import Pairs, sample, weighed_pairs
from facedex.modelfile import FOREIGN, ModelFile, read_graph
from facedex.training.checkpoint import STATE_FILE
from facedex.training.headonly import embedded
from facedex.training.model import from_file
from facedex.training.recipe import TUNE
from facedex.training.train import Event, head_matrix, train

# People of so many photos each, below which only the calibration is fitted: of 40, some 20 are left to learn from, and so
# few made both models tried worse for others (scripts/fewpeople.py; figures in README).
LEAST_PEOPLE, LEAST_PHOTOS = 40, 3
CANDIDATE = "tuned.safetensors"  # in the work folder: what is written if it is not worse
_FARS = (1e-3, 1e-2, 1e-1)
TAIL_PEOPLE = 100  # to replace the impostor tail that came with the model: 1 % of these is one person


class Anchors:
    """A model's own embeddings as targets, in the place of teachers'."""

    def __init__(self, model: ModelFile) -> None:
        self._network = from_file(model)
        self.fingerprint = model.fingerprint

    def targets_of(self, parts: list[Faces], dim: int) -> np.ndarray:
        """(n, dim) float32 of unit length: what the model says of every unjittered crop of all parts, in order."""
        return np.concatenate([embedded(self._network, part) for part in parts] or [np.empty((0, dim), np.float32)])


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


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning came to. `kind`: "network" or "calibration"; `model` is None when it was worse, or stopped."""

    kind: str
    model: ModelFile | None
    comparison: Comparison | None


def tune(
    start: ModelFile,
    faces: Faces,
    output: Path,
    *,
    work: Path,
    held: Faces | None = None,
    seed: int = 0,
    steps: int = 0,
    minutes: float = 10.0,
    rate: float = 1.0,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    least: int = LEAST_PEOPLE,
    on_event: Callable[[Event], None] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Adapt `start` to `faces` and write `output`, unless people kept apart say that it got worse (`force` writes
    all the same). Kept apart are `held`, or else some of `faces`. With fewer than `least` people of LEAST_PHOTOS
    photos only the calibration is fitted. Raises DataError, ModelError.
    """
    enough = np.bincount(faces.people, minlength=len(faces.names)) >= LEAST_PHOTOS
    if not len(faces):
        raise DataError("No photo is left to learn from; give other people, or other --corrections")
    if start.meta.get("arch") == FOREIGN:
        raise DataError(
            f"{start.path} has an encoder from elsewhere, which is taken as it is; `facedex train --encoder FILE.onnx` "
            "fits its head and calibration to your people"
        )
    if (arch := start.meta.get("arch")) != TUNE.arch:
        raise DataError(
            f"{start.path} is a {arch!r}, and only a {TUNE.arch!r} is adapted; add --arch {arch} to train it on"
        )
    if enough.sum() < least:
        return _calibrate_only(start, faces, output, seed, force, held)
    known = faces
    if held is None:
        known, held = split_people(faces, 0.45, least=3 * calibrate.LEAST_PEOPLE, most=600)
    testing, held = split_people(held, 2 / 3, least=2 * calibrate.LEAST_PEOPLE)
    choosing, calibrating = split_people(held, 0.5, least=calibrate.LEAST_PEOPLE)
    recipe = replace(TUNE, seed=seed, steps=steps, rate=rate, sizes=((0.0, start.size),))
    if not recipe.steps:  # twenty passes and no more: what few people say is soon learnt
        recipe = replace(recipe, most_steps=max(40, 20 * len(known) // (recipe.people * recipe.photos)))
    was = _tars(start, testing, seed)  # before the work: it may be that these people cannot tell two models apart
    candidate = work / CANDIDATE
    result = train(
        recipe, known, (choosing, calibrating), candidate, work=work, minutes=minutes, teachers=Anchors(start),
        init=start.path, device=device, resume=resume, keep_state=True, on_event=on_event, stop=stop,
    )  # fmt: skip
    if result.model is None:
        return Tuned("network", None, None)
    comparison = _compared(was, _tars(result.model, testing, seed), len(testing.names))
    if comparison.worse and not force:
        (work / STATE_FILE).unlink(missing_ok=True)
        return Tuned("network", None, comparison)
    meta: dict[str, Any] = {**result.model.meta}
    if len(calibrating.names) < TAIL_PEOPLE:
        ours, theirs = (calibrate.Calibration.from_meta(file.meta) for file in (result.model, start))
        strangers = _impostors(start, calibrating), _impostors(result.model, calibrating)
        meta["calibration"] = calibrate.with_tail_of(ours, theirs, strangers).to_meta()
    meta["tuned"] = {"people": len(known.names), "photos": len(known), **_facts(comparison)}
    written = ModelFile(result.model.tensors, meta)
    written.save(output, read_graph(result.model))
    (work / STATE_FILE).unlink(missing_ok=True)  # only now: what fails before is done again by --resume, without a step
    return Tuned("network", written, comparison)


def _impostors(model: ModelFile, faces: Faces) -> np.ndarray:
    """Logits (n,) of all pairs of two people."""
    faces, network = faces.select(sample(faces.people)), from_file(model)
    return metrics.pair_scores(head_matrix(network, network.embed_crops(faces.crops112())), faces.people)[1]


def _calibrate_only(start: ModelFile, faces: Faces, output: Path, seed: int, force: bool, held: Faces | None) -> Tuned:
    """Fit slope and offset to own people; the impostor tail stays. Judged on `held`, else by cross-fitting over two
    halves of these people.
    """
    network, old = from_file(start), calibrate.Calibration.from_meta(start.meta)

    def scored(those: Faces) -> tuple[Faces, np.ndarray]:
        those = those.select(sample(those.people))
        return those, head_matrix(network, network.embed_crops(those.crops112()))

    faces, matrix = scored(faces)
    everybody = np.ones(len(faces), bool)
    line = calibrate.platt(*_pairs(matrix, faces.people, everybody))
    losses: list[list[float]] = []
    if held is not None:
        judges, kept_out = scored(held)
        judged = _pairs(kept_out, judges.people, np.ones(len(judges), bool))
        losses.append([_log_loss(judged, *each) for each in ((old.slope, old.offset), line)])
    else:
        judges, halves = faces, np.random.default_rng([seed, 0x7A11]).permutation(len(faces.names)) % 2
        for half in (0, 1):
            fitting, judging = (halves[faces.people] == side for side in (half, 1 - half))
            by_half, judged = (
                calibrate.platt(*_pairs(matrix, faces.people, fitting)),
                _pairs(matrix, faces.people, judging),
            )
            losses.append([_log_loss(judged, *each) for each in ((old.slope, old.offset), by_half)])
    before, after = np.mean(losses, axis=0)
    # A lower loss is better: as a figure that should rise it is turned round.
    figure = "- log loss of pairs" if held is not None else "- log loss of pairs, each half by the other's fit,"
    comparison = Comparison(figure, len(judges.names), -before, -after, np.nan, np.nan)
    if comparison.worse and not force:
        return Tuned("calibration", None, comparison)
    slope, offset = line
    meta = {**start.meta, "calibration": {**start.meta["calibration"], "slope": slope, "offset": offset}}
    meta["tuned"] = {"people": len(faces.names), "photos": len(faces), **_facts(comparison)}
    written = ModelFile(start.tensors, meta)
    written.save(output, read_graph(start))
    return Tuned("calibration", written, comparison)


def _pairs(matrix: np.ndarray, people: np.ndarray, chosen: np.ndarray) -> Pairs:
    genuine, impostor, weights = weighed_pairs(matrix[chosen][:, chosen], people[chosen])
    if not len(genuine) or not len(impostor):
        raise DataError(
            "There are too few people with two photos to fit even the calibration; add people or photos, at least "
            f"{2 * calibrate.LEAST_PEOPLE} people with two"
        )
    return genuine, impostor, weights


def compare(before: ModelFile, after: ModelFile, faces: Faces, seed: int = 0) -> Comparison:
    """TAR over all pairs of `faces` by both models' heads, at a FAR of 1e-3, or 1e-2 or .1 where fewer pairs tell. Raises
    DataError where not even these do.
    """
    return _compared(_tars(before, faces, seed), _tars(after, faces, seed), len(faces.names))


def _tars(model: ModelFile, faces: Faces, seed: int) -> dict[float, Figure]:
    """TAR at every FAR that the pairs of `faces` can tell, the strictest first. Raises DataError where there is none."""
    order = np.argsort(faces.people, kind="stable")
    matcher = model_matcher(model)
    points = matcher.points(matcher.encode(faces.crops112(order)))
    pairs = all_pairs(matcher, points, faces.people[order], seed)
    figures = verification(pairs, people_weights(len(faces.names), seed), fars=_FARS, seed=seed).figures
    found = {far: figure for far in _FARS if (figure := figures.get(("tar", f"{far:g}"))) and np.isfinite(figure.value)}
    if not found:
        raise DataError("The people kept out have too few photos to tell two models apart; add people or photos")
    return found


def _compared(old: dict[float, Figure], new: dict[float, Figure], people: int) -> Comparison:
    far = next(iter(old))
    gap = difference(new[far], old[far])[0]
    return Comparison(f"TAR@FAR={far:g}", people, old[far].value, new[far].value, *gap.interval)


def _log_loss(pairs: Pairs, slope: float, offset: float) -> float:
    """Cross-entropy of calibrated pairs, both kinds counting half, and everybody the same."""
    genuine, impostor, weights = pairs
    yes = np.logaddexp(0, -(slope * genuine.astype(np.float64) + offset))
    no = np.logaddexp(0, slope * impostor.astype(np.float64) + offset)
    return float(0.5 * (np.average(yes, weights=weights[0]) + np.average(no, weights=weights[1])))


def _facts(comparison: Comparison) -> dict[str, Any]:
    return {
        "figure": comparison.figure, "before": round(comparison.before, 5), "after": round(comparison.after, 5),
        "held_out_people": comparison.people,
    }  # fmt: skip
