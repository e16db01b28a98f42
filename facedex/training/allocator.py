"""Memory that stays with the process while it trains."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's mallopt(3): what each setting is called by, what it is while training, and what it is by default.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = (-1, 2**31 - 1, 128 << 10), (-2, 64 << 20, 128 << 10), (-4, 0, 65536)


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Within, freed memory is not given back to the system; whether that could be had (Linux with glibc).

    A step frees and asks again for hundreds of maps of some megabytes, which glibc hands back to the system each time:
    every page of the next one is then cleared anew, a tenth to a fifth of a step on a CPU. The settings are the process's,
    all its threads included; at the end they are glibc's own again and what is free goes back.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "gnu_get_libc_version"):
        yield False
        return
    settings = (_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX)
    taken = [libc.mallopt(name, kept) for name, kept, _ in settings]
    try:
        yield all(taken)
    finally:
        for name, _, default in settings:
            libc.mallopt(name, default)
        libc.malloc_trim(ctypes.c_size_t(0))
