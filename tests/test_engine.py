"""One contract for the index in files and in a real PostgreSQL, and the tests that only an engine needs."""

import json
import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facedex import cli
from facedex.engines.binding import BINDING_FILE, FILES, read_binding, write_copy
from facedex.engines.engine import Key, Outdated
from facedex.engines.registry import open_engine
from facedex.errors import DataError, EngineAway, EngineError, GalleryBusy, GalleryDamaged, MissingExtra, PersonNotFound
from facedex.gallery import doctor
from facedex.gallery.backup import backup, restore
from facedex.gallery.gallery import Gallery
from facedex.index import remote as remote_module
from facedex.index.manifest import INDEX_FILE, MANIFEST_FILE
from facedex.index.remote import Remote
from facedex.store.lock import writing
from facedex.store.rows import FaceRecord
from facedex.store.store import Store
from tests.engines import face_like, silent_port, start_server
from tests.helpers import forked, make_model, near, people, record, sha

FACES = face_like(1300)


@pytest.fixture(scope="session")
def server():
    started = start_server()
    yield started
    started.close()


@pytest.fixture(params=["flat", "quantised", "postgresql"])
def where(request):
    """A function that moves a gallery's index to the place under test."""
    if request.param != "postgresql":
        return lambda opened, **more: opened.reindex(kind=request.param, **more)
    server = request.getfixturevalue("server")
    return lambda opened, **more: opened.reindex(index=server.url(), **more)


@pytest.fixture
def approximate(request):
    """Whether the index may sometimes miss one of the nearest."""
    return request.node.callspec.params["where"] != "flat"


def agree(found, truth, approximate):
    """Whether all best people are the same, and the lists too; an approximate index may change one list in ten."""
    same = np.mean([a == b for a, b in zip(found, truth, strict=True)])
    return [a[0] for a in found] == [b[0] for b in truth] and same >= (0.9 if approximate else 1)


def answers(opened, probes, **options):
    return [[(one.name, one.logit) for one in opened.match(probe, **options)] for probe in probes]


def rows(server, opened):
    """Ids of the rows in a gallery's table in the engine."""
    remote = opened._lookup.remote()
    remote._engine.summary()
    return [i for (i,) in server.sql(f"SELECT id FROM {table(opened)} ORDER BY id")]


def table(opened):
    engine = opened._lookup.remote()._engine
    engine.summary()
    return f"{engine._name}_{engine._projection}"


@pytest.fixture
def small(tmp_path, server):
    """300 people, whose index is in the engine."""
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:300, 0]))
        opened.reindex(index=server.url())
        yield opened


# the contract


def test_threads_and_a_forked_process_share_a_gallery(tmp_path, where):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:1200, 0]))
        where(opened)
        names = [opened.match(probe, 1)[0].name for probe in FACES[:20, 1]]

        def look(_=None):
            assert [opened.match(probe, 1)[0].name for probe in FACES[:20, 1]] == names

        with ThreadPoolExecutor(4) as pool:
            looks = list(pool.map(look, range(8)))
            assert opened.add_faces(people(FACES[1200:1205, 0], "late")) == 5
        assert looks == [None] * 8
        wait = forked(look)
        look()
        assert wait() == 0
        assert opened.match(FACES[1200, 1], 1)[0].name == "late0000"


def test_every_index_agrees_with_an_exhaustive_search(tmp_path, where):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:1200, 0]))
        where(opened)
        opened.add_faces(people(FACES[1200:, 0], "late"))
        probes = [*FACES[:25, 1], *FACES[1200:1205, 1], *face_like(10, seed=9)[:, 0]]
        found, truth = answers(opened, probes), answers(opened, probes, exhaustive=True)
        assert [a[0] for a in found] == [b[0] for b in truth]
        assert np.mean([a == b for a, b in zip(found, truth, strict=True)]) >= 0.95


def test_bounds_are_ascending_and_at_most_the_true_distances(tmp_path, where, request):
    kind = request.node.callspec.params["where"]
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:1200, 0]))
        where(opened)
        opened.add_faces(people(FACES[1200:1210, 0], "late"))
        projection, state = opened._lookup._refreshed()
        assert len(projection) == state.faces == 1210
        z = opened.head.project(FACES[:1210, 0])
        for number in (0, 700, 1205):
            with opened._store.snapshot():
                found = projection.search(opened.head.project(FACES[number, 1][None])[0], 56)
            true = np.abs(z[found.rows - 1].astype(np.float64) - opened.head.project(FACES[number, 1])).sum(1)
            assert len(set(found.rows.tolist())) == len(found.rows) >= 56
            assert np.all(np.diff(found.bounds) >= 0)
            assert np.all(found.bounds <= true + (0.05 if kind == "quantised" else 0))  # its codes are rounded
            assert found.horizon > 0
            assert number + 1 in found.rows
            assert found.horizon < np.inf


