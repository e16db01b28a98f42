"""Fine-tuning a network of our own on people of one's own: never further than they can carry it.

A trained network knows faces in general; a few own people say how they differ from that: the archive's cameras, the
gate's light. Three things keep that from doing harm. The network's own embeddings are targets beside the names, so
that it stays close to what it was (learning without forgetting, Li & Hoiem 2018). Few people change the calibration
alone. And before and after are compared on people kept out of all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from facedex.data.dataset import Faces
from facedex.decision.calibration import Calibration
from facedex.decision.fitting import sample
from facedex.errors import DataError
from facedex.evaluation.matchers import model_matcher
from facedex.model.modelfile import ModelFile
from facedex.training import judging
from facedex.training.checkpoint import STATE_FILE
from facedex.training.judging import Tuned
from facedex.training.recipe import TUNE
from facedex.training.siamese import embedded, from_file
from facedex.training.train import Event, train

CANDIDATE = "tuned.safetensors"  # in the work folder: what is written if it is not worse


class Anchors:
    """A model's own embeddings as targets, in the place of teachers'."""

    def __init__(self, model: ModelFile) -> None:
        self._network = from_file(model)
        self.fingerprint = model.fingerprint

    def targets_of(self, parts: list[Faces], dim: int) -> np.ndarray:
        """(n, dim) float32 of unit length: what the model says of every unjittered crop of all parts, in order."""
        return np.concatenate([embedded(self._network, part) for part in parts] or [np.empty((0, dim), np.float32)])


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
    least: int = judging.LEAST_PEOPLE,
    on_event: Callable[[Event], None] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Adapt `start` to `faces` and write `output`, unless people kept apart say that it got worse (`force` writes
    all the same). Kept apart are `held`, or else some of `faces`. With fewer than `least` people of LEAST_PHOTOS
    photos only the calibration is fitted. Raises DataError, ModelError.
    """
    if not len(faces):
        raise DataError("No photo is left to learn from; give other people, or other --corrections")
    if (arch := start.meta.get("arch")) != TUNE.arch:
        raise DataError(
            f"{start.path} is a {arch!r}, and only a {TUNE.arch!r} is adapted; add --arch {arch} to train it on"
        )
    before = model_matcher(start)
    if not judging.enough_people(faces, least):
        model, comparison = judging.calibrated(
            start, before, lambda part: before.encode(part.crops112()), faces, held, seed
        )  # fmt: skip
        if comparison.worse and not force:
            return Tuned("calibration", None, comparison)
        model.save(output)
        return Tuned("calibration", model, comparison)
    known, choosing, calibrating, judges = judging.split(faces, held)
    recipe = replace(TUNE, seed=seed, steps=steps, rate=rate, sizes=((0.0, start.size),))
    if not recipe.steps:  # twenty passes and no more: what few people say is soon learnt
        recipe = replace(recipe, most_steps=max(40, 20 * len(known) // (recipe.people * recipe.photos)))
    crops = judges.crops112()
    # Before the work: it may be that these people cannot tell two models apart.
    was = judging.tars(before, before.encode(crops), judges.people, seed)
    candidate = work / CANDIDATE
    result = train(
        recipe, known, (choosing, calibrating), candidate, work=work, minutes=minutes, teachers=Anchors(start),
        init=start.path, device=device, resume=resume, keep_state=True, on_event=on_event, stop=stop,
    )  # fmt: skip
    if result.model is None:
        return Tuned("network", None, None)
    after = model_matcher(result.model)
    comparison = judging.compared(
        was, judging.tars(after, after.encode(crops), judges.people, seed), len(judges.names)
    )  # fmt: skip
    if comparison.worse and not force:
        (work / STATE_FILE).unlink(missing_ok=True)
        return Tuned("network", None, comparison)
    people, calibrating = len(calibrating.names), calibrating.select(sample(calibrating.people))
    crops = calibrating.crops112()
    fitted = judging.with_own_tail_or_old(
        Calibration.from_meta(result.model.meta), start, people, judging.scores(before, before.encode(crops)),
        judging.scores(after, after.encode(crops)), calibrating.people,
    )  # fmt: skip
    meta = {**result.model.meta, "calibration": fitted.to_meta()}
    meta["tuned"] = {"people": len(known.names), "photos": len(known), **comparison.facts()}
    written = ModelFile(result.model.tensors, meta)
    written.save(output)
    (work / STATE_FILE).unlink(missing_ok=True)  # only now: what fails before is done again by --resume, without a step
    return Tuned("network", written, comparison)
