"""The commands about a whole photo library: scan, cluster, name, and so on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from facedex.cli.console import ask, confirm, note, say, say_problems, show
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
    YesOption,
    rate_option,
)
from facedex.cli.progress import photo_progress, progress_bar
from facedex.cli.result_output import ResultPrinter, output_form, results_to
from facedex.cli.watch_loop import watch_library
from facedex.wording import counted, tally

if TYPE_CHECKING:
    from facedex.gallery.gallery import Gallery
    from facedex.library.finding import FoundPhoto
    from facedex.library.scan import ScannedPhoto

Result = TypeVar("Result")

GroupArgument = Annotated[int, typer.Argument(min=1, help="The group's number in `facedex cluster`.")]


def scan(
    folders: Annotated[list[Path], typer.Argument(help="Folders of photos, searched to the bottom, or photos.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Forget photos that are no longer there without a question.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on until Ctrl-C, as photos arrive, change, move or go. After a quiet minute faces are grouped.",
        ),
    ] = False,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Keep every face of a photo library in the gallery, so that `cluster` can group them. Later scans are quick.

    For each face the gallery keeps its place, its quality and its embedding, which is biometric data. `facedex forget`
    deletes them.
    """
    from facedex.gallery.gallery import Gallery
    from facedex.library.scan import check_place, list_photos
    from facedex.library.scan import scan as scan_photos

    if watch:
        for folder in folders:
            check_place(folder)  # before a gallery is made
    form = output_form(as_json, None, output)
    if watch and output:
        raise typer.BadParameter("--output is written at the end, and --watch has none; redirect stdout instead")
    photos = [] if watch else list_photos(folders)  # before a gallery is made
    counts: Counter[str] = Counter()
    printer = ResultPrinter(form)
    with Gallery(gallery, model, create=True) as opened, results_to(output):
        try:
            if watch:
                watch_library(opened, folders, device, yes, partial(_count, counts, printer))
            with progress_bar(len(photos)) as progress:
                task = progress.add_task("scanning", total=len(photos))
                for result in scan_photos(opened, photos, device):
                    progress.advance(task)
                    _count(counts, printer, result)
            counts["gone"] = _forget_vanished(opened, folders, yes, printer)
        finally:  # what was reported before Ctrl-C is kept
            _say_kept(opened, counts)
    raise typer.Exit(1 if counts["skipped"] else 0)


def _count(counts: Counter[str], printer: ResultPrinter, result: ScannedPhoto) -> None:
    counts[result.status] += 1
    _report(result, printer)


def _report(result: ScannedPhoto, printer: ResultPrinter) -> None:
    """Print the result for one file, unless the file is as it was."""
    from facedex import results

    if result.status != "known":
        printer.print(results.scan_json, None, result)
    if result.status == "skipped":
        say(f"skipped: {result.reason}")
    elif result.reason and result.status != "moved":
        say(f"{result.photo}: {result.reason}")


def _forget_vanished(gallery: Gallery, folders: list[Path], yes: bool, printer: ResultPrinter) -> int:
    """Offer to forget the files that are gone; returns how many are gone."""
    from facedex.library.forgetting import forget as forget_files
    from facedex.library.scan import ScannedPhoto, vanished
    from facedex.photos.sources import source_path

    gone = vanished(gallery.library, folders)
    for source in gone:
        _report(ScannedPhoto(source_path(source), "gone"), printer)
        note(f"gone: {source_path(source)}")
    which = "this photo and its faces" if len(gone) == 1 else f"these {len(gone):,} photos and their faces"
    if gone and (yes or ask(f"Forget {which}?")):
        forget_files(gallery, gone)
    return len(gone)


