"""Worker threads for photos, and resources such as OpenCV networks that only one thread at a time can use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from facedex.opencv import cv2

_MAX_WORKERS = 8  # each worker holds the pixels of a photo and networks of its own

T = TypeVar("T")


class ResourcePool(Generic[T]):
    """Lends resources to threads, and lends a returned resource again. Threads may share the pool.

    It makes no more resources than there are workers, since a network may take a hundred megabytes. A further thread
    waits for a returned resource.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        """Make the first resource at once, so that errors of `make` are raised here."""
        self._make = make
        self._free = [make()]
        self._places = threading.BoundedSemaphore(workers())

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """Lend a resource to this thread alone until the context ends. Raises the errors of `make`."""
        with self._places:
            try:
                resource = self._free.pop()
            except IndexError:
                resource = self._make()
            try:
                yield resource
            finally:
                self._free.append(resource)


def use_workers(number: int | None) -> None:
    """Set how many photos are processed at once from now on, at least 1; None leaves it to the number of cores."""
    global _asked_workers
    _asked_workers = number


def workers() -> int:
    """Return how many photos are processed at once.

    That is one for each core of this process, at least 2 and at most 8, unless `use_workers` set another number.
    """
    if _asked_workers is not None:
        return _asked_workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(cores, _MAX_WORKERS))


@contextmanager
def side_by_side(more: int = 0) -> Iterator[Executor]:
    """Give an executor with `workers()` threads, and `more` besides. At the end, tasks that have not begun are dropped.

    Meanwhile OpenCV uses one thread for each task. OpenCV's own threads belong to the whole process, and would take
    cores from the other tasks. The detector's layers are too small for threads: two threads take as long as one thread,
    and occupy both cores.
    """
    global _users, _opencv_threads
    with _lock:
        if not _users:
            _opencv_threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _users += 1
    pool = ThreadPoolExecutor(workers() + more)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        with _lock:
            _users -= 1
            if not _users:
                cv2.setNumThreads(_opencv_threads)


_asked_workers: int | None = None
_lock = threading.Lock()
_users = 0  # open contexts of side_by_side
_opencv_threads = 0  # OpenCV's number of threads before the first of them


@contextmanager
def quiet() -> Iterator[None]:
    """Silence OpenCV's log while it opens a file, because facedex's own error names the fault in one sentence."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
