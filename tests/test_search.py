"""The projection: in the head's own order, and never believed when it is not this gallery's."""

import hashlib
import json
import shutil

import faiss
import numpy as np
import pytest
from helpers import PLAIN_HEAD, flip, gallery, make_model, near, people, record, unit

from facedex import search
from facedex.head import Head
from facedex.store import Store

MODEL = ("0" * 64, "model.safetensors", 128)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, MODEL) as opened:
        yield opened


def uneven_head(seed=0, dim=128):
    return Head(np.random.default_rng(seed).lognormal(0, 1, dim), 12.0)


def built(store, head, kind="flat"):
    projection, data = search.build(store, store.state, head, "head", kind)
    search.save(store.path.parent, projection, data)
    return projection


def loaded(store, head, head_id="head"):
    return search.load(store.path.parent, store, store.state, head, head_id)


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
        distances, found = projection.search(head.project(probe[None])[0], 2000)
        assert found.tolist() == ids[np.lexsort((ids, -logits))].tolist()
        assert np.array_equal(12.0 - distances, np.sort(logits)[::-1])
        ties += 2000 - len(np.unique(logits))
    assert ties > 1000


@pytest.mark.parametrize("seed", range(5))
def test_the_distance_is_what_the_head_takes_from_beta(store, seed):
    vectors, head = unit(1000, seed=seed), uneven_head(seed)
    store.add(people(vectors))
    probe = unit(1, seed=seed + 100)[0]
    distances, ids = built(store, head).search(head.project(probe[None])[0], 1000)
    logits = head.logits(probe[None], vectors)
    np.testing.assert_allclose(head.beta - distances, logits[ids - 1], atol=1e-4)
    assert np.all(np.diff(logits[ids - 1]) < 1e-4)


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
            assert projection is not None and len(projection) == 100
            answers.append([projection.search(head.project(probe[None])[0], 20) for probe in unit(10, seed=1)])
    for (d1, i1), (d2, i2) in zip(*answers, strict=True):
        assert i1.tolist() == i2.tolist() and np.array_equal(d1, d2)


def test_a_long_tail_asks_for_compaction(store):
    head = uneven_head()
    store.add(people(unit(100)))
    built(store, head)
    store.add(people(unit(1000, seed=1), "late"))
    assert not loaded(store, head).wants_compaction
    store.add(people(unit(1, seed=2), "last"))
    assert loaded(store, head).wants_compaction


def test_an_empty_gallery_has_an_empty_projection(store):
    projection = built(store, uneven_head())
    distances, ids = projection.search(np.zeros(128, np.float32), 5)
    assert len(distances) == len(ids) == len(projection) == 0
    assert loaded(store, uneven_head()) is not None


@pytest.mark.parametrize("kind", search.KINDS)
@pytest.mark.parametrize("count", [1, 255, 256, 600])
def test_every_kind_is_saved_and_loaded_at_every_size(store, kind, count):
    head, vectors = uneven_head(), unit(count)
    store.add(people(vectors))
    before = built(store, head, kind)
    after = loaded(store, head)
    assert after.exact == (kind == "flat") and len(after) == count
    for number in range(0, count, 50):
        z = head.project(vectors[number : number + 1])[0]
        assert after.search(z, 1)[1].tolist() == [number + 1]
        assert after.search(z, 10)[1].tolist() == before.search(z, 10)[1].tolist()


# doubt


def folder_of(tmp_path, name, seed):
    """A gallery of 80 people with a projection, of which only the vectors depend on the seed."""
    opened = gallery(tmp_path / name, people(unit(80, seed=seed)))
    opened.match(unit(1)[0])
    assert (tmp_path / name / search.MANIFEST_FILE).exists()
    opened.close()
    return tmp_path / name


def stored_projection(opened):
    with Store(opened.folder) as store:
        return search.load(opened.folder, store, store.state, opened.head, opened.model.head_fingerprint)


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
        path = folder / search.MANIFEST_FILE
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


INDEX, MANIFEST = search.INDEX_FILE, search.MANIFEST_FILE
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
    "another format": say(format="facedex-projection/2"),
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
}
HARMLESS = {
    "another kind": say(kind="ivf"),
    "no such kind": say(kind=["hnsw"]),
    "other parameters": say(parameters={"nprobe": 0}),
    "no parameters": say(parameters=None),
}


