"""Names of deleted people in sidecars: they are found, told, and taken out where that is asked for."""

import pytest

from facedex.library.exchange import export_names
from facedex.library.name_removal import sidecars_naming, take_names_out
from facedex.library.sidecars import read_names
from tests.helpers import one_line, save_blank, save_face, scanned, seen_file, unit
from tests.xmp_samples import microsoft, packet, region, regions

A, B, C = unit(3, seed=71)
KEYWORDS = (
    "<dc:subject><rdf:Bag><rdf:li>Ada</rdf:li><rdf:li>sea</rdf:li><rdf:li>People|Ada</rdf:li></rdf:Bag></dc:subject>"
    "<dc:description>Ada at the sea</dc:description>"
)


@pytest.fixture
def opened(tmp_path):
    """Ada and Bob in one scanned photo, Ada alone in another; both have sidecars."""
    both, one = save_blank(tmp_path / "photos" / "both.png"), save_blank(tmp_path / "photos" / "one.png", shade=90)
    with scanned(tmp_path / "g", [seen_file(str(both), A, B), seen_file(str(one), C)]) as found:
        with found.changing_library() as store:
            store.name_scanned("Ada", [], [1, 3])
            store.name_scanned("Bob", [], [2])
        list(export_names(found, sorted(found.library.files())))
        yield found


def found_names(path):
    return sorted(found.name for found in read_names(path).regions)


def test_sidecars_that_hold_a_name_are_found(opened, tmp_path):
    found = [(sidecar.file, sidecar.names) for sidecar in sidecars_naming(opened, ["Ada"])]
    photos = tmp_path / "photos"
    assert found == [(str(photos / "both.png.xmp"), ("Ada",)), (str(photos / "one.png.xmp"), ("Ada",))]
    assert [sidecar.names for sidecar in sidecars_naming(opened, ["Bob", "Ada", "Eve"])] == [("Ada", "Bob"), ("Ada",)]
    assert list(sidecars_naming(opened, ["Eve"])) == []


def test_a_name_goes_and_the_others_stay(opened, tmp_path):
    done = list(take_names_out(list(sidecars_naming(opened, ["Ada"]))))
    assert [sidecar.error for sidecar in done] == [None, None]
    both = tmp_path / "photos" / "both.png"
    assert found_names(both) == ["Bob"]
    text = both.with_name("both.png.xmp").read_text("utf-8")
    assert ("Ada" in text, "Bob" in text) == (False, True)
    assert list(sidecars_naming(opened, ["Ada"])) == []


def test_names_of_other_programs_go_too_and_captions_stay(opened, tmp_path):
    one = tmp_path / "photos" / "one.png"
    properties = (
        regions(region(), region(name="Bob", x=0.8), size=(200, 200))
        + microsoft(("Ada", "0.2, 0.2, 0.3, 0.3"))
        + KEYWORDS
    )
    sidecar = one.with_name("one.png.xmp")
    sidecar.write_text(packet(properties), "utf-8")
    list(take_names_out([one for one in sidecars_naming(opened, ["Ada"]) if one.file == str(sidecar)]))
    text = sidecar.read_text("utf-8")
    assert text.count("Ada") == 1
    assert "Ada at the sea" in text
    assert found_names(one) == ["Bob"]
    assert "sea</rdf:li>" in text


def test_a_name_that_is_a_word_of_xmp_breaks_nothing(opened, tmp_path):
    sidecar = tmp_path / "photos" / "one.png.xmp"
    before = sidecar.read_bytes()
    for word in ("Face", "Resource", "pixel", "normalized"):
        assert list(sidecars_naming(opened, [word])) == []
    assert sidecar.read_bytes() == before


def test_a_sidecar_that_cannot_be_read_stops_nothing(opened, tmp_path):
    found = list(sidecars_naming(opened, ["Ada"]))
    (tmp_path / "photos" / "both.png.xmp").write_text("broken", "utf-8")
    done = list(take_names_out(found))
    assert [bool(sidecar.error) for sidecar in done] == [True, False]
    assert found_names(tmp_path / "photos" / "one.png") == []
    assert list(sidecars_naming(opened, ["Ada"])) == []


def test_remove_tells_of_sidecars_and_clears_them_when_asked(run, tmp_path):
    save_face(tmp_path / "photos" / "a.png", 1, side=200)
    run("scan", tmp_path / "photos", "--model", "fast")
    run("cluster")
    run("name", 1, "Ada Lovelace")
    run("export", "--xmp")
    sidecar = tmp_path / "photos" / "a.png.xmp"
    done = run("remove", "Ada Lovelace", "--yes")
    assert (done.code, f"the name stays in {sidecar} (Ada Lovelace)" in done.err) == (0, True)
    assert "--sidecars" in done.err
    assert "Ada" in sidecar.read_text("utf-8")
    one_line(run("remove", "Ada Lovelace", "--yes"), "Ada Lovelace")
    done = run("remove", "Ada Lovelace", "--sidecars")  # she is no longer enrolled
    assert (done.code, f"the name was taken out of {sidecar}" in done.err) == (0, True)
    assert "Ada" not in sidecar.read_text("utf-8")
    one_line(run("remove", "Ada Lovelace", "--sidecars"), "Ada Lovelace")
