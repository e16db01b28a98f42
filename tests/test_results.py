"""Tables, JSON, CSV and pictures, from results made by hand."""

import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console

from facedex import annotate, results
from facedex.cli import result_tables
from facedex.decision.candidate import Candidate
from facedex.evaluation import report_json
from facedex.evaluation.pairs_protocol import PairsReport
from facedex.faces.face import Face
from facedex.faces.quality import Quality
from facedex.gallery.enrolment import Enrolled
from facedex.recognition.identification import Decision, Identification, IdentifiedPhoto
from facedex.recognition.verification import Verification
from facedex.store.rows import PersonRecord

ODD = ["Ada [1]", "[bold]Bob[/bold]", "\\[red]Cy", "[/]", ":smile:", "日本 😀", "a\\"]


def face(name="Ada", box=(100.0, 80.0, 60.5, 70.25), probability=0.9):
    candidates = (Candidate("Ada", 0.87654321, probability, 3.5), Candidate("Bob [x]", 0.1, 0.05, -2.0))
    return Identification(Face(box, np.zeros((5, 2), np.float32), 0.912345), name, 0.87654321, probability, candidates)


def photo(*faces, size=(400, 300), shade=128):
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    return IdentifiedPhoto("some photo.jpg", tuple(faces), None, pixels)


def printed(table, width=120):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_the_json_of_identify_exactly():
    assert results.identify_json(photo(face())) == {
        "photo": "some photo.jpg",
        "faces": [
            {
                "box": [100.0, 80.0, 60.5, 70.2],
                "score": 0.9123,
                "name": "Ada",
                "named_by": "recognition",
                "similarity": 0.876543,
                "probability": 0.9,
                "logit": 3.5,
                "candidates": [
                    {"name": "Ada", "similarity": 0.876543, "probability": 0.9, "logit": 3.5},
                    {"name": "Bob [x]", "similarity": 0.1, "probability": 0.05, "logit": -2.0},
                ],
                "quality": None,
                "reason": None,
                "warning": None,
            }
        ],
        "copies": [],
        "error": None,
        "remark": None,
        "decision": None,
    }
    assert results.identify_json(IdentifiedPhoto("x", error="why"), ["y/x"]) == {
        "photo": "x",
        "faces": [],
        "copies": ["y/x"],
        "error": "why",
        "remark": None,
        "decision": None,
    }


def test_the_json_tells_the_decision_and_the_quality():
    stranger = dataclasses.replace(face(None), quality=Quality(23.456789, 0.01, 0.4, 0.8, 9.87654), reason="face small")
    decision = Decision(3.25, 0.01, float("nan"), float("nan"), 12)
    found = results.identify_json(IdentifiedPhoto("x", (stranger,), decision=decision))
    assert found["faces"][0]["reason"] == "face small"
    assert found["faces"][0]["quality"] == {
        "width": 23.4568,
        "sharpness": 0.01,
        "turn": 0.4,
        "score": 0.8,
        "length": 9.8765,
    }
    assert found["decision"] == {
        "threshold": 3.25,
        "fpir": 0.01,
        "fpir_low": None,
        "fpir_high": None,
        "people": 12,
    }
    json.loads(results.json_line(found), parse_constant=pytest.fail)
    assert "unknown (face small)" in printed(result_tables.identify_table([IdentifiedPhoto("x", (stranger,))], 1))
    assert results.identify_rows(IdentifiedPhoto("x", (stranger,)))[0]["reason"] == "face small"


def test_small_rates_keep_two_figures():
    assert [results.percentage(value) for value in (0.01, 0.0123, 0.00098765, 0.5)] == [
        "1 %",
        "1.2 %",
        "0.099 %",
        "50 %",
    ]


def test_the_json_of_the_others_exactly():
    assert results.enroll_json(Enrolled("p", "Ada", "skipped", "why")) == {
        "photo": "p",
        "name": "Ada",
        "status": "skipped",
        "reason": "why",
    }
    record = PersonRecord("Ada", 2, "2026-01-02T03:04:05+00:00")
    assert results.list_json(record) == {
        "name": "Ada",
        "photos": 2,
        "enrolled": "2026-01-02T03:04:05+00:00",
        "consents": [],
        "expires": None,
        "expired": False,
    }
    assert results.verify_json(Verification(True, 0.5, 1 / 3, 2.0, 1.5, 1e-3)) == {
        "same": True,
        "similarity": 0.5,
        "probability": 0.333333,
        "logit": 2.0,
        "threshold": 1.5,
        "fmr": 0.001,
        "remarks": [],
        "warnings": [],
    }
    report = PairsReport(10, 0.9, 0.01, {0.1: 1.0, 1e-3: 0.5}, 0.99, [])
    found = report_json.pairs_json(report)
    assert {key: found[key] for key in ("protocol", "pairs", "accuracy", "accuracy_se", "tar", "auc")} == {
        "protocol": "pairs",
        "pairs": 10,
        "accuracy": 0.9,
        "accuracy_se": 0.01,
        "tar": {"0.1": 1.0, "0.001": 0.5},
        "auc": 0.99,
    }


@pytest.mark.parametrize("text", [*ODD, "odd \udcff", "two\nlines", '"quoted"'])
def test_json_is_one_line_that_reads_back(text):
    line = results.json_line({"photo": text})
    assert "\n" not in line
    assert json.loads(line) == {"photo": text}


