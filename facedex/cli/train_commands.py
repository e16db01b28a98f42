"""The command that makes models: train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facedex.cli.encoder_options import (
    ENCODER_SIZE,
    EncoderInput,
    MeanOption,
    MirroredOption,
    PointsOption,
    RgbOption,
    ScaleOption,
)
from facedex.cli.options import AlignedOption, CorrectionsOption, finite_number
from facedex.errors import DataError

_SCRATCH_MINUTES, _TUNING_MINUTES = 60.0, 10.0


def train(
    data: Annotated[list[Path], typer.Argument(help="Folders of people (NAME/*.jpg), or .tar or .zip files of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write, ending in .safetensors.")],
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train a new network instead of adapting the model that ships.")
    ] = False,
    arch: Annotated[
        str | None,
        typer.Option(help="Train a new network of this kind: compact (the default), or koch (the baseline of 2015)."),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="An ONNX encoder of aligned faces. It stays as it is; projection, head and calibration are fitted."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=1024,
            help="Pixels a side of the encoder's input. Default: with --encoder 112, from scratch 80 (on CUDA 96, "
            "koch 112), with --init the size of that model.",
        ),
    ] = None,
    mean: MeanOption = "0",
    scale: ScaleOption = "1",
    rgb: RgbOption = True,
    mirrored: MirroredOption = False,
    points: PointsOption = None,
    aligned: AlignedOption = False,
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            help="People kept apart to choose, calibrate and compare the model on. Default: some of the people of DATA."
        ),
    ] = None,
    corrections: CorrectionsOption = None,
    teachers: Annotated[
        Path | None,
        typer.Option(
            help="A .npz file of embeddings of other encoders to learn from, for a new network or the one network of "
            "--init: key (NAME/PHOTO without suffix), and (n, d) arrays."
        ),
    ] = None,
    unlabelled: Annotated[
        list[Path] | None, typer.Option(help="With --teachers: photos without names to learn from.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="The model to start from: a file, or the name of a model that ships.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.05,
            callback=finite_number,
            help="About how long the training takes. Default: 60 from scratch, 10 from a model.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=0, help="Train exactly this many steps; 0 leaves it to --minutes.")] = 0,
    rate: Annotated[
        float, typer.Option(min=1e-6, max=100, callback=finite_number, help="Factor on the learning rates.")
    ] = 1.0,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Seed of all draws. Same seed, data, machine and --steps: same weights. Without --steps the machine's "
            "speed sets their number.",
        ),
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run with the same output.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write the model even if it is worse on the people kept apart.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the decoded faces. Default: OUTPUT with the ending .train.")
    ] = None,
) -> None:
    """Adapt the model that ships to your people, train a new network, or fit a head to another encoder."""
    scratch = from_scratch or arch is not None or teachers is not None
    training_options = resume or minutes is not None or rate != 1 or device != "auto"
    encoder_input = EncoderInput(mean, scale, rgb, mirrored, points)
    _check_output(output)
    if unlabelled and not teachers:
        raise DataError("Photos without names need teachers to learn from; add --teachers, or leave out --unlabelled")
    if encoder is not None:
        _check_options_of_encoder(encoder, scratch or init is not None, training_options or force)
    else:
        _check_options_of_model(encoder_input, scratch, size, force)

    from facedex.cli import training_runs
    from facedex.cli.training_data import TrainingData
    from facedex.model.modelfile import DEFAULT, read_model

    work = output.with_suffix(".train")
    faces = TrainingData(data, validation or [], cache or work, aligned, corrections)
    job = training_runs.TrainingJob(output, work, faces, seed, steps, rate, device, resume)
    try:
        if scratch:
            code = training_runs.train_from_scratch(
                job, arch, teachers, unlabelled or [], init, size, minutes or _SCRATCH_MINUTES
            )
            raise typer.Exit(code)
        if encoder is None:
            start = read_model(init or DEFAULT)
        else:
            start = encoder_input.read_encoder(encoder, size or ENCODER_SIZE)
        if not start.frozen:
            code = training_runs.adapt_network(job, start, minutes or _TUNING_MINUTES, force)
        elif training_options:
            raise DataError(
                f"The networks of {start.path} stay as they are; leave out --resume, --minutes, --rate and --device"
            )
        else:
            code = training_runs.fit_frozen_encoder(job, start, force)
    except OSError as error:
        raise DataError(
            f"{error.filename2 or error.filename or output} cannot be read or written ({error.strerror or error}); "
            "make room and continue with --resume if a run had begun, or give another place and begin again"
        ) from None
    raise typer.Exit(code)


def _check_output(output: Path) -> None:
    """Raise DataError for an output that is no model file."""
    if output.suffix != ".safetensors":
        raise DataError(f"{output} must end in .safetensors, the format of a model")
    if output.is_dir():
        raise DataError(f"{output} is a folder; name the file to write, or remove the folder")


def _check_options_of_encoder(encoder: Path, other_start: bool, training_options: bool) -> None:
    """Raise DataError for options that have no meaning for an encoder that stays as it is."""
    if other_start:
        raise DataError(f"{encoder} is taken as it is; leave out --from-scratch, --arch, --teachers and --init")
    if training_options:
        raise DataError("--encoder fits a head alone; leave out --resume, --force, --minutes, --rate and --device")


def _check_options_of_model(encoder_input: EncoderInput, scratch: bool, size: int | None, force: bool) -> None:
    """Raise DataError for options that have no meaning without --encoder."""
    if size is not None and not scratch:
        raise DataError("An adapted model keeps the size of its input; leave out --size, or train --from-scratch")
    if not encoder_input.is_default():
        raise DataError("--mirrored, --mean, --scale, --points and --bgr go with --encoder; add it, or leave them out")
    if force and scratch:
        raise DataError("A model trained from scratch is always written; leave out --force")
