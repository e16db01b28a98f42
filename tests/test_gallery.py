"""A gallery: enrolment, look-up, several processes, deletion for good, and moving to another model."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import sys
import tarfile
import threading
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from facedex.decision.calibration import Calibration
from facedex.decision.posterior import Normal, Scores
from facedex.decision.tail import Tail
from facedex.errors import (
    DataError,
    FacedexError,
    GalleryBusy,
    GalleryDamaged,
    GalleryError,
    GalleryMismatch,
    GalleryNotFound,
    ModelError,
    NameInvalid,
    PersonNotFound,
)
from facedex.faces.detector import FaceDetector
from facedex.gallery import enrolment
from facedex.gallery import gallery as gallery_module
from facedex.gallery.backup import backup, restore
from facedex.gallery.doctor import examine
from facedex.gallery.gallery import Gallery
from facedex.gallery.reencoding import encode_anew
from facedex.index.projection import KINDS
from facedex.model.modelfile import ModelFile, read_model, shipped_model
from facedex.photos import images
from facedex.photos.sources import named_photos
from facedex.recognition.identification import identify
from facedex.store.store import FILE, Store
from facedex.threads import Budget
from tests.helpers import (
    drawn_face,
    everybody,
    flip,
    gallery,
    kill_after_line,
    make_model,
    near,
    other_encoder,
    own_model,
    people,
    python,
    record,
    save_blank,
    save_face,
    stored_row,
    unit,
    unwritable,
)


def enroll(opened, *sources, name=None, strict=False, face=None):
    with named_photos(sources, name) as (photos, _):
        return opened.enroll_all(photos, strict, face=face)


def statuses(results):
    return [result.status for result in results]


def names(opened):
    return [person.name for person in opened.people()]


def stored_vectors(folder):
    with Store(folder) as store:
        return everybody(store)[1]


def alter(folder, statement):
    """Change a gallery's database behind its back."""
    with contextlib.closing(sqlite3.connect(folder / FILE)) as db:
        db.execute(statement)
        db.commit()


@pytest.fixture
def impatient(monkeypatch):
    """Shortens the wait for another writer."""
    monkeypatch.setattr("facedex.store.lock.BUSY_SECONDS", 0.2)


@pytest.fixture
def database(tmp_path):
    """Three people's photos, drawn: DIR/NAME.png."""
    for seed, name in enumerate(("Ada", "Bob", "Cy")):
        save_face(tmp_path / "database" / f"{name}.png", seed)
    return tmp_path / "database"


def test_enrolling_searches_no_more_pixels_at_once_than_the_budget(tmp_path, monkeypatch):
    for seed in range(12):
        save_face(tmp_path / "database" / f"Person {seed}.png", seed % 4 + 10 * seed)
    monkeypatch.setattr(enrolment, "_PIXELS", Budget(1), raising=False)
    running, most, detect, lock = [0], [0], FaceDetector.detect, threading.Lock()

    def noted(*arguments, **options):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return detect(*arguments, **options)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(FaceDetector, "detect", noted)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        assert len(enroll(opened, tmp_path / "database")) == 12
    assert most == [1]


# a gallery and its folder


def test_there_is_no_gallery_until_somebody_makes_one(tmp_path):
    with pytest.raises(GalleryNotFound, match="facedex enroll"):
        Gallery(tmp_path / "g")
    assert not (tmp_path / "g").exists()
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        assert len(opened) == opened.faces == 0
        assert opened.people() == []
        assert opened.match(unit(1)[0]) == []
    Gallery(tmp_path / "g").close()


def test_folder_and_files_are_the_owners_alone(tmp_path, database):
    if os.name != "posix":
        pytest.skip("permissions are POSIX's")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, database)
        opened.match(unit(1)[0])
        assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == 0o700
        for path in (tmp_path / "g").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_files_are_the_owners_alone_while_they_are_written(tmp_path, monkeypatch):
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "holiday.txt").write_text("ours")
    seen, flush = {}, os.fsync

    def looked(file):
        seen.update({path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "g").glob(".*.new")})
        flush(file)

    monkeypatch.setattr(os, "fsync", looked)
    gallery(tmp_path / "g", people(unit(3))).close()
    with Gallery(tmp_path / "g") as opened:
        opened.reindex()
    assert {name.split(".")[1].partition("-")[0] for name in seen} == {"model", "faces", "manifest"}
    assert set(seen.values()) == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_folder_that_others_share_stays_shared(tmp_path):
    (tmp_path / "g").mkdir(mode=0o755)
    (tmp_path / "g" / "holiday.txt").write_text("ours")
    (tmp_path / "g").chmod(0o755)
    with Gallery(tmp_path / "g", "fast", create=True):
        pass
    assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "g" / "gallery.db").stat().st_mode) == 0o600


def test_a_gallery_keeps_its_model_when_facedex_ships_another(tmp_path):
    model = make_model(tmp_path / "m.safetensors", beta=7.5)
    gallery(tmp_path / "g", people(unit(3)), model).close()
    model.unlink()
    with Gallery(tmp_path / "g") as opened:
        assert opened.head.beta == 7.5
        assert opened.match(unit(3)[1], top=1)[0].logit == pytest.approx(7.5, abs=1e-4)


def test_another_model_is_refused_with_the_remedy(tmp_path):
    gallery(tmp_path / "g", people(unit(3))).close()
    with pytest.raises(GalleryMismatch, match="facedex reindex --model"):
        Gallery(tmp_path / "g", other_encoder(tmp_path / "m.safetensors"))
    with pytest.raises(GalleryMismatch):
        Gallery(tmp_path / "g", tmp_path / "m.safetensors", create=True)


def test_the_same_encoder_by_another_path_is_welcome(tmp_path):
    gallery(tmp_path / "g", people(unit(3))).close()
    shutil.copy(shipped_model("fast"), tmp_path / "m.safetensors")
    with Gallery(tmp_path / "g", tmp_path / "m.safetensors") as opened:
        assert opened.faces == 3


def test_another_head_or_calibration_is_another_model_though_the_encoder_is_the_same(tmp_path):
    gallery(tmp_path / "g", people(unit(3))).close()
    other = make_model(tmp_path / "m.safetensors")
    with pytest.raises(GalleryMismatch, match=r"another head or calibration.*facedex reindex --model"):
        Gallery(tmp_path / "g", other)
    with Gallery(tmp_path / "g", other, rebind=True) as opened:
        opened.reindex(other)
    with Gallery(tmp_path / "g", other) as opened:
        assert opened.faces == 3


