"""The projection: in the head's own order, and never believed when it is not this gallery's."""

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from facedex.index import flat, quantised
from facedex.index import projection as projection_module
from facedex.index.manifest import INDEX_FILE, MANIFEST_FILE, Manifest, read_manifest, wants_compaction
from facedex.index.projection import KINDS, build_projection, read_projection, save_projection
from facedex.model.head import Head, frame
from facedex.store.store import Store
from tests.helpers import PLAIN_HEAD, everybody, flip, gallery, make_model, near, people, record, unit

MODEL = ("0" * 64, "model.safetensors", 128)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, MODEL) as opened:
        yield opened


def uneven_head(seed=0, dim=128):
    return Head(np.random.default_rng(seed).lognormal(0, 1, dim), 12.0)


def built(store, head, kind="auto"):
    projection, data = build_projection(store, store.state, head, "head", kind)
    save_projection(store.path.parent, projection, data)
    return projection


def loaded(store, head, head_id="head"):
    """The stored projection with the newer faces; None where it is missing, altered or not of these faces."""
    stored = read_projection(store.path.parent, store.state, head, head_id)
    return stored if stored is not None and stored.follow(store, store.state, head) else None


# the order


def test_the_order_is_the_heads_own_exactly_ties_too(store):
    # Small whole numbers and weights that are powers of two make every sum exact in float32.
    rng = np.random.default_rng(0)
    vectors = rng.integers(-3, 4, (2000, 128)).astype(np.float32)
    head = Head(2.0 ** rng.integers(-3, 3, 128), 12.0)
    ids = store.add(people(vectors[:1200]))
    built(store, head)
    ids = np.array(ids + store.add(people(vectors[1200:], "late")))  # ties between the index and what is beside it too
    projection = loaded(store, head)
    ties = 0
    for probe in rng.integers(-3, 4, (20, 128)).astype(np.float32):
        logits = head.logits(probe[None], vectors)
        found = projection.search(head.project(probe[None])[0], 2000)
        assert found.rows.tolist() == ids[np.lexsort((ids, -logits))].tolist()
        assert np.all(12.0 - found.bounds >= np.sort(logits)[::-1])
        np.testing.assert_allclose(12.0 - found.bounds, np.sort(logits)[::-1], atol=0.01)
        ties += 2000 - len(np.unique(logits))
    assert ties > 1000


@pytest.mark.parametrize("seed", range(5))
def test_the_distance_is_what_the_head_takes_from_beta(store, seed):
    vectors, head = unit(1000, seed=seed), uneven_head(seed)
    store.add(people(vectors))
    probe = unit(1, seed=seed + 100)[0]
    found = built(store, head).search(head.project(probe[None])[0], 1000)
    logits = head.logits(probe[None], vectors)
    np.testing.assert_allclose(head.beta - found.bounds, logits[found.rows - 1], atol=1e-2)
    assert np.all(np.diff(logits[found.rows - 1]) < 1e-4)


def framed_head(seed=0, bases=3):
    """A head that sees an embedding in several bases."""
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.standard_normal((128, 128)))[0] for _ in range(bases)]
    return Head(rng.uniform(0.3, 0.5, 128 * bases), 14.0, np.concatenate(turns))


@pytest.mark.parametrize("kind", KINDS)
def test_through_a_frame_the_order_is_the_heads_own_too(store, kind):
    head, vectors = framed_head(), unit(3000)
    store.add(people(vectors[:2900]))
    built(store, head, kind)
    store.add(people(vectors[2900:], "late"))
    projection, right = loaded(store, head), []
    assert len(projection) == 3000
    for probe in unit(40, seed=1):
        found = projection.search(head.project(probe[None])[0], 40)
        logits = head.logits(probe[None], vectors)
        best = 1 + np.argsort(-logits)[:5]
        np.testing.assert_allclose(head.beta - found.bounds, logits[found.rows - 1], atol=0.2)
        left_out = np.setdiff1d(np.arange(1, 3001), found.rows)
        if kind != "quantised":
            assert np.all(head.beta - found.bounds >= logits[found.rows - 1]), "bounds are bounds"
            assert np.all(head.beta - logits[left_out - 1] >= found.horizon)
        right.append(np.isin(best, found.rows).mean())
    assert np.mean(right) > 0.99 if kind == "quantised" else np.mean(right) == 1


