"""The commands about the people of a gallery: enroll, list, show, rename, merge, remove."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import ask, say, show
from facedex.cli.options import (
    DEFAULT_GALLERY,
    CsvOption,
    DeviceOption,
    GalleryOption,
    JsonOption,
    ModelOption,
    YesOption,
    refuse_json_with_csv,
)
from facedex.cli.progress import progress_bar
from facedex.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from facedex.gallery.enrolment import Enrolled
    from facedex.gallery.gallery import Gallery
    from facedex.gallery.suspicion import Suspicion
    from facedex.store.rows import PersonRecord

_STATUSES = ("enrolled", "moved", "known", "conflict", "skipped", "removed")  # in the order of the summary


def enroll(
    photos: Annotated[
        list[Path], typer.Argument(help="Folders of people, .tar or .zip files of them; or photos, with --name.")
    ],
    gallery: GalleryOption = DEFAULT_GALLERY,
    name: Annotated[str | None, typer.Option(help="Enroll all these photos as this person.")] = None,
    face: Annotated[
        int | None,
        typer.Option(min=1, help="With --name: enroll the face that `facedex detect` lists under this number."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Skip photos that show several faces.")] = False,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Follow photos that were moved, and offer to remove faces whose photos were deleted."
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With --update: remove those faces without a question.")
    ] = False,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Enroll the subjects of photos. DIR/NAME.jpg and DIR/NAME/*.jpg give the names."""
    from facedex import results
    from facedex.gallery.gallery import Gallery
    from facedex.photos.sources import named_photos

    refuse_json_with_csv(as_json, as_csv)
    if update and name is not None:
        raise typer.BadParameter("--update synchronises folders of people; leave out --name")
    if face is not None and (name is None or strict):
        raise typer.BadParameter("--face chooses a face for one person; add --name, and leave out --strict")
    enrolled: list[Enrolled] = []
    with (
        named_photos(photos, name, say if len(photos) > 1 else None) as (found, total),
        Gallery(gallery, model, create=True) as opened,
    ):
        if as_csv:
            results.write_csv(sys.stdout, results.ENROLL_COLUMNS)
        with progress_bar(total) as progress:
            task = progress.add_task("enrolling", total=total)
            for result in opened.enroll(found, strict, device, update, face):
                enrolled.append(result)
                progress.advance(task)
                row = results.enroll_json(result)
                if as_json:
                    print(results.json_line(row), flush=True)
                elif as_csv:
                    results.write_csv(sys.stdout, results.ENROLL_COLUMNS, [row], header=False)
        if not enrolled:
            raise DataError(f"{photos[0]} holds no photos; put each person's photos in a folder of their own")
        _say_reasons(enrolled)
        counts = Counter(result.status for result in enrolled)
        if update:
            counts["removed"] = _remove_vanished(opened, photos, yes)
        for suspicion in _suspicions(opened, enrolled):
            if as_json:
                print(results.json_line(results.suspicious_json(suspicion)), flush=True)
            say(f"suspicious: {suspicion.photo}: {suspicion.reason}")
        summary = ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status])
        say(f"{summary}; the gallery {gallery} holds {len(opened):,} people, {opened.faces:,} faces")
    raise typer.Exit(1 if counts["skipped"] or counts["conflict"] else 0)


def _suspicions(gallery: Gallery, enrolled: Iterable[Enrolled]) -> list[Suspicion]:
    """What is suspicious about the people who got a photo."""
    names = {result.name for result in enrolled if result.status == "enrolled"}
    return gallery.suspicions(*names) if names else []


def _say_reasons(enrolled: Iterable[Enrolled]) -> None:
    """Print why photos were not enrolled, and the warnings about enrolled ones."""
    for result in enrolled:
        if result.reason and result.status != "known":
            photo = "" if result.photo in result.reason else f"{result.photo}: "  # most errors name the photo
            say(f"{result.status}: {photo}{result.reason}")


def _remove_vanished(gallery: Gallery, folders: list[Path], yes: bool) -> int:
    """Offer to remove the faces whose photos are no longer in the folders; returns how many were removed."""
    from facedex.photos.sources import source_path

    vanished = gallery.vanished(folders)
    for photo in vanished:
        say(f"vanished: {source_path(photo.source)} ({photo.name})")
    if not vanished or not (yes or ask(f"Delete these {len(vanished)} faces from the gallery?")):
        return 0
    return gallery.remove_photos(vanished)


def list_people(
    gallery: GalleryOption = DEFAULT_GALLERY, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """List the enrolled people."""
    from facedex import results
    from facedex.gallery.gallery import Gallery

    refuse_json_with_csv(as_json, as_csv)
    with Gallery(gallery) as opened:
        people = opened.people()
    if as_json:
        for record in people:
            print(results.json_line(results.list_json(record)))
    elif as_csv:
        results.write_csv(sys.stdout, results.LIST_COLUMNS, map(results.list_json, people))
    else:
        from facedex.cli.result_tables import list_table

        show(list_table(people))


def show_person(
    name: Annotated[str, typer.Argument(help="The person.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    as_json: JsonOption = False,
) -> None:
    """Show a person's photos: path, time, quality, and how far each resembles the person's others."""
    from facedex import results
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        person = opened.show(name)
    if as_json:
        print(results.json_line(results.show_json(person)))
        return
    from facedex.cli.result_tables import show_table

    show(show_table(person))


def rename(
    old: Annotated[str, typer.Argument(help="The person's present name.")],
    new: Annotated[str, typer.Argument(help="The new name.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
) -> None:
    """Give a person another name."""
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        opened.rename(old, new)
    say(f"{old} is now {new}")


def merge(
    source: Annotated[str, typer.Argument(help="The person whose photos move. This name disappears.")],
    into: Annotated[str, typer.Argument(help="The person who gets the photos.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    yes: YesOption = False,
) -> None:
    """Make two people one: all photos of SOURCE become photos of INTO."""
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        if not yes:
            _confirm(opened.find(source, into), f"Make {source} a part of {into}, for good?")
        moved = opened.merge(source, into)
    say(f"{moved} faces of {source} are now {into}'s")


def remove(
    names: Annotated[list[str], typer.Argument(help="People to delete.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    yes: YesOption = False,
) -> None:
    """Delete people. No file of the gallery keeps anything of their faces."""
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        people = opened.find(*names)
        if not yes:
            _confirm(people, "Delete these people from the gallery?")
        removed = opened.remove(*(record.name for record in people))
    say(f"deleted {removed} faces of {len(people)} people")


def _confirm(people: Iterable[PersonRecord], question: str) -> None:
    """Show the people a change concerns and ask. Raises Abort (exit code 1) for a no."""
    for record in people:
        say(f"{record.name}: {record.photos} photos")
    if not ask(question):
        raise typer.Abort
