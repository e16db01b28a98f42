"""Threads for the work of requests: so many at a time, so many waiting, and no more."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from facedex.errors import ServerBusy

T = TypeVar("T")

_LONGEST_WAIT = 60  # seconds that a client is told to wait at most


class Lane:
    """Runs work on threads of its own. What would wait too long is refused at once."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self.name, self.threads, self._most = name, threads, threads + waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"facedex-{name}")
        self.inside = 0  # pieces of work that run or wait
        self._seconds = 0.5  # that a piece takes, the mean of the last few

    async def run(self, work: Callable[[], T]) -> T:
        """Run work on a thread. Raises ServerBusy when too much waits, and what the work raises.

        Work that has begun is finished, even where nobody waits for it any more.
        """
        if self.inside >= self._most:
            seconds = math.ceil(self.inside * self._seconds / self.threads)
            raise ServerBusy(
                f"{self.inside} requests wait already; try again in a few seconds", min(max(1, seconds), _LONGEST_WAIT)
            )
        self.inside += 1
        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work)
        except RuntimeError:
            self.inside -= 1
            raise ServerBusy("The server is stopping; try again when it runs") from None
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _timed(self, work: Callable[[], T]) -> T:
        begun = time.monotonic()
        try:
            return work()
        finally:
            self._seconds += (time.monotonic() - begun - self._seconds) / 8

    def _done(self, future: asyncio.Future[T]) -> None:
        self.inside -= 1
        if not future.cancelled():
            future.exception()  # else asyncio logs the error of work that nobody waits for any more

    def close(self) -> None:
        """Finish the work that has begun, and drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)
