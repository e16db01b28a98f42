"""gallery.db, the truth of a gallery: people, their faces, and the model these belong to.

SQLite in WAL mode: any number of readers beside one writer, each reader on a consistent snapshot, and a commit is
on disk before it is acknowledged. Every face carries a checksum of what it means, because SQLite's pages have none.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from facedex import schema
from facedex.database import connect, stamp
from facedex.database import translated as _translated
from facedex.errors import GalleryBusy, GalleryDamaged, GalleryError, GalleryMismatch, PersonNotFound

FILE = "gallery.db"
BUSY_SECONDS = 10.0

_CACHE = 16_384  # kB of pages that SQLite keeps
_MANY, _LARGE_CACHE = 5_000, 131_072  # faces added at once, for which it may keep more: photos' index is hit at random


@dataclass(frozen=True)
class FaceRecord:
    """One face to enrol: `vector` (dim,) float32 of unit length, `box` (left, top, width, height) in pixels."""

    name: str
    vector: np.ndarray
    box: tuple[float, float, float, float]
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
    """One enrolled face by its photo: `source` is where that was (people.source_path), `photo` its SHA-256, hex."""

    face: int
    name: str
    source: str
    photo: str


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
    """Faces as they are looked up: `ids`, `people`, `marks` (n,) int64, `names`, `vectors` (n, dim) float32."""

    ids: np.ndarray
    people: np.ndarray
    names: list[str]
    vectors: np.ndarray
    marks: np.ndarray

    def joined(self, other: StoredFaces) -> StoredFaces:
        """These and the others."""
        arrays = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("ids", "people", "vectors", "marks")
        }
        return StoredFaces(names=self.names + other.names, **arrays)


def is_there(folder: Path) -> bool:
    """Whether a folder holds a gallery's database. Raises GalleryError where that cannot be seen."""
    try:
        (folder / FILE).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise GalleryError(f"{folder} cannot be read ({error.strerror}); check its permissions") from None
    return True


def is_unfinished(folder: Path) -> bool:
    """Whether a process was killed while it made the database in `folder`, which holds nothing yet then."""
    path = folder / FILE
    with _translated(path), closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as db:
        return db.execute("SELECT 1 FROM sqlite_master").fetchone() is None


