"""The commands that recognise: identify, verify."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import note, say, say_problems, show
from facedex.cli.copying import Copying, CopyToOption, DryRunOption, LinkOption
from facedex.cli.options import (
    DEFAULT_GALLERY,
    CsvOption,
    DeviceOption,
    GalleryOption,
    JobsOption,
    JsonOption,
    ModelOption,
    OutputOption,
    QuietOption,
    prior_option,
    rate_option,
)
from facedex.cli.progress import photo_progress
from facedex.cli.result_output import ResultPrinter, make_picture_folder, output_form, results_to
from facedex.cli.stdin_photo import photo_argument, refuse_two
from facedex.wording import counted

if TYPE_CHECKING:
    from facedex.gallery.gallery import Gallery
    from facedex.photos.inputs import PhotoInput
    from facedex.recognition.identification import IdentifiedPhoto


def identify(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders or patterns; - reads one photo from stdin.")],
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
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Look at every photo anew, without what `scan` and `name` kept of it.")
    ] = False,
    annotate: Annotated[
        Path | None, typer.Option(help="Folder in which the photos are saved with boxes and names.")
    ] = None,
    font: Annotated[
        Path | None,
        typer.Option(
            help="With --annotate: the font of the names (.ttf, .otf, .ttc). Default: DejaVu Sans, then the machine's."
        ),
    ] = None,
    copy_to: CopyToOption = None,
    link: LinkOption = False,
    dry_run: DryRunOption = False,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Name every face of every photo. Strangers stay unknown.

    What `scan` kept of an unchanged photo is used in place of a new look. Names of scanned faces win over recognition.
    """
    from facedex import results
    from facedex.gallery.gallery import Gallery
    from facedex.recognition.identification import identify as identify_photos

    form = output_form(as_json, as_csv, output)
    if threshold is not None and not math.isfinite(threshold):
        raise typer.BadParameter("--threshold is a logit; give a number")
    copying = Copying(copy_to, link, dry_run, photos, form == "table")
    paths = copying.find(photos)
    pictures = _Pictures(annotate, font)
    table_photos: list[IdentifiedPhoto] = []
    named = skipped = False
    with results_to(output):
        try:
            with Gallery(gallery, model) as opened, photo_progress(len(paths)) as progress:
                _say_who_is_named(opened, gallery, threshold)
                copying.begin(opened)
                printer = ResultPrinter(form, results.IDENTIFY_COLUMNS)
                task = progress.add_task("identifying", total=len(paths))
                for photo in identify_photos(
                    opened,
                    paths if fresh else _known(opened, paths),
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
                    to_json = partial(results.identify_json, copies=copying.add(photo))
                    printed = printer.print(to_json, results.identify_rows, photo)
                    if say_problems(photo.photo, photo.remark, photo.error):
                        skipped = True
                        continue
                    pictures.save(photo)
                    if not printed:
                        table_photos.append(dataclasses.replace(photo, pixels=None))  # pictures would fill the memory
        finally:  # after Ctrl-C, what is known so far is shown
            if table_photos:
                from facedex.cli.result_tables import identify_table

                show(identify_table(table_photos, top))
            copying.say_summary()
        pictures.say_missing_letters()
        raise typer.Exit(0 if named and not (skipped or pictures.failed or copying.failed) else 1)


def _known(gallery: Gallery, photos: list[PhotoInput]) -> Iterable[PhotoInput]:
    """The photos, each with what a scan kept of it."""
    if not gallery.has_scans:
        return photos  # 12 ms less of processor time than with the modules of a library
    from facedex.library.known_photos import known_photos

    return known_photos(gallery, photos)


def _say_who_is_named(gallery: Gallery, folder: Path, threshold: float | None) -> None:
    """Say that nobody is enrolled, or what a threshold that the user gave stands for."""
    if not len(gallery):
        say(f"nobody is enrolled in {folder}; every face is unknown")
    elif threshold is not None:
        _say_fpir(gallery, threshold)


def _say_fpir(gallery: Gallery, threshold: float) -> None:
    """Print the FPIR of a threshold that the user gave."""
    from facedex.results import percentage

    fpir, low, high = gallery.false_alarm_rate(threshold)
    people = counted(len(gallery), "person")
    interval = ""
    if not math.isnan(low):
        interval = f", {percentage(low)} to {percentage(high)} given the calibration's error"
    note(f"threshold {threshold:g}: {percentage(fpir)} of strangers would be named among {people} (FPIR{interval})")


class _Pictures:
    """The annotated pictures of one run. `failed`: whether one of them could not be written."""

    def __init__(self, folder: Path | None, font: Path | None) -> None:
        """`folder`: where the pictures go, None for no pictures. Raises FacedexError, BadParameter."""
        self.failed = False
        self._folder, self._used_names = folder, set[str]()
        if folder is None:
            if font is not None:
                raise typer.BadParameter("--font is the font of annotated pictures; add --annotate DIR")
            return
        from facedex.fonts.lettering import Lettering

        self._lettering = Lettering(font)
        make_picture_folder(folder)

    def save(self, photo: IdentifiedPhoto) -> None:
        """Write the picture of one photo. One that cannot be written does not stop the others."""
        if self._folder is None:
            return
        from facedex.annotate import save_annotated

        try:
            save_annotated(photo, self._folder, self._used_names, self._lettering)
        except OSError as error:
            say(f"not annotated: {photo.photo} ({error.strerror or error})")
            self.failed = True

    def say_missing_letters(self) -> None:
        """Say which letters of names are boxes in the pictures, because no font has them."""
        missing = self._lettering.missing if self._folder is not None else ()
        if missing:
            letters = " ".join(sorted(missing))
            say(f"letters without a font are boxes in the pictures: {letters}; --font FILE names a font that has them")


def verify(
    a: Annotated[Path, typer.Argument(help="A photo; - reads one from stdin.")],
    b: Annotated[Path, typer.Argument(help="Another photo; - reads one from stdin.")],
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
    output: OutputOption = None,
) -> None:
    """Say whether the subjects of two photos are the same person."""
    from facedex import results
    from facedex.recognition.verification import Verifier

    refuse_two([a, b])
    form = output_form(as_json, None, output)
    with results_to(output):
        result = Verifier(model, device).verify(photo_argument(a), photo_argument(b), fmr, prior)
        for remark in result.remarks:
            say(remark)
        for warning in result.warnings:
            say(f"warning: {warning}")
        if form == "json":
            print(results.json_line(results.verify_json(result)))
        else:
            probability = ""
            if prior != 0.5:
                probability = f", probability {result.probability:.1%} where {results.percentage(prior)} of pairs are"
            print(
                f"{'the same person' if result.same else 'different people'} (similarity {result.similarity:.1%}"
                f"{probability}; decided so that {results.percentage(fmr)} of different pairs pass)"
            )
        raise typer.Exit(0 if result.same else 1)
