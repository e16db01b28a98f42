"""Worker threads for photos, and resources such as OpenCV networks that only one thread at a time can use."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from facedex.opencv import cv2

PIXELS_AT_ONCE = 100_000_000  # of photos that are decoded and searched at once. Each takes up to seven bytes
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


class Budget:
    """Lends parts of a limited amount to threads, in the order in which they ask."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._asking: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Wait for an amount, and return it when the context ends. Whoever asks for more than the total gets all."""
        amount, place = min(amount, self._total), object()
        with self._changed:
            self._asking.append(place)
            # A thread that asks for much would wait for ever if others that ask for less went first.
            self._changed.wait_for(lambda: self._asking[0] is place and amount <= self._free)
            self._asking.popleft()
            self._free -= amount
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


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
