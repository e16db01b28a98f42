"""Text for people: nouns in the right number, control characters made visible, cells that no spreadsheet computes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# Overrides and isolates of the direction of writing reorder the letters around them, and so can disguise a name.
_REORDERING = "\u202a-\u202e\u2066-\u2069"
_HIDDEN = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_REORDERING}]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins with one of them for a formula

_PLURALS = {
    "person": "people", "this person": "these people", "copy": "copies", "is": "are", "has": "have", "shows": "show",
}  # fmt: skip


def counted(number: int, noun: str) -> str:
    """A number with its noun in singular or plural: 1 photo, 2 photos, 1,000 people."""
    return f"{number:,} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """A noun, or another word of _PLURALS, in the form that goes with a number."""
    return noun if number == 1 else _PLURALS.get(noun, f"{noun}s")


def tally(counts: Mapping[str, int], order: Sequence[str]) -> str:
    """Counts by name in a given order, without zeros: 3 enrolled, 1 skipped."""
    return ", ".join(f"{counts[name]:,} {name}" for name in order if counts[name])


def to_minute(time: str) -> str:
    """An ISO 8601 time for people, without seconds: 2026-11-30 12:00."""
    return time.replace("T", " ")[:16]


def clock(seconds: float) -> str:
    """A time in a video for people: 0:05, 12:34, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def visible(text: str) -> str:
    r"""Text in which characters that command a terminal are escapes, as \x1b, and bytes that are not UTF-8 are \udcff.

    Line breaks are escaped too, so that one notice is one line. Letters of every script stay as they are.
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def spreadsheet_cell(value: object) -> object:
    """A CSV value that no spreadsheet takes for a formula: an apostrophe goes before such a text. Numbers stay."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if value.startswith(_FORMULA) else text
