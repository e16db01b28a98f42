"""The commands about the people of a gallery: enroll, list, show, rename, merge, remove, consent, purge."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import ask, confirm, note, say, show
from facedex.cli.options import (
    DEFAULT_GALLERY,
    ConsentOption,
    CsvOption,
    DeviceOption,
    ExpiresOption,
    GalleryOption,
    JobsOption,
    JsonOption,
    ModelOption,
    OutputOption,
    QuietOption,
    YesOption,
)
from facedex.cli.progress import progress_bar
from facedex.cli.result_output import ResultPrinter, output_form, results_to
from facedex.cli.stdin_photo import photos_to_enroll
from facedex.errors import DataError, PersonNotFound
from facedex.wording import counted, plural, tally

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from facedex.gallery.enrolment import Enrolled
    from facedex.gallery.gallery import Gallery
    from facedex.library.name_removal import NamingSidecar
    from facedex.store.rows import PersonRecord

SidecarsOption = Annotated[
    bool, typer.Option("--sidecars", help="Take the names out of the XMP sidecars of scanned photos too.")
]

_STATUSES = ("enrolled", "moved", "known", "conflict", "skipped", "removed")  # in the order of the summary


def enroll(
    photos: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of people, .tar or .zip files of them; or photos, with --name, - reads one from stdin."
        ),
    ],
    gallery: GalleryOption = DEFAULT_GALLERY,
    name: Annotated[str | None, typer.Option(help="Enroll all these photos as this person.")] = None,
    face: Annotated[
        int | None,
        typer.Option(min=1, help="With --name: enroll the face that `facedex detect` lists under this number."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of names in a .zip, such as gbk. Default: the most plausible one.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Skip photos that show several faces.")] = False,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Follow photos that were moved, and offer to remove faces whose photos were deleted."
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            "-y",
            help="Enroll under doubtful names too; with --update, remove faces without a question.",
        ),
    ] = False,
    consent: ConsentOption = None,
    expires: ExpiresOption = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Enroll the subjects of photos. DIR/NAME.jpg and DIR/NAME/*.jpg give the names."""
    from facedex import results
    from facedex.gallery.gallery import Gallery
    from facedex.store.expiry import last_day

    form = output_form(as_json, as_csv, output)
    if update and name is not None:
        raise typer.BadParameter("--update synchronises folders of people; leave out --name")
    if face is not None and (name is None or strict):
        raise typer.BadParameter("--face chooses a face for one person; add --name, and leave out --strict")
    if encoding is not None:
        _check_encoding(encoding)
    end = last_day(expires)  # raises for a wrong one before a gallery is made
    enrolled: list[Enrolled] = []
    notice = say if len(photos) > 1 else None
    with photos_to_enroll(photos, name, notice, encoding) as (found, total), results_to(output):
        first = next(found, None)
        if first is None:  # before a gallery is made
            raise DataError(f"{photos[0]} holds no photos; put each person's photos in a folder of their own")
        with Gallery(gallery, model, create=True) as opened:
            printer = ResultPrinter(form, results.ENROLL_COLUMNS)
            removed = 0
            try:
                with progress_bar(total) as progress:
                    task = progress.add_task("enrolling", total=total)
                    given = (strict, device, update, face, yes, consent or "", end or None)
                    for result in opened.iter_enroll(chain([first], found), *given):
                        enrolled.append(result)
                        progress.advance(task)
                        printer.print(results.enroll_json, None, result)
                        _say_reason(result)
                if update:
                    removed = _remove_vanished(opened, photos, yes)
                _say_suspicions(opened, enrolled, form)
            except KeyboardInterrupt:  # the photos reported so far are enrolled
                _say_summary(enrolled, removed, opened)
                raise
            _say_summary(enrolled, removed, opened)
        raise typer.Exit(1 if any(result.status in ("skipped", "conflict") for result in enrolled) else 0)


def _check_encoding(encoding: str) -> None:
    """Raise BadParameter for an encoding of texts that Python does not know."""
    try:
        b"a".decode(encoding)
    except (LookupError, ValueError):
        raise typer.BadParameter(
            f"--encoding {encoding!r} is not known; name one such as gbk, cp932 or cp866"
        ) from None


def _say_reason(result: Enrolled) -> None:
    """Print why a photo was not enrolled, or the warning about an enrolled one."""
    if result.reason and result.status != "known":
        photo = "" if result.photo in result.reason else f"{result.photo}: "  # most errors name the photo
        say(f"{result.status}: {photo}{result.reason}")


