"""Sorted copies: each photo with each person, nothing overwritten, nothing in part, and the same again after a kill."""

import os
import shutil
from pathlib import Path

import pytest

from facedex.errors import DataError, NoFace, PhotoUnreadable
from facedex.faces.face import Face
from facedex.library import sorted_copies
from facedex.library.sorted_copies import SortedCopies
from facedex.recognition.identification import Identification, IdentifiedPhoto
from tests.helpers import gallery, kill_after_line, lines, one_line, python, record, save_blank, save_face, unit

PEOPLE = ["Ada", "Bob"]


def photo(path, *names, content=None):
    """A photo file with faces of these names, None for a stranger, as `identify` gives it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((content or path.name).encode())
    os.utime(path, ns=(10**18, 10**18 + 5))
    faces = tuple(Identification(Face((0, 0, 9, 9), None, 0.9), name, 0.5, 0.5, ()) for name in names)
    error = None if names else NoFace.at_all(str(path))
    return IdentifiedPhoto(str(path), faces, str(error) if error else None, exception=error)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "photos"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "sorted"


def tree(folder):
    """Every file below a folder, hidden ones too, with its content."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_photo_goes_to_everybody_in_it_and_strangers_and_empty_photos_apart(source, target):
    copies = SortedCopies(target, PEOPLE)
    done = copies.add(photo(source / "both.jpg", "Ada", "Bob", None, "Ada"))
    assert done.copies == (str(target / "Ada" / "both.jpg"), str(target / "Bob" / "both.jpg"))
    assert (done.made, done.error, done.remarks) == (2, None, ())
    copies.add(photo(source / "stranger.jpg", None, None))
    copies.add(photo(source / "nobody.jpg"))
    broken = IdentifiedPhoto("x.jpg", error="broken", exception=PhotoUnreadable("broken"))
    assert copies.add(broken) == sorted_copies.SortedPhoto()
    assert tree(target) == {
        "Ada/both.jpg": "both.jpg",
        "Bob/both.jpg": "both.jpg",
        "unknown/stranger.jpg": "stranger.jpg",
        "unknown/no face/nobody.jpg": "nobody.jpg",
    }
    assert (target / "Ada" / "both.jpg").stat().st_mtime_ns == 10**18 + 5
    assert (target / "Ada" / "both.jpg").stat().st_nlink == 1


def test_nothing_is_overwritten_and_the_same_content_is_left(source, target):
    for where, content in (("a", "one"), ("b", "two"), ("c", "one"), ("d", "three")):
        SortedCopies(target, PEOPLE).add(photo(source / where / "x.jpg", "Ada", content=content))
    assert tree(target) == {"Ada/x.jpg": "one", "Ada/x (2).jpg": "two", "Ada/x (3).jpg": "three"}
    copies = SortedCopies(target, PEOPLE)
    again = [copies.add(photo(source / where / "x.jpg", "Ada", content=content)) for where, content in
             (("a", "one"), ("b", "two"), ("c", "one"), ("d", "three"))]  # fmt: skip
    assert [one.made for one in again] == [0] * 4
    assert again[1].copies == (str(target / "Ada" / "x (2).jpg"),)


def test_names_that_only_differ_by_case_or_unicode_form_get_numbers(source, target):
    copies = SortedCopies(target, PEOPLE)
    copies.add(photo(source / "a" / "Zoë.JPG", "Ada", content="one"))
    copies.add(photo(source / "b" / "zoe\u0308.jpg", "Ada", content="two"))
    assert sorted(tree(target).values()) == ["one", "two"]
    assert set(tree(target)) == {"Ada/Zoë.JPG", "Ada/zoë (2).jpg"}


def test_sidecars_go_along_with_their_photo(source, target):
    copies = SortedCopies(target, PEOPLE)
    first, second = photo(source / "a" / "x.jpg", "Ada"), photo(source / "b" / "x.jpg", "Ada", content="other")
    (source / "a" / "x.jpg.xmp").write_text("whole")
    (source / "a" / "x.xmp").write_text("stem")
    (source / "b" / "x.XMP").write_text("stem of another")
    copies.add(first)
    copies.add(second)
    assert tree(target) == {
        "Ada/x.jpg": "x.jpg",
        "Ada/x.jpg.xmp": "whole",
        "Ada/x.xmp": "stem",
        "Ada/x (2).jpg": "other",
        "Ada/x (2).xmp": "stem of another",
    }
    (source / "a" / "x.xmp").write_text("edited")
    (remark,) = SortedCopies(target, PEOPLE).add(first).remarks
    assert "stays as it is" in remark
    assert tree(target)["Ada/x.xmp"] == "stem"


def test_a_photo_gets_no_sidecar_of_another_photo(source, target):
    copies = SortedCopies(target, PEOPLE)
    (source / "a").mkdir(parents=True)
    (source / "a" / "x.xmp").write_text("of the PNG")
    copies.add(photo(source / "a" / "x.png", "Ada"))
    copies.add(photo(source / "b" / "x.jpg", "Ada"))
    assert set(tree(target)) == {"Ada/x.png", "Ada/x.xmp", "Ada/x (2).jpg"}