def test_an_uneven_heads_best_is_not_cosines_best():
    """What the L1 projection is for: here a cosine shortlist would have missed the head's choice."""
    vectors, head = unit(2000), uneven_head()
    head.weight[:8] *= 20
    missed = 0
    for probe in unit(50, seed=1):
        best = np.argmax(head.logits(probe[None], vectors))
        missed += best not in np.argsort(-vectors @ probe)[:100]
    assert missed > 5


@pytest.mark.parametrize("first", [0, 1, 60, 100])
def test_faces_added_since_are_found_as_if_built_at_once(tmp_path, first):
    vectors, head = unit(100), uneven_head()
    answers = []
    for name, cut in (("bulk", 100), ("tail", first)):
        (tmp_path / name).mkdir()
        with Store(tmp_path / name, MODEL) as store:
            store.add(people(vectors[:cut]))
            built(store, head)
            store.add(people(vectors[cut:], "late"))
            projection = loaded(store, head)
            assert projection is not None
            assert len(projection) == 100
            answers.append([projection.search(head.project(probe[None])[0], 20) for probe in unit(10, seed=1)])
    for one, other in zip(*answers, strict=True):
        assert one.rows[:20].tolist() == other.rows[:20].tolist()
        assert np.array_equal(one.bounds[:20], other.bounds[:20])


def test_a_long_tail_asks_for_compaction(store):
    folder = store.path.parent
    assert wants_compaction(folder, store.state)  # nothing stored at all
    store.add(people(unit(100)))
    built(store, uneven_head())
    store.add(people(unit(1000, seed=1), "late"))
    assert not wants_compaction(folder, store.state)
    store.add(people(unit(1, seed=2), "last"))
    assert wants_compaction(folder, store.state)


def test_an_empty_gallery_has_an_empty_projection(store):
    projection = built(store, uneven_head())
    found = projection.search(np.zeros(128, np.float32), 5)
    assert len(found.bounds) == len(found.rows) == len(projection) == 0
    assert loaded(store, uneven_head()) is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 999, 1000, 3000])
def test_every_kind_is_saved_and_loaded_at_every_size(store, kind, count):
    head, vectors = uneven_head(), unit(count)
    store.add(people(vectors))
    before = built(store, head, kind)
    after = loaded(store, head)
    assert after.manifest == before.manifest
    assert len(after) == count
    assert after.manifest.kind == ("quantised" if kind == "quantised" and count >= 1000 else "flat")
    for number in range(0, count, 150):
        z = head.project(vectors[number : number + 1])[0]
        assert after.search(z, 1).rows[0] == number + 1
        assert after.search(z, 10).rows.tolist() == before.search(z, 10).rows.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("removed", [0, 7])
def test_an_older_index_gives_what_would_be_built(store, kind, removed):
    head, vectors = uneven_head(), unit(3000)
    store.add(people(vectors[:2500]))
    built(store, head, kind)
    if removed:
        store.remove([f"person{i:04d}" for i in range(0, 2500, removed)])
        assert loaded(store, head) is None
    store.add(people(vectors[2500:], "late"))
    old = read_projection(store.path.parent, store.state, head, "head")
    updated, data = build_projection(store, store.state, head, "head", kind, old=old)
    anew, _ = build_projection(store, store.state, head, "head", kind)
    assert updated.ids.tolist() == anew.ids.tolist() == store.ids().tolist()
    assert updated.digest == anew.digest == store.state.digest
    save_projection(store.path.parent, updated, data)
    again, right = loaded(store, head), []
    for probe in unit(20, seed=1):
        z = head.project(probe[None])[0]
        nearest = store.ids()[np.argsort(np.abs(head.project(everybody(store)[1]) - z).sum(1))[:5]]
        right.extend(np.isin(nearest, found.search(z, 50).rows).mean() for found in (again, anew))
    assert np.mean(right) > 0.99 if kind == "quantised" else np.mean(right) == 1