def _say_summary(enrolled: Iterable[Enrolled], removed: int, gallery: Gallery) -> None:
    """Print how many photos came to which end, and how large the gallery is."""
    counts = Counter(result.status for result in enrolled)
    counts["removed"] = removed
    summary = tally(counts, _STATUSES)
    people, faces = counted(len(gallery), "person"), counted(gallery.faces, "face")
    note(f"{summary or 'nothing enrolled'}; the gallery {gallery.folder} holds {people}, {faces}")


def _say_suspicions(gallery: Gallery, enrolled: Iterable[Enrolled], form: str) -> None:
    """Say what is suspicious about the people who got a photo."""
    from facedex import results

    names = {result.name for result in enrolled if result.status == "enrolled"}
    for suspicion in gallery.suspicions(*names) if names else []:
        if form == "json":
            print(results.json_line(results.suspicious_json(suspicion)), flush=True)
        say(f"suspicious: {suspicion.photo}: {suspicion.reason}")


def _remove_vanished(gallery: Gallery, folders: list[Path], yes: bool) -> int:
    """Offer to remove the faces whose photos are no longer in the folders; returns how many were removed."""
    from facedex.photos.sources import source_path

    vanished = gallery.vanished(folders)
    for photo in vanished:
        say(f"vanished: {source_path(photo.source)} ({photo.name})")
    which = "this face" if len(vanished) == 1 else f"these {len(vanished):,} faces"
    if not vanished or not (yes or ask(f"Delete {which} from the gallery?")):
        return 0
    removed = gallery.remove_photos(vanished)
    say_photoless(gallery, {photo.name for photo in vanished})
    return removed


def say_photoless(gallery: Gallery, names: Container[str]) -> None:
    """Say which of these people have lost every photo, and are only the name of scanned faces now."""
    for person in gallery.people():
        if not person.photos and person.name in names:
            say(
                f"{person.name} has no enrolled photo any more and is not recognised; scanned faces keep the name, "
                "`facedex remove` deletes both"
            )


def list_people(
    gallery: GalleryOption = DEFAULT_GALLERY,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
) -> None:
    """List the enrolled people."""
    from facedex import results
    from facedex.gallery.gallery import Gallery

    form = output_form(as_json, as_csv, output)
    with Gallery(gallery) as opened:
        people = opened.people()
    with results_to(output):
        printer = ResultPrinter(form, results.LIST_COLUMNS)
        for record in people:
            printer.print(results.list_json, results.list_rows, record)
        if form == "table":
            from facedex.cli.result_tables import list_table

            show(list_table(people))


