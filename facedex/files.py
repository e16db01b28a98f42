"""Writes files whole or not at all, and makes folders that are private or safely on disk."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")


def make_private(folder: Path, work: str = "") -> None:
    """Make a folder that only its owner can open. Raises OSError.

    A folder that holds anything but a folder named `work` keeps its permissions. The files of a gallery are private by
    themselves.
    """
    make_folder(folder)
    if os.name == "posix" and all(path.name == work for path in folder.iterdir()):
        folder.chmod(0o700)


def replace_file(path: Path, data: bytes, private: bool = False) -> None:
    """Write a file as `replacing` does. Raises OSError."""
    with replacing(path, private) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, private: bool = False) -> Iterator[BinaryIO]:
    """Write a file so that a crash or an error leaves the old or the new content, and nothing else. Raises OSError.

    The data goes to a temporary file, which is flushed to disk and then renamed. A `private` file can be read only by
    its owner from the first byte on.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=0o600 if private else 0o666)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        patiently(partial(os.replace, temporary, path))
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


def patiently(use: Callable[[], T]) -> T:
    """Use a file. On Windows, try for two seconds while another process has the file open or replaces it."""
    for _ in range(19):
        try:
            return use()
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(0.1)
    return use()


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, and flush them to disk. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to disk. Until then a crash may lose a new or replaced name. Raises OSError."""
    if os.name != "posix":  # Windows cannot open folders, and its file systems keep a journal of names
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to but not listed cannot be flushed alone
        os.sync()
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # raised by file systems that only flush files
            raise
        os.sync()
    finally:
        os.close(descriptor)