def test_the_tuning_stays_after_a_removal_and_the_codes_are_learned_again(store):
    head = uneven_head()
    store.add(people(unit(1500)))
    old = built(store, head, "quantised")
    store.remove([f"person{i:04d}" for i in range(0, 1500, 5)])
    anew, _ = build_projection(store, store.state, head, "head", "quantised", old=old)
    assert anew.manifest.parameters == old.manifest.parameters
    scratch = quantised.Quantised.build(head, everybody(store)[1], 0.999, anew.manifest.parameters)
    assert np.array_equal(anew.index.arrays()["index"], scratch.arrays()["index"])


def test_an_index_much_smaller_or_larger_than_it_was_tuned_for_is_tuned_anew(store):
    head = uneven_head()
    store.add(people(unit(1000)))
    old = built(store, head, "quantised")
    store.add(people(unit(1100, seed=1), "late"))
    anew, _ = build_projection(store, store.state, head, "head", "quantised", old=old)
    assert (old.manifest.parameters["faces"], anew.manifest.parameters["faces"]) == (1000, 2100)


def test_few_faces_are_found_without_faiss_as_with_it(monkeypatch):
    z, probe = unit(300, seed=3), unit(1, seed=4)[0]
    few = flat.Flat(z).search(probe, 40)
    monkeypatch.setattr(flat, "_FEW", 0)
    by_faiss = flat.Flat(z).search(probe, 40)
    assert few.rows.tolist() == by_faiss.rows.tolist()
    np.testing.assert_allclose(few.bounds, by_faiss.bounds, rtol=1e-5)
    assert few.horizon == pytest.approx(by_faiss.horizon, rel=1e-5)


def test_the_kind_follows_the_size(store, monkeypatch):
    monkeypatch.setattr(projection_module, "_EXACT", 1200)
    kinds = []
    for start, end in ((0, 10), (10, 1200), (1200, 1201)):
        store.add(people(unit(end - start, seed=start), f"from{start}-"))
        kinds.append(built(store, uneven_head(), "auto").manifest.kind)
    assert kinds == ["flat", "flat", "quantised"]


# doubt


def folder_of(tmp_path, name, seed):
    """A gallery of 80 people with a projection, of which only the vectors depend on the seed."""
    opened = gallery(tmp_path / name, people(unit(80, seed=seed)))
    opened.match(unit(1)[0])
    assert (tmp_path / name / MANIFEST_FILE).exists()
    opened.close()
    return tmp_path / name


def stored_projection(opened):
    with Store(opened.folder) as store:
        return loaded(store, opened.head, opened.model.head_fingerprint)


def lose(name):
    return lambda folder, other: (folder / name).unlink()


def cut(name):
    return lambda folder, other: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def turn(name, at):
    return lambda folder, other: flip(folder / name, at)


def become(name, content):
    return lambda folder, other: (folder / name).write_text(content)


def take(*names):
    return lambda folder, other: [shutil.copy(other / name, folder / name) for name in names]


def say(**fields):
    def change(folder, other):
        path = folder / MANIFEST_FILE
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


INDEX, MANIFEST = INDEX_FILE, MANIFEST_FILE
DOUBTS = {
    "no index": lose(INDEX),
    "no manifest": lose(MANIFEST),
    "index cut": cut(INDEX),
    "manifest cut": cut(MANIFEST),
    "index emptied": become(INDEX, ""),
    "manifest emptied": become(MANIFEST, ""),
    "index is junk": become(INDEX, "junk"),
    "manifest is a list": become(MANIFEST, "[1, 2]"),
    "manifest is a number": become(MANIFEST, "7"),
    "manifest is null": become(MANIFEST, "null"),
    "a bit of the index's head": turn(INDEX, 9),
    "a bit of the index's middle": turn(INDEX, 20_000),
    "index of another gallery": take(INDEX),
    "manifest of another gallery": take(MANIFEST),
    "both of another gallery": take(INDEX, MANIFEST),
    "another format": say(format="facedex-projection/1"),
    "another model": say(model="1" * 64),
    "another head": say(head="1" * 64),
    "another revision": say(revision=77),
    "a revision before all": say(revision=-1),
    "a revision in words": say(revision="one"),
    "another last id": say(last_id=40),
    "a last id in words": say(last_id="one"),
    "a last id beyond SQLite": say(last_id=2**70),
    "another count": say(count=79),
    "a count in words": say(count="many"),
    "another hash": say(sha256="0" * 64),
    "no hash": say(sha256=None),
    "a field too many": say(more=1),
    "another kind": say(kind="quantised"),
    "no such kind": say(kind=["hnsw"]),
    "other parameters": say(parameters={"step": 1.0}),
    "no parameters": say(parameters=None),
    "other arrays": say(arrays=[["ids", "<i8", [80]]]),
    "another digest": say(digest=1),
    "another seal": say(seal="0" * 64),
}


