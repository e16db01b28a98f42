"""The log: silent by default, and a line for whatever a user of the library may want to know afterwards."""

import logging

import pytest

import facedex
from facedex import log
from facedex.gallery.doctor import examine
from facedex.index.manifest import INDEX_FILE
from facedex.recognition.detection import detect_photos
from tests.helpers import drawn_face, flip, gallery, people, python, save_blank, unit

SKIP_ONE = """
import sys
import facedex
with facedex.Gallery(sys.argv[1], model="fast", create=True) as gallery:
    print([photo.error for photo in facedex.identify(gallery, sys.argv[2])])
    print([result.status for result in gallery.enroll_all([("Ada", sys.argv[2])])])
"""


def test_nothing_is_printed_unless_a_program_asks_for_the_log(tmp_path):
    process = python(SKIP_ONE, tmp_path / "g", tmp_path / "gone.jpg")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "does not exist" in out
    process = python(f"import logging; logging.basicConfig()\n{SKIP_ONE}", tmp_path / "g", tmp_path / "gone.jpg")
    _, err = process.communicate()
    assert err.count("WARNING:facedex.") == 2
    assert "gone.jpg does not exist; check the path" in err


@pytest.fixture
def lines(caplog):
    """The lines of the log so far as "LEVEL text"; each is given once."""
    caplog.set_level(logging.INFO, "facedex")

    def take():
        taken = [f"{line.levelname} {line.getMessage()}" for line in caplog.records]
        caplog.clear()
        return taken

    return take


def one(lines, *parts):
    """Fail unless exactly one line holds all these parts."""
    assert sum(all(part in line for part in parts) for line in lines) == 1, lines


def test_skipped_photos_and_opened_models_are_in_the_log(tmp_path, lines):
    blank = save_blank(tmp_path / "blank.png")
    with gallery(tmp_path / "g") as opened:
        opened.enroll_all([("Ada", drawn_face(0)), ("Bob", blank)])
        enrolled = lines()
        one(enrolled, "INFO opened the gallery", str(tmp_path / "g"), "0 people")
        one(enrolled, "INFO opened the model", "on cpu in")
        assert any("INFO Open" in line and "runs a network of" in line for line in enrolled)
        one(enrolled, "INFO built the index of", "flat, 1 faces")
        one(enrolled, "WARNING skipped for 'Bob': ", "blank.png shows no face")
        list(facedex.identify(opened, [blank, drawn_face(0)]))
    one(lines(), "WARNING skipped: ", "blank.png shows no face")
    list(detect_photos(None))
    assert lines() == [
        "WARNING skipped: NoneType is no photo; give a path, bytes, a binary file, a Pillow image or a uint8 array"
    ]


def test_repairs_are_in_the_log(tmp_path, lines):
    with gallery(tmp_path / "g", people(unit(20))) as opened:
        opened.reindex()
    one(lines(), "INFO reindexed", str(tmp_path / "g"))
    flip(tmp_path / "g" / INDEX_FILE, 100)
    findings = list(examine(tmp_path / "g"))
    assert [finding.part for finding in findings if finding.state == "repaired"] == ["index"]
    one(lines(), "WARNING index of", "repaired")


def test_only_a_step_that_takes_long_is_more_than_a_detail(tmp_path, lines, monkeypatch):
    with gallery(tmp_path / "g", people(unit(5))) as opened:
        opened.match(unit(1)[0])
        assert not any("looked a face up" in line for line in lines())
        monkeypatch.setattr(log, "_LONG", 0.0)
        opened.match(unit(1)[0])
        one(lines(), "INFO looked a face up in", "s")
