"""Commands that name faces: identify, verify."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from facedex.cli.console import (
    INDEX,
    CsvOption,
    DeviceOption,
    GalleryOption,
    JsonOption,
    ModelOption,
    a_number,
    one_format,
    progress_bar,
    say,
    show,
)
from facedex.errors import FacedexError, PhotoNotFound


def identify(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders, patterns.")],
    gallery: GalleryOption = INDEX,
    top: Annotated[int, typer.Option(min=1, help="How many candidates to list for every face.")] = 1,
    fpir: Annotated[
        float, typer.Option(min=1e-9, max=0.999, callback=a_number, help="Share of strangers who may be given a name.")
    ] = 0.01,
    threshold: Annotated[
        float | None,
        typer.Option(help="Logit that a name must reach, in place of --fpir; the FPIR it stands for is told."),
    ] = None,
    prior: Annotated[
        float,
        typer.Option(
            min=1e-9, max=1 - 1e-9, callback=a_number, help="Chance that whoever is in the photo is enrolled."
        ),
    ] = 0.5,
    allow_repeat: Annotated[
        bool, typer.Option("--allow-repeat", help="Let two faces of one photo have the same name.")
    ] = False,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Score everybody, without the index.")] = False,
    annotate: Annotated[
        Path | None, typer.Option(help="Write the photos with boxes and names into this folder.")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Name every face in every photo; a stranger stays unknown."""
    from facedex import annotate as annotate_module
    from facedex import results
    from facedex.cli import terminal
    from facedex.gallery.gallery import Gallery
    from facedex.photos.sources import expand
    from facedex.recognition.identification import identify as identify_photos

    one_format(as_json, as_csv)
    if threshold is not None and not math.isfinite(threshold):
        raise typer.BadParameter("--threshold is a logit; give a number")
    wanted = list(expand(photos, say if len(photos) > 1 else None))
    if not wanted:
        raise PhotoNotFound(f"{', '.join(map(str, photos))} hold no photos; name another folder")
    done, used = [], set[str]()
    with Gallery(gallery, model) as known:
        if not len(known):
            say(f"nobody is enrolled in {gallery}; every face is unknown")
        elif threshold is not None:
            rate, low, high = known.false_alarm_rate(threshold)
            within = (
                ""
                if math.isnan(low)
                else f", {results.share(low)} to {results.share(high)} given the calibration's error"
            )
            say(f"threshold {threshold:g}: {results.share(rate)} of strangers would be named among {len(known):,} people "
                f"(FPIR{within})")  # fmt: skip
        if as_csv:
            results.write_csv(sys.stdout, results.IDENTIFIED_COLUMNS, [])
        with progress_bar(len(wanted) if len(wanted) > 8 else None) as progress:
            task = progress.add_task("identifying", total=len(wanted))
            for photo in identify_photos(
                known, wanted, top=top, fpir=fpir, prior=prior, exhaustive=exhaustive,
                keep_pixels=annotate is not None, device=device,
                threshold=threshold, allow_repeat=allow_repeat,
            ):  # fmt: skip
                progress.advance(task)
                if as_json:
                    print(results.json_line(results.identified(photo)), flush=True)
                elif as_csv:
                    for row in results.identified_rows(photo):
                        results.write_row(sys.stdout, row, results.IDENTIFIED_COLUMNS)
                if photo.error:
                    say(f"skipped: {photo.error}")
                elif annotate is not None:
                    try:
                        annotate_module.save_annotated(photo, annotate, used)
                    except OSError as error:
                        raise FacedexError(
                            f"{annotate} cannot be written ({error.strerror}); name another folder"
                        ) from None
                done.append(dataclasses.replace(photo, pixels=None))  # a long batch keeps no pictures in memory
    if not (as_json or as_csv) and any(photo.faces for photo in done):
        show(terminal.identified_table(done, top))
    clean = not any(photo.error for photo in done)
    raise typer.Exit(0 if clean and any(face.name for photo in done for face in photo.faces) else 1)


def verify(
    a: Annotated[Path, typer.Argument(help="A photo.")],
    b: Annotated[Path, typer.Argument(help="Another.")],
    fmr: Annotated[
        float, typer.Option(min=1e-9, max=0.999, callback=a_number, help="Share of different pairs called the same.")
    ] = 1e-3,
    prior: Annotated[
        float,
        typer.Option(min=1e-9, max=1 - 1e-9, callback=a_number, help="Share of such pairs that are the same person's."),
    ] = 0.5,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Say whether two photos, each by its most prominent face, show the same person."""
    from facedex import results
    from facedex.recognition.verification import Verifier

    result = Verifier(model, device).verify(a, b, fmr, prior)
    if as_json:
        print(results.json_line(results.verified(result)))
    else:
        answer = "the same person" if result.same else "different people"
        given = (
            "" if prior == 0.5 else f", probability {result.probability:.1%} where {results.share(prior)} of pairs are"
        )
        print(f"{answer} (similarity {result.similarity:.1%}{given}; decided so that {results.share(fmr)} of different "
              "pairs pass)")  # fmt: skip
    raise typer.Exit(0 if result.same else 1)
