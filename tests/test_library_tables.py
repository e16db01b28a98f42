"""The scanned library in gallery.db: checksums, people who change, deletion, backup, doctor, another model."""

import dataclasses
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from facedex.errors import FacedexError, GalleryDamaged, GalleryError
from facedex.gallery.backup import backup, restore
from facedex.gallery.doctor import examine
from facedex.gallery.gallery import Gallery
from facedex.library.group_names import name_group
from facedex.library.scan import list_photos, scan
from tests.helpers import other_encoder, record, save_face, scanned, seen_file, unit
from tests.test_deletion import files_with, traces

VECTORS = unit(6, seed=4)


@pytest.fixture
def opened(tmp_path):
    """Two scanned photos with two faces each, of which Ada and Bob have one each; Ada and Cy are enrolled."""
    files = [seen_file("/photos/a.jpg", *VECTORS[:2]), seen_file("/photos/b.jpg", *VECTORS[2:4])]
    enrolled = [record("Ada", VECTORS[4]), record("Cy", VECTORS[5]), record("Bob", unit(1, seed=9)[0])]
    with scanned(tmp_path / "g", files, enrolled) as found:
        with found.changing_library() as store:
            store.name_scanned("Ada", [], [1])
            store.name_scanned("Bob", [], [4])
        yield found


def altered(folder, statement, *values):
    """Change the database behind facedex's back."""
    with closing(sqlite3.connect(folder / "gallery.db", isolation_level=None)) as connection:
        connection.execute(statement, values)


def states(folder, **options):
    return {finding.part: finding.state for finding in examine(folder, **options)}


def named(opened, name):
    return opened.library.faces_named(name).ids.tolist()


def test_faces_come_back_as_they_were_stored(opened):
    faces = opened.library.faces()
    np.testing.assert_array_equal(faces.vectors, VECTORS[:4])
    assert faces.box(1) == (110.0, 20.0, 60.0, 80.0)
    assert faces.photos.tolist() == [1, 1, 2, 2]


def test_a_photo_that_is_stored_twice_keeps_its_faces_once(opened):
    with opened.changing_library() as store:
        store.library.save(
            [seen_file("/photos/a.jpg", *VECTORS[:2]), seen_file("/c.jpg", photo=seen_file("/photos/a.jpg").photo)]
        )
    assert opened.library.counts().faces == 4
    assert opened.library.sources([1]) == {1: ["/c.jpg", "/photos/a.jpg"]}


def test_look_ups_do_not_name_scanned_faces(opened):
    assert opened.faces == 3
    assert {candidate.name for candidate in opened.match(VECTORS[1], top=9)} == {"Ada", "Bob", "Cy"}


def test_a_vector_of_another_model_is_refused(opened):
    with pytest.raises(GalleryError, match="finite"), opened.changing_library() as store:
        store.library.save([seen_file("/photos/odd.jpg", np.ones(7, np.float32))])
    assert opened.library.counts().files == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE scanned_face SET quality = quality + 1 WHERE id = 1",
        "UPDATE scanned_face SET vector = zeroblob(length(vector)) WHERE id = 1",
        "UPDATE scanned_face SET landmarks = 'text' WHERE id = 1",
        "UPDATE scanned_photo SET photo = x'00' WHERE id = 1",
        "UPDATE face_name SET person = (SELECT id FROM person WHERE name = 'Cy') WHERE face = 1",
        "UPDATE person SET name = 'Eve' WHERE name = 'Ada'",
    ],
)
def test_an_altered_row_is_noticed_and_never_names_anybody(opened, statement):
    altered(opened.folder, statement)
    with pytest.raises(GalleryDamaged, match="Scanned face 1"):
        opened.library.faces()
    assert states(opened.folder)["library"] == "broken"


def test_doctor_finds_and_drops_damaged_faces_so_that_a_scan_brings_them_back(opened):
    assert states(opened.folder)["library"] == "sound"
    altered(opened.folder, "UPDATE scanned_face SET score = 0 WHERE id = 3")
    finding = next(one for one in examine(opened.folder) if one.part == "library")
    assert (finding.state, "/photos/b.jpg" in finding.detail) == ("broken", True)
    assert states(opened.folder, drop=True)["library"] == "repaired"
    assert states(opened.folder)["library"] == "sound"
    assert list(opened.library.files()) == ["/photos/a.jpg"]


def test_a_renamed_person_keeps_the_scanned_faces(opened):
    opened.rename("Ada", "Ada Lovelace")
    assert named(opened, "Ada Lovelace") == [1]
    assert named(opened, "Ada") == []


def test_merged_people_share_their_scanned_faces(opened):
    opened.merge("Bob", "Ada")
    assert named(opened, "Ada") == [1, 4]


def test_a_group_that_resembles_somebody_follows_a_merge_and_a_removal(opened):
    bob = next(number for number in range(1, 9) if opened._store.names().get(number) == "Bob")
    with opened.changing_library() as store:
        store.library.regroup({2: 7}, {7: bob})
    opened.merge("Bob", "Cy")
    assert opened.library.groups()[7].name == "Cy"
    opened.remove("Cy")
    assert opened.library.groups()[7].name is None


