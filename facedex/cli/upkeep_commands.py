"""Commands that keep a gallery in order: reindex, doctor, backup, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facedex.cli.console import INDEX, DeviceOption, GalleryOption, JsonOption, YesOption, ask, say


def reindex(
    gallery: GalleryOption = INDEX,
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Encode all photos anew with this model.")] = None,
    kind: Annotated[str, typer.Option(help="auto (by size), flat or bytes (exact), halfbytes (approximate).")] = "auto",
    coverage: Annotated[
        float | None, typer.Option(help="Share of the nearest five that an approximate index must find; .999.")
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            help="Move the index to PostgreSQL: postgresql://USER@HOST/DATABASE?table=NAME; files brings it back."
        ),
    ] = None,
    yes: YesOption = False,
    device: DeviceOption = "cpu",
) -> None:
    """Build the search index anew; with --model move the gallery to another model, with --index its index elsewhere."""
    from facedex.gallery.gallery import Gallery

    def losing(photos: list[str]) -> None:
        for photo in photos:
            say(f"gone or changed, so that its face cannot be encoded anew: {photo}")
        if not yes and not ask(f"Drop these {len(photos)} faces from the gallery?"):
            raise typer.Abort

    with Gallery(gallery, model, rebind=True) as known:
        lost = known.reindex(model, kind, device, coverage, index, losing)
        faces, found = known.faces, known.coverage()
    measured = "" if found is None else f"; {found[1]:.2%} of the nearest five are found, asked for were {found[0]:g}"
    say(f"{gallery}: {faces:,} faces indexed{measured}")
    raise typer.Exit(1 if lost else 0)


def doctor(
    gallery: GalleryOption = INDEX,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="The gallery's model, to put a lost copy back.")
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Delete faces whose records are damaged.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check every part of the gallery and repair what can be: exit 0 sound, 1 repaired or warned, 2 broken."""
    from facedex import results
    from facedex.gallery.doctor import examine

    states = set()
    for finding in examine(gallery, model, drop):
        states.add(finding.state)
        if as_json:
            print(
                results.json_line({"part": finding.part, "state": finding.state, "detail": finding.detail}), flush=True
            )
        else:
            print(f"{finding.part:9}{finding.state:9}{finding.detail}", flush=True)
    raise typer.Exit(2 if "broken" in states else 1 if states - {"sound"} else 0)


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    gallery: GalleryOption = INDEX,
    force: Annotated[bool, typer.Option("--force", help="Replace the file when it is there.")] = False,
) -> None:
    """Save the whole gallery, its model too, in one file; others may use it meanwhile."""
    from facedex.gallery.backup import backup as save

    size = save(gallery, file, force)
    say(f"{file}: {size / 2**20:.1f} MiB; it holds personal data, as the gallery does")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `facedex backup` wrote.")],
    gallery: GalleryOption = INDEX,
    force: Annotated[bool, typer.Option("--force", help="Replace the gallery that is there.")] = False,
) -> None:
    """Make a gallery of a backup, checked whole beforehand."""
    from facedex.gallery.backup import restore as bring_back

    people, faces = bring_back(file, gallery, force)
    say(f"{gallery}: {people:,} people, {faces:,} faces")
