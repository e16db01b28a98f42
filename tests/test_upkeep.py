"""Upkeep of a gallery: photos that moved, a lost model, doctor, backup and restore."""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from facedex.errors import (
    DataError,
    GalleryBusy,
    GalleryDamaged,
    GalleryError,
    GalleryMismatch,
    GalleryNotFound,
    ModelError,
)
from facedex.gallery import backup as backup_module
from facedex.gallery import doctor as doctor_module
from facedex.gallery.backup import backup, restore
from facedex.gallery.doctor import examine
from facedex.gallery.gallery import Gallery
from facedex.model.modelfile import read_model
from facedex.photos.sources import named_photos
from facedex.store.store import FILE, Store
from tests.helpers import (
    closed,
    everybody,
    flip,
    gallery,
    make_model,
    near,
    other_encoder,
    people,
    record,
    save_blank,
    save_face,
    unit,
    unwritable,
)

PROBES = unit(5, seed=50)


def enroll(opened, *sources, name=None, update=False):
    with named_photos(sources, name) as (photos, _):
        results = opened.enroll_all(photos, update=update)
    return [(os.path.basename(one.photo), one.name, one.status) for one in results]


def who(opened):
    return [(person.name, person.photos) for person in opened.people()]


def answers(opened):
    return [opened.match(probe, top=99) for probe in PROBES]


def states(folder, **options):
    return {finding.part: finding.state for finding in examine(folder, **options)}


@pytest.fixture
def database(tmp_path):
    """Ada with two photos in a folder, Bob and Cy with one each, drawn."""
    for seed, path in enumerate(("Ada/1.png", "Ada/2.png", "Bob.png", "Cy.png")):
        save_face(tmp_path / "db" / path, seed, side=120)
    return tmp_path / "db"


@pytest.fixture
def enrolled(tmp_path, database):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, database)
    return tmp_path / "g"


# a folder synchronised


def update(folder, database):
    with Gallery(folder) as opened:
        results = enroll(opened, database, update=True)
        gone = opened.vanished([database])
        return {photo: (name, status) for photo, name, status in results}, [(p.name, p.source) for p in gone]


def test_nothing_changed_is_nothing_to_do(enrolled, database):
    results, gone = update(enrolled, database)
    assert {status for _, status in results.values()} == {"known"}
    assert gone == []


def test_new_photos_are_enrolled_and_vanished_ones_named(enrolled, database):
    save_face(database / "Dee.png", 9, side=120)
    (database / "Ada" / "2.png").unlink()
    (database / "Cy.png").unlink()
    results, gone = update(enrolled, database)
    assert results["Dee.png"] == ("Dee", "enrolled")
    assert gone == [("Ada", str(database / "Ada" / "2.png")), ("Cy", str(database / "Cy.png"))]
    with Gallery(enrolled) as opened:
        assert who(opened) == [("Ada", 2), ("Bob", 1), ("Cy", 1), ("Dee", 1)]  # nothing goes unasked
        assert opened.remove_photos(opened.vanished([database])) == 2
        assert who(opened) == [("Ada", 1), ("Bob", 1), ("Dee", 1)]
        assert opened.vanished([database]) == []


def test_a_moved_photo_is_recognised_by_its_content_and_a_renamed_folder_renames(enrolled, database):
    (database / "Bob.png").rename(database / "Robert.png")
    (database / "Ada" / "deep").mkdir()
    (database / "Ada" / "2.png").rename(database / "Ada" / "deep" / "two.png")
    results, gone = update(enrolled, database)
    assert results["Robert.png"] == ("Robert", "moved")
    assert results["two.png"] == ("Ada", "moved")
    assert gone == []
    with Gallery(enrolled) as opened, Store(enrolled) as store:
        assert who(opened) == [("Ada", 2), ("Cy", 1), ("Robert", 1)]
        assert str(database / "Ada" / "deep" / "two.png") in [photo.source for photo in store.photos()]
        bob = opened.reader().read(np.asarray(__import__("PIL.Image").Image.open(database / "Robert.png")))[0].vector
        assert opened.match(bob, top=1)[0].name == "Robert" == opened.match(bob, top=1, exhaustive=True)[0].name


def test_photos_that_changed_places_are_followed(enrolled, database):
    (database / "Bob.png").rename(database / "x.png")
    (database / "Cy.png").rename(database / "Bob.png")
    (database / "x.png").rename(database / "Cy.png")
    with Gallery(enrolled) as opened:
        before = {p.photo: p.name for p in opened._store.photos()}
    results, gone = update(enrolled, database)
    assert results["Bob.png"] == ("Bob", "moved")
    assert results["Cy.png"] == ("Cy", "moved")
    assert gone == []
    with Gallery(enrolled) as opened:
        after = {p.photo: p.name for p in opened._store.photos()}
    swap = {"Bob": "Cy", "Cy": "Bob"}
    assert after == {photo: swap.get(name, name) for photo, name in before.items()}


def test_photos_of_a_folder_that_cannot_be_listed_are_not_gone(enrolled, database):
    with closed(database / "Ada"):
        results, gone = update(enrolled, database)
    assert results["Ada"] == ("Ada", "skipped")
    assert gone == []


def test_a_replaced_photo_is_enrolled_and_the_older_face_offered(enrolled, database):
    save_face(database / "Bob.png", 33, side=120)
    results, gone = update(enrolled, database)
    assert results["Bob.png"] == ("Bob", "enrolled")
    assert gone == [("Bob", str(database / "Bob.png"))]
    with Gallery(enrolled) as opened:
        opened.remove_photos(opened.vanished([database]))
        assert who(opened) == [("Ada", 2), ("Bob", 1), ("Cy", 1)]
        assert enroll(opened, database, update=True)[2] == ("Bob.png", "Bob", "known")