def test_ctrl_c_after_the_move_is_on_disk_keeps_the_model_moved_to(tmp_path, monkeypatch):
    opened, other = gallery(tmp_path / "g", people(unit(3))), make_model(tmp_path / "m.safetensors")
    bind = Store.bind_model

    def interrupted(store, *model):
        bind(store, *model)
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "bind_model", interrupted)
    with opened, pytest.raises(KeyboardInterrupt):
        opened.reindex(other)
    with Gallery(tmp_path / "g", other) as again:
        assert again.faces == 3


@pytest.mark.parametrize("harm", ["lost", "cut", "flipped", "exchanged"])
def test_a_gallery_whose_model_is_harmed_is_refused(tmp_path, harm):
    gallery(tmp_path / "g", people(unit(3))).close()
    (copy,) = (tmp_path / "g").glob("*.safetensors")
    if harm == "lost":
        copy.unlink()
    elif harm == "cut":
        copy.write_bytes(copy.read_bytes()[:100_000])
    elif harm == "flipped":
        flip(copy, copy.stat().st_size - 100_000)
    else:
        shutil.copy(other_encoder(tmp_path / "m.safetensors"), copy)
    with pytest.raises((ModelError, GalleryMismatch)):
        Gallery(tmp_path / "g")


def test_a_model_that_no_gallery_can_use_leaves_nothing_behind(tmp_path):
    ModelFile({"head.v": np.zeros(3)}, {"free_sign": True}).save(tmp_path / "m.safetensors")
    with pytest.raises(ModelError):
        Gallery(tmp_path / "g", tmp_path / "m.safetensors", create=True)
    assert not (tmp_path / "g").exists()


def test_garbage_in_the_databases_place_is_refused_and_left(tmp_path):
    (tmp_path / FILE).write_bytes(b"garbage" * 1000)
    for create in (False, True):
        with pytest.raises(GalleryDamaged):
            Gallery(tmp_path, create=create)
    assert (tmp_path / FILE).read_bytes() == b"garbage" * 1000


@pytest.mark.parametrize("size", [0, 4096])
def test_a_gallery_whose_making_was_cut_short_can_be_made(tmp_path, size, database):
    """kill -9 between the file's creation and the first commit leaves an empty file, or an empty database."""
    (tmp_path / "g").mkdir()
    if size:
        alter(tmp_path / "g", "PRAGMA journal_mode = WAL")
    else:
        (tmp_path / "g" / FILE).touch()
    assert (tmp_path / "g" / FILE).stat().st_size == size
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        assert statuses(enroll(opened, database)) == ["enrolled"] * 3


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "g"):
        with pytest.raises(GalleryError, match="cannot be made"):
            Gallery(folder, create=True)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    gallery(tmp_path / "g", people(unit(3))).close()
    with unwritable(tmp_path / "g") as copy, pytest.raises(GalleryError, match="permissions"), Gallery(copy) as opened:
        opened.rename("person0000", "Ada")
    with unwritable(tmp_path / "g") as copy:
        (model,) = copy.glob("model-*.safetensors")  # the one that ships may lie where only root may go
        with pytest.raises(GalleryError, match="cannot be made"):
            Gallery(copy / "new", model, create=True)


# enrolment


def test_each_photo_enrols_one_face_under_its_name(tmp_path, database):
    save_face(database / "Ada_0002.png", 7)
    save_face(database / "Dee" / "x.png", 8)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        assert statuses(enroll(opened, database)) == ["enrolled"] * 5
        assert [(person.name, person.photos) for person in opened.people()] == [
            ("Ada", 2),
            ("Bob", 1),
            ("Cy", 1),
            ("Dee", 1),
        ]


def test_what_is_stored_is_the_embedding_of_the_aligned_face(tmp_path, database):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, database)
        with Store(tmp_path / "g") as store:
            _, vectors = everybody(store)
            (first, *_) = store.photos()
        photos = [drawn_face(seed) for seed in range(3)]
        expected = opened.reader().encode(
            [(pixels, opened.detector.detect(pixels, only_subject=True)[0]) for pixels in photos]
        )
        np.testing.assert_allclose(vectors, np.stack([one.vector for one in expected]), atol=1e-5)
        assert first.source == str(database / "Ada.png")
        assert first.box == pytest.approx(expected[0].face.box)


def test_a_photo_known_by_its_content_is_not_enrolled_again(tmp_path, database):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, database)
        shutil.copy(database / "Ada.png", database / "Ada_0002.png")
        assert statuses(enroll(opened, database)) == ["known"] * 4
        assert opened.faces == 3


def test_a_photo_known_under_another_name_is_a_conflict(tmp_path, database):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, database)
        (result,) = enroll(opened, database / "Ada.png", name="Eve")
        assert (result.status, result.name) == ("conflict", "Eve")
        assert "'Ada'" in result.reason
        assert names(opened) == ["Ada", "Bob", "Cy"]


def test_copies_of_a_photo_within_one_call_are_reported(tmp_path, database):
    shutil.copy(database / "Ada.png", database / "Ada_0002.png")
    shutil.copy(database / "Bob.png", database / "Eve.png")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        found = {os.path.basename(one.photo): one.status for one in enroll(opened, database)}
    assert found == {
        "Ada.png": "enrolled",
        "Ada_0002.png": "known",
        "Bob.png": "enrolled",
        "Cy.png": "enrolled",
        "Eve.png": "conflict",
    }


def test_copies_of_a_skipped_photo_are_not_called_known(tmp_path):
    save_blank(tmp_path / "db" / "Ada.png")
    shutil.copy(tmp_path / "db" / "Ada.png", tmp_path / "db" / "Ada_0002.png")
    shutil.copy(tmp_path / "db" / "Ada.png", tmp_path / "db" / "Bob.png")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        results = enroll(opened, tmp_path / "db")
        assert statuses(results) == ["skipped"] * 3
        assert "Bob.png" in results[2].reason
        assert names(opened) == []


def test_a_photo_still_in_the_previous_batch_is_not_enrolled_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery_module, "_BATCH", 2)
    save_face(tmp_path / "db" / "Ada.png", 0)
    save_blank(tmp_path / "db" / "Bob.png")
    shutil.copy(tmp_path / "db" / "Ada.png", tmp_path / "db" / "Cy.png")
    shutil.copy(tmp_path / "db" / "Bob.png", tmp_path / "db" / "Dee.png")
    shutil.copy(tmp_path / "db" / "Ada.png", tmp_path / "db" / "Eve.png")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        results = enroll(opened, tmp_path / "db")
        assert statuses(results) == ["enrolled", "skipped", "conflict", "skipped", "conflict"]
        assert "Dee.png" in results[3].reason
        assert "'Ada'" in results[4].reason
        assert opened.faces == 1


