"""One open gallery in several threads and in forked processes, while another process writes."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from facedex.errors import GalleryError
from facedex.store.store import FILE
from tests.helpers import drawn_face, forked, gallery, near, people, python, record, unit

VECTORS = unit(200)
PROBES = [near(vector, seed, 0.1) for seed, vector in enumerate(VECTORS)]


@pytest.fixture
def opened(tmp_path):
    with gallery(tmp_path / "g", people(VECTORS)) as it:
        yield it


def name_of(shared, number):
    """The name that the gallery gives to the probe with this number."""
    return shared.match(PROBES[number], 3)[0].name


def open_files(folder):
    """How many of this process's file descriptors are of the gallery's database."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    links = (Path("/proc/self/fd") / fd for fd in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link) == str(folder / FILE) for link in links if os.path.lexists(link))


WRITE = """
import sys
from pathlib import Path
from facedex.gallery.gallery import Gallery
from tests.helpers import people, unit

with Gallery(Path(sys.argv[1])) as opened:
    print("open", flush=True)
    for number in range(40):
        opened.add_faces(people(unit(5, seed=1000 + number), f"late{number}-"))
        if number % 10 == 9:
            opened.remove(f"late{number}-0000")
print("done")
"""


def test_eight_threads_look_up_while_another_process_writes(opened):
    process = python(WRITE, opened.folder)
    assert process.stdout.readline() == "open\n"
    answered = [0] * 8

    def look(thread):
        while process.poll() is None or answered[thread] < 20:
            number = (7 * answered[thread] + 25 * thread) % len(VECTORS)
            assert name_of(opened, number) == f"person{number:04d}"
            assert opened.threshold(0.01) > -100
            assert len(opened) >= len(VECTORS)
            answered[thread] += 1

    with ThreadPoolExecutor(8) as pool:
        for result in [pool.submit(look, thread) for thread in range(8)]:
            result.result()
    said, errors = process.communicate()
    assert (said, process.returncode) == ("done\n", 0), errors
    assert min(answered) >= 20
    assert len(opened) == len(VECTORS) + 40 * 5 - 4


def test_threads_of_one_gallery_write_one_after_another(opened):
    def add(number):
        return opened.add_faces(people(unit(3, seed=50 + number), f"new{number}-"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(add, range(16))) == [3] * 16
    assert opened.faces == len(VECTORS) + 48


def test_closing_closes_the_connections_of_all_threads(opened):
    started = threading.Barrier(5)

    def look(number):
        name_of(opened, number)
        started.wait()  # so that every thread has a connection of its own
        return open_files(opened.folder)

    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(look, number) for number in range(4)]
        started.wait()
        assert all(each.result() >= 4 for each in looks)
        opened.close()
        assert open_files(opened.folder) == 0
        with pytest.raises(GalleryError, match="is closed; open it again"):
            pool.submit(name_of, opened, 0).result()
    opened.close()


def test_a_thread_that_ended_leaves_no_connection_open(opened):
    for number in range(20):
        thread = threading.Thread(target=name_of, args=(opened, number))
        thread.start()
        thread.join()
    assert open_files(opened.folder) <= 2


def test_threads_load_the_networks_once(opened):
    with ThreadPoolExecutor(4) as pool:
        readers = set(pool.map(lambda _: id(opened.reader()), range(4)))
    assert len(readers) == 1


def test_a_search_under_way_is_not_disturbed_by_newer_faces(opened):
    name_of(opened, 0)
    former = opened._lookup._projection
    count, last = len(former), former.last_id
    opened.add_faces([record("Newer", unit(1, seed=9)[0])])
    assert opened.match(unit(1, seed=9)[0], 1)[0].name == "Newer"
    assert (len(former), former.last_id) == (count, last)
    assert last not in former.search(opened.head.project(PROBES[0][None])[0], 500).rows[count:]


def test_a_forked_process_has_connections_of_its_own(opened):
    """The child goes on where the parent closes the gallery, and nothing of either is lost."""
    name_of(opened, 0)
    files, (said, heard) = open_files(opened.folder), os.pipe()
    assert files >= 1

    def work():
        assert open_files(opened.folder) == 0  # nothing of the parent's is shared
        assert name_of(opened, 3) == "person0003"
        opened.add_faces([record("Child", unit(1, seed=70)[0])])
        assert os.read(said, 1) == b"x"  # the parent has closed the gallery now
        opened.add_faces([record("Later", unit(1, seed=71)[0])])
        assert name_of(opened, 4) == "person0004"

    wait = forked(work)
    assert name_of(opened, 5) == "person0005"
    opened.add_faces([record("Parent", unit(1, seed=72)[0])])
    opened.close()
    os.write(heard, b"x")
    assert wait() == 0
    with gallery(opened.folder) as again:
        names = {person.name for person in again.people()}
    assert {"Child", "Later", "Parent"} <= names


def test_forked_processes_look_up_beside_each_other(opened):
    def work():
        for number in range(0, 200, 10):
            assert name_of(opened, number) == f"person{number:04d}"

    waits = [forked(work) for _ in range(4)]
    work()
    assert [wait() for wait in waits] == [0] * 4


def test_a_fork_while_another_thread_reads_leaves_that_thread_alone(opened):
    reading, done = threading.Event(), threading.Event()

    def read():
        with opened._store.snapshot():
            before = opened._store.people()
            reading.set()
            done.wait()
            return before == opened._store.people()

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(read)
        reading.wait()
        wait = forked(lambda: name_of(opened, 1))
        status = wait()
        done.set()
        assert result.result()
    assert status == 0


def test_a_forked_process_encodes_photos_too(opened):
    """OpenVINO's threads do not survive a fork: an inference in the new process would wait for them for ever."""
    opened.enroll("Ada", drawn_face(0))
    assert opened.identify(drawn_face(0)).faces[0].name == "Ada"

    def work():
        assert opened.identify(drawn_face(0)).faces[0].name == "Ada"
        opened.enroll("Bob", drawn_face(1))

    assert forked(work)() == 0
    assert opened.identify(drawn_face(1)).faces[0].name == "Bob"
