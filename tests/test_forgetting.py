"""What a scan kept is forgotten by photo, by folder, or altogether; enrolled people stay."""

import pytest

from facedex.errors import DataError
from facedex.library.forgetting import forget, scanned_sources
from tests.helpers import record, scanned, seen_file, unit
from tests.test_deletion import traces

VECTORS = unit(4, seed=41)


@pytest.fixture
def opened(tmp_path):
    copy = seen_file("/holiday/a.jpg").photo
    files = [
        seen_file("/holiday/a.jpg", VECTORS[0]),
        seen_file("/holiday/deep/b.jpg", VECTORS[1]),
        seen_file("/holiday2/c.jpg", VECTORS[2]),
        seen_file("/holiday2/copy of a.jpg", photo=copy),
    ]
    with scanned(tmp_path / "g", files, [record("Ada", VECTORS[3])]) as found:
        yield found


def test_a_photo_and_a_folder(opened):
    assert scanned_sources(opened.library, "/holiday/a.jpg") == ["/holiday/a.jpg"]
    assert scanned_sources(opened.library, ["/holiday", "/holiday/a.jpg"]) == ["/holiday/a.jpg", "/holiday/deep/b.jpg"]
    with pytest.raises(DataError, match="Nothing was scanned in /nowhere"):
        scanned_sources(opened.library, ["/holiday", "/nowhere"])


def test_a_photo_with_another_path_stays(opened):
    assert forget(opened, scanned_sources(opened.library, "/holiday")) == (1, 1)
    assert sorted(opened.library.files()) == ["/holiday2/c.jpg", "/holiday2/copy of a.jpg"]
    assert not traces(opened.folder, opened.head, VECTORS[1])
    assert traces(opened.folder, opened.head, VECTORS[0])


def test_everything(opened):
    assert forget(opened, scanned_sources(opened.library, None)) == (3, 3)
    assert opened.library.counts().photos == opened.library.counts().files == 0
    assert not traces(opened.folder, opened.head, *VECTORS[:3])
    assert [person.name for person in opened.people()] == ["Ada"]