def test_photos_before_the_break_of_a_source_are_enrolled(tmp_path, database, monkeypatch):
    monkeypatch.setattr(gallery_module, "_BATCH", 2)

    def breaking():
        with named_photos([database]) as (photos, _):
            yield from photos
        raise DataError("the pack ends here")

    done = []
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        results = opened.iter_enroll(breaking())
        with pytest.raises(DataError, match="ends here"):
            done.extend(result.status for result in results)
        assert done == ["enrolled"] * opened.faces == ["enrolled"] * 3


def test_a_caller_who_stops_reading_results_stops_the_enrolment(tmp_path, database, monkeypatch):
    monkeypatch.setattr(gallery_module, "_BATCH", 1)
    threads, before = threading.active_count(), cv2.getNumThreads()
    with Gallery(tmp_path / "g", "fast", create=True) as opened, named_photos([database]) as (photos, _):
        running = opened.iter_enroll(photos)
        assert next(running).name == "Ada"
        running.close()
        assert names(opened) == ["Ada"]
    assert threading.active_count() == threads
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize(("side", "reduced"), [(2000, True), (240, False)])
def test_a_large_photo_is_decoded_smaller_where_that_is_enough(tmp_path, monkeypatch, side, reduced):
    photo = np.full((3000, 4000, 3), 140, np.uint8)
    photo[500 : 500 + side, 1200 : 1200 + side] = drawn_face(3, side)
    Image.fromarray(photo).save(tmp_path / "large.jpg", quality=92)
    whole, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda *given, **more: whole.append(1) or decode(*given, **more))
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        (result,) = enroll(opened, tmp_path / "large.jpg", name="Ada")
        assert result.status == "enrolled"
        assert bool(whole) is not reduced
        (face,) = opened.reader().read(photo)
        with Store(tmp_path / "g") as store:
            _, vectors = everybody(store)
            box = store.photos()[0].box
        assert box == pytest.approx(face.face.box, abs=0.1 * face.face.box[2])
        assert float(vectors[0] @ face.vector) > 0.8


def test_one_bad_photo_does_not_stop_the_rest(tmp_path, database):
    save_blank(database / "Blank.png")
    (database / "Broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (database / "Empty.png").touch()
    (database / "Gone.png").symlink_to(tmp_path / "nowhere.png")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        results = enroll(opened, database)
        assert [r.name for r in results if r.status == "enrolled"] == ["Ada", "Bob", "Cy"]
        assert [r.name for r in results if r.status == "skipped"] == ["Blank", "Broken", "Empty", "Gone"]
        assert all(r.photo in r.reason for r in results if r.status == "skipped")
        assert names(opened) == ["Ada", "Bob", "Cy"]


def test_a_broken_member_of_a_pack_does_not_stop_the_rest(tmp_path, database):
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as pack:
        for path in sorted(database.iterdir()):
            pack.write(path, path.name)
        start = pack.getinfo("Bob.png").header_offset
    flip(tmp_path / "pack.zip", start + 1000)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        assert statuses(enroll(opened, tmp_path / "pack.zip")) == ["enrolled", "skipped", "enrolled"]


def test_photos_before_the_broken_place_of_a_pack_are_enrolled(tmp_path, database):
    with tarfile.open(tmp_path / "pack.tar", "w") as pack:
        for path in sorted(database.iterdir()):
            pack.add(path, path.name)
    data = bytearray((tmp_path / "pack.tar").read_bytes())
    data[data.index(b"Cy.png")] ^= 1
    (tmp_path / "pack.tar").write_bytes(data)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        with pytest.raises(DataError, match="not a readable pack"):
            enroll(opened, tmp_path / "pack.tar")
        assert names(opened) == ["Ada", "Bob"]


def test_the_subject_of_several_faces_is_enrolled_unless_strict(tmp_path):
    wide = np.zeros((400, 700, 3), np.uint8)
    wide[:240, :240], wide[:400, 300:] = drawn_face(1), drawn_face(2, 400)
    Image.fromarray(wide).save(tmp_path / "two.png")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        (result,) = enroll(opened, tmp_path / "two.png", name="Ada", strict=True)
        assert result.status == "skipped"
        assert "2 faces" in result.reason
        (result,) = enroll(opened, tmp_path / "two.png", name="Ada")
        assert result.status == "enrolled"
        assert "2 faces" in result.reason
        with Store(tmp_path / "g") as store:
            left, _, width, _ = store.photos()[0].box
        assert left > 300
        assert width > 150


@pytest.fixture
def party(tmp_path):
    """A photo of three people: drawn face 2 in the middle, 1 left of it and smaller, 3 to the right and smaller yet."""
    pixels = np.full((400, 1000, 3), 128, np.uint8)
    pixels[80:320, 20:260] = drawn_face(1)
    pixels[40:360, 340:660] = drawn_face(2, 320)
    pixels[100:300, 740:940] = drawn_face(3, 200)
    Image.fromarray(pixels).save(tmp_path / "party.png")
    return tmp_path / "party.png"


def test_a_face_can_be_taken_by_its_number(tmp_path, party):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        for number in (1, 2, 3):
            (result,) = enroll(opened, party, name=f"p{number}", face=number)
            assert (result.status, result.reason) == ("enrolled", None)
        faces = opened.detector.detect(np.asarray(Image.open(party)))
        with Store(tmp_path / "g") as store:
            assert [one.box for one in store.photos()] == [pytest.approx(face.box) for face in faces]
            assert [one.name for one in store.photos()] == ["p1", "p2", "p3"]


def test_people_enrolled_from_one_photo_are_all_found_in_it(tmp_path, party):
    with Gallery(tmp_path / "g", make_model(tmp_path / "m.safetensors", start=-1e4), create=True) as opened:
        assert (
            statuses(enroll(opened, party, name="Bob", face=2) + enroll(opened, party, name="Ada")) == ["enrolled"] * 2
        )
        assert len(opened) == opened.faces == 2
        (found,) = identify(opened, [party])
        assert [face.name for face in found.faces] == ["Ada", "Bob", None]


def test_a_face_that_is_not_there_is_reported(tmp_path, party):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        for number in (4, 5):
            (result,) = enroll(opened, party, name="Ada", face=number)
            assert result.status == "skipped"
            assert f"{party} shows 3 faces and has no face {number}" in result.reason
        one = save_face(tmp_path / "one.png", 1)
        (result,) = enroll(opened, one, name="Ada", face=2)
        assert result.status == "skipped"
        assert "shows 1 face and has no face 2" in result.reason
        with pytest.raises(ValueError, match="from 1"):
            enroll(opened, party, name="Ada", face=0)
        assert opened.faces == 0


def test_the_very_same_face_under_another_name_is_a_conflict(tmp_path, party):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, party, name="Ada")
        for number in (None, 1):
            (result,) = enroll(opened, party, name="Eve", face=number)
            assert result.status == "conflict"
            assert "'Ada'" in result.reason
            assert "--face N" in result.reason
        assert names(opened) == ["Ada"]


