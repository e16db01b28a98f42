"""Groups that a user joins, and faces that are none: what stays so for good, and undo."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from facedex.errors import DataError, GroupNotFound, PersonNotFound
from facedex.faces import detector
from facedex.library.finding import find_photos_of
from facedex.library.group_edits import join_groups, mark_not_faces, remove_from_person
from facedex.library.group_names import name_group, split_group
from facedex.library.groups import cluster
from facedex.library.scan import list_photos, scan
from facedex.store.face_links import APART, SAME
from tests.helpers import near, other_encoder, record, save_face, scanned, seen_file
from tests.test_review import ADA, BOB, CY, HARDLY, between, photos, sizes, state, strangers


@pytest.fixture
def opened(tmp_path):
    """Six photos of Ada, four of Bob, three of Cy, and one of each of many strangers."""
    files = [*photos(ADA, 6, "ada"), *photos(BOB, 4, "bob"), *photos(CY, 3, "cy"), *strangers()]
    with scanned(tmp_path / "g", files) as found:
        assert sizes(cluster(found)) == {1: 6, 2: 4, 3: 3}
        yield found


def test_two_groups_are_joined_for_good(opened):
    assert join_groups(opened, 2, 1) == 10
    assert sizes(cluster(opened)) == {2: 10, 3: 3}
    with opened.changing_library() as store:
        store.library.save([*photos(ADA, 5, "more ada"), *photos(BOB, 5, "more bob")])
    assert sizes(cluster(opened)) == {2: 20, 3: 3}
    assert name_group(opened, 2, "Ada").faces == 20


def test_a_third_group_does_not_come_along(tmp_path):
    """The third group is near to both, and a united group would be large enough to draw it in."""
    near_both = between(ADA, BOB, 0.5)
    third = between(near_both, CY, 0.72)
    files = [*photos(ADA, 9, "ada"), *photos(BOB, 9, "bob"), *photos(third, 3, "third"), *strangers()]
    with scanned(tmp_path / "g", files) as opened:
        before = sizes(cluster(opened))
        assert before == {1: 9, 2: 9, 3: 3}
        join_groups(opened, 1, 2)
        assert sizes(cluster(opened)) == {1: 18, 3: 3}


def test_joined_groups_may_share_a_photo(tmp_path):
    """A collage shows one person twice, which no grouping could know."""
    collage = [seen_file(f"/collage/{n}.jpg", near(ADA, n), near(ADA, 50 + n)) for n in range(3)]
    with scanned(tmp_path / "g", [*collage, *strangers()]) as opened:
        assert sizes(cluster(opened)) == {1: 3, 2: 3}
        join_groups(opened, 1, 2)
        assert sizes(cluster(opened)) == {1: 6}


def test_a_join_is_undone_exactly(opened):
    before = state(opened)
    join_groups(opened, 1, 2)
    cluster(opened)
    opened.undo()
    assert state(opened) == before
    assert sizes(cluster(opened)) == {1: 6, 2: 4, 3: 3}


def test_the_last_decision_counts(opened):
    join_groups(opened, 1, 2)
    number = split_group(opened, 1, [f"/bob/{n}.jpg" for n in range(4)])
    assert opened.library.links.rows(SAME) == []
    assert sizes(cluster(opened)) == {1: 6, 3: 3, number: 4}
    join_groups(opened, 1, number)
    assert opened.library.links.rows(APART) == []
    assert sizes(cluster(opened)) == {1: 10, 3: 3}


def test_two_people_are_never_joined_by_a_link_of_their_faces(opened):
    join_groups(opened, 1, 2)
    with opened.changing_library(enrolls=True) as store:
        ids = store.library.faces().ids
        store.name_scanned("Ada", [], ids[:6].tolist())
        store.name_scanned("Bob", [], ids[6:10].tolist())
        store.library.save([*photos(ADA, 3, "new ada"), *photos(BOB, 3, "new bob")])
    groups = {group.resembles: group.faces for group in cluster(opened) if group.faces == 3 and group.resembles}
    assert groups == {"Ada": 3, "Bob": 3}


def test_whoever_is_apart_from_a_face_is_apart_from_its_whole_person(tmp_path):
    """Ada is not the third group, and Ada is the second group. So the second group is not the third one."""
    odd = between(ADA, BOB, HARDLY)
    files = [*photos(ADA, 6, "ada"), *photos(odd, 4, "odd"), *photos(CY, 3, "cy"), *strangers()]
    with scanned(tmp_path / "g", files) as opened:
        assert sizes(cluster(opened)) == {1: 6, 2: 4, 3: 3}
        with opened.changing_library() as store:
            faces = store.library.faces().ids.tolist()
            pairs = [(face, other) for face in faces[:6] for other in faces[10:13]]
            store.library.decide("apart", "", faces[:6], add={APART: pairs})
        join_groups(opened, 1, 2)
        bridge = [seen_file(f"/bridge/{n}.jpg", near(between(odd, CY, 0.5), n, 0.1)) for n in range(8)]
        with opened.changing_library() as store:
            store.library.save(bridge)
        cluster(opened)
        groups = opened.library.faces().groups
        assert not set(groups[:10].tolist()) & set(groups[10:13].tolist())


def test_what_cannot_be_joined(opened):
    with pytest.raises(GroupNotFound, match="group 99"):
        join_groups(opened, 1, 99)
    with pytest.raises(DataError, match="itself"):
        join_groups(opened, 1, 1)
    name_group(opened, 1, "Ada")
    with pytest.raises(GroupNotFound, match="without a name in group 1"):
        join_groups(opened, 1, 2)


def test_what_is_no_face_is_in_no_group(opened):
    assert mark_not_faces(opened, 2, ["/bob/0.jpg", "/bob/1.jpg"]) == 2
    assert sizes(cluster(opened)) == {1: 6, 2: 2, 3: 3}
    assert mark_not_faces(opened, 2) == 2
    with opened.changing_library() as store:
        store.library.save(photos(BOB, 3, "more bob"))
    assert sorted(sizes(cluster(opened)).values()) == [3, 3, 6]
    assert len(opened.library.faces(everything=True)) == len(opened.library.faces()) + 4


def test_no_face_is_undone_exactly_by_its_group_or_as_a_change(opened):
    before = state(opened)
    mark_not_faces(opened, 2)
    cluster(opened)
    assert mark_not_faces(opened, 2, ["/bob/0.jpg"], undo=True) == 1
    assert sizes(cluster(opened)) == {1: 6, 3: 3}
    opened.undo()
    opened.undo()
    assert state(opened) == before
    assert sizes(cluster(opened)) == {1: 6, 2: 4, 3: 3}


def test_what_cannot_be_marked(opened):
    with pytest.raises(GroupNotFound, match="group 99"):
        mark_not_faces(opened, 99)
    with pytest.raises(GroupNotFound, match="no face in group 1"):
        mark_not_faces(opened, 1, undo=True)
    with pytest.raises(DataError, match="elsewhere"):
        mark_not_faces(opened, 2, ["/bob/0.jpg", "/elsewhere.jpg"])
    assert len(opened.library.faces()) == len(opened.library.faces(everything=True))


def test_no_face_does_not_come_back_by_a_new_scan(tmp_path):
    """The same photo, a photo that moved, and a photo whose metadata changed."""
    folder = tmp_path / "photos"
    for side in (200, 220, 240):
        save_face(folder / f"{side}.png", 1, side=side)
    with scanned(tmp_path / "g", []) as opened:
        list(scan(opened, list_photos(folder)))
        (group,) = cluster(opened)
        assert group.faces == 3
        assert mark_not_faces(opened, group.number) == 3
        shutil.move(folder / "200.png", folder / "moved.png")
        with open(folder / "220.png", "ab") as file:
            file.write(b"more metadata")
        statuses = sorted(result.status for result in scan(opened, list_photos(folder)))
        assert statuses == ["changed", "known", "moved"]
        assert cluster(opened) == []
        assert len(opened.library.faces(everything=True)) == 3


def test_no_face_and_links_outlast_another_model(tmp_path):
    folder = tmp_path / "photos"
    for side in (200, 220, 240, 260):
        save_face(folder / f"{side}.png", 1, side=side)
    with scanned(tmp_path / "g", []) as opened:
        list(scan(opened, list_photos(folder)))
        (group,) = cluster(opened)
        mark_not_faces(opened, group.number, [folder / "200.png"])
        split_group(opened, group.number, [folder / "220.png"])
        assert opened.reindex(model=other_encoder(tmp_path / "other.safetensors")) == []
        assert sorted(group.faces for group in cluster(opened)) == [1, 2]
        assert len(opened.library.faces(everything=True)) == 4


def test_links_outlast_a_change_of_metadata(tmp_path):
    folder = tmp_path / "photos"
    for seed in (1, 2):
        for side in (200, 220):
            save_face(folder / f"{seed} {side}.png", seed, side=side)
    with scanned(tmp_path / "g", []) as opened:
        list(scan(opened, list_photos(folder)))
        (group,) = cluster(opened)
        split_group(opened, group.number, [folder / "2 200.png", folder / "2 220.png"])
        for path in folder.iterdir():
            with open(path, "ab") as file:
                file.write(b"more metadata")
        assert {result.status for result in scan(opened, list_photos(folder))} == {"changed"}
        assert [group.faces for group in cluster(opened)] == [2, 2]
        assert np.unique(opened.library.faces().ids).min() > 4  # these are new rows


def test_a_photo_is_taken_from_a_person_for_good(opened):
    name_group(opened, 1, "Ada")
    enrolled = len(opened.enrolled_photos("Ada")[1])
    assert remove_from_person(opened, "Ada", "/ada/0.jpg") == (1, 1)
    assert len(opened.enrolled_photos("Ada")[1]) == enrolled - 1
    assert {photo.source for photo in opened.enrolled_photos("Ada")[1]}.isdisjoint({"/ada/0.jpg"})
    assert len(opened.library.faces_named("Ada")) == 5
    groups = cluster(opened)  # the face resembles Ada as much as before
    (alone,) = [group for group in groups if "/ada/0.jpg" in group.examples]
    assert (alone.faces, alone.resembles) == (1, None)
    assert len(opened.library.faces_named("Ada")) == 5


def test_a_face_that_is_not_enrolled_leaves_and_comes_back_by_undo(tmp_path):
    with scanned(tmp_path / "g", [*photos(ADA, 20, "ada"), *strangers()]) as opened:
        cluster(opened)
        name_group(opened, 1, "Ada")
        enrolled = {photo.source for photo in opened.enrolled_photos("Ada")[1]}
        other = next(f"/ada/{n}.jpg" for n in range(20) if f"/ada/{n}.jpg" not in enrolled)
        before = state(opened)
        assert remove_from_person(opened, "Ada", [other]) == (1, 0)
        assert len(opened.library.faces_named("Ada")) == 19
        opened.undo()
        assert state(opened) == before


def test_no_photo_is_taken_from_a_person_who_is_not_in_it(opened):
    name_group(opened, 1, "Ada")
    before = state(opened)
    with pytest.raises(DataError, match=r"/bob/0\.jpg has no face of Ada"):
        remove_from_person(opened, "Ada", ["/ada/0.jpg", "/bob/0.jpg"])
    with pytest.raises(PersonNotFound):
        remove_from_person(opened, "Bob", ["/bob/0.jpg"])
    assert state(opened) == before


def test_a_face_that_recognition_alone_took_for_a_person_is_refused(tmp_path):
    files = [replace(file, detector=detector.VERSION) for file in (*photos(ADA, 3, "ada"), *strangers())]
    with scanned(tmp_path / "g", files, [record("Ada", ADA)]) as opened:
        assert {photo.photo for photo in find_photos_of(opened, ["Ada"])} >= {f"/ada/{n}.jpg" for n in range(3)}
        assert remove_from_person(opened, "Ada", "/ada/1.jpg") == (1, 0)
        found = {photo.photo for photo in find_photos_of(opened, ["Ada"])}
        assert found >= {"/ada/0.jpg", "/ada/2.jpg"}
        assert "/ada/1.jpg" not in found
        opened.undo()
        assert "/ada/1.jpg" in {photo.photo for photo in find_photos_of(opened, ["Ada"])}
