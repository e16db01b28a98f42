"""Results as data for programs: the JSON objects and the CSV rows of the commands.

`json_shapes.py` describes every JSON field. `evaluation/report_json.py` makes the JSON of `evaluate`.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from facedex.faces.boxes import Box
from facedex.faces.quality import Quality
from facedex.gallery.enrolment import Enrolled
from facedex.recognition.detection import DetectedFace, DetectedPhoto
from facedex.recognition.identification import Decision, Identification, IdentifiedPhoto
from facedex.recognition.verification import Verification
from facedex.store.expiry import has_passed
from facedex.store.rows import PersonRecord
from facedex.wording import spreadsheet_cell

if TYPE_CHECKING:
    from facedex.gallery.doctor import Finding  # `identify` does not load what only `doctor` needs
    from facedex.gallery.shown import ShownPerson
    from facedex.gallery.suspicion import Suspicion
    from facedex.library.exchange import ExportedPhoto, ImportedPhoto
    from facedex.library.finding import FoundPhoto
    from facedex.library.groups import FaceGroup
    from facedex.library.scan import ScannedPhoto
    from facedex.store.changelog import Change
    from facedex.video.appearances import IdentifiedVideo

Row = dict[str, Any]  # a JSON object or a CSV row, by field name

ENROLL_COLUMNS = ("photo", "name", "status", "reason")
LIST_COLUMNS = ("name", "photos", "enrolled", "consents", "expires", "expired")
FIND_COLUMNS = (
    "photo",
    "name",
    "left",
    "top",
    "width",
    "height",
    "named_by",
    "probability",
    "quality",
    "taken",
    "taken_from",
)
DETECT_COLUMNS = ("photo", "face", "left", "top", "width", "height", "score", "reason", "crop", "error")
IDENTIFY_COLUMNS = (
    "photo",
    "face",
    "left",
    "top",
    "width",
    "height",
    "name",
    "similarity",
    "probability",
    "logit",
    "best_candidate",
    "error",
    "reason",
)
VIDEO_COLUMNS = (
    "video",
    "start",
    "end",
    "frames",
    "at",
    "left",
    "top",
    "width",
    "height",
    "name",
    "similarity",
    "probability",
    "logit",
    "best_candidate",
    "reason",
    "crop",
    "error",
)


def json_line(value: Row) -> str:
    """A JSON object on one line.

    Text stays readable; characters that stdout cannot encode (odd bytes of a path, a narrow code page) are escaped.
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def enroll_json(result: Enrolled) -> Row:
    """The JSON object, and the CSV row, of one photo of `enroll`."""
    return {"photo": result.photo, "name": result.name, "status": result.status, "reason": result.reason}


def list_json(record: PersonRecord) -> Row:
    """The JSON object of one person of `list`."""
    return {
        "name": record.name,
        "photos": record.photos,
        "enrolled": record.enrolled or None,
        "consents": list(record.consents),
        "expires": record.expires or None,
        "expired": has_passed(record.expires),
    }


def list_rows(record: PersonRecord) -> list[Row]:
    """The CSV row of one person of `list`."""
    return [{**list_json(record), "enrolled": record.enrolled, "consents": "; ".join(record.consents)}]


def log_json(change: Change, photos: Sequence[str]) -> Row:
    """The JSON object of one change of `log`; `photos` are the paths of its photos that are still there."""
    return {
        "time": change.made,
        "account": change.account,
        "kind": change.kind,
        "name": change.name,
        "former": change.former,
        "photos": change.photos,
        "faces": change.faces,
        "paths": list(photos),
        "detail": change.detail or None,
        "undoable": change.back is not None,
    }


def show_json(person: ShownPerson) -> Row:
    """The JSON object of `show`."""
    least = person.least_alike
    return {
        "name": person.name,
        "enrolled": person.enrolled or None,
        "photos": [
            {
                "photo": one.photo,
                "box": [round(value, 1) for value in one.box],
                "enrolled": one.enrolled,
                "quality": round(one.quality, 4),
                "unclear": one.unclear,
                "similarity": _rounded_or_none(one.similarity),
                "consent": one.consent or None,
                "expires": one.expires or None,
                "expired": one.expired,
            }
            for one in person.photos
        ],
        "least_alike": None if least is None else least.photo,
    }


def suspicious_json(suspicion: Suspicion) -> Row:
    """The JSON object of a suspicious photo in `enroll`, in the fields of the enrolled photos."""
    return {
        "photo": suspicion.photo,
        "name": suspicion.name,
        "status": "suspicious",
        "reason": suspicion.reason,
    }


def suspicion_json(suspicion: Suspicion) -> Row:
    """The JSON object of a suspicious photo, or of a pair of people, in `doctor --people`."""
    return {
        "part": "people",
        "state": "warning",
        "detail": suspicion.reason,
        "kind": suspicion.kind,
        "name": suspicion.name,
        "photo": suspicion.photo,
        "other": suspicion.other,
        "photos": suspicion.photos,
        "similarity": _rounded_or_none(suspicion.similarity),
        "other_similarity": _rounded_or_none(suspicion.other_similarity),
        "false_warnings": _rounded(suspicion.false_warnings),
    }