@pytest.fixture(scope="module")
def two_galleries(tmp_path_factory):
    base = tmp_path_factory.mktemp("galleries")
    return folder_of(base, "a", 0), folder_of(base, "b", 1)


@pytest.mark.parametrize("doubt", [*DOUBTS, *HARMLESS])
def test_a_doubtful_projection_is_built_again_and_answers_stay_right(two_galleries, tmp_path, doubt):
    folder, other = tmp_path / "g", two_galleries[1]
    shutil.copytree(two_galleries[0], folder)
    {**DOUBTS, **HARMLESS}[doubt](folder, other)
    with gallery(folder) as opened:
        if doubt in DOUBTS:
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


def test_removal_and_merging_make_the_projection_doubtful_renaming_does_not(store):
    head = uneven_head()
    store.add(people(unit(50)))
    built(store, head)
    store.rename("person0000", "Ada")
    assert loaded(store, head) is not None
    store.merge("person0001", "Ada")
    assert loaded(store, head) is None
    built(store, head)
    store.remove(["Ada"])
    assert loaded(store, head) is None


def test_vectors_that_faiss_would_swallow_are_refused(store):
    store.add(people(unit(3)))
    with pytest.raises(ValueError, match="finite"):
        search.build(store, store.state, Head(np.full(128, np.inf), 1.0), "head")


def test_an_index_that_this_faiss_cannot_read_is_built_again(store):
    head = uneven_head()
    store.add(people(unit(3)))
    projection, _ = search.build(store, store.state, head, "head")
    data = b"Inew" + b"\0" * 100
    manifest = {**projection.manifest.__dict__, "sha256": hashlib.sha256(data).hexdigest()}
    search.save(store.path.parent, search.Projection(None, search.Manifest(**manifest), None), data)
    assert loaded(store, head) is None


# approximation


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    """3,000 faces, a person each, in 150 groups that resemble each other, behind an approximate index."""
    rng = np.random.default_rng(0)
    centres = unit(150, seed=1)
    vectors = np.stack([near(centres[i % 150], i, 0.8) for i in range(3000)])
    folder = tmp_path_factory.mktemp("ivf")
    model = make_model(folder / "m.safetensors", v=rng.normal(0, 1, 128), beta=12.0)
    opened = gallery(folder / "g", people(vectors), model)
    opened.reindex(kind="ivf")
    yield opened, vectors
    opened.close()


def test_an_approximate_index_finds_nine_of_ten(clustered):
    opened, vectors = clustered
    assert isinstance(faiss.read_index(str(opened.folder / INDEX)), faiss.IndexIVFFlat)
    found = wanted = 0
    for number in range(0, 3000, 60):
        probe = near(vectors[number], number, 0.5)
        truth = {one.name for one in opened.match(probe, top=10, exhaustive=True)}
        found += len(truth & {one.name for one in opened.match(probe, top=10)})
        wanted += len(truth)
    assert wanted == 500 and found / wanted >= 0.9


def test_an_approximate_indexs_scores_are_the_heads_exact_ones(clustered):
    opened, vectors = clustered
    for number in range(0, 3000, 300):
        probe = near(vectors[number], number)
        for one in opened.match(probe, top=20):
            truth = opened.head.logits(probe, vectors[int(one.name.removeprefix("person"))])
            assert one.logit == pytest.approx(float(truth), abs=1e-5)


def test_an_approximate_gallery_stays_so_when_it_is_written_anew(clustered):
    opened, vectors = clustered
    with Store(opened.folder) as store:
        store.add([record("passing", unit(1, seed=9)[0])])
    opened.match(vectors[0])
    opened.remove("passing")
    assert json.loads((opened.folder / MANIFEST).read_text())["kind"] == "ivf"
    (opened.folder / INDEX).unlink()
    with gallery(opened.folder) as reader:
        reader.match(vectors[0])
    assert isinstance(faiss.read_index(str(opened.folder / INDEX)), faiss.IndexIVFFlat)


def test_a_small_gallery_asked_for_an_approximate_index_still_answers(tmp_path):
    """Too few faces to partition: an exact index under the same name."""
    vectors = unit(20)
    with gallery(tmp_path / "g", people(vectors)) as opened:
        opened.reindex(kind="ivf")
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
