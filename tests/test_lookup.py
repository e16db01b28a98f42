"""Looking up: exactly the head's own choice with every exact index, by proof; nothing stale, nothing growing."""

import json
import math
import os
import resource
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from facedex.errors import GalleryDamaged
from facedex.gallery import lookup as lookup_module
from facedex.gallery.gallery import Gallery
from facedex.index.manifest import INDEX_FILE, MANIFEST_FILE, read_manifest
from facedex.store.store import Store
from tests.helpers import gallery, make_model, near, people, record, unit


def uneven(rng, dim=128):
    return rng.normal(0, 2, dim)


@pytest.fixture(scope="module", params=[128, 512])
def exact(request, tmp_path_factory):
    """4,000 faces of 3,000 people behind an exact index, with a head of uneven weights, and 300 faces beside it."""
    rng = np.random.default_rng(1)
    seen = request.param
    folder = tmp_path_factory.mktemp("flat")
    vectors = unit(4000, seed=2)
    records = [record(f"p{i % 3000:04d}", vector) for i, vector in enumerate(vectors)]
    opened = gallery(folder / "g", records[:3700], make_model(folder / "m.safetensors", v=uneven(rng, seen)))
    opened.reindex(kind="flat")
    with Store(folder / "g") as store:
        store.add(records[3700:])
    yield opened, vectors
    opened.close()


@pytest.mark.parametrize("top", [1, 5, 200])
def test_an_exact_index_answers_as_the_head_does(exact, top):
    opened, vectors = exact
    for number in range(0, 4000, 200):
        for probe in (near(vectors[number], number), unit(1, seed=number)[0]):
            found = opened.match(probe, top=top)
            truth = opened.match(probe, top=top, exhaustive=True)
            assert [(one.name, one.logit) for one in found] == [(one.name, one.logit) for one in truth]


def test_a_fresh_and_a_used_gallery_give_the_same_answer(exact):
    opened, vectors = exact
    probes = [near(vectors[i], i) for i in range(64)]
    alone = []
    for probe in probes:
        with Gallery(opened.folder) as fresh:
            alone.append(fresh.match(probe, top=3))
        if len(alone) == 4:
            break
    assert [opened.match(probe, top=3) for probe in probes][:4] == alone


@pytest.mark.parametrize("kind", ["flat", "quantised"])
def test_incremental_enrolment_equals_bulk(tmp_path, kind):
    vectors = unit(2600, seed=4)
    records = people(vectors)
    answers = []
    for name, blocks in (("bulk", [2600]), ("steps", [1100, 1, 1400, 99])):
        with Gallery(tmp_path / name, create=True) as opened:
            added = 0
            for size in blocks:
                added += opened.add_faces(records[added : added + size])
                if added in (1100, 2600):
                    opened.reindex(kind=kind)
            answers.append([opened.match(near(v, i), top=5) for i, v in enumerate(vectors[::100])])
            assert opened.faces == len(opened) == 2600
    assert answers[0] == answers[1]


def test_one_more_photo_rewrites_nothing_large(tmp_path):
    with Gallery(tmp_path / "g", create=True) as opened:
        opened.add_faces(people(unit(1500)))
        opened.match(unit(1)[0])
        written = (tmp_path / "g" / INDEX_FILE).stat().st_mtime_ns
        for number, vector in enumerate(unit(20, seed=9)):
            opened.add_faces([record(f"late{number}", vector)])
            assert opened.match(vector, top=1)[0].name == f"late{number}"
        assert (tmp_path / "g" / INDEX_FILE).stat().st_mtime_ns == written
        opened.add_faces(people(unit(1000, seed=10), "many"))
        assert (tmp_path / "g" / INDEX_FILE).stat().st_mtime_ns > written
        assert read_manifest(tmp_path / "g").count == 2520


