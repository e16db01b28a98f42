"""A watched library: photos that arrive, change, move and go, disks that go away, kills and Ctrl-C."""

import os
import shutil
import signal
import threading

import pytest

from facedex.errors import DataError, GalleryMismatch
from facedex.gallery.gallery import Gallery
from facedex.library import watching
from facedex.library.scan import list_photos, scan
from facedex.library.watching import Watch
from tests.helpers import other_encoder, python, save_face

OLD = 10**18  # ns: a time of change long ago


@pytest.fixture
def folder(tmp_path):
    """Two photos in one folder and one in another, written long ago."""
    for number, name in enumerate(("a/one.png", "a/two.png", "b/three.png")):
        old(save_face(tmp_path / "photos" / name, number))
    return tmp_path / "photos"


@pytest.fixture
def opened(tmp_path):
    with Gallery(tmp_path / "g", "fast", create=True) as found:
        yield found


def old(path):
    os.utime(path, ns=(OLD, OLD))
    return path


def one_round(watch):
    """What one round tells, by file name."""
    found = {os.path.basename(one.photo): one.status for one in watch.scan(watch.look())}
    return {**found, **{os.path.basename(one.photo): one.status for one in watch.gone()}}


def test_photos_that_arrive_change_move_and_go(opened, folder):
    watch = Watch(opened, folder)
    assert one_round(watch) == {"one.png": "new", "two.png": "new", "three.png": "new"}
    assert one_round(watch) == {}
    old(save_face(folder / "late.png", 7))
    (folder / "a" / "one.png").rename(folder / "b" / "uno.png")
    assert one_round(watch) == {"one.png": "gone"}  # the new files must be seen twice
    assert one_round(watch) == {"late.png": "new", "uno.png": "moved"}
    os.utime(save_face(folder / "late.png", 8), ns=(OLD, OLD + 1))
    (folder / "a" / "two.png").unlink()
    assert one_round(watch) == {"two.png": "gone"}
    assert one_round(watch) == {"late.png": "changed"}
    assert one_round(watch) == {}
    assert {os.path.basename(source) for source in opened.library.files()} == {
        "late.png", "uno.png", "two.png", "three.png"
    }  # fmt: skip


