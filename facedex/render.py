"""Results for people (tables, pictures) and for programs (JSON lines, CSV). What only one of these needs is loaded there."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from facedex.detection import DetectedPhoto
from facedex.gallery import Enrolled
from facedex.identification import Decision, Identification, IdentifiedPhoto, Verification
from facedex.people import UNKNOWN
from facedex.quality import Quality
from facedex.records import PersonRecord

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table
    from rich.text import Text

_LONGEST_STEM = 50  # letters of a photo's name that are kept in those of its crops; most disks take 255 bytes
_KNOWN, _STRANGER = (46, 160, 67), (208, 108, 20)


def json_line(value: dict[str, Any]) -> str:
    """One JSON object a line; text as it is, but for what stdout cannot take (odd bytes in a path, a code page)."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def identified(photo: IdentifiedPhoto) -> dict[str, Any]:
    """The JSON of `identify`."""
    return {
        "photo": photo.photo,
        "faces": [
            {
                "box": [round(value, 1) for value in one.face.box],
                "score": round(one.face.score, 4),
                "name": one.name,
                "similarity": _number(one.similarity),
                "probability": _number(one.probability),
                "logit": _logit(one),
                "candidates": [
                    {
                        "name": c.name,
                        "similarity": _number(c.similarity),
                        "probability": _number(c.probability),
                        "logit": _number(c.logit),
                    }
                    for c in one.candidates
                ],
                "quality": quality(one.quality),
                "reason": one.reason,
            }
            for one in photo.faces
        ],
        "error": photo.error,
        "decision": decided(photo.decision),
    }


def quality(measured: Quality | None) -> dict[str, Any] | None:
    """A face's measures, as in the JSON of `identify`; `detect` does not know the embedding's length."""
    if measured is None:
        return None
    return {key: round(value, 4) for key, value in asdict(measured).items() if value is not None}


def decided(decision: Decision | None) -> dict[str, Any] | None:
    """What a photo's faces had to pass, as in the JSON of `identify`; null where there is no number."""
    if decision is None:
        return None
    numbers = {key: _number(value) if math.isfinite(value) else None for key, value in asdict(decision).items()}
    return {**numbers, "people": decision.people}


def detected(photo: DetectedPhoto, crops: list[Path]) -> dict[str, Any]:
    """The JSON of `detect`; `crops` are the files that `save_crops` wrote."""
    return {
        "photo": photo.photo,
        "faces": [
            {
                "number": number,
                "box": [round(value, 1) for value in one.face.box],
                "landmarks": [[round(float(x), 1), round(float(y), 1)] for x, y in one.face.landmarks],
                "score": round(one.face.score, 4),
                "quality": quality(one.quality),
                "reason": one.quality.reason(),
                "crop": str(crops[number - 1]) if crops else None,
            }
            for number, one in enumerate(photo.faces, 1)
        ],
        "error": photo.error,
    }


def enrolled(result: Enrolled) -> dict[str, Any]:
    """The JSON of `enroll`."""
    return {"photo": result.photo, "name": result.name, "status": result.status, "reason": result.reason}


def person(record: PersonRecord) -> dict[str, Any]:
    """The JSON of `list`."""
    return {"name": record.name, "photos": record.photos, "enrolled": record.enrolled}


def verified(result: Verification) -> dict[str, Any]:
    """The JSON of `verify`."""
    return {
        "same": result.same, "similarity": _number(result.similarity), "probability": _number(result.probability),
        **{key: _number(value) for key in ("logit", "threshold", "fmr") if math.isfinite(value := getattr(result, key))},
    }  # fmt: skip


def share(value: float) -> str:
    """A small rate in per cent, to two figures."""
    return f"{float(f'{100 * value:.2g}'):g} %"