def test_an_open_reader_takes_in_new_faces_without_reading_the_index_again(tmp_path, monkeypatch):
    with gallery(tmp_path / "g", people(unit(50))) as reader:
        reader.match(unit(1)[0])
        monkeypatch.setattr(lookup_module, "read_projection", lambda *a: pytest.fail("the index was read again"))
        with Store(tmp_path / "g") as store:
            store.add([record("new", unit(1, seed=5)[0])])
            store.rename("person0001", "Ada")
            store.merge("person0002", "Ada")
        assert reader.match(unit(1, seed=5)[0], top=1)[0].name == "new"
        assert reader.match(unit(50)[2], top=1)[0].name == "Ada"


def test_a_face_deleted_behind_our_back_is_noticed(tmp_path):
    with gallery(tmp_path / "g", people(unit(50))) as opened:
        opened.match(unit(1)[0])
        with Store(tmp_path / "g") as store:  # without its triggers, as damage would
            store._db.execute("DROP TRIGGER face_went")
            store._db.execute("DELETE FROM face WHERE id = 7")
        with pytest.raises(GalleryDamaged, match="lost faces"):
            opened.match(unit(50)[6])


def test_a_removal_by_another_process_is_seen_although_the_index_was_not_rewritten(tmp_path):
    vectors = unit(2000, seed=6)
    with gallery(tmp_path / "g", people(vectors)) as opened:
        opened.reindex(kind="quantised")
        opened.match(vectors[3])
        with Store(tmp_path / "g") as store:
            store.remove([f"person{i:04d}" for i in range(0, 2000, 3)])
        assert opened.match(vectors[3], top=1)[0].name != "person0003"
        assert opened.match(vectors[4], top=1)[0].name == "person0004"
        told = read_manifest(tmp_path / "g")
        assert told.kind == "quantised"
        assert told.count == opened.faces == 1333


def test_a_gallery_that_cannot_be_written_is_searched_all_the_same(tmp_path):
    with gallery(tmp_path / "g", people(unit(50))) as opened:
        opened.match(unit(1)[0])
    shutil.copytree(tmp_path / "g", tmp_path / "copy")
    (tmp_path / "copy" / MANIFEST_FILE).write_text("{}")
    with Gallery(tmp_path / "copy") as opened:
        assert opened.match(unit(50)[8], top=1)[0].name == "person0008"
        assert json.loads((tmp_path / "copy" / MANIFEST_FILE).read_text())["count"] == 50


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["flat", "quantised"])
def test_many_look_ups_leave_no_memory_behind(tmp_path, kind):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    vectors = unit(2000, seed=7)
    with gallery(tmp_path / "g", people(vectors)) as opened:
        opened.reindex(kind=kind)
        for number in range(200):
            opened.match(vectors[number])
        before = resident()
        for number in range(int(os.environ.get("FACEDEX_LOOKUPS", "1500"))):
            opened.match(vectors[number % 2000])
        assert resident() < before * 1.05


def test_probabilities_follow_the_quality_of_both_sides_and_the_order_does_not(tmp_path):
    vectors = unit(300)
    records = [replace(record(f"p{i:03d}", v), quality=20.0 + i % 3) for i, v in enumerate(vectors)]
    with gallery(tmp_path / "g", records) as opened:
        plain = opened.match(vectors[7], top=20)
        opened.calibration = replace(opened.calibration, by_quality=3.0, usual=math.log(21))
        assert [one.logit for one in opened.match(vectors[7], top=20)] == [one.logit for one in plain]
        for quality in (0.0, 14.0, 28.0):
            found = opened.match(vectors[7], top=20, quality=quality)
            assert [(one.name, one.logit) for one in found] == [(one.name, one.logit) for one in plain]
            assert found == opened.match(vectors[7], top=20, quality=quality, exhaustive=True)
        blurred, clear = (
            [one.probability for one in opened.match(near(vectors[7], 1), quality=quality)] for quality in (14.0, 28.0)
        )
        assert blurred != clear
