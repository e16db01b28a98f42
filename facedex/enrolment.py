"""What the arguments of `enroll` mean: which photos, and whose."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from facedex import images
from facedex.errors import DataError
from facedex.identification import expand
from facedex.people import NamedPhoto, is_pack, open_people, person_name


@contextmanager
def named_photos(
    sources: Iterable[str | os.PathLike[str]], name: str | None = None, notice: Callable[[str], None] | None = None
) -> Iterator[tuple[Iterator[NamedPhoto], int | None]]:
    """Photos with the names they are to be enrolled under, and how many (None for packs, which are not counted).

    Without `name`, folders and packs of people (see people.py). With `name`, all photos, files and folders alike,
    are that person's. A source without photos is told to `notice`.
    Raises DataError, NameInvalid, PhotoNotFound.
    """
    paths = [Path(source) for source in sources]
    if name is not None:
        person = person_name(name)
        photos = list(expand(paths, notice))
        yield (_of(person, Path(photo)) for photo in photos), len(photos)
        return
    for path in paths:
        if path.is_file() and not is_pack(path):
            raise DataError(f"{path} is a photo without a name; add --name NAME, or give the folder it is in")
    total = None
    if not any(is_pack(path) for path in paths):
        total = sum(1 for path in paths if path.is_dir() for _ in images.find_photos(path))
    with ExitStack() as stack:
        opened = [stack.enter_context(open_people(path)) for path in paths]
        yield (
            (photo for path, photos in zip(paths, opened, strict=True) for photo in _told(path, photos, notice)),
            total,
        )


def _told(path: Path, photos: Iterator[NamedPhoto], notice: Callable[[str], None] | None) -> Iterator[NamedPhoto]:
    empty = True
    for photo in photos:
        empty = False
        yield photo
    if empty and notice is not None:
        notice(f"{path} holds no photos; put each person's photos in a folder of their own")


def _of(person: str, path: Path) -> NamedPhoto:
    return NamedPhoto(person, f"{person}/{path.stem}", str(path), lambda: images.read_bytes(path))
