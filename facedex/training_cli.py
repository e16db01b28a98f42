"""`facedex train`: data, options and the display; the work is done in train.py."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from facedex import calibrate
from facedex.errors import DataError, MissingExtra


def run(
    console: Console,
    data: list[Path],
    output: Path,
    *,
    aligned: bool,
    arch: str,
    validation: list[Path],
    corrections: Path | None,
    teachers: Path | None,
    unlabelled: list[Path],
    init: Path | None,
    steps: int,
    minutes: float,
    rate: float,
    seed: int,
    device: str,
    resume: bool,
    cache: Path | None,
) -> bool:
    """Train as the options say; True when a model was written, False when interrupted and saved."""
    try:
        from facedex import data as faces_of
        from facedex import train as training
        from facedex.teachers import Teachers
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("torch", "torchvision", "onnx"):
            raise MissingExtra("Training", "train") from None
        raise
    if arch not in training.RECIPES:
        raise DataError(f"There is no architecture {arch!r}; choose one of: {', '.join(training.RECIPES)}")
    if output.suffix != ".safetensors":
        raise DataError(f"{output} must end in .safetensors: that is what is written")

    work = output.with_suffix(".train")
    crops = cache or work
    warned = 0

    def notice(text: str) -> None:
        nonlocal warned
        warned += 1
        if warned <= 20:
            console.print(f"left out: {text}", style="yellow", highlight=False, markup=False)

    def load(sources: list[Path]) -> faces_of.Faces:
        parts = []
        for source in sources:
            with console.status(f"reading {source}") as status:
                seen = 0

                def count(more: int, source: Path = source) -> None:
                    nonlocal seen
                    seen += more
                    status.update(f"reading {source}: {seen:,} photos")

                part = faces_of.load_faces(source, crops, aligned, progress=count, notice=notice)
            parts.append(faces_of.correct(part, corrections) if corrections else part)
        return faces_of.join(parts)

    known = load(data)
    if validation:
        held = faces_of.without_people(load(validation), known.names)
    else:
        known, held = faces_of.split_people(known, 0.1, seed, least=2 * calibrate.LEAST_PEOPLE)
    choosing, calibrating = faces_of.split_people(held, 0.5, seed, least=calibrate.LEAST_PEOPLE)
    others = load(unlabelled) if unlabelled else None
    if warned > 20:
        console.print(f"… and {warned - 20} more photos left out", style="yellow")
    if unlabelled and not teachers:
        raise DataError(
            "Photos without names teach nothing by themselves; give --teachers too, or leave out --unlabelled"
        )

    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:  # a second Ctrl-C does not wait for the step to end
            raise KeyboardInterrupt
        interrupted = True
        console.print("saving the state after this step …")

    display = Display(console)
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with display.progress:
            result = training.train(
                replace(training.RECIPES[arch], seed=seed, steps=steps, rate=rate), known, (choosing, calibrating), output,
                work=work, minutes=minutes, teachers=Teachers(teachers) if teachers else None, unlabelled=others,
                init=init, device=device, resume=resume, on_event=display.on_event, stop=lambda: interrupted,
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    if result.model is None:
        console.print(
            f"stopped at step {result.step} and saved; the same command with --resume goes on", highlight=False
        )
        return False
    best = result.best
    console.print(
        f"{output}: accuracy {best['accuracy']:.1%}, TAR@FAR=1e-3 {best['tar_at_1e-3']:.1%} on "
        f"{len(choosing.names)} people never trained on (step {best['step']} of {result.step}, {result.seconds / 60:.1f} min); "
        f"calibrated on {len(calibrating.names)} others. Metrics and their plot: {work}",
        highlight=False,
    )
    return True


class Display:
    """A progress bar on a terminal, one line a validation everywhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("training"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f} · accuracy {task.fields[accuracy]} · {task.fields[speed]:.0f} images/s"),
            TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.progress.add_task("train", total=None, loss=0.0, accuracy="-", speed=0.0)
        self._loss: float | None = None
        self._last = time.monotonic()
        self._speed = 0.0

    def on_event(self, event: dict) -> None:
        """Show one event of train.train."""
        if event["event"] == "start":
            self.progress.update(self.task, total=event["steps"], completed=event["step"])
            self.console.print(
                f"{event['photos']:,} photos of {event['people']:,} people, {event['steps']:,} steps on {event['device']}"
                f"{' in bf16' if event['bf16'] else ''}, from step {event['step']:,}",
                highlight=False,
            )
            self._last = time.monotonic()
        elif event["event"] == "step":
            now = time.monotonic()
            speed = event["images"] / max(now - self._last, 1e-6)
            self._last = now
            self._speed = speed if not self._speed else 0.95 * self._speed + 0.05 * speed
            self._loss = event["loss"] if self._loss is None else 0.95 * self._loss + 0.05 * event["loss"]
            self.progress.update(self.task, completed=event["step"], loss=self._loss, speed=self._speed)
        elif event["event"] == "validation":
            self.progress.update(self.task, accuracy=f"{event['accuracy']:.1%}")
            self.console.print(
                f"step {event['step']:>6,}  {event['seconds'] / 60:6.1f} min  loss {event['loss']:.4f}  accuracy "
                f"{event['accuracy']:.2%}  TAR@FAR=1e-3 {event['tar_at_1e-3']:.2%}  AUC {event['auc']:.4f}  "
                f"{self._speed:.0f} images/s",
                highlight=False,
            )
            self._last = time.monotonic()
