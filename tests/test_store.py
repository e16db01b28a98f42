"""gallery.db keeps what was acknowledged, keeps nothing of an interrupted change, and notices alterations."""

import os
import signal
import sqlite3
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from facedex.errors import FacedexError, GalleryBusy, GalleryDamaged, GalleryError, GalleryMismatch, PersonNotFound
from facedex.store import rows, schema
from facedex.store.rows import StoredPhoto
from facedex.store.store import FILE, Store, is_unfinished
from tests.helpers import everybody, flip, kill_after_line, people, python, record, sha, unit, unwritable

MODEL = ("0" * 64, "model.safetensors", 128)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, MODEL) as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch):
    """Shortens the wait for another writer."""
    monkeypatch.setattr("facedex.store.lock.BUSY_SECONDS", 0.2)


def count(store):
    """(people, faces)."""
    state = store.state
    return state.people, state.faces


def raw(store, statement, values=()):
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(store.path)) as db:
        db.execute(statement, values)
        db.commit()


# adding and reading


def test_vectors_come_back_bit_by_bit(store):
    vectors = unit(700)  # more than one query's worth of ids
    ids = store.add(people(vectors))
    found = store.faces(ids)
    assert found.ids.tolist() == ids
    assert found.vectors.dtype == np.float32
    assert np.array_equal(found.vectors, vectors)


def test_everything_about_a_face_is_kept(store):
    (face,) = store.add([record("Ada", unit(1)[0], sha("photo"))])
    assert store.photos() == [StoredPhoto(face, "Ada", "/photos/Ada.jpg", sha("photo"), (10.5, 20.25, 60.0, 80.0))]
    (person,) = store.people()
    assert (person.name, person.photos) == ("Ada", 1)
    assert person.enrolled.endswith("+00:00")


def test_vectors_after_an_id_are_the_later_ones(store):
    ids = store.add(people(unit(5)))
    assert next(store.blocks(after=ids[2])).ids.tolist() == ids[3:]


def test_ids_are_never_used_twice(store):
    ids = store.add(people(unit(3)))
    store.remove([record.name for record in people(unit(3))])
    assert min(store.add(people(unit(3)))) > max(ids)


def test_people_who_are_known_come_beside_hundreds_who_are_new(store):
    store.add(people(unit(3)))
    store.remove(["person0002"])
    vectors = unit(1003, seed=2)
    store.add([record("person0001", vectors[1001], sha("b")), record("Ada", vectors[1002])])
    first = store.names()
    assert first[1] == "person0000"
    assert first[2] == "person0001"
    assert 3 not in first
    store.add([*people(vectors[:1000]), record("person0700", vectors[1000], sha("again"))])
    names = store.names()
    assert len(names) == len(set(names.values())) == 1001
    assert first.items() <= names.items()
    assert store.state.people == 1001
    assert store.counted()[:2] == (1001, 1005)
    assert (
        store.faces_of([person for person, name in names.items() if name == "person0700"]).names == ["person0700"] * 2
    )


def test_the_revision_grows_with_every_change_and_says_when_vectors_went(store):
    store.add(people(unit(2)))
    assert (store.state.revision, store.state.rewritten) == (1, 0)
    store.rename("person0000", "Ada")
    assert (store.state.revision, store.state.rewritten) == (2, 0)
    store.remove(["Ada"])
    assert (store.state.revision, store.state.rewritten) == (3, 3)


@pytest.mark.parametrize("what", ["vector = zeroblob(512)", "person = 2", "source = 'elsewhere'", "mark = 7"])
def test_damage_is_not_sealed_over_by_a_later_change(store, what):
    """A change writes a new checksum only when the old one is right."""
    store.add([*people(unit(3)), record("person0000", unit(1, seed=9)[0])])
    store._db.execute(f"UPDATE face SET {what} WHERE id = 4")
    damaged = next(photo for photo in store.photos() if photo.face == 4)
    before = store.state.revision
    for change in (
        lambda: store.rename(damaged.name, "Ada"),
        lambda: store.merge(damaged.name, "person0002"),
        lambda: store.relocate(damaged, damaged.name, "/here"),
        lambda: store.replace_vectors("m", "f", 128, {4: (unit(1)[0], 20.0)}),
    ):
        with pytest.raises(GalleryDamaged, match="facedex doctor"):
            change()
    assert store.state.revision == before
    assert count(store) == (3, 4)
    with pytest.raises(GalleryDamaged):
        everybody(store)


