"""What `identify --copy-to` does: copies of photos, sorted by the people in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import note, say
from facedex.cli.stdin_photo import STDIN
from facedex.errors import PhotoNotFound
from facedex.wording import counted

if TYPE_CHECKING:
    from facedex.gallery.gallery import Gallery
    from facedex.library.sorted_copies import SortedCopies
    from facedex.photos.inputs import PhotoInput
    from facedex.recognition.identification import IdentifiedPhoto

CopyToOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder in which copies of the photos are sorted into DIR/NAME, those of nobody into DIR/unknown. Nothing "
        "is overwritten."
    ),
]
LinkOption = Annotated[
    bool, typer.Option("--link", help="With --copy-to: hard links in place of copies, where the disk has them.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="With --copy-to: say what would be copied, and write nothing.")
]


class Copying:
    """The sorted copies of one run. `failed`: whether a photo could not be copied."""

    def __init__(self, folder: Path | None, link: bool, dry_run: bool, photos: Sequence[str], says: bool) -> None:
        """`folder`: None for no copies. `says`: whether each copy of a dry run is told. Raises BadParameter."""
        self.failed = False
        self._folder, self._link, self._dry_run, self._says = folder, link, dry_run, says
        self._made = self._there = 0
        self._copies: SortedCopies | None = None
        if folder is None and (link or dry_run):
            raise typer.BadParameter(f"{'--link' if link else '--dry-run'} is about copies; add --copy-to DIR")
        if folder is not None and STDIN in photos:
            raise typer.BadParameter("--copy-to copies files; - names none")

    def find(self, arguments: list[str]) -> list[PhotoInput]:
        """The photos that the arguments stand for. A folder with DIR in it gives none of DIR's, which are copies.

        Raises PhotoNotFound.
        """
        from facedex.cli.options import find_photos

        photos = find_photos(arguments)
        if self._folder is None:
            return photos
        top = os.path.realpath(self._folder)
        if any(_within(argument, top) for argument in arguments):
            return photos  # a user may sort copies again
        own = [photo for photo in photos if not (isinstance(photo, str) and _within(photo, top))]
        if not own:
            raise PhotoNotFound(f"{', '.join(arguments)} hold no photos but copies in {self._folder}; name others")
        return own

    def begin(self, gallery: Gallery) -> None:
        """Call this before the first `add`. Raises DataError where DIR cannot be used."""
        if self._folder is not None:
            from facedex.library.sorted_copies import SortedCopies

            names = (person.name for person in gallery.people())
            self._copies = SortedCopies(self._folder, names, self._link, self._dry_run)

    def add(self, photo: IdentifiedPhoto) -> tuple[str, ...]:
        """Copy one photo; returns the paths of its copies. One that cannot be copied does not stop the others."""
        if self._copies is None:
            return ()
        done = self._copies.add(photo)
        self._made += done.made
        self._there += len(done.copies) - done.made
        for remark in done.remarks:
            say(remark)
        if done.error:
            say(f"not copied: {done.error}")
            self.failed = True
        if self._dry_run and self._says:
            for copy in done.copies:
                note(f"{photo.photo} -> {copy}")
        return done.copies

    def say_summary(self) -> None:
        """Say how many copies there are."""
        if self._copies is not None:
            verb = "would be made" if self._dry_run else "made"
            there = f", {self._there:,} there already" if self._there else ""
            note(f"{counted(self._made, 'link' if self._link else 'copy')} {verb} in {self._folder}{there}")


def _within(path: str, top: str) -> bool:
    """Whether a path is in a folder (a real path), or the folder itself."""
    return f"{os.path.realpath(path)}{os.sep}".startswith(top.rstrip(os.sep) + os.sep)
