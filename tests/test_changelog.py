"""The log of changes: a line for every change, in its own transaction, and nothing of whoever was deleted."""

import sqlite3
from contextlib import closing

import pytest

from facedex.errors import GalleryError
from facedex.gallery.backup import backup, restore
from facedex.gallery.gallery import Gallery
from facedex.library.forgetting import forget
from facedex.library.group_names import ignore_group, name_group, split_group
from facedex.library.groups import cluster
from facedex.library.scan import list_photos, scan
from facedex.store import changelog
from tests.helpers import gallery, near, other_encoder, record, save_face, scanned, seen_file, sha, unit
from tests.test_deletion import files_with

ADA, BOB, CY = unit(3, seed=51)


def kinds(opened):
    return [change.kind for change, _ in opened.changes()]


def last(opened):
    """The newest line: kind, name, former name, photos, faces."""
    change = opened.changes()[-1][0]
    return change.kind, change.name, change.former, change.photos, change.faces


@pytest.fixture
def opened(tmp_path):
    with gallery(tmp_path / "g", [record("Ada", ADA), record("Ada", near(ADA, 1)), record("Bob", BOB)]) as found:
        yield found


def test_enrolled_people_have_a_line_each_with_their_photos(opened):
    lines = opened.changes()
    assert [(change.kind, change.name, change.photos, paths) for change, paths in lines] == [
        ("enrolled", "Ada", 2, ("/photos/Ada.jpg",)),
        ("enrolled", "Bob", 1, ("/photos/Bob.jpg",)),
    ]
    assert lines[0][0].made.endswith("+00:00")
    assert lines[0][0].account


def test_every_change_of_people_has_a_line(opened):
    opened.rename("Bob", "Bobby")
    assert last(opened) == ("renamed", "Bobby", "Bob", 0, 0)
    opened.set_consent("Bobby", "form", "2999-12-31")
    assert last(opened) == ("consent", "Bobby", None, 1, 0)
    assert opened.changes()[-1][0].detail == "until 2999-12-31"
    opened.merge("Bobby", "Ada")
    assert last(opened) == ("merged", "Ada", "Bobby", 1, 0)
    opened.remove_photos(opened._store.photos()[:1])
    assert last(opened) == ("photos-removed", "Ada", None, 1, 0)
    opened.remove("Ada")
    assert last(opened) == ("removed", None, None, 0, 0)


def test_a_photo_that_moved_to_another_person_has_a_line(opened):
    store = opened._store
    store.relocate(store.photos()[0], "Ada", "/new/Ada.jpg")
    assert last(opened) == ("moved", "Ada", None, 1, 0)
    store.relocate(store.photos()[0], "Cy", "/new/Cy.jpg")
    assert last(opened) == ("moved", "Cy", "Ada", 1, 0)
    assert opened.changes()[-1][1] == ("/new/Cy.jpg",)


def test_every_change_of_the_scanned_library_has_a_line(tmp_path):
    files = [seen_file(f"/photos/{n}.jpg", near(ADA, n)) for n in range(6)]
    with scanned(tmp_path / "g", files) as opened:
        assert last(opened) == ("scanned", None, None, 6, 6)
        (group,) = cluster(opened)
        split = split_group(opened, group.number, ["/photos/0.jpg"])
        assert last(opened) == ("split", None, None, 0, 1)
        assert opened.changes()[-1][1] == ("/photos/0.jpg",)
        ignore_group(opened, split)
        ignore_group(opened, split)  # nothing changes
        ignore_group(opened, split, False)
        assert kinds(opened)[-2:] == ["ignored", "listed"]
        name_group(opened, group.number, "Ada")
        assert last(opened) == ("named", "Ada", None, 5, 5)
        assert opened.changes()[-1][0].detail == f"group {group.number}"
        forget(opened, ["/photos/0.jpg"])
        assert last(opened) == ("forgotten", None, None, 1, 1)
        assert kinds(opened)[2:5] == ["ignored", "listed", "named"]


def test_a_scan_is_one_line_however_many_batches_it_has(tmp_path, monkeypatch):
    from facedex.library import scan as scanning

    monkeypatch.setattr(scanning, "_BATCH", 1)
    for seed in (1, 2):
        save_face(tmp_path / "photos" / f"{seed}.png", seed, side=160)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        list(scan(opened, list_photos(tmp_path / "photos")))
        list(scan(opened, list_photos(tmp_path / "photos")))  # everything is known
        assert kinds(opened) == ["scanned"]
        assert last(opened) == ("scanned", None, None, 2, 2)


