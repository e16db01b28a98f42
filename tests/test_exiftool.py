"""Names embedded by exiftool, and what exiftool and facedex read of each other."""

import json
import os
import shutil
import subprocess

import pytest
from PIL import Image

from facedex.errors import MissingProgram, PhotoNotFound, XmpUnusable
from facedex.library import exiftool
from facedex.library.exiftool import embed_names
from facedex.library.regions import to_area, to_stored
from facedex.library.sidecars import read_names, write_names
from facedex.photos import images
from facedex.photos.photoheader import read_header
from tests.xmp_samples import FACE, HEIGHT, RICH, WIDTH, facts, turned_photo

installed = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="needs exiftool; it comes from https://exiftool.org or the system's packages",
)
ELSEWHERE = (70.0, 30.0, 20.0, 20.0)


def run(*arguments):
    return subprocess.run(["exiftool", *map(str, arguments)], capture_output=True, check=True, encoding="utf-8").stdout


def exiftool_reads(path):
    (found,) = json.loads(run("-j", "-struct", "-XMP:all", path))
    return found


def read(photo):
    return [(found.name, tuple(round(number, 3) for number in found.box)) for found in read_names(photo).regions]


@installed
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exiftool_reads_what_a_sidecar_says(tmp_path, orientation):
    photo = turned_photo(tmp_path / "a.jpg", orientation)
    found = exiftool_reads(write_names(photo, [(FACE, "Zoë 李")]).file)
    (face,) = found["RegionInfo"]["RegionList"]
    with Image.open(photo) as image:
        assert found["RegionInfo"]["AppliedToDimensions"] == {"W": image.width, "H": image.height, "Unit": "pixel"}
    left, top, width, height = to_stored(to_area(FACE, (WIDTH, HEIGHT)), orientation)
    assert face["Area"].pop("Unit") == "normalized"
    expected = {"X": left + width / 2, "Y": top + height / 2, "W": width, "H": height}
    assert face["Area"] == pytest.approx(expected, abs=1e-7)
    assert (face["Name"], face["Type"], found["Subject"]) == ("Zoë 李", "Face", ["Zoë 李"])


@installed
@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_exiftool_wrote_into_a_photo_is_read(tmp_path, orientation):
    photo = turned_photo(tmp_path / "a.jpg", orientation)
    left, top, width, height = to_stored(to_area(FACE, (WIDTH, HEIGHT)), orientation)
    with Image.open(photo) as image:
        size = f"AppliedToDimensions={{W={image.width},H={image.height},Unit=pixel}}"
    area = f"Area={{X={left + width / 2},Y={top + height / 2},W={width},H={height},Unit=normalized}}"
    run("-q", "-overwrite_original", f"-RegionInfo={{{size},RegionList=[{{{area},Name=Ada,Type=Face}}]}}", photo)
    left, top, width, height = to_stored(to_area(ELSEWHERE, (WIDTH, HEIGHT)), orientation)
    rectangle = f"Rectangle={left}|, {top}|, {width}|, {height}"
    run("-q", "-overwrite_original", f"-RegionInfoMP={{Regions=[{{{rectangle},PersonDisplayName=Bob}}]}}", photo)
    assert sorted(read(photo)) == [("Ada", FACE), ("Bob", ELSEWHERE)]


@installed
@pytest.mark.parametrize("orientation", range(1, 9))
def test_embedded_names_are_read_by_both_and_the_pixels_stay(tmp_path, orientation):
    photo = turned_photo(tmp_path / "a.jpg", orientation)
    os.utime(photo, (1_000_000_000, 1_000_000_000))
    before = images.read_photo(photo)
    written = embed_names(photo, [(FACE, "Zoë 李"), (ELSEWHERE, "Bob")])
    assert (written.file, written.changed, written.conflicts) == (str(photo), True, ())
    assert read(photo) == [("Zoë 李", FACE), ("Bob", ELSEWHERE)]
    assert (images.read_photo(photo) == before).all()
    assert photo.stat().st_mtime == 1_000_000_000
    assert os.listdir(tmp_path) == ["a.jpg"]
    found = exiftool_reads(photo)
    assert [face["Name"] for face in found["RegionInfo"]["RegionList"]] == found["Subject"] == ["Zoë 李", "Bob"]


@installed
@pytest.mark.parametrize("kind", ["png", "webp", "tif"])
def test_names_are_embedded_in_other_formats(tmp_path, kind):
    photo = turned_photo(tmp_path / f"a.{kind}", 6)
    before = images.read_photo(photo)
    embed_names(photo, [(FACE, "Ada")])
    assert read(photo) == [("Ada", FACE)]
    assert (images.read_photo(photo) == before).all()
    content = photo.read_bytes()
    assert not embed_names(photo, [(FACE, "Ada")]).changed
    assert photo.read_bytes() == content