def test_a_photo_put_back_is_there_and_the_one_that_stood_in_for_it_gone(enrolled, database):
    first = (database / "Bob.png").read_bytes()
    save_face(database / "Bob.png", 33, side=120)
    with Gallery(enrolled) as opened:
        enroll(opened, database)
        second = hashlib.sha256((database / "Bob.png").read_bytes()).hexdigest()
        (database / "Bob.png").write_bytes(first)
        enroll(opened, database, update=True)
        assert [(photo.name, photo.photo) for photo in opened.vanished([database])] == [("Bob", second)]


def test_a_photo_that_took_anothers_place_and_was_spoilt_there_keeps_its_face(enrolled, database):
    save_face(database / "Bob.png", 33, side=120)
    second = hashlib.sha256((database / "Bob.png").read_bytes()).hexdigest()
    with Gallery(enrolled) as opened:
        enroll(opened, database, update=True)
        save_blank(database / "Bob.png")
        enroll(opened, database, update=True)
        (gone,) = opened.vanished([database])
        assert gone.name == "Bob"
        assert gone.photo != second


def test_a_photo_below_what_is_a_file_now_is_gone(enrolled, database):
    shutil.rmtree(database / "Ada")
    (database / "Ada").write_text("a note")
    _, gone = update(enrolled, database)
    assert [name for name, _ in gone] == ["Ada", "Ada"]


@pytest.mark.skipif(os.name == "nt", reason="makes a symbolic link")
def test_a_photo_seen_under_another_path_is_there(enrolled, database):
    (database / "Ada" / "b").mkdir()
    (database / "Ada" / "2.png").rename(database / "Ada" / "b" / "2.png")
    assert update(enrolled, database)[1] == []
    (database / "Ada" / "a").symlink_to(database / "Ada" / "b")  # comes first, and a folder is looked into once
    assert update(enrolled, database)[1] == []
    (database / "Ada" / "b" / "2.png").unlink()
    assert [name for name, _ in update(enrolled, database)[1]] == ["Ada"]


def test_photos_of_a_pack_in_the_folder_are_there(tmp_path, database):
    shutil.make_archive(str(tmp_path / "pack"), "zip", database)
    (tmp_path / "pack.zip").rename(database / "pack.zip")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, database / "pack.zip")
        assert opened.vanished([database]) == []
        (database / "pack.zip").unlink()
        assert len(opened.vanished([database])) == 4


def test_a_photo_spoilt_in_its_place_keeps_its_face(enrolled, database):
    save_blank(database / "Bob.png")
    results, gone = update(enrolled, database)
    assert results["Bob.png"] == ("Bob", "skipped")
    assert gone == []


def test_a_person_renamed_in_the_gallery_stays_so(enrolled, database):
    with Gallery(enrolled) as opened:
        opened.rename("Bob", "Robert")
        opened.rename("Ada", "Ada Lovelace")
    (database / "Ada" / "2.png").rename(database / "Ada" / "3.png")
    results, gone = update(enrolled, database)
    assert results["Bob.png"] == ("Robert", "known")
    assert results["3.png"] == ("Ada Lovelace", "moved")
    assert gone == []


def test_a_whole_folder_that_moved_is_followed(enrolled, database, tmp_path):
    database.rename(tmp_path / "elsewhere")
    results, gone = update(enrolled, tmp_path / "elsewhere")
    assert {status for _, status in results.values()} == {"moved"}
    assert gone == []
    with Gallery(enrolled) as opened:
        assert who(opened) == [("Ada", 2), ("Bob", 1), ("Cy", 1)]


def test_copies_conflict_as_ever_while_the_original_is_there(enrolled, database):
    shutil.copy(database / "Bob.png", database / "Eve.png")
    shutil.copy(database / "Bob.png", database / "Bob_0002.png")
    results, gone = update(enrolled, database)
    assert results["Eve.png"] == ("Eve", "conflict")
    assert results["Bob_0002.png"] == ("Bob", "known")
    assert gone == []


def test_other_folders_are_left_alone_and_an_empty_one_is_suspicious(enrolled, database, tmp_path):
    save_face(tmp_path / "db2" / "Zoe.png", 20, side=120)
    with Gallery(enrolled) as opened:
        enroll(opened, tmp_path / "db2")
        shutil.rmtree(database)
        assert opened.vanished([tmp_path / "db2"]) == []
        with pytest.raises(DataError, match="does not exist"):
            opened.vanished([database])
        database.mkdir()
        with pytest.raises(DataError, match="facedex remove"):
            opened.vanished([database])


def test_a_pack_is_synchronised_too(tmp_path, database):
    shutil.make_archive(str(tmp_path / "pack"), "zip", database)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, tmp_path / "pack.zip")
        assert opened.vanished([tmp_path / "pack.zip"]) == []
        (database / "Cy.png").unlink()
        (database / "Bob.png").rename(database / "Ada" / "9.png")
        shutil.make_archive(str(tmp_path / "pack"), "zip", database)
        assert {s for *_, s in enroll(opened, tmp_path / "pack.zip", update=True)} == {"known", "moved"}
        assert [photo.name for photo in opened.vanished([tmp_path / "pack.zip"])] == ["Cy"]
        assert who(opened) == [("Ada", 3), ("Cy", 1)]


