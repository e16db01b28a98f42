"""Crashes, tampering, concurrency: a seeded sample of the harnesses in tests/stress."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facedex.errors import GalleryBusy
from facedex.store.lock import writing
from tests.helpers import gallery, people, python, unit

ROOT = Path(__file__).parent.parent


def stress(name, *arguments):
    """Run a harness of tests/stress; its exit code and what it said."""
    command = [sys.executable, "-m", f"tests.stress.{name}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_writer_killed_at_any_step_loses_nothing_that_was_acknowledged():
    code, said = stress("crash", "--runs", 27, "--seed", 5)
    assert code == 0, said
    at_steps = sum(int(row.split()[-5]) for row in said.splitlines() if re.search(r"(\d+ +){4}\d+$", row))
    assert at_steps > 10, said  # they were killed, most of them


@pytest.mark.slow
def test_what_was_changed_behind_our_back_is_noticed_or_without_effect():
    code, said = stress("tamper", "--runs", 250, "--seed", 5)
    assert code == 0, said
    assert int(re.search(r"(\d+) noticed", said)[1]) > 30, said
    assert int(re.search(r"(\d+) rebuilt", said)[1]) > 10, said


@pytest.mark.slow
def test_writers_and_readers_at_once_lose_and_tear_nothing():
    code, said = stress("concurrency", "--seconds", 5, "--writers", 2, "--readers", 2)
    assert code == 0, said
    assert int(re.search(r"(\d+) enroll", said)[1]) > 0, said
    assert int(re.search(r"(\d+) queries", said)[1]) > 5, said


def test_the_harness_notices_a_gallery_that_forgets(monkeypatch):
    """An acknowledgement before the commit, and an index that is not rewritten, would be found."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork and SIGKILL")
    code = """
import sys
from tests.stress import crash
from facedex.store.store import Store
add = Store.add
def late(self, records):  # every batch is committed with the next one
    held, self.late = getattr(self, "late", []), list(records)
    return add(self, held)
Store.add = late
sys.argv = ["crash.py", "--runs", "12", "--only", "enroll"]
crash.main()
"""
    process = python(code)
    out, errors = process.communicate()
    assert process.returncode == 1, out + errors


def test_who_waits_too_long_is_told_who_writes(tmp_path):
    gallery(tmp_path / "g", people(unit(2))).close()
    code = """
import sys, time
from pathlib import Path
from facedex.store.lock import writing
with writing(Path(sys.argv[1]), 0):
    print("held", flush=True)
    time.sleep(60)
"""
    process = python(code, tmp_path / "g")
    assert process.stdout.readline() == "held\n"
    with (
        pytest.raises(GalleryBusy, match=rf"Process {process.pid} on .+ since .+ is writing .* try again"),
        writing(tmp_path / "g", 0.1),
    ):
        pass
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.communicate()
    with writing(tmp_path / "g", 0.1):  # a dead writer holds nothing
        pass
    assert not (tmp_path / "g" / "writer.txt").exists()