def identified_rows(photo: IdentifiedPhoto) -> list[dict[str, Any]]:
    """The CSV rows of `identify`: one a face, or one with the error."""
    base = {"photo": photo.photo, "error": photo.error or ""}
    rows = [
        {
            **base, "face": number, **dict(zip(("left", "top", "width", "height"), map(round, one.face.box), strict=True)),
            "name": one.name or "", "similarity": _number(one.similarity), "probability": _number(one.probability),
            "logit": "" if (logit := _logit(one)) is None else logit,
            "best_candidate": one.candidates[0].name if one.candidates else "", "reason": one.reason or "",
        }
        for number, one in enumerate(photo.faces, 1)
    ]  # fmt: skip
    return rows or [base]


IDENTIFIED_COLUMNS = ["photo", "face", "left", "top", "width", "height", "name", "similarity", "probability",
                      "logit", "best_candidate", "error", "reason"]  # fmt: skip


DETECTED_COLUMNS = ["photo", "face", "left", "top", "width", "height", "score", "reason", "crop", "error"]


def detected_rows(photo: DetectedPhoto, crops: list[Path]) -> list[dict[str, Any]]:
    """The CSV rows of `detect`: one a face, or one with the error."""
    rows = [
        {
            "photo": photo.photo, "face": number,
            **dict(zip(("left", "top", "width", "height"), map(round, one.face.box), strict=True)),
            "score": round(one.face.score, 4), "reason": one.quality.reason() or "",
            "crop": str(crops[number - 1]) if crops else "",
        }
        for number, one in enumerate(photo.faces, 1)
    ]  # fmt: skip
    return rows or [{"photo": photo.photo, "error": photo.error or ""}]


def write_csv(out: TextIO, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    """A header and the rows, each flushed as it comes."""
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row)
        out.flush()


def write_row(out: TextIO, row: dict[str, Any], columns: list[str] | None = None) -> None:
    """One more row below a header written before."""
    csv.DictWriter(out, columns or list(row), restval="", lineterminator="\n").writerow(row)
    out.flush()


