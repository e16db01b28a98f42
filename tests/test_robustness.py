"""Seeded samples of the harnesses in tests/stress: crashes, damaged files and concurrent processes."""

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
    """Run a harness of tests/stress. Return its exit code and its output."""
    command = [sys.executable, "-m", f"tests.stress.{name}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_writer_killed_at_any_step_loses_nothing_that_was_acknowledged():
    code, output = stress("crash", "--runs", 27, "--seed", 5)
    assert code == 0, output
    at_steps = sum(int(row.split()[-5]) for row in output.splitlines() if re.search(r"(\d+ +){4}\d+$", row))
    assert at_steps > 10, output  # most runs were killed


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_scan_killed_at_any_step_loses_nothing_and_keeps_nothing_twice():
    code, output = stress("scan_kills", "--runs", 6, "--photos", 8, "--seed", 3)
    assert code == 0, output
    at_steps, at_random = (int(re.search(rf"(\d+) {how}", output)[1]) for how in ("at a step", "at random"))
    assert at_steps >= 2, output
    assert at_steps + at_random >= 4, output


@pytest.mark.slow
def test_damaged_files_are_noticed_or_have_no_effect():
    code, output = stress("tamper", "--runs", 250, "--seed", 5)
    assert code == 0, output
    assert int(re.search(r"(\d+) noticed", output)[1]) > 30, output
    assert int(re.search(r"(\d+) rebuilt", output)[1]) > 10, output


@pytest.mark.slow
def test_concurrent_writers_and_readers_lose_nothing_and_see_no_half_change():
    code, output = stress("concurrency", "--seconds", 5, "--writers", 2, "--readers", 2)
    assert code == 0, output
    assert int(re.search(r"(\d+) enroll", output)[1]) > 0, output
    assert int(re.search(r"(\d+) queries", output)[1]) > 5, output


def test_the_harness_notices_a_gallery_that_forgets(monkeypatch):
    """The crash harness finds an acknowledgement that comes before its commit."""
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


def test_the_harness_of_scans_notices_a_scan_that_forgets():
    """It finds results that are yielded before their photos are stored."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork and SIGKILL")
    code = """
import sys
from tests.stress import scan_kills
from facedex.store.library_tables import LibraryTables
save = LibraryTables.save
def late(self, files, *others):  # every batch is stored with the next one
    held, LibraryTables.held = getattr(LibraryTables, "held", []), list(files)
    return save(self, held, *others)
def run_scan(work, last, record, print_line):
    LibraryTables.save = late
    kept(work, last, record, print_line)
kept, scan_kills.run_scan = scan_kills.run_scan, run_scan
sys.argv = ["scan_kills.py", "--runs", "3", "--photos", "8"]
scan_kills.main()
"""
    process = python(code)
    out, errors = process.communicate()
    assert process.returncode == 1, out + errors
    assert "is lost" in out or "other" in out or "state" in out, out + errors


def test_a_writer_that_waits_too_long_is_told_who_writes(tmp_path):
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


def needs_the_server():
    for package in ("fastapi", "uvicorn", "python_multipart", "httpx"):
        pytest.importorskip(package, reason=f"needs {package}, of the extras web and dev")


@pytest.mark.slow
def test_damaged_uploads_are_answered_by_the_table_of_errors_alone():
    needs_the_server()
    code, output = stress("http_uploads", "--requests", 150, "--seed", 5)
    assert code == 0, output
    assert int(re.search(r"(\d+) of 400", output)[1]) > 20, output
    assert int(re.search(r"(\d+) of 422", output)[1]) > 20, output


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize(("sent", "runs"), [("KILL", 5), ("TERM", 3)])
def test_a_server_that_is_stopped_has_kept_what_it_acknowledged(sent, runs):
    needs_the_server()
    code, output = stress("http_crash", "--runs", runs, "--signal", sent, "--seed", 5)
    assert code == 0, output
    assert int(re.search(r"(\d+) acknowledged", output)[1]) >= runs, output
    if sent == "KILL":
        assert int(re.search(r"(\d+) unanswered", output)[1]) > 0, output
