"""Names in sidecars: what other programs wrote is read, and stays when names are added."""

import os
import random
import stat
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from facedex.errors import NameInvalid, PhotoError, PhotoNotFound, PhotoUnsupported, XmpUnusable
from facedex.library.sidecars import read_names, write_names
from tests.helpers import unwritable
from tests.xmp_samples import FACE, NAMESPACES, RICH, facts, microsoft, packet, region, regions, turned_photo

ELSEWHERE = (70.0, 30.0, 20.0, 20.0)


@pytest.fixture
def photo(tmp_path):
    return turned_photo(tmp_path / "a.jpg", 1)


def beside(photo, xmp, name="a.jpg.xmp"):
    path = photo.with_name(name)
    path.write_text(xmp, "utf-8")
    return path


def read(photo):
    return [(found.name, tuple(round(number, 3) for number in found.box)) for found in read_names(photo).regions]


# reading


@pytest.mark.parametrize(
    "properties",
    [
        regions(region()),
        regions(region(), array="Seq"),
        regions(region(kind="")),
        regions(region(kind="face")),
        regions(region(), size=None),
        regions(region(), size=(1000, 600)),
        regions(region(x=35, y=20, w=30, h=20, unit="pixel")),
        regions(region(x=350, y=200, w=300, h=200, unit="pixel"), size=(1000, 600)),
        regions(region())
        .replace("<rdf:li><rdf:Description", "<rdf:li")
        .replace("</rdf:Description></rdf:li>", "</rdf:li>"),
        regions(
            '<rdf:li rdf:parseType="Resource"><mwg-rs:Name>Ada</mwg-rs:Name><mwg-rs:Type>Face</mwg-rs:Type>'
            '<mwg-rs:Area rdf:parseType="Resource"><stArea:x>0.35</stArea:x><stArea:y>0.333333333</stArea:y>'
            "<stArea:w>0.3</stArea:w><stArea:h>0.333333333</stArea:h></mwg-rs:Area></rdf:li>"
        ),
        regions(region())
        .replace('<mwg-rs:Regions rdf:parseType="Resource">', "<mwg-rs:Regions><rdf:Description>")
        .replace("</mwg-rs:Regions>", "</rdf:Description></mwg-rs:Regions>"),
        microsoft(("Ada", "0.2, 0.16666667, 0.3, 0.33333333")),
        microsoft(("Ada", "0.2,0.16666667,0.3,0.33333333"), ("Bob", None), (None, "0.7, 0.1, 0.1, 0.1")),
        regions(region()) + microsoft(("Ada", "0.2, 0.16666667, 0.3, 0.33333333")),
    ],
)
@pytest.mark.parametrize("embedded", [False, True])
def test_names_of_other_programs_are_read(photo, properties, embedded):
    if embedded:
        with Image.open(photo) as image:
            image.save(photo, xmp=packet(properties).encode())
    else:
        beside(photo, packet(properties))
    found = read_names(photo)
    assert read(photo) == [("Ada", FACE)]
    assert found.warnings == ()
    assert found.regions[0].source == str(photo if embedded else photo.with_name("a.jpg.xmp"))


@pytest.mark.parametrize("name", ["a.jpg.xmp", "a.jpg.XMP", "a.xmp", "a.XMP"])
def test_a_sidecar_of_every_name_is_read(photo, name):
    beside(photo, packet(regions(region())), name)
    assert read(photo) == [("Ada", FACE)]


@pytest.mark.parametrize(
    "item",
    [
        region(x="nan"),
        region(x="inf"),
        region(x="1e999"),
        region(x="0,35"),
        region(x=""),
        region(w=0),
        region(h=-0.1),
        region(x=1.5),
        region(w=7),
        region("\u200b\u0085x"),
        "<rdf:li rdf:parseType='Resource'><mwg-rs:Name>Ada</mwg-rs:Name></rdf:li>",
    ],
)
def test_nonsense_is_left_out_with_a_warning(photo, item):
    beside(photo, packet(regions(item, region("Bob", 0.8, 0.5, 0.2, 0.2))))
    assert [name for name, _ in read(photo)] == ["Bob"]
    (warning,) = read_names(photo).warnings
    assert "left out" in warning
    assert "a.jpg.xmp" in warning


@pytest.mark.parametrize("rectangle", ["0.1, 0.2, 0.3", "1, 2, 3, 4, 5", "a, b, c, d", "0.1, 0.1, -0.2, 0.1"])
def test_nonsense_of_microsoft_is_left_out_with_a_warning(photo, rectangle):
    beside(photo, packet(microsoft(("Ada", rectangle))))
    assert read(photo) == []
    assert len(read_names(photo).warnings) == 1


