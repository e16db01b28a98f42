"""gallery.db, the truth of a gallery: people, their faces, and the model these belong to.

SQLite in WAL mode: any number of readers beside one writer, each reader on a consistent snapshot, and a commit is
on disk before it is acknowledged. What can be asked of it is in contents.py; this module opens it and changes it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path

import numpy as np

from facedex.errors import GalleryDamaged, GalleryError, GalleryMismatch
from facedex.store import schema
from facedex.store.database import connect, translated
from facedex.store.queries import Contents
from facedex.store.rows import SELECT, TOGETHER, FaceRecord, StoredPhoto, insert, new_row, seal, vector_bytes

FILE = "gallery.db"
BUSY_SECONDS = 10.0

_CACHE = 16_384  # kB of pages that SQLite keeps
_MANY, _LARGE_CACHE = 5_000, 131_072  # faces added at once, for which it may keep more: photos' index is hit at random


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
    with translated(path), closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as db:
        return db.execute("SELECT 1 FROM sqlite_master").fetchone() is None


@dataclass
class _Change:
    """Whether a transaction deletes or replaces vectors, which are to be scrubbed then."""

    rewrites: bool


class Store(Contents):
    """An open gallery.db. Raises GalleryError and its kinds; use as a context manager."""

    def __init__(self, folder: Path, create_for: tuple[str, str, int] | None = None) -> None:
        """Open the database in `folder`; `create_for` (model fingerprint, its file, dim) makes it when there is none."""
        path = folder / FILE
        fresh = not is_there(folder)
        if fresh and create_for is None:
            raise GalleryError(f"{path} does not exist; enroll somebody first")
        with translated(path):
            if fresh:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            super().__init__(path, *connect(path, BUSY_SECONDS))
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

    # enrolling, and what people are called

    def add(self, records: Sequence[FaceRecord]) -> list[int]:
        """Add faces in one transaction; returns their ids. On disk when this returns."""
        if not records:
            return []
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        vectors = vector_bytes(records, self.state.dim)
        with self._bulk(len(records)), self._change(rewrites=False):
            people = self._add_people(dict.fromkeys(record.name for record in records))
            first = self._next("face")
            rows = [
                new_row(face, people[record.name], vector, record, now)
                for face, (vector, record) in enumerate(zip(vectors, records, strict=True), first)
            ]
            for at in range(0, len(rows), TOGETHER):
                part = rows[at : at + TOGETHER]
                self._db.execute(insert(len(part)), list(chain.from_iterable(part)))
            self._db.execute(
                f"UPDATE gallery SET faces = faces + ?, digest = (digest + ?) % {schema.MODULUS}",
                (len(rows), sum(row[-1] for row in rows) % schema.MODULUS),
            )
            return list(range(first, first + len(records)))

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
        with self._change(rewrites=False) as change:
            giver, taker = self._person(source), self._person(into)
            if giver == taker:
                raise GalleryError(f"{source!r} cannot be merged into itself; name two people")
            self._sound("face.person", giver)
            rows = self._db.execute("SELECT id, photo FROM face WHERE person = ?", (giver,)).fetchall()
            moved = 0
            for face, photo in rows:
                if self._db.execute("SELECT 1 FROM face WHERE person = ? AND photo = ?", (taker, photo)).fetchone():
                    change.rewrites = True  # it goes with its person
                    continue
                self._db.execute("UPDATE face SET person = ? WHERE id = ?", (taker, face))
                self._seal(face)
                moved += 1
            self._db.execute("DELETE FROM person WHERE id = ?", (giver,))
        return moved

    def relocate(self, photo: StoredPhoto, name: str, source: str) -> None:
        """Note that a photo lies elsewhere now, and whose it is by its new place."""
        with self._change(rewrites=False):
            self._sound("face.id", photo.face)
            former = self._owners([photo.face])
            self._db.execute("INSERT OR IGNORE INTO person (name) VALUES (?)", (name,))
            self._db.execute(
                "UPDATE face SET source = ?, person = (SELECT id FROM person WHERE name = ?) WHERE id = ?",
                (source, name, photo.face),
            )
            self._seal(photo.face)
            self._forget_empty(former)

    # deleting

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
            faces = list(faces)
            owners = self._owners(faces)
            gone = sum(self._db.execute("DELETE FROM face WHERE id = ?", (face,)).rowcount for face in faces)
            self._forget_empty(owners)
        return gone

    @property
    def unscrubbed(self) -> bool:
        """Whether deleted or replaced vectors may still be in the log or in free pages: `scrub` did not end since."""
        with translated(self.path):
            (done,) = self._db.execute("PRAGMA user_version").fetchone()
        return self.state.rewritten > done

    def scrub(self) -> bool:
        """Take what was deleted out of the log and the free pages too; False while a reader holds a snapshot."""
        with translated(self.path):
            rewritten = self.state.rewritten
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                self._db.execute("VACUUM")
                busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:  # noted only now, so that whoever writes next ends what was cut short
                self._db.execute(f"PRAGMA user_version = {rewritten}")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return not busy

    # the model, and the sums

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

    def note_engine(self, note: str | None) -> None:
        """Note which search engine holds the index; None where none does. No face changes, so the revision stays: by it
        a copy of a gallery is told from the gallery.
        """
        with self._whole():
            self._db.execute("DROP TABLE IF EXISTS engine")
            if note is not None:
                self._db.execute(schema.ENGINE)
                self._db.execute("INSERT INTO engine VALUES (?)", (note,))

    # parts

    @contextmanager
    def _change(self, rewrites: bool) -> Iterator[_Change]:
        """One transaction, and the revision moves with it."""
        with self._whole():
            change = _Change(rewrites)
            yield change
            self._db.execute(
                "UPDATE gallery SET revision = revision + 1, "
                "rewritten = CASE WHEN ? THEN revision + 1 ELSE rewritten END",
                (change.rewrites,),
            )

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """One transaction: all of it or nothing."""
        with translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _bulk(self, faces: int) -> Iterator[None]:
        """Around the transaction that adds many faces: SQLite may keep more pages, and does not look up whose each is,
        whom the same transaction finds or makes. To be able to refuse one it would copy what every statement changes.
        """
        if faces < _MANY:
            yield
            return
        with translated(self.path):
            (before,) = self._db.execute("PRAGMA cache_size").fetchone()
            try:
                self._db.execute(f"PRAGMA cache_size = -{_LARGE_CACHE}")
                self._db.execute("PRAGMA foreign_keys = OFF")
                yield
            finally:
                self._db.execute("PRAGMA foreign_keys = ON")
                self._db.execute(f"PRAGMA cache_size = {before}")

    def _add_people(self, names: Iterable[str]) -> dict[str, int]:
        """Ids of people by name, those who are new among them made."""
        found: dict[str, int] = {}
        first, wanted = self._next("person"), list(names)
        for start in range(0, len(wanted), 400):
            part = wanted[start : start + 400]
            new = dict(zip(part, range(first + start, first + start + len(part)), strict=True))
            # One statement for many: four times as fast as one each, because of the trigger.
            make = f"INSERT OR IGNORE INTO person (name, id) VALUES {','.join(['(?, ?)'] * len(part))}"
            if self._db.execute(make, [value for pair in new.items() for value in pair]).rowcount < len(part):
                marks = ",".join("?" * len(part))
                new = dict(self._db.execute(f"SELECT name, id FROM person WHERE name IN ({marks})", part).fetchall())
            found.update(new)
        return found

    def _next(self, table: str) -> int:
        """The id that AUTOINCREMENT would give next in a table: above all that it holds or ever held."""
        query = f"SELECT MAX(id) FROM {table} UNION ALL SELECT seq FROM sqlite_sequence WHERE name = ?"
        return 1 + max(int(last or 0) for (last,) in self._db.execute(query, (table,)).fetchall())

    def _person(self, name: str) -> int:
        return self._find(name)[0]

    def _owners(self, faces: Sequence[int]) -> set[int]:
        """Whose these faces are."""
        one = "SELECT person FROM face WHERE id = ?"
        return {person for face in faces for (person,) in self._db.execute(one, (face,)).fetchall()}

    def _forget_empty(self, people: Iterable[int]) -> None:
        """Delete those of the people who have no face left."""
        for person in people:
            none = "DELETE FROM person WHERE id = ? AND NOT EXISTS (SELECT 1 FROM face WHERE person = ?)"
            self._db.execute(none, (person, person))

    def _sound(self, column: str, value: int) -> None:
        """Raise GalleryDamaged for damage in these faces, which a new seal would hide for good."""
        self._chosen(column, [value])

    def _seal(self, face: int) -> None:
        """Write a face's checksum and mark, as it is now; `_sound` is to be asked before it is changed."""
        row = self._db.execute(f"{SELECT} WHERE face.id = ?", (face,)).fetchone()
        self._db.execute("UPDATE face SET checksum = ?, mark = ? WHERE id = ?", (*seal(row), face))

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
            try:
                schema.migrate(self._db)
            except sqlite3.OperationalError as error:
                if "readonly" not in str(error):
                    raise
                raise GalleryError(
                    f"{self.path} has an older version of the format, which is brought up to date where it can be written; "
                    "copy the gallery's folder to such a place"
                ) from None
        elif version != schema.VERSION:
            raise GalleryMismatch(
                f"{self.path} has version {version} of the format, this facedex reads {schema.VERSION}; upgrade facedex"
            )
