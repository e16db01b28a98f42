"""What gallery.db holds, as it is now: people and their faces, and the model these belong to, read and verified."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from facedex.errors import GalleryBusy, GalleryDamaged, PersonNotFound
from facedex.faces.boxes import Box
from facedex.store import schema
from facedex.store.database import Stamp, stamp, translated
from facedex.store.rows import SELECT, PersonRecord, State, StoredFaces, StoredPhoto, stored_faces


class Contents:
    """All that can be asked of an open gallery.db. Raises GalleryError and its kinds."""

    def __init__(self, path: Path, db: sqlite3.Connection, frozen: Stamp | None = None) -> None:
        """`frozen`: the stamp of a database that was opened as one that nobody can change."""
        self.path, self._db, self._frozen = path, db, frozen
        self._held: State | None = None  # the state of the snapshot that is being read, once it was asked for

    @property
    def state(self) -> State:
        """Model, dimension and revisions as of now, or of the snapshot that is being read."""
        if self._held is not None:
            return self._held
        with translated(self.path):
            self._unchanged()
            row = self._db.execute(
                "SELECT model, model_file, dim, revision, rewritten, people, faces, digest FROM gallery"
            ).fetchone()
        if row is None:
            raise GalleryDamaged(f"{self.path} has lost its description; restore a copy or enroll again")
        return State(*row)

    @property
    def engine_note(self) -> str | None:
        """What is noted of the search engine that holds the index (see engine.py); None where nothing is."""
        there = self._rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'engine'")
        rows = self._rows("SELECT note FROM engine") if there else []
        return str(rows[0][0]) if rows else None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads on one state of the gallery."""
        with translated(self.path):
            self._db.execute("BEGIN")
            try:
                self._held = self.state
                yield
                self._unchanged()
            finally:
                self._held = None
                self._db.execute("COMMIT")

    def _unchanged(self) -> None:
        """Raise GalleryBusy for a database that was changed though nobody could."""
        if self._frozen is not None and stamp(self.path) != self._frozen:
            raise GalleryBusy(f"{self.path} was changed by another user meanwhile; open the gallery again")

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy the whole database as it is now, while others read and write (SQLite's backup API)."""
        with translated(self.path):
            self._db.backup(target)

    # how many

    def count(self) -> tuple[int, int]:
        """(people, faces)."""
        state = self.state
        return state.people, state.faces

    def counted(self) -> tuple[int, int, int]:
        """(people, faces, digest) as the tables have them; `state` has them as they were summed up change by change."""
        ((people,),) = self._rows("SELECT COUNT(*) FROM person")
        ((faces, low, high),) = self._rows(  # in halves: a sum of a million marks is beyond SQLite's numbers
            "SELECT COUNT(*), COALESCE(SUM(mark & 16777215), 0), COALESCE(SUM(mark >> 24), 0) FROM face"
        )
        return people, faces, (low + (high << 24)) % schema.MODULUS

    def digests(self, size: int) -> dict[int, tuple[int, int]]:
        """Count and sum of the marks of each `size` ids that follow each other (at most 2^15), by id // size."""
        rows = self._rows("SELECT id / ?, COUNT(*), SUM(mark) FROM face GROUP BY 1", (size,))
        return {part: (count, total) for part, count, total in rows}

    def photos_each(self) -> np.ndarray:
        """How many faces each person has (people,) int64, in no particular order; counted by SQLite."""
        table = self._rows("SELECT n, COUNT(*) FROM (SELECT COUNT(*) AS n FROM face GROUP BY person) GROUP BY n")
        counts = np.array(table, np.int64).reshape(-1, 2)
        return np.repeat(counts[:, 0], counts[:, 1])

    # people

    def people(self) -> list[PersonRecord]:
        """Everybody, by name."""
        rows = self._rows(
            "SELECT name, COUNT(face.id), COALESCE(MIN(enrolled), '') FROM person "
            "LEFT JOIN face ON face.person = person.id GROUP BY person.id ORDER BY name"
        )
        return [PersonRecord(*row) for row in rows]

    def names(self) -> dict[int, str]:
        """Name by person id."""
        return dict(self._rows("SELECT id, name FROM person"))

    def stored_name(self, name: str) -> str:
        """A person's name as it is kept, in NFC. Raises PersonNotFound."""
        return self._find(name)[1]

    def _find(self, name: str) -> tuple[int, str]:
        """A person's id and name. Raises PersonNotFound."""
        # What a shell passes may be neither NFC nor Unicode.
        wanted = unicodedata.normalize("NFC", name).encode("utf-8", "replace").decode()
        rows = self._rows("SELECT id, name FROM person WHERE name = ?", (wanted,))
        if not rows:
            raise PersonNotFound(f"Nobody named {name!r} is enrolled; `facedex list` shows the names")
        return int(rows[0][0]), str(rows[0][1])

    # photos

    def photos(self, photo: str | None = None) -> list[StoredPhoto]:
        """Every face's photo, by id, or only those of one photo (SHA-256, hex)."""
        where, values = ("", ()) if photo is None else (" WHERE photo = ?", (bytes.fromhex(photo),))
        rows = self._rows(
            "SELECT face.id, name, source, photo, box_left, box_top, box_width, box_height "
            f"FROM face JOIN person ON person.id = face.person{where} ORDER BY face.id",
            values,
        )
        return [
            StoredPhoto(face, name, source, digest.hex(), (a, b, c, d))
            for face, name, source, digest, a, b, c, d in self._typed(rows, 2, 3)
        ]

    def sources(self) -> list[tuple[int, str, str, Box]]:
        """(id, path, SHA-256, box) of every face, by id."""
        rows = self._rows("SELECT id, source, photo, box_left, box_top, box_width, box_height FROM face ORDER BY id")
        return [
            (face, source, photo.hex(), (a, b, c, d)) for face, source, photo, a, b, c, d in self._typed(rows, 1, 2)
        ]

    def described(self, face: int) -> tuple[str, str]:
        """Source and name of a face whose record is damaged, as far as they can still be read."""
        before, self._db.text_factory = self._db.text_factory, bytes
        try:
            rows = self._rows(
                "SELECT source, name FROM face LEFT JOIN person ON person.id = face.person WHERE face.id = ?", (face,)
            )
        finally:
            self._db.text_factory = before
        source, name = (
            value.decode("utf-8", "replace") if isinstance(value, bytes) else "?" for value in (rows or [(0, 0)])[0]
        )
        return source, name

    def _typed(self, rows: list[tuple], source: int, photo: int) -> list[tuple]:
        """The rows, if path, SHA-256 and box, the last four, are of the type that was written. Raises GalleryDamaged."""
        for row in rows:
            sound = isinstance(row[source], str) and isinstance(row[photo], bytes)
            if not (sound and all(isinstance(value, float) for value in row[-4:])):
                raise GalleryDamaged(
                    f"Face {row[0]} in {self.path} is damaged; `facedex doctor` names its photo and what to do"
                )
        return rows

    # faces

    def ids(self) -> np.ndarray:
        """Ids of all faces (n,) int64, ascending."""
        return np.array(self._rows("SELECT id FROM face ORDER BY id"), np.int64).reshape(-1)

    def owners(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all faces in ascending order and the person of each, two (n,) int64 arrays."""
        rows = self._rows("SELECT id, person FROM face ORDER BY id")
        try:
            table = np.array(rows, np.int64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):  # a value of another type than was written
            raise GalleryDamaged(f"{self.path} is damaged; run `facedex doctor`, or restore a copy") from None
        return table[:, 0].copy(), table[:, 1].copy()

    def faces(self, ids: Sequence[int]) -> StoredFaces:
        """These faces, as far as they are there, checksums verified. Raises GalleryDamaged as `vectors` does."""
        return self._chosen("face.id", ids)

    def faces_of(self, people: Sequence[int]) -> StoredFaces:
        """All faces of these people (ids), checksums verified. Raises GalleryDamaged as `vectors` does."""
        return self._chosen("face.person", people)

    def blocks(self, after: int = 0, size: int = 20_000) -> Iterator[StoredFaces]:
        """All faces above an id in its order, `size` at a time, checksums verified. Raises GalleryDamaged."""
        while rows := self._rows(f"{SELECT} WHERE face.id > ? ORDER BY face.id LIMIT ?", (after, size)):
            yield stored_faces(rows, self.state.dim, self.path)
            after = rows[-1][0]

    def vectors(self, ids: Sequence[int] | None = None, after: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Ids (n,) int64 and vectors (n, dim) float32, checksums verified: those of `ids`, or all above `after`.

        Raises GalleryDamaged for a record that no longer means what was written.
        """
        if ids is not None:
            found = self.faces(ids)
            return found.ids, found.vectors
        parts = list(self.blocks(after))
        if not parts:
            return np.empty(0, np.int64), np.empty((0, self.state.dim), np.float32)
        return np.concatenate([part.ids for part in parts]), np.concatenate([part.vectors for part in parts])

    def misled(self) -> GalleryDamaged:
        """The error for an index of SQLite's, which has no checksum, that leads elsewhere than its table."""
        return GalleryDamaged(
            f"{self.path} is damaged, its own index at least; run `facedex doctor`, which repairs that"
        )

    def _chosen(self, column: str, values: Sequence[int]) -> StoredFaces:
        rows: list[tuple] = []
        for start in range(0, len(values), 500):
            part = [int(value) for value in values[start : start + 500]]
            marks = ",".join("?" * len(part))
            rows += self._rows(f"{SELECT} WHERE {column} IN ({marks})", part)
        at, asked = ("face.id", "face.person").index(column), set(values)
        if any(row[at] not in asked for row in rows):
            raise self.misled()
        return stored_faces(rows, self.state.dim, self.path)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple]:
        with translated(self.path):
            return self._db.execute(query, values).fetchall()
