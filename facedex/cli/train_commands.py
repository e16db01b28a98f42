"""The command that trains: data, options and the display; the work is done in training/."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import a_number, err, landmarks, numbers, say
from facedex.errors import DataError

if TYPE_CHECKING:
    from facedex.cli.display import Display
    from facedex.data.dataset import Faces
    from facedex.model.modelfile import ModelFile
    from facedex.training.judging import Tuned

_TUNING_MINUTES, _MINUTES = 10.0, 60.0


def train(
    data: Annotated[list[Path], typer.Argument(help="Folders of people (NAME/*.jpg) or packs (.tar, .zip) of such.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write, ending in .safetensors.")],
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train the whole twin from nothing, not from the model that ships.")
    ] = False,
    arch: Annotated[str | None, typer.Option(help="compact (ours) or koch (the 2015 baseline), from scratch.")] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="An ONNX encoder to take as it is: its head and calibration are fitted.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=1024,
            help="Pixels a side that the encoder sees: of --encoder 112, from scratch 80 (on CUDA 96, koch 112), "
            "with --init as before.",
        ),
    ] = None,
    mean: Annotated[str, typer.Option(help="With --encoder: subtracted from 0..255; one number, or R,G,B.")] = "0",
    scale: Annotated[str, typer.Option(help="With --encoder: what is left is multiplied by this.")] = "1",
    rgb: Annotated[bool, typer.Option("--rgb/--bgr", help="With --encoder: the order of colours it wants.")] = True,
    mirrored: Annotated[
        bool,
        typer.Option(
            "--mirrored", help="With --encoder: the mean over a face and its mirror image, in twice the time."
        ),
    ] = False,
    points: Annotated[
        str | None,
        typer.Option(help="With --encoder: where it wants the landmarks, ten numbers X,Y,... in its pixels."),
    ] = None,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Photos are aligned faces already, 128 or 112 pixels.")
    ] = False,
    validation: Annotated[
        list[Path] | None, typer.Option(help="People kept apart to choose, calibrate and test on; else some of DATA.")
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option(help="CSV of label faults: key (NAME, or NAME/PHOTO without suffix), person (empty: leave out)."),
    ] = None,
    teachers: Annotated[
        Path | None,
        typer.Option(
            help=".npz of other encoders' embeddings to learn from: key (NAME/PHOTO without suffix), and (n, d) arrays."
        ),
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(help="Photos without names, learnt from with --teachers."),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from this model, a file or the name of one that ships.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.05,
            callback=a_number,
            help="Steps are set so that training takes about this long; 60, from a model 10.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=0, help="Train exactly this many steps instead.")] = 0,
    rate: Annotated[
        float, typer.Option(min=1e-6, max=100, callback=a_number, help="Factor on the learning rates.")
    ] = 1.0,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Same seed, data, machine and --steps: same weights; else time says how many steps."),
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run of this output.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write a model even if it got worse on people kept out.")
    ] = False,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded crops; else OUTPUT's .train folder.")] = None,
) -> None:
    """Adapt the model that ships to your own people; or train one from scratch, or fit a head for another encoder."""
    from facedex.model.modelfile import DEFAULT, read_model

    scratch = from_scratch or arch is not None or teachers is not None
    if encoder is not None and (scratch or init is not None):
        raise DataError(f"{encoder} is taken as it is; leave out --from-scratch, --arch, --teachers and --init")
    if encoder is not None and (resume or force or minutes is not None or rate != 1 or device != "auto"):
        raise DataError("--encoder fits a head alone; leave out --resume, --force, --minutes, --rate and --device")
    if size is not None and encoder is None and not scratch:
        raise DataError("Adapting a model keeps what it sees; leave out --size, or train --from-scratch")
    if encoder is None and (mirrored or points is not None or not rgb or (mean, scale) != ("0", "1")):
        raise DataError(
            "--mirrored, --mean, --scale, --points and --bgr go with --encoder; a model knows by itself what it is to see"
        )
    if force and scratch:
        raise DataError("A model trained from scratch is always written; leave out --force")
    if unlabelled and not teachers:
        raise DataError(
            "Photos without names teach nothing by themselves; give --teachers too, or leave out --unlabelled"
        )
    if output.suffix != ".safetensors":
        raise DataError(f"{output} must end in .safetensors: that is what is written")
    if output.is_dir():
        raise DataError(f"{output} is a folder; name the file to write, or remove the folder")
    job = Job(
        output, output.with_suffix(".train"), Reader(cache or output.with_suffix(".train"), aligned, corrections), data,
        validation or [], seed, steps, rate, device, resume,
    )  # fmt: skip
    try:
        start = None if scratch else read_model(init or DEFAULT)
        if encoder is not None:
            from facedex.model.foreign import foreign_model

            places = None if points is None else landmarks(points, "--points")
            start = foreign_model(
                encoder, size or 112, numbers(mean, "--mean"), numbers(scale, "--scale"), rgb, mirrored, places
            )  # fmt: skip
        if start is None:
            done = _from_scratch(job, arch or "compact", teachers, unlabelled or [], init, size, minutes or _MINUTES)
        elif start.frozen:
            if resume or minutes is not None or rate != 1 or device != "auto":
                raise DataError(
                    f"The networks of {start.path} stay as they are; leave out --resume, --minutes, --rate and --device"
                )
            done = _fit_frozen(job, start, force)
        else:
            done = _tune(job, start, minutes or _TUNING_MINUTES, force)
    except OSError as error:
        raise DataError(
            f"{error.filename2 or error.filename or output} cannot be read or written ({error.strerror or error}); make "
            "room, then go on with --resume where a run had begun, or give another place and begin anew"
        ) from None
    raise typer.Exit(done)


@dataclass(frozen=True)
class Job:
    """What all ways of training are asked for."""

    output: Path
    work: Path
    reader: Reader
    data: list[Path]
    validation: list[Path]
    seed: int
    steps: int
    rate: float
    device: str
    resume: bool

    def people(self) -> tuple[Faces, Faces | None]:
        """The people to train on, and those kept apart where such are named."""
        from facedex.data.dataset import without_people

        known = self.reader.load(self.data)
        held = without_people(self.reader.load(self.validation), known.names) if self.validation else None
        if held is not None and not len(held):
            raise DataError(
                "Everybody in --validation is among those to learn from; name other people, or leave it out"
            )
        return known, held

    def split(self) -> tuple[Faces, Faces, Faces]:
        """The people to train on, to choose the checkpoint on, to calibrate on: three sets without a common person."""
        from facedex.data.dataset import split_people
        from facedex.decision.fitting import LEAST_PEOPLE

        known, held = self.people()
        if held is None:
            known, held = split_people(known, 0.1, least=2 * LEAST_PEOPLE)
        return known, *split_people(held, 0.5, least=LEAST_PEOPLE)


class Reader:
    """Photos to aligned faces, with a word about each that is left out (the first twenty)."""

    def __init__(self, cache: Path, aligned: bool, corrections: Path | None) -> None:
        self._cache, self._aligned, self._corrections = cache, aligned, corrections
        self._left_out = 0
        self._found: set[str] = set()  # names and keys that a correction may be of

    def load(self, sources: list[Path]) -> Faces:
        """All faces of all sources, corrected. Raises DataError."""
        from rich.text import Text

        from facedex.data import dataset as faces_of

        parts, before = [], self._left_out
        for source in sources:
            with err().status(Text(f"reading {source}")) as status:
                seen = 0

                def count(more: int, source: Path = source) -> None:
                    nonlocal seen
                    seen += more
                    status.update(Text(f"reading {source}: {seen:,} photos"))

                part = faces_of.load_faces(source, self._cache, self._aligned, progress=count, notice=self._notice)
            self._found.update(part.names, part.keys)
            parts.append(faces_of.correct(part, self._corrections) if self._corrections else part)
        if self._left_out > max(before, 20):
            say(f"… and {self._left_out - max(before, 20)} more photos left out", style="yellow")
        return faces_of.join(parts)

    def tell_corrections(self) -> None:
        """Say how many corrections are of what was read: where none is, the keys may be written another way."""
        from facedex.data.dataset import read_corrections

        if self._corrections is None:
            return
        rows = read_corrections(self._corrections)
        met = len(rows.keys() & self._found)
        why = "" if met else "; a key is NAME, or NAME/PHOTO without suffix"
        say(f"{met} of {len(rows)} rows of {self._corrections} are of these people{why}", None if met else "yellow")

    def _notice(self, text: str) -> None:
        self._left_out += 1
        if self._left_out <= 20:
            say(f"left out: {text}", style="yellow")


@contextmanager
def _interruptible(display: Display) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, as a question asked after every step. A second one does not wait for that, nor does
    the first where no steps are being taken: there is nothing to save yet, or all is.
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

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _from_scratch(
    job: Job,
    arch: str,
    teachers: Path | None,
    unlabelled: list[Path],
    init: Path | None,
    size: int | None,
    minutes: float,
) -> int:
    _need_torch()
    from facedex.cli.display import Display
    from facedex.model.modelfile import read_model
    from facedex.model.torchgraph import pick_device
    from facedex.training.distillation import Teachers
    from facedex.training.recipe import RECIPES, recipe_for
    from facedex.training.run_state import size_of_run
    from facedex.training.train import train as run_training

    if arch not in RECIPES:
        raise DataError(f"There is no architecture {arch!r}; choose one of: {', '.join(RECIPES)}")
    if size is None and job.resume:  # as it was begun, which may have been on a device where another size is chosen
        size = size_of_run(job.work)
    if init and size is None:
        size = read_model(init).size
    recipe = recipe_for(arch, teachers is not None, pick_device(job.device).type, size, begun=init is not None)
    known, choosing, calibrating = job.split()
    others = job.reader.load(unlabelled) if unlabelled else None
    job.reader.tell_corrections()
    recipe = replace(recipe, seed=job.seed, steps=job.steps, rate=job.rate)
    display = Display(err())
    with _interruptible(display) as stop, display.progress:
        result = run_training(
            recipe, known, (choosing, calibrating), job.output, work=job.work, minutes=minutes,
            teachers=Teachers(teachers) if teachers else None, unlabelled=others, init=init, device=job.device,
            resume=job.resume, on_event=display.on_event, stop=stop,
        )  # fmt: skip
    if result.model is None:
        say(f"stopped at step {result.step} and saved; the same command with --resume goes on")
        return 130
    best = result.best
    say(
        f"{job.output}: accuracy {best['accuracy']:.1%}, TAR@FAR=1e-3 {best['tar_at_1e-3']:.1%} (by cosine "
        f"{best['cosine_tar_at_1e-3']:.1%}) on {len(choosing.names)} people never trained on (step {best['step']} of {result.step}, {result.seconds / 60:.1f} min); "
        f"calibrated on {len(calibrating.names)} others. Metrics and their plot: {job.work}"
    )
    return 0


def _need_torch() -> None:
    """Raise MissingExtra where networks of ours cannot be trained."""
    from facedex.model.torchcode import torch_code

    torch_code("training", "Training")


def _tune(job: Job, start: ModelFile, minutes: float, force: bool) -> int:
    _need_torch()
    from facedex.cli.display import Display
    from facedex.training import tuning

    known, held = job.people()
    job.reader.tell_corrections()
    display = Display(err())
    with _interruptible(display) as stop, display.progress:
        tuned = tuning.tune(
            start, known, job.output, work=job.work, held=held, seed=job.seed, steps=job.steps, minutes=minutes,
            rate=job.rate, device=job.device, resume=job.resume, force=force, on_event=display.on_event, stop=stop,
        )  # fmt: skip
    if tuned.judgement is None:
        say("stopped and saved; the same command with --resume goes on")
        return 130
    return _told(job, start, tuned, job.work / tuning.CANDIDATE if tuned.kind == "network" else None)


def _fit_frozen(job: Job, start: ModelFile, force: bool) -> int:
    from facedex.cli.console import progress_bar
    from facedex.training.frozen import fit_frozen

    known, held = job.people()
    job.reader.tell_corrections()
    with progress_bar(len(known)) as bar:
        task = bar.add_task("encoding", total=None)
        tuned = fit_frozen(
            start, known, job.output, held=held, seed=job.seed, steps=job.steps, force=force,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    return _told(job, start, tuned, None)


def _told(job: Job, start: ModelFile, tuned: Tuned, candidate: Path | None) -> int:
    """Say what adapting a model came to; the exit code."""
    from facedex.training.judging import LEAST_PEOPLE, LEAST_PHOTOS

    if tuned.kind == "calibration":
        say(
            f"fewer than {LEAST_PEOPLE} people have {LEAST_PHOTOS} photos or more, too few to learn more from: only the "
            "calibration was fitted"
        )
    found = tuned.judgement
    if found is not None:
        spread = (
            ""
            if found.low != found.low
            else f" (95 % interval of the difference {found.low:+.3f} to {found.high:+.3f})"
        )
        say(
            f"{found.figure} on {found.people} people kept out: {found.before:.3f} before, {found.after:.3f} after{spread}"
        )
    if tuned.model is None:
        lies = f"; what came of it lies in {candidate}" if candidate else ""
        say(f"{job.output} was not written, because it got worse; --force writes it all the same{lies}", style="yellow")
        return 1
    say(f"{job.output}: {tuned.kind} fitted, started from {start.path}")
    return 0