def test_another_model_and_a_restored_backup_have_a_line(tmp_path):
    photo = save_face(tmp_path / "Ada.png", 1, side=160)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.enroll("Ada", photo)
        opened.reindex(other_encoder(tmp_path / "other.safetensors"))
        assert kinds(opened) == ["enrolled", "re-encoded"]
    backup(tmp_path / "g", tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "again")
    with Gallery(tmp_path / "again") as again:
        assert kinds(again) == ["enrolled", "re-encoded", "restored"]
    with Gallery(tmp_path / "g") as opened:
        assert kinds(opened) == ["enrolled", "re-encoded"]


def test_what_failed_has_no_line(opened):
    before = opened.changes()
    with pytest.raises(GalleryError):
        opened.rename("Ada", "Bob")
    with pytest.raises(GalleryError):
        opened.remove("Ada", "Nobody")
    with pytest.raises(GalleryError):
        opened.add_faces([record("Eve", CY, sha("one")), record("Eve", near(CY, 1), sha("one"))])
    assert opened.changes() == before
    assert [person.name for person in opened.people()] == ["Ada", "Bob"]


@pytest.mark.parametrize("table", ["face", "person"])
def test_a_change_whose_line_cannot_be_written_is_not_made(opened, table):
    """And the other way round, since both are one transaction."""
    with closing(sqlite3.connect(opened.folder / "gallery.db", isolation_level=None)) as connection:
        connection.execute("CREATE TRIGGER no_line BEFORE INSERT ON change BEGIN SELECT RAISE(ABORT, 'full'); END")
    before = opened._store._db.rows(f"SELECT * FROM {table}")
    for change in (
        lambda: opened.remove("Ada"),
        lambda: opened.rename("Ada", "Eve"),
        lambda: opened.merge("Ada", "Bob"),
        lambda: opened.add_faces([record("Cy", CY)]),
        lambda: opened.remove_photos(opened._store.photos()[:1]),
        lambda: opened.set_consent("Ada", "x"),
    ):
        with pytest.raises(GalleryError):
            change()
        assert opened._store._db.rows(f"SELECT * FROM {table}") == before


def test_a_deleted_person_is_named_nowhere(tmp_path):
    files = [seen_file(f"/Zebedee/{n}.jpg", near(ADA, n)) for n in range(3)]
    with scanned(tmp_path / "g", files, [record("Zebedee", ADA), record("Bob", BOB)]) as opened:
        opened.rename("Zebedee", "Zebedee Long")
        (group,) = [group for group in cluster(opened) if group.resembles == "Zebedee Long"]
        name_group(opened, group.number, "Zebedee Long")
        opened.set_consent("Zebedee Long", "signed by Zebedee", "2999-12-31")
        opened.rename("Zebedee Long", "Yannick")
        opened.remove("Yannick")
        forget(opened, [file.source for file in files])
        assert not any(files_with(opened.folder, name) for name in (b"Zebedee", b"Yannick"))
        assert kinds(opened) == [
            "enrolled",
            "enrolled",
            "scanned",
            "renamed",
            "named",
            "consent",
            "renamed",
            "removed",
            "forgotten",
        ]
        named = [(change.kind, change.name, paths) for change, paths in opened.changes() if change.name or paths]
        assert named == [("enrolled", "Bob", ("/photos/Bob.jpg",))]
        assert opened.undo() is None


def test_a_name_that_was_merged_away_goes_with_the_person_it_became(opened):
    opened.add_faces([record("Zebedee", CY)])
    opened.merge("Zebedee", "Bob")
    opened.merge("Bob", "Ada")
    opened.remove("Ada")
    assert not any(files_with(opened.folder, name) for name in (b"Zebedee", b"Bob", b"Ada"))


def test_the_log_begins_where_it_is_asked_to(opened):
    with opened.changing_library() as store:
        store.database.execute("UPDATE change SET made = '2001-01-01T00:00:00+00:00' WHERE id = 1")
    assert [change.name for change, _ in opened.changes("2001-01-02")] == ["Bob"]
    assert len(opened.changes("2001-01-01")) == 2


def test_every_kind_has_words():
    assert set(changelog.DELETIONS) < set(changelog.KINDS)
