"""After a deletion neither a face's numbers nor codes of them are in any file, whatever deleted it."""

import hashlib
import shutil

import numpy as np
import pytest

from facedex.gallery.gallery import Gallery
from facedex.index.manifest import INDEX_FILE
from facedex.index.projection import KINDS
from facedex.store.store import Store
from tests.helpers import gallery, make_model, near, other_encoder, people, record, stored_row, unit

ALIKE = 0.97  # correlation of codes with the vector they are of; chance gives under .6 with 128 numbers


def traces(folder, head, *vectors):
    """The traces of these faces in a folder's files: {(file, kind)}, kind "float32", "float16" or "codes".

    For the embedding and for z = w * f, as any four numbers in a row, and as one byte a number that rises (or falls)
    with it, at any place.
    """
    found = set()
    for path in folder.iterdir():
        if path.name.startswith("model-"):  # the same file for everybody
            continue
        data = path.read_bytes()
        raw = np.frombuffer(data, np.uint8).astype(np.float64)
        for vector in vectors:
            for numbers in (vector, head.project(vector[None])[0]):
                for kind, size in ((np.float32, 16), (np.float16, 16)):
                    blob = numbers.astype(kind).tobytes()
                    if any(blob[at : at + size] in data for at in range(0, len(blob), size)):
                        found.add((path.name, np.dtype(kind).name))
                for codes in (raw, np.where(raw > 127, raw - 256, raw)):
                    if _most_alike(codes, numbers) > ALIKE:
                        found.add((path.name, "codes"))
    return found


def _most_alike(codes, numbers):
    """The greatest correlation between a vector (d,) and any d bytes in a row, by FFT."""
    d, n = len(numbers), len(codes)
    if n < d:
        return 0.0
    wanted = (numbers - numbers.mean()) / numbers.std() / d
    length = 1 << (n + d).bit_length()
    product = np.fft.irfft(np.fft.rfft(codes, length) * np.conj(np.fft.rfft(wanted, length)), length)[: n - d + 1]
    sums, squares = (np.concatenate([[0], np.cumsum(c)]) for c in (codes, codes**2))
    mean, square = (sums[d:] - sums[:-d]) / d, (squares[d:] - squares[:-d]) / d
    spread = np.sqrt(np.maximum(square - mean**2, 1e-9))
    return float(np.abs(product / spread).max())


def files_with(folder, part):
    """Names of the files that contain these bytes."""
    return {path.name for path in folder.iterdir() if part in path.read_bytes()}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A folder with a gallery of 1,100 people, to be copied."""
    folder = tmp_path_factory.mktemp("crowd")
    gallery(folder / "g", people(unit(1100)), make_model(folder / "m.safetensors")).close()
    return folder


@pytest.fixture(params=KINDS)
def opened(crowd, tmp_path, request):
    """An open copy of the gallery, with an index of each kind."""
    shutil.copytree(crowd / "g", tmp_path / "g")
    with Gallery(tmp_path / "g") as found:
        found.reindex(kind=request.param)
        found.match(unit(1)[0])
        yield found


def test_the_search_finds_floats_and_codes_where_they_are(opened, tmp_path):
    (tmp_path / "t").mkdir()
    vector = unit(1100)[8]
    z = opened.head.project(vector[None])[0]
    low, high = z.min(), z.max()
    codes = {
        "uint8": np.round((z - low) / (high - low) * 255).astype(np.uint8),
        "int8": np.round(vector * 254).astype(np.int8),
        "float16": vector.astype(np.float16),
        "float32": z.astype(np.float32),
    }
    for name, array in codes.items():
        (tmp_path / "t" / name).write_bytes(unit(40, seed=1).tobytes() + b"x" + array.tobytes() + b"yy" * 50)
    found = {("uint8", "codes"), ("int8", "codes"), ("float16", "float16"), ("float32", "float32")}
    assert traces(tmp_path / "t", opened.head, vector) == found
    assert traces(tmp_path / "t", opened.head, unit(1100)[9]) == set()


def test_nothing_is_left_after_remove_nor_found_by_open_readers(opened):
    folder, vectors = opened.folder, unit(1100)
    gone, late = vectors[8], unit(1, seed=9)[0]
    with Gallery(folder) as reader:
        reader.match(gone)
        with Store(folder) as store:
            store.add([record("late", late)])
        row = stored_row(opened, 8).tobytes()
        assert "gallery.db" in {name for name, _ in traces(folder, opened.head, gone)}
        assert files_with(folder, row) == {INDEX_FILE}
        assert opened.remove("person0008", "late") == 2
        assert traces(folder, opened.head, gone, late) == set()
        assert all(files_with(folder, row[at : at + 16]) == set() for at in range(0, len(row), 16))
        assert "gallery.db" in {name for name, _ in traces(folder, opened.head, vectors[7])}
        assert files_with(folder, stored_row(opened, 7).tobytes()) == {INDEX_FILE}
        for probe in (gone, late):
            for exhaustive in (False, True):
                names = [one.name for one in reader.match(probe, top=1200, exhaustive=exhaustive)]
                assert names
                assert not {"person0008", "late"} & set(names)
            assert len(names) == 1099


def test_nothing_is_left_of_a_single_photo(opened):
    folder, vectors = opened.folder, unit(1100)
    with Store(folder) as store:
        wanted = [photo for photo in store.photos() if photo.name == "person0017"]
    assert opened.remove_photos(wanted) == 1
    assert traces(folder, opened.head, vectors[17]) == set()
    assert len(opened) == 1099


def test_nothing_is_left_of_a_double_that_a_merge_drops(opened):
    folder, vectors = opened.folder, unit(1100)
    photo = hashlib.sha256(b"both").hexdigest()
    mine, theirs = near(vectors[3], 1), near(vectors[3], 2)
    with Store(folder) as store:
        store.add([record("person0003", mine, photo), record("person0004", theirs, photo)])
    assert opened.merge("person0004", "person0003") == 1  # its other photo
    assert traces(folder, opened.head, theirs) == set()
    assert traces(folder, opened.head, mine) != set()
    assert traces(folder, opened.head, vectors[4]) != set()


def test_nothing_is_left_of_the_numbers_of_an_older_model(tmp_path):
    """Another head deletes the old z. Another encoder deletes the old vectors, and faces whose photo is gone."""
    from facedex.photos.sources import named_photos
    from tests.helpers import save_face

    first = make_model(tmp_path / "a.safetensors")
    with Gallery(tmp_path / "g", first, create=True) as opened:
        with named_photos([save_face(tmp_path / "p.png", 1, side=120)], "Ada") as (photos, _):
            assert [one.status for one in opened.iter_enroll(photos)] == ["enrolled"]
        vector = unit(1, seed=3)[0]
        with Store(tmp_path / "g") as store:
            store.add([record("no photo", vector)])
        opened.reindex()
        old = opened.head
        v = np.random.default_rng(0).normal(0, 2, len(vector))
        opened.reindex(make_model(tmp_path / "b.safetensors", v=v))
        z = old.project(vector[None])[0].tobytes()
        assert not any(
            z[at : at + 16] in path.read_bytes() for path in (tmp_path / "g").iterdir() for at in range(0, len(z), 16)
        )
        assert traces(tmp_path / "g", opened.head, vector)
        other_encoder(tmp_path / "c.safetensors")
        head = opened.head
        assert opened.reindex(tmp_path / "c.safetensors") == ["/photos/no photo.jpg"]
        assert traces(tmp_path / "g", head, vector) == set() == traces(tmp_path / "g", opened.head, vector)