def test_candidates_are_people_not_photos(tmp_path, where, approximate):
    """A person with ninety photos takes one place among the candidates."""
    crowd = [record("many", near(FACES[0, 0], i, 0.1)) for i in range(90)]
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces([*people(FACES[:1200, 0]), *crowd])
        where(opened)
        found = answers(opened, [FACES[0, 1]], top=30)
        truth = answers(opened, [FACES[0, 1]], top=30, exhaustive=True)
        assert found == truth or (approximate and found[0][0] == truth[0][0] and len({*found[0]} & {*truth[0]}) >= 27)
        assert len({name for name, _ in found[0]}) == 30


def test_incremental_enrolment_equals_bulk(tmp_path, where, approximate):
    probes, kept = FACES[:40, 1], []
    for name, blocks in (("bulk", [1300]), ("steps", [1100, 1, 199])):
        with Gallery(tmp_path / name, "fast", create=True) as opened:
            records = people(FACES[:1300, 0])
            for number, size in enumerate(blocks):
                opened.add_faces(records[:size])
                records = records[size:]
                if number == 0:
                    where(opened)
            kept.append(answers(opened, probes))
    assert [found[0] for found in kept[0]] == [found[0] for found in kept[1]]
    # Which of the five nearest an approximate index misses depends on the faces that it was built from.
    assert np.mean([a == b for a, b in zip(*kept, strict=True)]) >= (0.95 if approximate else 1)


def test_nobody_who_was_removed_is_named_by_any_reader(tmp_path, where, approximate):
    with Gallery(tmp_path / "g", "fast", create=True) as opened, Gallery(tmp_path / "g") as reader:
        opened.add_faces(people(FACES[:1200, 0]))
        where(opened)
        assert reader.match(FACES[5, 0])[0].name == "person0005"
        opened.remove("person0005")
        for one in (opened, reader):
            assert "person0005" not in [found.name for found in one.match(FACES[5, 0], top=1199)]
        with pytest.raises(PersonNotFound):
            opened.remove("person0005")
        assert agree(answers(reader, FACES[:20, 1]), answers(reader, FACES[:20, 1], exhaustive=True), approximate)


def test_renamed_and_merged_people_are_found_by_their_new_names(tmp_path, where, approximate):
    with Gallery(tmp_path / "g", "fast", create=True) as opened, Gallery(tmp_path / "g") as reader:
        opened.add_faces(people(FACES[:1200, 0]))
        where(opened)
        assert reader.match(FACES[7, 0])[0].name == "person0007"
        opened.rename("person0007", "Ada")
        opened.merge("person0008", "Ada")
        assert [reader.match(FACES[i, 0])[0].name for i in (7, 8)] == ["Ada", "Ada"]
        assert agree(answers(reader, FACES[:20, 1]), answers(reader, FACES[:20, 1], exhaustive=True), approximate)


def test_another_head_has_an_index_of_its_own(tmp_path, where, approximate):
    model = make_model(tmp_path / "other.safetensors", v=np.random.default_rng(0).normal(0, 2, 128))
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:1200, 0]))
        where(opened)
        before = answers(opened, FACES[:10, 1])
        opened.reindex(model=model)
        after = answers(opened, FACES[:10, 1])
        assert after != before
        assert agree(after, answers(opened, FACES[:10, 1], exhaustive=True), approximate)


def test_an_empty_gallery_names_nobody(tmp_path, where):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        where(opened)
        assert opened.match(FACES[0, 0]) == []
        opened.add_faces(people(FACES[:3, 0]))
        assert opened.match(FACES[1, 0])[0].name == "person0001"
        opened.remove("person0000", "person0001", "person0002")
        assert opened.match(FACES[0, 0]) == []


# moving


def test_a_gallery_without_the_engines_package_can_remove_people_and_return_to_files(tmp_path, server, monkeypatch):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:30, 0]))
        opened.reindex(index=server.url())
    monkeypatch.setitem(sys.modules, "facedex.engines.postgresql", None)
    vector = FACES[3, 0].astype("<f4").tobytes()
    with Gallery(tmp_path / "g") as opened:
        with pytest.raises(EngineError, match=r"facedex\[pgvector\].*--index files"):
            opened.match(FACES[5, 0])
        with pytest.raises(EngineError, match="Nobody is named"):
            opened.remove("person0003")
        assert not any(vector in path.read_bytes() for path in (tmp_path / "g").iterdir() if path.is_file())
        opened.rename("person0004", "somebody")
        with pytest.raises(EngineError, match="still holds rows"):
            opened.reindex(index="files")
        assert opened.match(FACES[4, 0])[0].name == "somebody"


