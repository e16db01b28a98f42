"""Row classes of gallery.db, their encoding, and the checks by which a damaged row is noticed.

SQLite's pages have no checksums. Every face therefore carries a checksum, and a mark that ties an index to it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from facedex.errors import GalleryDamaged, GalleryError
from facedex.faces.boxes import Box

T = TypeVar("T", bound="Columns")

Row = tuple[Any, ...]  # of SQLite: in a damaged database any column may hold any type

SELECT_FACE = (
    "SELECT face.id, person, vector, box_left, box_top, box_width, box_height, score, quality, source, photo, "
    "enrolled, name, consent, face.expires, checksum, mark FROM face LEFT JOIN person ON person.id = face.person"
)
INSERT_FACE = (
    "INSERT INTO face (id, person, vector, box_left, box_top, box_width, box_height, score, quality, source, photo, "
    "enrolled, consent, expires, checksum, mark) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_COLUMNS = 17  # of SELECT_FACE

_NUMBERS = struct.Struct("<qq6dq")
_LENGTH = struct.Struct("<q")


@dataclass(frozen=True)
class FaceRecord:
    """One face to enroll.

    `vector`: (dim,) float32 of unit length. `box`: (left, top, width, height) in pixels. `quality`: that of
    EncodedFace, 0 where not known. `consent` and `expires`: what the person allowed, and the last day of that
    (YYYY-MM-DD), "" for none.
    """

    name: str
    vector: NDArray[np.float32]
    box: Box
    score: float
    quality: float
    source: str
    photo: str  # SHA-256, hex
    consent: str = ""
    expires: str = ""


@dataclass(frozen=True)
class PersonRecord:
    """One enrolled person: the number of photos, and when the first was enrolled (ISO 8601, UTC).

    A person who has lost every photo has 0 photos and "" there. `consents`: what was allowed for these photos.
    `expires`: the last day on which a photo may be matched (YYYY-MM-DD), "" where there is no end.
    """

    name: str
    photos: int
    enrolled: str
    consents: tuple[str, ...] = ()
    expires: str = ""
    id: int = 0


@dataclass(frozen=True)
class StoredPhoto:
    """One enrolled face and its photo.

    `source`: the photo's path when it was enrolled (photos/sources.py). `photo`: SHA-256 of its bytes, hex.
    `box`: the face's place in the photo (left, top, width, height) in pixels.
    """

    face: int
    name: str
    source: str
    photo: str
    box: Box


@dataclass(frozen=True)
class State:
    """The row of the table `gallery`: the model that the gallery belongs to, its revisions, and its sums."""

    model: str
    model_file: str
    dim: int
    revision: int
    rewritten: int
    people: int
    faces: int
    digest: int


@dataclass(frozen=True)
class Columns:
    """Facts of n faces: arrays (n, ...) and lists of length n. `ids` (n,) int64 are those of the faces."""

    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def only(self: T, rows: NDArray[np.bool_]) -> T:
        """Those of the faces where `rows` (n,) is true."""
        kept = np.flatnonzero(rows).tolist()
        return self._changed(lambda name, one: [one[row] for row in kept] if isinstance(one, list) else one[kept])

    def joined(self: T, *others: T) -> T:
        """These faces and the others after them."""

        def together(name: str, one: Any) -> Any:
            every = [one, *(getattr(other, name) for other in others)]
            return list(chain(*every)) if isinstance(one, list) else np.concatenate(every)

        return self._changed(together)

    def _changed(self: T, change: Callable[[str, Any], Any]) -> T:
        return replace(self, **{field.name: change(field.name, getattr(self, field.name)) for field in fields(self)})


@dataclass(frozen=True)
class StoredFaces(Columns):
    """Enrolled faces.

    `ids`, `people` and `marks` (n,) int64, `names` of length n, `vectors` (n, dim) float32, `quality` (n,) float64.
    `expires`: the last day of each one's consent (YYYY-MM-DD), "" for no end.
    """

    people: NDArray[np.int64]
    names: list[str]
    vectors: NDArray[np.float32]
    marks: NDArray[np.int64]
    quality: NDArray[np.float64]
    expires: list[str]

    def valid(self, today: str) -> StoredFaces:
        """Those of the faces whose consent has not expired on the day `today` (YYYY-MM-DD)."""
        if not any(self.expires):
            return self
        return self.only(np.array([not end or end >= today for end in self.expires]))


def checksum(values: Row) -> bytes:
    """Sixteen bytes of SHA-256 over a face's fields and its person's name: all of SELECT_FACE before the checksum.

    Each field of variable length counts with its length, so that no byte can move from one field into the next. A face
    without consent has the checksum that it would have if there were no such columns.
    """
    face, person, vector, left, top, width, height, score, quality, source, photo, enrolled, name, *terms = values
    path, time, owner = source.encode("utf-8", "surrogateescape"), enrolled.encode(), name.encode()
    parts = [_NUMBERS.pack(face, person, left, top, width, height, score, quality, len(vector)), vector]
    for part in (path, photo, time, owner, *([text.encode() for text in terms] if terms != ["", ""] else ())):
        parts += _LENGTH.pack(len(part)), part
    return hashlib.sha256(b"".join(parts)).digest()[:16]


def mark(face: int, vector: bytes) -> int:
    """48 bits of SHA-256 over a face's id and vector.

    The sum of all marks identifies a set of faces, whatever their order. A change of one face changes the sum by the
    difference of two marks (Bellare & Micciancio 1997). The sum guards against accidents, not against attacks.
    """
    return int.from_bytes(hashlib.sha256(face.to_bytes(8, "little") + vector).digest()[:6], "little")


def seal(row: Row) -> tuple[bytes, int]:
    """Checksum and mark that belong to a row of SELECT_FACE."""
    return checksum(row[:-2]), mark(row[0], row[2])


def new_row(face: int, person: int, record: FaceRecord, dim: int, enrolled: str) -> Row:
    """The values of INSERT_FACE for a new face. Raises GalleryError when its vector is not `dim` finite numbers."""
    if record.vector.shape != (dim,) or not np.isfinite(record.vector).all():
        raise GalleryError(f"The embedding of {record.source} is not {dim} finite numbers; check the model")
    vector, photo = record.vector.astype("<f4", copy=False).tobytes(), bytes.fromhex(record.photo)
    numbers = (*map(float, record.box), float(record.score), float(record.quality))
    stored = (face, person, vector, *numbers, record.source, photo, enrolled)
    allowed = (record.consent, record.expires)
    return (*stored, *allowed, checksum((*stored, record.name, *allowed)), mark(face, vector))


def stored_faces(rows: Sequence[Row], dim: int, path: Path) -> StoredFaces:
    """Rows of SELECT_FACE, checked. Raises GalleryDamaged, which names the database `path`, for an altered row."""
    for row in rows:
        try:
            intact = len(row[2]) == 4 * dim and seal(row) == row[-2:]
        except (AttributeError, TypeError, ValueError, OverflowError, struct.error):  # a value of another type
            intact = False
        if not intact:
            raise damaged_face(row[0], path)
    columns = list(zip(*rows, strict=True)) if rows else [()] * _COLUMNS
    vectors = np.frombuffer(b"".join(columns[2]), "<f4").reshape(-1, dim)
    ids, people, marks = (np.array(columns[i], np.int64) for i in (0, 1, 16))
    quality = np.array(columns[8], np.float64)
    vectors = vectors.astype(np.float32, copy=False)
    return StoredFaces(ids, people, list(columns[12]), vectors, marks, quality, list(columns[14]))


def picture_checksum(face: int, picture: bytes) -> bytes:
    """Sixteen bytes of SHA-256 over a face's id and its kept picture."""
    return hashlib.sha256(_LENGTH.pack(face) + picture).digest()[:16]


def damaged_face(face: int, path: Path) -> GalleryDamaged:
    """The error for a face whose row was altered."""
    return GalleryDamaged(f"Face {face} in {path} is damaged; `facedex doctor` names its photo and what to do")