def test_regions_of_pets_and_focus_points_are_no_people(photo):
    beside(photo, RICH)
    assert read_names(photo).warnings == ()
    assert [name for name, _ in read(photo)] == ["Bob"]


def test_regions_of_a_cropped_picture_are_left_out_with_a_warning(photo):
    beside(photo, packet(regions(region(), size=(80, 80))))
    assert read(photo) == []
    assert "another shape" in read_names(photo).warnings[0]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_regions_of_the_upright_picture_are_not_turned(tmp_path, orientation):
    photo = turned_photo(tmp_path / "a.jpg", orientation)
    beside(photo, packet(regions(region(), size=(100, 60))))
    assert read(photo) == [("Ada", FACE)]
    write_names(photo, [(ELSEWHERE, "Bob")])
    assert read(photo) == [("Ada", FACE), ("Bob", ELSEWHERE)]


def test_the_sidecar_counts_before_the_photo_and_the_difference_is_told(photo):
    with Image.open(photo) as image:
        image.save(photo, xmp=packet(regions(region("Eve"), region("Bob", 0.8, 0.7, 0.2, 0.2))).encode())
    beside(photo, packet(regions(region())))
    assert [name for name, _ in read(photo)] == ["Ada", "Bob"]
    (warning,) = read_names(photo).warnings
    assert "Eve" in warning
    assert "Ada" in warning


def test_thousands_of_regions_are_cut_off_with_a_warning(photo):
    beside(photo, packet(regions(*[region()] * 20_000) + microsoft(*[("Bob", "0.2, 0.2, 0.3, 0.3")] * 20_000)))
    found = read_names(photo)
    assert len(found.regions) == 500
    assert "more than 500" in "".join(found.warnings)


def test_two_faces_close_together_are_both_read(photo):
    beside(photo, packet(regions(region("Ada", 0.3), region("Bob", 0.45))))
    assert [name for name, _ in read(photo)] == ["Ada", "Bob"]


def test_a_broken_sidecar_does_not_hide_the_names_in_the_photo(photo):
    with Image.open(photo) as image:
        image.save(photo, xmp=packet(regions(region())).encode())
    beside(photo, "<!DOCTYPE x><x/>")
    assert read(photo) == [("Ada", FACE)]
    assert "document type" in read_names(photo).warnings[0]


def test_what_is_no_photo_is_refused(tmp_path):
    with pytest.raises(PhotoNotFound):
        read_names(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("text")
    with pytest.raises(PhotoUnsupported):
        write_names(tmp_path / "text.jpg", [(FACE, "Ada")])


def test_random_bytes_never_end_in_another_error(photo):
    rng = random.Random(3)
    whole = packet(regions(region()) + microsoft(("Bob", "0.7, 0.1, 0.1, 0.1"))).encode()
    sidecar = photo.with_name("a.jpg.xmp")
    for _ in range(150):
        data = bytearray(rng.choice([whole, rng.randbytes(rng.randrange(300))]))
        for _ in range(rng.randrange(1, 8)):
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.randrange(3)] = rng.choice([b"<", b"/>", b'"', b"nan", b"9", rng.randbytes(2)])
        sidecar.write_bytes(data)
        read_names(photo)
        try:
            write_names(photo, [(FACE, "Cyd")])
        except PhotoError:
            assert sidecar.read_bytes() == data


# writing


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_what_is_written_is_read_again_in_every_orientation(tmp_path, kind, orientation):
    photo = turned_photo(tmp_path / f"a.{kind}", orientation)
    before = photo.read_bytes()
    written = write_names(photo, [(FACE, "Zoë 李"), (ELSEWHERE, "Bob")])
    assert [found.name for found in written.regions] == ["Zoë 李", "Bob"]
    assert written.regions[0].box == pytest.approx(FACE)
    assert written.file == f"{photo}.xmp"
    assert (written.conflicts, written.changed) == ((), True)
    assert read(photo) == [("Zoë 李", FACE), ("Bob", ELSEWHERE)]
    assert photo.read_bytes() == before


def test_a_box_is_cut_at_the_border_and_one_outside_is_told(photo):
    written = write_names(photo, [((-10, -5, 30, 30), "Ada"), ((200, 10, 30, 30), "Bob")])
    assert read(photo) == [("Ada", (0, 0, 20, 25))]
    assert "Bob" in written.conflicts[0]


def test_everything_in_a_rich_sidecar_stays(photo):
    sidecar = beside(photo, RICH)
    write_names(photo, [(FACE, "Ada")])
    before, after = facts(RICH), facts(sidecar.read_bytes())
    assert not before - after
    added = {path[-1].rpartition("}")[2] for path, _, _ in after - before}
    assert added == {"li", "Name", "Type", "Area", "Extensions", "CreatorTool", "Label", "subject", "Bag"}
    assert [name for name, _ in read(photo)] == ["Bob", "Ada"]