def test_a_deletion_is_remembered_until_it_is_scrubbed(store):
    store.add([*people(unit(6)), record("person0000", unit(1, seed=9)[0], sha("both"))])
    store.add([record("person0001", unit(1, seed=8)[0], sha("both"))])
    assert not store.unscrubbed
    for change in (
        lambda: store.remove(["person0005"]),
        lambda: store.merge("person0000", "person0001"),
        lambda: store.remove_faces([3]),
        lambda: store.replace_vectors("m", "f", 128, {2: (unit(1)[0], 20.0)}),
    ):
        change()
        assert store.unscrubbed
        assert store.scrub()
        assert not store.unscrubbed
    store.rename("person0001", "Ada")
    store.add(people(unit(2, seed=4), "late"))
    assert not store.unscrubbed


def test_what_is_summed_up_can_be_counted_anew(store):
    store.add(people(unit(40)))
    before = store.counted()
    assert before == (store.state.people, store.state.faces, store.state.digest)
    assert before[2] > 2**24
    store._db.execute("UPDATE gallery SET people = 1, faces = 2, digest = 3")
    assert store.counted() == before
    store.recount()
    assert before == (store.state.people, store.state.faces, store.state.digest)


def test_adding_nothing_changes_nothing(store):
    assert store.add([]) == []
    assert store.state.revision == 0


@pytest.mark.parametrize("bad", [np.full(128, np.nan, np.float32), np.zeros(64, np.float32)])
def test_a_vector_that_is_no_embedding_is_refused_whole(store, bad):
    with pytest.raises(GalleryError, match="128 finite"):
        store.add([*people(unit(2)), record("bad", bad)])
    assert count(store) == (0, 0)


def test_a_known_photo_is_found_under_every_name_it_has(store):
    a, b = unit(2)
    store.add([record("Ada", a, sha("x")), record("Bob", b, sha("x")), record("Cy", b, sha("y"))])
    assert [one.name for one in store.photos(sha("x"))] == ["Ada", "Bob"]
    assert store.photos(sha("z")) == []


# rename, merge, remove


def test_rename_keeps_the_faces(store):
    (face,) = store.add([record("Ada", unit(1)[0])])
    store.rename("Ada", "Ada Lovelace")
    assert [person.name for person in store.people()] == ["Ada Lovelace"]
    assert store.faces([face]).ids.tolist() == [face]


def test_a_name_that_is_taken_is_refused(store):
    store.add([record("Ada", unit(1)[0]), record("Bob", unit(1, seed=1)[0])])
    with pytest.raises(GalleryError, match="merge"):
        store.rename("Ada", "Bob")
    assert [person.name for person in store.people()] == ["Ada", "Bob"]
    assert store.state.revision == 1


def test_renaming_to_the_same_name_is_allowed(store):
    store.add([record("Ada", unit(1)[0])])
    store.rename("Ada", "Ada")
    assert [person.name for person in store.people()] == ["Ada"]


@pytest.mark.parametrize("name", ["Bob", "", "a\0b", "odd\udcff"])
def test_nobody_of_that_name(store, name):
    store.add([record("Ada", unit(1)[0])])
    for call in (lambda: store.rename(name, "X"), lambda: store.merge(name, "Ada"), lambda: store.remove([name])):
        with pytest.raises(PersonNotFound, match="facedex list"):
            call()
    assert count(store) == (1, 1)
    assert store.state.revision == 1


def test_a_name_is_found_in_whatever_form_its_accents_are_typed(store):
    store.add([record("Zoë", unit(1)[0])])
    store.rename("Zoe\u0308", "Zoe")
    assert [person.name for person in store.people()] == ["Zoe"]


def test_merge_gives_all_faces_and_keeps_a_common_photo_once(store):
    vectors = unit(3)
    store.add([record("A", vectors[0], sha("common")), record("A", vectors[1])])
    store.add([record("B", vectors[0], sha("common")), record("B", vectors[2])])
    assert store.merge("A", "B") == 1
    assert [(person.name, person.photos) for person in store.people()] == [("B", 3)]
    found = everybody(store)[1]
    assert sorted(map(bytes, found)) == sorted(map(bytes, vectors))


