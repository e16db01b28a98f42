"""The commands of a photo library: scan, cluster, name, ignore, find, forget."""

import os
from pathlib import Path

import pytest
from PIL import Image

from facedex.gallery.gallery import Gallery
from tests.helpers import assert_fields_described, lines, one_line, rows, save_blank, save_face


@pytest.fixture
def photos(tmp_path):
    """Two people: one in three photos, the other in two, both in one of them; and a photo of nobody."""
    for side in (200, 220, 240):
        save_face(tmp_path / "photos" / f"first {side}.png", 1, side=side)
    save_face(tmp_path / "photos" / "trip" / "second.png", 2, side=200)
    save_face(tmp_path / "photos" / "trip" / "both.png", 1, 2)
    save_blank(tmp_path / "photos" / "nobody.png")
    return tmp_path / "photos"


@pytest.fixture
def scanned(run, photos):
    assert run("scan", photos, "--model", "fast").code == 0
    return photos


def names_of(found):
    return [Path(line["photo"]).name for line in found]


def test_from_a_folder_of_photos_to_names(run, photos):
    done = run("scan", photos, "--model", "fast")
    assert (done.code, done.out) == (0, "")
    assert "6 new; the gallery index keeps 6 faces of 6 photos, none of them named" in done.err
    assert "biometric data; `facedex forget`" in done.err
    groups = lines(run("cluster", "--json").out)
    assert [(group["group"], group["faces"], group["photos"]) for group in groups] == [(1, 4, 4), (2, 2, 2)]
    done = run("name", 1, "Ada Lovelace")
    assert (done.code, done.out) == (0, "")
    assert "4 faces named Ada Lovelace, 4 photos enrolled" in done.err
    assert run("name", 2, "Charles Babbage").code == 0
    assert lines(run("cluster", "--json").out) == []
    found = lines(run("find", "Ada Lovelace", "--json").out)
    assert sorted(names_of(found)) == ["both.png", "first 200.png", "first 220.png", "first 240.png"]
    both = lines(run("find", "Ada Lovelace", "--and", "Charles Babbage", "--json").out)
    assert names_of(both) == ["both.png"]
    assert [face["name"] for face in both[0]["faces"]] == ["Ada Lovelace", "Charles Babbage"]
    assert both[0]["faces"][0]["box"][0] < both[0]["faces"][1]["box"][0]  # she stands on the left
    identified = lines(run("identify", photos / "trip" / "both.png", "--json").out)
    assert {face["name"] for face in identified[0]["faces"]} == {"Ada Lovelace", "Charles Babbage"}


def test_json_has_the_fields_that_are_documented(run, photos):
    assert_fields_described(lines(run("scan", photos, "--model", "fast", "--json").out), "scan")
    assert_fields_described(lines(run("cluster", "--json").out), "cluster")
    run("name", 1, "Ada")
    assert_fields_described(lines(run("find", "Ada", "--json").out), "find")


def test_tables_and_csv(run, scanned):
    table = run("cluster", "--top", 1)
    assert "first 240.png" in table.out
    assert "1 smaller group more; --top N shows N groups" in table.err
    run("name", 1, "Ada")
    run("name", 2, "Bob")  # drawn faces resemble each other enough for recognition
    assert "both.png" in run("find", "Ada").out
    header, *found = rows(run("find", "Ada", "--csv").out)
    assert header[:6] == ["photo", "name", "left", "top", "width", "height"]
    assert header[6:] == ["named_by", "probability", "quality", "taken", "taken_from"]
    assert {row[1] for row in found} == {"Ada"}
    assert len(found) == 4


