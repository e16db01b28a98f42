"""What gallery.db says of people and faces, and how a face becomes a row there and is read back.

Every row carries a checksum of what it means, because SQLite's pages have none, and a mark, by which a projection knows
it. A row is believed only when both are right.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedex.errors import GalleryDamaged, GalleryError
from facedex.faces.boxes import Box
from facedex.store import schema

SELECT = (
    "SELECT face.id, person, vector, box_left, box_top, box_width, box_height, score, quality, source, photo, "
    "enrolled, name, checksum, mark FROM face LEFT JOIN person ON person.id = face.person"
)
TOGETHER = 35  # faces that one statement puts in: more are no faster, and SQLite may not take so many values
_INSERT = (  # a refusal ends the whole transaction, so that none of its statements has to be undone alone
    "INSERT OR ROLLBACK INTO face (id, person, vector, box_left, box_top, box_width, box_height, score, quality, "
    "source, photo, enrolled, checksum, mark) VALUES "
)


@dataclass(frozen=True)
class FaceRecord:
    """One face to enrol: `vector` (dim,) float32 of unit length, `box` (left, top, width, height) in pixels, `quality` the
    vector's length before (EncodedFace.quality), 0 where not known.
    """

    name: str
    vector: np.ndarray
    box: Box
    score: float
    quality: float
    source: str
    photo: str  # SHA-256, hex


@dataclass(frozen=True)
class PersonRecord:
    """One enrolled person: how many photos, and when the first was enrolled (ISO 8601, UTC)."""

    name: str
    photos: int
    enrolled: str


@dataclass(frozen=True)
class StoredPhoto:
    """One enrolled face by its photo: `source` is where that was (people.source_path), `photo` its SHA-256, hex, `box`
    the face's place in it (left, top, width, height) in pixels.
    """

    face: int
    name: str
    source: str
    photo: str
    box: Box


@dataclass(frozen=True)
class State:
    """The one row that binds a gallery to its model, and sums up whom it holds."""

    model: str
    model_file: str
    dim: int
    revision: int
    rewritten: int
    people: int
    faces: int
    digest: int


@dataclass(frozen=True)
class StoredFaces:
    """Faces as they are looked up: `ids`, `people`, `marks` (n,) int64, `names`, `vectors` (n, dim) float32, `quality` (n,)
    float64.
    """

    ids: np.ndarray
    people: np.ndarray
    names: list[str]
    vectors: np.ndarray
    marks: np.ndarray
    quality: np.ndarray

    def joined(self, other: StoredFaces) -> StoredFaces:
        """These and the others."""
        arrays = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("ids", "people", "vectors", "marks", "quality")
        }
        return StoredFaces(names=self.names + other.names, **arrays)


def vector_bytes(records: Sequence[FaceRecord], dim: int) -> list[bytes]:
    """The vectors of new faces as they are stored. Raises GalleryError for one that is not `dim` finite numbers."""
    sound = [record.vector.shape == (dim,) for record in records]
    if all(sound):
        matrix = np.concatenate([record.vector for record in records]).astype("<f4", copy=False).reshape(-1, dim)
        sound = np.isfinite(matrix).all(1).tolist()
    if not all(sound):
        source = records[sound.index(False)].source
        raise GalleryError(f"The embedding of {source} is not {dim} finite numbers; check the model")
    whole, size = matrix.tobytes(), 4 * dim
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def insert(faces: int) -> str:
    """The statement that puts in so many rows as `new_row` gives them, their values one after another."""
    return _INSERT + ",".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * faces)


def new_row(face: int, person: int, vector: bytes, record: FaceRecord, enrolled: str) -> tuple:
    """A new face as `insert` takes it."""
    photo, (left, top, width, height) = bytes.fromhex(record.photo), map(float, record.box)
    facts = (left, top, width, height, float(record.score), float(record.quality), record.source, photo, enrolled)
    checks = schema.checksum(face, person, vector, *facts, record.name), schema.mark(face, vector)
    return (face, person, vector, *facts, *checks)


def seal(row: tuple) -> tuple[bytes, int]:
    """Checksum and mark of a row of SELECT, as it is now."""
    return schema.checksum(*row[:-2]), schema.mark(row[0], row[2])


def stored_faces(rows: Sequence[tuple], dim: int, path: Path) -> StoredFaces:
    """Rows of SELECT. Raises GalleryDamaged for one of the database at `path` that no longer means what was written."""
    for row in rows:
        try:
            whole = len(row[2]) == 4 * dim and seal(row) == row[-2:]
        except (AttributeError, TypeError, ValueError, OverflowError, struct.error):  # not of the type written
            whole = False
        if not whole:
            raise GalleryDamaged(f"Face {row[0]} in {path} is damaged; `facedex doctor` names its photo and what to do")
    columns = list(zip(*rows, strict=True)) if rows else [()] * 15
    vectors = np.frombuffer(b"".join(columns[2]), "<f4").reshape(-1, dim)
    ids, people, marks = (np.array(columns[i], np.int64) for i in (0, 1, 14))
    quality = np.array(columns[8], np.float64)
    return StoredFaces(ids, people, list(columns[12]), vectors.astype(np.float32, copy=False), marks, quality)