def _say_kept(gallery: Gallery, counts: Counter[str]) -> None:
    """Print how many files came to which end, what the gallery keeps now, and how to delete it."""
    from facedex.library.scan import STATUSES

    summary = tally(counts, STATUSES)
    library = gallery.library.counts()
    photos, faces = counted(library.photos, "photo"), counted(library.faces, "face")
    named = f"{library.named:,} of them named" if library.named else "none of them named"
    note(f"{summary or 'nothing scanned'}; the gallery {gallery.folder} keeps {faces} of {photos}, {named}")
    if counts["new"] or counts["changed"]:
        note("a face's embedding is biometric data; `facedex forget` deletes what was scanned")


def cluster(
    gallery: GalleryOption = DEFAULT_GALLERY,
    rate: Annotated[
        float, rate_option("Share of faces of people with no other photo that may join a wrong group.")
    ] = 0.05,
    top: Annotated[int, typer.Option(min=1, help="Number of groups in the table; JSON has all.")] = 20,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page of the groups with pictures, groups.html.")
    ] = None,
    as_json: JsonOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Group the scanned faces that have no name. `name` names a group."""
    from facedex import results
    from facedex.gallery.gallery import Gallery
    from facedex.library.groups import cluster as group_library

    form = output_form(as_json, None, output)
    with Gallery(gallery) as opened:
        groups = group_library(opened, rate)
        scanned = opened.library.counts().photos
        if report is not None:
            from facedex.library.group_page import write_group_page

            note(f"the groups are on the page {write_group_page(opened, report, rate)}")
    with results_to(output):
        printer = ResultPrinter(form)
        for group in groups:
            printer.print(results.cluster_json, None, group)
        if form == "table":
            from facedex.cli.result_tables import cluster_table

            shown = [group for group in groups if not group.ignored]
            show(cluster_table(shown[:top]))
            if len(shown) > top:
                note(f"{counted(len(shown) - top, 'smaller group')} more; --top N shows N groups")
    if not scanned:
        note(f"nothing was scanned into {gallery}; `facedex scan FOLDER` looks at photos")


def name(
    group: GroupArgument,
    person: Annotated[str, typer.Argument(help="The person, who may be enrolled already.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    quiet: QuietOption = False,
) -> None:
    """Name the faces of a group, and enroll the person by the best and most different of their photos."""
    from facedex.gallery.gallery import Gallery
    from facedex.library.group_names import name_group

    with Gallery(gallery) as opened:
        named = name_group(opened, group, person)
    note(f"{counted(named.faces, 'face')} named {named.name}, {counted(named.enrolled, 'photo')} enrolled")
    if named.others:
        others = counted(named.others, "face")
        say(f"left as before: {others} of the group, enrolled as another person")


def join(
    group: GroupArgument,
    other: Annotated[int, typer.Argument(min=1, help="Another group of the same person.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    quiet: QuietOption = False,
) -> None:
    """Put two groups of one person together, for good. The first keeps its number."""
    from facedex.gallery.gallery import Gallery
    from facedex.library.group_edits import join_groups

    with Gallery(gallery) as opened:
        faces = join_groups(opened, group, other)
    note(f"group {group} has {counted(faces, 'face')} now")


def split(
    group: GroupArgument,
    photos: Annotated[list[Path], typer.Argument(help="Photos whose face is of somebody else.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    quiet: QuietOption = False,
) -> None:
    """Take the faces of some photos out of a group, for good. They become a group of their own."""
    from facedex.gallery.gallery import Gallery
    from facedex.library.group_names import split_group

    with Gallery(gallery) as opened:
        number = split_group(opened, group, photos)
    note(f"they are group {number} now; `facedex cluster` may part them further")


def not_a_face(
    group: GroupArgument,
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Photos in which it is no face. Default: all of the group.")
    ] = None,
    gallery: GalleryOption = DEFAULT_GALLERY,
    undo: Annotated[bool, typer.Option("--undo", help="They are faces after all.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Leave out what is no face: a statue, a poster, a blur. It is never grouped or asked about again.

    A new scan does not bring it back, wherever the photo is then.
    """
    from facedex.gallery.gallery import Gallery
    from facedex.library.group_edits import mark_not_faces

    with Gallery(gallery) as opened:
        marked = mark_not_faces(opened, group, photos or (), undo)
    again = f"in group {group} again" if undo else "left out from now on"
    note(f"{counted(marked, 'face')} {again}")


