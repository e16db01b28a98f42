"""Training, from photos to a model file. Read this file from top to bottom.

recipe.py holds every choice, trainer.py a single step, and losses.py what the steps minimise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from facedex.data.dataset import Faces
from facedex.errors import DataError
from facedex.model.modelfile import FROZEN, ModelFile, read_model
from facedex.model.torchgraph import pick_device
from facedex.training.between import between
from facedex.training.checkpoint import STATE_FILE, load_checkpoint, save_checkpoint
from facedex.training.distillation import Targets
from facedex.training.export import require_onnx
from facedex.training.finish import finish, with_new_head
from facedex.training.history import append_metrics, plot_metrics, trim_metrics
from facedex.training.recipe import Recipe
from facedex.training.run_state import RunState, continued, digests
from facedex.training.siamese import Siamese, from_file, to_file
from facedex.training.step_time import bf16_is_faster, steps_in
from facedex.training.trainer import Trainer
from facedex.training.validation import validate

Event = dict[str, Any]

# The best checkpoint so far is kept over a later one only where it is better by so much. Less is chance, and the later
# one was trained at a lower rate. The weights that a run starts from are replaced for any gain.
CLEARLY_BETTER = 0.005


@dataclass(frozen=True)
class TrainingResult:
    """The model written (None when interrupted), the step reached, the best validation, and the seconds taken."""

    model: ModelFile | None
    step: int
    best: Event
    seconds: float


def train(
    recipe: Recipe,
    faces: Faces,
    validation: tuple[Faces, Faces],
    output: Path,
    *,
    work: Path,
    minutes: float = 60.0,
    teachers: Targets | None = None,
    unlabelled: Faces | None = None,
    init: Path | None = None,
    device: str = "auto",
    resume: bool = False,
    keep_state: bool = False,
    checkpoint_seconds: float = 60.0,
    on_event: Callable[[Event], None] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train on `faces`, choose the checkpoint on validation[0], calibrate on validation[1], and write `output`.

    No person may be in two of the three. Events are {"event": "start" | "step" | "validation" | "saved", ...}. `stop`
    is called after every step; if it returns True, the state is saved and the run ends without a model. With
    `keep_state` the caller deletes the state (STATE_FILE) when its own work with the model is done. Raises DataError,
    ModelError, OSError.
    """
    require_onnx()
    torch_device = pick_device(device)
    choosing, calibrating = validation
    state_path, best_path, metrics_path = work / STATE_FILE, work / "best.safetensors", work / "metrics.csv"
    work.mkdir(parents=True, exist_ok=True)
    start = read_model(init) if init else None

    # Begin a run, or continue the one in the work folder. `begun` is the trained network that a new run starts from.
    inputs = digests(faces, validation, teachers, unlabelled)
    begun = _network_to_train_on(start, recipe) if start and not state_path.exists() else None
    if state_path.exists():
        state = continued(work, recipe, inputs, start, resume)
    else:
        recipe = _going_on_from(start, begun, recipe)
        bf16 = bf16_is_faster(torch_device)  # measured once: the steps of a resumed run are the same
        steps = recipe.steps or steps_in(recipe, minutes, faces, teachers, unlabelled, torch_device, bf16, start)
        state = RunState(inputs, start.fingerprint if start else None, replace(recipe, steps=steps), bf16)
    recipe = state.recipe

    # The network, its average and its optimizers.
    trainer = Trainer(recipe, faces, teachers, unlabelled, torch_device, state.bf16, start, state.bases)
    if state.step:
        load_checkpoint(state_path, trainer.parts())
        for network in (trainer.model, trainer.average.model):
            network.encoder.mirrored = state.mirrored
    state.bases, state.mirrored = trainer.model.head.bases, trainer.model.encoder.mirrored
    if begun:  # the weights that the run starts from may turn out to be the best
        trainer.aim()
        side, first = recipe.final_size, trainer.average.model
        state.best = {"step": 0, "side": side, **validate(first, choosing, side)}
        state.peak = side, state.best["score"]
        to_file(first, {}).save(best_path)
    trim_metrics(metrics_path, state.step)
    facts = {"bf16": state.bf16, "people": len(faces.names), "photos": len(faces)}
    on_event({"event": "start", "step": state.step, "steps": recipe.steps, "device": str(torch_device), **facts})

    # The steps.
    validate_every = max(recipe.validations_apart, recipe.steps // recipe.validations)
    report_every = 1 if torch_device.type == "cpu" else 20  # reading a loss makes an accelerator wait
    began = saved = time.monotonic()
    earlier_seconds, loss_sum, loss_steps = state.seconds, torch.zeros((), device=torch_device), 0
    step = state.step
    while step < recipe.steps:
        loss = trainer.step(step)
        step += 1
        loss_sum, loss_steps = loss_sum + loss, loss_steps + 1
        seconds = earlier_seconds + time.monotonic() - began
        if step % report_every == 0:
            images = report_every * trainer.batch_size
            on_event({"event": "step", "step": step, "loss": float(loss), "images": images, "seconds": seconds})

        validated = step % validate_every == 0 or step == recipe.steps
        if validated:
            side = recipe.size(step - 1)
            trainer.settle(step, side)
            network = trainer.average.model
            mean_loss = float(loss_sum) / loss_steps
            found = {"step": step, "loss": mean_loss, "side": side, **validate(network, choosing, side)}
            loss_sum, loss_steps = torch.zeros_like(loss_sum), 0
            if _replaces_best(found, state):
                state.best = found
                to_file(network, {}).save(best_path)
            state.peak = max(state.peak, (side, found["score"]))
            seconds = earlier_seconds + time.monotonic() - began
            append_metrics(metrics_path, {**found, "seconds": round(seconds, 1)})
            on_event({"event": "validation", **found, "seconds": seconds})

        # The sum of the losses is not saved. A run resumed between two validations begins the sum again, which changes
        # the history and not the weights.
        stopping = stop()
        if stopping or validated or time.monotonic() - saved > checkpoint_seconds:
            state.step, state.seconds = step, earlier_seconds + time.monotonic() - began
            save_checkpoint(state_path, trainer.parts(), state.facts())
            saved = time.monotonic()
            on_event({"event": "saved", "step": step})
        if stopping and step < recipe.steps:
            return TrainingResult(None, step, state.best, state.seconds)

    # The best checkpoint becomes the model, with a new head where that is better.
    state.best = _with_bad_photos(best_path, state.best, trainer.average.model, step, choosing, recipe)
    best, state.best = _with_better_head(read_model(best_path), state.best, faces, choosing, recipe)
    seconds = earlier_seconds + time.monotonic() - began
    data = {
        "people": len(faces.names),
        "photos": len(faces),
        "sha256": faces.digest(),
        "unlabelled_photos": len(unlabelled) if unlabelled is not None else 0,
        "teachers": teachers is not None,
        "validation_people": len(choosing.names),
        "calibration_people": len(calibrating.names),
    }
    meta = {
        "data": data,
        "recipe": asdict(recipe),
        "validation": state.best,
        "seconds": round(seconds, 1),
        "device": str(torch_device),
        "init": state.init,
    }
    model = finish(best, calibrating, output, meta)
    plot_metrics(metrics_path, work / "metrics.png")
    if not keep_state:
        state_path.unlink(missing_ok=True)
    return TrainingResult(model, step, state.best, seconds)


def _network_to_train_on(start: ModelFile, recipe: Recipe) -> Siamese:
    """The network of a stored model. Raises DataError for one of another architecture than the recipe's."""
    if start.frozen and recipe.arch != FROZEN:
        raise DataError(
            f"{start.path} came as a graph, which learns from teachers alone; leave out --init, or add --teachers and "
            "leave out --arch"
        )
    network = from_file(start)
    if network.arch != recipe.arch:
        raise DataError(f"{start.path} is a {network.arch!r}, not a {recipe.arch!r}; leave out --arch or --init")
    return network


def _going_on_from(start: ModelFile | None, network: Siamese | None, recipe: Recipe) -> Recipe:
    """The recipe for a run that starts from trained weights, if there are any: their depth, and draws after theirs."""
    if start is None or network is None:
        return recipe
    before = start.meta.get("recipe", {})
    earlier = before.get("earlier", 0) + before.get("steps", 0)
    return replace(recipe, earlier=earlier, blocks=getattr(network.encoder, "depth", ()))


def _with_bad_photos(best_path: Path, best: Event, last: Siamese, step: int, choosing: Faces, recipe: Recipe) -> Event:
    """What a student learnt of bad photos, where its training made good ones worse.

    Saves the network nearest to the last one that is as good as the first on good photos; returns its validation. Bad
    photos gain with each part of the way, but `choosing` holds few. The best stays where no such network is as good,
    or another checkpoint than the first is the best.
    """
    if recipe.arch != FROZEN or best["step"] != 0:
        return best
    first = from_file(read_model(best_path)).to(next(last.parameters()).device)
    for share, network in between(first, last):
        found = validate(network, choosing, best["side"])
        if found["score"] >= best["score"]:
            to_file(network, {}).save(best_path)
            return {"step": step, "share_of_training": share, "side": best["side"], **found}
    return best


def _with_better_head(
    best: ModelFile, judged: Event, faces: Faces, choosing: Faces, recipe: Recipe
) -> tuple[ModelFile, Event]:
    """The weights with a head fitted again, and their validation, if the recipe asks for it and it is better.

    Else both as given.
    """
    if not recipe.head_people:
        return best, judged
    candidate = with_new_head(best, faces, choosing, recipe.head_people, recipe.seed)
    found = {**judged, **validate(from_file(candidate), choosing)}
    return (candidate, found) if found["score"] > judged["score"] else (best, judged)


def _replaces_best(found: Event, state: RunState) -> bool:
    """Whether a validation is better than the best so far, or nearly as good and later.

    A network is judged at the size of its crops. The best at a smaller size loses to any at a larger one.
    """
    tolerance = CLEARLY_BETTER if state.best.get("step") else 0.0
    return (found["side"], found["score"] + tolerance) > state.peak