def scan_json(result: ScannedPhoto) -> Row:
    """The JSON object of one photo of `scan`."""
    return {"photo": result.photo, "status": result.status, "faces": result.faces, "reason": result.reason}


def cluster_json(group: FaceGroup) -> Row:
    """The JSON object of one group of `cluster`."""
    return {
        "group": group.number,
        "faces": group.faces,
        "photos": group.photos,
        "examples": list(group.examples),
        "resembles": group.resembles,
        "ignored": group.ignored,
    }


def find_json(found: FoundPhoto, names: Sequence[str]) -> Row:
    """The JSON object of one photo of `find`; `names` are those that were asked for, in that order."""
    return {
        "photo": found.photo,
        "faces": [
            {"name": name, "box": [round(value, 1) for value in box], **_found_by(probability)}
            for name, box, probability in zip(names, found.boxes, found.probabilities, strict=True)
        ],
        "quality": round(found.quality, 4),
        **_taken(found),
    }


def find_rows(found: FoundPhoto, names: Sequence[str]) -> list[Row]:
    """The CSV rows of one photo of `find`: a row a person."""
    quality = round(found.quality, 4)
    return [
        {"photo": found.photo, "name": name, **_box_columns(box), **_found_by(one), "quality": quality, **_taken(found)}
        for name, box, one in zip(names, found.boxes, found.probabilities, strict=True)
    ]


def _found_by(probability: float | None) -> Row:
    """How `find` knows a name: by recognition with this probability, or by a person."""
    named_by = "library" if probability is None else "recognition"
    return {"named_by": named_by, "probability": None if probability is None else round(probability, 4)}


def export_json(result: ExportedPhoto) -> Row:
    """The JSON object of one photo of `export`."""
    return {**asdict(result), "names": list(result.names), "conflicts": list(result.conflicts)}


def import_json(result: ImportedPhoto) -> Row:
    """The JSON object of one photo of `import`."""
    return {**asdict(result), "names": list(result.names), "warnings": list(result.warnings)}


def doctor_json(finding: Finding) -> Row:
    """The JSON object of one finding of `doctor`."""
    return {"part": finding.part, "state": finding.state, "detail": finding.detail}


def verify_json(result: Verification) -> Row:
    """The JSON object of `verify`."""
    return {
        "same": result.same,
        "similarity": _rounded(result.similarity),
        "probability": _rounded(result.probability),
        "logit": _rounded(result.logit),
        "threshold": _rounded(result.threshold),
        "fmr": _rounded(result.fmr),
        "remarks": list(result.remarks),
        "warnings": list(result.warnings),
    }


def detect_json(photo: DetectedPhoto, crops: Sequence[Path]) -> Row:
    """The JSON object of one photo of `detect`; `crops` are the files that `save_crops` wrote, or nothing."""
    return {
        "photo": photo.photo,
        "faces": [
            {
                **_face_json(number, found),
                "reason": found.quality.reason(),
                "crop": str(crops[number - 1]) if crops else None,
            }
            for number, found in enumerate(photo.faces, 1)
        ],
        "error": photo.error,
        "remark": photo.remark,
    }


def detect_rows(photo: DetectedPhoto, crops: Sequence[Path]) -> list[Row]:
    """The CSV rows of one photo of `detect`: a row a face, or one row with the error."""
    rows = [
        {
            "photo": photo.photo,
            "face": number,
            **_box_columns(found.face.box),
            "score": round(found.face.score, 4),
            "reason": found.quality.reason() or "",
            "crop": str(crops[number - 1]) if crops else "",
        }
        for number, found in enumerate(photo.faces, 1)
    ]
    return rows or [{"photo": photo.photo, "error": photo.error or ""}]


def embed_json(photo: DetectedPhoto) -> Row:
    """The JSON object of one photo of `embed`."""
    faces = [
        {**_face_json(number, face), "embedding": [round(float(value), 7) for value in face.embedding]}
        for number, face in enumerate(photo.faces, 1)
        if face.embedding is not None
    ]
    return {"photo": photo.photo, "faces": faces, "error": photo.error}


def embed_rows(photo: DetectedPhoto) -> list[Row]:
    """What each row of the array of `embed` is of: a row a face."""
    return [{"photo": photo.photo, **_face_json(number, face)} for number, face in enumerate(photo.faces, 1)]


def identify_json(photo: IdentifiedPhoto, copies: Sequence[str] = ()) -> Row:
    """The JSON object of one photo of `identify`; `copies` are the paths of its sorted copies."""
    return {
        "photo": photo.photo,
        "faces": [_identification_json(face) for face in photo.faces],
        "copies": list(copies),
        "error": photo.error,
        "remark": photo.remark,
        "decision": None if photo.decision is None else decision_json(photo.decision),
    }


