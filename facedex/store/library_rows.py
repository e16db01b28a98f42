"""Row classes of the scanned library, and the checksums by which altered rows are noticed."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facedex.errors import GalleryDamaged, GalleryError
from facedex.faces.boxes import Box
from facedex.store.rows import Columns, Row

SELECT_SCANNED = (
    "SELECT scanned_face.id, vector, box_left, box_top, box_width, box_height, score, quality, landmarks, "
    "sharpness, unusual, scanned_photo.photo, scanned_face.checksum, scanned_photo.id, COALESCE(in_group, 0), "
    "person.id, person.name, face_name.checksum FROM scanned_face "
    "JOIN scanned_photo ON scanned_photo.id = scanned_face.photo "
    "LEFT JOIN face_name ON face_name.face = scanned_face.id LEFT JOIN person ON person.id = face_name.person"
)
INSERT_SCANNED = (
    "INSERT INTO scanned_face (id, vector, box_left, box_top, box_width, box_height, score, quality, landmarks, "
    "sharpness, unusual, photo, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_COLUMNS = 18  # of SELECT_SCANNED
_FACE = struct.Struct("<q7d3q")
_NAME = struct.Struct("<2q")


@dataclass(frozen=True)
class FoundFace:
    """A face that a scan found.

    `vector`: (dim,) float32 of unit length. `box`: (left, top, width, height) in pixels. `landmarks`: (5, 2) float32
    in pixels. `score`: the detector's. `quality`: that of EncodedFace. `sharpness`, `unusual`: those of Quality.
    """

    vector: NDArray[np.float32]
    box: Box
    landmarks: NDArray[np.float32]
    score: float
    quality: float
    sharpness: float
    unusual: str | None = None


@dataclass(frozen=True)
class ScannedFile:
    """A photo file as a scan saw it: its size in bytes, its time of change in ns, and the id of its photo."""

    size: int
    modified: int
    photo: int


@dataclass(frozen=True)
class SeenFile:
    """A photo file to store.

    `source`: see photos/sources.py. `size` in bytes, `modified` in ns. `photo`: SHA-256 of its bytes, hex. `faces`:
    those in it. `remark`, `taken` and `detector`: see PhotoFacts. All of these are ignored where the photo is stored
    already.
    """

    source: str
    size: int
    modified: int
    photo: str
    faces: tuple[FoundFace, ...] = ()
    remark: str | None = None
    taken: str | None = None
    detector: int = 0


@dataclass(frozen=True)
class PhotoFacts:
    """What a scan noted of a photo beside its faces.

    `faces`: how many were found. Some may have been deleted since. `detector`: faces/detector.VERSION that found them.
    `remark`: what a user should know of the photo. `taken`: when by EXIF (ISO 8601, local time), None where not known.
    """

    faces: int
    detector: int
    remark: str | None
    taken: str | None


@dataclass(frozen=True)
class Membership(Columns):
    """Where scanned faces belong, ordered by id: fields of ScannedFaces that need no vector."""

    photos: NDArray[np.int64]
    groups: NDArray[np.int64]
    people: NDArray[np.int64]
    quality: NDArray[np.float64]


@dataclass(frozen=True)
class ScannedFaces(Columns):
    """Scanned faces, ordered by id.

    `ids`, `photos`, `groups` and `people` (n,) int64: the face, its photo, its group and its person. 0 stands for no
    group and for no name. `vectors` (n, dim) float32, `boxes` (n, 4) float64 and `landmarks` (n, 5, 2) float32 in
    pixels, `scores`, `quality` and `sharpness` (n,) float64. `unusual`: that of Quality. `digests`: SHA-256 of each
    face's photo, hex. `names`: the name of each face, None where it has none.
    """

    photos: NDArray[np.int64]
    groups: NDArray[np.int64]
    people: NDArray[np.int64]
    vectors: NDArray[np.float32]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    quality: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    sharpness: NDArray[np.float64]
    unusual: list[str | None]
    digests: list[str]
    names: list[str | None]

    def box(self, row: int) -> Box:
        """The box of one face: (left, top, width, height) in pixels."""
        left, top, width, height = map(float, self.boxes[row])
        return left, top, width, height

    def found(self, row: int) -> FoundFace:
        """One face as a scan found it."""
        measures = float(self.scores[row]), float(self.quality[row]), float(self.sharpness[row]), self.unusual[row]
        return FoundFace(self.vectors[row], self.box(row), self.landmarks[row], *measures)


@dataclass(frozen=True)
class LibraryCounts:
    """How many photos, files, faces and named faces the scanned library holds."""

    photos: int
    files: int
    faces: int
    named: int


@dataclass(frozen=True)
class StoredGroup:
    """A group of scanned faces: the person whom it resembles (id and name, 0 and None for nobody).

    `ignored`: whether it needs no name.
    """

    person: int
    name: str | None
    ignored: bool


def face_checksum(values: Row) -> bytes:
    """Sixteen bytes of SHA-256 over the columns of SELECT_SCANNED before the checksum."""
    face, vector, left, top, width, height, score, quality, landmarks, sharpness, unusual, photo = values
    words = b"" if unusual is None else unusual.encode()
    lengths = len(vector), len(landmarks), -1 if unusual is None else len(words)
    numbers = _FACE.pack(face, left, top, width, height, score, quality, sharpness, *lengths)
    return hashlib.sha256(numbers + vector + landmarks + words + photo).digest()[:16]


def name_checksum(face: int, person: int, name: str) -> bytes:
    """Sixteen bytes of SHA-256 over the ids of a face and its person, and the person's name."""
    return hashlib.sha256(_NAME.pack(face, person) + name.encode()).digest()[:16]