def test_nobody_is_merged_into_themselves(store):
    store.add([record("A", unit(1)[0])])
    with pytest.raises(GalleryError, match="itself"):
        store.merge("A", "A")
    assert count(store) == (1, 1)


def test_remove_takes_all_faces_of_all_named_or_nothing(store):
    store.add([record("A", unit(1)[0]), record("A", unit(2)[1]), record("B", unit(3)[2]), record("C", unit(4)[3])])
    with pytest.raises(PersonNotFound):
        store.remove(["A", "nobody"])
    assert count(store) == (3, 4)
    assert store.remove(["A", "B"]) == 3
    assert [person.name for person in store.people()] == ["C"]
    assert count(store) == (1, 1)


# crashes


ADD_AND_WAIT = """
import sys, time
from pathlib import Path
from tests.helpers import people, unit
from facedex.store.store import Store
store = Store(Path(sys.argv[1]))
print(store.add(people(unit(500))), flush=True)
time.sleep(60)
"""


def test_an_acknowledged_add_survives_kill_9(store, tmp_path):
    printed = kill_after_line(python(ADD_AND_WAIT, tmp_path))
    ids = [int(part) for part in printed.strip("[]\n").split(",")]
    assert len(ids) == 500
    with Store(tmp_path) as again:
        found, vectors = everybody(again)
    assert found.tolist() == ids
    assert np.array_equal(vectors, unit(500))


