"""The page of groups: what it shows, that it is private and fetches nothing, and names that would be HTML."""

import re
import time
from pathlib import Path

import pytest

from facedex.errors import DataError
from facedex.gallery.gallery import Gallery
from facedex.library import group_page
from facedex.library.group_names import ignore_group
from facedex.library.group_page import weak_rows, write_group_page
from facedex.library.groups import cluster
from facedex.photos import images
from tests.helpers import near, one_line, record, save_face, scanned, seen_file, unwritable
from tests.test_review import ADA, CY, ODD, PEOPLE, photos, strangers

NASTY = '<script>alert("1")</script>&amp;'


def faces_in(folder, person, count, seed=1):
    """Scanned photos that are there, each with a drawn face."""
    files = []
    for n in range(count):
        path = save_face(folder / f"{seed} {n}.jpg", seed, side=200 + n)
        vector = near(person, n, 0.2)
        files.append(seen_file(str(path), vector, photo=images.sha256(path.read_bytes()), quality=20.0 + n))
    return files


@pytest.fixture
def opened(tmp_path):
    """Fourteen photos of one person, who is like somebody enrolled, and three of another that are not there."""
    files = [*faces_in(tmp_path / NASTY.replace("/", "_"), ADA, 14), *photos(CY, 3, "gone"), *strangers()]
    with scanned(tmp_path / "g", files, [record(NASTY, near(ADA, 99, 0.2))]) as found:
        cluster(found)
        yield found


def test_groups_are_shown_with_their_faces_and_whom_they_resemble(opened, tmp_path):
    path = write_group_page(opened, tmp_path / "out")
    page = path.read_text("utf-8")
    assert path == tmp_path / "out" / "groups.html"
    first = page.split("<section")[1]
    assert "id=group-1" in first
    assert "14 faces · 14 photos" in first
    assert "resembles <b>&lt;script&gt;" in first
    assert first.count("data:image/jpeg;base64,") == 12
    assert "2 more" in first
    second = page.split("<section")[2]
    assert "3 faces · 3 photos" in second
    assert second.count("class=gone") == 3  # these photos are not there


def test_text_from_outside_stays_text(opened, tmp_path):
    page = write_group_page(opened, tmp_path / "out").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    titles = re.findall(r'title="([^"]*)"', page)
    assert any("&lt;script&gt;alert(&quot;1&quot;)" in title for title in titles)


def test_the_page_is_private_and_fetches_nothing(opened, tmp_path):
    path = write_group_page(opened, tmp_path / "out")
    page = path.read_text("utf-8")
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert "default-src 'none'; img-src data:" in page
    assert set(re.findall(r"(?:src|href)=.?(.{5})", page)) == {"data:"}
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


def test_a_face_that_hardly_resembles_its_group_is_marked_and_comes_first(tmp_path):
    odd = seen_file("/odd.jpg", near(ODD, 3, 0.1), quality=9)
    with scanned(tmp_path / "g", [*photos(ADA, 14, "ada"), odd, *strangers()]) as found:
        cluster(found)
        with found.changing_library() as store:
            store.library.decide("joined", "", [15], groups={15: 1})
        faces = found.library.faces()
        assert weak_rows(found, faces) == {14}
        section = write_group_page(found, tmp_path / "out").read_text("utf-8").split("<section")[1]
        assert section.count("class=weak") == 1
        assert re.search(r'class=crops><div class=weak title="/odd.jpg">', section)


def test_ignored_groups_are_left_out_and_so_are_the_smallest(opened, tmp_path, monkeypatch):
    ignore_group(opened, 1)
    monkeypatch.setattr(group_page, "GROUPS", 5)
    page = write_group_page(opened, tmp_path / "out").read_text("utf-8")
    assert "id=group-1 " not in page
    assert "id=group-1>" not in page
    assert page.count("<section") == 5
    assert "smallest groups are not shown" in page


def test_hundreds_of_groups_take_seconds(tmp_path):
    """Each photo is read once, and a page of 400 groups has two megabytes at most."""
    path = save_face(tmp_path / "photo.jpg", 1, side=400)
    digest = images.sha256(path.read_bytes())
    files = [seen_file(str(path), *[near(PEOPLE[n % 40], n, 1.5) for n in range(400)], photo=digest)]
    with scanned(tmp_path / "g", files) as found:
        cluster(found)
        began = time.process_time()
        page = write_group_page(found, tmp_path / "out")
        assert time.process_time() - began < 10
        assert page.read_text("utf-8").count("<section") == 400
        assert page.stat().st_size < 2_000_000


def test_the_command_writes_the_page_and_the_table(run, tmp_path):
    with scanned(Path("index"), faces_in(tmp_path / "photos", ADA, 3)):
        pass
    done = run("cluster", "--report", tmp_path / "out")
    assert done.code == 0
    assert f"the groups are on the page {tmp_path / 'out' / 'groups.html'}" in done.err
    assert "3" in done.out
    (tmp_path / "file").write_text("")
    one_line(run("cluster", "--report", tmp_path / "file"), "cannot be written", "--report")


def test_a_folder_that_cannot_be_written_is_one_clear_error(opened):
    failing = pytest.raises(DataError, match="name another folder by --report")
    with unwritable(opened.folder) as copy, Gallery(copy) as locked, failing:
        write_group_page(locked, copy / "out")
