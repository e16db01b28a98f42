"""`facedex detect`: faces listed and cut out, without a gallery."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facedex import cli
from facedex.faces.detector import FaceDetector
from facedex.recognition.detection import detect_photos
from tests.helpers import assert_fields_described, drawn_face, save_blank, save_face


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run `facedex detect` in this process; returns its exit code, stdout and stderr."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["facedex", "detect", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return (caught.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def party(tmp_path):
    """A large face on the right, a smaller one on the left."""
    pixels = np.full((400, 900, 3), 128, np.uint8)
    pixels[80:320, 30:270], pixels[:400, 400:800] = drawn_face(2), drawn_face(0, 400)
    (tmp_path / "photos").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos" / "party.png")
    return tmp_path / "photos" / "party.png"


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_faces_are_listed_as_the_detector_finds_them(party):
    (found,) = detect_photos([party])
    expected = FaceDetector().detect(np.asarray(Image.open(party)))
    assert found.photo == str(party)
    assert found.error is None
    assert [one.face.box for one in found.faces] == [face.box for face in expected]
    assert [one.crop.shape[2] for one in found.faces] == [3, 3]
    assert all(one.quality.length is None and one.quality.score == one.face.score for one in found.faces)


def test_the_table_numbers_faces_and_needs_no_gallery(run, party, tmp_path):
    code, out, err = run(party)
    assert (code, err) == (0, "")
    assert "party.png" in out
    assert [row.split("│")[2].strip() for row in out.splitlines() if "│" in row] == ["1", "2"]
    assert not (tmp_path / "index").exists()


def test_the_json_has_the_fields_that_are_documented(run, party, tmp_path):
    code, out, _ = run(party, tmp_path / "gone.png", "--json")
    good, bad = lines(out)
    assert code == 1
    assert_fields_described([good], "detect")
    assert [face["number"] for face in good["faces"]] == [1, 2]
    left, top, width, height = good["faces"][0]["box"]
    marks = np.array(good["faces"][0]["landmarks"])
    assert left > 400
    assert marks.shape == (5, 2)
    assert good["faces"][0]["crop"] is None
    assert ((marks > (left, top)) & (marks < (left + width, top + height))).all()
    assert bad["faces"] == []
    assert "does not exist" in bad["error"]


def test_csv_has_a_row_a_face_and_one_for_an_error(run, party, tmp_path):
    _, out, _ = run(party, tmp_path / "gone.png", "--csv")
    header, *rows = csv.reader(io.StringIO(out))
    assert header == ["photo", "face", "left", "top", "width", "height", "score", "reason", "crop", "error"]
    assert [row[1] for row in rows] == ["1", "2", ""]
    assert "does not exist" in rows[2][-1]


def test_the_fault_of_a_face_is_in_the_table(run, tmp_path):
    small = np.full((200, 200, 3), 128, np.uint8)
    small[86:114, 86:114] = drawn_face(0, 28)
    Image.fromarray(small).save(tmp_path / "small.png")
    code, out, _ = run(tmp_path / "small.png")
    assert code == 0
    assert "face small (" in out


def test_a_bad_photo_stops_no_other_and_folders_and_patterns_are_taken(run, party, tmp_path):
    save_blank(party.with_name("blank.png"))
    party.with_name("broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    for given in ([party.parent], [party.parent / "*"]):
        code, out, err = run(*given, "--json")
        assert code == 1
        assert err.count("skipped: ") == 2
        assert [len(photo["faces"]) for photo in lines(out)] == [0, 0, 2]


def test_what_cannot_be_used_at_all_is_one_line(run, party, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([tmp_path / "empty"], "holds no photos"),
        ([tmp_path / "*.nothing"], "Nothing matches"),
        ([party, "--crops", party], "cannot be written"),
        ([party, "--json", "--csv"], "exclude each other"),
    ):
        code, out, err = run(*arguments)
        assert code == 2
        assert out == ""
        assert message in err
        assert "Traceback" not in err


def test_crops_are_aligned_faces_and_never_overwritten(run, party, tmp_path):
    twin = save_face(tmp_path / "other" / "party.jpg", 5)
    code, out, _ = run(party, twin, "--crops", tmp_path / "crops" / "deep", "--json")
    first, second = lines(out)
    made = [face["crop"] for photo in (first, second) for face in photo["faces"]]
    names = ["party-1.png", "party-2.png", "party_2-1.png"]
    assert code == 0
    assert made == [str(tmp_path / "crops" / "deep" / name) for name in names]
    before = [Path(path).read_bytes() for path in made]
    for path, one in zip(made, [*next(detect_photos([party])).faces, *next(detect_photos([twin])).faces], strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), one.crop)
    _, out, _ = run(party, "--crops", tmp_path / "crops" / "deep", "--csv")
    assert "party_3-2.png" in out
    assert [Path(path).read_bytes() for path in made] == before


def test_the_name_of_a_crop_fits_on_a_disk(run, tmp_path):
    photo = save_face(tmp_path / ("山" * 80 + ".png"), 3)
    code, out, _ = run(photo, "--crops", tmp_path / "crops", "--json")
    assert code == 0
    assert lines(out)[0]["faces"][0]["crop"].endswith("山-1.png")
