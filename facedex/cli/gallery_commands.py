"""Commands about the people in a gallery: enroll, list, rename, merge, remove."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import (
    INDEX,
    CsvOption,
    DeviceOption,
    GalleryOption,
    JsonOption,
    ModelOption,
    YesOption,
    ask,
    one_format,
    progress_bar,
    say,
    show,
)
from facedex.errors import DataError

if TYPE_CHECKING:
    from facedex.gallery.gallery import Gallery


def enroll(
    photos: Annotated[list[Path], typer.Argument(help="Folders of people, packs of such; or photos, with --name.")],
    gallery: GalleryOption = INDEX,
    name: Annotated[str | None, typer.Option(help="Enroll all these photos as this person.")] = None,
    face: Annotated[
        int | None, typer.Option(min=1, help="With --name: take this face, as `facedex detect` numbers them.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Skip photos that show several faces.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Synchronise: note moved photos, offer vanished ones for removal.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --update: remove vanished photos unasked.")] = False,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Put people into the gallery: DIR/NAME.jpg or DIR/NAME/*.jpg, the most prominent face of each."""
    from collections import Counter

    from facedex import results as results_module
    from facedex.gallery.enrolment import Enrolled
    from facedex.gallery.gallery import Gallery
    from facedex.photos.sources import named_photos

    one_format(as_json, as_csv)
    if update and name is not None:
        raise typer.BadParameter("--update synchronises folders of people; leave out --name")
    if face is not None and (name is None or strict):
        raise typer.BadParameter("--face takes one of several faces in photos of one person; add --name, no --strict")
    results: list[Enrolled] = []
    notice = say if len(photos) > 1 else None
    with named_photos(photos, name, notice) as (found, total), Gallery(gallery, model, create=True) as into:
        progress = progress_bar(total)
        if as_csv:
            results_module.write_csv(sys.stdout, ["photo", "name", "status", "reason"], [])
        with progress:
            task = progress.add_task("enrolling", total=total)
            for result in into.enroll(found, strict, device, update, face):
                results.append(result)
                progress.advance(task)
                if as_json:
                    print(results_module.json_line(results_module.enrolled(result)), flush=True)
                elif as_csv:
                    results_module.write_row(sys.stdout, results_module.enrolled(result))
        if not results:
            raise DataError(f"{photos[0]} holds no photos; put each person's photos in a folder of their own")
        for result in results:
            if result.reason and result.status != "known":
                about = "" if result.photo in result.reason else f"{result.photo}: "  # errors name the photo themselves
                say(f"{result.status}: {about}{result.reason}")
        counts = Counter(result.status for result in results)
        if update:
            counts["removed"] = _remove_vanished(into, photos, yes)
        people, faces = len(into), into.faces
    summary = ", ".join(
        f"{counts[status]} {status}"
        for status in ("enrolled", "moved", "known", "conflict", "skipped", "removed")
        if counts[status]
    )
    say(f"{summary}; the gallery {gallery} holds {people:,} people, {faces:,} faces")
    raise typer.Exit(1 if counts["skipped"] or counts["conflict"] else 0)


def _remove_vanished(known: Gallery, folders: list[Path], yes: bool) -> int:
    """Show the enrolled photos that are no longer in these folders, ask, and delete them; returns how many went."""
    from facedex.photos.sources import source_path

    gone = known.vanished(folders)
    for photo in gone:
        say(f"vanished: {source_path(photo.source)} ({photo.name})")
    if not gone or not (yes or ask(f"Delete these {len(gone)} faces from the gallery?")):
        return 0
    return known.remove_photos(gone)


def list_people(gallery: GalleryOption = INDEX, as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """Show who is enrolled."""
    from facedex import results as results_module
    from facedex.cli import terminal
    from facedex.gallery.gallery import Gallery

    one_format(as_json, as_csv)
    with Gallery(gallery) as known:
        people = known.people()
    if as_json:
        for record in people:
            print(results_module.json_line(results_module.person(record)))
    elif as_csv:
        results_module.write_csv(sys.stdout, ["name", "photos", "enrolled"], map(results_module.person, people))
    else:
        show(terminal.people_table(people))


def rename(
    old: str,
    new: str,
    gallery: GalleryOption = INDEX,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="As elsewhere; nothing goes, so nothing is asked.")] = False,
) -> None:
    """Give a person another name."""
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as known:
        known.rename(old, new)
    say(f"{old} is now {new}")


def merge(source: str, into: str, gallery: GalleryOption = INDEX, yes: YesOption = False) -> None:
    """Make two people one: all photos of SOURCE become INTO's."""
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as known:
        if not yes:
            for record in known.find(source, into):
                say(f"{record.name}: {record.photos} photos")
            if not ask(f"Make {source} a part of {into}, for good?"):
                raise typer.Abort
        moved = known.merge(source, into)
    say(f"{moved} faces of {source} are now {into}'s")


def remove(
    names: Annotated[list[str], typer.Argument(help="People to delete.")],
    gallery: GalleryOption = INDEX,
    yes: YesOption = False,
) -> None:
    """Delete people; nothing of their faces stays in the gallery's files."""
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as known:
        people = known.find(*names)
        if not yes:
            for record in people:
                say(f"{record.name}: {record.photos} photos")
            if not ask("Delete these people from the gallery?"):
                raise typer.Abort
        gone = known.remove(*(record.name for record in people))
    say(f"deleted {gone} faces of {len(people)} people")
