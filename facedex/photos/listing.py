"""Finds the photo files below a folder, and tells them from what systems and programs leave there.

Folders and packs of people, and folders to identify, follow the same rules.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from facedex.errors import PhotoUnreadable
from facedex.photos.formats import RAW_SUFFIXES, SUFFIXES, has_known_magic

# What storage boxes, systems and programs put beside photos, in lower case.
_LEFTOVERS = frozenset(
    (
        "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "recycler",
        "system volume information", "lost+found", "__macosx", "thumbs", "thumbs.db", "ehthumbs.db", "desktop.ini",
    )
)  # fmt: skip


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name holds no photos of people: thumbnails, a bin, or a hidden file."""
    return name.startswith(".") or name.casefold() in _LEFTOVERS


def developed(names: Iterable[str]) -> frozenset[str]:
    """The paths without suffix, in lower case, of photos that are no raw files. `doubles` takes them."""
    return frozenset(_without_suffix(name) for name in names if name.lower().endswith(SUFFIXES))


def doubles(name: str, photos: frozenset[str]) -> bool:
    """Whether a path is the raw file of one of these photos, as cameras write both for one shot."""
    return name.lower().endswith(RAW_SUFFIXES) and _without_suffix(name) in photos


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).casefold()


def find_photos(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the photos below a folder, sorted by name within each folder.

    A file is a photo when its suffix or its first bytes are a picture's. What `is_leftover` knows is left out, and so
    are pipes, sockets and devices, and a raw file beside a photo of the same name. Links are followed, and a folder
    that links lead to twice is walked once. A folder below that cannot be listed is yielded in place of its photos, so
    that it is skipped like a bad photo. Raises PhotoUnreadable where the folder itself cannot be listed.
    """
    top = Path(folder)
    seen: set[tuple[int, int]] = set()

    def walk(directory: Path) -> Iterator[Path]:
        try:
            status = directory.stat()
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as error:
            if directory != top:
                yield directory
                return
            raise PhotoUnreadable(f"{directory} cannot be listed ({error.strerror}); check the folder") from None
        if (status.st_dev, status.st_ino) in seen and status.st_ino:
            return
        seen.add((status.st_dev, status.st_ino))
        photos = developed(entry.name for entry in entries)
        for entry in entries:
            path = directory / entry.name
            if is_leftover(entry.name) or doubles(entry.name, photos):
                continue
            if _is_folder(entry):
                yield from walk(path)
            elif _is_photo(entry, path):
                yield path

    yield from walk(top)


def is_gone(path: str | os.PathLike[str]) -> bool:
    """Whether nothing is at a path. What may not be looked at counts as there, so that nothing is deleted for it."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a NUL in the path raises ValueError
        return True
    except OSError:
        return False
    return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or a path too long
        return False


def _is_photo(entry: os.DirEntry[str], path: Path) -> bool:
    named = path.suffix.lower() in (*SUFFIXES, *RAW_SUFFIXES)
    try:
        if entry.is_file():
            return named or _starts_like_picture(path)
        return named and not os.path.exists(path)  # reading a link to nothing will say so
    except OSError:
        return named


def _starts_like_picture(path: Path) -> bool:
    """Whether a file's first bytes are a picture's. A file that cannot be read counts as no picture."""
    try:
        with open(path, "rb") as file:
            return has_known_magic(file.read(32))
    except OSError:
        return False
