"""The command that trains: data, options and the display; the work is done in training/."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from facedex.cli.console import err
from facedex.errors import DataError, MissingExtra


def train(
    data: Annotated[list[Path], typer.Argument(help="Folders of people (NAME/*.jpg) or packs (.tar, .zip) of such.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write, ending in .safetensors.")],
    arch: Annotated[str, typer.Option(help="compact (ours) or koch (the 2015 baseline).")] = "compact",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Photos are aligned faces already, 128 or 112 pixels.")
    ] = False,
    validation: Annotated[
        list[Path] | None, typer.Option(help="People kept apart to validate on; else a tenth of DATA.")
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="CSV of label faults: key, person (empty: leave out).")
    ] = None,
    teachers: Annotated[
        Path | None, typer.Option(help=".npz of other encoders' embeddings to learn from: key, and (n, d) arrays.")
    ] = None,
    unlabelled: Annotated[
        list[Path] | None, typer.Option(help="Photos without names, learnt from with --teachers.")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="Start from this model's weights.")] = None,
    minutes: Annotated[
        float, typer.Option(min=0.05, help="Steps are set so that training takes about this long.")
    ] = 60,
    steps: Annotated[int, typer.Option(min=0, help="Train exactly this many steps instead.")] = 0,
    rate: Annotated[
        float, typer.Option(min=1e-6, max=100, help="Factor on the learning rates; below 1 to go on from --init.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, data and machine: same weights.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run of this output.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded crops; else OUTPUT's .train folder.")] = None,
) -> None:
    """Train a Siamese network on photos of people, two photos or more of most."""
    done = run(
        err, data, output, aligned=aligned, arch=arch, validation=validation or [], corrections=corrections,
        teachers=teachers, unlabelled=unlabelled or [], init=init, steps=steps, minutes=minutes, rate=rate, seed=seed,
        device=device, resume=resume, cache=cache,
    )  # fmt: skip
    raise typer.Exit(0 if done else 130)


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
    from facedex import calibrate
    from facedex.cli.display import Display

    try:
        from facedex import data as faces_of
        from facedex.training import train as training
        from facedex.training.teachers import Teachers
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

    from facedex.training.trainer import pick_device

    recipe = training.recipe_for(arch, teachers is not None, pick_device(device).type)
    recipe = replace(recipe, seed=seed, steps=steps, rate=rate)
    display = Display(console)
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with display.progress:
            result = training.train(
                recipe, known, (choosing, calibrating), output,
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