def show_person(
    name: Annotated[str, typer.Argument(help="The person.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Show a person's photos: path, time, quality, and how far each resembles the person's others."""
    from facedex import results
    from facedex.gallery.gallery import Gallery

    form = output_form(as_json, None, output)
    with Gallery(gallery) as opened:
        person = opened.show(name)
    with results_to(output):
        if not ResultPrinter(form).print(results.show_json, None, person):
            from facedex.cli.result_tables import show_table

            show(show_table(person))


def rename(
    old: Annotated[str, typer.Argument(help="The person's present name.")],
    new: Annotated[str, typer.Argument(help="The new name.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    quiet: QuietOption = False,
) -> None:
    """Give a person another name."""
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        opened.rename(old, new)
    note(f"{old} is now {new}")


def merge(
    source: Annotated[str, typer.Argument(help="The person whose photos move. This name disappears.")],
    into: Annotated[str, typer.Argument(help="The person who gets the photos.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    yes: YesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make two people one: all photos of SOURCE become photos of INTO."""
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        if not yes:
            _confirm_for(opened.find(source, into), f"Make {source} a part of {into}?")
        moved = opened.merge(source, into)
    note(f"{counted(moved, 'face')} of {source} {plural(moved, 'is')} now {into}'s")


def remove(
    names: Annotated[list[str], typer.Argument(help="People to delete.")],
    photos: Annotated[
        list[Path] | None,
        typer.Option("--photo", help="A photo that does not show the person: only its face goes; may be repeated."),
    ] = None,
    gallery: GalleryOption = DEFAULT_GALLERY,
    sidecars: SidecarsOption = False,
    yes: YesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete people, and scanned faces that bear their names. No file of the gallery keeps anything of these faces.

    XMP sidecars of scanned photos that hold a name are listed. --sidecars works for people deleted earlier too. With
    --photo a scanned face loses the name, and never gets it again by itself.
    """
    from facedex.gallery.gallery import Gallery
    from facedex.library.name_removal import sidecars_naming

    with Gallery(gallery) as opened:
        if photos:
            _remove_photos(opened, names, photos, yes)
            return
        naming = list(sidecars_naming(opened, names))
        people = _enrolled(opened, names, {name for one in naming for name in one.names} if sidecars else ())
        if people and not yes:
            _confirm_for(people, f"Delete {plural(len(people), 'this person')} from the gallery?")
        removed = opened.remove(*(record.name for record in people)) if people else 0
    note(f"deleted {counted(removed, 'face')} of {counted(len(people), 'person')}")
    _end_with_sidecars(naming, sidecars)


def _remove_photos(gallery: Gallery, names: list[str], photos: list[Path], yes: bool) -> None:
    """Take the faces in some photos from a person."""
    from facedex.library.group_edits import remove_from_person

    if len(names) != 1:
        raise typer.BadParameter("--photo takes the photos of one person; name one")
    (record,) = gallery.find(*names)
    confirm(f"Take {counted(len(photos), 'photo')} from {record.name}?", yes)
    scanned, enrolled = remove_from_person(gallery, record.name, photos)
    note(f"deleted {counted(enrolled, 'face')}; {counted(scanned, 'scanned face')} no longer named {record.name}")


def _enrolled(gallery: Gallery, names: Iterable[str], elsewhere: Container[str]) -> list[PersonRecord]:
    """The people with these names. Raises PersonNotFound for a name that is not `elsewhere` either."""
    people: dict[str, PersonRecord] = {}
    for name in names:
        try:
            (record,) = gallery.find(name)
        except PersonNotFound:
            if name not in elsewhere:
                raise
            continue
        people[record.name] = record
    return list(people.values())


def _end_with_sidecars(naming: Sequence[NamingSidecar], change: bool) -> None:
    """Take the names out of the sidecars, or say which hold them. Raises Exit for a sidecar that cannot be changed."""
    from facedex.library.name_removal import take_names_out

    failed = 0
    for sidecar in take_names_out(naming) if change else naming:
        failed += sidecar.error is not None
        what = "the name was taken out of" if change else "the name stays in"
        say(f"skipped: {sidecar.error}" if sidecar.error else f"{what} {sidecar.file} ({', '.join(sidecar.names)})")
    if naming and not change:
        say("`facedex remove --sidecars NAME` takes a name out of these sidecars")
    if failed:
        raise typer.Exit(1)


def consent(
    name: Annotated[str, typer.Argument(help="The person.")],
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Photos of the person that this is about. Default: all of them.")
    ] = None,
    gallery: GalleryOption = DEFAULT_GALLERY,
    consent: ConsentOption = None,
    expires: ExpiresOption = None,
    quiet: QuietOption = False,
) -> None:
    """Change what an enrolled person allowed, or its last day, for all photos or for some."""
    from facedex.gallery.gallery import Gallery

    if consent is None and expires is None:
        raise typer.BadParameter("name what changes: --consent TEXT, --expires DATE, or both")
    with Gallery(gallery) as opened:
        changed = opened.set_consent(name, consent, expires, photos or None)
    note(f"changed for {counted(changed, 'photo')} of {name}")


def purge(
    gallery: GalleryOption = DEFAULT_GALLERY,
    sidecars: SidecarsOption = False,
    yes: YesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete everybody whose consent has expired, as `remove` does. People who have other photos keep these."""
    from facedex.gallery.gallery import Gallery
    from facedex.library.name_removal import sidecars_naming
    from facedex.photos.sources import source_path

    with Gallery(gallery) as opened:
        people, photos = opened.expired()
        if not people and not photos:
            note(f"no consent in {gallery} has expired")
            return
        for photo in photos:
            say(f"expired: {source_path(photo.source)} ({photo.name})")
        for person in sorted(set(people) - {photo.name for photo in photos}):
            say(f"expired: {person}, who has no enrolled photo any more")
        confirm(f"Delete {counted(len(photos), 'photo')}, and {counted(len(people), 'person')} entirely?", yes)
        naming = list(sidecars_naming(opened, people))
        gone, faces = opened.purge()
    note(f"deleted {counted(faces, 'face')}; {counted(gone, 'person')} {plural(gone, 'is')} gone")
    _end_with_sidecars(naming, sidecars)


def _confirm_for(people: Iterable[PersonRecord], question: str) -> None:
    """Show the people a change concerns and ask. Raises Abort for a no."""
    for record in people:
        say(f"{record.name}: {counted(record.photos, 'photo')}")
    confirm(question)
