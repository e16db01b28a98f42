"""What one thread at a time can use, such as a network of OpenCV's: as many of it as threads ask at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

import cv2

_MOST_WORKERS = 8  # each holds a photo's pixels and networks of its own

T = TypeVar("T")


class Stock(Generic[T]):
    """Lends what `make` makes; what came back is lent again. Safe for threads.

    No more are made than there are workers, since a network may take a hundred megabytes. Who comes then waits.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        """Makes the first at once, so that whatever is wrong shows here."""
        self._make, self._free = make, [make()]
        self._places = threading.BoundedSemaphore(workers())

    @contextmanager
    def one(self) -> Iterator[T]:
        """One of them, for this thread alone."""
        with self._places:
            try:
                lent = self._free.pop()
            except IndexError:
                lent = self._make()
            try:
                yield lent
            finally:
                self._free.append(lent)


def workers() -> int:
    """How many photos are worked at side by side: one a core that this process may use, two at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(cores, _MOST_WORKERS))


@contextmanager
def side_by_side(more: int = 0) -> Iterator[Executor]:
    """Threads for as many photos as are worked at side by side, and `more`. What has not begun in the end is dropped:
    the caller may have had enough.

    Each photo is worked at on one thread: OpenCV's own threads, which are set for the whole process, would only take the
    cores from each other. The detector's layers are too small for them in any case: two threads take as long as one, and
    both cores.
    """
    with _switch:
        if not _inside:
            _inside.append(cv2.getNumThreads())
            cv2.setNumThreads(1)
        else:
            _inside.append(_inside[-1])
    pool = ThreadPoolExecutor(workers() + more)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        with _switch:
            before = _inside.pop()
            if not _inside:
                cv2.setNumThreads(before)


_switch = threading.Lock()
_inside: list[int] = []  # an entry for everybody inside, each the number of threads before the first came


@contextmanager
def quiet() -> Iterator[None]:
    """Without OpenCV's own lines about what it cannot take: our error says that in a sentence."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