@pytest.fixture(scope="module")
def two_galleries(tmp_path_factory):
    base = tmp_path_factory.mktemp("galleries")
    return folder_of(base, "a", 0), folder_of(base, "b", 1)


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_doubtful_projection_is_built_again_and_answers_stay_right(two_galleries, tmp_path, doubt):
    folder, other = tmp_path / "g", two_galleries[1]
    shutil.copytree(two_galleries[0], folder)
    DOUBTS[doubt](folder, other)
    with gallery(folder) as opened:
        assert stored_projection(opened) is None
        for number, vector in enumerate(unit(80)[::20]):
            probe = near(vector)
            found = opened.match(probe, top=3, shortlist=3)
            assert found == opened.match(probe, top=3, shortlist=3, exhaustive=True)
            assert found[0].name == f"person{number * 20:04d}"
        # and what was rebuilt was written, for the next one
        assert stored_projection(opened) is not None


def test_an_intact_projection_is_used(two_galleries, tmp_path):
    """The doubts above would pass too if every projection were built again."""
    folder = tmp_path / "g"
    shutil.copytree(two_galleries[0], folder)
    with gallery(folder) as opened:
        assert stored_projection(opened) is not None
        before = {name: (folder / name).stat().st_mtime_ns for name in (INDEX, MANIFEST)}
        opened.match(unit(1)[0])
    assert {name: (folder / name).stat().st_mtime_ns for name in (INDEX, MANIFEST)} == before