def test_a_removed_person_leaves_no_scanned_face_in_any_file(opened):
    assert traces(opened.folder, opened.head, VECTORS[0])
    opened.remove("Ada")
    assert not traces(opened.folder, opened.head, VECTORS[0], VECTORS[4])
    assert opened.library.faces().ids.tolist() == [2, 3, 4]
    assert opened.library.counts().photos == 2  # so that the next scan does not bring the face back


def test_a_removed_person_leaves_no_name_in_any_file(opened):
    opened.rename("Ada", "Ada of the long name")
    with opened.changing_library() as store:
        store.name_scanned("Ada of the long name", [], [2])
    assert files_with(opened.folder, b"Ada of the long name")
    opened.remove("Ada of the long name")
    assert not files_with(opened.folder, b"Ada of the long name")


def test_a_forgotten_photo_leaves_nothing_in_any_file(opened):
    assert traces(opened.folder, opened.head, *VECTORS[:2])
    with opened.changing_library() as store:
        assert store.library.drop_files(["/photos/a.jpg"]) == (1, 2)
    assert not traces(opened.folder, opened.head, *VECTORS[:2])
    assert traces(opened.folder, opened.head, *VECTORS[2:4])
    assert [person.name for person in opened.people()] == ["Ada", "Bob", "Cy"]


def test_names_of_scanned_faces_stay_when_the_last_enrolled_photo_goes(opened):
    (photo,) = [photo for photo in opened._store.photos() if photo.name == "Ada"]
    opened.remove_photos([photo])
    assert named(opened, "Ada") == [1]
    assert (len(opened), next((one.name, one.photos) for one in opened.people())) == (2, ("Ada", 0))
    assert {candidate.name for candidate in opened.match(VECTORS[4], top=9)} == {"Bob", "Cy"}
    assert set(states(opened.folder).values()) == {"sound"}
    library = next(finding for finding in examine(opened.folder) if finding.part == "library")
    assert library.detail.endswith("named, but without an enrolled photo: Ada")
    opened.add_faces([record("Ada", VECTORS[4])])
    assert (len(opened), named(opened, "Ada")) == (3, [1])
    opened.remove("Ada")
    assert len(opened) == 2


def test_a_person_without_photos_goes_with_the_last_named_face(opened):
    (photo,) = [photo for photo in opened._store.photos() if photo.name == "Ada"]
    opened.remove_photos([photo])
    with opened.changing_library() as store:
        store.library.drop_files(["/photos/a.jpg"])
    assert [person.name for person in opened.people()] == ["Bob", "Cy"]
    assert not files_with(opened.folder, b"Ada")


def test_ids_of_faces_and_groups_are_never_used_twice(opened):
    with opened.changing_library() as store:
        store.library.regroup({3: 5}, {5: 0})
        store.library.drop_files(["/photos/b.jpg"])
        assert store.library.next_group() == 6
        store.library.save([seen_file("/photos/new.jpg", VECTORS[0])])
    assert opened.library.faces().ids.tolist() == [1, 2, 5]


def test_a_backup_carries_the_scanned_library(opened, tmp_path):
    backup(opened.folder, tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "again")
    with Gallery(tmp_path / "again") as again:
        assert named(again, "Ada") == [1]
        np.testing.assert_array_equal(again.library.faces().vectors, VECTORS[:4])


def test_a_damaged_scanned_face_is_no_whole_backup(opened, tmp_path):
    altered(opened.folder, "UPDATE scanned_face SET score = 0 WHERE id = 3")
    with pytest.raises(FacedexError, match="damaged"):
        backup(opened.folder, tmp_path / "backup.tar")
    assert not (tmp_path / "backup.tar").exists()


def test_another_model_encodes_scanned_faces_anew_and_keeps_their_names(tmp_path):
    save_face(tmp_path / "photos" / "one.png", 1, 2)
    gone = save_face(tmp_path / "photos" / "gone.png", 3)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        list(scan(opened, list_photos(tmp_path / "photos")))
        faces = opened.library.faces()
        kept = [
            face
            for face, photo in zip(faces.ids.tolist(), faces.digests, strict=True)
            if faces.digests.count(photo) == 2
        ]
        with opened.changing_library() as store:
            store.library.regroup({kept[0]: 1}, {1: 0})
        name_group(opened, 1, "Ada")
        gone.unlink()
        lost = opened.reindex(other_encoder(tmp_path / "other.safetensors"))
        assert lost == [str(gone)]
        assert opened.library.faces().ids.tolist() == kept
        assert named(opened, "Ada") == kept[:1]
        assert str(gone) not in opened.library.files()
        assert set(states(opened.folder).values()) == {"sound"}


def test_faces_read_in_blocks_are_those_read_at_once(tmp_path, monkeypatch):
    files = [seen_file(f"/{number}.jpg", *unit(2, seed=number)) for number in range(5)]
    with scanned(tmp_path / "g", files) as opened:
        with opened.changing_library() as store:
            store.name_scanned("Ada", [], [4])
            store.library.regroup({4: 1, 7: 1}, {1: 0})
        whole, places = opened.library.faces(), opened.library.membership()
        monkeypatch.setattr("facedex.store.library_tables._BLOCK", 3)
        parts = opened.library.faces()
        for field in dataclasses.fields(whole):
            np.testing.assert_array_equal(getattr(parts, field.name), getattr(whole, field.name))
        for field in dataclasses.fields(places):
            np.testing.assert_array_equal(getattr(places, field.name), getattr(whole, field.name))