def test_hard_links_and_copies_where_there_are_none(source, target, monkeypatch):
    done = SortedCopies(target, PEOPLE, link=True).add(photo(source / "x.jpg", "Ada", "Bob"))
    assert os.path.samefile(source / "x.jpg", target / "Bob" / "x.jpg")
    assert done.remarks == ()
    monkeypatch.setattr(os, "link", lambda *names: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    copies = SortedCopies(target, PEOPLE, link=True)
    done = copies.add(photo(source / "y.jpg", "Ada", "Bob"))
    assert len(done.remarks) == 1
    assert "photos are copied" in done.remarks[0]
    assert (done.made, tree(target)["Ada/y.jpg"]) == (2, "y.jpg")
    assert not os.path.samefile(source / "y.jpg", target / "Ada" / "y.jpg")


def test_a_dry_run_says_the_same_and_writes_nothing(source, target):
    photos = [photo(source / where / "x.jpg", "Ada", content=where) for where in ("a", "b")]
    photos.append(photo(source / "c" / "x.jpg", "Ada", content="a"))
    dry = SortedCopies(target, PEOPLE, dry_run=True)
    said = [dry.add(one) for one in photos]
    assert not target.exists()
    wet = SortedCopies(target, PEOPLE)
    assert said == [wet.add(one) for one in photos]


def test_one_copy_that_fails_stops_nothing(source, target):
    target.mkdir()
    (target / "Ada").write_text("a file where a folder should be")
    copies = SortedCopies(target, PEOPLE)
    done = copies.add(photo(source / "x.jpg", "Bob", "Ada"))
    assert (done.copies, done.made) == ((str(target / "Bob" / "x.jpg"),), 1)
    assert str(target / "Ada") in done.error
    gone = photo(source / "gone.jpg", "Bob")
    (source / "gone.jpg").unlink()
    assert "gone.jpg" in copies.add(gone).error
    assert copies.add(photo(source / "y.jpg", "Bob")).made == 1
    with pytest.raises(DataError, match="not a folder"):
        SortedCopies(target / "Ada", PEOPLE)


def test_a_copy_that_breaks_off_leaves_nothing(source, target, monkeypatch):
    copies = SortedCopies(target, PEOPLE)

    def half(source, part):
        Path(part).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", half)
    assert "No space left" in copies.add(photo(source / "x.jpg", "Ada")).error
    assert tree(target) == {}


KILLED = """
import os, shutil, sys
from facedex.library import sorted_copies
from tests.test_sorted_copies import photo

real = shutil.copyfile
def half(source, part):
    real(source, part)
    os.truncate(part, 3)
    print("half", flush=True)
    sys.stdin.read()
shutil.copyfile = half
sorted_copies.SortedCopies(sys.argv[2], ["Ada"]).add(photo(sys.argv[1], "Ada", content="the whole photo"))
"""


def test_a_run_that_was_killed_leaves_no_part_and_goes_on(source, target):
    import subprocess

    process = python(KILLED, source / "x.jpg", target, stdin=subprocess.PIPE)
    assert kill_after_line(process) == "half\n"
    assert [name for name in tree(target) if not name.startswith("Ada/.facedex-")] == []
    assert len(tree(target)) == 1
    assert SortedCopies(target, ["Ada"]).add(photo(source / "x.jpg", "Ada", content="the whole photo")).made == 1
    assert tree(target) == {"Ada/x.jpg": "the whole photo"}


@pytest.fixture
def enrolled(tmp_path):
    """A gallery of Ada, photos of her and of a stranger, one without a face, and one that is broken."""
    folder = tmp_path / "library"
    save_face(folder / "ada.png", 1)
    save_blank(folder / "deep" / "nobody.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    with gallery(tmp_path / "g", [record("Eve", unit(1)[0])]) as opened:
        opened.enroll("Ada", folder / "ada.png")
    return folder


def test_the_command_sorts_a_folder_that_holds_the_copies(run, enrolled, tmp_path):
    out = enrolled / "sorted"
    options = ("identify", enrolled, "--gallery", tmp_path / "g", "--copy-to", out)
    done = run(*options, "--dry-run")
    assert f"ada.png -> {out / 'Ada' / 'ada.png'}" in done.err
    assert "2 copies would be made" in done.err
    assert not out.exists()
    done = run(*options, "--json")
    assert done.code == 1  # one photo is broken
    copies = {Path(line["photo"]).name: line["copies"] for line in lines(done.out)}
    assert copies == {
        "ada.png": [str(out / "Ada" / "ada.png")],
        "nobody.png": [str(out / "unknown" / "no face" / "nobody.png")],
        "broken.jpg": [],
    }
    assert "2 copies made" in done.err
    before = set(out.rglob("*"))
    done = run(*options, "--json")
    assert len(lines(done.out)) == 3
    assert "0 copies made in" in done.err
    assert "2 there already" in done.err
    assert set(out.rglob("*")) == before
    again = run("identify", out, "--gallery", tmp_path / "g", "--copy-to", out, "--json")
    assert len(lines(again.out)) == 2
    assert set(out.rglob("*")) == before


def test_options_of_copies_need_a_folder_and_files(run, enrolled, tmp_path):
    options = ("identify", enrolled / "ada.png", "--gallery", tmp_path / "g")
    assert run(*options, "--link").code == run(*options, "--dry-run").code == 2
    assert run("identify", "-", "--gallery", tmp_path / "g", "--copy-to", tmp_path / "x").code == 2
    one_line(run(*options, "--copy-to", enrolled / "ada.png"), "is not a folder")
    out = tmp_path / "links"
    assert run(*options, "--copy-to", out, "--link").code == 0
    assert os.path.samefile(out / "Ada" / "ada.png", enrolled / "ada.png")
