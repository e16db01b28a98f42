"""The commands that recognise: identify, verify."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import say, show
from facedex.cli.options import (
    DEFAULT_GALLERY,
    CsvOption,
    DeviceOption,
    GalleryOption,
    JsonOption,
    ModelOption,
    find_photos,
    prior_option,
    rate_option,
    refuse_json_with_csv,
)
from facedex.cli.progress import photo_progress
from facedex.errors import FacedexError

if TYPE_CHECKING:
    from facedex.gallery.gallery import Gallery
    from facedex.recognition.identification import IdentifiedPhoto


def identify(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders or patterns.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    top: Annotated[int, typer.Option(min=1, help="Number of candidates to list for every face.")] = 1,
    fpir: Annotated[
        float,
        rate_option("Share of strangers who may be given a name (FPIR)."),
    ] = 0.01,
    threshold: Annotated[
        float | None,
        typer.Option(help="Least logit of a named face, in place of --fpir. The FPIR of this threshold is printed."),
    ] = None,
    prior: Annotated[
        float,
        prior_option("Probability that the person in a photo is enrolled. It changes probabilities, not names."),
    ] = 0.5,
    allow_repeat: Annotated[
        bool, typer.Option("--allow-repeat", help="Allow the same name for two faces of one photo.")
    ] = False,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Score everybody, without the index.")] = False,
    annotate: Annotated[
        Path | None, typer.Option(help="Folder in which the photos are saved with boxes and names.")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Name every face of every photo. Strangers stay unknown."""
    from facedex import results
    from facedex.gallery.gallery import Gallery
    from facedex.recognition.identification import identify as identify_photos

    refuse_json_with_csv(as_json, as_csv)
    if threshold is not None and not math.isfinite(threshold):
        raise typer.BadParameter("--threshold is a logit; give a number")
    paths = find_photos(photos)
    table_photos: list[IdentifiedPhoto] = []
    picture_names: set[str] = set()
    named = skipped = False
    with Gallery(gallery, model) as opened, photo_progress(len(paths)) as progress:
        if not len(opened):
            say(f"nobody is enrolled in {gallery}; every face is unknown")
        elif threshold is not None:
            _say_fpir(opened, threshold)
        if as_csv:
            results.write_csv(sys.stdout, results.IDENTIFY_COLUMNS)
        task = progress.add_task("identifying", total=len(paths))
        for photo in identify_photos(
            opened,
            paths,
            top=top,
            fpir=fpir,
            prior=prior,
            threshold=threshold,
            allow_repeat=allow_repeat,
            exhaustive=exhaustive,
            keep_pixels=annotate is not None,
            device=device,
        ):
            progress.advance(task)
            named = named or any(face.name for face in photo.faces)
            if as_json:
                print(results.json_line(results.identify_json(photo)), flush=True)
            elif as_csv:
                rows = results.identify_rows(photo)
                results.write_csv(sys.stdout, results.IDENTIFY_COLUMNS, rows, header=False)
            elif photo.faces:
                table_photos.append(dataclasses.replace(photo, pixels=None))  # pictures would fill the memory
            if photo.error:
                say(f"skipped: {photo.error}")
                skipped = True
            elif annotate is not None:
                _save_picture(photo, annotate, picture_names)
    if table_photos:
        from facedex.cli.result_tables import identify_table

        show(identify_table(table_photos, top))
    raise typer.Exit(0 if named and not skipped else 1)


def _say_fpir(gallery: Gallery, threshold: float) -> None:
    """Print the FPIR of a threshold that the user gave."""
    from facedex.results import percentage

    fpir, low, high = gallery.false_alarm_rate(threshold)
    interval = ""
    if not math.isnan(low):
        interval = f", {percentage(low)} to {percentage(high)} given the calibration's error"
    say(
        f"threshold {threshold:g}: {percentage(fpir)} of strangers would be named among {len(gallery):,} people "
        f"(FPIR{interval})"
    )


def _save_picture(photo: IdentifiedPhoto, folder: Path, used_names: set[str]) -> None:
    from facedex.annotate import save_annotated

    try:
        save_annotated(photo, folder, used_names)
    except OSError as error:
        raise FacedexError(f"{folder} cannot be written ({error.strerror}); name another folder") from None


def verify(
    a: Annotated[Path, typer.Argument(help="A photo.")],
    b: Annotated[Path, typer.Argument(help="Another photo.")],
    fmr: Annotated[
        float,
        rate_option("Share of impostor pairs that are called the same (FMR)."),
    ] = 1e-3,
    prior: Annotated[
        float,
        prior_option("Share of such pairs that show the same person. It changes the probability, not the answer."),
    ] = 0.5,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Say whether the subjects of two photos are the same person."""
    from facedex import results
    from facedex.recognition.verification import Verifier

    result = Verifier(model, device).verify(a, b, fmr, prior)
    if as_json:
        print(results.json_line(results.verify_json(result)))
    else:
        probability = ""
        if prior != 0.5:
            probability = f", probability {result.probability:.1%} where {results.percentage(prior)} of pairs are"
        print(
            f"{'the same person' if result.same else 'different people'} (similarity {result.similarity:.1%}"
            f"{probability}; decided so that {results.percentage(fmr)} of different pairs pass)"
        )
        for warning in result.warnings:
            say(f"warning: {warning}")
    raise typer.Exit(0 if result.same else 1)
