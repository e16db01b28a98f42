"""Names of files and folders that every file system takes, and one folder for each person.

What Windows refuses is refused everywhere, because sorted photos travel on sticks and network drives.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable

from facedex.photos.listing import is_leftover
from facedex.photos.sources import UNKNOWN

_MOST = 255  # bytes of UTF-8 on most systems; UTF-16 units in Unicode's form NFD on older Macs
_FORBIDDEN = frozenset('<>:"/\\|?*')
_JOINERS = "\u200c\u200d"  # belong to names in Persian and Indic scripts; other invisible characters do not
_DEVICES = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3]) *(?=\.|$)", re.IGNORECASE)
_NUMBER = len(" (99999)")
_SIDECAR = len(".xmp")


def safe_name(text: str, most: int = _MOST) -> str:
    """A text as the name of a file or folder on any system, at most `most` long; "_" where nothing is left."""
    kept = "".join("_" if _is_forbidden(one) else one for one in unicodedata.normalize("NFC", text))
    kept = _DEVICES.sub(lambda found: f"{found[0].rstrip()}_", kept.strip(), count=1) if _DEVICES.match(kept) else kept
    kept = _shortened(kept, most).strip().rstrip(". ")  # Windows drops dots and spaces at the end
    return f"_{kept}"[:most] if not kept or is_leftover(kept) else kept


def safe_file(name: str, number: int = 1) -> str:
    """The name of a photo file on any system, with " (2)" and so on for a `number` above 1, and room for a sidecar."""
    stem, suffix = os.path.splitext(name)
    suffix = "".join("_" if _is_forbidden(one) else one for one in suffix)
    room = _MOST - _SIDECAR - _NUMBER - _length(suffix)
    if room < 1 or suffix.rstrip(". ") != suffix:
        stem, suffix, room = name, "", _MOST - _SIDECAR - _NUMBER
    return safe_name(stem, room) + (f" ({number})" if number > 1 else "") + suffix


def name_key(name: str) -> str:
    """A text that is equal for two names which some file system takes for one, whatever their case or Unicode form."""
    seen = "".join(one for one in unicodedata.normalize("NFD", name) if unicodedata.category(one) != "Cf")
    return unicodedata.normalize("NFC", seen.upper().casefold())


class PersonFolders:
    """The name of each person's folder. It depends on the names of the people alone, and never on their order.

    People whose names some file system takes for one, such as Ada and ADA, get folders with a part of a hash. Nobody
    gets the folder of strangers.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._owners: dict[str, str | None] = {name_key(UNKNOWN): None}  # None: several people's, or nobody's
        for name in names:
            self._claim(name)

    def of(self, name: str) -> str:
        """The folder's name for a person."""
        folder = safe_name(name)
        if self._claim(name) == name:
            return folder
        digest = hashlib.sha256(name.encode()).hexdigest()
        marked = (f"{safe_name(folder, _MOST - 3 - size)} ({digest[:size]})" for size in (6, 12, 64))
        return next(one for one in marked if name_key(one) not in self._owners)

    def _claim(self, name: str) -> str | None:
        """The only owner of the folder that a person would like."""
        key = name_key(safe_name(name))
        if self._owners.setdefault(key, name) != name:
            self._owners[key] = None
        return self._owners[key]


def _is_forbidden(character: str) -> bool:
    return character in _FORBIDDEN or (
        unicodedata.category(character) in ("Cc", "Cs", "Cf", "Zl", "Zp") and character not in _JOINERS
    )


def _length(text: str) -> int:
    """The length of a name on the system that counts most for it."""
    return max(len(text.encode()), len(unicodedata.normalize("NFD", text).encode("utf-16-le")) // 2)


def _shortened(text: str, most: int) -> str:
    """A text of at most `most`. What was cut off leaves a part of its hash, so that long names stay apart."""
    if _length(text) <= most:
        return text
    mark = f"~{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    while text and _length(text) > most - len(mark):
        text = text[:-1]
    return text + mark
