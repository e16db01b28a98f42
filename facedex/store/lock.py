"""The lock that only one process holds while it writes to a gallery."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from facedex.errors import GalleryBusy, GalleryError

BUSY_SECONDS = 10.0  # a change waits so long for another writer

LOCK_FILE = "writer.lock"
TURN_FILE = "writer.turn"  # locked by the next writer while it waits
HOLDER_FILE = "writer.txt"  # names the holder; not in the lock file, which a process that tries the lock may empty

_POLL = 0.01  # seconds between two looks whether a lock is free


@contextmanager
def writing(folder: Path, wait: float | None = None) -> Iterator[None]:
    """Hold a gallery's write lock. The system releases it when the process dies.

    A process that writes again and again lets the others in between: whoever waits holds a second lock, the turn, and
    every writer that may wait takes the turn first.
    Raises GalleryBusy, which names the holder, when the lock is not free within `wait` seconds (default: BUSY_SECONDS).
    Raises GalleryError when the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # here, so that a mere look-up does not import it

    lock = FileLock(str(folder / LOCK_FILE), mode=0o600)
    wait = BUSY_SECONDS if wait is None else wait
    end = time.monotonic() + wait
    try:
        with ExitStack() as stack:
            if wait > 0:
                turn = FileLock(str(folder / TURN_FILE), mode=0o600)
                stack.enter_context(turn.acquire(timeout=wait, poll_interval=_POLL))
            lock.acquire(timeout=max(0.0, end - time.monotonic()), poll_interval=_POLL)
    except Timeout:
        raise GalleryBusy(f"{_holder(folder)} is writing to {folder}; try again when it is done") from None
    except OSError as error:
        raise GalleryError(f"{folder} cannot be written ({error.strerror}); check its permissions") from None
    try:
        for unfinished in folder.glob(".*.new"):  # files of writers that were killed
            with suppress(OSError):  # it may be a folder, or on Windows a file that another process has open
                unfinished.unlink()
        with suppress(OSError):  # the holder's name is a courtesy: writing goes on without it on a full disk
            _write_holder(folder / HOLDER_FILE)
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER_FILE).unlink()
        lock.release()


def _write_holder(path: Path) -> None:
    text = f"Process {os.getpid()} on {socket.gethostname()}, since {datetime.now(timezone.utc):%H:%M:%S} UTC,"
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _holder(folder: Path) -> str:
    """The process that holds the lock; "Another process" where it left no name."""
    try:
        return (folder / HOLDER_FILE).read_text("utf-8", "replace").strip() or "Another process"
    except OSError:
        return "Another process"
