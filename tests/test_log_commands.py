"""The commands about consents and changes: enroll --consent, consent, purge, log, undo."""

import io

import pytest

from facedex.gallery.gallery import Gallery
from facedex.store import expiry
from tests.helpers import assert_fields_described, lines, one_line, rows, save_face


@pytest.fixture
def photos(tmp_path):
    for name, seed in (("Ada", 1), ("Bob", 2)):
        save_face(tmp_path / "people" / f"{name}.png", seed, side=200)
    return tmp_path / "people"


@pytest.fixture
def enrolled(run, photos):
    done = run("enroll", photos, "--model", "fast", "--consent", "form of 2026", "--expires", "90d")
    assert done.code == 0, done.err
    return photos


def test_consent_is_enrolled_listed_shown_and_changed(run, enrolled):
    listed = lines(run("list", "--json").out)
    assert_fields_described(listed, "list")
    assert [(one["consents"], one["expired"]) for one in listed] == [(["form of 2026"], False)] * 2
    assert listed[0]["expires"] > "2026"
    assert "form of 2026" in run("list").out
    assert rows(run("list", "--csv").out)[1][3] == "form of 2026"
    done = run("consent", "Ada", "--expires", "never", "--consent", "letter")
    assert (done.code, "1 photo of Ada" in done.err) == (0, True)
    (shown,) = lines(run("show", "Ada", "--json").out)
    assert_fields_described([shown], "show")
    assert [(one["consent"], one["expires"]) for one in shown["photos"]] == [("letter", None)]
    assert "letter" in run("show", "Ada").out
    assert run("consent", "Ada").code == 2
    one_line(run("consent", "Ada", "--expires", "yesterday"), "yesterday", "2027-06-30")
    one_line(run("consent", "Eve", "--consent", "x"), "Eve")
    one_line(run("consent", "Ada", enrolled / "Bob.png", "--consent", "x"), "Bob.png", "facedex show")


def test_a_wrong_last_day_makes_no_gallery(run, photos, tmp_path):
    one_line(run("enroll", photos, "--expires", "2001-01-01", "--gallery", tmp_path / "none"), "2001-01-01", "past")
    assert not (tmp_path / "none").exists()


def test_purge_asks_and_deletes_whoever_has_expired(run, enrolled, monkeypatch):
    assert "no consent in index has expired" in run("purge").err
    run("consent", "Bob", "--expires", "never")
    monkeypatch.setattr(expiry, "today", lambda: "2999-01-01")
    (named,) = lines(run("identify", enrolled / "Ada.png", "--json", "--top", 9).out)
    assert [candidate["name"] for candidate in named["faces"][0]["candidates"]] == ["Bob"]
    assert "(expired)" in run("list").out
    assert run("doctor").code == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = run("purge")
    assert (done.code, "Ada.png (Ada)" in done.err, "nothing was changed" in done.err) == (2, True, True)
    done = run("purge", "--yes")
    assert (done.code, "deleted 1 face; 1 person is gone" in done.err) == (0, True)
    assert [one["name"] for one in lines(run("list", "--json").out)] == ["Bob"]
    assert run("doctor").code == 0


def test_the_log_lists_changes_and_undo_takes_them_back(run, enrolled, monkeypatch, tmp_path):
    run("rename", "Ada", "Ada Lovelace")
    run("merge", "Bob", "Ada Lovelace", "--yes")
    listed = lines(run("log", "--json").out)
    assert_fields_described(listed, "log")
    assert [(one["kind"], one["name"], one["former"]) for one in listed] == [
        ("enrolled", "Ada", None),
        ("enrolled", "Bob", None),
        ("renamed", "Ada Lovelace", "Ada"),
        ("merged", "Ada Lovelace", "Bob"),
    ]
    assert listed[0]["paths"] == [str(enrolled / "Ada.png")]
    assert "Ada to Ada Lovelace" in run("log").out
    assert run("log", "-o", tmp_path / "log.json").code == 0
    assert lines((tmp_path / "log.json").read_text("utf-8")) == listed
    assert lines(run("log", "--json", "--since", "1d").out) == listed
    assert lines(run("log", "--json", "--since", "2999-01-01").out) == []
    one_line(run("log", "--since", "someday"), "someday", "2026-11-30")
    done = run("undo")
    assert (done.code, done.out) == (0, "")
    assert "Bob is apart from Ada Lovelace again, with 1 photo" in done.err
    assert "Ada Lovelace is Ada again" in run("undo").err
    done = run("undo")
    assert (done.code, "no change of index is left" in done.err) == (1, True)
    assert [one["kind"] for one in lines(run("log", "--json").out)] == ["enrolled", "enrolled"]


def test_undo_says_what_cannot_come_back_and_asks(run, enrolled, monkeypatch):
    run("rename", "Ada", "Ada Lovelace")
    run("remove", "Bob", "--yes")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    done = run("undo")
    assert done.code == 2
    assert "cannot be undone, because nothing deleted is kept" in done.err
    assert "person deleted" in done.err
    assert "renamed, Ada to Ada Lovelace" in done.err
    assert "Ada is" not in done.err
    assert run("undo", "--yes").code == 0
    assert [one["name"] for one in lines(run("list", "--json").out)] == ["Ada"]
    assert run("undo").code == 1


def test_an_undone_consent_is_as_before(run, enrolled):
    before = lines(run("list", "--json").out)
    run("consent", "Ada", "--consent", "other", "--expires", "1y")
    assert "Ada" in run("undo").err
    assert lines(run("list", "--json").out) == before


def test_whoever_loses_every_photo_keeps_named_faces_and_is_told_of(run, photos):
    save_face(photos.parent / "trip" / "one.png", 1, side=160)
    run("scan", photos.parent / "trip", "--model", "fast")
    run("cluster")
    run("name", 1, "Ada")
    run("enroll", photos)
    (photos / "Ada.png").unlink()
    with Gallery("index") as opened:
        opened.remove_photos([photo for photo in opened._store.photos() if "trip" in photo.source])
    done = run("enroll", photos, "--update", "--yes")
    assert "Ada has no enrolled photo any more" in done.err
    assert [(one["name"], one["photos"]) for one in lines(run("list", "--json").out)] == [("Ada", 0), ("Bob", 1)]
    assert len(lines(run("find", "Ada", "--json").out)) == 1
    assert "Ada" in run("show", "Ada").out
