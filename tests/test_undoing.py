"""Undoing: each kind of change is taken back exactly, the last one first; deletions stay."""

import numpy as np
import pytest

from facedex.errors import GalleryError
from facedex.library.group_names import ignore_group, name_group, split_group
from facedex.library.groups import cluster
from facedex.store import changelog, undoing
from facedex.store.face_links import APART
from tests.helpers import gallery, near, record, scanned, seen_file, sha, unit

ADA, BOB, CY = unit(3, seed=61)


def state_of(opened):
    """Every row but revisions, ids given out, and the log."""
    tables = ("person", "face", "face_name", "face_apart", "face_group", "scanned_face", "scanned_file")
    return {table: opened._store._db.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}


@pytest.fixture
def opened(tmp_path):
    """Ada and Bob enrolled, with named scanned faces; two groups of unnamed faces, one of which resembles Bob."""
    files = [seen_file(f"/ada/{n}.jpg", near(ADA, n)) for n in range(4)]
    files += [seen_file(f"/bob/{n}.jpg", near(BOB, n)) for n in range(4)]
    files += [seen_file(f"/cy/{n}.jpg", near(CY, n)) for n in range(4)]
    with scanned(tmp_path / "g", files, [record("Ada", ADA), record("Bob", BOB)]) as found:
        with found.changing_library() as store:
            store.name_scanned("Ada", [], [1, 2])
            store.name_scanned("Bob", [], [5])
        cluster(found)
        yield found


def group_of(opened, face):
    return int(opened.library.faces().groups[face - 1])


