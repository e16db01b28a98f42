"""Plurals, control characters made visible, and CSV cells that no spreadsheet computes."""

import csv
import io

import pytest

from facedex import results
from facedex.wording import counted, plural, spreadsheet_cell, visible


def test_a_noun_stands_in_the_number_of_its_count():
    assert [counted(number, "photo") for number in (0, 1, 2, 1000)] == [
        "0 photos",
        "1 photo",
        "2 photos",
        "1,000 photos",
    ]
    assert [counted(number, "person") for number in (1, 2)] == ["1 person", "2 people"]
    assert [plural(number, "is") for number in (1, 2)] == ["is", "are"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("odd \udcff", "odd \\udcff"),
        ("\u2028", "\\u2028"),
    ],
)
def test_what_commands_a_terminal_is_escaped(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["É. Ñandú", "山田 太郎", "محمد", "👩\u200d🔬", "a\\b [bold]", "क्‍ष"])
def test_letters_of_every_script_stay(text):
    assert visible(text) == text


@pytest.mark.parametrize("text", ['=HYPERLINK("x")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_text_that_begins_a_formula_gets_an_apostrophe(text):
    assert spreadsheet_cell(text) == "'" + visible(text)


def test_other_cells_stay_as_they_are():
    assert [spreadsheet_cell(value) for value in ("a=b", "", -2.5, 7, 'O\'Neil, "Q"')] == [
        "a=b",
        "",
        -2.5,
        7,
        'O\'Neil, "Q"',
    ]


def test_csv_keeps_numbers_and_defuses_formulas_and_json_is_exact():
    out = io.StringIO()
    row = {"photo": "=1+1.jpg", "name": "@Ada", "logit": -2.5}
    results.write_csv(out, tuple(row), [row])
    assert list(csv.reader(io.StringIO(out.getvalue())))[1] == ["'=1+1.jpg", "'@Ada", "-2.5"]
    assert '"photo": "=1+1.jpg"' in results.json_line(row)