def test_writing_the_same_again_changes_nothing(photo):
    sidecar = beside(photo, RICH)
    faces = [(FACE, "Ada"), (ELSEWHERE, "Cyd")]
    assert write_names(photo, faces).changed
    before = (sidecar.read_bytes(), sidecar.stat().st_mtime_ns)
    again = write_names(photo, faces)
    assert not again.changed
    assert len(again.regions) == 2
    assert (sidecar.read_bytes(), sidecar.stat().st_mtime_ns) == before


def test_a_photo_without_names_gets_no_sidecar(photo):
    assert not write_names(photo, [(FACE, None)]).changed
    assert os.listdir(photo.parent) == ["a.jpg"]


def keywords(sidecar):
    return [item.text for item in ET.parse(sidecar).iterfind("*/*/dc:subject/*/rdf:li", NAMESPACES)]


def test_another_name_for_a_face_replaces_ours_and_its_keyword(photo):
    sidecar = beside(photo, packet("<dc:subject><rdf:Bag><rdf:li>Bob</rdf:li></rdf:Bag></dc:subject>"))
    write_names(photo, [(FACE, "Ada"), (ELSEWHERE, "Bob")])
    assert keywords(sidecar) == ["Bob", "Ada"]
    write_names(photo, [((21, 11, 30, 20), "Eve"), (ELSEWHERE, "Cyd")])
    assert read(photo) == [("Eve", (21, 11, 30, 20)), ("Cyd", ELSEWHERE)]
    assert keywords(sidecar) == ["Bob", "Eve", "Cyd"]


def test_a_keyword_stays_while_another_face_has_the_name(photo):
    sidecar = photo.with_name("a.jpg.xmp")
    write_names(photo, [(FACE, "Ada"), (ELSEWHERE, "Ada")])
    write_names(photo, [(FACE, "Eve")])
    assert sorted(keywords(sidecar)) == ["Ada", "Eve"]


def test_the_name_none_takes_ours_away_and_no_other(photo):
    sidecar = beside(photo, packet(regions(region("Bob", 0.8, 2 / 3, 0.2, 1 / 3))))
    write_names(photo, [(FACE, "Ada")])
    write_names(photo, [(FACE, None), (ELSEWHERE, None)])
    assert read(photo) == [("Bob", ELSEWHERE)]
    assert keywords(sidecar) == []


def test_two_faces_that_exchange_their_names_keep_both_keywords(photo):
    sidecar = photo.with_name("a.jpg.xmp")
    write_names(photo, [(FACE, "Ada"), (ELSEWHERE, "Bob")])
    write_names(photo, [(FACE, "Bob"), (ELSEWHERE, "Ada")])
    assert sorted(read(photo)) == [("Ada", ELSEWHERE), ("Bob", FACE)]
    assert sorted(keywords(sidecar)) == ["Ada", "Bob"]


@pytest.mark.parametrize("name", ["", "Unknown"])
def test_a_face_without_a_name_gets_one(photo, name):
    sidecar = beside(
        photo, packet(regions(region(name, w=0.4)) + microsoft((name or None, "0.2, 0.16666667, 0.3, 0.33333333")))
    )
    assert write_names(photo, [(FACE, "Ada")]).conflicts == ()
    assert read(photo) == [("Ada", (15, 10, 40, 20))]
    text = sidecar.read_text("utf-8")
    assert text.count("<MPReg:PersonDisplayName>Ada<") == text.count("<mwg-rs:Name>Ada<") == 1
    assert "Unknown" not in text
    assert keywords(sidecar) == ["Ada"]


def test_a_region_of_the_same_name_stays_as_it_is(photo):
    sidecar = beside(photo, packet(regions(region(w=0.4))))
    assert write_names(photo, [(FACE, "Ada")]).regions
    assert read(photo) == [("Ada", (15, 10, 40, 20))]
    assert keywords(sidecar) == ["Ada"]


@pytest.mark.parametrize("properties", [regions(region("Eve")), microsoft(("Eve", "0.2, 0.16666667, 0.3, 0.33333333"))])
@pytest.mark.parametrize("place", ["a.jpg.xmp", "a.xmp", "photo"])
def test_another_name_by_another_program_is_a_conflict(photo, properties, place):
    if place == "photo":
        with Image.open(photo) as image:
            image.save(photo, xmp=packet(properties).encode())
    else:
        beside(photo, packet(properties), place)
    written = write_names(photo, [(FACE, "Ada"), (ELSEWHERE, "Bob")])
    assert [found.name for found in written.regions] == ["Bob"]
    (conflict,) = written.conflicts
    assert "Eve" in conflict
    assert "Ada" in conflict
    assert sorted(name for name, _ in read(photo)) == ["Bob", "Eve"]