def _identification_json(face: Identification) -> Row:
    """What `identify` and `video` say of a face."""
    return {
        "box": [round(value, 1) for value in face.face.box],
        "score": round(face.face.score, 4),
        "name": face.name,
        "named_by": None if face.name is None else "library" if face.confirmed else "recognition",
        "similarity": _rounded(face.similarity),
        "probability": _rounded(face.probability),
        "logit": _rounded(face.candidates[0].logit) if face.candidates else None,
        "candidates": [
            {
                "name": candidate.name,
                "similarity": _rounded(candidate.similarity),
                "probability": _rounded(candidate.probability),
                "logit": _rounded(candidate.logit),
            }
            for candidate in face.candidates
        ],
        "quality": None if face.quality is None else _quality_json(face.quality),
        "reason": face.reason,
        "warning": face.warning,
    }


def identify_rows(photo: IdentifiedPhoto) -> list[Row]:
    """The CSV rows of one photo of `identify`: a row a face, or one row with the error."""
    shared_columns = {"photo": photo.photo, "error": photo.error or ""}
    rows = [
        {
            **shared_columns,
            "face": number,
            **_box_columns(face.face.box),
            **_name_columns(face),
        }
        for number, face in enumerate(photo.faces, 1)
    ]
    return rows or [shared_columns]


def video_json(video: IdentifiedVideo, crops: Sequence[Path] = ()) -> Row:
    """The JSON object of one video of `video`; `crops` are the files that `save_crops` wrote, or nothing."""
    return {
        "video": video.video,
        "seconds": round(video.seconds, 2),
        "appearances": [
            {
                "start": round(one.start, 2),
                "end": round(one.end, 2),
                "frames": one.frames,
                "at": round(one.at, 2),
                **_identification_json(one.face),
                "crop": str(crops[number]) if crops else None,
            }
            for number, one in enumerate(video.appearances)
        ],
        "error": video.error,
        "remark": video.remark,
        "decision": None if video.decision is None else decision_json(video.decision),
    }


def video_rows(video: IdentifiedVideo, crops: Sequence[Path] = ()) -> list[Row]:
    """The CSV rows of one video of `video`: a row an appearance, or one row with the error."""
    rows = [
        {
            "video": video.video,
            "start": round(one.start, 2),
            "end": round(one.end, 2),
            "frames": one.frames,
            "at": round(one.at, 2),
            **_box_columns(one.face.box),
            **_name_columns(one.face),
            "crop": str(crops[number]) if crops else "",
        }
        for number, one in enumerate(video.appearances)
    ]
    return rows or [{"video": video.video, "error": video.error or ""}]


def percentage(rate: float) -> str:
    """A small rate in per cent, to two figures."""
    return f"{float(f'{100 * rate:.2g}'):g} %"


def write_csv(out: TextIO, columns: Sequence[str], rows: Iterable[Row] = (), header: bool = True) -> None:
    """Write CSV rows under a header. Each row is flushed, so that a reader of a pipe sees it at once.

    A text that a spreadsheet would compute gets an apostrophe in front, and control characters become escapes. JSON
    gives names and paths exactly.
    """
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    for row in rows:
        writer.writerow({column: spreadsheet_cell(value) for column, value in row.items()})
        out.flush()


def _face_json(number: int, face: DetectedFace) -> Row:
    """What `detect` and `embed` say of a face."""
    return {
        "number": number,
        "box": [round(value, 1) for value in face.box],
        "landmarks": [[round(float(x), 1), round(float(y), 1)] for x, y in face.landmarks],
        "score": round(face.score, 4),
        "quality": _quality_json(face.quality),
    }


def _quality_json(quality: Quality) -> Row:
    """The measures of a face; `length` is left out for a face that was not encoded."""
    return {field: round(value, 4) for field, value in asdict(quality).items() if isinstance(value, float)}


def decision_json(decision: Decision) -> Row:
    """The decision of a photo; null stands for an interval that the model does not state (NaN)."""
    values = {field: _rounded(value) if math.isfinite(value) else None for field, value in asdict(decision).items()}
    return {**values, "people": decision.people}


def _box_columns(box: Box) -> dict[str, int]:
    """A box in whole pixels."""
    return dict(zip(("left", "top", "width", "height"), map(round, box), strict=True))


def _name_columns(face: Identification) -> Row:
    """The name of a face, and how sure it is."""
    return {
        "name": face.name or "",
        "similarity": _rounded(face.similarity),
        "probability": _rounded(face.probability),
        "logit": _rounded(face.candidates[0].logit) if face.candidates else "",
        "best_candidate": face.candidates[0].name if face.candidates else "",
        "reason": face.reason or "",
    }


def _taken(found: FoundPhoto) -> Row:
    return {"taken": found.taken.isoformat() if found.taken else None, "taken_from": found.taken_from}


def _rounded_or_none(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _rounded(value: float) -> float:
    """A float with six decimals; JSON cannot write numpy's."""
    return round(float(value), 6)
