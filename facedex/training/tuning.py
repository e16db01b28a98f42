"""Adapting a network of ours to the user's own people, without making it worse.

A trained network knows faces in general. A few own people show what differs: an archive's cameras, or the light at a
gate. Three rules keep the network from getting worse:

- Its own embeddings are targets beside the names, so it stays near what it was (learning without forgetting, Li & Hoiem
  2018).
- Few people change the calibration alone.
- Before and after are compared on people kept out of everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
from facedex.training.siamese import embed_faces, from_file
from facedex.training.train import Event, train

CANDIDATE = "tuned.safetensors"  # in the work folder: the adapted model, which is written if it is not worse
_PASSES = 20  # over the photos at most, where the minutes set the steps: few people are soon learnt
_LEAST_STEPS = 40


class OwnEmbeddings:
    """A model's own embeddings as targets, in place of teachers'."""

    def __init__(self, model: ModelFile) -> None:
        self._network = from_file(model)
        self.fingerprint = model.fingerprint

    def targets_of(self, parts: list[Faces], dim: int) -> NDArray[np.float32]:
        """The model's embeddings of every unjittered crop of all parts, in order: (n, dim) float32 of unit length."""
        return np.concatenate([embed_faces(self._network, part) for part in parts])


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
    on_event: Callable[[Event], None] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Adapt `start` to `faces` and write `output`, unless people kept apart show that it got worse.

    `force` writes it all the same. `held` are the people kept apart, else some of `faces`. With fewer than
    LEAST_PEOPLE people of LEAST_PHOTOS photos only the calibration is fitted. Raises DataError, ModelError.
    """
    if not len(faces):
        raise DataError("No photo is left to learn from; give other people, or other --corrections")
    if (arch := start.meta.get("arch")) != TUNE.arch:
        raise DataError(
            f"{start.path} is a {arch!r}, and only a {TUNE.arch!r} is adapted; add --arch {arch} to train it on"
        )
    before = model_matcher(start)
    if not judging.enough_people(faces):
        model, judgement = judging.calibrated(
            start, before, lambda part: before.encode(part.crops112()), faces, held, seed
        )
        if judgement.worse and not force:
            return Tuned("calibration", None, judgement)
        model.save(output)
        return Tuned("calibration", model, judgement)

    known, choosing, calibrating, judges = judging.split(faces, held)
    recipe = replace(TUNE, seed=seed, steps=steps, rate=rate, sizes=((0.0, start.size),))
    if not recipe.steps:
        passes = _PASSES * len(known) // (recipe.people * recipe.photos)
        recipe = replace(recipe, most_steps=max(_LEAST_STEPS, passes))
    crops = judges.crops112()
    # The old model is judged before the training, which is wasted if these people cannot tell two models apart.
    tars_before = judging.tars(before, before.encode(crops), judges.people, seed)
    result = train(
        recipe,
        known,
        (choosing, calibrating),
        work / CANDIDATE,
        work=work,
        minutes=minutes,
        teachers=OwnEmbeddings(start),
        init=start.path,
        device=device,
        resume=resume,
        keep_state=True,
        on_event=on_event,
        stop=stop,
    )
    if result.model is None:
        return Tuned("network", None, None)
    after = model_matcher(result.model)
    tars_after = judging.tars(after, after.encode(crops), judges.people, seed)
    judgement = judging.judged(tars_before, tars_after, len(judges.names))
    if judgement.worse and not force:
        (work / STATE_FILE).unlink(missing_ok=True)
        return Tuned("network", None, judgement)

    people, calibrating = len(calibrating.names), calibrating.select(sample(calibrating.people))
    crops = calibrating.crops112()
    calibration = judging.with_own_tail_or_old(
        Calibration.from_meta(result.model.meta),
        start,
        people,
        before.matrix(before.encode(crops)),
        after.matrix(after.encode(crops)),
        calibrating.people,
    )
    meta = {**result.model.meta, "calibration": calibration.to_meta()}
    meta["tuned"] = {"people": len(known.names), "photos": len(known), **judgement.facts()}
    written = ModelFile(result.model.tensors, meta)
    written.save(output)
    # The state goes last: if the work after the steps fails, --resume repeats that work without taking a step.
    (work / STATE_FILE).unlink(missing_ok=True)
    return Tuned("network", written, judgement)