DIE_HALFWAY = """
import os, signal, sys
from pathlib import Path
from tests.helpers import people, unit
from facedex.store.store import Store

def die():
    size = os.path.getsize(sys.argv[1] + "/gallery.db-wal")
    if size > 500_000:
        print("half", size, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

store = Store(Path(sys.argv[1]))
store._db.execute("PRAGMA cache_size = 10")  # so that much of the unfinished transaction is in the log
store._db.connection.set_progress_handler(die, 1000)  # after every thousand of SQLite's own instructions
store.add(people(unit(2000, seed=1), "late"))
print("done", 0)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_transaction_leaves_nothing_half(store, tmp_path):
    before = unit(20)
    store.add(people(before))
    process = python(DIE_HALFWAY, tmp_path)
    said, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    assert said.startswith("half")
    assert int(said.split()[1]) > 500_000
    with Store(tmp_path) as again:
        assert count(again) == (20, 20)
        assert again.state.revision == 1
        assert np.array_equal(everybody(again)[1], before)
        again.add(people(unit(5, seed=2), "next"))
        assert count(again) == (25, 25)


def test_a_creation_cut_short_is_told_from_a_gallery(tmp_path):
    (tmp_path / FILE).touch()
    assert is_unfinished(tmp_path)
    Store(tmp_path, MODEL).close()
    assert not is_unfinished(tmp_path)


# damage


CHANGES = {
    "person": 1,
    "vector": b"\0" * 512,
    "box_left": 10.25,
    "box_top": 20.5,
    "box_width": 61.0,
    "box_height": 81.0,
    "score": 0.94,
    "quality": 21.25,
    "source": "/photos/Bob.jpg",
    "photo": b"\1" * 32,
    "enrolled": "2001-01-01T00:00:00+00:00",
    "consent": "signed",
    "expires": "2999-12-31",
    "checksum": b"\0" * 16,
    "mark": 7,
}


def test_every_column_of_a_face_is_tried(store):
    columns = {row[1] for row in store._db.rows("PRAGMA table_info(face)")}
    assert columns == {*CHANGES, "id"}


@pytest.mark.parametrize("column", CHANGES)
def test_another_value_in_any_column_is_noticed(store, column):
    ids = store.add(people(unit(3)))
    raw(store, f"UPDATE face SET {column} = ? WHERE id = ?", (CHANGES[column], ids[1]))
    for read in (lambda: everybody(store), lambda: store.faces(ids)):
        with pytest.raises(GalleryDamaged, match=f"Face {ids[1]} "):
            read()
    assert store.faces([ids[0], ids[2]]).ids.tolist() == [ids[0], ids[2]]


@pytest.mark.parametrize("value", [None, 7, "text", b"\xff\xfe"])
@pytest.mark.parametrize("column", ["vector", "box_left", "score", "source", "photo", "enrolled", "checksum"])
def test_a_value_of_another_type_is_noticed(store, column, value):
    (face,) = store.add(people(unit(1)))
    if value is None:
        # What NOT NULL forbids can still come from damage; the schema is loosened to write it.
        with closing(sqlite3.connect(store.path)) as db:
            db.execute("PRAGMA writable_schema = ON")
            db.execute("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'face'")
            db.commit()
    raw(store, f"UPDATE face SET {column} = ? WHERE id = ?", (value, face))
    store.close()
    with Store(store.path.parent) as again, pytest.raises(GalleryError):
        everybody(again)


def test_one_flipped_bit_of_a_vector_is_noticed_wherever_it_is(store):
    (face,) = store.add(people(unit(1)))
    blob = bytearray(unit(1)[0].tobytes())
    for at in range(0, 512, 37):
        blob[at] ^= 1
        raw(store, "UPDATE face SET vector = ? WHERE id = ?", (bytes(blob), face))
        with pytest.raises(GalleryDamaged):
            everybody(store)
        blob[at] ^= 1
    raw(store, "UPDATE face SET vector = ? WHERE id = ?", (bytes(blob), face))
    assert everybody(store)[0].tolist() == [face]


def test_a_photo_of_a_person_who_is_lost_is_damage(store):
    store.add(people(unit(2)))
    raw(store, "DELETE FROM person WHERE id = 1")
    with pytest.raises(GalleryDamaged, match="Face 1 "):
        store.photos()


def test_vectors_that_changed_places_are_noticed(store):
    ids = store.add(people(unit(2)))
    raw(store, "UPDATE face SET id = -1 WHERE id = ?", (ids[0],))
    raw(store, "UPDATE face SET id = ? WHERE id = ?", (ids[0], ids[1]))
    raw(store, "UPDATE face SET id = ? WHERE id = -1", (ids[1],))
    with pytest.raises(GalleryDamaged):
        everybody(store)


def test_a_name_changed_behind_our_back_is_noticed(store):
    store.add(people(unit(2)))
    raw(store, "UPDATE person SET name = 'Mallory' WHERE name = 'person0001'")
    with pytest.raises(GalleryDamaged):
        everybody(store)


def test_a_byte_that_moved_from_one_field_into_the_next_is_noticed(store):
    (face,) = store.add(people(unit(1)))
    raw(store, "UPDATE face SET enrolled = enrolled || 'p'")
    raw(store, "UPDATE person SET name = 'erson0000'")
    with pytest.raises(GalleryDamaged):
        store.faces([face])


def test_flipped_bits_anywhere_in_the_file_give_our_errors_or_the_truth(tmp_path):
    vectors = unit(40)
    with Store(tmp_path, MODEL) as store:
        store.add(people(vectors))
        names = store.names()
    path = tmp_path / FILE
    rng, whole, noticed = np.random.default_rng(0), path.read_bytes(), 0
    for at, bit in zip(rng.integers(0, len(whole), 200), rng.integers(0, 8, 200), strict=True):
        flip(path, at, 1 << bit)
        try:
            with Store(tmp_path) as store:
                ids, found = everybody(store)
                _, owners = store.owners()
                assert all(np.array_equal(vector, vectors[i - 1]) for i, vector in zip(ids, found, strict=True))
                assert [store.names()[owner] for owner in owners] == [names[i] for i in ids]
                store.people(), store.photos(), count(store)
        except FacedexError:
            noticed += 1
        for suffix in ("-wal", "-shm"):
            path.with_name(FILE + suffix).unlink(missing_ok=True)
        path.write_bytes(whole)
    assert noticed > 50


@pytest.mark.parametrize("junk", [b"no database at all " * 500, b"SQLite format 3\0" + b"\xff" * 5000, b""])
def test_a_file_that_is_no_gallery_is_refused(tmp_path, junk):
    (tmp_path / FILE).write_bytes(junk)
    with pytest.raises(GalleryDamaged):
        Store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == junk


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute("CREATE TABLE something (x)")
        db.commit()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(GalleryDamaged, match="no facedex gallery"):
        Store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_newer_version_is_refused_with_the_remedy(store):
    newest = len(schema.MIGRATIONS)
    raw(store, "UPDATE gallery SET schema_version = ?", (newest + 1,))
    with pytest.raises(GalleryMismatch, match=rf"version {newest + 1} .* reads {newest}; upgrade facedex"):
        Store(store.path.parent)


@pytest.mark.parametrize("version", [-1, "text", 1.5])
def test_a_version_that_is_no_number_of_migrations_is_damage(store, version):
    raw(store, "UPDATE gallery SET schema_version = ?", (version,))
    with pytest.raises(GalleryDamaged, match="restore a copy"):
        Store(store.path.parent)


def test_a_lost_description_is_noticed(store):
    raw(store, "DELETE FROM gallery")
    with pytest.raises(GalleryDamaged):
        store.state  # noqa: B018
    with pytest.raises(GalleryError):
        Store(store.path.parent)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(GalleryError, match="enroll"):
        Store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_files_place_is_reported(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(GalleryError):
        Store(tmp_path)


def test_a_full_disk_is_reported_and_changes_nothing(store):
    store.add(people(unit(3)))
    pages = store._db.rows("PRAGMA page_count")[0][0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 5}")  # SQLite's own limit raises what a full disk does
    with pytest.raises(GalleryError, match="disk is full"):
        store.add(people(unit(200, seed=1), "late"))
    assert count(store) == (3, 3)
    assert store.state.revision == 1
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.add(people(unit(200, seed=1), "late"))
    assert count(store) == (203, 203)


def test_a_folder_that_cannot_be_written_is_reported(store, tmp_path):
    store.add(people(unit(3)))
    store.close()
    with unwritable(tmp_path) as copy, pytest.raises(GalleryError, match="permissions"), Store(copy) as opened:
        opened.add(people(unit(1, seed=1), "late"))


# several processes


def test_a_reader_keeps_its_snapshot_while_a_writer_writes(store, tmp_path):
    store.add(people(unit(3)))
    with Store(tmp_path) as reader:
        with reader.snapshot():
            assert count(reader) == (3, 3)
            store.add(people(unit(2, seed=1), "late"))
            store.remove(["person0000"])
            assert count(reader) == (3, 3)
            assert reader.state.revision == 1
            assert np.array_equal(everybody(reader)[1], unit(3))
        assert count(reader) == (4, 4)
        assert reader.state.revision == 3


WRITE_FIVES = """
import sys
from pathlib import Path
from tests.helpers import record, unit
from facedex.store.store import Store
with Store(Path(sys.argv[1])) as store:
    for number in range(60):
        store.add([record(f"p{number}", vector) for vector in unit(5, seed=number)])
        if number % 3 == 2:
            store.remove([f"p{number - 1}"])
