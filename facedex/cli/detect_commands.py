"""The command that lists faces without naming them: detect."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from facedex.cli.console import say_problems, show
from facedex.cli.options import CsvOption, JsonOption, find_photos, refuse_json_with_csv
from facedex.cli.progress import photo_progress
from facedex.errors import FacedexError


def detect(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders or patterns; - reads one photo from stdin.")],
    crops: Annotated[Path | None, typer.Option(help="Folder in which each aligned face is saved as a PNG.")] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List and number the faces of every photo, the subject first. No gallery is needed."""
    from facedex import annotate, results
    from facedex.recognition.detection import detect_photos

    refuse_json_with_csv(as_json, as_csv)
    paths = find_photos(photos)
    table_rows: list[results.Row] = []
    skipped = False
    if as_csv:
        results.write_csv(sys.stdout, results.DETECT_COLUMNS)
    with photo_progress(len(paths)) as progress:
        task = progress.add_task("detecting", total=len(paths))
        for photo in detect_photos(paths):
            progress.advance(task)
            try:
                files = annotate.save_crops(photo, crops) if crops else []
            except OSError as error:
                raise FacedexError(f"{crops} cannot be written ({error.strerror}); name another folder") from None
            if as_json:
                print(results.json_line(results.detect_json(photo, files)), flush=True)
            elif as_csv:
                rows = results.detect_rows(photo, files)
                results.write_csv(sys.stdout, results.DETECT_COLUMNS, rows, header=False)
            elif photo.faces:
                table_rows += results.detect_rows(photo, files)
            if say_problems(photo.photo, photo.remark, photo.error):
                skipped = True
    if table_rows:
        from facedex.cli.result_tables import detect_table

        show(detect_table(table_rows))
    raise typer.Exit(1 if skipped else 0)
