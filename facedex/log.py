"""The log of facedex, by Python's logging under the name `facedex`: silent until a program configures it.

WARNING: a photo was skipped, a gallery was damaged. INFO: a model or an index was opened or built, a step took long.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LONG = 1.0  # seconds from which on a step is worth a line

logging.getLogger("facedex").addHandler(logging.NullHandler())  # else Python prints warnings on stderr


def logger(module: str) -> logging.Logger:
    """The log of a module, given by its full name."""
    return logging.getLogger(module)


@contextmanager
def timed(log: logging.Logger, step: str, *values: object, level: int = logging.DEBUG) -> Iterator[None]:
    """Log a step with its seconds once it is done. Its level is `level`, and at least INFO from one second on."""
    begun = time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    log.log(max(level, logging.INFO) if seconds >= _LONG else level, f"{step} in %.2f s", *values, seconds)
