"""Names for groups: who is enrolled by which photos, and what a name leaves alone."""

import numpy as np
import pytest

from facedex.errors import DataError, GroupNotFound, NameInvalid
from facedex.library.group_names import best_and_different, ignore_group, name_group, split_group
from facedex.library.groups import cluster
from tests.helpers import near, record, scanned, seen_file, unit

ADA, BOB = unit(2, seed=21)


@pytest.fixture
def files():
    return [seen_file(f"/photos/{n:02d}.jpg", near(ADA, n), quality=20.0 + n) for n in range(12)]


def test_a_group_gets_a_name_and_its_best_photos_are_enrolled(tmp_path, files):
    with scanned(tmp_path / "g", files) as opened:
        (group,) = cluster(opened)
        done = name_group(opened, group.number, "  Ada Lovelace ")
        assert (done.name, done.faces, done.enrolled, done.others) == ("Ada Lovelace", 12, 8, 0)
        assert len(opened.library.faces_named("Ada Lovelace")) == 12
        enrolled = {photo.source for photo in opened._store.photos()}
        assert len(enrolled) == 8
        assert "/photos/11.jpg" in enrolled  # the clearest
        assert opened.match(near(ADA, 99), top=1)[0].name == "Ada Lovelace"


def test_a_second_group_joins_a_person_who_is_enrolled(tmp_path, files):
    with scanned(tmp_path / "g", files, [record("Ada", ADA, files[11].photo)]) as opened:
        (group,) = cluster(opened)
        done = name_group(opened, group.number, "Ada")
        assert (done.enrolled, done.faces) == (8, 11)  # the twelfth is enrolled already
        assert opened.faces == 9
        assert [person.name for person in opened.people()] == ["Ada"]


def test_a_face_that_is_enrolled_as_another_person_is_left_alone(tmp_path, files):
    with scanned(tmp_path / "g", files) as opened:
        (group,) = cluster(opened)
        first = files[0]
        opened.add_faces([record("Eve", first.faces[0].vector, first.photo)])
        done = name_group(opened, group.number, "Ada")
        assert (done.faces, done.others) == (11, 1)
        assert first.photo not in opened.library.faces_named("Ada").digests


def test_what_cannot_be_named(tmp_path, files):
    with scanned(tmp_path / "g", files) as opened:
        with pytest.raises(GroupNotFound, match="cluster"):
            name_group(opened, 1, "Ada")
        (group,) = cluster(opened)
        with pytest.raises(NameInvalid):
            name_group(opened, group.number, "unknown")
        assert opened.people() == []
        name_group(opened, group.number, "Ada")
        with pytest.raises(GroupNotFound, match="name already"):
            name_group(opened, group.number, "Bob")
        with pytest.raises(GroupNotFound):
            ignore_group(opened, 99)
        assert [person.name for person in opened.people()] == ["Ada"]


def test_the_clearest_comes_first_and_then_what_differs_most():
    corners = np.eye(4, dtype=np.float32)
    vectors = np.concatenate([corners[[0, 0, 1, 0, 2]], -corners[:1]])
    quality = np.array([9.0, 8.0, 7.0, 6.0, 5.0, 1.0])
    assert best_and_different(vectors, quality, 3) == [0, 2, 1]
    assert best_and_different(vectors, quality, 6, unclear=4.5)[:3] == [0, 2, 4]
    assert 5 not in best_and_different(vectors, quality, 6, unclear=4.5)
    assert best_and_different(vectors, quality, 6, unclear=100) == [0]
    assert sorted(best_and_different(vectors, quality, 99)) == list(range(6))


def state_of(opened):
    faces = opened.library.faces()
    people = [(person.name, person.photos) for person in opened.people()]
    return people, faces.people.tolist(), faces.groups.tolist(), [group.number for group in cluster(opened)]


def undone(opened):
    """Name, scanned faces and enrolled photos of the change that is undone now."""
    done = opened.undo()
    return done.change.name, done.faces, done.photos


def test_undo_takes_back_one_name_after_the_other(tmp_path, files):
    files += [seen_file(f"/bob/{n}.jpg", near(BOB, n)) for n in range(3)]
    with scanned(tmp_path / "g", files) as opened:
        first, second = (group.number for group in cluster(opened))
        unnamed = state_of(opened)
        name_group(opened, first, "Ada")
        one_name = state_of(opened)
        name_group(opened, second, "Bob")
        assert undone(opened) == ("Bob", 3, 3)
        assert state_of(opened) == one_name
        assert [candidate.name for candidate in opened.match(BOB, top=9)] == ["Ada"]
        assert undone(opened) == ("Ada", 12, 8)
        assert state_of(opened) == unnamed
        assert opened.undo() is None


def test_undo_leaves_what_was_enrolled_by_hand(tmp_path, files):
    with scanned(tmp_path / "g", files, [record("Ada", ADA)]) as opened:
        (group,) = cluster(opened)
        name_group(opened, group.number, "Ada")
        assert undone(opened) == ("Ada", 12, 8)
        assert [(person.name, person.photos) for person in opened.people()] == [("Ada", 1)]


def test_a_split_face_never_comes_back(tmp_path, files):
    with scanned(tmp_path / "g", files) as opened:
        (group,) = cluster(opened)
        number = split_group(opened, group.number, ["/photos/03.jpg", "/photos/04.jpg"])
        assert {one.number: one.faces for one in cluster(opened)} == {group.number: 10, number: 2}
        with opened.changing_library() as store:
            store.library.save([seen_file("/photos/late.jpg", near(ADA, 77))])
        later = cluster(opened)
        assert sum(one.faces for one in later) == 13
        faces = opened.library.faces()
        apart = set(faces.groups[[3, 4]].tolist())
        assert not apart & set(np.delete(faces.groups[:12], [3, 4]).tolist())


def test_what_cannot_be_split(tmp_path, files):
    with scanned(tmp_path / "g", files) as opened:
        (group,) = cluster(opened)
        with pytest.raises(GroupNotFound):
            split_group(opened, 99, ["/photos/03.jpg"])
        with pytest.raises(DataError, match="elsewhere"):
            split_group(opened, group.number, ["/photos/03.jpg", "/elsewhere.jpg"])
        with pytest.raises(DataError, match="no face left"):
            split_group(opened, group.number, [file.source for file in files])
        assert [one.faces for one in cluster(opened)] == [12]