"""


def test_a_reader_never_sees_a_transaction_in_part(store, tmp_path):
    process = python(WRITE_FIVES, tmp_path)
    revisions = set()
    while process.poll() is None:
        with store.snapshot():
            ids, owners = store.owners()
            assert everybody(store)[0].tolist() == ids.tolist()
            assert all(count == 5 for count in np.unique(owners, return_counts=True)[1])
            assert set(owners.tolist()) == set(store.names())
            revisions.add(store.state.revision)
    assert process.returncode == 0, process.stderr.read()
    process.communicate()
    assert len(revisions) > 3
    assert count(store) == (40, 200)


def hold(path, seconds, holds):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        holds.set()
        time.sleep(seconds)
        db.execute("ROLLBACK")


def held(path, seconds):
    holds = threading.Event()
    thread = threading.Thread(target=hold, args=(path, seconds, holds))
    thread.start()
    holds.wait()
    return thread


def test_the_second_writer_waits_for_the_first(store):
    thread = held(store.path, 0.5)
    store.add(people(unit(1)))
    thread.join()
    assert count(store) == (1, 1)


def test_a_writer_that_waits_too_long_is_told_so(impatient, store):
    thread = held(store.path, 1.0)
    with pytest.raises(GalleryBusy, match="another process"):
        store.add(people(unit(1)))
    thread.join()
    assert count(store) == (0, 0)


def test_two_writers_at_once_lose_nothing(store, tmp_path):
    code = """
import sys
from pathlib import Path
from tests.helpers import record, unit
from facedex.store.store import Store
with Store(Path(sys.argv[1])) as store:
    for number in range(30):
        store.add([record(f"{sys.argv[2]}{number}", unit(1, seed=number)[0])])