def test_nobody_is_enrolled_by_two_faces_of_one_photo(tmp_path, party):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, party, name="Ada", face=2)
        assert statuses(enroll(opened, party, name="Ada", face=2)) == ["known"]
        assert statuses(enroll(opened, party, name="Ada")) == ["known"]
        (result,) = enroll(opened, party, name="Ada", face=1)
        assert result.status == "conflict"
        assert "another face of this photo" in result.reason
        assert opened.faces == 1


def test_one_photo_in_the_folders_of_two_people_is_a_conflict_until_one_gets_another_face(tmp_path, party):
    for name in ("Ada", "Bob"):
        (tmp_path / "db" / name).mkdir(parents=True)
        shutil.copy(party, tmp_path / "db" / name / "party.png")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        results = enroll(opened, tmp_path / "db")
        assert statuses(results) == ["enrolled", "conflict"]
        assert "--face N" in results[1].reason
        assert statuses(enroll(opened, tmp_path / "db" / "Bob", name="Bob", face=2)) == ["enrolled"]
        assert statuses(enroll(opened, tmp_path / "db")) == ["known", "known"]


def test_a_known_photo_is_not_looked_at_again(tmp_path, party, monkeypatch):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, party, name="Ada")
        monkeypatch.setattr(opened.detector, "detect", None)
        assert statuses(enroll(opened, party, name="Ada")) == ["known"]


def test_several_faces_of_one_photo_are_renamed_merged_and_removed_one_by_one(tmp_path, party):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        for number, name in enumerate(("Ada", "Bob", "Cy"), 1):
            enroll(opened, party, name=name, face=number)
        opened.rename("Bob", "Bert")
        opened.remove("Cy")
        assert names(opened) == ["Ada", "Bert"]
        assert opened.faces == 2
        assert statuses(enroll(opened, party, name="Cy", face=3)) == ["enrolled"]
        assert opened.merge("Bert", "Ada") == 0
        assert names(opened) == ["Ada", "Cy"]


def test_a_folder_called_unknown_does_not_stop_the_rest(tmp_path, database):
    save_face(database / "Unknown" / "a.png", 7)
    save_face(database / "zoe.png", 8)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        results = enroll(opened, database)
        assert [r.name for r in results] == ["Ada", "Bob", "Cy", "Unknown", "zoe"]
        assert [r.name for r in results if r.status != "enrolled"] == ["Unknown"]
        assert "strangers" in results[3].reason
        assert names(opened) == ["Ada", "Bob", "Cy", "zoe"]


def test_more_photos_than_one_batch(tmp_path):
    for seed in range(40):
        save_face(tmp_path / "db" / f"p{seed:02d}.png", seed, side=120)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        results = enroll(opened, tmp_path / "db")
        assert [(r.name, r.status) for r in results] == [(f"p{seed:02d}", "enrolled") for seed in range(40)]
        assert opened.match(opened.reader().read(drawn_face(36, 120))[0].vector, top=1)[0].name == "p36"


def test_a_caller_who_stops_listening_keeps_what_was_told(tmp_path, database):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        with named_photos([database]) as (photos, _):
            results = opened.iter_enroll(photos)
            assert next(results).status == "enrolled"
            results.close()
        assert "Ada" in names(opened)
        opened.rename("Ada", "Ada Lovelace")  # the writer's place is free again


def test_a_photo_whose_path_is_no_unicode_is_enrolled(tmp_path):
    folder = os.fsencode(tmp_path) + b"/odd\xff"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system keeps Unicode only")
    path = save_face(os.fsdecode(folder + b"/\xfe.png"))
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        assert statuses(enroll(opened, path, name="Ada")) == ["enrolled"]


