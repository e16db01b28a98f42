"""The letters of names in annotated pictures: which font has them, and that they are no boxes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from facedex import annotate
from facedex.errors import DataError, FacedexError
from facedex.faces.face import Face
from facedex.fonts import lettering as lettering_module
from facedex.fonts.lettering import FONT_FILE, FONT_SHA256, Lettering, has_letter, packaged_font
from facedex.fonts.system_fonts import font_files, font_folders
from facedex.gallery.lookup import Candidate
from facedex.recognition.identification import Identification, IdentifiedPhoto

MISSING = "\uffff"


def ink(lettering, text, size=32):
    """(64, 900) bool: where a line of text is drawn."""
    picture = Image.new("RGB", (900, 64))
    lettering.draw(ImageDraw.Draw(picture), 4, 32, text, size, (255, 255, 255), (0, 0, 0))
    return np.asarray(picture).max(-1) > 128


def square_font(path, letters, side=700):
    """A font that draws each of these letters as a solid square."""
    builder_module = pytest.importorskip("fontTools.fontBuilder", reason="needs fontTools, which matplotlib brings")
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    def box(width):
        pen = TTGlyphPen(None)
        pen.moveTo((50, 0))
        for corner in ((50, width), (width, width), (width, 0)):
            pen.lineTo(corner)
        pen.closePath()
        return pen.glyph()

    builder = builder_module.FontBuilder(1000, isTTF=True)
    names = [f"square{number}" for number in range(len(letters))]
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names, strict=True)})
    builder.setupGlyf({".notdef": box(100), **{name: box(side) for name in names}})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", *names), (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path


def named(*names):
    """A photo with a named face for each name, in a row."""
    faces = [
        Identification(
            Face((40.0 + 300 * at, 120.0, 100.0, 110.0), np.zeros((5, 2), np.float32), 0.9),
            name,
            0.9,
            0.9,
            (Candidate(name, 0.9, 0.9, 3.0),),
        )
        for at, name in enumerate(names)
    ]
    return IdentifiedPhoto("x.jpg", tuple(faces), None, np.full((300, 300 * len(names), 3), 128, np.uint8))


@pytest.mark.parametrize("name", ["Müller", "Дмитрий", "Ελένη", "Żółć", "Նարե", "ნინო", "דוד", "محمد"])
def test_the_packaged_font_has_the_letters_of_many_scripts(name):
    lettering = Lettering(folders=[])
    lettering.width(name, 20)
    assert not lettering.missing
    font = packaged_font()
    assert all(has_letter(font, letter) for letter in name)
    assert not np.array_equal(ink(lettering, name), ink(lettering, MISSING * len(name)))


def test_the_letters_of_a_name_differ_from_each_other_and_from_the_box():
    lettering = Lettering(folders=[])
    pictures = {ink(lettering, letter).tobytes() for letter in "ДмитрйüΕλένη" + MISSING}
    assert len(pictures) == len("ДмитрйüΕλένη") + 1


def test_annotated_pictures_of_two_names_differ_where_the_names_are():
    first, second = (
        np.asarray(annotate.annotated(named(name), Lettering(folders=[]))) for name in ("Дмитрий", "Ариадна")
    )
    assert (first != second).any(-1).sum() > 100


def test_the_packaged_font_is_the_file_that_the_notice_names():
    assert hashlib.sha256(FONT_FILE.read_bytes()).hexdigest() == FONT_SHA256
    notice = (FONT_FILE.parent / "NOTICE").read_text("utf-8")
    assert FONT_SHA256 in notice
    assert FONT_FILE.name in notice
    assert "Tavmjong Bah" in (FONT_FILE.parent / "LICENSE-DEJAVU").read_text("utf-8")


def test_the_project_states_the_licence_of_the_font():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")  # Python 3.10 has no tomllib
    assert 'license = "MIT AND Apache-2.0 AND Bitstream-Vera"' in project
    for name in ("LICENSE-DEJAVU", "NOTICE"):
        assert f'"facedex/fonts/{name}"' in project


@pytest.mark.parametrize("content", [None, b"no font"])
def test_a_missing_or_altered_packaged_font_is_an_error(tmp_path, monkeypatch, content):
    if content is not None:
        (tmp_path / "DejaVuSans.ttf").write_bytes(content)
    monkeypatch.setattr(lettering_module, "FONT_FILE", tmp_path / "DejaVuSans.ttf")
    with pytest.raises(FacedexError, match="install facedex again"):
        Lettering()


def test_a_letter_that_the_packaged_font_lacks_comes_from_the_machines_fonts(tmp_path):
    square_font(tmp_path / "fonts" / "deep" / "Squares.ttf", "山田")
    (tmp_path / "fonts" / "broken.ttf").write_bytes(b"no font")
    without, found = Lettering(folders=[]), Lettering(folders=[tmp_path / "none", tmp_path / "fonts"])
    width = found.width("山田 太 Ada", 40)
    assert found.missing == {"太"}
    assert width != without.width("山田 太 Ada", 40)
    assert without.missing == {"山", "田", "太"}
    assert ink(found, "山").sum() > 2 * ink(without, "山").sum()
    both = ink(found, "Ada 山")
    assert both[:, :60].any()
    assert both.sum() > ink(found, "Ada").sum()


def test_a_named_font_goes_before_the_others(tmp_path):
    squares = square_font(tmp_path / "Squares.ttf", "Ad")
    plain, squared = Lettering(folders=[]), Lettering(squares, folders=[])
    assert ink(squared, "A").sum() > 1.5 * ink(plain, "A").sum()
    assert np.array_equal(ink(squared, "É").any(0), ink(plain, "É").any(0))


@pytest.mark.parametrize("content", [None, b"", b"no font" * 99])
def test_a_named_file_that_is_no_font_is_an_error(tmp_path, content):
    if content is not None:
        (tmp_path / "x.ttf").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.ttf"):
        Lettering(tmp_path / "x.ttf")


@pytest.mark.skipif(not features.check("raqm"), reason="needs Pillow with Raqm")
def test_arabic_letters_are_joined_and_run_from_right_to_left():
    lettering = Lettering(folders=[])
    apart = "\u200c".join("محمد")  # the non-joiner keeps the letters of a word apart
    assert not np.array_equal(ink(lettering, "محمد"), ink(lettering, apart))
    left = int(lettering.width("ב", 32))
    assert np.array_equal(ink(lettering, "אב")[:, :left], ink(lettering, "ב")[:, :left])


def test_fonts_are_looked_for_below_the_usual_folders_and_regular_ones_first(tmp_path):
    for name in ("b/Sans-Bold.ttf", "z/Sans.OTF", "a/NotoColorEmoji.ttf", "LastResort.otf", "x.txt", "c.ttc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in font_files([tmp_path])] == ["c.ttc", "Sans.OTF", "Sans-Bold.ttf"]
    assert all(isinstance(folder, Path) for folder in font_folders())