def new_scanned_row(face: int, photo: int, digest: bytes, found: FoundFace, dim: int, source: str) -> Row:
    """The values of INSERT_SCANNED. Raises GalleryError for a vector that is not `dim` finite numbers."""
    if found.vector.shape != (dim,) or not np.isfinite(found.vector).all():
        raise GalleryError(f"The embedding of {source} is not {dim} finite numbers; check the model")
    vector, landmarks = (np.asarray(values, "<f4").tobytes() for values in (found.vector, found.landmarks))
    numbers = (*map(float, found.box), float(found.score), float(found.quality))
    stored = (face, vector, *numbers, landmarks, float(found.sharpness), found.unusual)
    return (*stored, photo, face_checksum((*stored, digest)))


def is_intact(row: Row, dim: int) -> bool:
    """Whether a row of SELECT_SCANNED is as it was written, its name too."""
    try:
        if len(row[1]) != 4 * dim or face_checksum(row[:12]) != row[12]:
            return False
        return row[17] is None or name_checksum(row[0], row[15], row[16]) == row[17]
    except (AttributeError, TypeError, ValueError, OverflowError, struct.error):  # a value of another type
        return False


def scanned_faces(rows: Sequence[Row], dim: int, path: Path) -> ScannedFaces:
    """Rows of SELECT_SCANNED, checked. Raises GalleryDamaged, which names the database `path`, for an altered row."""
    for row in rows:
        if not is_intact(row, dim):
            raise damaged_scan(row[0], path)
    columns = list(zip(*rows, strict=True)) if rows else [()] * _COLUMNS
    ids, photos, groups = (np.array(columns[at], np.int64) for at in (0, 13, 14))
    people = np.array([person or 0 for person in columns[15]], np.int64)
    vectors = np.frombuffer(b"".join(columns[1]), "<f4").reshape(-1, dim).astype(np.float32, copy=False)
    boxes = np.stack([np.array(columns[at], np.float64) for at in (2, 3, 4, 5)], 1)
    scores, quality, sharpness = (np.array(columns[at], np.float64) for at in (6, 7, 9))
    landmarks = np.frombuffer(b"".join(columns[8]), "<f4").reshape(-1, 5, 2).astype(np.float32, copy=False)
    digests = [one.hex() for one in columns[11]]
    measures = scores, quality, landmarks, sharpness, list(columns[10])
    return ScannedFaces(ids, photos, groups, people, vectors, boxes, *measures, digests, list(columns[16]))


def damaged_scan(face: int, path: Path) -> GalleryDamaged:
    """The error for a scanned face whose row was altered."""
    return GalleryDamaged(f"Scanned face {face} in {path} is damaged; `facedex doctor` names its photo and what to do")
