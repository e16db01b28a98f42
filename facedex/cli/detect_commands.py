"""The command that lists faces without naming them: detect."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from facedex.cli.console import CsvOption, JsonOption, one_format, progress_bar, say, show
from facedex.errors import FacedexError, PhotoNotFound


def detect(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders, patterns.")],
    crops: Annotated[Path | None, typer.Option(help="Write each face, aligned, as a PNG into this folder.")] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the faces in every photo, numbered, the subject first; no gallery is needed."""
    from facedex import annotate, results
    from facedex.cli import terminal
    from facedex.photos.sources import expand
    from facedex.recognition.detection import detect_photos

    one_format(as_json, as_csv)
    wanted = list(expand(photos, say if len(photos) > 1 else None))
    if not wanted:
        raise PhotoNotFound(f"{', '.join(photos)} hold no photos; name another folder")
    rows, clean = [], True
    if as_csv:
        results.write_csv(sys.stdout, results.DETECTED_COLUMNS, [])
    with progress_bar(len(wanted) if len(wanted) > 8 else None) as progress:
        task = progress.add_task("detecting", total=len(wanted))
        for photo in detect_photos(wanted):
            progress.advance(task)
            try:
                files = annotate.save_crops(photo, crops) if crops else []
            except OSError as error:
                raise FacedexError(f"{crops} cannot be written ({error.strerror}); name another folder") from None
            if as_json:
                print(results.json_line(results.detected(photo, files)), flush=True)
            elif as_csv:
                for row in results.detected_rows(photo, files):
                    results.write_row(sys.stdout, row, results.DETECTED_COLUMNS)
            elif photo.faces:
                rows += results.detected_rows(photo, files)
            if photo.error:
                say(f"skipped: {photo.error}")
                clean = False
    if rows:
        show(terminal.detected_table(rows))
    raise typer.Exit(0 if clean else 1)