def test_our_region_with_the_name_of_another_program_is_that_programs(photo):
    sidecar = photo.with_name("a.jpg.xmp")
    write_names(photo, [(FACE, "Ada")])
    text = sidecar.read_text("utf-8").replace("<mwg-rs:Name>Ada<", "<mwg-rs:Name>Eve<")
    sidecar.write_text(text, "utf-8")
    assert "Eve" in write_names(photo, [(FACE, "Ada")]).conflicts[0]
    write_names(photo, [(FACE, None)])
    assert read(photo) == [("Eve", FACE)]


def test_regions_of_a_cropped_picture_stay_and_are_a_conflict(photo):
    sidecar = beside(photo, packet(regions(region(), size=(80, 80))))
    before = sidecar.read_bytes()
    written = write_names(photo, [(FACE, "Bob")])
    assert (written.regions, written.changed, len(written.conflicts)) == ((), False, 1)
    assert sidecar.read_bytes() == before


def test_a_sidecar_under_the_short_name_is_used(photo):
    sidecar = beside(photo, RICH, "a.xmp")
    assert write_names(photo, [(FACE, "Ada")]).file == str(sidecar)
    assert sorted(os.listdir(photo.parent)) == ["a.jpg", "a.xmp"]


def test_a_sidecar_that_may_be_another_photos_is_read_and_not_written(photo):
    sidecar = beside(photo, RICH, "a.xmp")
    photo.with_name("a.nef").write_bytes(b"raw")
    write_names(photo, [(FACE, "Ada")])
    assert sidecar.read_text("utf-8") == RICH
    assert sorted(name for name, _ in read(photo)) == ["Ada", "Bob"]


@pytest.mark.parametrize("name", ["", "  ", "a\x07b", "a\ud800", "a\uffff", "a\nb", "unknown"])
def test_a_text_that_cannot_be_a_name_is_refused(photo, name):
    with pytest.raises(NameInvalid):
        write_names(photo, [(ELSEWHERE, "Ada"), (FACE, name)])
    assert os.listdir(photo.parent) == ["a.jpg"]


@pytest.mark.parametrize("name", ['<&>"', "]]>", "'quoted'", "a | b", "<!DOCTYPE x>", "𝔘nicode 😀", "  Ada  "])
def test_names_that_look_like_xml_come_back(photo, name):
    write_names(photo, [(FACE, name)])
    assert read(photo) == [(name.strip(), FACE)]


@pytest.mark.parametrize("data", [b"rubbish", b"<a/>", b"<!DOCTYPE x><x/>"])
def test_a_sidecar_that_cannot_be_read_is_never_overwritten(photo, data):
    sidecar = photo.with_name("a.jpg.xmp")
    sidecar.write_bytes(data)
    with pytest.raises(XmpUnusable, match=r"a\.jpg\.xmp"):
        write_names(photo, [(FACE, "Ada")])
    assert sidecar.read_bytes() == data


def test_an_empty_sidecar_is_filled(photo):
    photo.with_name("a.jpg.xmp").touch()
    write_names(photo, [(FACE, "Ada")])
    assert read(photo) == [("Ada", FACE)]


@pytest.mark.skipif(os.name != "posix", reason="permissions, links and pipes are POSIX's")
def test_permissions_and_links_stay_and_a_pipe_is_refused(photo, tmp_path):
    sidecar = beside(photo, RICH)
    sidecar.chmod(0o600)
    write_names(photo, [(FACE, "Ada")])
    assert stat.S_IMODE(sidecar.stat().st_mode) == 0o600
    sidecar.rename(tmp_path / "real")
    sidecar.symlink_to(tmp_path / "real")
    write_names(photo, [(ELSEWHERE, "Cyd")])
    assert sidecar.is_symlink()
    assert ("Cyd", ELSEWHERE) in read(photo)
    sidecar.unlink()
    os.mkfifo(sidecar)
    with pytest.raises(XmpUnusable, match="is no file"):
        write_names(photo, [(FACE, "Ada")])


def test_a_folder_that_cannot_be_written_to_is_told(photo):
    with unwritable(photo.parent) as copy, pytest.raises(XmpUnusable, match="cannot be written"):
        write_names(copy / "a.jpg", [(FACE, "Ada")])


def test_a_photo_with_a_very_long_name_is_refused_in_a_sentence(photo):
    longest = photo.rename(photo.with_name("n" * 250 + ".jpg"))
    assert read_names(longest).regions == ()
    with pytest.raises(XmpUnusable, match="cannot be written"):
        write_names(longest, [(FACE, "Ada")])
