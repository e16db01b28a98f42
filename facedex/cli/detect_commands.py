"""The command that lists faces without naming them: detect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facedex.cli.console import say, say_problems, show
from facedex.cli.options import CsvOption, JsonOption, OutputOption, QuietOption, find_photos
from facedex.cli.progress import photo_progress
from facedex.cli.result_output import ResultPrinter, make_picture_folder, output_form, results_to


def detect(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders or patterns; - reads one photo from stdin.")],
    crops: Annotated[Path | None, typer.Option(help="Folder in which each aligned face is saved as a PNG.")] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """List and number the faces of every photo, the subject first. No gallery is needed."""
    from facedex import annotate, results
    from facedex.recognition.detection import DetectedPhoto, detect_photos

    form = output_form(as_json, as_csv, output)
    paths = find_photos(photos)
    if crops:
        make_picture_folder(crops)
    table_rows: list[results.Row] = []
    failed = False

    def save(photo: DetectedPhoto) -> list[Path]:
        nonlocal failed
        try:
            return annotate.save_crops(photo.photo, [face.crop for face in photo.faces], crops) if crops else []
        except OSError as error:
            say(f"not cut out: {photo.photo} ({error.strerror or error})")
            failed = True
            return []

    with results_to(output):
        printer = ResultPrinter(form, results.DETECT_COLUMNS)
        try:
            with photo_progress(len(paths)) as progress:
                task = progress.add_task("detecting", total=len(paths))
                for photo in detect_photos(paths):
                    progress.advance(task)
                    files = save(photo)
                    printed = printer.print(results.detect_json, results.detect_rows, photo, files)
                    if say_problems(photo.photo, photo.remark, photo.error):
                        failed = True
                    elif not printed:
                        table_rows += results.detect_rows(photo, files)
        finally:  # after Ctrl-C, what is known so far is shown
            if table_rows:
                from facedex.cli.result_tables import detect_table

                show(detect_table(table_rows))
        raise typer.Exit(1 if failed else 0)
