"""The command that tells who appears in videos: video."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import say, say_problems, show
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
    finite_number,
    prior_option,
    rate_option,
)
from facedex.cli.progress import progress_bar
from facedex.cli.result_output import ResultPrinter, make_picture_folder, output_form, results_to
from facedex.errors import VideoUnusable

if TYPE_CHECKING:
    from facedex.video.appearances import IdentifiedVideo


def video(
    videos: Annotated[list[str], typer.Argument(help="Video files, folders of them, or patterns.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    every: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=3600,
            callback=finite_number,
            help="Seconds between two frames that are looked at. Whoever is seen for less time may be missed.",
        ),
    ] = 0.5,
    top: Annotated[int, typer.Option(min=1, help="Number of candidates to list for every appearance.")] = 1,
    fpir: Annotated[float, rate_option("Share of strangers who may be given a name (FPIR).")] = 0.01,
    prior: Annotated[
        float,
        prior_option("Probability that the person in a video is enrolled. It changes probabilities, not names."),
    ] = 0.5,
    crops: Annotated[
        Path | None, typer.Option(help="Folder in which the clearest view of each appearance is saved as a PNG.")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Tell who appears in videos, and when. Strangers stay unknown.

    A face is followed from frame to frame, and its clearest views decide together.
    """
    from facedex import annotate, results
    from facedex.gallery.gallery import Gallery
    from facedex.video.appearances import identify_videos

    form = output_form(as_json, as_csv, output)
    paths = _find_videos(videos)
    if crops:
        make_picture_folder(crops)
    table_videos: list[IdentifiedVideo] = []
    named = failed = False

    def save(found: IdentifiedVideo) -> list[Path]:
        nonlocal failed
        try:
            return annotate.save_crops(found.video, [one.crop for one in found.appearances], crops) if crops else []
        except OSError as error:
            say(f"not cut out: {found.video} ({error.strerror or error})")
            failed = True
            return []

    with results_to(output):
        try:
            with Gallery(gallery, model) as opened, progress_bar(len(paths), "seconds") as progress:
                if not len(opened):
                    say(f"nobody is enrolled in {gallery}; every face is unknown")
                printer = ResultPrinter(form, results.VIDEO_COLUMNS)
                task = progress.add_task("watching", total=None)
                for found in identify_videos(
                    opened,
                    paths,
                    every=every,
                    top=top,
                    fpir=fpir,
                    prior=prior,
                    device=device,
                    progress=lambda done, whole: progress.update(task, completed=int(done), total=int(whole) or None),
                ):
                    named = named or any(one.face.name for one in found.appearances)
                    printed = printer.print(results.video_json, results.video_rows, found, save(found))
                    if say_problems(found.video, found.remark, found.error):
                        failed = True
                    elif not printed:
                        table_videos.append(found)
        finally:  # after Ctrl-C, what is known so far is shown
            if table_videos:
                from facedex.cli.result_tables import video_table

                show(video_table(table_videos, top))
        raise typer.Exit(0 if named and not failed else 1)


def _find_videos(arguments: list[str]) -> list[str]:
    """The videos that files, folders and patterns stand for. Raises VideoUnusable when there are none."""
    from facedex.video.frames import SUFFIXES

    found: list[str] = []
    for argument in arguments:
        # Shells on Windows do not expand patterns.
        matches = sorted(glob.glob(argument, recursive=True)) if not os.path.lexists(argument) else []
        for path in matches or [argument]:
            if not os.path.isdir(path):
                found.append(path)
                continue
            inside = sorted(str(one) for one in Path(path).rglob("*") if one.suffix.lower() in SUFFIXES)
            found += inside
            if not inside and len(arguments) > 1:
                say(f"{path} holds no videos; name another folder")
    if not found:
        raise VideoUnusable(f"{', '.join(arguments)} holds no videos; name another folder")
    return found
