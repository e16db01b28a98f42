"""Packs of people: which archives are read, and the names of members in a .zip that are not in UTF-8."""

from __future__ import annotations

import os
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Sequence

from facedex.errors import DataError

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz")
_ZSTANDARD = (".tar.zst", ".tzst")
_HAS_ZSTANDARD = "zst" in tarfile.TarFile.OPEN_METH  # from Python 3.14
PACK_SUFFIXES = (*_TARS, *(_ZSTANDARD if _HAS_ZSTANDARD else ()), ".zip")
_OTHER_ARCHIVES = {".7z": "a 7-Zip archive", ".rar": "a RAR archive"} | (
    {} if _HAS_ZSTANDARD else dict.fromkeys(_ZSTANDARD, "a tar in Zstandard, which needs Python 3.14")
)

_UTF8_FLAG = 0x800  # PKWARE's APPNOTE, bit 11 of the general purpose flags
_LEAST_PLAUSIBLE = 0.5


def is_pack(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a .tar or .zip file, which may hold a tree of people."""
    return os.fspath(path).lower().endswith(PACK_SUFFIXES) and os.path.isfile(path)


def refuse_other_archives(path: str | os.PathLike[str]) -> None:
    """Raise DataError for an archive of a kind that is not read."""
    name = os.fspath(path).lower()
    for suffix, kind in _OTHER_ARCHIVES.items():
        if name.endswith(suffix):
            raise DataError(f"{os.fspath(path)} is {kind}, and is not read; unpack it, or make a .zip or .tar of it")


def member_names(members: Sequence[zipfile.ZipInfo], encoding: str | None = None) -> list[str]:
    """The names of a zip's members in Unicode.

    A zip says of each name whether it is in UTF-8. The others are in `encoding`, or in the one that suits them best.
    Raises UnicodeDecodeError for names that are not in `encoding`.
    """
    unknown = [_bytes(member) for member in members if not member.flag_bits & _UTF8_FLAG]
    chosen = encoding or _likely_encoding([name for name in unknown if not name.isascii()])
    return [member.filename if member.flag_bits & _UTF8_FLAG else _bytes(member).decode(chosen) for member in members]


def _bytes(member: zipfile.ZipInfo) -> bytes:
    return member.orig_filename.encode("cp437")  # zipfile decodes so what is not in UTF-8


def _likely_encoding(names: Sequence[bytes]) -> str:
    """The encoding of names that are not in ASCII: UTF-8 if they are valid, else the most plausible reading."""
    joined = b"/".join(names)
    if _decoded(joined, "utf-8") is not None:
        return "utf-8"
    scores = {
        encoding: _plausibility(text, plausible)
        for encoding, plausible in _ENCODINGS.items()
        if (text := _decoded(joined, encoding)) is not None
    }
    best = max(scores, key=lambda encoding: scores[encoding], default="cp437")
    return best if scores.get(best, 0) >= _LEAST_PLAUSIBLE else "cp437"


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _plausibility(text: str, plausible: Callable[[str, str], bool]) -> float:
    """The share of the characters outside ASCII that are plausible beside their neighbours."""
    padded = f" {text} "
    found = [
        plausible(character, padded[at] + padded[at + 2])
        for at, character in enumerate(text)
        if not character.isascii()
    ]
    return sum(found) / max(1, len(found))


def _in_word(script: str) -> Callable[[str, str], bool]:
    """A test whether a character is a letter of this script beside another letter of it."""

    def of_script(character: str) -> bool:
        return character.isalpha() and unicodedata.name(character, "").startswith(script)

    return lambda character, beside: of_script(character) and any(map(of_script, beside))


def _is_common_japanese(character: str, beside: str) -> bool:
    kana = "\u3005" <= character <= "\u30fe"
    return kana or 0x88 <= character.encode("cp932")[0] <= 0x97  # level 1 of JIS X 0208


def _is_common_chinese(character: str, beside: str) -> bool:
    code = character.encode("gbk")
    return 0xB0 <= code[0] <= 0xD7 and code[-1] >= 0xA1  # level 1 of GB 2312


# Of equally plausible encodings the first is taken.
_ENCODINGS: dict[str, Callable[[str, str], bool]] = {
    "cp437": _in_word("LATIN"),
    "cp850": _in_word("LATIN"),
    "cp1252": _in_word("LATIN"),
    "cp866": _in_word("CYRILLIC"),
    "cp932": _is_common_japanese,
    "gbk": _is_common_chinese,
}
