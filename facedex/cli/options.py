"""Options that several commands share, and the checks of their values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facedex.cli.console import say, set_quiet
from facedex.cli.stdin_photo import STDIN, refuse_two, stdin_photo
from facedex.errors import PhotoNotFound

if TYPE_CHECKING:
    from facedex.photos.inputs import PhotoInput

DEFAULT_GALLERY = Path("index")

GalleryOption = Annotated[
    Path, typer.Option("--gallery", "-g", envvar="FACEDEX_GALLERY", help="Folder of the gallery.")
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        envvar="FACEDEX_MODEL",
        help="Model file, or the name of a model that ships. Default: the gallery's model, else the model 'default'.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or mps. cuda and mps need the extra 'train'.")]
ConsentOption = Annotated[
    str | None, typer.Option(help="What the person allowed, in your words, such as 'form of 2026-11-30'.")
]
ExpiresOption = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        help="The last day on which the photos may be matched: 2027-06-30, or 90d, 12w, 6m, 1y from today, or never.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
AlignedOption = Annotated[
    bool, typer.Option("--aligned", help="The photos are aligned faces already, of 128 or 112 pixels a side.")
]
CorrectionsOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV file of wrong labels with two columns: key (NAME, or NAME/PHOTO without suffix) and person "
        "(the right name; empty leaves the photo out)."
    ),
]


def finite_number(value: float | None) -> float | None:
    """An option's callback that refuses NaN and infinity, which pass the range checks of some typer versions."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number")
    return value


def _use_jobs(number: int | None) -> int | None:
    """The callback of `--jobs`."""
    if number is not None:
        from facedex import threads

        threads.use_workers(number)
    return number


QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=set_quiet, help="Show results, warnings and errors alone, no progress."),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=64,
        callback=_use_jobs,
        help="Number of photos that are worked at together. Default: one for each core, at least 2 and at most 8.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the results to this file in place of stdout, whole or not at all. The endings .json, .jsonl and "
        ".csv stand for --json and --csv.",
    ),
]


def rate_option(meaning: str) -> Any:
    """An option for a false-alarm rate (FPIR, FMR), which is neither 0 nor 1."""
    return typer.Option(min=1e-9, max=0.999, callback=finite_number, help=meaning)


def prior_option(meaning: str) -> Any:
    """An option for a probability that is neither 0 nor 1."""
    return typer.Option(min=1e-9, max=1 - 1e-9, callback=finite_number, help=meaning)


def find_photos(arguments: list[str]) -> list[PhotoInput]:
    """The photos that files, folders, patterns and `-` stand for. Raises PhotoNotFound when there are none."""
    from facedex.photos.sources import expand

    refuse_two(arguments)
    notice = say if len(arguments) > 1 else None
    photos: list[PhotoInput] = []
    for argument in arguments:
        photos += [stdin_photo()] if argument == STDIN else expand([argument], notice)
    if not photos:
        raise PhotoNotFound(f"{', '.join(arguments)} hold no photos; name another folder")
    return photos
