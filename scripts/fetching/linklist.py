"""Read lists of links to photos of people, and choose a file name for each photo."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from facedex.errors import DataError, NameInvalid
from facedex.photos.sources import person_name

DEFAULT_COLUMNS = ("person", "number", "url", "rect", "digest")  # PubFig's: person, imagenum, url, rect, md5sum
_ALIASES = {
    "person": "person",
    "name": "person",
    "imagenum": "number",
    "image_id": "number",
    "number": "number",
    "url": "url",
    "rect": "rect",
    "bbox": "rect",
    "md5sum": "digest",
    "md5": "digest",
    "sha256": "digest",
}
_DIGEST = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 150  # bytes of a name; _0001.jpg and a temporary ending then still fit into 255


Rect = tuple[float, float, float, float]
_Row = tuple[str, "int | None", str, "Rect | None", "str | None"]


@dataclass(frozen=True)
class Link:
    """One photo of a list.

    rect    the face: left, top, right, bottom in pixels
    digest  MD5 or SHA-256 of the photo's file, in hexadecimal digits
    file    the path to write, PERSON/PERSON_0001.jpg
    """

    person: str
    number: int
    url: str
    rect: Rect | None
    digest: str | None
    file: str


def read_links(*paths: Path) -> tuple[list[Link], list[str]]:
    """Read tab-separated lists. Return the links, and a sentence for each unusable line.

    Lines that begin with # are comments. A comment may name the columns: person or name, url, and any of imagenum,
    rect, md5sum, sha256. Without one the columns have PubFig's order. Raises DataError.
    """
    rows: list[_Row] = []
    bad: list[str] = []
    for path in paths:
        columns = list(DEFAULT_COLUMNS)
        for number, line in enumerate(_text(path).splitlines(), 1):
            fields = [field.strip() for field in line.lstrip("#").split("\t")]
            named = [_ALIASES.get(field.lower(), field) for field in fields]
            if "url" in named and "person" in named:
                columns = named
            elif line.strip() and not line.startswith("#"):
                try:
                    rows.append(_row(dict(zip(columns, fields, strict=False))))
                except (ValueError, NameInvalid) as error:
                    bad.append(f"line {number} of {path.name} cannot be used: {error}")
    if not rows:
        raise DataError(
            f"{' and '.join(map(str, paths))} holds no links; each line is person, number, url, rectangle and MD5, "
            "tab-separated"
        )
    folders = _folders([row[0] for row in rows])
    links = []
    used: dict[str, set[int]] = defaultdict(set)
    wanted = {(person, number) for person, number, *_ in rows if number}
    for person, given, url, rect, digest in rows:
        number = given or 1
        if given is None or given in used[person]:  # take the next number that no line names
            number = 1
            while number in used[person] or (person, number) in wanted:
                number += 1
        used[person].add(number)
        folder = folders[person]
        links.append(Link(person, number, url, rect, digest, f"{folder}/{folder}_{number:04d}.jpg"))
    return links, bad


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a list of links") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _row(fields: dict[str, str]) -> _Row:
    person, url = person_name(fields.get("person", "")), fields.get("url", "")
    if not url:
        raise ValueError("it has no url")
    number = fields.get("number", "")
    given = int(number) if number.isascii() and number.isdigit() and 0 < int(number) < 10_000 else None
    digest = fields.get("digest", "").lower() or None
    if digest and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest[:80]!r} is no MD5 or SHA-256")
    return person, given, url, _rect(fields.get("rect", "")), digest


def _rect(text: str) -> Rect | None:
    if not text:
        return None
    try:
        left, top, right, bottom = (float(value) for value in text.split(","))
        if not (left < right < 1e6 and top < bottom < 1e6 and min(left, top) > -1e6):  # not-a-number fails as well
            raise ValueError
    except ValueError:
        raise ValueError(f"{text[:80]!r} is no rectangle left,top,right,bottom") from None
    return left, top, right, bottom


def _folders(people: list[str]) -> dict[str, str]:
    """Return a folder for each person. Folders differ even on a file system that ignores case."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for person in people:
        if person in folders:
            continue
        name, number = file_name(person), 1
        while (unique := name if number == 1 else f"{name}-{number}").casefold() in taken:
            number += 1
        taken.add(unique.casefold())
        folders[person] = unique
    return folders


def file_name(person: str) -> str:
    """Turn a name into a file name valid on Linux, macOS and Windows: "a/b: c." becomes "a_b_ c"."""
    name = "".join("_" if c in '<>:"/\\|?*' or unicodedata.category(c) == "Cf" else c for c in person)
    name = name.encode()[:_LONGEST].decode("utf-8", "ignore").rstrip(" .")
    if name.startswith("."):  # hidden files are not read as photos
        name = f"_{name[1:]}"
    return f"{name}_" if not name or _RESERVED.fullmatch(name) else name