class Store:
    """An open gallery.db. Raises GalleryError and its kinds; use as a context manager."""

    def __init__(self, folder: Path, create_for: tuple[str, str, int] | None = None) -> None:
        """Open the database in `folder`; `create_for` (model fingerprint, its file, dim) makes it when there is none."""
        self.path = folder / FILE
        fresh = not is_there(folder)
        if fresh and create_for is None:
            raise GalleryError(f"{self.path} does not exist; enroll somebody first")
        with _translated(self.path):
            if fresh:
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._db, self._frozen = connect(self.path, BUSY_SECONDS)
            try:
                self._db.execute(f"PRAGMA cache_size = -{_CACHE}")
                if create_for is not None:
                    self._create(*create_for)
                self._check_version()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; safe to call twice."""
        self._db.close()

    @property
    def state(self) -> State:
        """Model, dimension and revisions as of now."""
        with _translated(self.path):
            if self._frozen is not None and stamp(self.path) != self._frozen:
                raise GalleryBusy(f"{self.path} was changed by another user meanwhile; open the gallery again")
            row = self._db.execute(f"SELECT {_STATE} FROM gallery").fetchone()
        if row is None:
            raise GalleryDamaged(f"{self.path} has lost its description; restore a copy or enroll again")
        return State(*row)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads on one state of the gallery."""
        with _translated(self.path):
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("COMMIT")

    @contextmanager
    def _change(self, rewrites: bool) -> Iterator[None]:
        """One transaction: all of it or nothing, and the revision moves with it."""
        with _translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute(
                    "UPDATE gallery SET revision = revision + 1, "
                    "rewritten = CASE WHEN ? THEN revision + 1 ELSE rewritten END",
                    (rewrites,),
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _roomy(self, faces: int) -> Iterator[None]:
        """Let SQLite keep more pages while many faces are added."""
        (before,) = self._db.execute("PRAGMA cache_size").fetchone()
        if faces >= _MANY:
            self._db.execute(f"PRAGMA cache_size = -{_LARGE_CACHE}")
        try:
            yield
        finally:
            self._db.execute(f"PRAGMA cache_size = {before}")

    # writing

    def add(self, records: Sequence[FaceRecord]) -> list[int]:
        """Add faces in one transaction; returns their ids. On disk when this returns."""
        if not records:
            return []
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        vectors = _vectors(records, self.state.dim)
        with self._change(rewrites=False), self._roomy(len(records)):
            people = self._add_people(dict.fromkeys(record.name for record in records))
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'face'").fetchone()
            first = int(row[0]) + 1 if row else 1
            rows = [
                _row(face, people[record.name], vector, record, now)
                for face, (vector, record) in enumerate(zip(vectors, records, strict=True), first)
            ]
            self._db.executemany(
                "INSERT INTO face (id, person, vector, box_left, box_top, box_width, box_height, score, quality, source, "
                "photo, enrolled, checksum, mark) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._db.execute(
                f"UPDATE gallery SET faces = faces + ?, digest = (digest + ?) % {schema.MODULUS}",
                (len(rows), sum(row[-1] for row in rows) % schema.MODULUS),
            )
            return list(range(first, first + len(records)))

    def _add_people(self, names: Iterable[str]) -> dict[str, int]:
        """Ids of people by name, those who are new among them made."""
        found: dict[str, int] = {}
        wanted = list(names)
        self._db.executemany("INSERT OR IGNORE INTO person (name) VALUES (?)", ((name,) for name in wanted))
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            marks = ",".join("?" * len(part))
            found.update(self._db.execute(f"SELECT name, id FROM person WHERE name IN ({marks})", part).fetchall())
        return found

    def _sound(self, column: str, value: int) -> None:
        """Raise GalleryDamaged for damage in these faces, which a new seal would hide for good."""
        self._chosen(column, [value])

    def _seal(self, face: int) -> None:
        """Write a face's checksum and mark, as it is now; `_sound` is to be asked before it is changed."""
        row = self._db.execute(f"{_SELECT} WHERE face.id = ?", (face,)).fetchone()
        self._db.execute(
            "UPDATE face SET checksum = ?, mark = ? WHERE id = ?",
            (schema.checksum(*row[:-2]), schema.mark(face, row[2]), face),
        )

    def rename(self, old: str, new: str) -> None:
        """Give a person another name. Raises PersonNotFound, GalleryError when the new name is taken."""
        with self._change(rewrites=False):
            person = self._person(old)
            taken = self._db.execute("SELECT id FROM person WHERE name = ?", (new,)).fetchone()
            if taken and taken[0] != person:
                raise GalleryError(f"{new!r} is enrolled already; use merge to make the two one person")
            self._sound("face.person", person)
            self._db.execute("UPDATE person SET name = ? WHERE id = ?", (new, person))
            for (face,) in self._db.execute("SELECT id FROM face WHERE person = ?", (person,)).fetchall():
                self._seal(face)

    def merge(self, source: str, into: str) -> int:
        """Give all of one person's faces to another; returns how many. A photo both have is kept once."""
        with self._change(rewrites=True):
            giver, taker = self._person(source), self._person(into)
            if giver == taker:
                raise GalleryError(f"{source!r} cannot be merged into itself; name two people")
            self._sound("face.person", giver)
            rows = self._db.execute("SELECT id, photo FROM face WHERE person = ?", (giver,)).fetchall()
            moved = 0
            for face, photo in rows:
                if self._db.execute("SELECT 1 FROM face WHERE person = ? AND photo = ?", (taker, photo)).fetchone():
                    continue
                self._db.execute("UPDATE face SET person = ? WHERE id = ?", (taker, face))
                self._seal(face)
                moved += 1
            self._db.execute("DELETE FROM person WHERE id = ?", (giver,))
        return moved

    def remove(self, names: Iterable[str]) -> int:
        """Delete people and their faces in one transaction; returns how many faces went."""
        with self._change(rewrites=True):
            gone = 0
            for person in [self._person(name) for name in names]:
                gone += self._db.execute("DELETE FROM face WHERE person = ?", (person,)).rowcount
                self._db.execute("DELETE FROM person WHERE id = ?", (person,))
        return gone

    def remove_faces(self, faces: Iterable[int]) -> int:
        """Delete single faces, and people who have none left, in one transaction; returns how many faces went."""
        with self._change(rewrites=True):
            gone = sum(self._db.execute("DELETE FROM face WHERE id = ?", (face,)).rowcount for face in faces)
            self._db.execute("DELETE FROM person WHERE id NOT IN (SELECT person FROM face)")
        return gone

    def relocate(self, photo: StoredPhoto, name: str, source: str) -> None:
        """Note that a photo lies elsewhere now, and whose it is by its new place."""
        with self._change(rewrites=False):
            self._sound("face.id", photo.face)
            self._db.execute("INSERT OR IGNORE INTO person (name) VALUES (?)", (name,))
            self._db.execute(
                "UPDATE face SET source = ?, person = (SELECT id FROM person WHERE name = ?) WHERE id = ?",
                (source, name, photo.face),
            )
            self._seal(photo.face)
            self._db.execute("DELETE FROM person WHERE id NOT IN (SELECT person FROM face)")

    @property
    def unscrubbed(self) -> bool:
        """Whether deleted or replaced vectors may still be in the log or in free pages: `scrub` did not end since."""
        with _translated(self.path):
            (done,) = self._db.execute("PRAGMA user_version").fetchone()
        return self.state.rewritten > done

    def scrub(self) -> bool:
        """Take what was deleted out of the log and the free pages too; False while a reader holds a snapshot."""
        with _translated(self.path):
            rewritten = self.state.rewritten
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                self._db.execute("VACUUM")
                busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:  # noted only now, so that whoever writes next ends what was cut short
                self._db.execute(f"PRAGMA user_version = {rewritten}")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return not busy

    def bind_model(self, model: str, model_file: str) -> None:
        """Bind to another file of the same encoder: a new head or calibration; vectors stay."""
        with self._change(rewrites=True):
            self._db.execute("UPDATE gallery SET model = ?, model_file = ?", (model, model_file))

    def replace_vectors(
        self, model: str, model_file: str, dim: int, vectors: dict[int, tuple[np.ndarray, float]]
    ) -> None:
        """Re-encode: give every listed face a new vector and quality, forget the others, bind to another model."""
        with self._change(rewrites=True):
            rows = self._db.execute("SELECT id FROM face").fetchall()
            for (face,) in rows:
                if face not in vectors:
                    self._db.execute("DELETE FROM face WHERE id = ?", (face,))
                    continue
                self._sound("face.id", face)
                vector, quality = vectors[face]
                blob = np.asarray(vector, "<f4").tobytes()
                self._db.execute("UPDATE face SET vector = ?, quality = ? WHERE id = ?", (blob, quality, face))
                self._seal(face)
            self._db.execute("DELETE FROM person WHERE id NOT IN (SELECT person FROM face)")
            self._db.execute("UPDATE gallery SET model = ?, model_file = ?, dim = ?", (model, model_file, dim))

    def recount(self) -> None:
        """Sum up anew whom the gallery holds, after damage."""
        with self._change(rewrites=False):
            self._db.execute("UPDATE gallery SET people = ?, faces = ?, digest = ?", self.counted())

    # reading

    def counted(self) -> tuple[int, int, int]:
        """(people, faces, digest) as the tables have them; `state` has them as they were summed up change by change."""
        with _translated(self.path):
            (people,) = self._db.execute("SELECT COUNT(*) FROM person").fetchone()
            faces, low, high = self._db.execute(  # in halves: a sum of a million marks is beyond SQLite's numbers
                "SELECT COUNT(*), COALESCE(SUM(mark & 16777215), 0), COALESCE(SUM(mark >> 24), 0) FROM face"
            ).fetchone()
        return people, faces, (low + (high << 24)) % schema.MODULUS

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy the whole database as it is now, while others read and write (SQLite's backup API)."""
        with _translated(self.path):
            self._db.backup(target)

    def people(self) -> list[PersonRecord]:
        """Everybody, by name."""
        with _translated(self.path):
            rows = self._db.execute(
                "SELECT name, COUNT(face.id), COALESCE(MIN(enrolled), '') FROM person "
                "LEFT JOIN face ON face.person = person.id GROUP BY person.id ORDER BY name"
            ).fetchall()
        return [PersonRecord(*row) for row in rows]

    def count(self) -> tuple[int, int]:
        """(people, faces)."""
        state = self.state
        return state.people, state.faces

    def owners(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all faces in ascending order and the person of each, two (n,) int64 arrays."""
        with _translated(self.path):
            rows = self._db.execute("SELECT id, person FROM face ORDER BY id").fetchall()
        try:
            table = np.array(rows, np.int64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):  # a value of another type than was written
            raise GalleryDamaged(f"{self.path} is damaged; run `facedex doctor`, or restore a copy") from None
        return table[:, 0].copy(), table[:, 1].copy()

    def names(self) -> dict[int, str]:
        """Name by person id."""
        with _translated(self.path):
            return dict(self._db.execute("SELECT id, name FROM person").fetchall())

    def known_photo(self, photo: str) -> list[str]:
        """Names under which a photo (SHA-256, hex) is enrolled."""
        with _translated(self.path):
            rows = self._db.execute(
                "SELECT name FROM face JOIN person ON person.id = face.person WHERE photo = ?", (bytes.fromhex(photo),)
            ).fetchall()
        return [name for (name,) in rows]

    def photos(self, photo: str | None = None) -> list[StoredPhoto]:
        """Every face's photo, by id, or only those of one photo (SHA-256, hex)."""
        where, values = ("", ()) if photo is None else (" WHERE photo = ?", (bytes.fromhex(photo),))
        with _translated(self.path):
            rows = self._db.execute(
                f"SELECT face.id, name, source, photo FROM face JOIN person ON person.id = face.person{where} ORDER BY face.id",
                values,
            ).fetchall()
        return [StoredPhoto(face, name, source, digest.hex()) for face, name, source, digest in rows]

    def sources(self) -> list[tuple[int, str, str, tuple[float, float, float, float]]]:
        """(id, path, SHA-256, box) of every face, by id."""
        with _translated(self.path):
            rows = self._db.execute(
                "SELECT id, source, photo, box_left, box_top, box_width, box_height FROM face ORDER BY id"
            ).fetchall()
        return [(face, source, photo.hex(), (a, b, c, d)) for face, source, photo, a, b, c, d in rows]

    def ids(self) -> np.ndarray:
        """Ids of all faces (n,) int64, ascending."""
        with _translated(self.path):
            rows = self._db.execute("SELECT id FROM face ORDER BY id").fetchall()
        return np.array(rows, np.int64).reshape(-1)

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

    def faces(self, ids: Sequence[int]) -> StoredFaces:
        """These faces, as far as they are there, checksums verified. Raises GalleryDamaged as `vectors` does."""
        return self._chosen("face.id", ids)

    def faces_of(self, people: Sequence[int]) -> StoredFaces:
        """All faces of these people (ids), checksums verified. Raises GalleryDamaged as `vectors` does."""
        return self._chosen("face.person", people)

    def _chosen(self, column: str, values: Sequence[int]) -> StoredFaces:
        rows: list[tuple] = []
        with _translated(self.path):
            for start in range(0, len(values), 500):
                part = [int(value) for value in values[start : start + 500]]
                marks = ",".join("?" * len(part))
                rows += self._db.execute(f"{_SELECT} WHERE {column} IN ({marks})", part).fetchall()
        at, asked = ("face.id", "face.person").index(column), set(values)
        if any(row[at] not in asked for row in rows):
            raise self.misled()
        return self._verified(rows)

    def misled(self) -> GalleryDamaged:
        """The error for an index of SQLite's, which has no checksum, that leads elsewhere than its table."""
        return GalleryDamaged(
            f"{self.path} is damaged, its own index at least; run `facedex doctor`, which repairs that"
        )

    def photos_each(self) -> np.ndarray:
        """How many faces each person has (people,) int64, in no particular order; counted by SQLite."""
        with _translated(self.path):
            table = self._db.execute(
                "SELECT n, COUNT(*) FROM (SELECT COUNT(*) AS n FROM face GROUP BY person) GROUP BY n"
            ).fetchall()
        counts = np.array(table, np.int64).reshape(-1, 2)
        return np.repeat(counts[:, 0], counts[:, 1])

    def blocks(self, after: int = 0, size: int = 20_000) -> Iterator[StoredFaces]:
        """All faces above an id in its order, `size` at a time, checksums verified. Raises GalleryDamaged."""
        while True:
            with _translated(self.path):
                rows = self._db.execute(
                    f"{_SELECT} WHERE face.id > ? ORDER BY face.id LIMIT ?", (after, size)
                ).fetchall()
            if not rows:
                return
            yield self._verified(rows)
            after = rows[-1][0]

    def _verified(self, rows: list[tuple]) -> StoredFaces:
        dim = self.state.dim
        for row in rows:
            try:
                whole = (
                    len(row[2]) == 4 * dim
                    and schema.checksum(*row[:-2]) == row[-2]
                    and schema.mark(row[0], row[2]) == row[-1]
                )
            except (AttributeError, TypeError, ValueError, OverflowError, struct.error):  # not of the type written
                whole = False
            if not whole:
                raise GalleryDamaged(
                    f"Face {row[0]} in {self.path} is damaged; `facedex doctor` names its photo and what to do"
                )
        columns = list(zip(*rows, strict=True)) if rows else [()] * 15
        vectors = np.frombuffer(b"".join(columns[2]), "<f4").reshape(-1, dim)
        ids, people, marks = (np.array(columns[i], np.int64) for i in (0, 1, 14))
        return StoredFaces(ids, people, list(columns[12]), vectors.astype(np.float32, copy=False), marks)

    def stored_name(self, name: str) -> str:
        """A person's name as it is kept, in NFC. Raises PersonNotFound."""
        return self._find(name)[1]

    def _person(self, name: str) -> int:
        return self._find(name)[0]

    def _find(self, name: str) -> tuple[int, str]:
        with _translated(self.path):
            # What a shell passes may be neither NFC nor Unicode.
            wanted = unicodedata.normalize("NFC", name).encode("utf-8", "replace").decode()
            row = self._db.execute("SELECT id, name FROM person WHERE name = ?", (wanted,)).fetchone()
        if row is None:
            raise PersonNotFound(f"Nobody named {name!r} is enrolled; `facedex list` shows the names")
        return int(row[0]), str(row[1])

    def _create(self, model: str, model_file: str, dim: int) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("BEGIN IMMEDIATE")
        # Two processes may create at once: the second finds the table there.
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'gallery'").fetchone():
            schema.create(self._db)
            self._db.execute(
                "INSERT INTO gallery VALUES (1, ?, ?, ?, ?, 0, 0, 0, 0, 0)", (schema.VERSION, model, model_file, dim)
            )
        self._db.execute("COMMIT")

    def _check_version(self) -> None:
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'gallery'").fetchone():
            raise GalleryDamaged(f"{self.path} is no facedex gallery; name another folder, or remove that file")
        (version,) = self._db.execute("SELECT schema_version FROM gallery").fetchone() or (None,)
        if version == 1:
            schema.migrate(self._db)
        elif version != schema.VERSION:
            raise GalleryMismatch(
                f"{self.path} has version {version} of the format, this facedex reads {schema.VERSION}; upgrade facedex"
            )


_STATE = "model, model_file, dim, revision, rewritten, people, faces, digest"
_SELECT = (
    "SELECT face.id, person, vector, box_left, box_top, box_width, box_height, score, quality, source, photo, "
    "enrolled, name, checksum, mark FROM face LEFT JOIN person ON person.id = face.person"
)


def _vectors(records: Sequence[FaceRecord], dim: int) -> list[bytes]:
    """The vectors of new faces as they are stored. Raises GalleryError for one that is not `dim` finite numbers."""
    sound = [record.vector.shape == (dim,) for record in records]
    if all(sound):
        matrix = np.array([record.vector for record in records], "<f4")
        sound = np.isfinite(matrix).all(1).tolist()
    if not all(sound):
        source = records[sound.index(False)].source
        raise GalleryError(f"The embedding of {source} is not {dim} finite numbers; check the model")
    whole, size = matrix.tobytes(), 4 * dim
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _row(face: int, person: int, vector: bytes, record: FaceRecord, enrolled: str) -> tuple:
    """A new face's columns."""
    photo, (left, top, width, height) = bytes.fromhex(record.photo), map(float, record.box)
    facts = (left, top, width, height, float(record.score), float(record.quality), record.source, photo, enrolled)
    checks = schema.checksum(face, person, vector, *facts, record.name), schema.mark(face, vector)
    return (face, person, vector, *facts, *checks)
