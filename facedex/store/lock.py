"""The one writer's place of a gallery: who has it, and how long another waits."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from facedex.errors import GalleryBusy, GalleryError

LOCK_FILE = "writer.lock"
HOLDER_FILE = "writer.txt"  # beside the lock, which itself may be emptied by whoever tries it


@contextmanager
def writing(folder: Path, wait: float) -> Iterator[None]:
    """Hold the writer's place in a folder; the system gives it back when the process dies.

    Raises GalleryBusy, naming the holder, when it is not free within `wait` seconds.
    """
    from filelock import FileLock, Timeout  # not where a gallery is only read

    lock = FileLock(str(folder / LOCK_FILE), mode=0o600)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise GalleryBusy(f"{_holder(folder)} is writing to {folder}; try again when it is done") from None
    except OSError as error:
        raise GalleryError(f"{folder} cannot be written ({error.strerror}); check its permissions") from None
    try:
        for left in folder.glob(".*.new"):  # of writers that were killed
            with suppress(OSError):  # a folder, or on Windows somebody's open file, stops nobody
                left.unlink()
        with suppress(OSError):  # only a courtesy: a full disk stops nobody here
            _sign(folder / HOLDER_FILE)
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER_FILE).unlink()
        lock.release()


def _sign(path: Path) -> None:
    text = f"Process {os.getpid()} on {socket.gethostname()}, since {datetime.now(timezone.utc):%H:%M:%S} UTC,"
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _holder(folder: Path) -> str:
    """Who said to be writing; "Another process" where nobody did."""
    try:
        return (folder / HOLDER_FILE).read_text("utf-8", "replace").strip() or "Another process"
    except OSError:
        return "Another process"