def test_a_move_leaves_one_index_and_a_note_without_secrets(tmp_path, server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "opensesame")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:100, 0]))
        opened.reindex()
        url = server.url()
        opened.reindex(index=url)
        assert not (opened.folder / INDEX_FILE).exists()
        assert not (opened.folder / MANIFEST_FILE).exists()
        assert "opensesame" not in (opened.folder / BINDING_FILE).read_text()
        assert read_binding(opened._store).url == url
        assert rows(server, opened) == list(range(1, 101))
        name = table(opened).rsplit("_", 1)[0]
        opened.reindex(index=FILES)
        assert (opened.folder / INDEX_FILE).exists()
        assert not (opened.folder / BINDING_FILE).exists()
        assert server.sql(f"SELECT count(*) FROM {name}") == [(0,)]
        assert server.sql("SELECT to_regclass(%s)", f"{name}_1") == [(None,)]
        assert opened.match(FACES[3, 0])[0].name == "person0003"


def test_from_one_engine_to_another_nothing_is_left_behind(small, server):
    former = table(small)
    small.reindex(index=server.url())
    assert table(small) != former
    assert server.sql("SELECT to_regclass(%s)", former) == [(None,)]
    assert read_binding(small._store).left == ()
    assert small.match(FACES[3, 0])[0].name == "person0003"


@pytest.mark.parametrize(
    ("url", "facts", "name"),
    [
        ("postgresql:///db?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "db"}, "facedex"),
        ("postgresql://host/db?table=t&options=-c%20search_path%3Dfoo", {"options": "-c search_path=foo"}, "t"),
        ("postgresql://host/db?application_name=a%20b&table=t", {"application_name": "a b", "host": "host"}, "t"),
        ("postgresql://me@a:1,b:2/db", {"user": "me", "host": "a,b", "port": "1,2"}, "facedex"),
    ],
)
def test_all_of_an_address_but_the_table_goes_to_libpq(url, facts, name):
    psycopg = pytest.importorskip("psycopg", reason="needs the extra pgvector")
    pytest.importorskip("pgvector", reason="needs the extra pgvector")
    from facedex.engines.pgconnection import _split_url

    given, found = _split_url(url)
    assert psycopg.conninfo.conninfo_to_dict(given).items() >= facts.items()
    assert found == name


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://me:secret@host/db", "PGPASSWORD"),
        ("postgresql://me@host/db?password=secret", "PGPASSWORD"),
        ("qdrant://host:6333/name", "postgresql://"),
        ("elsewhere", "postgresql://"),
        ("postgresql://host/db?table=x;drop", "table"),
        ("postgresql://host/db?nonsense=1", "check the URL"),
    ],
)
def test_an_unusable_address_is_refused_and_not_stored(tmp_path, url, says):
    pytest.importorskip("psycopg", reason="needs the extra pgvector")
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:5, 0]))
        with pytest.raises(DataError, match=says):
            opened.reindex(index=url)
        assert "secret" not in "".join(p.read_bytes().decode("latin1") for p in opened.folder.glob("*.json"))
        assert opened.match(FACES[3, 0])[0].name == "person0003"


def test_the_error_without_the_extra_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "facedex.engines.postgresql", raising=False)
    with (
        Gallery(tmp_path / "g", "fast", create=True) as opened,
        pytest.raises(MissingExtra, match=r"facedex\[pgvector\]"),
    ):
        opened.reindex(index="postgresql://host/db")


def test_a_move_that_fails_leaves_the_index_where_it_was(tmp_path, server):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:100, 0]))
        url = server.url()
        with server.away(), pytest.raises(EngineAway):
            opened.reindex(index=url)
        assert opened.match(FACES[3, 0])[0].name == "person0003"
        assert read_binding(opened._store).url == FILES
        opened.reindex(index=url)
        assert read_binding(opened._store).left == ()
        assert opened.match(FACES[3, 0])[0].name == "person0003"


def test_rows_of_an_engine_that_is_away_are_not_forgotten(small, server):
    former = table(small)
    with server.away(), pytest.raises(EngineAway, match="still holds rows"):
        small.reindex(index=FILES)
    assert small.match(FACES[3, 0])[0].name == "person0003"
    small.reindex()
    assert server.sql("SELECT to_regclass(%s)", former) == [(None,)]
    assert not (small.folder / BINDING_FILE).exists()


def alter(folder):
    """Change the copy of the note that says where the index is."""
    path = folder / BINDING_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "gallery": "0" * 8}))


