"""The photos that show a person: named faces, enrolled photos, copies, and several people together."""

from dataclasses import replace

import pytest

from facedex.errors import PersonNotFound
from facedex.faces import detector
from facedex.library.finding import find_photos_of
from facedex.store.face_links import NOT_FACE, NOT_PERSON
from tests.helpers import near, record, scanned, seen_file, unit

A, B, C, D = unit(4, seed=31)


@pytest.fixture
def opened(tmp_path):
    """Ada is in three photos, with Bob in one of them; one of hers was only enrolled, and one lies at two paths."""
    files = [
        seen_file("/photos/both.jpg", A, B, quality=15.0),
        seen_file("/photos/ada.jpg", C, quality=18.0),
        seen_file("/photos/ada copy.jpg", photo=seen_file("/photos/ada.jpg").photo),
        seen_file("/photos/nobody.jpg", D),
    ]
    with scanned(tmp_path / "g", files, [record("Ada", D + 0.01)]) as found:
        with found.changing_library() as store:
            store.name_scanned("Ada", [], [1, 3])
            bob = replace(record("Bob", B, files[0].photo), box=files[0].faces[1].box)
            store.name_scanned("Bob", [bob], [2])
        yield found


def test_the_clearest_photos_come_first(opened):
    found = find_photos_of(opened, ["Ada"])
    assert [photo.photo for photo in found] == [
        "/photos/Ada.jpg",
        "/photos/ada copy.jpg",
        "/photos/ada.jpg",
        "/photos/both.jpg",
    ]
    assert [photo.quality for photo in found] == sorted((photo.quality for photo in found), reverse=True)
    assert found[-1].boxes == ((10.0, 20.0, 60.0, 80.0),)


def test_photos_of_two_people_show_both(opened):
    (found,) = find_photos_of(opened, ["Bob", "Ada"])
    assert found.photo == "/photos/both.jpg"
    assert found.boxes == ((110.0, 20.0, 60.0, 80.0), (10.0, 20.0, 60.0, 80.0))
    assert found.quality == 15.0


def test_an_enrolled_photo_that_moved_is_found_at_its_new_place(tmp_path):
    files = [seen_file("/new/place.jpg", A)]
    enrolled = record("Ada", A, files[0].photo)
    with scanned(tmp_path / "g", files, [enrolled]) as opened:
        assert "/new/place.jpg" in [photo.photo for photo in find_photos_of(opened, ["Ada"])]


def test_other_faces_of_an_enrolled_photo_are_not_hers(tmp_path):
    files = [seen_file("/photos/both.jpg", A, B)]
    with scanned(tmp_path / "g", files, [record("Ada", A, files[0].photo)]) as opened:
        found = {photo.photo: photo.boxes for photo in find_photos_of(opened, ["Ada"])}
        assert found["/photos/both.jpg"] == ((10.0, 20.0, 60.0, 80.0),)


def test_an_unknown_name_is_an_error(opened):
    with pytest.raises(PersonNotFound, match="did you mean 'Ada'"):
        find_photos_of(opened, ["Adam"])


def test_whoever_is_enrolled_after_the_scan_is_found_without_a_name_given(tmp_path):
    """An unnamed face counts if identify would name it, unless a user has said that it is somebody else, or no face."""
    files = [seen_file(f"/photos/{at}.jpg", near(A, at), quality=20.0 - at) for at in range(4)]
    files = [replace(file, detector=detector.VERSION) for file in (*files, seen_file("/photos/stranger.jpg", B))]
    with scanned(tmp_path / "g", files, [record("Ada", A)]) as opened:
        first, *found = find_photos_of(opened, ["Ada"])
        assert (first.photo, first.probabilities) == ("/photos/Ada.jpg", (None,))
        assert [photo.photo for photo in found] == [f"/photos/{at}.jpg" for at in range(4)]
        assert all(0.9 < probability <= 1 for photo in found for probability in photo.probabilities)
        with opened.changing_library() as store:
            person = opened.find("Ada")[0].id
            store.library.decide("not-person", "", [2], add={NOT_PERSON: [(2, person)]}, person=(person, "Ada"))
            store.library.decide("not-a-face", "", [3], add={NOT_FACE: [(3,)]})
        assert [photo.photo for photo in find_photos_of(opened, ["Ada"])[1:]] == ["/photos/0.jpg", "/photos/3.jpg"]