def test_another_copys_projection_is_not_taken_for_this_ones(tmp_path):
    """A copy put back in place, and other people enrolled since: as many faces, the same ids, other people."""
    folder = tmp_path / "g"
    with gallery(folder, people(unit(60))) as opened:
        opened.match(unit(1)[0])
    shutil.copytree(folder, tmp_path / "copy")
    with gallery(folder, people(unit(60, seed=1), "late")) as opened:
        opened.reindex()
    for suffix in ("-wal", "-shm"):
        (folder / f"gallery.db{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "copy" / "gallery.db", folder)
    with gallery(folder, people(unit(60, seed=2), "other")) as opened:
        for vector in unit(60, seed=2)[::10]:
            probe = near(vector)
            found = opened.match(probe, top=1, shortlist=1)
            assert found == opened.match(probe, top=1, shortlist=1, exhaustive=True)


def test_a_new_head_makes_the_projection_doubtful(store):
    store.add(people(unit(50)))
    built(store, uneven_head(0))
    assert loaded(store, uneven_head(0)) is not None
    assert loaded(store, uneven_head(1), "another head") is None


def test_only_what_changes_vectors_makes_the_projection_doubtful(store):
    head = uneven_head()
    store.add(people(unit(50)))
    built(store, head)
    store.rename("person0000", "Ada")
    store.merge("person0001", "Ada")
    store.add(people(unit(5, seed=1), "late"))
    assert len(loaded(store, head)) == 55
    store.remove(["late0002"])
    assert len(loaded(store, head)) == 54
    store.remove(["Ada"])
    assert loaded(store, head) is None


def test_a_vector_changed_together_with_its_checksums_is_noticed(store):
    """A deliberate change: vector and checksums fit together, but the projection is of the old vector."""
    head = uneven_head()
    (face, *_) = store.add(people(unit(50)))
    built(store, head)
    store._db.execute("UPDATE face SET vector = ? WHERE id = ?", (unit(1, seed=5)[0].tobytes(), face))
    store._seal(face)
    assert store.faces([face]).ids.tolist() == [face]
    assert loaded(store, head) is None


def test_a_sealed_manifest_that_promises_what_is_not_there_is_refused(store):
    """A checksum detects accidents but no forgery. A forged manifest must not crash the process."""
    head = uneven_head()
    store.add(people(unit(50)))
    projection = built(store, head)
    path = store.path.parent / MANIFEST
    for lie in (
        {"arrays": []},
        {"arrays": [["ids", "<i8", [50]], ["marks", "<i8", [50]]]},
        {"arrays": [["ids", "<i8", [10**12]]]},
        {"arrays": [["ids", "O", [50]]]},
        {"arrays": [["ids", "<i8", [-1]]]},
        {"kind": "hnsw"},
        {"kind": "quantised"},
        {"count": 7},
    ):
        told = Manifest(**{**projection.manifest.__dict__, **lie}).sealed()
        path.write_text(json.dumps(told.__dict__))
        found = loaded(store, head)
        assert found is None or found.ids.tolist() == projection.ids.tolist(), lie


def test_vectors_that_are_not_finite_are_refused(store):
    store.add(people(unit(3)))
    with pytest.raises(ValueError, match="finite"):
        build_projection(store, store.state, Head(np.full(128, np.inf), 1.0), "head")


def test_an_altered_byte_anywhere_in_the_index_is_noticed(two_galleries, tmp_path):
    folder = tmp_path / "g"
    shutil.copytree(two_galleries[0], folder)
    whole, rng = (folder / INDEX).read_bytes(), np.random.default_rng(0)
    with gallery(folder) as opened:
        for at in rng.integers(0, len(whole), 200):
            (folder / INDEX).write_bytes(whole)
            flip(folder / INDEX, int(at), 1 << int(rng.integers(8)))
            assert stored_projection(opened) is None
        (folder / INDEX).write_bytes(whole)
        assert stored_projection(opened) is not None


def test_an_index_exchanged_while_it_is_read_is_read_again(two_galleries, tmp_path, monkeypatch):
    """Between the manifest and the index another process may have written both."""
    folder = tmp_path / "g"
    shutil.copytree(two_galleries[0], folder)
    with gallery(folder) as opened, Store(folder) as store:
        old, head_id = read_manifest(folder), opened.model.head_fingerprint
        store.add(people(unit(1, seed=5), "late"))
        new, data = build_projection(store, store.state, opened.head, head_id, "flat")
        save_projection(folder, new, data)
        told = iter([old])
        genuine = read_manifest
        monkeypatch.setattr(projection_module, "read_manifest", lambda where: next(told, None) or genuine(where))
        assert read_projection(folder, store.state, opened.head, head_id).manifest == new.manifest


def test_a_reader_waits_while_a_writer_replaces_the_two_files(store, monkeypatch):
    folder, head = store.path.parent, uneven_head()
    store.add(people(unit(30)))
    built(store, head)
    store.add(people(unit(20, seed=1), "later"))
    projection, data = build_projection(store, store.state, head, "head")
    (folder / INDEX_FILE).write_bytes(data)  # the writer is between its two renames
    (folder / "writer.txt").write_text("somebody")
    slept = []

    def writer_goes_on(seconds):
        slept.append(seconds)
        save_projection(folder, projection, data)

    monkeypatch.setattr(projection_module.time, "sleep", writer_goes_on)
    found = read_projection(folder, store.state, head, "head")
    assert found is not None
    assert len(found) == 50
    assert len(slept) == 1
    (folder / INDEX_FILE).write_bytes(data[:-1])
    monkeypatch.setattr(projection_module.time, "sleep", slept.append)
    assert read_projection(folder, store.state, head, "head") is None
    assert len(slept) > 2
    assert sum(slept) < 1
    (folder / "writer.txt").unlink()
    slept.clear()
    assert read_projection(folder, store.state, head, "head") is None
    assert not slept, "nobody writes: no use in waiting"


# approximation


def face_like(count, dim=128, seed=0):
    """Unit vectors that vary mostly in 24 directions, as embeddings of faces do."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 24)) @ np.random.default_rng(1).normal(size=(24, dim))
    vectors += 0.5 * rng.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("dim", [128, 127, 8])
@pytest.mark.parametrize("bases", [0, 1, 3])
def test_the_euclidean_projection_keeps_the_distances_of_z(dim, bases):
    head = uneven_head(dim=dim * max(1, bases))
    head = Head(head.weight, head.beta, frame(dim, bases) if bases else None)
    vectors, turn = unit(20, dim), quantised.euclidean(head)
    z = head.project(vectors)
    y = z @ turn
    assert y.shape == (20, dim)
    expected = np.linalg.norm(z[:, None] - z, axis=2)
    np.testing.assert_allclose(np.linalg.norm(y[:, None] - y, axis=2), expected, atol=1e-4)
    root = np.linalg.lstsq(vectors.astype(np.float64), y, rcond=None)[0] if dim == 8 else None
    if root is not None:
        np.testing.assert_allclose(root, root.T, atol=1e-4)  # S is symmetric


HEADS = {
    "four bases": lambda: Head(np.full(512, 0.4), 14.0, frame(128, 4)),
    "one uneven basis": lambda: uneven_head(seed=3),
    "an odd number of numbers": lambda: Head(np.full(127, 0.4), 14.0),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_asked_coverage_is_reached_for_probes_that_the_tuning_did_not_see(name):
    head = HEADS[name]()
    vectors = face_like(10_400, 127 if name.startswith("an odd") else 128)
    enrolled, probes = vectors[:10_000], head.project(vectors[10_000:])
    index = quantised.Quantised.build(head, enrolled, 0.995, None)
    assert index.parameters["measured"] >= 0.995
    z = head.project(enrolled)
    right = []
    for probe in probes:
        nearest = np.argsort(np.abs(z - probe).sum(1))[:5]
        right.append(np.isin(nearest, index.search(probe, 56).rows[:56]).mean())
    assert np.mean(right) >= 0.99


def test_threads_search_one_index_at_once():
    vectors, head = face_like(3000), framed_head()
    index = quantised.Quantised.build(head, vectors, 0.99, None)
    probes = head.project(face_like(200, seed=2))
    alone = [index.search(z, 20).rows.tolist() for z in probes]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(lambda z: index.search(z, 20).rows.tolist(), probes)) == alone


def test_every_face_can_be_asked_for():
    vectors, head = face_like(1100), framed_head()
    index = quantised.Quantised.build(head, vectors, 0.99, None)
    found = index.search(head.project(vectors[:1])[0], 5000)
    assert sorted(found.rows.tolist()) == list(range(1100))
    assert found.horizon == np.inf


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    """3,000 faces, a person each, in 150 groups that resemble each other, behind an approximate index."""
    rng = np.random.default_rng(0)
    centres = unit(150, seed=1)
    vectors = np.stack([near(centres[i % 150], i, 0.8) for i in range(3000)])
    folder = tmp_path_factory.mktemp("quantised")
    model = make_model(folder / "m.safetensors", v=rng.normal(0, 1, 128), beta=12.0)
    opened = gallery(folder / "g", people(vectors), model)
    opened.reindex(kind="quantised", coverage=0.99)
    yield opened, vectors
    opened.close()


def manifest_of(opened):
    return json.loads((opened.folder / MANIFEST).read_text())


def test_the_coverage_asked_for_is_measured_and_met(clustered):
    opened, vectors = clustered
    parameters = manifest_of(opened)["parameters"]
    assert parameters["coverage"] == 0.99 <= parameters["measured"] <= 1
    assert parameters["probes"] == 400
    assert opened.coverage() == (0.99, parameters["measured"])
    found = wanted = 0
    for number in range(0, 3000, 20):
        probe = near(vectors[number], number, 0.5)
        truth = {person.name for person in opened.match(probe, top=5, exhaustive=True)}
        found += len(truth & {person.name for person in opened.match(probe, top=5)})
        wanted += len(truth)
    assert wanted == 750
    assert found / wanted >= 0.98


def test_more_coverage_takes_more_work():
    vectors, head = face_like(3000), uneven_head(seed=3)
    few, many = (quantised.Quantised.build(head, vectors, coverage, None).parameters for coverage in (0.5, 0.999))
    assert few["candidates"] * few["k_factor"] < many["candidates"] * many["k_factor"]


def test_an_approximate_indexs_scores_are_the_heads_exact_ones(clustered):
    opened, vectors = clustered
    for number in range(0, 3000, 300):
        probe = near(vectors[number], number)
        for person in opened.match(probe, top=20):
            truth = opened.head.logits(probe, vectors[int(person.name.removeprefix("person"))])
            assert person.logit == pytest.approx(float(truth), abs=1e-5)


def test_an_approximate_gallery_stays_so_when_it_is_written_anew(clustered):
    opened, vectors = clustered
    with Store(opened.folder) as store:
        store.add([record("passing", unit(1, seed=9)[0])])
    opened.match(vectors[0])
    opened.remove("passing")
    written = manifest_of(opened)
    assert (written["kind"], written["parameters"]["coverage"]) == ("quantised", 0.99)
    (opened.folder / INDEX).unlink()
    with gallery(opened.folder) as reader:
        reader.match(vectors[0])
    assert manifest_of(opened)["kind"] == "quantised"
    assert manifest_of(opened)["parameters"]["coverage"] == 0.99


def test_a_damaged_approximate_index_is_built_again(clustered, tmp_path):
    """Altered bytes fail the checksum. FAISS itself refuses what it cannot read, though the checksum fits."""
    opened, vectors = clustered
    folder = tmp_path / "g"
    shutil.copytree(opened.folder, folder)
    data = (folder / INDEX).read_bytes()
    start = 2 * 8 * len(opened)  # behind ids and marks

    def sealed(content):
        manifest = read_manifest(folder)
        changed = {"sha256": hashlib.sha256(content).hexdigest(), "arrays": manifest.arrays}
        (folder / MANIFEST).write_text(json.dumps({**manifest.__dict__, **changed}))
        (folder / MANIFEST).write_text(json.dumps(Manifest(**{**manifest.__dict__, **changed}).sealed().__dict__))
        (folder / INDEX).write_bytes(content)

    for damage in (
        lambda: (folder / INDEX).write_bytes(data[:-9]),
        lambda: flip(folder / INDEX, len(data) - 1000),
        lambda: sealed(data[:start] + bytes(len(data) - start)),
        lambda: sealed(data[:start] + b"IxFI" + data[start + 4 :]),
    ):
        damage()
        with gallery(folder) as reader:
            assert stored_projection(reader) is None
            assert reader.match(near(vectors[4]), top=1)[0].name == "person0004"
            assert stored_projection(reader) is not None
            assert manifest_of(reader)["kind"] == "quantised"


def test_a_small_gallery_asked_for_an_approximate_index_still_answers(tmp_path):
    """FAISS cannot learn codes from few faces, so the index is flat until there are more."""
    vectors = unit(20)
    with gallery(tmp_path / "g", people(vectors)) as opened:
        opened.reindex(kind="quantised")
        assert manifest_of(opened)["kind"] == "flat"
    with gallery(tmp_path / "g") as opened:
        assert opened.match(near(vectors[4]), top=1)[0].name == "person0004"


# people, not faces


def test_a_shortlist_counts_people_not_faces(tmp_path):
    """Two hundred faces of four people crowd round the probe; the other twenty must be found behind them."""
    probe = unit(1, seed=3)[0]
    crowd = [record(f"crowd{p}", near(probe, 100 * p + i, 0.2)) for p in range(4) for i in range(50)]
    others = [record(f"other{i:02d}", near(probe, 5000 + i, 1.0)) for i in range(20)]
    model = make_model(tmp_path / "m.safetensors", **PLAIN_HEAD)
    with gallery(tmp_path / "g", crowd + others, model) as opened:
        found = opened.match(probe, top=12, shortlist=12)
        assert len({one.name for one in found}) == 12
        assert found == opened.match(probe, top=12, shortlist=12, exhaustive=True)
        assert sum(one.name.startswith("crowd") for one in found) == 4


def test_faces_are_projected_in_blocks_as_at_once(monkeypatch):
    head = Head(np.ones(512), 12.0, frame(128, 4))
    vectors = unit(10, seed=3)
    monkeypatch.setattr(flat, "_BLOCK", 4)
    np.testing.assert_array_equal(flat.projected(head, vectors), head.project(vectors))
    vectors[9, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        flat.projected(head, vectors)