@pytest.fixture
def shared_photo(tmp_path, enrolled, database):
    """Ada's folder holds a photo of two; Bob is enrolled by the other face of it."""
    photo = save_face(database / "Ada" / "two.png", 7, 8, side=160)
    with Gallery(enrolled) as opened:
        assert enroll(opened, database)[2] == ("two.png", "Ada", "enrolled")
        with named_photos([photo], "Bob") as (photos, _):
            assert [one.status for one in opened.iter_enroll(photos, face=2)] == ["enrolled"]
        assert who(opened) == [("Ada", 3), ("Bob", 2), ("Cy", 1)]
    return photo


def test_a_photo_that_two_people_share_is_known_and_vanishes_for_both(enrolled, database, shared_photo):
    results, gone = update(enrolled, database)
    assert {status for _, status in results.values()} == {"known"}
    assert results["two.png"] == ("Ada", "known")
    assert gone == []
    shared_photo.unlink()
    assert update(enrolled, database)[1] == [("Ada", str(shared_photo)), ("Bob", str(shared_photo))]


@pytest.mark.parametrize("renamed", [False, True])
def test_a_photo_that_two_people_share_is_followed_for_both(enrolled, database, shared_photo, renamed):
    if renamed:
        with Gallery(enrolled) as opened:
            opened.rename("Ada", "Ada Lovelace")
    (database / "Ada").rename(database / "Augusta")
    results, gone = update(enrolled, database)
    assert results["two.png"] == ("Augusta", "moved")
    assert gone == []
    with Gallery(enrolled) as opened:
        assert who(opened) == [("Augusta", 3), ("Bob", 2), ("Cy", 1)]
        assert update(enrolled, database)[1] == []


def test_faces_of_one_photo_are_encoded_anew_each_for_its_person(tmp_path, enrolled, shared_photo):
    backup(enrolled, tmp_path / "b.facedex")
    restore(tmp_path / "b.facedex", tmp_path / "g2")
    for folder in (enrolled, tmp_path / "g2"):
        assert set(states(folder).values()) <= {"sound", "repaired"}  # no index was needed yet
        with Gallery(folder) as opened, Store(folder) as store:
            before = {
                one.name: store.faces([one.face]).vectors[0]
                for one in store.photos()
                if one.source == str(shared_photo)
            }
            assert opened.reindex(other_encoder(tmp_path / "m.safetensors")) == []
            after = {
                one.name: store.faces([one.face]).vectors[0]
                for one in store.photos()
                if one.source == str(shared_photo)
            }
        assert set(before) == set(after) == {"Ada", "Bob"}
        for name in before:
            assert float(before[name] @ after[name]) > 0.999 > float(before["Ada"] @ after["Bob"]) + 0.01


# another model, and a model that was lost


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_photos_in_packs_are_encoded_anew_while_the_pack_is_there(tmp_path, database, kind):
    pack = shutil.make_archive(str(tmp_path / "pack"), kind, database)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, pack)
        before = answers(opened)
        assert opened.reindex(other_encoder(tmp_path / "m.safetensors")) == []
        assert who(opened) == [("Ada", 2), ("Bob", 1), ("Cy", 1)]
        for old, new in zip(before, answers(opened), strict=True):
            np.testing.assert_allclose([c.logit for c in old], [c.logit for c in new], atol=1e-3)
    os.unlink(pack)
    with Gallery(tmp_path / "g") as opened, pytest.raises(GalleryError, match="left as it was"):
        opened.reindex("fast")


