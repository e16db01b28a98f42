"""A scan looks at every photo once, follows photos that moved, and loses nothing when it is killed."""

import os
import random
import shutil
import time

import pytest

from facedex.errors import DataError
from facedex.gallery.gallery import Gallery
from facedex.library import scan as scanning
from facedex.library.groups import cluster
from facedex.library.scan import list_photos, scan, vanished
from tests.helpers import closed, python, save_blank, save_face, scanned, seen_file

SCAN = """
import sys
from facedex.gallery.gallery import Gallery
from facedex.library import scan as scanning

scanning._BATCH = 2
with Gallery(sys.argv[1]) as opened:
    for result in scanning.scan(opened, scanning.list_photos(sys.argv[2])):
        print(result.status, result.photo, flush=True)
"""


@pytest.fixture
def photos(tmp_path):
    """A folder of four photos: one face, two faces, none, and one that is broken."""
    folder = tmp_path / "photos"
    save_face(folder / "one.png", 1)
    save_face(folder / "deep" / "down" / "two.png", 2, 3)
    save_blank(folder / "none.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    save_face(folder / "@eaDir" / "thumb.png", 4)
    return folder


@pytest.fixture
def opened(tmp_path):
    with Gallery(tmp_path / "g", "fast", create=True) as found:
        yield found


def statuses(opened, folder):
    """The status of each file by its name."""
    return {os.path.basename(result.photo): result.status for result in scan(opened, list_photos(folder))}


def test_every_face_is_kept_and_a_bad_photo_stops_nothing(opened, photos):
    results = {os.path.basename(result.photo): result for result in scan(opened, list_photos(photos))}
    assert {name: (result.status, result.faces) for name, result in results.items()} == {
        "one.png": ("new", 1),
        "two.png": ("new", 2),
        "none.png": ("new", 0),
        "broken.jpg": ("skipped", 0),
    }
    assert "broken.jpg" in results["broken.jpg"].reason
    assert opened.library.counts().faces == 3
    assert len(opened) == 0  # nobody is enrolled


def test_what_is_kept_of_a_face_is_what_the_detector_and_the_network_give(opened, photos):
    list(scan(opened, list_photos(photos)))
    from facedex.recognition.embedding import find_faces

    kept = opened.library.faces()
    (face,) = find_faces(photos / "one.png", "fast")
    row = [bool(abs(vector @ face.embedding - 1) < 1e-5) for vector in kept.vectors].index(True)
    assert kept.box(row) == pytest.approx(face.box, abs=1e-3)
    assert kept.scores[row] == pytest.approx(face.score, abs=1e-6)
    assert kept.quality[row] == pytest.approx(face.quality.length, abs=1e-4)


def test_a_second_scan_reads_only_what_could_not_be_used(opened, photos, monkeypatch):
    statuses(opened, photos)
    read = []
    real = scanning.images.read_bytes
    monkeypatch.setattr(scanning.images, "read_bytes", lambda path: read.append(str(path)) or real(path))
    assert statuses(opened, photos) == {
        "one.png": "known",
        "two.png": "known",
        "none.png": "known",
        "broken.jpg": "skipped",
    }
    assert {os.path.basename(path) for path in read} == {"broken.jpg"}


def test_moved_copied_touched_and_changed_photos(opened, photos):
    statuses(opened, photos)
    before = opened.library.faces()
    (photos / "one.png").rename(photos / "uno.png")
    shutil.copy(photos / "deep" / "down" / "two.png", photos / "twice.png")
    os.utime(photos / "none.png", ns=(1, 1))
    found = statuses(opened, photos)
    assert (found["uno.png"], found["twice.png"], found["none.png"]) == ("moved", "copy", "known")
    assert opened.library.faces().ids.tolist() == before.ids.tolist()
    assert not any(source.endswith("/one.png") for source in opened.library.files())
    assert not vanished(opened.library, photos)
    save_face(photos / "uno.png", 7)
    assert statuses(opened, photos)["uno.png"] == "changed"
    after = opened.library.faces()
    assert len(after) == 3
    assert not set(after.ids.tolist()) >= set(before.ids.tolist())  # the face of the replaced photo is gone


def test_a_photo_whose_metadata_changed_keeps_the_names_of_its_faces(opened, photos):
    statuses(opened, photos)
    kept = opened.library.faces()
    with opened.changing_library() as store:
        store.name_scanned("Ada", [], kept.ids.tolist())
    picture = photos / "one.png"
    picture.write_bytes(picture.read_bytes() + b"more metadata")
    save_face(photos / "deep" / "down" / "two.png", 8, 9)  # other people at the same places
    found = statuses(opened, photos)
    assert (found["one.png"], found["two.png"]) == ("changed", "changed")
    named = opened.library.faces_named("Ada")
    assert len(named) == 1
    assert named.ids[0] not in kept.ids


def test_a_scan_that_was_killed_after_a_change_leaves_no_face_twice(opened, photos):
    statuses(opened, photos)
    picture = photos / "one.png"
    picture.write_bytes(picture.read_bytes() + b"more metadata")
    results = scan(opened, list_photos(photos))
    assert any(result.status == "changed" for result in results)  # it is stored, and the scan has not ended
    results.close()
    faces = opened.library.faces()
    assert (len(faces), len(opened.library.membership())) == (3, 3)
    assert sum(group.faces for group in cluster(opened)) == 3
    statuses(opened, photos)
    assert opened.library.counts().faces == 3


def test_only_photos_that_are_gone_have_vanished(opened, photos, tmp_path):
    statuses(opened, photos)
    (photos / "deep" / "down" / "two.png").unlink()
    assert [os.path.basename(source) for source in vanished(opened.library, photos)] == ["two.png"]
    assert vanished(opened.library, tmp_path / "elsewhere") == []


def test_a_folder_that_cannot_be_listed_is_skipped_and_nothing_of_it_is_gone(opened, photos):
    assert statuses(opened, photos)["two.png"] == "new"
    save_face(photos / "later.png", 5)
    with closed(photos / "deep"):
        results = list(scan(opened, list_photos(photos)))
        assert [result.status for result in results if result.photo.endswith("deep")] == ["skipped"]
        assert "new" in [result.status for result in results if result.photo.endswith("later.png")]
        assert vanished(opened.library, photos) == []
    assert statuses(opened, photos)["two.png"] == "known"


def test_a_copy_that_is_gone_costs_nothing(opened, photos):
    shutil.copy(photos / "one.png", photos / "copy.png")
    statuses(opened, photos)
    before = opened.library.faces().ids.tolist()
    (photos / "one.png").unlink()
    assert statuses(opened, photos)["copy.png"] == "known"
    assert not vanished(opened.library, photos)
    assert opened.library.faces().ids.tolist() == before
    (photos / "copy.png").unlink()
    statuses(opened, photos)
    assert [os.path.basename(source) for source in vanished(opened.library, photos)] == ["copy.png"]


def broken_files(folder, count):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:03d}.jpg").write_bytes(b"\xff\xd8 no picture %d" % number)