def test_json_keeps_text_readable():
    assert "日本 😀" in results.json_line({"name": "日本 😀"})


def test_csv_has_a_row_a_face_and_one_for_an_error():
    rows = results.identify_rows(photo(face(), face(None)))
    assert [(row["face"], row["name"], row["best_candidate"]) for row in rows] == [(1, "Ada", "Ada"), (2, "", "Ada")]
    assert [rows[0][key] for key in ("left", "top", "width", "height")] == [100, 80, 60, 70]
    assert results.identify_rows(IdentifiedPhoto("x", error="why")) == [{"photo": "x", "error": "why"}]


def test_csv_quotes_what_it_must():
    out = io.StringIO()
    results.write_csv(out, ["name", "photos"], [{"name": 'a "b", c', "photos": 1}, {"name": "d"}])
    assert out.getvalue() == 'name,photos\n"a ""b"", c",1\nd,\n'


@pytest.mark.parametrize("name", ODD)
def test_tables_show_every_name_as_it_is(name):
    assert f" {name} " in printed(result_tables.list_table([PersonRecord(name, 1, "2026-01-02T03:04:05+00:00")]))
    one = Identification(face().face, name, 0.5, 0.5, (Candidate(name, 0.5, 0.5, 1.0), Candidate(name, 0.4, 0.4, 0.0)))
    table = printed(result_tables.identify_table([IdentifiedPhoto(name, (one,))], top=2))
    assert table.count(name) == 3


def test_a_long_name_is_folded_not_cut():
    name = "x" * 100
    table = printed(result_tables.list_table([PersonRecord(name, 1, "2026-01-02T03:04:05+00:00")]), width=60)
    assert table.count("x") == 100


def test_the_table_shows_place_and_figures_and_strangers():
    table = printed(result_tables.identify_table([photo(face(), face(None, probability=0.12))], top=1))
    assert "100,80 60x70" in table
    assert "90.0%" in table
    assert "unknown" in table
    assert "12.0%" in table
    assert table.count("some photo.jpg") == 1


def test_without_candidates_there_are_no_figures():
    nobody = Identification(face().face, None, 0.0, 0.0, ())
    table = printed(result_tables.identify_table([photo(nobody)], top=2))
    assert "unknown" in table
    assert "%" not in table


# pictures


def colours(image):
    return {tuple(int(v) for v in colour) for colour in np.asarray(image).reshape(-1, 3)[::7]}


def test_known_and_unknown_have_colours_of_their_own():
    for name, colour, other in (
        ("Ada", annotate.NAMED_COLOUR, annotate.UNKNOWN_COLOUR),
        (None, annotate.UNKNOWN_COLOUR, annotate.NAMED_COLOUR),
    ):
        seen = colours(annotate.annotated(photo(face(name), size=(800, 600))))
        assert colour in seen
        assert other not in seen


def test_the_face_itself_is_left_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    shown = np.asarray(annotate.annotated(IdentifiedPhoto("p", (face(box=(300, 200, 150, 180)),), None, pixels)))
    assert np.array_equal(shown[205:375, 305:445], pixels[205:375, 305:445])
    assert not np.array_equal(shown, pixels)


def test_a_small_picture_is_enlarged_so_that_the_name_can_be_read():
    assert max(annotate.annotated(photo(face(box=(20, 20, 30, 30)), size=(80, 60))).size) >= 400
    assert annotate.annotated(photo(face(), size=(1000, 700))).size == (1000, 700)


@pytest.mark.parametrize(
    "box", [(-20, -20, 60, 60), (380, 280, 40, 40), (0, 0, 400, 300), (5, 5, 2, 2), (-900, -900, 50, 50)]
)
@pytest.mark.parametrize("size", [(400, 300), (16, 16), (3000, 40)])
def test_faces_at_and_beyond_the_edge_are_no_trouble(box, size):
    shown = annotate.annotated(photo(face(box=box), size=size))
    assert shown.width >= size[0]
    assert shown.height >= size[1]


def test_names_of_neighbours_do_not_cover_each_other():
    rows = [face(name, box=(100 + 45 * i, 100, 40, 50)) for i, name in enumerate(("Ada Lovelace", "Bob", None))]
    image = np.asarray(annotate.annotated(photo(*rows, size=(800, 400), shade=0)))
    assert (image == annotate.UNKNOWN_COLOUR).all(-1).sum() > 200
    assert (image == annotate.NAMED_COLOUR).all(-1).sum() > 400


@pytest.mark.parametrize("name", [*ODD, "محمد", "x" * 300])
def test_any_name_can_be_drawn(name):
    annotate.annotated(photo(face(name)))


def test_without_pixels_there_is_nothing_to_draw_on():
    with pytest.raises(ValueError, match="keep_pixels"):
        annotate.annotated(IdentifiedPhoto("x", (face(),)))


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path):
    used = set()
    written = [annotate.save_annotated(photo(face()), tmp_path / "out", used) for _ in range(3)]
    assert [path.name for path in written] == [
        "some photo.jpg",
        "some photo-2.jpg",
        "some photo-3.jpg",
    ]
    assert all(path.read_bytes().startswith(b"\xff\xd8") for path in written)
