"""The photo that `-` stands for: the bytes of one photo file on stdin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from facedex.photos.inputs import GivenPhoto
    from facedex.photos.sources import NamedPhoto

STDIN = "-"


def refuse_two(arguments: Sequence[object]) -> None:
    """Raise BadParameter when stdin is named twice: it holds one photo."""
    if sum(str(argument) == STDIN for argument in arguments) > 1:
        raise typer.BadParameter("- reads one photo from stdin; name it once")


def stdin_photo() -> GivenPhoto:
    """The photo on stdin. It is read here, and faults are its own, as those of a file."""
    from facedex.photos.inputs import given_photo

    return given_photo(getattr(sys.stdin, "buffer", None), "stdin")


def photo_argument(argument: Path) -> GivenPhoto:
    """The photo that an argument names."""
    from facedex.photos.inputs import given_photo

    return stdin_photo() if str(argument) == STDIN else given_photo(argument)


@contextmanager
def photos_to_enroll(
    photos: list[Path], name: str | None, notice: Callable[[str], None] | None, encoding: str | None
) -> Iterator[tuple[Iterator[NamedPhoto], int | None]]:
    """As `named_photos`, with the photo on stdin last where `-` is among the photos. It has no name of its own."""
    from facedex.photos.inputs import person_photo
    from facedex.photos.sources import named_photos

    refuse_two(photos)
    files = [photo for photo in photos if str(photo) != STDIN]
    if len(files) == len(photos):
        with named_photos(photos, name, notice, encoding) as found:
            yield found
        return
    if name is None:
        raise typer.BadParameter("- is a photo without a name; add --name NAME")
    with named_photos(files, name, notice, encoding) as (found_photos, total):
        yield chain(found_photos, [person_photo(name, stdin_photo())]), total and total + 1
