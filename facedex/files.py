"""Files and folders on disk: written whole or not at all, private where they hold people."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def make_private(folder: Path, work: str = "") -> None:
    """Make a folder that is its owner's alone. One that holds something already, beside a folder to `work` in, stays as
    open as it is: a gallery's files are their owner's by themselves. Raises OSError.
    """
    make_folder(folder)
    if os.name == "posix" and all(path.name == work for path in folder.iterdir()):
        folder.chmod(0o700)


def replace_file(path: Path, data: bytes, private: bool = False) -> None:
    """Write a file under another name, flush it to disk, then rename, patiently: it is whole or not there. A `private`
    one is its owner's alone from the first byte on.

    Raises OSError.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=0o600 if private else 0o666)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        patiently(partial(os.replace, temporary, path))
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


def patiently(use: Callable[[], T]) -> T:
    """Use a file, on Windows again for two seconds while another process has it open, or puts another in its place."""
    for _ in range(19):
        try:
            return use()
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(0.1)
    return use()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, as far as they are missing, for certain. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not os.path.exists(one)]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        flush_folder(one.parent)


def flush_folder(folder: Path) -> None:
    """Bring a folder's list of names to disk: a new or replaced name is not there for certain before. Raises OSError."""
    if os.name != "posix":  # Windows opens no folders; its file systems keep a log of names
        return
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one that may be written to but not listed, which cannot be flushed by itself
        os.sync()
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that flush files only
            raise
        os.sync()
    finally:
        os.close(opened)
