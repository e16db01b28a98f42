"""Groups of scanned faces: who belongs together, what is known beforehand, and numbers that stay."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from facedex.gallery.gallery import Gallery
from facedex.library import groups as grouping
from facedex.library.group_names import ignore_group, name_group, split_group
from facedex.library.groups import cluster, stored_groups
from tests.helpers import near, record, scanned, seen_file, unit

PEOPLE = unit(5, seed=11)


def photo_of(*who, number=0, quality=20.0):
    """A photo with a face of each of these people (rows of PEOPLE)."""
    name = f"/photos/{'-'.join(map(str, who))}_{number}.jpg"
    return seen_file(name, *(near(PEOPLE[one], number + 100 * one) for one in who), quality=quality)


def photos_of(who, count, first=0):
    return [photo_of(who, number=number) for number in range(first, first + count)]


@pytest.fixture
def opened(tmp_path):
    """Five photos of the first person, three of the second, two of both, one of the third."""
    together = [photo_of(0, 1, number=number) for number in (50, 51)]
    with scanned(tmp_path / "g", [*photos_of(0, 5), *photos_of(1, 3), *together, photo_of(2)]) as found:
        yield found


def add(opened, *files):
    with opened.changing_library() as store:
        store.library.save(files)


def members(opened):
    """The people (rows of PEOPLE) and the number of faces in each group, by its number."""
    faces = opened.library.faces()
    found = {}
    for group in sorted(set(faces.groups.tolist()) - {0}):
        rows = faces.groups == group
        found[group] = (set(np.argmax(faces.vectors[rows] @ PEOPLE.T, 1).tolist()), int(rows.sum()))
    return found


def test_faces_of_one_person_are_one_group_and_the_largest_comes_first(opened):
    groups = cluster(opened)
    assert [(group.faces, group.photos) for group in groups] == [(7, 7), (5, 5), (1, 1)]
    assert members(opened) == {1: ({0}, 7), 2: ({1}, 5), 3: ({2}, 1)}
    assert len(groups[0].examples) == 3
    assert all(example.startswith("/photos/0") for example in groups[0].examples)
    assert groups[0].resembles is None


def test_a_second_run_changes_nothing(opened):
    before = cluster(opened)
    stored, revision = opened.library.faces().groups.tolist(), opened._store._db.rows("PRAGMA data_version")
    changes = opened._store._db.connection.total_changes
    assert cluster(opened) == before
    assert opened.library.faces().groups.tolist() == stored
    assert opened._store._db.rows("PRAGMA data_version") == revision
    assert opened._store._db.connection.total_changes == changes


def test_two_faces_of_one_photo_are_two_people_however_alike(tmp_path):
    twins = [seen_file(f"/twins{n}.jpg", near(PEOPLE[0], n), near(PEOPLE[0], n + 50)) for n in range(3)]
    with scanned(tmp_path / "g", twins) as opened:
        cluster(opened)
        faces = opened.library.faces()
        assert all(len({*faces.groups[faces.photos == photo].tolist()}) == 2 for photo in (1, 2, 3))


def test_groups_keep_their_numbers_when_photos_come_and_go(opened):
    cluster(opened)
    add(opened, *photos_of(1, 6, first=20), *photos_of(3, 9))
    groups = {group.number: group.faces for group in cluster(opened)}
    assert groups == {1: 7, 2: 11, 3: 1, 4: 9}
    with opened.changing_library() as store:
        store.library.drop_files([photo.source for photo in photos_of(0, 4)])
    assert {group.number: group.faces for group in cluster(opened)} == {1: 3, 2: 11, 3: 1, 4: 9}


def test_a_blurred_face_joins_last_and_is_no_bridge(tmp_path):
    between = (PEOPLE[0] + PEOPLE[1]) / np.sqrt(2)
    blurred = [seen_file(f"/blur{n}.jpg", near(between, n, 0.1), quality=0.5) for n in range(3)]
    with scanned(tmp_path / "g", [*photos_of(0, 4), *photos_of(1, 4), *blurred]) as opened:
        assert opened.calibration.unclear > 0.5
        cluster(opened)
        faces = opened.library.faces()
        assert len(set(faces.groups[:4].tolist())) == len(set(faces.groups[4:8].tolist())) == 1
        assert faces.groups[0] != faces.groups[4]


def test_faces_like_an_enrolled_person_say_so_and_get_no_name(tmp_path):
    with scanned(tmp_path / "g", [*photos_of(0, 4), *photos_of(1, 3)], [record("Ada", PEOPLE[0])]) as opened:
        assert [(group.faces, group.resembles) for group in cluster(opened)] == [(4, "Ada"), (3, None)]
        assert opened.library.counts().named == 0


def test_an_enrolled_face_needs_no_name(tmp_path):
    files = photos_of(0, 4)
    enrolled = record("Ada", files[0].faces[0].vector, files[0].photo)
    with scanned(tmp_path / "g", files, [enrolled]) as opened:
        assert [(group.faces, group.resembles) for group in cluster(opened)] == [(3, "Ada")]


def test_faces_that_come_later_resemble_the_named_person(opened):
    cluster(opened)
    name_group(opened, 1, "Ada")
    assert [group.number for group in cluster(opened)] == [2, 3]
    add(opened, *photos_of(0, 2, first=30))
    late = cluster(opened)
    assert [(group.number, group.faces, group.resembles) for group in late] == [
        (2, 5, None),
        (4, 2, "Ada"),
        (3, 1, None),
    ]
    assert opened.library.counts().named == 7  # nobody is named but by the user


def test_faces_of_two_named_people_never_share_a_group(opened):
    cluster(opened)
    with opened.changing_library() as store:
        faces = store.library.faces()
        own = faces.ids[faces.groups == 1].tolist()
        store.name_scanned("Ada", [], own[:1])
        store.name_scanned("Bea", [], own[1:2])
    add(opened, *photos_of(0, 2, first=30))
    groups = cluster(opened)
    assert {group.resembles for group in groups} <= {"Ada", "Bea", None}
    assert sum(group.faces for group in groups) == opened.library.counts().faces - 2


def test_faces_join_an_ignored_group(opened):
    cluster(opened)
    ignore_group(opened, 2)
    add(opened, *photos_of(1, 2, first=30))
    assert {group.number: (group.faces, group.ignored) for group in cluster(opened)} == {
        1: (7, False),
        2: (7, True),
        3: (1, False),
    }
    ignore_group(opened, 2, False)
    assert not any(group.ignored for group in cluster(opened))


def test_an_empty_library_has_no_groups(tmp_path):
    with scanned(tmp_path / "g", [seen_file("/none.jpg")]) as opened:
        assert cluster(opened) == stored_groups(opened) == []


def test_a_rate_that_is_none_is_refused(opened):
    with pytest.raises(ValueError, match="rate"):
        cluster(opened, rate=1.5)
    assert stored_groups(opened) == []


def while_computing(monkeypatch, opened, *changes):
    """Let each computation of groups be followed by the next of these changes, made by another Gallery; count them."""
    real, runs = grouping.group_faces, []

    def compute(*arguments):
        groups = real(*arguments)
        runs.append(None)
        if len(runs) <= len(changes):
            with Gallery(opened.folder) as other:
                changes[len(runs) - 1](other)
        return groups

    monkeypatch.setattr(grouping, "group_faces", compute)
    monkeypatch.setattr("facedex.store.lock.BUSY_SECONDS", 0.2)  # a lock that is held shall fail soon
    return runs


def test_photos_may_be_scanned_while_groups_are_computed(opened, monkeypatch):
    runs = while_computing(monkeypatch, opened, lambda other: add(other, *photos_of(3, 4)))
    assert [group.faces for group in cluster(opened)] == [7, 5, 1]
    assert len(runs) == 1
    assert opened.library.faces().groups[-4:].tolist() == [0] * 4
    assert [group.faces for group in cluster(opened)] == [7, 5, 4, 1]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda other: name_group(other, 2, "Bea"), {1: 7, 3: 1}),
        (lambda other: ignore_group(other, 2), {1: 7, 2: 5, 3: 1}),
        (lambda other: split_group(other, 1, ["/photos/0_0.jpg"]), {1: 6, 2: 5, 3: 1, 4: 1}),
        (lambda other: other.add_faces([record("Ada", PEOPLE[0])]), {1: 7, 2: 5, 3: 1}),
    ],
)
def test_a_decision_made_while_groups_are_computed_counts(opened, monkeypatch, change, left):
    cluster(opened)
    runs = while_computing(monkeypatch, opened, change)
    groups = cluster(opened)
    assert len(runs) == 2
    assert {group.number: group.faces for group in groups} == left
    monkeypatch.undo()
    assert cluster(opened) == groups


def test_groups_are_found_though_somebody_decides_all_the_time(opened, monkeypatch):
    cluster(opened)
    changes = [lambda other: name_group(other, 2, "Bea"), lambda other: name_group(other, 3, "Cy")]
    runs = while_computing(monkeypatch, opened, *changes)
    assert [group.number for group in cluster(opened)] == [1]
    assert len(runs) == 3


def test_a_large_library_takes_little_memory(tmp_path):
    files = [seen_file(f"/{number}.jpg", vector) for number, vector in enumerate(unit(12_000))]
    with scanned(tmp_path / "g", files) as opened:
        del files
        tracemalloc.start()
        try:
            cluster(opened)
            assert tracemalloc.get_traced_memory()[1] < 12_000 * 5_000  # bytes a face, of which z has 2,048
        finally:
            tracemalloc.stop()


def test_faces_without_detail_are_no_group_of_their_own(tmp_path):
    def files(sharpness):
        photos = [seen_file(f"/crowd{n}.jpg", near(PEOPLE[0], n, 0.8)) for n in range(20)]
        return [replace(one, faces=tuple(replace(face, sharpness=sharpness) for face in one.faces)) for one in photos]

    def largest(folder, sharpness):
        with scanned(folder, files(sharpness)) as opened:
            return cluster(opened)[0].faces

    assert largest(tmp_path / "sharp", 0.1) > 10
    assert largest(tmp_path / "faint", 0.001) < 4