CHANGES = {
    "merged": lambda opened: opened.merge("Bob", "Ada"),
    "corrected": lambda opened: opened.correct(opened.enrolled_photos("Ada")[1][0].face, "Cy"),
    "consent": lambda opened: opened.set_consent("Ada", "form", "2999-12-31"),
    "split": lambda opened: split_group(opened, group_of(opened, 9), ["/cy/1.jpg", "/cy/2.jpg"]),
    "ignored": lambda opened: ignore_group(opened, group_of(opened, 9)),
    "named": lambda opened: name_group(opened, group_of(opened, 9), "Cy"),
    "renamed": lambda opened: opened.rename("Ada", "Ada Lovelace"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_is_undone_exactly(opened, kind):
    before, lines = state_of(opened), opened.changes()
    CHANGES[kind](opened)
    assert state_of(opened) != before
    assert opened.changes()[-1][0].kind == kind
    assert opened.undo().change.kind == kind
    assert state_of(opened) == before
    assert opened.changes() == lines
    assert opened._store.counted() == (2, 2, opened._store.state.digest)
    assert [candidate.name for candidate in opened.match(BOB, top=1)] == ["Bob"]


def test_changes_are_undone_one_after_the_other(opened):
    states = []
    for change in CHANGES.values():
        states.append(state_of(opened))
        change(opened)
    for before in reversed(states):
        opened.undo()
        assert state_of(opened) == before
    assert [opened.undo().change.name for _ in range(2)] == ["Bob", "Ada"]  # the names of the fixture
    assert opened.undo() is None


@pytest.mark.parametrize("lost", [["Ada"], ["Bob"], ["Ada", "Bob"]])
@pytest.mark.parametrize("kind", ["merged", "renamed", "named again"])
def test_changes_of_people_without_photos_are_undone_exactly(opened, kind, lost):
    for name in lost:
        opened.set_consent(name, "form", "2999-12-31")
        opened.remove_photos([photo for photo in opened._store.photos() if photo.name == name])
    before = state_of(opened)
    change = CHANGES.get(kind, lambda opened: name_group(opened, group_of(opened, 9), "Ada"))
    change(opened)
    opened.undo()
    assert state_of(opened) == before
    assert len(opened) == 2 - len(lost)


@pytest.mark.parametrize("to", ["Bob", "Cy"])
def test_a_correction_of_an_only_face_is_undone_exactly(opened, to):
    opened.remove("Ada")
    opened.add_faces([record("Ada", ADA)])
    before, lines = state_of(opened), opened.changes()
    opened.correct(opened.enrolled_photos("Ada")[1][0].face, to)
    assert [person.name for person in opened.people()] == sorted({"Bob", to})
    opened.undo()
    assert (state_of(opened), opened.changes()) == (before, lines)


def test_a_correction_leaves_and_gives_back_the_last_day_of_a_consent(opened):
    for name in ("Ada", "Bob"):
        opened.set_consent(name, "form", "2999-12-31")
    opened.remove_photos(opened.enrolled_photos("Bob")[1])  # the scanned faces of Bob stay
    before = state_of(opened)
    opened.correct(opened.enrolled_photos("Ada")[1][0].face, "Bob")
    ends = {row[1]: (row[2:], row) for row in state_of(opened)["person"]}
    assert "2999-12-31" in str(ends["Ada"]), "Ada has no photo left, and her names of scanned faces have a last day"
    opened.undo()
    assert state_of(opened) == before


def test_a_corrected_name_is_in_no_line_once_its_person_is_deleted(opened):
    opened.correct(opened.enrolled_photos("Ada")[1][0].face, "Cy")
    opened.remove("Ada")
    assert "Ada" not in str([change for change, _ in opened.changes()])
    assert opened.undoable()[0].kind != "corrected"


def test_a_split_is_undone_after_the_faces_were_grouped_anew(opened):
    number = group_of(opened, 9)
    split_group(opened, number, ["/cy/1.jpg"])
    cluster(opened)
    opened.undo()
    assert opened.library.links.rows(APART) == []
    assert {group.number: group.faces for group in cluster(opened)}[number] == 4


def test_an_ignored_group_that_is_listed_again_is_two_changes(opened):
    number = group_of(opened, 9)
    ignore_group(opened, number)
    ignore_group(opened, number, False)
    opened.undo()
    assert opened.library.groups()[number].ignored
    opened.undo()
    assert not opened.library.groups()[number].ignored


def test_photos_enrolled_after_a_merge_stay_where_they_are(opened):
    opened.merge("Bob", "Ada")
    opened.add_faces([record("Ada", near(ADA, 50))])
    undone = opened.undo()
    assert (undone.change.former, undone.photos, undone.faces) == ("Bob", 1, 1)
    assert [(person.name, person.photos) for person in opened.people()] == [("Ada", 2), ("Bob", 1)]


def test_a_merge_that_deleted_a_double_cannot_be_undone(tmp_path):
    photo = sha("both")
    with gallery(tmp_path / "g", [record("Ada", ADA, photo), record("Bob", BOB, photo), record("Bob", CY)]) as opened:
        opened.merge("Bob", "Ada")
        assert opened.undo() is None


def test_what_came_later_may_stand_in_the_way(opened):
    opened.rename("Ada", "Ada Lovelace")
    opened.add_faces([record("Ada", CY)])
    before = state_of(opened)
    with pytest.raises(GalleryError, match="'Ada' is enrolled already"):
        opened.undo()
    assert state_of(opened) == before
    opened.rename("Ada", "Eve")
    opened.undo()  # the rename of Eve
    opened.remove("Ada")
    opened.undo()
    assert "Ada" in [person.name for person in opened.people()]


def test_a_merged_name_that_was_enrolled_anew_stands_in_the_way(opened):
    opened.merge("Bob", "Ada")
    opened.add_faces([record("Bob", CY)])
    with pytest.raises(GalleryError, match="enrolled anew"):
        opened.undo()


def test_a_deletion_is_told_and_what_is_before_it_can_be_undone(opened):
    opened.rename("Ada", "Ada Lovelace")
    opened.remove("Bob")
    change, deletions = opened.undoable()
    assert (change.kind, [deletion.kind for deletion in deletions]) == ("renamed", ["removed"])
    assert opened.undo(change.number).change.former == "Ada"
    assert [person.name for person in opened.people()] == ["Ada"]


def test_only_the_change_that_was_meant_is_undone(opened):
    meant = opened.undoable()[0]
    opened.rename("Ada", "Ada Lovelace")
    with pytest.raises(GalleryError, match="Another change"):
        opened.undo(meant.number)
    assert "Ada Lovelace" in [person.name for person in opened.people()]


def test_every_kind_that_can_be_undone_has_words():
    assert set(undoing.UNDO) <= set(changelog.KINDS)
    assert not set(undoing.UNDO) & set(changelog.DELETIONS)


def test_an_open_reader_follows_an_undoing(opened):
    from facedex.gallery.gallery import Gallery

    with Gallery(opened.folder) as reader:
        name_group(opened, group_of(opened, 9), "Cy")
        assert reader.match(CY)[0].name == "Cy"
        opened.undo()
        assert reader.match(CY)[0].name != "Cy"
        np.testing.assert_equal(len(reader), 2)
