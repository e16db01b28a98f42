"""The commands that keep a gallery in order: reindex, doctor, backup, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facedex.cli.console import confirm, note, say
from facedex.cli.gallery_commands import say_photoless
from facedex.cli.options import (
    DEFAULT_GALLERY,
    DeviceOption,
    GalleryOption,
    JsonOption,
    QuietOption,
    YesOption,
    rate_option,
)
from facedex.wording import counted, visible


def reindex(
    gallery: GalleryOption = DEFAULT_GALLERY,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Encode all enrolled photos again with this model.")
    ] = None,
    kind: Annotated[
        str,
        typer.Option(help="auto (by the gallery's size), flat (exact), or quantised (approximate)."),
    ] = "auto",
    coverage: Annotated[
        float | None,
        typer.Option(help="Share of the five nearest people that an approximate index must find, for example .999."),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            help="Where the index lives: postgresql://USER@HOST/DATABASE?table=NAME, or 'files' for the gallery's "
            "folder."
        ),
    ] = None,
    yes: YesOption = False,
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
) -> None:
    """Build the search index again; --model changes the gallery's model, --index moves the index."""
    from facedex.gallery.gallery import Gallery

    def confirm_loss(photos: list[str]) -> None:
        for photo in photos:
            say(f"gone or changed, so that its face cannot be encoded again: {photo}")
        which = "this face" if len(photos) == 1 else f"these {len(photos):,} faces"
        confirm(f"Drop {which} from the gallery?", yes)

    with Gallery(gallery, model, rebind=True) as opened:
        before = {person.name for person in opened.people() if person.photos} if model else set()
        dropped = opened.reindex(model, kind, device, coverage, index, confirm_loss)
        faces, coverage_found = opened.faces, opened.coverage()
        if dropped:
            say_photoless(opened, before)
    measured = ""
    if coverage_found is not None:
        target, found = coverage_found
        measured = f"; it finds {found:.2%} of the five nearest people, the target is {target:g}"
    note(f"{gallery}: {counted(faces, 'face')} indexed{measured}")
    raise typer.Exit(1 if dropped else 0)


def doctor(
    gallery: GalleryOption = DEFAULT_GALLERY,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="The gallery's model, to restore the gallery's lost copy of it."),
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Delete faces whose records are damaged.")] = False,
    people: Annotated[
        bool,
        typer.Option(
            "--people", help="Also list photos that may show somebody else, and pairs of names that may be one person."
        ),
    ] = False,
    false_warnings: Annotated[
        float,
        rate_option("With --people: the share of people whom each kind of warning may concern by mistake."),
    ] = 0.01,
    as_json: JsonOption = False,
) -> None:
    """Check every part of the gallery and repair what can be repaired."""
    from facedex import results
    from facedex.gallery.doctor import examine

    states = set()
    for finding in examine(gallery, model, drop):
        states.add(finding.state)
        if as_json:
            print(results.json_line(results.doctor_json(finding)), flush=True)
        else:
            print(visible(f"{finding.part:9}{finding.state:9}{finding.detail}"), flush=True)
    if people and "broken" not in states:
        states.add(_examine_people(gallery, false_warnings, as_json))
    raise typer.Exit(2 if "broken" in states else 1 if states - {"sound"} else 0)


def _examine_people(gallery: Path, rate: float, as_json: bool) -> str:
    """Print what is suspicious about the people of a gallery; returns the state."""
    from facedex import results
    from facedex.gallery.doctor import Finding
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        suspicions, count = opened.suspicions(rate=rate), len(opened)
    for one in suspicions:
        if as_json:
            print(results.json_line(results.suspicion_json(one)), flush=True)
        else:
            print(visible(f"{'people':9}{'warning':9}{one.photo}: {one.reason}"), flush=True)
    if suspicions:
        say(
            f"Look at these photos. Each kind of warning is a mistake for {results.percentage(rate)} of people. Delete "
            "wrong files and run `facedex enroll FOLDER --update`; `facedex merge` joins two names of one person"
        )
        return "warning"
    finding = Finding("people", "sound", f"nothing stands out among the photos of {counted(count, 'person')}")
    line = results.json_line(results.doctor_json(finding))
    print(line if as_json else f"{finding.part:9}{finding.state:9}{finding.detail}", flush=True)
    return finding.state


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Save the gallery with its model in one file. Other processes may use the gallery meanwhile."""
    from facedex.gallery.backup import backup as write_backup

    size = write_backup(gallery, file, force)
    note(f"{file}: {size / 2**20:.1f} MiB; it holds personal data, as the gallery does")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `facedex backup` wrote.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    force: Annotated[bool, typer.Option("--force", help="Replace the gallery if it exists.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Make a gallery from a backup. The whole file is checked first."""
    from facedex.gallery.backup import restore as read_backup

    people, faces = read_backup(file, gallery, force)
    note(f"{gallery}: {counted(people, 'person')}, {counted(faces, 'face')}")
