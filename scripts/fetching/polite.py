"""Fetch many links at a time: few requests to one host at once, none while the host asks for a pause."""

from __future__ import annotations

import heapq
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from scripts.fetching.transfer import Failure, Limits, host_of

L = TypeVar("L")
R = TypeVar("R")


@dataclass
class _Host(Generic[L]):
    waiting: deque[tuple[L, int]] = field(default_factory=deque)  # links and the number of the next try
    opens: float = 0.0  # monotonic time before which no request is sent
    failures: int = 0  # in a row


class _Crew(Generic[L, R]):
    """Threads that share lanes. A lane carries one request at a time to its host, and a host has `per_host` lanes."""

    def __init__(self, links: Sequence[L], url_of: Callable[[L], str], work: Callable[[L], R], limits: Limits) -> None:
        self._work, self._limits = work, limits
        self.results: queue.Queue[tuple[L, R | BaseException]] = queue.Queue()
        hosts: dict[str, _Host[L]] = {}
        for link in links:
            hosts.setdefault(host_of(url_of(link)), _Host()).waiting.append((link, 1))
        # (time when the lane is free, number, host). The number makes the order of hosts fair and unambiguous.
        lanes = [host for turn in range(limits.per_host) for host in hosts.values() if len(host.waiting) > turn]
        self._lanes = [(0.0, number, host) for number, host in enumerate(lanes)]
        self._number = len(lanes)
        self._changed = threading.Condition()
        self._busy = 0
        self._stopped = False
        for _ in range(min(limits.workers, len(lanes))):
            threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            host, link, attempt = taken
            result: R | BaseException
            try:
                result = self._work(link)
            except BaseException as error:
                result = error
            self._give_back(host, link, attempt, result)

    def _take(self) -> tuple[_Host[L], L, int] | None:
        with self._changed:
            while not self._stopped and (self._lanes or self._busy):
                now = time.monotonic()
                if not self._lanes or self._lanes[0][0] > now:
                    self._changed.wait(self._lanes[0][0] - now if self._lanes else None)
                    continue
                _, number, host = heapq.heappop(self._lanes)
                if not host.waiting:
                    continue  # drop a lane without work; a link that is tried again keeps its lane
                if host.opens > now:
                    heapq.heappush(self._lanes, (host.opens, number, host))
                    continue
                self._busy += 1
                return host, *host.waiting.popleft()
            self._changed.notify_all()
            return None

    def _give_back(self, host: _Host[L], link: L, attempt: int, result: R | BaseException) -> None:
        with self._changed:
            free = time.monotonic() + self._limits.pause
            again = isinstance(result, Failure) and result.kind == "again" and attempt < self._limits.tries
            if isinstance(result, Failure) and result.wait is not None:
                host.opens = max(host.opens, time.monotonic() + result.wait)
                if result.wait > self._limits.longest_wait:
                    again, host.failures = False, self._limits.host_failures
            if again:
                # Exponential backoff with random jitter, so that lanes do not all try again at once.
                free += self._limits.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)
                host.waiting.appendleft((link, attempt + 1))
            else:
                self.results.put((link, result))
                lost = isinstance(result, Failure) and result.kind != "dead"
                host.failures = host.failures + 1 if lost else 0
                if host.failures >= self._limits.host_failures:
                    while host.waiting:
                        self.results.put((host.waiting.popleft()[0], Failure("later", "host given up")))
            self._busy -= 1
            self._number += 1
            heapq.heappush(self._lanes, (free, self._number, host))
            self._changed.notify_all()


def in_parallel(
    links: Sequence[L], url_of: Callable[[L], str], work: Callable[[L], R], limits: Limits
) -> Iterator[tuple[L, R | Failure]]:
    """Call `work` on every link, in threads. Yield (link, result or Failure) as soon as each is known, in any order.

    A Failure of kind "again" is tried again. Any other exception of `work` ends the iteration and is raised here.
    """
    crew = _Crew(links, url_of, work, limits)
    try:
        for _ in range(len(links)):
            while True:
                try:
                    link, result = crew.results.get(timeout=0.5)  # without a time-out, Windows ignores Ctrl-C
                    break
                except queue.Empty:
                    continue
            if isinstance(result, BaseException) and not isinstance(result, Failure):
                raise result
            yield link, result
    finally:
        crew.stop()


def persist(work: Callable[[], R], limits: Limits) -> R:
    """Call `work` alone, and again after a Failure as in `in_parallel`. Raises Failure, DiskError, MissingExtra."""
    ((_, result),) = in_parallel([None], lambda _: "", lambda _: work(), limits)
    if isinstance(result, Failure):
        raise result
    return result
