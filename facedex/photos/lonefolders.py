"""Lone folders: the folders of a pack or folder that hold all of its photos (`zip -r database.zip database`).

The last of them may be the folder of one person, or hold people itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import PurePosixPath
from typing import TypeVar

from facedex.photos.cameranames import is_camera_name

_PHOTO_NUMBER = re.compile(r"_\d{4}$")

Parts = tuple[str, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class LoneFolders:
    """The folders around all photos.

    `folders`: their names from the top. `person`: the position of the one that may be a person's: the last whose name
    is no date or number. `may_hold_people`: whether the last one may hold people, because there are several names in
    it, and none is a camera's. `holds_people`: whether that is likely, because there are folders in it, or several
    photos of one name.
    """

    folders: Parts = ()
    person: int = 0
    may_hold_people: bool = False
    holds_people: bool = False


def first_name(parts: Parts) -> str:
    """The first folder of a photo's path, or else the file's stem without a last _0001."""
    return parts[0] if len(parts) > 1 else _PHOTO_NUMBER.sub("", PurePosixPath(parts[0]).stem)


def has_camera_name(parts: Parts) -> bool:
    """Whether a photo would be named after its file, and a camera gave the file its name."""
    return len(parts) == 1 and is_camera_name(PurePosixPath(parts[0]).stem)


def find_lone_folders(photos: Iterator[T], parts_of: Callable[[T], Parts]) -> tuple[LoneFolders, Iterator[T]]:
    """The lone folders of these photos, and the same photos again. `parts_of` gives a photo's path.

    It draws photos until two of them have no folder in common. An error of `photos` is raised again after the photos
    before it.
    """
    drawn: list[T] = []
    common: Parts | None = None
    try:
        for photo in photos:
            drawn.append(photo)
            folders = parts_of(photo)[:-1]
            common = folders if common is None else _common(common, folders)
            if not common:
                return LoneFolders(), chain(drawn, photos)
    except Exception as error:
        return _judged(common or (), [parts_of(photo) for photo in drawn]), chain(drawn, _raising(error))
    return _judged(common or (), [parts_of(photo) for photo in drawn]), iter(drawn)


def _judged(common: Parts, paths: list[Parts]) -> LoneFolders:
    if not common:
        return LoneFolders()
    named = [position for position, folder in enumerate(common) if not is_camera_name(folder)]
    below = [parts[len(common) :] for parts in paths]
    names = {first_name(parts) for parts in below}
    may = len(names) > 1 and not any(map(has_camera_name, below))
    likely = may and (len(names) < len(below) or any(len(parts) > 1 for parts in below))
    return LoneFolders(common, named[-1] if named else 0, may, likely)


def _common(a: Parts, b: Parts) -> Parts:
    """The parts that both begin with."""
    return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _raising(error: Exception) -> Iterator[T]:
    """No photos, then the error."""
    raise error
    yield