# looking up


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A gallery of 300 people, most with a photo, some with up to eight."""
    vectors = unit(300)
    records = [
        record(f"p{i:03d}", near(vector, 10 * i + j)) for i, vector in enumerate(vectors) for j in range(1 + i % 8)
    ]
    opened = gallery(tmp_path_factory.mktemp("crowd") / "g", records)
    yield opened, vectors
    opened.close()


@pytest.mark.parametrize("top", [1, 5, 50, 300, 1000])
def test_a_match_through_the_index_is_the_exhaustive_one(crowd, top):
    opened, vectors = crowd
    for number in range(0, 300, 37):
        for probe in (near(vectors[number], number), unit(1, seed=number + 50)[0]):
            found = opened.match(probe, top=top)
            assert found == opened.match(probe, top=top, exhaustive=True)
            assert len(found) == len({one.name for one in found}) == min(top, 300)


def test_a_persons_score_is_fused_from_all_photos(crowd):
    opened, vectors = crowd
    probe = near(vectors[7], 3)
    best = opened.match(probe, top=1)[0]
    photos = np.stack([near(vectors[7], 70 + j) for j in range(8)])
    assert best.name == "p007"
    logits = opened.head.logits(probe, photos).astype(float)
    assert best.logit == pytest.approx(np.log(np.exp(logits).mean()), abs=1e-4)


def test_candidates_come_best_first_with_probabilities_that_add_up(crowd):
    opened, vectors = crowd
    found = opened.match(near(vectors[5]), top=20)
    for field in ("logit", "similarity"):
        values = [getattr(one, field) for one in found]
        assert values == sorted(values, reverse=True)
    assert found[0].probability == max(one.probability for one in found)  # it follows the numbers of photos too
    assert 0 < sum(one.probability for one in found) <= 1


def test_a_prior_against_the_person_makes_the_name_less_probable(crowd):
    opened, vectors = crowd
    probe = near(vectors[5], noise=1.0)  # of whom it is not certain
    high, low = (opened.match(probe, top=1, prior=prior)[0] for prior in (0.9, 0.001))
    assert low.probability < high.probability
    assert low.similarity == high.similarity


def test_the_threshold_grows_with_the_number_of_people(tmp_path):
    thresholds = []
    for size in (1, 10, 200):
        with gallery(tmp_path / str(size), people(unit(size))) as opened:
            thresholds.append(opened.threshold(0.01))
            assert opened.threshold(0.001) > opened.threshold(0.01)
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == 3


def test_an_open_gallery_sees_what_others_did_at_its_next_query(tmp_path):
    vectors = unit(6)
    with gallery(tmp_path / "g", people(vectors[:4])) as reader, Gallery(tmp_path / "g") as writer:

        def best(vector):
            return reader.match(vector, top=1)[0].name

        assert best(vectors[1]) == "person0001"
        writer.remove("person0001")
        assert "person0001" not in [one.name for one in reader.match(vectors[1], top=9)]
        with Store(tmp_path / "g") as store:
            store.add([record("new", vectors[5])])
        assert best(vectors[5]) == "new"
        writer.rename("new", "renamed")
        assert best(vectors[5]) == "renamed"
        writer.merge("renamed", "person0000")
        assert best(vectors[5]) == "person0000"
        assert len(reader) == 3


def test_a_damaged_face_is_noticed_when_it_is_looked_up(tmp_path):
    with gallery(tmp_path / "g", people(unit(3))) as opened:
        opened.match(unit(1)[0])
    alter(tmp_path / "g", "UPDATE person SET name = 'Mallory' WHERE id = 2")
    with Gallery(tmp_path / "g") as opened, pytest.raises(GalleryDamaged, match="Face 2 "):
        opened.match(unit(3)[1])


def test_a_damaged_face_that_nobody_asks_for_harms_no_other(tmp_path):
    with gallery(tmp_path / "g", people(unit(60))) as opened:
        opened.match(unit(1)[0])
    alter(tmp_path / "g", "UPDATE face SET quality = 0 WHERE id = 60")
    with Gallery(tmp_path / "g") as opened:
        assert opened.match(unit(60)[3], top=1, shortlist=1)[0].name == "person0003"


# people


def test_names_are_kept_in_one_form_and_unknown_is_none(tmp_path):
    with gallery(tmp_path / "g", people(unit(2))) as opened:
        opened.rename("person0000", "  Zoe\u0308 ")
        assert names(opened) == ["Zoë", "person0001"]
        for bad in ("unknown", "Unknown ", "", "a\nb"):
            with pytest.raises(NameInvalid):
                opened.rename("person0001", bad)


def test_faces_from_elsewhere_come_under_names_by_which_they_are_found(tmp_path):
    a, b, c = unit(3)
    with gallery(tmp_path / "g") as opened:
        opened.add_faces([record(" Jose\u0301 ", a), record("Ada", b)])
        assert names(opened) == ["Ada", "José"]
        assert opened.remove("Jose\u0301") == 1
        for bad in ("", "a\nb", "Unknown", "\udc80"):
            with pytest.raises(NameInvalid):
                opened.add_faces([record(bad, c, photo="0" * 64)])
        assert names(opened) == ["Ada"]


def test_renaming_and_merging_who_is_not_there(tmp_path):
    with gallery(tmp_path / "g", people(unit(2))) as opened:
        with pytest.raises(PersonNotFound):
            opened.rename("nobody", "Ada")
        with pytest.raises(PersonNotFound):
            opened.merge("person0000", "nobody")
        with pytest.raises(PersonNotFound):
            opened.remove("person0000", "nobody")
        assert len(opened) == 2


# deleting for good


def traces(folder, *arrays):
    """The files of a folder that contain any 16 bytes of these vectors."""
    found = set()
    for path in folder.iterdir():
        data = path.read_bytes()
        for array in arrays:
            blob = (array if array.dtype == np.uint8 else array.astype(np.float32)).tobytes()
            if any(blob[at : at + 16] in data for at in range(0, len(blob), 16)):
                found.add(path.name)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_removed_face_is_in_no_file_neither_vector_nor_projection(tmp_path, kind):
    vectors = unit(1200)
    with gallery(tmp_path / "g", people(vectors)) as opened, Gallery(tmp_path / "g") as other:
        opened.reindex(kind=kind)
        other.match(unit(1)[0])
        with Store(tmp_path / "g") as store:
            store.add([record("late", unit(1, seed=9)[0])])  # in the log, not yet in the index
        gone, late = vectors[8], unit(1, seed=9)[0]
        z = opened.head.project(gone[None])[0]
        row = stored_row(opened, 8)
        assert {"gallery.db", "faces.faiss"} <= traces(tmp_path / "g", gone, z, row)
        assert traces(tmp_path / "g", late)
        assert opened.remove("person0008", "late") == 2
        assert traces(tmp_path / "g", gone, z, late, row) == set()
        assert {"gallery.db", "faces.faiss"} <= traces(tmp_path / "g", vectors[7], stored_row(opened, 7))
        assert "person0008" not in [one.name for one in other.match(gone, top=400)]


def test_the_next_change_deletes_leftovers_of_killed_writers(tmp_path):
    with gallery(tmp_path / "g", people(unit(20))) as opened:
        opened.match(unit(1)[0])
        left = tmp_path / "g" / ".faces.faiss.4711.new"
        shutil.copy(tmp_path / "g" / "faces.faiss", left)
        opened.remove("person0003")
        assert not left.exists()
        assert traces(tmp_path / "g", unit(20)[3]) == set()


def test_a_merged_duplicate_is_deleted_for_good_too(tmp_path):
    common = unit(1)[0]
    records = [record("A", common, "ab" * 32), record("B", near(common), "ab" * 32), record("A", unit(1, seed=4)[0])]
    with gallery(tmp_path / "g", records) as opened:
        opened.match(common)
        assert opened.merge("A", "B") == 1
        assert traces(tmp_path / "g", common) == set()
        assert opened.faces == 2


def test_removal_says_when_a_reader_keeps_the_past_and_reindex_clears_it(tmp_path, impatient):
    with gallery(tmp_path / "g", people(unit(20))) as opened:
        opened.match(unit(1)[0])
        with Store(tmp_path / "g") as reader, reader.snapshot():
            reader.names()
            with pytest.raises(GalleryBusy, match="facedex reindex"):
                opened.remove("person0003")
            assert "person0003" not in names(opened)
        opened.reindex()
        assert traces(tmp_path / "g", unit(20)[3]) == set()

    with gallery(tmp_path / "h", people(unit(20))) as opened:
        opened.match(unit(1)[0])
        with Store(tmp_path / "h") as reader, reader.snapshot():
            reader.names()
            with pytest.raises(GalleryBusy, match="the next change"):
                opened.remove("person0003")
        opened.rename("person0004", "Ada")
        assert traces(tmp_path / "h", unit(20)[3]) == set()


@pytest.mark.parametrize("next_change", ["again", "rename", "enroll"])
def test_a_deletion_cut_short_is_ended_by_the_next_change(tmp_path, next_change, database):
    """A writer was killed after the commit. A second `remove` finds nobody, but leaves no trace either."""
    gone = unit(20)[3]
    with gallery(tmp_path / "g", people(unit(20))) as opened:
        opened.match(unit(1)[0])
        with Store(tmp_path / "g") as store:
            store.remove(["person0003"])
        assert traces(tmp_path / "g", gone)
        if next_change == "again":
            with pytest.raises(PersonNotFound):
                opened.remove("person0003")
        elif next_change == "rename":
            opened.rename("person0004", "Ada")
        else:
            enroll(opened, database)
        assert traces(tmp_path / "g", gone) == set()
        assert opened.match(unit(20)[8], top=1)[0].name == "person0008"


@pytest.mark.skipif(os.name != "posix", reason="Windows opens no folders")
def test_names_of_files_are_on_disk_before_anything_is_acknowledged(tmp_path, database, monkeypatch):
    """After a power cut a renamed file or a new folder is lost, unless the folder above it was flushed."""
    waiting, fsync, replace, mkdir = set(), os.fsync, os.replace, os.mkdir

    def noted(act, which):
        def run(*arguments, **options):
            act(*arguments, **options)
            path = os.path.abspath(arguments[which])
            if ".facedex-" not in path:  # what only serves to work in may be lost
                waiting.add(os.path.dirname(path))

        return run

    def flush(file):
        fsync(file)
        status = os.fstat(file)
        waiting.difference_update(
            {one for one in waiting if os.path.exists(one) and os.path.samestat(os.stat(one), status)}
        )

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", noted(replace, 1))
    monkeypatch.setattr(os, "mkdir", noted(mkdir, 0))
    top = tmp_path / "deep" / "deeper"
    with Gallery(top / "g", create=True) as opened:
        assert not waiting
        with named_photos([database]) as (photos, _):
            for _ in opened.iter_enroll(photos):
                assert not waiting
        opened.reindex()
        assert not waiting
    for act in (
        lambda: backup(top / "g", top / "saved" / "b"),
        lambda: restore(top / "saved" / "b", top / "new" / "g"),
        lambda: restore(top / "saved" / "b", top / "g", force=True),
    ):
        act()
        assert not waiting


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_folder_that_cannot_be_entered_is_reported(tmp_path):
    gallery(tmp_path / "g", people(unit(3))).close()
    with unwritable(tmp_path / "g") as copy:
        copy.chmod(0)
        for act in (
            lambda: Gallery(copy),
            lambda: Gallery(copy / "deeper", create=True),
            lambda: list(examine(copy)),
            lambda: backup(copy, tmp_path / "b"),
            lambda: restore(tmp_path / "b", copy),
        ):
            with pytest.raises(GalleryError, match=r"cannot be read .* check its permissions"):
                act()
        with pytest.raises(ModelError):
            read_model(copy / "m.safetensors")


def test_a_folder_in_a_leftovers_place_stops_nobody(tmp_path):
    with gallery(tmp_path / "g", people(unit(3))) as opened:
        (tmp_path / "g" / ".x.new").mkdir()
        opened.rename("person0000", "Ada")
        assert "Ada" in names(opened)


def test_the_last_person_can_go(tmp_path):
    with gallery(tmp_path / "g", people(unit(1))) as opened:
        opened.match(unit(1)[0])
        opened.remove("person0000")
        assert opened.match(unit(1)[0]) == []
        assert len(opened) == 0
        assert traces(tmp_path / "g", unit(1)[0]) == set()


# several processes, and crashes

HOLD = """
import sys, time
from facedex.gallery.gallery import Gallery
from facedex.store.lock import writing
with Gallery(sys.argv[1]) as opened, writing(opened.folder):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_second_writer_is_told_so(tmp_path, impatient):
    with gallery(tmp_path / "g", people(unit(2))) as opened:
        process = python(HOLD, tmp_path / "g", 60)
        assert process.stdout.readline() == "held\n"
        with pytest.raises(GalleryBusy, match="try again"):
            opened.rename("person0000", "Ada")
        assert opened.match(unit(2)[0], top=1)[0].name == "person0000"  # readers go on
        process.kill()
        process.communicate()
        opened.rename("person0000", "Ada")  # a dead writer holds nothing