def test_photos_of_odd_paths_are_encoded_anew(tmp_path):
    try:
        path = save_face(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe.png"), side=120)
    except OSError:
        pytest.skip("this file system keeps Unicode only")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        enroll(opened, path, name="Ada")
        assert opened.reindex(other_encoder(tmp_path / "m.safetensors")) == []
        assert who(opened) == [("Ada", 1)]


HARMS = {
    "lost": lambda copy: copy.unlink(),
    "empty": lambda copy: copy.write_bytes(b""),
    "cut": lambda copy: copy.write_bytes(copy.read_bytes()[:100_000]),
    "flipped": lambda copy: flip(copy, copy.stat().st_size - 100),
    "another": lambda copy: shutil.copy(other_encoder(copy.parent.parent / "o.safetensors"), copy),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_copy_of_the_model_is_put_back_by_reindex_and_by_doctor(tmp_path, harm):
    model = make_model(tmp_path / "m.safetensors", beta=9.0)
    with gallery(tmp_path / "g", people(unit(20)), model) as opened:
        truth = answers(opened)
    (copy,) = (tmp_path / "g").glob("model-*")
    whole = copy.read_bytes()
    for mend in ("reindex", "doctor"):
        HARMS[harm](copy)
        with pytest.raises((ModelError, GalleryMismatch), match="facedex doctor"):
            Gallery(tmp_path / "g")
        if mend == "doctor":
            assert states(tmp_path / "g")["model"] == "broken"
            assert states(tmp_path / "g", model=model)["model"] == "repaired"
        else:
            with Gallery(tmp_path / "g", model, rebind=True) as opened:
                assert opened.reindex(model) == []
                assert answers(opened) == truth
        assert copy.read_bytes() == whole
        with Gallery(tmp_path / "g") as opened:
            assert answers(opened) == truth
        assert set(states(tmp_path / "g").values()) == {"sound"}


def test_a_changed_head_in_the_copy_is_noticed(tmp_path):
    model = make_model(tmp_path / "m.safetensors")
    gallery(tmp_path / "g", people(unit(3)), model).close()
    (copy,) = (tmp_path / "g").glob("*.safetensors")
    shutil.copy(make_model(tmp_path / "n.safetensors", beta=1.0), copy)  # the same encoder: the same fingerprint
    with pytest.raises(GalleryMismatch):
        Gallery(tmp_path / "g")


def test_the_shipped_model_puts_itself_back(enrolled):
    for copy in enrolled.glob("model-*"):
        copy.unlink()
    assert states(enrolled)["model"] == "repaired"
    assert set(states(enrolled).values()) == {"sound"}


def test_with_its_model_lost_for_good_a_gallery_moves_to_another(tmp_path, enrolled):
    for copy in enrolled.glob("model-*"):
        copy.unlink()
    other = other_encoder(tmp_path / "m.safetensors")
    with Gallery(enrolled, other, rebind=True) as opened:
        assert opened.reindex(other) == []
        assert who(opened) == [("Ada", 2), ("Bob", 1), ("Cy", 1)]
    with Gallery(enrolled) as opened:
        assert opened.faces == 4


def test_a_failed_move_leaves_no_model_behind_and_an_interrupted_ones_goes(tmp_path):
    other = other_encoder(tmp_path / "m.safetensors")
    with gallery(tmp_path / "g", people(unit(3))) as opened:
        before = sorted(os.listdir(tmp_path / "g"))
        with pytest.raises(GalleryError, match="left as it was"):
            opened.reindex(other)
        assert sorted(os.listdir(tmp_path / "g")) == sorted({*before})
        shutil.copy(other, tmp_path / "g" / f"model-{'0' * 16}.safetensors")
        assert states(tmp_path / "g")["model"] == "repaired"
        assert len(list((tmp_path / "g").glob("model-*"))) == 1


# doctor


@pytest.fixture
def crowd(tmp_path):
    """A folder with a gallery of forty people, and its answers."""
    with gallery(tmp_path / "g", people(unit(40))) as opened:
        return tmp_path / "g", answers(opened)


def alter(folder, *statements):
    with contextlib.closing(sqlite3.connect(folder / FILE)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_a_sound_gallery_is_sound_and_stays_as_it_is(crowd):
    folder, truth = crowd
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(states(folder).values()) == {"sound"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with Gallery(folder) as opened:
        assert answers(opened) == truth


@pytest.mark.parametrize("name", ["faces.faiss", "manifest.json"])
@pytest.mark.parametrize("harm", ["lost", "flipped"])
def test_a_harmed_index_is_built_anew(crowd, name, harm):
    folder, truth = crowd
    if not (folder / name).exists():
        pytest.skip("no such file in this format")
    (folder / name).unlink() if harm == "lost" else flip(folder / name, 60)
    assert states(folder)["index"] == "repaired"
    assert states(folder)["index"] == "sound"
    with Gallery(folder) as opened:
        assert answers(opened) == truth


def test_damaged_records_are_named_and_deleted_only_when_told(crowd):
    folder, _ = crowd
    alter(folder, "UPDATE face SET quality = 0 WHERE id IN (7, 31)")
    finding = next(one for one in examine(folder) if one.part == "records")
    assert finding.state == "broken"
    assert "person0006" in finding.detail
    assert "person0030" in finding.detail
    assert "--drop" in finding.detail
    found = states(folder, drop=True)
    assert found["records"] == "repaired"
    assert "broken" not in found.values()
    assert set(states(folder).values()) == {"sound"}
    with Gallery(folder) as opened:
        assert len(opened) == 38
        assert opened.match(unit(40)[8], top=1)[0].name == "person0008"


@pytest.mark.parametrize(
    "harm",
    [
        "source = CAST(source AS BLOB)",
        "source = CAST(x'2fff2e6a7067' AS TEXT)",
        "enrolled = CAST(x'ff' AS TEXT)",
        "photo = 5",
    ],
)
def test_a_record_of_another_type_or_of_bytes_that_are_no_text_is_damaged(crowd, harm):
    folder, _ = crowd
    alter(folder, f"UPDATE face SET {harm} WHERE id = 7")
    finding = next(one for one in examine(folder) if one.part == "records")
    assert finding.state == "broken"
    assert "1 damaged" in finding.detail
    assert "(person0006)" in finding.detail
    with Store(folder) as store, pytest.raises(GalleryDamaged, match="doctor"):
        store.photos() if "enrolled" not in harm else everybody(store)
    assert states(folder, drop=True)["records"] == "repaired"
    assert set(states(folder).values()) == {"sound"}


def test_an_entry_missing_from_a_database_index_is_repaired(crowd):
    folder, truth = crowd
    with contextlib.closing(sqlite3.connect(folder / FILE)) as db:
        (page, size) = db.execute("SELECT rootpage, 0 FROM sqlite_master WHERE name = 'face_person'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with open(folder / FILE, "r+b") as file:  # the leaf page's count of cells, bytes 3 and 4
        file.seek((page - 1) * size + 3)
        count = int.from_bytes(file.read(2), "big")
        file.seek((page - 1) * size + 3)
        file.write((count - 1).to_bytes(2, "big"))
    assert states(folder)["database"] == "repaired"
    assert set(states(folder).values()) == {"sound"}
    with Gallery(folder) as opened:
        assert answers(opened) == truth


def test_a_lookup_is_not_misled_by_a_database_index(crowd):
    folder, _ = crowd
    with Store(folder) as store:  # several photos a person, which are looked up by the person
        store.add([record(f"person{i:04d}", near(vector, i)) for i, vector in enumerate(unit(40))])
    with Gallery(folder) as opened:
        truth = answers(opened)
    with contextlib.closing(sqlite3.connect(folder / FILE)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'face_person'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    at, whole = (page - 1) * size, (folder / FILE).read_bytes()
    errors = []
    for change in [("cells", n) for n in (1, 40)] + [("byte", n) for n in range(1, 400, 23)]:
        data = bytearray(whole)
        if change[0] == "cells":  # the leaf page's count of cells, bytes 3 and 4: the last entries are lost
            data[at + 3 : at + 5] = (int.from_bytes(data[at + 3 : at + 5], "big") - change[1]).to_bytes(2, "big")
        else:
            data[at + size - change[1]] ^= 3
        (folder / FILE).write_bytes(data)
        try:
            with Gallery(folder) as opened:
                assert answers(opened) == truth, change
        except GalleryDamaged as error:
            errors.append(str(error))
        assert states(folder)["database"] == "repaired"
        with Gallery(folder) as opened:
            assert answers(opened) == truth
    assert len(errors) >= 5
    assert all("facedex doctor" in error for error in errors), errors


def test_sums_that_do_not_fit_are_counted_anew(crowd):
    folder, truth = crowd
    for what in ("digest = digest + 1", "people = people - 1", "digest = 0, people = 0"):
        alter(folder, f"UPDATE gallery SET {what}")
        assert states(folder)["records"] == "repaired", what
        assert set(states(folder).values()) == {"sound"}, what
        with Gallery(folder) as opened:
            assert answers(opened) == truth
    alter(folder, "UPDATE gallery SET faces = faces + 1")  # then one was lost
    assert states(folder)["records"] == "broken"


def test_a_damaged_mark_is_dropped_without_a_trace_in_the_sums(crowd):
    folder, _ = crowd
    with contextlib.closing(sqlite3.connect(folder / FILE)) as db:
        (trigger,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'face_moved'").fetchone()
    alter(folder, "DROP TRIGGER face_moved", "UPDATE face SET mark = 5 WHERE id = 7", trigger)
    assert states(folder, drop=True)["records"] == "repaired"
    assert set(states(folder).values()) == {"sound"}


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_doctor_leaves_alone_what_is_not_the_gallerys(crowd, tmp_path):
    folder, _ = crowd
    (folder / "holiday.txt").write_text("mine")
    (folder / "nowhere").symlink_to(tmp_path / "gone")
    for path in (folder, folder / "holiday.txt", folder / FILE):
        path.chmod(0o755)
    found = {one.part: one for one in examine(folder)}
    assert found["folder"].state == "repaired"
    assert found["folder"].detail.endswith(": gallery.db")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "holiday.txt")] == [0o755] * 2


def test_doctor_reads_a_large_gallery_block_by_block(crowd, monkeypatch):
    folder, _ = crowd
    monkeypatch.setattr(doctor_module, "_BLOCK", 7)
    asked, read = [], Store.faces
    monkeypatch.setattr(Store, "faces", lambda self, ids: asked.append(len(ids)) or read(self, ids))
    assert states(folder)["records"] == "sound"
    assert max(asked[:6]) == 7
    assert sum(asked[:6]) == 40
    alter(folder, "UPDATE face SET quality = quality + 1 WHERE id IN (3, 31)")
    found = {one.part: one for one in examine(folder)}
    assert found["records"].state == "broken"
    assert found["records"].detail.startswith("2 damaged")


def test_doctor_ends_a_deletion_that_was_cut_short(crowd):
    folder, _ = crowd
    gone = unit(40)[3].tobytes()
    with Gallery(folder) as opened:
        opened.match(PROBES[0])
    with Store(folder) as store:
        store.remove(["person0003"])
    assert states(folder)["index"] == "repaired"
    assert not any(gone[:16] in path.read_bytes() for path in folder.iterdir())
    assert set(states(folder).values()) == {"sound"}


def test_a_cut_database_is_beyond_repair_and_the_remedy_is_named(crowd):
    folder, _ = crowd
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[: len(data) // 2])
    found = list(examine(folder))
    assert found[-1].state == "broken"
    assert "facedex restore" in found[-1].detail


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_permissions_and_leftovers_are_put_right(crowd):
    folder, _ = crowd
    folder.chmod(0o755)
    (folder / FILE).chmod(0o644)
    (folder / ".faces.faiss.1.new").write_bytes(b"left")
    assert states(folder)["folder"] == "repaired"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert not (folder / ".faces.faiss.1.new").exists()


def test_there_must_be_a_gallery(tmp_path):
    with pytest.raises(GalleryNotFound):
        list(examine(tmp_path))
    with pytest.raises(GalleryNotFound):
        backup(tmp_path, tmp_path / "b")


def test_an_empty_gallery_is_sound(tmp_path):
    Gallery(tmp_path / "g", "fast", create=True).close()
    assert "broken" not in states(tmp_path / "g").values()
    assert doctor_module.Finding("folder", "sound", "x").part == "folder"


# backup and restore


def test_a_backup_is_one_file_that_brings_everything_back(crowd, tmp_path):
    folder, truth = crowd
    size = backup(folder, tmp_path / "saved" / "g.backup")
    assert size == (tmp_path / "saved" / "g.backup").stat().st_size
    assert os.listdir(tmp_path / "saved") == ["g.backup"]
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "saved" / "g.backup").stat().st_mode) == 0o600
    shutil.rmtree(folder)
    assert restore(tmp_path / "saved" / "g.backup", tmp_path / "new" / "g") == (40, 40)
    with Gallery(tmp_path / "new" / "g") as opened:
        assert answers(opened) == truth
    assert set(states(tmp_path / "new" / "g").values()) <= {"sound"}
    assert os.listdir(tmp_path / "new") == ["g"]


def test_nothing_is_overwritten_unless_forced(crowd, tmp_path):
    folder, _ = crowd
    backup(folder, tmp_path / "b")
    with pytest.raises(DataError, match="--force"):
        backup(folder, tmp_path / "b")
    with pytest.raises(GalleryError, match="--force"):
        restore(tmp_path / "b", folder)
    backup(folder, tmp_path / "b", force=True)


def test_a_forced_restore_is_seen_by_open_readers_and_leaves_nothing_of_the_old(crowd, tmp_path):
    folder, truth = crowd
    backup(folder, tmp_path / "b")
    late = unit(1, seed=9)[0]
    with Gallery(folder) as reader:
        with Store(folder) as store:
            store.add([record("late", late)])
        reader.remove("person0003")
        assert reader.match(late, top=1)[0].name == "late"
        assert restore(tmp_path / "b", folder, force=True) == (40, 40)
        assert answers(reader) == truth
        assert late.tobytes()[:16] not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_restore_takes_the_place_of_a_ruin_and_of_another_models_gallery(crowd, tmp_path):
    folder, truth = crowd
    backup(folder, tmp_path / "b")
    (folder / FILE).write_bytes(b"garbage" * 1000)
    restore(tmp_path / "b", folder, force=True)
    gallery(tmp_path / "h", people(unit(3), "other"), make_model(tmp_path / "m.safetensors", beta=1.0)).close()
    restore(tmp_path / "b", tmp_path / "h", force=True)
    for where in (folder, tmp_path / "h"):
        with Gallery(where) as opened:
            assert answers(opened) == truth
        assert len(list(where.glob("model-*"))) == 1


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second disk")
@pytest.mark.parametrize("force", [False, True])
def test_a_restore_reaches_a_folder_that_is_another_disk(crowd, tmp_path, force):
    folder, truth = crowd
    if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("needs a second disk")
    backup(folder, tmp_path / "b")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "index").symlink_to(other)
        if force:
            gallery(tmp_path / "index", people(unit(3), "other")).close()
        else:
            os.chmod(other, 0o755)
        restore(tmp_path / "b", tmp_path / "index", force=force)
        with Gallery(tmp_path / "index") as opened:
            assert answers(opened) == truth
        assert set(states(tmp_path / "index").values()) == {"sound"}
        assert not list(Path(other).glob(".*"))
        assert stat.S_IMODE(os.stat(other).st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_an_empty_folder_becomes_private_by_a_restore_however_it_is_named(crowd, tmp_path, monkeypatch):
    folder, _ = crowd
    backup(folder, tmp_path / "b")
    (tmp_path / "index").mkdir(mode=0o755)
    monkeypatch.chdir(tmp_path)
    make = tempfile.mkdtemp
    # As since Python 3.12.
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **where: os.path.abspath(make(**where)))
    restore("b", "index")
    assert stat.S_IMODE((tmp_path / "index").stat().st_mode) == 0o700


def test_the_next_restore_deletes_leftovers_of_a_killed_one(crowd, tmp_path):
    folder, _ = crowd
    backup(folder, tmp_path / "b")
    left = tmp_path / "x" / ".facedex-backup-killed__"
    (left / "files").mkdir(parents=True)
    (left / "lock").touch()
    (tmp_path / "x" / "g").mkdir()
    restore(tmp_path / "b", tmp_path / "x" / "g")
    assert os.listdir(tmp_path / "x") == ["g"]


def test_doctor_deletes_leftovers_of_a_killed_restore(crowd):
    folder, _ = crowd
    left = folder / ".facedex-backup-killed__"
    (left / "files").mkdir(parents=True)
    (left / "files" / FILE).write_bytes(b"faces")
    (left / "lock").touch()
    assert set(states(folder).values()) == {"sound"}
    assert not left.exists()


def test_what_cannot_be_a_backup_is_named(crowd, tmp_path):
    folder, _ = crowd
    with pytest.raises(DataError, match=re.escape(f"{folder} cannot be read")):
        restore(folder, tmp_path / "new")
    with tarfile.open(tmp_path / "deep", "w") as pack:
        info = tarfile.TarInfo("backup.json")
        info.size = 200_000
        pack.addfile(info, io.BytesIO(b"[" * info.size))
    with pytest.raises(DataError, match="deep is damaged or no backup"):
        restore(tmp_path / "deep", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_backup_never_takes_the_place_of_a_part_of_its_gallery(crowd, tmp_path):
    folder, truth = crowd
    (tmp_path / "link").symlink_to(folder)
    for target in (folder / FILE, folder / "manifest.json", folder / "new.backup", folder, tmp_path / "link" / FILE):
        with pytest.raises(DataError, match="in the gallery itself"):
            backup(folder, target, force=True)
    with Gallery(folder) as opened:
        assert answers(opened) == truth


def test_the_next_backup_deletes_leftovers_of_killed_ones_only(crowd, tmp_path):
    folder, _ = crowd
    (tmp_path / "out").mkdir()
    killed, early, living = (tmp_path / "out" / f".facedex-backup-{name:_<8}" for name in ("killed", "early", "living"))
    early.mkdir()
    for one in (killed, living):
        (one / "files").mkdir(parents=True)
        (one / "files" / FILE).write_bytes(b"faces")
        (one / "lock").touch()
    with FileLock(str(living / "lock")):
        backup(folder, tmp_path / "out" / "b")
        assert sorted(os.listdir(tmp_path / "out")) == [living.name, "b"]
        assert (living / "files" / FILE).read_bytes() == b"faces"
    restore(tmp_path / "out" / "b", tmp_path / "out" / "g")
    assert sorted(os.listdir(tmp_path / "out")) == ["b", "g"]


def test_folders_that_no_killed_backup_left_stay(crowd, tmp_path):
    folder, _ = crowd
    out = tmp_path / "out"
    for name in (".facedex-cache", ".facedex-backup-notes", ".facedex-backup-of-2026", ".facedex-backup-unlocked"):
        (out / name / "files").mkdir(parents=True)
        (out / name / "files" / "mine").write_text("mine")
    for name in (".facedex-cache", ".facedex-backup-notes"):
        (out / name / "lock").touch()
    (out / ".facedex-backup-mixed___" / "files").mkdir(parents=True)
    (out / ".facedex-backup-mixed___" / "lock").touch()
    (out / ".facedex-backup-mixed___" / "mine").touch()
    (out / ".facedex-empty").mkdir()
    (out / ".facedex-backup-link____").symlink_to(out / ".facedex-cache")
    before = sorted(os.listdir(out))
    backup(folder, out / "b")
    assert sorted(os.listdir(out)) == sorted([*before, "b"])
    assert len(list(out.rglob("mine"))) >= 5
    assert (out / ".facedex-cache" / "lock").exists()


def test_a_backup_whose_folder_is_swept_before_it_has_the_lock_takes_another(crowd, tmp_path, monkeypatch):
    def made(**options):
        folders.append(make(**options))
        if len(folders) == 1:
            os.rmdir(folders[0])
        elif len(folders) == 2:
            Path(folders[1], "lock").touch()
            backup_module.sweep(options["dir"])
        return folders[-1]

    folder, truth = crowd
    folders, make = [], tempfile.mkdtemp
    monkeypatch.setattr(backup_module.tempfile, "mkdtemp", made)
    backup(folder, tmp_path / "out" / "b")
    assert os.listdir(tmp_path / "out") == ["b"]
    assert folders
    restore(tmp_path / "out" / "b", tmp_path / "back")
    with Gallery(tmp_path / "back") as opened:
        assert answers(opened) == truth


def test_a_backup_goes_into_a_folder_that_can_be_written_to_and_not_read(crowd, tmp_path):
    """A folder that may not be read cannot be flushed by itself."""
    folder, truth = crowd
    with unwritable(folder) as copy:  # as somebody who is not root
        copy.parent.chmod(0o700)
        out = copy.parent / "out"
        out.mkdir()
        out.chmod(0o300)
        backup(copy, out / "b")
        restore(out / "b", out / "deep" / "g")
        out.chmod(0o700)
        assert sorted(os.listdir(out)) == ["b", "deep"]
        with Gallery(out / "deep" / "g") as opened:
            assert answers(opened) == truth


def test_a_backup_while_the_gallery_moves_to_another_model_is_of_one_state(tmp_path, enrolled, monkeypatch):
    other, moved = other_encoder(tmp_path / "m.safetensors"), []

    def late(folder, state):
        if not moved:
            moved.append(True)
            with Gallery(enrolled) as opened:
                opened.reindex(other)
        return read(folder, state)

    read = backup_module.modelcopy.read
    monkeypatch.setattr(backup_module.modelcopy, "read", late)
    backup(enrolled, tmp_path / "b")
    monkeypatch.undo()
    assert restore(tmp_path / "b", tmp_path / "h") == (3, 4)
    with Gallery(tmp_path / "h") as opened:
        assert opened.model.fingerprint == read_model(other).fingerprint
        assert len(list((tmp_path / "h").glob("model-*"))) == 1


def test_nothing_that_was_removed_is_in_a_backup(crowd, tmp_path):
    folder, _ = crowd
    with Store(folder) as store:
        store.remove(["person0003"])  # and nothing cleared: killed
    backup(folder, tmp_path / "b")
    gone = unit(40)[3].tobytes()
    data = (tmp_path / "b").read_bytes()
    assert not any(gone[at : at + 16] in data for at in range(0, len(gone), 16))


def test_a_backup_is_consistent_while_somebody_writes(crowd, tmp_path):
    folder, _ = crowd
    with Store(folder) as writer:
        writer._db.execute("BEGIN IMMEDIATE")
        writer._db.execute("UPDATE person SET name = 'half done' WHERE id = 1")
        backup(folder, tmp_path / "b")
        writer._db.execute("ROLLBACK")
    restore(tmp_path / "b", tmp_path / "h")
    with Gallery(tmp_path / "h") as opened:
        assert opened.people()[0].name == "person0000"


def test_a_damaged_gallery_is_not_backed_up(crowd, tmp_path):
    folder, _ = crowd
    alter(folder, "UPDATE face SET quality = 0 WHERE id = 7")
    with pytest.raises(GalleryError):
        backup(folder, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_any_damage_to_a_backup_is_noticed_before_anything_is_touched(tmp_path):
    from tests.golden import make as golden

    with Gallery(tmp_path / "g", golden.model(tmp_path), create=True) as opened:
        opened._store.add(golden.records())
    backup(tmp_path / "g", tmp_path / "b")
    whole, rng = (tmp_path / "b").read_bytes(), np.random.default_rng(0)
    with Gallery(tmp_path / "g") as opened:
        truth = golden.answers(opened)
    for round_ in range(120):
        data = bytearray(whole)
        if round_ % 3 == 0:
            data = data[: int(rng.integers(len(data)))]
        else:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        (tmp_path / "c").write_bytes(data)
        try:
            restore(tmp_path / "c", tmp_path / "new")
        except DataError:
            assert not (tmp_path / "new").exists() or not os.listdir(tmp_path / "new")
            continue
        with Gallery(tmp_path / "new") as opened:  # padding of the tar, or a date: nothing that counts
            assert golden.answers(opened) == truth
        shutil.rmtree(tmp_path / "new")
    assert not [path for path in os.listdir(tmp_path) if path.startswith(".")]


@pytest.mark.parametrize("evil", ["../outside", "/tmp/facedex-outside", "link", "twice", "device", "stranger"])
def test_a_backup_made_by_an_enemy_writes_nowhere_else(crowd, tmp_path, evil):
    folder, _ = crowd
    backup(folder, tmp_path / "b")
    with tarfile.open(tmp_path / "b") as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    facts = json.loads(members[0][1])
    extra = tarfile.TarInfo(evil)
    data = b"x"
    if evil == "link":
        extra.name, extra.type, extra.linkname, data = "gallery.db", tarfile.SYMTYPE, str(tmp_path / "victim"), b""
        members = [pair for pair in members if pair[0].name != "gallery.db"]
    elif evil == "twice":
        extra.name = "gallery.db"
    elif evil == "device":
        extra.name, extra.type, data = "model-0123456789abcdef.safetensors", tarfile.CHRTYPE, b""
    extra.size = len(data)
    facts["files"].setdefault(
        extra.name, {"bytes": len(data), "sha256": __import__("hashlib").sha256(data).hexdigest()}
    )
    with tarfile.open(tmp_path / "evil", "w") as tar:
        for member, content in [(members[0][0], json.dumps(facts).encode()), *members[1:], (extra, data)]:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(DataError, match="damaged"):
        restore(tmp_path / "evil", tmp_path / "new" / "g")
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "new" / "outside").exists()
    assert not Path("/tmp/facedex-outside").exists()
    assert not (tmp_path / "victim").exists()
    assert not (tmp_path / "new" / "g").exists()


@pytest.mark.parametrize("junk", [b"", b"junk" * 1000, b"PK\x03\x04" + bytes(100)])
def test_what_is_no_backup_is_refused(tmp_path, junk):
    (tmp_path / "b").write_bytes(junk)
    with pytest.raises(DataError):
        restore(tmp_path / "b", tmp_path / "g")
    with pytest.raises(DataError):
        restore(tmp_path / "none", tmp_path / "g")
    assert not (tmp_path / "g").exists()


# media that cannot be written


@contextlib.contextmanager
def medium(folder, size):
    """A small file system of its own; the test is skipped where none can be mounted."""
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_gallery_on_a_read_only_medium_is_read_and_not_written(tmp_path):
    vectors = unit(20)
    with medium(tmp_path / "m", "40m") as folder:
        gallery(folder / "g", people(vectors)).close()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with Gallery(folder / "g") as opened:
            assert opened.match(near(vectors[3]), top=1)[0].name == "person0003"
            assert len(opened) == 20
            for write in (
                lambda: opened.rename("person0000", "A"),
                lambda: opened.remove("person0000"),
                opened.reindex,
            ):
                with pytest.raises(GalleryError, match="cannot be written"):
                    write()
        assert states(folder / "g")["folder"] == "warning"
        assert "broken" not in states(folder / "g").values()
        backup(folder / "g", tmp_path / "b")
    assert restore(tmp_path / "b", tmp_path / "g") == (20, 20)


def test_a_gallery_that_may_only_be_read_notices_who_changes_it(tmp_path, monkeypatch):
    """The reader opened the file as immutable, but its owner may still write."""
    gallery(tmp_path / "g", people(unit(3))).close()
    from facedex.store import database

    real = database._open

    def refuse(path, mode):
        if "immutable" in mode:
            return real(path, mode)
        raise sqlite3.OperationalError("unable to open database file")

    with monkeypatch.context() as patch:
        patch.setattr(database, "_open", refuse)
        patch.setattr(database, "_has_room", lambda folder: False)
        reader = Gallery(tmp_path / "g")
    assert len(reader.match(unit(1)[0])) == 3
    with Gallery(tmp_path / "g") as writer:
        writer.rename("person0000", "Ada")
    with pytest.raises(GalleryBusy, match="open the gallery again"):
        reader.match(unit(1)[0])
    reader.close()


def fill(folder):
    """Leave no byte free."""
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def test_a_full_disk_is_reported_and_nothing_is_lost(tmp_path, database):
    vectors = unit(200)
    with medium(tmp_path / "m", "40m") as folder:
        with gallery(folder / "g", people(vectors)) as opened:
            opened.reindex()
            truth = answers(opened)
        fill(folder)
        with Gallery(folder / "g") as opened:
            with pytest.raises(GalleryError, match=r"disk is full|cannot be"):
                enroll(opened, database)
            with pytest.raises(GalleryError):
                opened.merge("person0000", "person0001")
            assert answers(opened) == truth
            with pytest.raises(GalleryError):
                opened.reindex(other_encoder(tmp_path / "m.safetensors"))
            assert answers(opened) == truth
        with pytest.raises((DataError, GalleryError)):
            backup(folder / "g", folder / "b")
        assert not (folder / "b").exists()
        (folder / "filler").unlink()
        assert "broken" not in states(folder / "g").values()
        with Gallery(folder / "g") as opened:
            assert answers(opened) == truth
            assert len(opened) == 200
            assert {status for *_, status in enroll(opened, database)} == {"enrolled"}
