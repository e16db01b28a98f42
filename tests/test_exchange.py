"""Names of scanned faces go to XMP sidecars and come back, and nobody's decision is overwritten."""

import pytest

from facedex.library.exchange import export_names, import_names
from facedex.library.sidecars import read_names, write_names
from tests.helpers import record, save_blank, scanned, seen_file, unit

A, B, C = unit(3, seed=51)
LEFT, RIGHT = (10.0, 20.0, 60.0, 80.0), (110.0, 20.0, 60.0, 80.0)


@pytest.fixture
def photo(tmp_path):
    return save_blank(tmp_path / "photos" / "two.png")


@pytest.fixture
def opened(tmp_path, photo):
    """A scanned photo with two faces, another with one."""
    other = save_blank(tmp_path / "photos" / "one.png", shade=90)
    with scanned(tmp_path / "g", [seen_file(str(photo), A, B), seen_file(str(other), C)]) as found:
        yield found


def export(opened):
    return list(export_names(opened, sorted(opened.library.files())))


def load(opened):
    return list(import_names(opened, sorted(opened.library.files())))


def named(opened, name):
    return opened.library.faces_named(name).ids.tolist()


def give(opened, name, *faces):
    with opened.changing_library() as store:
        store.name_scanned(name, [], faces)


def test_names_are_written_beside_the_photo_and_only_where_there_are_some(opened, photo):
    before = photo.read_bytes()
    give(opened, "Ada", 1)
    (done,) = export(opened)
    assert (done.photo, done.file, done.names, done.changed) == (str(photo), f"{photo}.xmp", ("Ada",), True)
    (region,) = read_names(photo).regions
    assert region.name == "Ada"
    assert region.box == pytest.approx(LEFT, abs=0.01)
    assert photo.read_bytes() == before
    assert sorted(path.name for path in photo.parent.iterdir()) == ["one.png", "two.png", "two.png.xmp"]
    assert [again.changed for again in export(opened)] == [False]


def test_a_name_that_changed_or_went_is_exported_anew(opened, photo):
    give(opened, "Ada", 1)
    give(opened, "Bob", 2)
    export(opened)
    opened.rename("Ada", "Ada Lovelace")
    opened.remove("Bob")
    export(opened)
    assert {region.name for region in read_names(photo).regions} >= {"Ada Lovelace"}
    assert "Ada" not in {region.name for region in read_names(photo).regions}


def test_an_enrolled_face_is_exported_too(tmp_path, photo):
    file = seen_file(str(photo), A)
    with scanned(tmp_path / "g", [file], [record("Cy", A, file.photo)]) as opened:
        assert [done.names for done in export(opened)] == [("Cy",)]


def test_names_of_another_program_enroll_these_people(opened, photo):
    write_names(photo, [(LEFT, "Ada"), (RIGHT, "Bob")])
    (done,) = load(opened)
    assert (done.names, done.warnings) == (("Ada", "Bob"), ())
    assert (named(opened, "Ada"), named(opened, "Bob")) == ([1], [2])
    assert [(person.name, person.photos) for person in opened.people()] == [("Ada", 1), ("Bob", 1)]
    assert opened.match(A, top=1)[0].name == "Ada"
    assert [again.names for again in load(opened)] == [()]
    assert opened.faces == 2


def test_a_name_given_here_stays(opened, photo):
    give(opened, "Eve", 1)
    write_names(photo, [(LEFT, "Ada"), ((10.0, 150.0, 30.0, 40.0), "Zoe")])
    (done,) = load(opened)
    assert done.names == ()
    assert ["Ada, which is Eve" in done.warnings[0], "Zoe where the scan found no face" in done.warnings[1]] == [
        True
    ] * 2
    assert named(opened, "Eve") == [1]
    (exported,) = export(opened)
    assert exported.names == ("Eve",) or exported.conflicts


def test_a_photo_that_is_gone_stops_nothing(opened, photo):
    give(opened, "Ada", 1)
    give(opened, "Bob", 3)
    photo.unlink()
    results = export(opened)
    assert [bool(result.error) for result in results] == [False, True]
    assert str(photo) in results[1].error
    assert [bool(result.error) for result in load(opened)] == [False, True]