def test_a_second_writer_waits_for_a_short_while(tmp_path):
    with gallery(tmp_path / "g", people(unit(2))) as opened:
        process = python(HOLD, tmp_path / "g", 0.5)
        process.stdout.readline()
        opened.rename("person0000", "Ada")
        process.communicate()
        assert names(opened) == ["Ada", "person0001"]


def test_a_second_writer_in_the_same_process_is_told_so_too(tmp_path, impatient, database):
    with Gallery(tmp_path / "g", "fast", create=True) as opened, named_photos([database]) as (photos, _):
        results = opened.iter_enroll(photos)
        next(results)
        with pytest.raises(GalleryBusy):
            opened.rename("Ada", "Eve")
        assert opened.match(unit(1)[0])  # looking up in between is allowed
        assert statuses(results) == ["enrolled"] * 2


ENROLL = """
import sys, time
from facedex.photos.sources import named_photos
from facedex.gallery.gallery import Gallery
from facedex.recognition.identification import identify
with Gallery(sys.argv[1], create=True) as opened, named_photos([sys.argv[2]]) as (photos, _):
    for result in opened.iter_enroll(photos):
        print(result.status, result.name, flush=True)
"""


def test_acknowledged_photos_survive_kill_9(tmp_path):
    for seed in range(40):
        save_face(tmp_path / "db" / f"p{seed:02d}.png", seed, side=120)
    process = python(ENROLL, tmp_path / "g", tmp_path / "db")
    assert kill_after_line(process) == "enrolled p00\n"
    with Gallery(tmp_path / "g") as opened:
        assert opened.faces >= 32
        assert names(opened)[:3] == ["p00", "p01", "p02"]
        again = statuses(enroll(opened, tmp_path / "db"))
        assert again[:32] == ["known"] * 32
        assert opened.faces == 40
        assert len(opened.match(unit(1)[0], top=40)) == 40


def test_two_processes_enrol_into_a_new_gallery_at_once(tmp_path):
    for seed in range(4):
        save_face(tmp_path / f"db{seed % 2}" / f"p{seed}.png", seed)
    processes = [python(ENROLL, tmp_path / "g", tmp_path / f"db{number}") for number in (0, 1)]
    for process in processes:
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        assert out.count("enrolled") == 2
    with Gallery(tmp_path / "g") as opened:
        assert names(opened) == ["p0", "p1", "p2", "p3"]
    assert not list((tmp_path / "g").glob(".*"))