@pytest.mark.parametrize("damage", [alter, lambda folder: (folder / BINDING_FILE).unlink()])
def test_a_lost_or_altered_copy_of_the_note_is_repaired(small, server, damage):
    former = table(small)
    damage(small.folder)
    with Gallery(small.folder) as fresh:
        assert fresh.match(FACES[3, 0])[0].name == "person0003"
        assert {f.part: f.state for f in doctor.examine(small.folder)}["index"] == "repaired"
        assert {f.state for f in doctor.examine(small.folder)} == {"sound"}
        assert (small.folder / BINDING_FILE).read_text() == fresh._store.engine_note
        damage(small.folder)
        fresh.reindex(index=FILES)
        assert server.sql("SELECT to_regclass(%s)", former) == [(None,)]
        assert not (small.folder / BINDING_FILE).exists()
        assert fresh._store.engine_note is None
        assert fresh.match(FACES[3, 0])[0].name == "person0003"


def test_a_note_altered_in_the_database_is_read_from_its_copy(small, server):
    name = table(small)
    small._store.note_engine(small._store.engine_note.replace("facedex", "fakedex"))
    with Gallery(small.folder) as fresh:
        assert table(fresh) == name
        assert fresh.match(FACES[3, 0])[0].name == "person0003"
        assert {f.part: f.state for f in doctor.examine(small.folder)}["index"] == "repaired"
        assert {f.state for f in doctor.examine(small.folder)} == {"sound"}


def test_two_unreadable_notes_are_an_error_that_a_move_to_files_repairs(small):
    small._store.note_engine("nonsense")
    alter(small.folder)
    with Gallery(small.folder) as fresh:
        with pytest.raises(EngineError, match=r"--index URL.*--index files"):
            fresh.match(FACES[0, 0])
        assert {f.part: f.state for f in doctor.examine(small.folder)}["index"] == "broken"
        fresh.reindex(index=FILES)
        assert fresh.match(FACES[3, 0])[0].name == "person0003"


def test_writing_and_reading_a_note_is_retried_while_the_file_is_locked(small, monkeypatch):
    """Windows locks files in use."""
    from facedex import files

    class Windows:
        name = "nt"
        refused = 0

        def __getattr__(self, name):
            return getattr(os, name)

        def replace(self, *names):
            self.refused += 1
            if self.refused < 4:
                raise PermissionError(13, "in use")
            os.replace(*names)

    def read_bytes(path):
        if path.name == BINDING_FILE and (reads := reads_left) and reads.pop():
            raise PermissionError(13, "in use")
        return read(path)

    read, reads_left, binding = Path.read_bytes, [1, 1, 1], read_binding(small._store)
    monkeypatch.setattr(files, "os", Windows())
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    write_copy(small.folder, replace(binding, left=(("postgresql://elsewhere", "x"),)))
    assert files.os.refused == 4
    small._store.note_engine(None)
    assert read_binding(small._store).left == (("postgresql://elsewhere", "x"),)
    assert not reads_left


def test_a_kind_of_index_is_refused_where_an_engine_holds_it(small, server):
    for options in ({}, {"index": server.url()}):
        with pytest.raises(DataError, match=r"kind 'flat'.*--index files"):
            small.reindex(kind="flat", **options)
    assert read_binding(small._store).url != FILES
    assert small.match(FACES[3, 0])[0].name == "person0003"
    small.reindex(kind="flat", index=FILES)
    assert small._lookup._refreshed()[0].manifest.kind == "flat"
    for wrong in ({"kind": "nonsense"}, {"coverage": 2.0}):
        with pytest.raises(DataError):
            small.reindex(**wrong)


def test_index_files_that_a_move_left_behind_go_with_the_next_change(small):
    (small.folder / INDEX_FILE).write_bytes(FACES[3, 0].tobytes())
    small.remove("person0003")
    assert not (small.folder / INDEX_FILE).exists()


def test_a_backup_comes_back_elsewhere_with_its_index_in_files(small, server, tmp_path):
    backup(small.folder, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "back")
    with Gallery(tmp_path / "back") as again:
        assert again.match(FACES[3, 0])[0].name == "person0003"
        assert read_binding(again._store).url == FILES
        again.remove("person0003")
    assert 4 in rows(server, small)


@pytest.mark.parametrize("copy", ["whole", "altered"])
def test_a_backup_put_back_in_its_place_keeps_the_engine(small, server, tmp_path, copy):
    name = table(small)
    backup(small.folder, tmp_path / "b.tar")
    small.remove("person0003")
    if copy == "altered":
        alter(small.folder)
    restore(tmp_path / "b.tar", small.folder, force=True)
    with Gallery(small.folder) as again:
        assert again.match(FACES[3, 0])[0].name == "person0003"
        assert table(again) == name
        assert rows(server, again) == list(range(1, 301))
    assert {f.state for f in doctor.examine(small.folder)} == {"sound"}