"""
    processes = [python(code, tmp_path, name) for name in "ab"]
    for process in processes:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert count(store) == (60, 60)
    assert store.state.revision == 60


def test_the_file_is_the_owners_alone(store):
    if os.name != "posix":
        pytest.skip("permissions are POSIX's")
    store.add(people(unit(1)))
    for path in store.path.parent.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


# deleting for good


def test_deleted_vectors_and_names_leave_every_file(store, tmp_path):
    vectors = unit(50)
    store.add(people(vectors))
    kept, gone = bytes(vectors[7]), bytes(vectors[8])

    def everything():
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert gone in everything()
    assert b"person0008" in everything()
    store.remove(["person0008"])
    assert store.scrub()
    left = everything()
    assert kept in left
    assert b"person0007" in left
    assert not any(gone[at : at + 16] in left for at in range(0, 512, 16))
    assert b"person0008" not in left


def test_no_free_pages_are_left_by_many_deletions(store):
    store.add(people(unit(200)))
    assert store.scrub()
    size = store.path.stat().st_size
    store.remove([f"person{i:04d}" for i in range(5, 200)])
    assert store.scrub()
    assert store._db.rows("PRAGMA freelist_count") == [(0,)]
    assert store.path.stat().st_size < 0.6 * size
    assert np.array_equal(everybody(store)[1], unit(200)[:5])


def test_scrub_says_when_a_reader_holds_the_past(impatient, store, tmp_path):
    store.add(people(unit(5)))
    with Store(tmp_path) as reader:
        with reader.snapshot():
            count(reader)
            store.remove(["person0001"])
            assert not store.scrub()
        assert store.scrub()


# another model


def test_new_vectors_replace_the_old_and_faces_without_one_go(store):
    ids = store.add(people(unit(3)))
    fresh = unit(3, 64, seed=5)
    store.replace_vectors("1" * 64, "other.safetensors", 64, {ids[0]: (fresh[0], 1.5), ids[2]: (fresh[2], 2.5)})
    assert (store.state.model, store.state.model_file, store.state.dim) == ("1" * 64, "other.safetensors", 64)
    found, vectors = everybody(store)
    assert found.tolist() == [ids[0], ids[2]]
    assert np.array_equal(vectors, fresh[[0, 2]])
    assert [person.name for person in store.people()] == ["person0000", "person0002"]
    assert store.state.rewritten == store.state.revision


def test_another_head_of_the_same_encoder_leaves_the_vectors(store):
    store.add(people(unit(3)))
    store.bind_model(MODEL[0], "newer.safetensors")
    assert store.state.model_file == "newer.safetensors"
    assert np.array_equal(everybody(store)[1], unit(3))


# counts and digest


def truth(store):
    """(people, faces, digest), computed from the faces themselves."""
    ids, vectors = everybody(store)
    digest = sum(rows.mark(int(i), v.tobytes()) for i, v in zip(ids, vectors, strict=True)) % schema.MODULUS
    return len(store.names()), len(ids), digest


def test_counts_and_digest_follow_every_change(store, tmp_path):
    def summed():
        state = store.state
        assert (state.people, state.faces) == (len(store.names()), len(store.ids()))
        return state.people, state.faces, state.digest

    seen = {summed()}
    assert summed() == truth(store) == (0, 0, 0)
    common = sha("common")
    ids = store.add([*people(unit(40)), record("A", unit(1)[0], common), record("B", unit(1)[0], common)])
    for change in (
        lambda: store.add(people(unit(3, seed=1), "late")),
        lambda: store.merge("person0000", "person0001"),
        lambda: store.merge("A", "B"),
        lambda: store.remove(["person0002", "late0001"]),
        lambda: store.replace_vectors(
            MODEL[0], MODEL[1], 128, {int(i): (v, 1.0) for i, v in zip(ids[5:], unit(50, seed=2), strict=False)}
        ),
        lambda: store.remove([person.name for person in store.people()]),
    ):
        change()
        assert summed() == truth(store)
        seen.add(summed())
    assert summed() == (0, 0, 0)
    assert len(seen) == 6


def test_a_rename_leaves_the_digest(store):
    store.add(people(unit(3)))
    before = store.state.digest
    store.rename("person0001", "Ada")
    assert store.state.digest == before != 0


def test_a_change_that_is_undone_leaves_counts_and_digest(store):
    store.add(people(unit(3)))
    before = store.state
    with pytest.raises(GalleryError, match="already"):
        store.add([*people(unit(2, seed=1), "late"), *people(unit(1))])
    with pytest.raises(PersonNotFound):
        store.remove(["person0001", "nobody"])
    assert store.state == before
    assert truth(store) == (before.people, before.faces, before.digest)


def test_the_same_vectors_under_other_ids_have_another_digest(store, tmp_path):
    store.add(people(unit(2)))
    (tmp_path / "other").mkdir()
    with Store(tmp_path / "other", MODEL) as other:
        other.add(people(unit(2)[::-1]))
        assert other.state.faces == 2
        assert other.state.digest != store.state.digest


def test_in_bulk_or_one_by_one_is_the_same(tmp_path):
    digests = []
    for size in (1, 7, 100):
        (tmp_path / str(size)).mkdir()
        with Store(tmp_path / str(size), MODEL) as store:
            records = people(unit(100))
            ids = [i for at in range(0, 100, size) for i in store.add(records[at : at + size])]
            assert ids == list(range(1, 101))
            assert count(store) == (100, 100)
            assert np.array_equal(everybody(store)[1], unit(100))
            digests.append(store.state.digest)
    assert len(set(digests)) == 1


@pytest.mark.parametrize("position", [0, 34, 99])
def test_a_batch_with_one_refused_face_adds_nothing(store, position):
    crowd = people(unit(100))
    store.add([record("known", unit(1, seed=5)[0])])
    before = store.state
    with pytest.raises(GalleryError, match="same person already"):
        store.add([*crowd, crowd[position]])
    assert store.state == before
    assert store.counted() == (1, 1, before.digest)
    assert store.add(crowd) == list(range(2, 102))
    assert np.array_equal(everybody(store)[1][1:], unit(100))
    assert store.counted() == (101, 101, store.state.digest)


# versions of the format


def add_nickname(connection):
    """A made-up migration to version 2, in two statements."""
    connection.execute("ALTER TABLE person ADD COLUMN nickname TEXT NOT NULL DEFAULT ''")
    connection.execute("UPDATE person SET nickname = substr(name, 1, 3)")


def fail_halfway(connection):
    """A migration to version 2 that fails in its second statement."""
    connection.execute("ALTER TABLE person ADD COLUMN nickname TEXT NOT NULL DEFAULT ''")
    connection.execute("UPDATE missing SET nickname = 1")


@pytest.fixture
def older_gallery(store, tmp_path):
    """A folder with a gallery.db of the present version, and its state."""
    store.add(people(unit(30)))
    state = store.state
    store.close()
    return tmp_path, state


@pytest.fixture
def newer_version(monkeypatch):
    """Adds a made-up migration, so that galleries made before are older."""
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, add_nickname))


def test_an_older_version_is_migrated_once(older_gallery, newer_version):
    folder, before = older_gallery
    for _ in range(2):
        with Store(folder) as store:
            assert store.state == before
            assert truth(store) == (30, 30, before.digest)
            assert store._db.rows("SELECT schema_version FROM gallery") == [(len(schema.MIGRATIONS),)]
            assert store._db.rows("SELECT DISTINCT nickname FROM person") == [("per",)]


def test_a_new_gallery_has_the_newest_version(tmp_path, newer_version):
    with Store(tmp_path, MODEL) as store:
        store.add(people(unit(3)))
        assert store._db.rows("SELECT schema_version FROM gallery") == [(len(schema.MIGRATIONS),)]
        assert store._db.rows("SELECT DISTINCT nickname FROM person") == [("",)]


def test_a_failed_migration_leaves_the_older_version(older_gallery, monkeypatch):
    folder, before = older_gallery
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, fail_halfway))
        with pytest.raises(GalleryError, match="no such table"):
            Store(folder)
    with Store(folder) as store:
        assert store.state == before
        assert "nickname" not in [row[1] for row in store._db.rows("PRAGMA table_info(person)")]


def test_an_older_version_on_a_read_only_medium_is_refused_with_the_remedy(older_gallery, newer_version):
    folder, _ = older_gallery
    with unwritable(folder) as copy, pytest.raises(GalleryError, match=r"older version.*copy the gallery's folder"):
        Store(copy)


def test_a_database_that_was_taken_away_is_not_made_anew_by_another_thread(store, tmp_path):
    (tmp_path / FILE).rename(tmp_path / "away.db")
    found = []

    def look():
        with pytest.raises(GalleryError, match="cannot be used"):
            store.people()
        found.append((tmp_path / FILE).exists())

    other = threading.Thread(target=look)
    other.start()
    other.join()
    (tmp_path / "away.db").rename(tmp_path / FILE)
    assert found == [False]