def test_readers_are_never_wrong_while_a_writer_works(tmp_path):
    """Every answer belongs to a state that the gallery was in: enrolled people are found, removed people are not."""
    vectors = unit(30)
    gallery(tmp_path / "g", people(vectors)).close()
    stop, errors, answers = threading.Event(), [], 0

    def write():
        try:
            with Gallery(tmp_path / "g") as writer:
                for number in range(8):
                    writer.remove(f"person{number:04d}")
                    with Store(tmp_path / "g") as store:
                        store.add([record(f"back{number}", vectors[number])])
        except Exception as error:
            errors.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    with Gallery(tmp_path / "g") as reader:
        while not stop.is_set() or answers <= 3:
            assert reader.match(vectors[20], top=1)[0].name == "person0020"
            found = {one.name for one in reader.match(vectors[0], top=99)}
            assert {f"person{number:04d}" for number in range(8, 30)} <= found
            assert not any(f"person{number:04d}" in found and f"back{number}" in found for number in range(8))
            answers += 1
        thread.join()
        assert errors == []
        assert reader.match(vectors[0], top=1)[0].name == "back0"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_fills_up_is_reported_and_what_was_there_stays(tmp_path):
    """A limit on the size of files makes writing fail as on a full disk."""
    with gallery(tmp_path / "g", people(unit(300))) as opened:
        opened.reindex()
    code = """
import resource, sys
from tests.helpers import people, unit
from facedex.errors import GalleryError
from facedex.gallery.gallery import Gallery
from facedex.recognition.identification import identify
from facedex.store.store import Store
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
try:
    if sys.argv[2] == "store":
        Store(Path(sys.argv[1])).add(people(unit(2000, seed=1), "late"))
    else:
        Gallery(sys.argv[1]).reindex()
except GalleryError as error:
    print(error)
"""
    for what, said in (("store", "cannot be used|disk is full"), ("index", "index in .* cannot be written")):
        process = python(code, tmp_path / "g", what)
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        assert re.search(said, out), out
    with Gallery(tmp_path / "g") as opened:
        assert opened.faces == 300
        assert opened.match(unit(300)[7], top=1)[0].name == "person0007"


# another model


def test_a_new_head_needs_no_photos_and_takes_effect_at_once(tmp_path):
    vectors = unit(40)
    with gallery(tmp_path / "g", people(vectors), make_model(tmp_path / "a.safetensors")) as opened:
        opened.match(vectors[0])
        v = np.random.default_rng(0).normal(0, 2, 128)
        assert opened.reindex(make_model(tmp_path / "b.safetensors", v=v, beta=5.0)) == []
        probe = near(vectors[3])
        found = opened.match(probe, top=40)
        assert found == opened.match(probe, top=40, exhaustive=True)
        expected = 5.0 - (np.abs(probe - vectors[3]) * np.log1p(np.exp(v))).sum()
        assert found[0].logit == pytest.approx(expected, abs=1e-3)
    with Gallery(tmp_path / "g") as again:
        assert again.match(probe, top=40) == found
        assert len(list((tmp_path / "g").glob("*.safetensors"))) == 1


def test_a_reader_already_open_is_told_of_the_new_model(tmp_path):
    model = make_model(tmp_path / "a.safetensors")
    with gallery(tmp_path / "g", people(unit(3)), model) as reader, Gallery(tmp_path / "g") as writer:
        reader.match(unit(1)[0])
        writer.reindex(make_model(tmp_path / "b.safetensors", beta=5.0))
        with pytest.raises(GalleryMismatch, match="open it again"):
            reader.match(unit(1)[0])


def test_reindexing_without_a_model_changes_no_answer(tmp_path):
    with gallery(tmp_path / "g", people(unit(30))) as opened:
        before = opened.match(unit(1, seed=3)[0], top=30)
        assert opened.reindex() == []
        assert opened.match(unit(1, seed=3)[0], top=30) == before


@pytest.fixture(scope="module")
def second_encoder(tmp_path_factory):
    """A small network that gives other embeddings of the same faces."""
    path = tmp_path_factory.mktemp("model") / "second.safetensors"
    own_model(path)
    return path


def test_a_photo_of_two_people_is_searched_once_when_it_is_encoded_anew(tmp_path, monkeypatch):
    photo, searches = save_face(tmp_path / "two.png", 1, 2), []
    with Gallery(tmp_path / "g", "fast", create=True) as opened, Store(tmp_path / "g") as store:
        opened.enroll("Ada", photo, face=1)
        opened.enroll("Bob", photo, face=2)
        reader = opened.reader()
        read = reader.read
        monkeypatch.setattr(reader, "read", lambda pixels: searches.append(pixels) or read(pixels))
        embeddings, lost = encode_anew(store, reader)
        assert (len(embeddings), lost, len(searches)) == (2, [], 1)


def test_another_encoder_encodes_the_photos_anew(tmp_path, database, second_encoder):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, database)
        old = stored_vectors(tmp_path / "g")
        assert opened.reindex(second_encoder) == []
        new = stored_vectors(tmp_path / "g")
        assert np.abs(new - old).max() > 0.01
        probe = opened.reader().read(drawn_face(1))[0].vector
        np.testing.assert_allclose(probe, new[1], atol=1e-5)
        assert opened.match(probe, top=1)[0].name == "Bob"
        assert traces(tmp_path / "g", *old) == set()
    with Gallery(tmp_path / "g", second_encoder) as again:
        assert again.match(probe, top=1)[0].name == "Bob"
    with pytest.raises(GalleryMismatch):
        Gallery(tmp_path / "g", "fast")


def test_photos_that_are_gone_or_changed_are_listed_and_their_faces_dropped(tmp_path, database, second_encoder):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, database)
        (database / "Ada.png").unlink()
        save_face(database / "Bob.png", 99)
        assert opened.reindex(second_encoder) == [str(database / "Ada.png"), str(database / "Bob.png")]
        assert names(opened) == ["Cy"]


def test_the_face_that_was_enrolled_is_the_one_encoded_anew(tmp_path, second_encoder):
    photo = save_face(tmp_path / "two.png", 1, 2)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, photo, name="Ada")
        with Store(tmp_path / "g") as store:
            box = store.photos()[0].box
        opened.reindex(second_encoder)
        vector = stored_vectors(tmp_path / "g")[0]
        faces = opened.reader().read(np.asarray(Image.open(photo)))
        (mine,) = [one for one in faces if one.face.box == pytest.approx(box)]
        np.testing.assert_allclose(vector, mine.vector, atol=1e-5)