def test_a_second_scan_prints_only_what_is_new(run, scanned):
    save_face(scanned / "third.png", 3)
    (scanned / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    done = run("scan", scanned, "--json")
    assert done.code == 1
    assert {name: line["status"] for name, line in zip(names_of(lines(done.out)), lines(done.out), strict=True)} == {
        "third.png": "new",
        "broken.jpg": "skipped",
    }
    assert "1 new, 6 known, 1 skipped" in done.err
    assert "skipped: " in done.err


def test_scan_asks_before_it_forgets_photos_that_are_gone(run, scanned):
    (scanned / "trip" / "second.png").unlink()
    done = run("scan", scanned, "--json")
    assert "Forget this photo and its faces? [y/N]" in done.err
    assert [line["status"] for line in lines(done.out)] == ["gone"]
    assert "6 faces of 6 photos" in done.err
    assert "5 faces of 5 photos" in run("scan", scanned, stdin="y\n").err
    (scanned / "trip" / "both.png").unlink()
    done = run("scan", scanned, "--yes")
    assert "?" not in done.err
    assert "3 faces of 4 photos" in done.err


def test_forget_asks_and_deletes(run, scanned):
    done = run("forget", scanned / "trip")
    assert "Forget the faces of 2 photos, and their names? [y/N]" in done.err
    assert done.code == 2
    assert "forgot 3 faces of 2 photos" in run("forget", scanned / "trip", "--yes").err
    assert "forgot 3 faces of 4 photos" in run("forget", "--all", stdin="yes\n").err
    with Gallery("index") as opened:
        assert opened.library.counts().files == 0


def test_an_ignored_group_is_left_out_of_the_table(run, scanned):
    run("cluster")
    assert "ignored from now on" in run("ignore", 1).err
    assert "first 240.png" not in run("cluster").out
    assert [group["ignored"] for group in lines(run("cluster", "--json").out)] == [True, False]
    run("ignore", 1, "--undo")
    assert "first 240.png" in run("cluster").out


def test_what_cannot_be_used_is_one_line(run, scanned, tmp_path):
    one_line(run("scan", tmp_path / "missing"), "missing", "name a folder of photos")
    (tmp_path / "empty").mkdir()
    one_line(run("scan", tmp_path / "empty"), "empty", "holds no photos")
    one_line(run("name", 99, "Ada"), "no group 99", "facedex cluster")
    run("cluster")
    one_line(run("name", 1, " "), "cannot be a person's name")
    one_line(run("find", "Nobody"), "Nobody", "facedex list")
    one_line(run("forget", tmp_path / "elsewhere", "--yes"), "Nothing was scanned")
    one_line(run("cluster", "--gallery", tmp_path / "none"), "no gallery")
    assert run("forget", "--yes").code == 2
    assert run("forget", scanned, "--all", "--yes").code == 2
    assert run("cluster", "--rate", "2").code == 2


def test_no_gallery_is_made_for_a_folder_that_is_not_there(run, tmp_path):
    run("scan", tmp_path / "missing")
    assert os.listdir() == []


def test_two_people_who_share_no_photo_are_exit_1(run, scanned):
    run("cluster")
    run("name", 1, "Ada")
    run("name", 2, "Bob")
    save_face(scanned / "eve.png", 5)
    run("enroll", "--name", "Eve", scanned / "eve.png")
    done = run("find", "Ada", "--and", "Eve", "--json")
    assert (done.code, done.out) == (1, "")


def test_photos_since_a_day_by_exif_else_by_their_files(run, scanned):
    with_exif(scanned / "taken.jpg", "2021:05:06 07:08:09", 1)
    save_face(scanned / "new.png", 1, side=230)
    os.utime(scanned / "new.png", (2_000_000_000, 2_000_000_000))
    for name in ("first 200.png", "first 220.png"):
        os.utime(scanned / name, (1_000_000_000, 1_000_000_000))  # 2001
    save_face(scanned.parent / "enrolled.png", 1, side=210)
    run("scan", scanned)
    run("cluster")
    run("name", 1, "Ada")
    run("enroll", "--name", "Ada", scanned.parent / "enrolled.png")
    (scanned.parent / "enrolled.png").unlink()
    done = run("find", "Ada", "--since", "2021-05-06", "--json")
    assert_fields_described(lines(done.out), "find")
    found = {Path(line["photo"]).name: (line["taken"], line["taken_from"]) for line in lines(done.out)}
    assert found["taken.jpg"] == ("2021-05-06T07:08:09", "exif")
    assert found["new.png"][1] == "file"
    assert not found.keys() & {"first 200.png", "first 220.png", "enrolled.png"}
    assert "enrolled.png was not scanned and cannot be read" in done.err
    qualities = [line["quality"] for line in lines(done.out)]
    assert qualities == sorted(qualities, reverse=True)
    later = run("find", "Ada", "--since", "2021-05-07", "--json")
    assert found.keys() - {Path(line["photo"]).name for line in lines(later.out)} == {"taken.jpg"}
    assert [line["taken"] for line in lines(run("find", "Ada", "--json").out)] == [None] * (len(found) + 3)
    assert "(exif)" in run("find", "Ada", "--since", "2021").out
    assert run("find", "Ada", "--since", "2050-01").code == 1
    assert run("find", "Ada", "--since", "yesterday").code == 2


def with_exif(path, taken, *seeds):
    """A photo of drawn faces whose EXIF says when it was taken."""
    save_face(path, *seeds)
    with Image.open(path) as image:
        exif = image.getexif()
        exif.get_ifd(0x8769)[0x9003] = taken
        image.save(path, exif=exif)


def test_names_go_to_sidecars_and_into_another_gallery(run, scanned):
    run("cluster")
    run("name", 1, "Ada")
    done = run("export", "--xmp", "--json")
    assert done.code == 0
    assert "4 sidecars written" in done.err
    assert_fields_described(lines(done.out), "export")
    assert {tuple(line["names"]) for line in lines(done.out)} == {("Ada",)}
    run("scan", scanned, "--model", "fast", "--gallery", "other")
    done = run("import", "--xmp", "--json", "--gallery", "other")
    assert done.code == 0
    assert "4 faces named" in done.err
    assert_fields_described(lines(done.out), "import")
    found = lines(run("find", "Ada", "--json", "--gallery", "other").out)
    assert sum(photo["faces"][0]["named_by"] == "library" for photo in found) == 4
    assert run("export").code == run("import").code == 2
    one_line(run("export", scanned / "missing", "--xmp"), "Nothing was scanned")


def test_a_name_is_undone_and_a_group_split(run, scanned):
    assert run("undo").code == 1
    run("cluster")
    run("name", 1, "Ada")
    done = run("undo")
    assert (done.code, done.out) == (0, "")
    assert "4 faces no longer named Ada, 4 photos no longer enrolled" in done.err
    one_line(run("find", "Ada"), "Ada")
    done = run("split", 1, scanned / "first 200.png")
    assert "they are group 3 now" in done.err
    groups = {group["group"]: group for group in lines(run("cluster", "--json").out)}
    assert groups[1]["faces"] == 3
    assert str(scanned / "first 200.png") not in groups[1]["examples"]
    one_line(run("split", 1, "elsewhere.jpg"), "elsewhere.jpg has no face")


def test_a_wrong_photo_is_taken_from_a_person(run, scanned):
    run("cluster")
    run("name", 1, "Ada")
    run("name", 2, "Bob")
    wrong = scanned / "first 200.png"
    done = run("remove", "Ada", "--photo", wrong, "--yes")
    assert (done.code, done.out) == (0, "")
    assert "deleted 1 face; 1 scanned face no longer named Ada" in done.err
    run("cluster")
    assert sorted(names_of(lines(run("find", "Ada", "--json").out))) == ["both.png", "first 220.png", "first 240.png"]
    again = run("remove", "Ada", "--photo", wrong, "--yes")
    assert again.code == 2
    assert "has no face of Ada" in again.err
    assert run("remove", "Ada", "Bob", "--photo", wrong, "--yes").code == 2


def test_a_photo_that_was_enrolled_alone_is_taken_from_a_person(run, photos):
    run("enroll", "--name", "Ada", photos / "first 200.png", photos / "first 220.png", "--model", "fast")
    assert run("remove", "Ada", "--photo", photos / "first 200.png", "--yes").code == 0
    assert [person["photos"] for person in lines(run("list", "--json").out)] == [1]