def ignore(
    group: GroupArgument,
    gallery: GalleryOption = DEFAULT_GALLERY,
    undo: Annotated[bool, typer.Option("--undo", help="List the group again.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Leave a group of strangers out of the table of `cluster`, with faces that join the group later."""
    from facedex.gallery.gallery import Gallery
    from facedex.library.group_names import ignore_group

    with Gallery(gallery) as opened:
        ignore_group(opened, group, not undo)
    note(f"group {group} is {'listed again' if undo else 'ignored from now on'}")


def find(
    person: Annotated[str, typer.Argument(help="The person.")],
    together: Annotated[
        list[str] | None, typer.Option("--and", help="Another person in the same photo; may be repeated.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m", "%Y"],
            help="Only photos taken on this day or later (2024-05-31, 2024-05 or 2024), by EXIF, else by the file's "
            "time of change.",
        ),
    ] = None,
    gallery: GalleryOption = DEFAULT_GALLERY,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
) -> None:
    """List the photos that show a person. No photo is read again.

    First come enrolled photos and scanned faces that bear the name, then scanned faces that `identify` would name so.
    """
    from facedex import results
    from facedex.gallery.gallery import Gallery
    from facedex.library.finding import find_photos_of, with_dates

    form = output_form(as_json, as_csv, output)
    with Gallery(gallery) as opened:
        names = [record.name for record in opened.find(person, *(together or []))]
        found = find_photos_of(opened, names)
        if since is not None:
            found = _since(since, with_dates(opened, found))
    with results_to(output):
        printer = ResultPrinter(form, results.FIND_COLUMNS)
        for photo in found:
            printer.print(results.find_json, results.find_rows, photo, names)
        if form == "table":
            from facedex.cli.result_tables import find_table

            show(find_table(found))
    raise typer.Exit(0 if found else 1)


def _since(since: datetime, found: list[FoundPhoto]) -> list[FoundPhoto]:
    """The photos that were taken since a time. Those without a date are told and left out."""
    for photo in found:
        if photo.taken is None:
            say(f"left out: {photo.photo} was not scanned and cannot be read, so it has no date")
    return [photo for photo in found if photo.taken is not None and photo.taken >= since]


def forget(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Photos and folders that were scanned. They need not exist any more.")
    ] = None,
    gallery: GalleryOption = DEFAULT_GALLERY,
    everything: Annotated[bool, typer.Option("--all", help="Forget everything that was scanned.")] = False,
    yes: YesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete what `scan` kept of photos: faces, groups and names of faces. Enrolled people and photo files stay."""
    from facedex.gallery.gallery import Gallery
    from facedex.library.forgetting import forget as forget_files
    from facedex.library.forgetting import scanned_sources

    if bool(paths) == everything:
        raise typer.BadParameter("name photos or folders, or give --all alone")
    with Gallery(gallery) as opened:
        sources = scanned_sources(opened.library, paths or None)
        confirm(f"Forget the faces of {counted(len(sources), 'photo')}, and their names?", yes)
        photos, faces = forget_files(opened, sources)
    note(f"forgot {counted(faces, 'face')} of {counted(photos, 'photo')}")


XmpOption = Annotated[bool, typer.Option("--xmp", help="The form of the names: XMP, in sidecars beside the photos.")]
ScannedArgument = Annotated[
    list[Path] | None, typer.Argument(help="Photos and folders that were scanned. Default: all of them.")
]


def export(
    paths: ScannedArgument = None,
    xmp: XmpOption = False,
    embed: Annotated[
        bool,
        typer.Option("--embed", help="Write the names into the photo files, by exiftool 12.38 or newer."),
    ] = False,
    yes: YesOption = False,
    gallery: GalleryOption = DEFAULT_GALLERY,
    as_json: JsonOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the names of scanned faces beside their photos, for digiKam, Lightroom and others.

    Photos are changed by --embed alone, after a question. Their pixels and dates stay.
    """
    from facedex import results
    from facedex.gallery.gallery import Gallery
    from facedex.library.exchange import embed_in_photos, export_names, with_names
    from facedex.library.exiftool import find_exiftool

    if xmp and embed:
        raise typer.BadParameter("--xmp and --embed exclude each other; choose one")
    form = _exchange_form(xmp or embed, as_json, output, " or --embed")
    if embed:
        find_exiftool()  # before the question
    work = embed_in_photos if embed else export_names
    changed = problems = 0
    with Gallery(gallery) as opened, results_to(output):
        sources = _scanned(opened, paths)
        if embed and not yes:
            files = counted(len(with_names(opened, sources)), "photo file")
            confirm(f"Write names into {files}? The files change, and their pixels stay.")
        for result in _exchange(partial(work, opened), "exporting", sources, results.export_json, form):
            changed += result.changed
            problems += _say_exchange(result.photo, result.error, result.conflicts)
    note(f"{counted(changed, 'photo file' if embed else 'sidecar')} written")
    raise typer.Exit(1 if problems else 0)


def import_names(
    paths: ScannedArgument = None,
    xmp: XmpOption = False,
    gallery: GalleryOption = DEFAULT_GALLERY,
    as_json: JsonOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Take over names of faces from sidecars and photos, and enroll the people. Names given here stay."""
    from facedex import results
    from facedex.gallery.gallery import Gallery
    from facedex.library.exchange import import_names as import_scanned

    form = _exchange_form(xmp, as_json, output)
    named = problems = 0
    with Gallery(gallery) as opened, results_to(output):
        sources = _scanned(opened, paths)
        for result in _exchange(partial(import_scanned, opened), "importing", sources, results.import_json, form):
            named += len(result.names)
            problems += _say_exchange(result.photo, result.error, result.warnings)
    note(f"{counted(named, 'face')} named")
    raise typer.Exit(1 if problems else 0)


def _exchange_form(chosen: bool, as_json: bool, output: Path | None, other: str = "") -> str:
    """The form of the results. Raises BadParameter where no form of the names is given."""
    if not chosen:
        raise typer.BadParameter(f"name the form of the names: --xmp{other}")
    return output_form(as_json, None, output)


def _scanned(gallery: Gallery, paths: list[Path] | None) -> list[str]:
    """The scanned files at these paths, or all of them, by path."""
    from facedex.library.forgetting import scanned_sources

    return sorted(scanned_sources(gallery.library, paths or None))


def _exchange(
    work: Callable[[Iterator[str]], Iterator[Result]],
    verb: str,
    sources: list[str],
    to_json: Callable[[Result], dict[str, Any]],
    form: str,
) -> Iterator[Result]:
    """Do the work on these scanned files. Prints each result as the form says, and yields it."""
    printer = ResultPrinter(form)
    with photo_progress(len(sources)) as progress:
        task = progress.add_task(verb, total=len(sources))
        for result in work(_counting(sources, lambda: progress.advance(task))):
            printer.print(to_json, None, result)
            yield result


def _say_exchange(photo: str, error: str | None, remarks: Sequence[str]) -> bool:
    """Print what went wrong with a photo; returns whether anything did."""
    failed = say_problems(photo, None, error)
    for remark in remarks:
        say(f"{photo}: {remark}")
    return failed or bool(remarks)


def _counting(items: list[str], count: Callable[[], None]) -> Iterator[str]:
    """The items, with a call after each, since not every item has a result."""
    for item in items:
        yield item
        count()