def test_a_backup_restored_over_a_destroyed_database_clears_the_old_rows(small, server, tmp_path):
    former = table(small)
    backup(small.folder, tmp_path / "b.tar")
    small.add_faces(people(FACES[300:310, 0], "late"))
    small.close()
    for path in small.folder.glob("gallery.db*"):
        path.write_bytes(b"garbage" * 1000)
    restore(tmp_path / "b.tar", small.folder, force=True)
    with Gallery(small.folder) as again:
        assert again.match(FACES[3, 0])[0].name == "person0003"
        assert read_binding(again._store).url == FILES
        found = {f.part: (f.state, f.detail) for f in doctor.examine(small.folder)}
        assert found["index"][0] == "warning"
        assert "left in postgresql://" in found["index"][1]
        again.reindex()
        assert server.sql("SELECT to_regclass(%s)", former) == [(None,)]
    assert {f.state for f in doctor.examine(small.folder)} == {"sound"}


# an engine that is away


def test_a_gallery_opens_while_its_engine_is_away(small, server):
    with server.away(), Gallery(small.folder) as opened:
        assert len(opened.people()) == 300
        with pytest.raises(EngineAway, match="does not answer"):
            opened.match(FACES[0, 0])
        assert opened.match(FACES[3, 0], exhaustive=True)[0].name == "person0003"


def test_faces_enrolled_while_the_engine_was_away_are_found_after_its_return(small, server):
    with server.away(), pytest.raises(EngineAway, match="safe"):
        small.add_faces(people(FACES[300:320, 0], "late"))
    assert small.faces == 320
    with Gallery(small.folder) as reader:
        assert reader.match(FACES[305, 0])[0].name == "late0005"
    assert rows(server, small) == list(range(1, 321))


def test_people_removed_while_the_engine_was_away_are_never_named(small, server):
    with Gallery(small.folder) as reader:
        assert reader.match(FACES[7, 0])[0].name == "person0007"
        with server.away(), pytest.raises(EngineAway, match="Nobody is named"):
            small.remove("person0007", "person0100")
        with writing(small.folder):  # the lock keeps the reader from repairing the rows: it must leave people out
            assert 8 in rows(server, small)
            found = [one.name for one in reader.match(FACES[7, 0], top=299)]
            assert not {"person0007", "person0100"} & set(found)
            assert len(found) == 298
            assert 8 in rows(server, small)
        time.sleep(1.1)  # a reader does not try at every query to update the engine
        assert "person0007" not in [one.name for one in reader.match(FACES[7, 0], top=10)]
        assert not {8, 101} & set(rows(server, small))


def test_a_reader_that_cannot_write_searches_missing_faces_beside_the_engine(small, server):
    with server.away(), pytest.raises(EngineAway):
        small.add_faces(people(FACES[300:320, 0], "late"))
    with Gallery(small.folder) as reader, writing(small.folder):
        assert reader.match(FACES[305, 0])[0].name == "late0005"
        assert answers(reader, FACES[:10, 1]) == answers(reader, FACES[:10, 1], exhaustive=True)
        assert len(rows(server, small)) == 300


def test_a_restart_between_two_queries_is_not_noticed(small, server):
    assert small.match(FACES[3, 0])[0].name == "person0003"
    server.stop()
    server.start()
    assert small.match(FACES[4, 0])[0].name == "person0004"
    server.stop()
    server.start()
    small.add_faces(people(FACES[300:310, 0], "late"))
    assert rows(server, small) == list(range(1, 311))


def test_answers_while_the_server_restarts_are_right_or_an_error(small, server):
    """A test thread keeps asking; no answer is wrong."""
    seen, stop = [], threading.Event()

    def ask():
        with Gallery(small.folder) as reader:
            while not stop.is_set():
                number = len(seen) % 300
                try:
                    seen.append(reader.match(FACES[number, 0])[0].name == f"person{number:04d}")
                except EngineAway:
                    seen.append(None)
                except BaseException as error:
                    seen.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for pause in (0.5, 4):
        time.sleep(0.5)
        server.stop()
        time.sleep(pause)
        server.start()
        before = len(seen)
        until = time.monotonic() + 20
        while len(seen) < before + 5 and time.monotonic() < until:
            time.sleep(0.05)
    stop.set()
    thread.join(30)
    assert set(seen) <= {True, None}
    assert seen[-1] is True
    assert len(seen) > 5


