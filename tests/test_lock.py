"""The write lock of a gallery: who waits for it gets it, whoever else writes."""

import threading
import time

import pytest

from facedex.errors import GalleryBusy, PersonNotFound
from facedex.store.lock import writing
from tests.helpers import gallery, people, python, unit

WRITES_WITHOUT_END = """
import sys, time
from pathlib import Path
from facedex.store.lock import writing
folder = Path(sys.argv[1])
print("begun", flush=True)
while True:
    with writing(folder, 60):
        time.sleep(0.05)
        with open(folder / "writes", "ab") as file:
            file.write(b".")
"""


def test_a_process_that_writes_without_end_keeps_no_other_out(tmp_path):
    process = python(WRITES_WITHOUT_END, tmp_path)
    try:
        assert process.stdout.readline() == "begun\n"
        size, between = (tmp_path / "writes").stat, []
        while not (tmp_path / "writes").exists():
            time.sleep(0.01)
        for _ in range(20):
            before = size().st_size
            with writing(tmp_path, 10):
                between.append(size().st_size - before)
            time.sleep(0.1)  # so that the other one writes again
        assert max(between[1:]) <= 3, between  # the first one imports filelock
    finally:
        process.kill()
        process.communicate()


def test_whoever_waits_in_vain_holds_nothing_afterwards(tmp_path):
    with writing(tmp_path, 1), pytest.raises(GalleryBusy), writing(tmp_path, 0.1):
        pass
    with writing(tmp_path, 0):
        pass
    with writing(tmp_path, 0.1):
        pass


def test_a_thread_that_is_alone_changes_and_no_other_does(tmp_path, monkeypatch):
    vectors = unit(3)
    with gallery(tmp_path / "g", people(vectors)) as opened:
        order, other = [], threading.Thread(target=lambda: (opened.rename("person0002", "Cy"), order.append("other")))
        with opened.alone(), opened.alone():
            other.start()
            opened.rename("person0000", "Ada")
            opened.merge("person0001", "Ada")
            time.sleep(0.5)
            order.append("this")
        other.join()
        assert order == ["this", "other"]
        assert [person.name for person in opened.people()] == ["Ada", "Cy"]
        with pytest.raises(PersonNotFound), opened.alone():
            opened.rename("nobody", "Eve")
        monkeypatch.setattr("facedex.store.lock.BUSY_SECONDS", 0.1)
        with writing(tmp_path / "g", 0.1), pytest.raises(GalleryBusy):
            opened.rename("Ada", "Eve")