@installed
def test_everything_else_in_embedded_xmp_stays(tmp_path):
    photo = turned_photo(tmp_path / "a.jpg", 1)
    with Image.open(photo) as image:
        image.save(photo, xmp=RICH.encode(), exif=image.getexif())
    embed_names(photo, [(FACE, "Ada")])
    (packet,) = read_header(photo.read_bytes(), "a").xmp
    assert not facts(RICH) - facts(packet.decode().strip())
    assert read(photo) == [("Bob", (75, 12, 10, 12)), ("Ada", FACE)]


@installed
def test_names_are_added_to_extended_xmp(tmp_path):
    photo = turned_photo(tmp_path / "a.jpg", 1)
    (tmp_path / "text").write_text("long " * 20_000, "utf-8")
    run("-q", "-overwrite_original", f"-XMP-dc:Description<={tmp_path / 'text'}", photo)
    assert len(read_header(photo.read_bytes(), "a").xmp) == 2
    embed_names(photo, [(FACE, "Ada")])
    embed_names(photo, [(FACE, "Eve"), (ELSEWHERE, "Bob")])
    assert read(photo) == [("Eve", FACE), ("Bob", ELSEWHERE)]
    found = exiftool_reads(photo)
    assert len(found["Description"]) == len("long " * 20_000)
    assert found["Subject"] == ["Eve", "Bob"]


@installed
def test_a_sidecar_with_another_name_is_a_conflict(tmp_path):
    photo = turned_photo(tmp_path / "a.jpg", 1)
    run("-q", "-o", f"{photo}.xmp", "-RegionInfo={RegionList=[{Area={X=0.35,Y=0.33,W=0.3,H=0.33},Name=Eve}]}")
    before = photo.read_bytes()
    written = embed_names(photo, [(FACE, "Ada")])
    assert (written.regions, written.changed) == ((), False)
    assert "Eve" in written.conflicts[0]
    assert photo.read_bytes() == before


@installed
@pytest.mark.parametrize(
    "name", ["-delete_original.jpg", "touch hacked |.jpg", "a b;c$d.jpg", "Zoë 李.jpg", "%f.jpg", "@x.jpg"]
)
def test_strange_file_names_are_only_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    photo = turned_photo(tmp_path / name, 1)
    embed_names(name, [(FACE, "Ada")])
    assert read(photo) == [("Ada", FACE)]
    assert os.listdir(tmp_path) == [name]


@installed
@pytest.mark.parametrize(("name", "kind"), [("a.gif", "GIF"), ("a.bmp", "BMP"), ("a.nef", "TIFF"), ("a.dng", "TIFF")])
def test_formats_whose_xmp_could_be_lost_and_raw_photos_are_refused(tmp_path, name, kind):
    photo = turned_photo(tmp_path / name, 1, kind)
    before = photo.read_bytes()
    with pytest.raises(XmpUnusable, match="write a sidecar instead"):
        embed_names(photo, [(FACE, "Ada")])
    assert photo.read_bytes() == before


@installed
def test_the_reason_of_exiftool_is_told(tmp_path):
    photo = turned_photo(tmp_path / "a.png", 1)
    photo.rename(tmp_path / "a.jpg")  # exiftool goes by the content, but refuses to write under a wrong suffix
    with pytest.raises(XmpUnusable, match="exiftool could not write") as caught:
        embed_names(tmp_path / "a.jpg", [(FACE, "Ada")])
    assert "\n" not in str(caught.value)


@installed
def test_a_missing_photo_is_told(tmp_path):
    with pytest.raises(PhotoNotFound):
        embed_names(tmp_path / "none.jpg", [(FACE, "Ada")])


@pytest.mark.parametrize("version", [None, "12.37", "9.99", "no number"])
def test_without_a_safe_exiftool_nothing_is_written(tmp_path, monkeypatch, version):
    if os.name != "posix":
        pytest.skip("the programs of this test are shell scripts")
    photo = turned_photo(tmp_path / "a.jpg", 1)
    folder = tmp_path / "programs"
    folder.mkdir()
    if version:
        program = folder / "exiftool"
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o700)
    monkeypatch.setenv("PATH", str(folder))
    before = photo.read_bytes()
    with pytest.raises(MissingProgram, match=r"exiftool\.org"):
        embed_names(photo, [(FACE, "Ada")])
    assert photo.read_bytes() == before


@pytest.mark.parametrize(("version", "expected"), [("12.38", (12, 38)), ("13.00", (13, 0)), ("12", (0, 0))])
def test_the_version_is_compared_by_its_numbers(tmp_path, version, expected):
    if os.name != "posix":
        pytest.skip("the program of this test is a shell script")
    program = tmp_path / "exiftool"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o700)
    assert exiftool._version(str(program)) == expected