def test_broken_connections_neither_lose_nor_duplicate_rows(small, server, monkeypatch):
    from facedex.engines import postgresql

    monkeypatch.setattr(postgresql, "BATCH", 100)
    stop = threading.Event()

    def break_connections():
        while not stop.wait(0.15):
            server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'facedex'")

    thread = threading.Thread(target=break_connections)
    thread.start()
    try:
        small.add_faces(people(FACES[300:, 0], "late"), block=500)
    except EngineAway:  # perhaps every attempt was broken off
        pass
    finally:
        stop.set()
        thread.join()
    assert small.match(FACES[1200, 0])[0].name == "late0900"
    assert rows(server, small) == list(range(1, 1301))
    assert small._lookup.remote().audit()


def test_a_server_that_says_nothing_is_given_up_in_time(tmp_path):
    pytest.importorskip("psycopg", reason="needs the extra pgvector")
    with Gallery(tmp_path / "g", "fast", create=True) as opened, silent_port() as port:
        opened.add_faces(people(FACES[:5, 0]))
        start = time.monotonic()
        with pytest.raises(EngineAway, match="does not answer"):
            opened.reindex(index=f"postgresql://me@127.0.0.1:{port}/db?connect_timeout=2")
        assert time.monotonic() - start < 20


def test_a_search_that_takes_too_long_is_given_up(small, server, monkeypatch):
    import psycopg

    from facedex.engines import pgconnection

    small._lookup.remote().close()
    monkeypatch.setattr(pgconnection, "_SEARCH_SECONDS", 1)
    name = table(small)
    with psycopg.connect(server.address) as other:
        other.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(EngineAway, match="within 1 seconds"):
            small.match(FACES[3, 0])
    assert small.match(FACES[3, 0])[0].name == "person0003"


# an engine with altered rows


@pytest.mark.parametrize(
    "change", ["(SELECT z FROM {rows} WHERE id = 9)", "z + array_fill(0.0001::real, ARRAY[{dim}])::vector"]
)
def test_a_vector_changed_in_the_engine_is_noticed_and_repaired(small, server, change):
    change = change.format(rows=table(small), dim=small.head.dim)
    server.sql(f"UPDATE {table(small)} SET z = {change} WHERE id = 4")

    def look_up():
        small.match(FACES[8, 0])  # finds the row with 9's vector
        small.match(FACES[3, 0])

    with pytest.raises(EngineError, match="reindex"):
        look_up()
    assert {"index": "repaired"}.items() <= {f.part: f.state for f in doctor.examine(small.folder)}.items()
    assert small.match(FACES[3, 0])[0].name == "person0003"


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM {rows} WHERE id < 50",
        "UPDATE {rows} SET id = id + 1000 WHERE id > 280",
        "INSERT INTO {rows} SELECT id + 5000, mark, z FROM {rows}",
        "UPDATE {rows} SET mark = 7 WHERE id = 30",
        "DROP TABLE {rows}",
        "TRUNCATE {rows}",
    ],
)
def test_doctor_repairs_damaged_rows(small, server, damage):
    server.sql(damage.format(rows=table(small)))
    found = {finding.part: finding.state for finding in doctor.examine(small.folder)}
    assert found["index"] == "repaired"
    assert rows(server, small) == list(range(1, 301))
    assert small._lookup.remote().audit()
    assert {f.state for f in doctor.examine(small.folder)} == {"sound"}
    assert answers(small, FACES[:10, 1]) == answers(small, FACES[:10, 1], exhaustive=True)


def test_an_engine_that_lost_everything_is_filled_again(small, server):
    name = table(small)
    server.sql(f"DROP TABLE {name}")
    server.sql(f"DROP TABLE {name.rsplit('_', 1)[0]}")
    with Gallery(small.folder) as reader:
        assert reader.match(FACES[3, 0])[0].name == "person0003"
    assert rows(server, small) == list(range(1, 301))


def test_two_galleries_in_one_table_do_not_see_each_other(tmp_path, server):
    url = server.url()
    with Gallery(tmp_path / "a", "fast", create=True) as a, Gallery(tmp_path / "b", "fast", create=True) as b:
        a.add_faces(people(FACES[:200, 0], "a"))
        b.add_faces(people(FACES[200:400, 0], "b"))
        a.reindex(index=url)
        b.reindex(index=url)
        assert table(a) != table(b)
        assert table(a).rsplit("_", 1)[0] == table(b).rsplit("_", 1)[0]
        for opened, initial in ((a, "a"), (b, "b")):
            assert {one.name[0] for probe in FACES[:400:40, 0] for one in opened.match(probe, top=20)} == {initial}
        a.remove("a0007")
        a.reindex(index=FILES)
        assert len(rows(server, b)) == 200
        assert b.match(FACES[207, 0])[0].name == "b0007"