def test_when_all_photos_are_gone_the_gallery_stays_as_it_was(tmp_path, database, second_encoder):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, database)
        before = stored_vectors(tmp_path / "g")
        probe = unit(1)[0]
        answers = opened.match(probe, top=3)
        shutil.rmtree(database)
        with pytest.raises(GalleryError, match="left as it was"):
            opened.reindex(second_encoder)
        assert np.array_equal(stored_vectors(tmp_path / "g"), before)
        assert opened.match(probe, top=3) == answers
    with Gallery(tmp_path / "g") as again:
        assert again.match(probe, top=3) == answers


def test_a_broken_model_moves_nothing(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"junk")
    with gallery(tmp_path / "g", people(unit(3))) as opened:
        with pytest.raises(ModelError):
            opened.reindex(tmp_path / "m.safetensors")
        assert opened.faces == 3
        assert opened.match(unit(3)[1], top=1)[0].name == "person0001"


# what `enroll` takes


def test_a_photo_without_a_name_is_refused_with_the_remedy(database):
    with pytest.raises(DataError, match="--name"), named_photos([database / "Ada.png"]):
        pass


def test_with_a_name_all_photos_are_that_persons(database):
    with named_photos([database, database / "Ada.png"], "Zoe\u0308") as (photos, total):
        found = list(photos)
    assert total == len(found) == 4
    assert {photo.name for photo in found} == {"Zoë"}


def test_unknown_is_refused_as_a_name(database, tmp_path):
    with pytest.raises(NameInvalid), named_photos([database], "Unknown"):
        pass


def test_photos_are_counted_beforehand_unless_they_are_in_a_pack(database, tmp_path):
    with named_photos([database]) as (_, total):
        assert total == 3
    shutil.make_archive(str(tmp_path / "pack"), "zip", database)
    with named_photos([tmp_path / "pack.zip"]) as (photos, total):
        assert total is None
        assert len(list(photos)) == 3


def test_flipped_bits_anywhere_in_a_gallery_give_our_errors_or_the_truth(tmp_path):
    vectors = unit(20)
    with gallery(tmp_path / "g", people(vectors)) as opened:
        probe = near(vectors[4])
        truth = opened.match(probe, top=3)
    files = [path for path in sorted((tmp_path / "g").iterdir()) if path.stat().st_size]
    rng, right = np.random.default_rng(0), 0
    whole = {path: path.read_bytes() for path in files}
    for round_ in range(60):
        path = files[round_ % len(files)]
        flip(path, int(rng.integers(len(whole[path]))), 1 << int(rng.integers(8)))
        try:
            with Gallery(tmp_path / "g") as opened:
                assert opened.match(probe, top=3) == truth
                right += 1
        except FacedexError:
            pass
        for other in (tmp_path / "g").iterdir():
            if other not in whole:
                other.unlink()
        for other, data in whole.items():
            other.write_bytes(data)
    assert right > 10


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_removal_killed_before_the_index_was_rewritten_is_seen_all_the_same(tmp_path):
    with gallery(tmp_path / "g", people(unit(20))) as opened:
        opened.match(unit(1)[0])
    code = """
import os, signal, sys
from pathlib import Path
from facedex.store.store import Store
Store(Path(sys.argv[1])).remove(["person0003"])
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = python(code, tmp_path / "g")
    process.communicate()
    with Gallery(tmp_path / "g") as opened:
        assert "person0003" not in [one.name for one in opened.match(unit(20)[3], top=20)]
        assert len(opened.match(unit(20)[3], top=20)) == 19


def test_manifest_is_readable_by_people(tmp_path):
    with gallery(tmp_path / "g", people(unit(3))) as opened:
        opened.match(unit(1)[0])
        manifest = json.loads((tmp_path / "g" / "manifest.json").read_text())
        assert manifest["count"] == 3
        assert manifest["model"] == opened.model.fingerprint


# several photos of a person, and how good they are


def test_the_threshold_follows_the_photos_of_each_person(tmp_path):
    """With a calibration for people with four photos, eight such people need a lower threshold than with one photo."""
    shorter = Tail(0.0, 0.1, 0.7, 0.05, 0.0, 1.7, 0.05, 2.0, 0.2)
    level = Scores(4, (Normal(1.0, 5.0, 1.0),), shorter)
    with gallery(tmp_path / "g", people(unit(8))) as opened:
        tail = Tail(0.0, 0.1, 1.0, 0.05, 0.0, 1.7, 0.05, 2.0, 0.2)
        opened.calibration = Calibration(
            1.0, 0.0, (Scores(1, (Normal(1.0, 5.0, 1.0),), tail), level), ((tail, shorter),), 9, 9
        )
        before = opened.threshold(0.01)
        assert before == pytest.approx(opened.calibration.threshold(8, 0.01))
        with Store(tmp_path / "g") as store:
            store.add([one for seed in (1, 2, 3) for one in people(unit(8, seed=seed))])
        assert opened.threshold(0.01) == pytest.approx(opened.calibration.threshold(np.full(8, 4), 0.01))
        assert opened.threshold(0.01) < before - 0.1
        rate, low, high = opened.false_alarm_rate(opened.threshold(0.01))
        assert rate == pytest.approx(0.01)
        assert low == pytest.approx(high) == pytest.approx(rate)


def test_a_shortlist_misses_nobody_whose_photos_fuse_to_more(tmp_path):
    """Many people have one very similar photo among poor ones. One person's photos are all good, but none is best."""
    probe = unit(1)[0]
    good = [record("steady", near(probe, seed, 0.62)) for seed in range(6)]
    lucky = [record(f"lucky{i}", near(probe, 100 + i, 0.6)) for i in range(30)]
    poor = [record(f"lucky{i}", vector) for i in range(30) for vector in unit(5, seed=500 + i)]
    with gallery(tmp_path / "g", [*good, *lucky, *poor]) as opened:
        through = opened.match(probe, top=1, shortlist=3)
        assert through == opened.match(probe, top=1, exhaustive=True)
        assert through[0].name == "steady"


def test_a_poor_photo_is_enrolled_with_a_notice(tmp_path):
    save_face(tmp_path / "d" / "Ada.png", 1)
    Image.open(tmp_path / "d" / "Ada.png").resize((34, 34)).save(tmp_path / "d" / "Bob.png")
    with Gallery(tmp_path / "g", "fast", create=True) as opened, named_photos([tmp_path / "d"]) as (photos, _):
        found = {result.name: result for result in opened.iter_enroll(photos)}
        assert len(opened) == 2
    assert found["Bob"].status == "enrolled"
    assert "small" in found["Bob"].reason
    assert "small" not in (found["Ada"].reason or "")
