"""The facts about a run that its checkpoint keeps, and whether a command continues that run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from facedex.data.dataset import Faces
from facedex.errors import DataError
from facedex.model.modelfile import ModelFile
from facedex.training.checkpoint import STATE_FILE, read_facts
from facedex.training.distillation import Targets
from facedex.training.recipe import Recipe

# Options of the command that a continued run may not change, and the part of the recipe each sets.
_FIXED = {"--arch": "arch", "--seed": "seed", "--rate": "rate", "--size": "final_size"}


@dataclass
class RunState:
    """Where a run stands.

    `inputs` are digests of the data, and `init` is the fingerprint of the model it started from. `best` is the
    validation of the checkpoint kept, and `peak` (side, score) the highest score at the largest size so far. `bases`
    and `mirrored` describe the network.
    """

    inputs: dict[str, str | None]
    init: str | None
    recipe: Recipe
    bf16: bool
    bases: int | None = None
    mirrored: bool = True
    step: int = 0
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    peak: tuple[int, float] = (0, -1.0)

    def facts(self) -> dict[str, Any]:
        """The state as JSON."""
        return asdict(self)

    @classmethod
    def read(cls, path: Path) -> RunState:
        """The state of a checkpoint. Raises DataError."""
        facts = read_facts(path)
        try:
            recipe, peak = Recipe.from_json(facts.pop("recipe")), tuple(facts.pop("peak"))
            return cls(**facts, recipe=recipe, peak=peak)
        except (KeyError, TypeError):
            raise DataError(
                f"{path} was written by another version of facedex; continue it with that version, or delete the folder"
            ) from None


def digests(
    faces: Faces, validation: tuple[Faces, Faces], teachers: Targets | None, unlabelled: Faces | None
) -> dict[str, Any]:
    """What identifies the data of a run, by the names that error messages use."""
    return {
        "photos": faces.digest(),
        "people kept apart": [part.digest() for part in validation],
        "photos without names": unlabelled.digest() if unlabelled is not None else None,
        "teachers": teachers.fingerprint if teachers is not None else None,
    }


def continued(work: Path, recipe: Recipe, inputs: dict[str, Any], start: ModelFile | None, resume: bool) -> RunState:
    """The state of the unfinished run in a work folder, which may be given more steps.

    Raises DataError without `resume`, and where the data, the options or the model to start from differ from that
    run's.
    """
    if not resume:
        raise DataError(f"{work} holds an unfinished run; add --resume to go on with it, or delete the folder")
    state = RunState.read(work / STATE_FILE)
    other = [name for name, digest in inputs.items() if state.inputs.get(name) != digest]
    if other:
        raise DataError(f"{work} holds a run with other {' and '.join(other)}; give the same, or delete the folder")
    other = [option for option, name in _FIXED.items() if getattr(state.recipe, name) != getattr(recipe, name)]
    if start and state.init != start.fingerprint:
        other.append("--init")
    if other:
        raise DataError(f"{work} holds a run with another {' and '.join(other)}; give the same, or delete the folder")
    state.recipe = replace(state.recipe, steps=recipe.steps or state.recipe.steps)
    # A run at its last step still lacks the model: the command was ended while that was made.
    if state.recipe.steps < state.step or (state.recipe.steps == state.step and not state.best):
        raise DataError(f"{work} is at step {state.step} already; give more --steps than that, or leave them out")
    return state


def size_of_run(work: Path) -> int | None:
    """The final side of the crops in pixels of the unfinished run in a work folder, or None. Raises DataError."""
    path = work / STATE_FILE
    return RunState.read(path).recipe.final_size if path.exists() else None