def test_rows_of_another_model_are_not_found(small, server):
    binding, state = read_binding(small._store), small._store.state
    for key in (
        Key(binding.gallery, "0" * 64, small.model.head_fingerprint, small.head.dim),
        Key(binding.gallery, state.model, "0" * 64, small.head.dim),
        Key(binding.gallery, state.model, small.model.head_fingerprint, small.head.dim // 2),
        Key("12345678-1234-1234-1234-123456789012", state.model, small.model.head_fingerprint, small.head.dim),
    ):
        engine = open_engine(binding.url, key)
        assert engine.summary() is None
        with pytest.raises(Outdated):
            engine.search(np.zeros(key.dim, np.float32), 5, 0)
        engine.close()


def test_a_move_to_another_model_leaves_one_index(small, server, tmp_path):
    former = table(small)
    small.reindex(model=make_model(tmp_path / "other.safetensors", v=np.linspace(-1, 1, 128)))
    assert table(small) != former
    assert server.sql("SELECT to_regclass(%s)", former) == [(None,)]


def test_a_copy_of_a_gallery_does_not_take_the_rows_of_the_first(small, server, tmp_path):
    small.close()
    shutil.copytree(small.folder, tmp_path / "copy")
    with Gallery(small.folder) as first, Gallery(tmp_path / "copy") as second:
        first.add_faces(people(FACES[300:310, 0], "late"))
        with pytest.raises(EngineError, match="--index URL"):
            second.match(FACES[0, 0])
        second.reindex(index=read_binding(second._store).url)
        assert table(first) != table(second)
        assert second.match(FACES[3, 0])[0].name == "person0003"
        assert len(rows(server, first)) == 310


def test_duplicated_rows_are_noticed_and_repaired(small, server):
    name = table(small)
    server.sql(f"ALTER TABLE {name} DROP CONSTRAINT {name}_pkey")
    server.sql(f"INSERT INTO {name} SELECT * FROM {name} WHERE id = 4")
    with pytest.raises(EngineError, match="reindex"):
        small.match(FACES[3, 0])
    assert {f.part: f.state for f in doctor.examine(small.folder)}["index"] == "repaired"
    assert small.match(FACES[3, 0])[0].name == "person0003"


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE {rows} ALTER z TYPE vector; UPDATE {rows} SET z = '[1,2]'",
        "ALTER TABLE {rows} ALTER z DROP NOT NULL; UPDATE {rows} SET z = NULL",
        "ALTER TABLE {rows} DROP COLUMN z",
        "ALTER TABLE {registry} ADD COLUMN other int, DROP COLUMN tuned",
    ],
)
def test_altered_tables_are_a_clear_error_and_can_be_rebuilt(small, server, damage):
    name = table(small)
    for statement in damage.format(rows=name, registry=name.rsplit("_", 1)[0]).split(";"):
        server.sql(statement)
    with Gallery(small.folder) as reader:
        with pytest.raises(EngineError, match="reindex"):
            reader.match(FACES[3, 0])
        if "registry" not in damage:
            reader.reindex()
            assert reader.match(FACES[3, 0])[0].name == "person0003"


@pytest.mark.parametrize("tuned", ["[]", '{"effort": "far"}', "null", '"x"'])
def test_an_altered_tuning_makes_the_search_exhaustive(small, server, tuned):
    server.sql(f"UPDATE {table(small).rsplit('_', 1)[0]} SET tuned = %s::jsonb", tuned)
    with Gallery(small.folder) as reader:
        assert answers(reader, FACES[:5, 1]) == answers(reader, FACES[:5, 1], exhaustive=True)
        reader.reindex()
        assert reader._lookup.remote()._engine.summary().tuned["faces"] == 300


def test_rows_that_another_move_deleted_are_not_published(small):
    engine, tuned = small._lookup.remote()._engine, small._lookup.remote()._engine.summary()
    first, second = engine.renewed(), engine.renewed()  # the second move deletes the first one's rows
    with pytest.raises(Outdated):
        first.publish(99, {})
    assert engine.summary() == tuned
    first.close()
    second.close()


def test_a_rebuild_disturbed_by_another_process_is_a_clear_error(small, monkeypatch):
    from facedex.engines.postgresql import PostgresEngine

    def publish(self, revision, tuned):
        self.renewed().close()
        return whole(self, revision, tuned)

    whole = PostgresEngine.publish
    monkeypatch.setattr(PostgresEngine, "publish", publish)
    with pytest.raises(EngineError, match="same rows"):
        small.reindex()
    assert small.match(FACES[3, 0])[0].name == "person0003"


