"""The three ways in which `train` makes a model: from scratch, by adapting a network, by fitting a frozen encoder."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from facedex.cli.console import say, stderr_console
from facedex.cli.progress import add_counter, progress_bar
from facedex.cli.training_data import TrainingData
from facedex.cli.training_progress import TrainingProgress
from facedex.errors import DataError
from facedex.model.modelfile import FROZEN, ModelFile, read_model
from facedex.model.torchcode import torch_code
from facedex.training.judging import LEAST_PEOPLE, LEAST_PHOTOS, Tuned
from facedex.wording import counted

INTERRUPTED = 130  # the exit code after Ctrl-C


@dataclass(frozen=True)
class TrainingJob:
    """The arguments that all three ways share. `work` is the folder of an unfinished run's state."""

    output: Path
    work: Path
    data: TrainingData
    seed: int
    steps: int
    rate: float
    device: str
    resume: bool


def train_from_scratch(
    job: TrainingJob,
    arch: str | None,
    teachers: Path | None,
    unlabelled: Sequence[Path],
    init: Path | None,
    size: int | None,
    minutes: float,
) -> int:
    """Train the whole network; returns the exit code. Raises MissingExtra without torch, DataError, ModelError."""
    torch_code("training", "Training")
    from facedex.model.torchgraph import pick_device
    from facedex.training.distillation import Teachers
    from facedex.training.recipe import RECIPES, recipe_for
    from facedex.training.run_state import size_of_run
    from facedex.training.siamese import input_size
    from facedex.training.train import train

    start = read_model(init) if init else None
    if arch is None:
        arch = FROZEN if teachers and start and start.frozen else "compact"
    elif arch not in RECIPES:
        raise DataError(f"There is no architecture {arch!r}; choose one of: {', '.join(RECIPES)}")
    if arch == FROZEN and size is not None:
        raise DataError(f"The network of {init} keeps the size of its input; leave out --size")
    if size is None and job.resume:  # the run may have begun on a device with another default size
        size = size_of_run(job.work)
    if start and size is None:
        size = input_size(start) if arch == FROZEN else start.size
    recipe = recipe_for(arch, teachers is not None, pick_device(job.device).type, size, begun=start is not None)
    recipe = replace(recipe, seed=job.seed, steps=job.steps, rate=job.rate)
    known, choosing, calibrating = job.data.split()
    without_names = job.data.load(unlabelled) if unlabelled else None
    job.data.say_corrections()
    display = TrainingProgress(stderr_console())
    with stop_after_step(display) as stop, display.bar:
        result = train(
            recipe,
            known,
            (choosing, calibrating),
            job.output,
            work=job.work,
            minutes=minutes,
            teachers=Teachers(teachers) if teachers else None,
            unlabelled=without_names,
            init=start.path if start else None,
            device=job.device,
            resume=job.resume,
            on_event=display.on_event,
            stop=stop,
        )
    if result.model is None:
        say(f"stopped at step {result.step} and saved; the same command with --resume goes on")
        return INTERRUPTED
    best = result.best
    say(
        f"{job.output}: accuracy {best['accuracy']:.1%}, TAR@FAR=1e-3 {best['tar_at_1e-3']:.1%} (by cosine "
        f"{best['cosine_tar_at_1e-3']:.1%}) on {counted(len(choosing.names), 'person')} not trained on "
        f"(step {best['step']} of {result.step}, {result.seconds / 60:.1f} min); "
        f"calibrated on {len(calibrating.names)} others. Metrics and their plot: {job.work}"
    )
    return 0


def adapt_network(job: TrainingJob, start: ModelFile, minutes: float, force: bool) -> int:
    """Train the network of `start` further; returns the exit code. Raises MissingExtra, DataError, ModelError."""
    torch_code("training", "Training")
    from facedex.training.tuning import CANDIDATE, tune

    known, held_out = job.data.people()
    job.data.say_corrections()
    display = TrainingProgress(stderr_console())
    with stop_after_step(display) as stop, display.bar:
        tuned = tune(
            start,
            known,
            job.output,
            work=job.work,
            held=held_out,
            seed=job.seed,
            steps=job.steps,
            minutes=minutes,
            rate=job.rate,
            device=job.device,
            resume=job.resume,
            force=force,
            on_event=display.on_event,
            stop=stop,
        )
    if tuned.judgement is None:
        say("stopped and saved; the same command with --resume goes on")
        return INTERRUPTED
    return _say_outcome(job, start, tuned, job.work / CANDIDATE if tuned.kind == "network" else None)


def fit_frozen_encoder(job: TrainingJob, start: ModelFile, force: bool) -> int:
    """Fit projection, head and calibration behind the frozen networks of `start`; returns the exit code."""
    from facedex.training.frozen import fit_frozen

    known, held_out = job.data.people()
    job.data.say_corrections()
    with progress_bar(len(known)) as progress:
        tuned = fit_frozen(
            start,
            known,
            job.output,
            held=held_out,
            seed=job.seed,
            steps=job.steps,
            force=force,
            progress=add_counter(progress, "encoding"),
        )
    return _say_outcome(job, start, tuned, candidate=None)


def _say_outcome(job: TrainingJob, start: ModelFile, tuned: Tuned, candidate: Path | None) -> int:
    """Print how the adapted model compares with `start`; returns the exit code. `candidate` is a model not accepted."""
    if tuned.kind == "calibration":
        say(
            f"fewer than {LEAST_PEOPLE} people have {LEAST_PHOTOS} photos or more, too few to learn more from: only "
            "the calibration was fitted"
        )
    judgement = tuned.judgement
    if judgement is not None:
        interval = ""
        if not math.isnan(judgement.low):  # NaN when there are too few people for an interval
            interval = f" (95 % interval of the difference {judgement.low:+.3f} to {judgement.high:+.3f})"
        say(
            f"{judgement.figure} on {counted(judgement.people, 'person')} kept out: {judgement.before:.3f} before, "
            f"{judgement.after:.3f} after{interval}"
        )
    if tuned.model is None:
        kept = f"; the worse model is in {candidate}" if candidate else ""
        say(f"{job.output} was not written, because it got worse; --force writes it all the same{kept}", "yellow")
        return 1
    say(f"{job.output}: {tuned.kind} fitted, started from {start.path}")
    return 0


@contextmanager
def stop_after_step(display: TrainingProgress) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C end a run after the present step, so that its state is saved.

    Yields the function that the run calls after each step; it returns True after Ctrl-C. The second Ctrl-C ends the
    run at once. Before the first step and after the last one the first Ctrl-C does, because there is nothing to save.
    """
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if display.stage == "finishing":
            say("every step is taken and saved; the same command with --resume does the rest")
        if interrupted or display.stage != "stepping":
            raise KeyboardInterrupt
        interrupted = True
        say("saving the state after this step …")

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
