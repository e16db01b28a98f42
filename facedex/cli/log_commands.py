"""The commands about changes of a gallery: log, undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import confirm, note, say, show
from facedex.cli.options import DEFAULT_GALLERY, GalleryOption, JsonOption, OutputOption, QuietOption, YesOption
from facedex.cli.result_output import ResultPrinter, output_form, results_to
from facedex.wording import counted, to_minute

if TYPE_CHECKING:
    from facedex.store.changelog import Change
    from facedex.store.undoing import Undone


def log(
    gallery: GalleryOption = DEFAULT_GALLERY,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Only changes since a day (2026-11-30), a time, or 90d, 12w, 6m, 1y ago."),
    ] = None,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """List every change of the gallery, the first one first: when, what, whom it concerns, from what, by which account.

    Paths are those of photos that are still in the gallery. Whoever was deleted is named nowhere.
    """
    from facedex import results
    from facedex.gallery.gallery import Gallery
    from facedex.store.expiry import since_when

    form = output_form(as_json, None, output)
    start = "" if since is None else since_when(since)
    with Gallery(gallery) as opened:
        changes = opened.changes(start)
    with results_to(output):
        printer = ResultPrinter(form)
        for change, photos in changes:
            printer.print(results.log_json, None, change, photos)
        if form == "table":
            from facedex.cli.result_tables import log_table

            show(log_table(changes))


def undo(gallery: GalleryOption = DEFAULT_GALLERY, yes: YesOption = False, quiet: QuietOption = False) -> None:
    """Undo the last change that can be undone, be it of a name, a group, an answer or a consent.

    These are `name`, `import`, `review`, `join`, `split`, `not-a-face`, `ignore`, `rename`, `merge` and `consent`, and
    a name that was corrected on the page of `serve`. Run again, it undoes the one before. Nothing that was deleted
    comes back, because nothing of it is kept.
    """
    from facedex.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        change, deletions = opened.undoable()
        for deletion in deletions:
            say(f"cannot be undone, because nothing deleted is kept: {describe(deletion)}")
        if change is None:
            say(f"no change of {gallery} is left that can be undone")
            raise typer.Exit(1)
        if deletions:
            confirm(f"Undo the change before it: {describe(change)}?", yes)
        undone = opened.undo(change.number)
    assert undone is not None
    note(f"undone: {_outcome(undone)}")


def describe(change: Change) -> str:
    """A line of the log in words: when, what, who."""
    from facedex.store.changelog import KINDS

    parts = (to_minute(change.made), KINDS.get(change.kind, change.kind), change.whom, change.detail)
    return ", ".join(filter(None, parts))


def _outcome(undone: Undone) -> str:
    """What is as before now."""
    change = undone.change
    faces, photos = counted(undone.faces, "face"), counted(undone.photos, "photo")
    if change.kind in ("named", "imported"):
        return f"{faces} no longer named {change.name}, {photos} no longer enrolled"
    if change.kind == "renamed":
        return f"{change.name} is {change.former} again"
    if change.kind == "merged":
        return f"{change.former} is apart from {change.name} again, with {photos} and {faces} of scanned photos"
    if change.kind == "split":
        return f"{change.detail}; `facedex cluster` joins the two again"
    return describe(change)