def identified_table(photos: Iterable[IdentifiedPhoto], top: int) -> Table:
    """The table of `identify`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=False)
    for heading in ("photo", "face at", "person", "probability"):
        table.add_column(heading, justify="right" if heading == "probability" else "left", overflow="fold")
    if top > 1:
        table.add_column("next candidates", overflow="fold")
    for photo in photos:
        for number, one in enumerate(photo.faces):
            left, upper, width, height = (round(value) for value in one.face.box)
            cells: list[str | Text] = [
                _plain(photo.photo) if number == 0 else "",
                f"{left},{upper} {width}x{height}",
                _plain(one.name) if one.name else Text(f"{UNKNOWN} ({one.reason})" if one.reason else UNKNOWN, "dim"),
                f"{one.probability:.1%}" if one.candidates else "-",
            ]
            if top > 1:
                others = one.candidates[1:] if one.name else one.candidates
                cells.append(_plain(", ".join(f"{c.name} {c.probability:.1%}" for c in others)))
            table.add_row(*cells)
    return table


def detected_table(rows: list[dict[str, Any]]) -> Table:
    """The table of `detect`, of its CSV rows."""
    from rich.table import Column, Table

    number, score = Column("face", justify="right"), Column("score", justify="right")
    table = Table(Column("photo", overflow="fold"), number, "face at", score, Column("quality", overflow="fold"))
    for row in rows:
        table.add_row(
            _plain(row["photo"]) if row["face"] == 1 else "",
            str(row["face"]),
            f"{row['left']},{row['top']} {row['width']}x{row['height']}",
            f"{row['score']:.2f}",
            row["reason"] or "good",
        )
    return table


def people_table(people: list[PersonRecord]) -> Table:
    """The table of `list`."""
    from rich.table import Column, Table

    table = Table(Column("person", overflow="fold"), "photos", "enrolled (UTC)")
    for record in people:
        table.add_row(_plain(record.name), str(record.photos), record.enrolled.replace("T", " ")[:16])
    return table


def annotated(photo: IdentifiedPhoto) -> Image.Image:
    """The photo with a box and a name on every face, legible on any background and at any size."""
    from PIL import Image, ImageDraw, ImageFont

    if photo.pixels is None:
        raise ValueError("the photo was identified without keep_pixels")
    picture = Image.fromarray(photo.pixels)
    smallest = min((min(one.face.box[2:]) for one in photo.faces), default=100)
    # Text follows the faces, but stays readable: small pictures are enlarged for it.
    factor = int(np.clip(np.ceil(480 / max(picture.size)), 1, 6))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.LANCZOS)
    longest = max(picture.size)
    size = int(np.clip(smallest * factor / 4.5, max(13, longest / 60), longest / 20))
    line = max(2, size // 7)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    taken: list[tuple[float, float, float, float]] = []
    for one in photo.faces:
        left, top, width, height = (value * factor for value in one.face.box)
        colour = _KNOWN if one.name else _STRANGER
        right, bottom = left + width, top + height
        draw.rectangle((left - line, top - line, right + line, bottom + line), outline=(0, 0, 0), width=line + 2)
        draw.rectangle(
            (left - line + 1, top - line + 1, right + line - 1, bottom + line - 1), outline=colour, width=line
        )
        text = f"{one.name} {one.probability:.0%}" if one.name else UNKNOWN
        wide, high = draw.textlength(text, font) + size * 0.6, size * 1.35
        # Above the face, else below, else inside: the first place that is in the picture and not taken.
        x = float(np.clip(left + width / 2 - wide / 2, 0, max(0, picture.width - wide)))
        places = [(x, top - line - high), (x, bottom + line), (x, top + line), (x, bottom - line - high)]
        spot = next(
            ((x, y) for x, y in places if 0 <= y <= picture.height - high and not _meets((x, y, wide, high), taken)),
            (x, float(np.clip(top - line - high, 0, max(0, picture.height - high)))),
        )
        taken.append((*spot, wide, high))
        draw.rectangle((*spot, spot[0] + wide, spot[1] + high), fill=colour, outline=(0, 0, 0))
        draw.text((spot[0] + size * 0.3, spot[1] + high / 2), text, fill=(255, 255, 255), font=font, anchor="lm",
                  stroke_width=max(1, size // 16), stroke_fill=(0, 0, 0))  # fmt: skip
    return picture


def save_annotated(photo: IdentifiedPhoto, folder: Path, used: set[str]) -> Path:
    """Write the annotated photo as JPEG into a folder; returns its path. Raises OSError.

    `used` holds the names of one run's pictures, so that photos of one name from different folders both stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = os.path.basename(photo.photo)
    name, number = f"{stem}.jpg", 2
    while name in used:
        name, number = f"{stem}-{number}.jpg", number + 1
    used.add(name)
    annotated(photo).save(folder / name, quality=90)
    return folder / name


def save_crops(photo: DetectedPhoto, folder: Path) -> list[Path]:
    """Write a photo's aligned faces as PNG into a folder: party-1.png, party-2.png; returns their paths. Raises OSError.

    No file is overwritten. Where one of these is there already, all are numbered on: party_2-1.png, party_2-2.png.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    stem = Path(photo.photo).stem[:_LONGEST_STEM]
    for tried in count(1):
        name = stem if tried == 1 else f"{stem}_{tried}"
        paths = [folder / f"{name}-{number}.png" for number in range(1, len(photo.faces) + 1)]
        if not any(os.path.lexists(path) for path in paths):
            break
    for path, one in zip(paths, photo.faces, strict=True):
        with open(path, "xb") as file:
            Image.fromarray(one.crop).save(file, "PNG")
    return paths


def _meets(box: tuple[float, float, float, float], others: list[tuple[float, float, float, float]]) -> bool:
    x, y, w, h = box
    return any(x < a + c and a < x + w and y < b + d and b < y + h for a, b, c, d in others)


def _logit(one: Identification) -> float | None:
    """What is compared with the threshold: of the name, else of the best candidate."""
    return _number(one.candidates[0].logit) if one.candidates else None


def _number(value: float) -> float:
    return round(float(value), 6)


def _plain(text: str) -> Text:
    """Text that rich prints as it is, without markup, and that no odd byte of a path can break."""
    from rich.text import Text

    return Text(text.encode("utf-8", "backslashreplace").decode())
