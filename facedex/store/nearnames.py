"""Names that are near to one that is not enrolled, for the error that says so."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 3
_COMPARED = 20_000  # names, at most, that are compared letter by letter, which takes 10 us a name


def near_names(wanted: str, names: Iterable[str]) -> list[str]:
    """Up to three names near `wanted`, nearest first. Case, accents and the kind of separator do not count.

    A name with all the words of `wanted` is near, and so is one that differs by a few letters (difflib).
    """
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(_folded(name), []).append(name)
    asked = _folded(wanted)
    words = set(asked.split())
    near = [asked] if asked in folded else []
    near += [name for name in folded if words and words <= set(name.split())]
    if len(near) < _SHOWN and len(folded) <= _COMPARED:
        near += get_close_matches(asked, folded, _SHOWN)
    return [name for one in dict.fromkeys(near) for name in folded[one]][:_SHOWN]


def _folded(name: str) -> str:
    """A name without case and accents, its words separated by single spaces."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join("".join(letter if letter.isalnum() else " " for letter in bare).split())