def reads(monkeypatch):
    """The paths that are read from now on."""
    read, real = [], scanning.images.read_bytes
    monkeypatch.setattr(scanning.images, "read_bytes", lambda path: read.append(str(path)) or real(path))
    return read


def test_the_first_result_comes_long_before_the_last_photo_is_read(opened, tmp_path, monkeypatch):
    broken_files(tmp_path / "many", 40)
    read = reads(monkeypatch)
    results = scan(opened, list_photos(tmp_path / "many"))
    next(results)
    assert len(read) <= 20  # a thread reads sixteen photos ahead
    assert len(list(results)) == 39


def test_the_first_result_comes_early_where_every_photo_moved(opened, tmp_path, monkeypatch):
    broken_files(tmp_path / "many", 40)
    files = [(path, path.read_bytes()) for path in map(tmp_path.joinpath, list_photos(tmp_path / "many"))]
    with opened.changing_library() as store:
        store.library.save(
            [seen_file(str(path), size=len(data), photo=scanning.images.sha256(data)) for path, data in files]
        )
    (tmp_path / "many").rename(tmp_path / "other")
    read = reads(monkeypatch)
    results = scan(opened, list_photos(tmp_path / "other"))
    assert next(results).status == "moved"
    assert len(read) <= 20
    assert {result.status for result in results} == {"moved"}


def test_a_folder_without_photos_is_refused_since_its_disk_may_be_away(opened, photos, tmp_path):
    statuses(opened, photos)
    shutil.rmtree(photos)
    photos.mkdir()
    with pytest.raises(DataError, match="mount its disk"):
        list_photos(photos)
    with pytest.raises(DataError, match="does not exist"):
        list_photos(tmp_path / "missing")


def test_photos_are_listed_once(photos):
    listed = list_photos([photos, photos / "deep", photos / "one.png"])
    assert len(listed) == len(set(listed)) == 4


def test_a_second_scan_of_ten_thousand_photos_takes_less_than_five_seconds(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    files = []
    for number in range(10_000):
        path = folder / f"{number}.jpg"
        path.write_bytes(b"x")
        status = path.stat()
        files.append(seen_file(str(path), size=status.st_size, modified=status.st_mtime_ns))
    with scanned(tmp_path / "g", files) as opened:
        started = time.process_time()
        assert {result.status for result in scan(opened, list_photos(folder))} == {"known"}
        assert time.process_time() - started < 5


def test_a_scan_that_is_killed_goes_on_where_it_was(tmp_path):
    folder, random_moments = tmp_path / "photos", random.Random(5)
    for number in range(24):
        save_face(folder / f"{number:02d}.png", *([number, number + 50] if number % 3 == 0 else [number]), side=120)
    with Gallery(tmp_path / "whole", "fast", create=True) as opened:
        statuses(opened, folder)
        right = sorted(opened.library.faces().digests)
    Gallery(tmp_path / "g", "fast", create=True).close()
    acknowledged: set[str] = set()
    kills = 0
    for _ in range(30):
        process = python(SCAN, tmp_path / "g", folder)
        looked_at = random_moments.randint(0, 5)
        ended = False
        fresh = 0
        for line in process.stdout:
            status, path = line.rstrip("\n").split(" ", 1)
            assert not (status == "new" and path in acknowledged), "it was looked at twice"
            acknowledged.add(path)
            fresh += status == "new"
            if fresh > looked_at:
                time.sleep(random_moments.uniform(0, 0.05))
                process.kill()
                kills += 1
                break
        else:
            ended = True
        _, errors = process.communicate()
        with Gallery(tmp_path / "g") as opened:
            kept = {os.path.basename(source) for source in opened.library.files()}
            assert {os.path.basename(path) for path in acknowledged} <= kept
        if ended:
            assert process.returncode == 0, errors
            break
    assert kills >= 3
    with Gallery(tmp_path / "g") as opened:
        assert sorted(opened.library.faces().digests) == right
        assert opened.library.counts().files == 24
