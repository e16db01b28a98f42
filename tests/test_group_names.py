"""Names for groups: who is enrolled by which photos, and what a name leaves alone."""

import numpy as np
import pytest

from facedex.errors import GroupNotFound, NameInvalid
from facedex.library.group_names import best_and_different, ignore_group, name_group
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
