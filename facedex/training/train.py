"""Training, from photos to a model file: one loop, read top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facedex.data.dataset import Faces
from facedex.decision.calibration import fit_calibration
from facedex.decision.fitting import sample
from facedex.errors import DataError
from facedex.evaluation import metrics
from facedex.model.modelfile import Branch, ModelFile, read_model, with_graphs
from facedex.model.torchgraph import pick_device
from facedex.model.vectors import unit
from facedex.training.allocator import kept_memory
from facedex.training.checkpoint import STATE_FILE, load_checkpoint, read_facts, save_checkpoint
from facedex.training.distillation import Targets
from facedex.training.export import export_onnx, require_onnx
from facedex.training.headfit import fit_head
from facedex.training.metricslog import append_metrics, plot_metrics, trim_metrics
from facedex.training.recipe import RECIPES, Recipe, recipe_for
from facedex.training.siamese import Siamese, at_size, embedded, from_file, to_file
from facedex.training.trainer import Run, bf16_pays, steps_in

__all__ = ["RECIPES", "Event", "Recipe", "Result", "begun_size", "finish", "recipe_for", "train", "validate"]

Event = dict[str, Any]

# So much better must the best checkpoint before be to be kept: less is chance, and a later one has seen a lower rate. The
# weights that a run starts from are left for any gain.
LATER = 0.005


@dataclass(frozen=True)
class Result:
    """What a run came to: the model written (None when interrupted), the step reached and its validation."""

    model: ModelFile | None
    step: int
    best: Event
    seconds: float


@kept_memory()
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
) -> Result:
    """Train on `faces`, choose the checkpoint on validation[0], calibrate on validation[1], write `output`.

    No person may be in two of the three. Events: {"event": "start" | "step" | "validation" | "saved", ...}.
    `stop` is asked after every step; when it says so the state is saved and the run ends without a model. `keep_state`:
    whoever calls has more to do with the model, and deletes the state (STATE_FILE) when that is done.
    Raises DataError, ModelError, OSError.
    """
    require_onnx()
    where, start = pick_device(device), read_model(init) if init else None
    state_path, best_path, metrics_path = work / STATE_FILE, work / "best.safetensors", work / "metrics.csv"
    work.mkdir(parents=True, exist_ok=True)
    inputs = {
        "photos": faces.digest(), "people kept apart": [part.digest() for part in validation],
        "photos without names": unlabelled.digest() if unlabelled is not None else None,
        "teachers": teachers.fingerprint if teachers is not None else None,
    }  # fmt: skip
    facts: dict[str, Any] = {"step": 0, "seconds": 0.0, "best": {}, "inputs": inputs}
    if start and start.frozen:
        raise DataError(
            f"{start.path} has no network that can be trained on; leave out --init, or train without --arch"
        )
    trained = from_file(start) if start and not state_path.exists() else None  # a checkpoint holds all that came of it
    if state_path.exists():
        if not resume:
            raise DataError(f"{work} holds an unfinished run; add --resume to go on with it, or delete the folder")
        facts = read_facts(state_path)
        other = [name for name, digest in inputs.items() if facts.get("inputs", {}).get(name) != digest]
        if other:
            raise DataError(f"{work} holds a run with other {' and '.join(other)}; give the same, or delete the folder")
        stored = Recipe.from_json(facts.get("recipe", {}))
        chosen = {"--arch": "arch", "--seed": "seed", "--rate": "rate", "--size": "final_size"}
        other = [option for option, name in chosen.items() if getattr(stored, name) != getattr(recipe, name)]
        if start and facts.get("init") != start.fingerprint:
            other.append("--init")
        if other:
            raise DataError(
                f"{work} holds a run with another {' and '.join(other)}; give the same, or delete the folder"
            )
        recipe = replace(stored, steps=recipe.steps or stored.steps)
        # A run at its last step still lacks the model, which was being made when it was cut off.
        if recipe.steps < facts["step"] or (recipe.steps == facts["step"] and not facts["best"]):
            raise DataError(
                f"{work} is at step {facts['step']} already; give more --steps than that, or leave them out"
            )
    else:
        if start and trained:
            before = start.meta.get("recipe", {})
            if trained.arch != recipe.arch:
                raise DataError(
                    f"{start.path} is a {trained.arch!r}, not a {recipe.arch!r}; leave out --arch or --init"
                )
            recipe = replace(
                recipe, earlier=before.get("earlier", 0) + before.get("steps", 0),
                blocks=getattr(trained.encoder, "depth", ()),
            )  # fmt: skip
        facts["bf16"] = bf16_pays(where)  # measured once: what is timed is what is run, and resumed
        if recipe.steps == 0:
            steps = steps_in(recipe, minutes, faces, teachers, unlabelled, where, facts["bf16"])
            recipe = replace(recipe, steps=steps)

    begun = facts.get("bases", 1) if facts["step"] else None  # runs of before frames have one, and do not say so
    run = Run(recipe, faces, teachers, unlabelled, where, bool(facts["bf16"]), start if trained else None, begun)
    if facts["step"]:
        load_checkpoint(state_path, run.parts())
        for network in (run.model, run.average.model):
            network.encoder.mirrored = bool(facts.get("mirrored"))
    else:
        facts.update(
            mirrored=run.model.encoder.mirrored, bases=run.model.head.bases, init=start.fingerprint if start else None
        )
    trim_metrics(metrics_path, facts["step"])
    every = max(recipe.validations_apart, recipe.steps // recipe.validations)
    on_event({"event": "start", "step": facts["step"], "steps": recipe.steps, "device": str(where),
              "bf16": facts["bf16"], "people": len(faces.names), "photos": len(faces)})  # fmt: skip

    if trained:  # what one starts from is a candidate too, as it was
        first = at_size(trained, recipe.final_size).to(where)
        facts["best"] = {"step": 0, "side": recipe.final_size, **validate(first, validation[0], recipe.final_size)}
        to_file(first, {}).save(best_path)
    began = saved = time.monotonic()
    earlier, step, summed, count = float(facts["seconds"]), int(facts["step"]), torch.zeros((), device=where), 0
    told = 1 if where.type == "cpu" else 20  # asking an accelerator for its loss makes it wait
    while step < recipe.steps:
        loss = run.step(step)
        step += 1
        summed, count = summed + loss, count + 1
        seconds = earlier + time.monotonic() - began
        if step % told == 0:
            on_event(
                {"event": "step", "step": step, "loss": float(loss), "images": told * run.images, "seconds": seconds}
            )
        validated = step % every == 0 or step == recipe.steps
        if validated:
            side = recipe.size(step - 1)
            run.settle(step, side)
            measured = validate(run.average.model, validation[0], side)
            found = {"step": step, "loss": float(summed) / count, "side": side, **measured}
            summed, count = torch.zeros_like(summed), 0
            # A network is judged at the size it learns at; what was best at a smaller one is not the best any more.
            peak = facts.get("peak") or [facts["best"].get("side", 0), facts["best"].get("score", -1.0)]
            if [side, found["score"] + (LATER if facts["best"].get("step") else 0.0)] > peak:
                facts["best"] = found
                to_file(run.average.model, {}).save(best_path)
            facts["peak"] = max(peak, [side, found["score"]])
            seconds = earlier + time.monotonic() - began
            append_metrics(metrics_path, {**found, "seconds": round(seconds, 1)})
            on_event({"event": "validation", **found, "seconds": seconds})
        stopping = stop()
        # Validation ends an averaging window of the loss, so only there is the state whole without that sum;
        # elsewhere the window simply starts anew, which touches the log and not the weights.
        if stopping or validated or time.monotonic() - saved > checkpoint_seconds:
            facts.update(step=step, seconds=earlier + time.monotonic() - began, recipe=asdict(recipe))
            save_checkpoint(state_path, run.parts(), facts)
            saved = time.monotonic()
            on_event({"event": "saved", "step": step})
        if stopping and step < recipe.steps:
            return Result(None, step, facts["best"], facts["seconds"])

    best = read_model(best_path)
    if recipe.head_people:
        again = with_new_head(best, faces, validation[0], recipe.head_people, recipe.seed)
        found = {**facts["best"], **validate(from_file(again), validation[0])}
        if found["score"] > facts["best"]["score"]:
            best, facts["best"] = again, found
    seconds = earlier + time.monotonic() - began
    model = finish(
        best, validation[1], output,
        {
            "data": {
                "people": len(faces.names), "photos": len(faces), "sha256": faces.digest(),
                "unlabelled_photos": len(unlabelled) if unlabelled is not None else 0,
                "teachers": teachers is not None, "validation_people": len(validation[0].names),
                "calibration_people": len(validation[1].names),
            },
            "recipe": asdict(recipe), "validation": facts["best"], "seconds": round(seconds, 1), "device": str(where),
            "init": facts.get("init"),
        },
    )  # fmt: skip
    plot_metrics(metrics_path, work / "metrics.png")
    if not keep_state:
        state_path.unlink(missing_ok=True)
    return Result(model, step, facts["best"], seconds)


def with_new_head(file: ModelFile, faces: Faces, choosing: Faces, people: int, seed: int) -> ModelFile:
    """The same encoder with a head fitted to the embeddings of so many of the people, from equal weights."""
    some = np.random.default_rng([seed, 0x4EAD]).permutation(len(faces.names))[:people]
    known = faces.select(np.flatnonzero(np.isin(faces.people, some)))
    choosing = choosing.select(sample(choosing.people))
    model = from_file(file)
    head = fit_head(embedded(model, known), known.people, embedded(model, choosing), choosing.people, seed=seed)
    return ModelFile({**file.tensors, **head.tensors()}, file.meta, file.path)


def begun_size(work: Path) -> int | None:
    """Pixels a side that the network of the unfinished run in a work folder sees; None where there is no such run.

    Raises DataError.
    """
    path = work / STATE_FILE
    return Recipe.from_json(read_facts(path).get("recipe", {})).final_size if path.exists() else None


def validate(model: Siamese, faces: Faces, side: int | None = None, most: int = 1500) -> Event:
    """Accuracy at the best threshold, AUC and TAR@FAR over all pairs of at most `most` faces, by the head's logit; and
    TAR@FAR by the cosine of the same embeddings, against which the head is to be held.

    `side`: of the crops the network sees, in pixels, where not its own. "score" is what checkpoints are chosen by: TAR@FAR=1e-3, and the AUC as a tie-break.
    """
    chosen = sample(faces.people, most)
    embeddings = model.embed_crops(faces.crops112(chosen), side=side)
    matrix = head_matrix(model, embeddings)
    genuine, impostor = metrics.pair_scores(matrix, faces.people[chosen])
    if not len(genuine) or not len(impostor):
        raise DataError("Nobody of those kept apart to choose by has two photos, or there is only one; add people")
    accuracy, _ = metrics.best_accuracy(genuine, impostor)
    tar, area = metrics.tar_at_far(genuine, impostor, 1e-3), metrics.auc(genuine, impostor)
    unit_length = unit(embeddings)[0]
    by_cosine = metrics.tar_at_far(*metrics.pair_scores(unit_length @ unit_length.T, faces.people[chosen]), 1e-3)
    return {
        "accuracy": accuracy, "tar_at_1e-3": tar, "cosine_tar_at_1e-3": by_cosine, "auc": area, "score": tar + area / 100
    }  # fmt: skip


@torch.no_grad()
def head_matrix(model: Siamese, embeddings: np.ndarray) -> np.ndarray:
    """Logits of all pairs, (n, dim) to (n, n) float32, by the torch head."""
    device = next(model.parameters()).device
    whole = torch.from_numpy(embeddings).to(device)
    return torch.cat([model.head.pairwise(part, whole) for part in whole.split(256)]).cpu().numpy()


def finish(best: ModelFile, calibration: Faces, output: Path, meta: dict[str, Any]) -> ModelFile:
    """Calibrate the rounded weights on people kept apart, export the graph, write both."""
    model = from_file(best)
    chosen = sample(calibration.people)
    raw = model.raw_crops(calibration.crops112(chosen))
    embeddings, lengths = unit(raw) if model.encoder.normalised else (raw, None)
    fitted = fit_calibration(head_matrix(model, embeddings), calibration.people[chosen], lengths)
    written = to_file(model, {**meta, "calibration": fitted.to_meta()})
    if model.encoder.normalised:
        graph = export_onnx(model.encoder, model.encoder.size)
        written = with_graphs(written, [(Branch("own", model.encoder.dim, model.encoder.size), graph)])
    written.save(output)
    return written
