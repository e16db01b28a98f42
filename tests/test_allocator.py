"""Memory that stays with the process: counted by the pages that had to be cleared."""

from __future__ import annotations

import subprocess
import sys

import pytest

_COUNT = """
import resource
import numpy as np
from facedex.training.allocator import kept_memory

def faults(times=20, size=8 << 20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        maps = [np.empty(size, np.uint8) for _ in range(4)]
        for one in maps:
            one.fill(1)
        del maps, one
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
with kept_memory() as kept:
    faults(2)  # the first time they have to come from somewhere
    within = faults()
print(kept, before, within, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings; elsewhere nothing is changed")
def test_within_no_page_is_asked_for_twice_and_afterwards_all_is_as_it_was() -> None:
    told = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True).stdout.split()
    if told[0] != "True":
        pytest.skip("the C library is not glibc")
    before, within, after = map(int, told[1:])
    assert within * 20 < before
    assert within * 20 < after
