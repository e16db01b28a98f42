"""Results as data for programs: the JSON and the CSV rows of every command."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from facedex.faces.quality import Quality
from facedex.gallery.enrolment import Enrolled
from facedex.recognition.detection import DetectedPhoto
from facedex.recognition.identification import Decision, Identification, IdentifiedPhoto
from facedex.recognition.verification import Verification
from facedex.store.rows import PersonRecord


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


def _logit(one: Identification) -> float | None:
    """What is compared with the threshold: of the name, else of the best candidate."""
    return _number(one.candidates[0].logit) if one.candidates else None


def _number(value: float) -> float:
    return round(float(value), 6)