def test_a_file_that_is_still_written_is_not_read(opened, folder, tmp_path):
    watch = Watch(opened, folder)
    one_round(watch)
    whole = save_face(tmp_path / "whole.png", 9).read_bytes()
    arriving = folder / "arriving.png"
    for part in range(1, 4):
        arriving.write_bytes(whole[: len(whole) * part // 3])
        assert one_round(watch) == {}
    assert one_round(watch) == {}  # the same as before, but written a moment ago
    old(arriving)
    assert one_round(watch) == {}
    assert one_round(watch) == {"arriving.png": "new"}
    with Gallery(tmp_path / "other", "fast", create=True) as other:
        fresh = Watch(other, folder)
        os.utime(arriving)
        assert "arriving.png" not in one_round(fresh)  # at the first round too


def test_a_disk_that_is_away_takes_nothing_with_it(opened, folder, monkeypatch):
    monkeypatch.setattr(watching, "_QUIET", 0)
    watch = Watch(opened, [folder / "a", folder / "b"], forgets=True)
    one_round(watch)
    shutil.move(folder / "a", folder.parent / "away")
    assert one_round(watch) == {}
    assert list(watch.away) == [str(folder / "a")]
    watch.settle()
    (folder / "a").mkdir()  # an empty place to mount a disk
    assert one_round(watch) == {"one.png": "gone", "two.png": "gone"}
    assert watch.away == {}
    assert watch.settle().photos == 0
    assert opened.library.counts().files == 3
    (folder / "a").rmdir()
    shutil.move(folder.parent / "away", folder / "a")
    assert one_round(watch) == {}
    assert one_round(watch) == {"one.png": "known", "two.png": "known"}


def test_photos_that_are_gone_are_forgotten_only_where_asked(opened, folder, monkeypatch):
    monkeypatch.setattr(watching, "_QUIET", 0)
    for forgets, kept in ((False, 3), (True, 2)):
        watch = Watch(opened, folder, forgets=forgets)
        (folder / "a" / "two.png").unlink(missing_ok=True) if forgets else None
        one_round(watch)
        watch.settle()
        assert opened.library.counts().files == kept


def test_faces_are_grouped_after_a_quiet_minute_and_not_before(opened, folder, monkeypatch):
    watch = Watch(opened, folder)
    one_round(watch)
    assert watch.settle() is None
    monkeypatch.setattr(watching, "_QUIET", 0)
    assert len(watch.settle().groups) >= 1
    assert watch.settle() is None  # nothing has happened since
    assert set(opened.library.faces().groups.tolist()) != {0}


def test_what_is_forgotten_by_hand_is_not_scanned_again(opened, folder):
    watch = Watch(opened, folder)
    one_round(watch)
    with opened.changing_library() as store:
        store.library.drop_files(list(store.library.files()))
    assert one_round(watch) == {}
    assert opened.library.counts().files == 0


def test_memory_does_not_grow_with_the_rounds(opened, folder):
    watch = Watch(opened, folder)
    one_round(watch)
    for number in range(50):
        (folder / f"{number}.png").write_bytes(b"\x89PNG broken")
        one_round(watch)
        (folder / f"{number}.png").unlink()
    one_round(watch)
    sizes = [len(getattr(watch, name)) for name in ("_found", "_handled", "_gone")]
    assert sizes == [3, 3, 0]


def test_an_empty_folder_is_waited_for_and_a_missing_one_is_an_error(opened, tmp_path):
    (tmp_path / "empty").mkdir()
    watch = Watch(opened, tmp_path / "empty")
    assert one_round(watch) == {}
    old(save_face(tmp_path / "empty" / "x.png", 1))
    one_round(watch)
    assert one_round(watch) == {"x.png": "new"}
    with pytest.raises(DataError, match="does not exist"):
        Watch(opened, tmp_path / "missing")


def test_a_broken_photo_is_tried_once_and_again_when_it_changes(opened, folder):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    old(folder / "broken.jpg")
    watch = Watch(opened, folder)
    assert one_round(watch)["broken.jpg"] == "skipped"
    assert one_round(watch) == {}
    shutil.copyfile(save_face(folder.parent / "good.jpg", 5), folder / "broken.jpg")
    os.utime(folder / "broken.jpg", ns=(OLD, OLD + 1))
    one_round(watch)
    assert one_round(watch) == {"broken.jpg": "new"}


def test_vectors_of_another_model_never_come_in(opened, folder, tmp_path):
    watch = Watch(opened, folder)
    one_round(watch)
    with Gallery(tmp_path / "g") as other:
        other.reindex(other_encoder(tmp_path / "other.safetensors"))
    old(save_face(folder / "late.png", 7))
    one_round(watch)
    with pytest.raises(GalleryMismatch, match="open it again"):
        one_round(watch)
    with pytest.raises(GalleryMismatch):
        list(scan(opened, list_photos(folder)))


# A shell without job control lets what it runs in the background ignore Ctrl-C, and the tests may run there.
WATCHING = """
import signal, sys
from facedex import cli
from facedex.library import watching

signal.signal(signal.SIGINT, signal.default_int_handler)
watching._PAUSE, watching._STILL, watching._QUIET = 0.1, -1, 0.3
sys.argv = ["facedex", "scan", sys.argv[1], "--watch", "--json", "--model", "fast", "--gallery", sys.argv[2]]
cli.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent by POSIX's signals")
def test_a_watch_that_was_killed_goes_on_and_ctrl_c_ends_it_with_a_summary(folder, tmp_path):
    first = python(WATCHING, folder, tmp_path / "g")
    assert '"status": "new"' in first.stdout.readline()
    first.kill()
    first.communicate()
    again = python(WATCHING, folder, tmp_path / "g")
    said = []
    reader = threading.Thread(target=lambda: said.extend(iter(again.stderr.readline, "")), daemon=True)
    reader.start()
    while not any("watching 1 place" in line for line in said):
        assert again.poll() is None, said
        reader.join(0.05)
    old(save_face(folder / "late.png", 7))
    while "late.png" not in again.stdout.readline():
        assert again.poll() is None, said
    while not any("without a name" in line for line in said):
        reader.join(0.05)
    again.send_signal(signal.SIGINT)
    assert again.wait(20) == 130
    reader.join(20)
    text = "".join(said)
    assert "new: " in text
    assert "keeps 4 faces of 4 photos" in text
    assert text.rstrip().endswith("facedex: interrupted")


def test_a_watch_takes_no_output_file(run, folder):
    assert run("scan", folder, "--watch", "-o", "x.json").code == 2
    assert not os.path.exists("index")