@pytest.mark.parametrize("error", [GalleryBusy, GalleryDamaged, EngineAway])
def test_every_face_is_enrolled_when_the_engine_cannot_be_updated(small, monkeypatch, error):
    def fail(self, grow=False):
        raise error("It is so")

    monkeypatch.setattr(Remote, "update", fail)
    with pytest.raises(error, match=r"What was done is safe.*It is so"):
        small.add_faces(people(FACES[300:330, 0], "late"), block=10)
    assert small.faces == 330


# tuning, and what a deletion leaves


def test_the_search_is_tuned_until_it_reaches_the_coverage_it_was_asked_for(tmp_path, server):
    faces = face_like(2500, seed=5)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(faces[:, 0]))
        tuned = []
        for coverage in (0.9, 0.995):
            opened.reindex(index=server.url(), coverage=coverage)
            tuned.append(opened._lookup.remote()._engine.summary().tuned)
            assert tuned[-1]["coverage"] == coverage
            assert coverage <= tuned[-1]["measured"] <= 1
            assert tuned[-1]["probes"] == 250
            assert tuned[-1]["faces"] == 2500
        assert 0 < tuned[0]["effort"] < tuned[1]["effort"]
        # Probes are other photos of enrolled people: the tuning did not use them.
        z, engine = opened.head.project(faces[:, 0]), opened._lookup.remote()._engine
        found = []
        for probe in opened.head.project(faces[:200, 1]):
            nearest = np.argsort(np.abs(z - probe).sum(1))[:5] + 1
            found.append(np.isin(nearest, engine.search(probe, 56, tuned[1]["effort"]).ids))
        assert np.mean(found) >= 0.98
        opened.reindex()
        assert opened._lookup.remote()._engine.summary().tuned["coverage"] == 0.995


def test_a_gallery_that_doubled_is_tuned_anew(tmp_path, server):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:600, 0]))
        opened.reindex(index=server.url())
        assert opened._lookup.remote()._engine.summary().tuned["effort"] == 0  # every row of so few is looked at
        opened.add_faces(people(FACES[600:, 0], "late"))
        tuned = opened._lookup.remote()._engine.summary().tuned
        assert tuned["faces"] == 1300
        assert tuned["effort"] > 0


def test_many_faces_added_at_once_to_a_gallery_without_a_graph_get_a_graph(tmp_path, server, monkeypatch):
    monkeypatch.setattr(remote_module, "_RETUNED_UP_TO", 1100)
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.reindex(index=server.url())
        opened.add_faces(people(FACES[:, 0]))
        assert opened._lookup.remote()._engine.summary().tuned["effort"] > 0


def test_a_deleted_face_is_out_of_the_table_and_out_of_the_graph(tmp_path, server):
    with Gallery(tmp_path / "g", "fast", create=True) as opened:
        opened.add_faces(people(FACES[:, 0]))
        opened.reindex(index=server.url())
        name = table(opened)
        path = server.folder / "d" / server.sql("SELECT pg_relation_filepath(%s)", f"{name}_z")[0][0]
        server.sql("CHECKPOINT")
        floats = opened.head.project(FACES[9, 0]).tobytes()
        assert floats in path.read_bytes()
        opened.remove("person0009")
        server.sql("CHECKPOINT")
        assert floats not in path.read_bytes()
        assert server.sql(f"SELECT count(*) FROM {name} WHERE id = 10") == [(0,)]


# the command line


def test_the_command_line_moves_the_index_and_gives_errors_of_one_line(tmp_path, server, capsys, monkeypatch):
    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["facedex", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0, capsys.readouterr().err

    folder = tmp_path / "g"
    with Gallery(folder, "fast", create=True) as opened:
        opened.add_faces(
            [FaceRecord("Ada", FACES[0, 0], (1.0, 2.0, 30.0, 40.0), 0.9, 20.0, "/photos/ada.jpg", sha("ada"))]
        )
    assert run("reindex", "-g", folder, "--index", server.url())[0] == 0
    assert run("doctor", "-g", folder)[0] == 0
    with server.away():
        code, said = run("doctor", "-g", folder)
        assert code == 2
        code, said = run("reindex", "-g", folder)
        assert code == 2
        assert said.count("\n") == 1
        assert "does not answer" in said
    code, said = run("reindex", "-g", folder, "--kind", "flat")
    assert code == 2
    assert said.count("\n") == 1
    assert "--index files" in said
    code, said = run("reindex", "-g", folder, "--index", "postgresql://a:b@c/d")
    assert code == 2
    assert said.count("\n") == 1
    assert "PGPASSWORD" in said
    assert run("remove", "Ada", "--yes", "-g", folder)[0] == 0
    with Store(folder) as store:
        assert (store.state.people, store.state.faces) == (0, 0)
