"""The people and faces of gallery.db, and the model that they belong to.

Any number of readers work beside one writer, each on a consistent snapshot. A change is on disk before it is
acknowledged.
"""

from __future__ import annotations

import sqlite3
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facedex.errors import (
    GalleryDamaged,
    GalleryError,
    GalleryMismatch,
    PersonConflict,
    PersonNotFound,
)
from facedex.faces.boxes import Box
from facedex.log import logger
from facedex.store import schema
from facedex.store.database import Database, translated
from facedex.store.nearnames import near_names
from facedex.store.rows import (
    INSERT_FACE,
    SELECT_FACE,
    FaceRecord,
    PersonRecord,
    Row,
    State,
    StoredFaces,
    StoredPhoto,
    damaged_face,
    new_row,
    picture_checksum,
    seal,
    stored_faces,
)

if TYPE_CHECKING:
    from facedex.store.library_rows import StoredNaming
    from facedex.store.library_tables import LibraryTables

_log = logger(__name__)

FILE = "gallery.db"
BUSY_SECONDS = 10.0  # a change waits so long for another writer

_VALUES = 400  # ids or names in one query: older SQLite allows 999 values in a statement


def is_there(folder: Path) -> bool:
    """Whether a folder holds a gallery's database. Raises GalleryError for a folder that may not be read."""
    try:
        (folder / FILE).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise GalleryError(f"{folder} cannot be read ({error.strerror}); check its permissions") from None
    return True


def is_unfinished(folder: Path) -> bool:
    """Whether the database in `folder` has no tables yet, because the process that made it was killed."""
    path = folder / FILE
    with translated(path), closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
        return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


@dataclass
class _Change:
    """`rewrites`: whether a transaction deletes or replaces vectors, which must be scrubbed afterwards."""

    rewrites: bool


class Store:
    """An open gallery.db, which threads may share. Use as a context manager.

    Every method raises GalleryError or one of its kinds.
    """

    def __init__(self, folder: Path, create_for: tuple[str, str, int] | None = None) -> None:
        """Open the database in `folder`. Where there is none, `create_for` makes it.

        `create_for`: the model's fingerprint, the name of the gallery's copy of it, and the embedding's dimension.
        """
        self.path = folder / FILE
        self._snapshots = threading.local()  # `state` of the snapshot that a thread is reading
        if create_for is None and not is_there(folder):
            raise GalleryError(f"{self.path} does not exist; enroll somebody first")
        self._db = Database(self.path, BUSY_SECONDS)
        try:
            with translated(self.path):
                if create_for is not None:
                    self._create(*create_for)
                self._migrate()
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

    # The gallery as a whole

    @property
    def state(self) -> State:
        """The gallery's row now, or in the snapshot that is being read."""
        if (state := self._snapshot_state) is not None:
            return state
        self._db.check_unchanged()
        rows = self._db.rows("SELECT model, model_file, dim, revision, rewritten, people, faces, digest FROM gallery")
        if not rows:
            raise GalleryDamaged(f"{self.path} has lost its description; restore a copy or enroll again")
        return State(*rows[0])

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one state of the gallery."""
        with self._db.snapshot():
            self._snapshots.state = self.state
            try:
                yield
            finally:
                self._snapshots.state = None

    @property
    def engine_note(self) -> str | None:
        """The note of the search engine that holds the index (engines/binding.py); None where there is none."""
        rows = self._db.rows("SELECT note FROM engine")
        return str(rows[0][0]) if rows else None

    def note_engine(self, note: str | None) -> None:
        """Replace the note of the search engine, or delete it with None.

        The revision stays, because no face changes. The revision shows whether a copy of the gallery went on.
        """
        with self._db.transaction():
            self._db.execute("DELETE FROM engine")
            if note is not None:
                self._db.execute("INSERT INTO engine VALUES (?)", (note,))

    def bind_model(self, model: str, model_file: str) -> None:
        """Bind to another file of the same encoder, with a new head or calibration. The vectors stay."""
        with self._change(rewrites=True):
            self._db.execute("UPDATE gallery SET model = ?, model_file = ?", (model, model_file))

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy the present state of the database, while others read and write."""
        self._db.copy_to(target)

    @property
    def version(self) -> int:
        """A number that changes whenever another connection than this thread's commits a change."""
        return self._db.version

    @property
    def unscrubbed(self) -> bool:
        """Whether deleted or replaced vectors may still be in the log or in free pages."""
        return self.state.rewritten > self._db.scrubbed

    def scrub(self) -> bool:
        """Clear deleted vectors out of the log and the free pages; False while a reader holds a snapshot."""
        return self._db.scrub(self.state.rewritten)

    @property
    def library(self) -> LibraryTables:
        """The photos that were scanned. They are loaded on first use, which spares every look-up 6 ms."""
        from facedex.store.library_tables import LibraryTables

        return LibraryTables(self._db, self._change)

    # Counts

    def count(self) -> tuple[int, int]:
        """(people, faces), as every change keeps them."""
        state = self.state
        return state.people, state.faces

    def counted(self) -> tuple[int, int, int]:
        """(people, faces, digest), counted anew from the tables."""
        people = self._db.rows("SELECT COUNT(*) FROM person")[0][0]
        # In two halves, because the sum of a million marks exceeds SQLite's 64 bits.
        faces, low, high = self._db.rows(
            "SELECT COUNT(*), COALESCE(SUM(mark & 16777215), 0), COALESCE(SUM(mark >> 24), 0) FROM face"
        )[0]
        return people, faces, (low + (high << 24)) % schema.MODULUS

    def recount(self) -> None:
        """Replace the counts and the digest by `counted`, after damage."""
        with self._change(rewrites=False):
            self._db.execute("UPDATE gallery SET people = ?, faces = ?, digest = ?", self.counted())

    def digests(self, size: int) -> dict[int, tuple[int, int]]:
        """Number of faces and sum of their marks for each block of `size` ids (at most 2^15), by id // size."""
        rows = self._db.rows("SELECT id / ?, COUNT(*), SUM(mark) FROM face GROUP BY 1", (size,))
        return {block: (count, total) for block, count, total in rows}

    def photos_each(self) -> NDArray[np.int64]:
        """How many faces each person has (people,) int64, in no particular order."""
        rows = self._db.rows("SELECT n, COUNT(*) FROM (SELECT COUNT(*) AS n FROM face GROUP BY person) GROUP BY n")
        counts = np.array(rows, np.int64).reshape(-1, 2)
        return np.repeat(counts[:, 0], counts[:, 1])

    # People

    def people(self) -> list[PersonRecord]:
        """Everybody, ordered by name."""
        return self._people("")

    def person(self, person: int) -> PersonRecord:
        """The person with this id. Raises PersonNotFound."""
        found = self._people("WHERE person.id = ?", person)
        if not found:
            raise PersonNotFound(f"There is no person {person}, or no more; the list of people has their ids")
        return found[0]

    def _people(self, where: str, *values: object) -> list[PersonRecord]:
        rows = self._db.rows(
            "SELECT name, COUNT(face.id), COALESCE(MIN(enrolled), ''), person.id FROM person "
            f"LEFT JOIN face ON face.person = person.id {where} GROUP BY person.id ORDER BY name",
            values,
        )
        return [PersonRecord(*row) for row in rows]

    def names(self) -> dict[int, str]:
        """Name by person id."""
        return dict(self._db.rows("SELECT id, name FROM person"))

    def stored_name(self, name: str) -> str:
        """A person's name as it is stored, in Unicode's form NFC. Raises PersonNotFound."""
        return self._person(name)[1]

    def rename(self, old: str, new: str) -> None:
        """Give a person another name. Raises PersonNotFound, PersonConflict when the new name is taken."""
        with self._change(rewrites=False):
            person, _ = self._person(old)
            taken = self._db.rows("SELECT id FROM person WHERE name = ?", (new,))
            if taken and taken[0][0] != person:
                raise PersonConflict(f"{new!r} is enrolled already; use merge to make the two one person")
            faces, scanned = self.faces_of([person]).ids.tolist(), self.library.named_faces(person)
            self._db.execute("UPDATE person SET name = ? WHERE id = ?", (new, person))
            for face in faces:
                self._seal(face)
            self.library.write_names(scanned, person)

    def merge(self, source: str, into: str) -> int:
        """Give all faces of one person to another; returns how many. A photo that both have is kept once.

        Raises PersonNotFound, PersonConflict for two names of one person.
        """
        with self._change(rewrites=False) as change:
            giver, taker = self._person(source)[0], self._person(into)[0]
            if giver == taker:
                raise PersonConflict(f"{source!r} cannot be merged into itself; name two people")
            moved = 0
            for face in self.faces_of([giver]).ids.tolist():
                common = (
                    "SELECT 1 FROM face JOIN face AS other ON other.photo = face.photo "
                    "WHERE face.id = ? AND other.person = ?"
                )
                if self._db.rows(common, (face, taker)):
                    change.rewrites = True  # the face is deleted with its person
                    continue
                self._db.execute("UPDATE face SET person = ? WHERE id = ?", (taker, face))
                self._seal(face)
                moved += 1
            self.library.write_names(self.library.named_faces(giver), taker)
            self._db.execute("UPDATE face_group SET resembles = ? WHERE resembles = ?", (taker, giver))
            self._db.execute("DELETE FROM person WHERE id = ?", (giver,))
        return moved

    def remove(self, names: Iterable[str]) -> int:
        """Delete people, their faces and their scanned faces in one transaction; returns how many faces.

        The number is that of enrolled faces. Raises PersonNotFound.
        """
        with self._change(rewrites=True):
            removed = 0
            for person in [self._person(name)[0] for name in names]:
                self.library.delete_faces_of(person)
                removed += self._db.execute("DELETE FROM face WHERE person = ?", (person,))
                self._db.execute("DELETE FROM person WHERE id = ?", (person,))
        return removed

    # Photos

    def photos(self, photo: str | None = None, face: int | None = None) -> list[StoredPhoto]:
        """Every face's photo, ordered by face id, or only the faces of one photo (SHA-256, hex), or one face (id)."""
        where, values = "", tuple[object, ...]()
        if photo is not None:
            where, values = " WHERE photo = ?", (bytes.fromhex(photo),)
        elif face is not None:
            where, values = " WHERE face.id = ?", (face,)
        rows = self._db.rows(
            "SELECT face.id, name, source, photo, box_left, box_top, box_width, box_height "
            f"FROM face JOIN person ON person.id = face.person{where} ORDER BY face.id",
            values,
        )
        photos = []
        for face, name, source, digest, *box in rows:
            self._check_types(face, source, digest, box)
            photos.append(StoredPhoto(face, name, source, digest.hex(), (box[0], box[1], box[2], box[3])))
        return photos

    def photos_of(self, name: str) -> tuple[StoredFaces, list[StoredPhoto], list[str]]:
        """A person's faces, their photos, and when each was enrolled (ISO 8601, UTC), all ordered by face id.

        Raises PersonNotFound, and GalleryDamaged for an altered row.
        """
        with self.snapshot():
            person, stored = self._person(name)
            rows = self._db.rows(f"{SELECT_FACE} WHERE face.person = ? ORDER BY face.id", (person,))
            faces = stored_faces(rows, self.state.dim, self.path)
        photos = [StoredPhoto(row[0], stored, row[9], row[10].hex(), (row[3], row[4], row[5], row[6])) for row in rows]
        return faces, photos, [row[11] for row in rows]

    def sources(self) -> list[tuple[int, str, str, Box]]:
        """(id, path, SHA-256, box) of every face, ordered by id."""
        rows = self._db.rows("SELECT id, source, photo, box_left, box_top, box_width, box_height FROM face ORDER BY id")
        sources = []
        for face, source, digest, *box in rows:
            self._check_types(face, source, digest, box)
            sources.append((face, source, digest.hex(), (box[0], box[1], box[2], box[3])))
        return sources

    def relocate(self, photo: StoredPhoto, name: str, source: str) -> None:
        """Store a photo's new path, and the name of the person whom it shows there."""
        with self._change(rewrites=False):
            self.faces([photo.face])  # raises GalleryDamaged for damage, which a new seal would hide
            former = self._owners([photo.face])
            self._db.execute("INSERT OR IGNORE INTO person (name) VALUES (?)", (name,))
            self._db.execute(
                "UPDATE face SET source = ?, person = (SELECT id FROM person WHERE name = ?) WHERE id = ?",
                (source, name, photo.face),
            )
            self._seal(photo.face)
            self._delete_empty(former)

    def keep_picture(self, face: int, picture: bytes) -> None:
        """Keep a small picture of a face (id), a JPEG file. It goes when the face goes."""
        with self._db.transaction():
            values = (face, picture, picture_checksum(face, picture))
            self._db.execute("INSERT OR REPLACE INTO face_picture (face, picture, checksum) VALUES (?, ?, ?)", values)

    def kept_picture(self, face: int) -> bytes | None:
        """The picture that `keep_picture` kept, else None. Raises GalleryDamaged for an altered row."""
        rows = self._db.rows("SELECT picture, checksum FROM face_picture WHERE face = ?", (face,))
        if not rows:
            return None
        picture, checksum = rows[0]
        if not isinstance(picture, bytes) or picture_checksum(face, picture) != checksum:
            raise damaged_face(face, self.path)
        return picture

    def described(self, face: int) -> tuple[str, str]:
        """Source and name of a face whose row is damaged, as far as they can be read; else "?"."""
        connection = self._db.connection
        factory, connection.text_factory = connection.text_factory, bytes
        try:
            rows = self._db.rows(
                "SELECT source, name FROM face LEFT JOIN person ON person.id = face.person WHERE face.id = ?", (face,)
            )
        finally:
            connection.text_factory = factory
        source, name = (
            value.decode("utf-8", "replace") if isinstance(value, bytes) else "?" for value in (rows or [(0, 0)])[0]
        )
        return source, name

    # Faces

    def add(self, records: Sequence[FaceRecord]) -> list[int]:
        """Add faces in one transaction; returns their ids.

        Raises GalleryError for a photo that the same person has already, or a vector that is not (dim,) finite numbers.
        """
        if not records:
            return []
        with self._change(rewrites=False):
            return self._add(records)

    def name_scanned(self, name: str, records: Sequence[FaceRecord], faces: Iterable[int]) -> None:
        """Give scanned faces (ids) to a person, and enroll some of them, in one transaction.

        The person is made where there is none. `records` bear this name. Raises as `add`.
        """
        with self._change(rewrites=False):
            enrolled, faces = self._add(records), list(faces)
            self.library.write_names(faces, self._add_people([name])[name])
            self.library.log_naming(name, faces, enrolled)

    def undo_naming(self, naming: StoredNaming) -> int:
        """Undo `name_scanned`: names and enrolled faces of that call go, and people who have none left.

        Returns how many scanned faces lost their name. All of it is one transaction.
        """
        with self._change(rewrites=bool(naming.enrolled)):
            owners = self._owners(naming.enrolled)
            for face in naming.enrolled:
                self._db.execute("DELETE FROM face WHERE id = ?", (face,))
            taken = self.library.take_back(naming)
            self._delete_empty(owners)
        return taken

    def ids(self) -> NDArray[np.int64]:
        """Ids of all faces (n,) int64, ascending."""
        return np.array(self._db.rows("SELECT id FROM face ORDER BY id"), np.int64).reshape(-1)

    def owners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids of all faces, ascending, and the person of each: two arrays (n,) int64."""
        rows = self._db.rows("SELECT id, person FROM face ORDER BY id")
        try:
            table = np.array(rows, np.int64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):  # a value of another type
            raise GalleryDamaged(f"{self.path} is damaged; run `facedex doctor`, or restore a copy") from None
        return table[:, 0].copy(), table[:, 1].copy()

    def faces(self, ids: Sequence[int]) -> StoredFaces:
        """The faces with these ids, as far as they are enrolled. Raises GalleryDamaged for an altered row."""
        return self._chosen("face.id", ids)

    def faces_of(self, people: Sequence[int]) -> StoredFaces:
        """All faces of these people (ids). Raises GalleryDamaged for an altered row."""
        return self._chosen("face.person", people)

    def blocks(self, after: int = 0, size: int = 20_000) -> Iterator[StoredFaces]:
        """All faces above an id, ordered by id, `size` at a time. Raises GalleryDamaged for an altered row."""
        query = f"{SELECT_FACE} WHERE face.id > ? ORDER BY face.id LIMIT ?"
        while rows := self._db.rows(query, (after, size)):
            yield stored_faces(rows, self.state.dim, self.path)
            after = rows[-1][0]

    def vectors(
        self, ids: Sequence[int] | None = None, after: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids (n,) int64 and vectors (n, dim) float32 of `ids`, or of all faces above the id `after`.

        Raises GalleryDamaged for an altered row.
        """
        parts = list(self.blocks(after)) if ids is None else [self.faces(ids)]
        if not parts:
            return np.empty(0, np.int64), np.empty((0, self.state.dim), np.float32)
        return np.concatenate([part.ids for part in parts]), np.concatenate([part.vectors for part in parts])

    def remove_faces(self, faces: Iterable[int]) -> int:
        """Delete faces, and people who have none left, in one transaction; returns how many faces."""
        with self._change(rewrites=True):
            faces = list(faces)
            owners = self._owners(faces)
            removed = sum(self._db.execute("DELETE FROM face WHERE id = ?", (face,)) for face in faces)
            self._delete_empty(owners)
        return removed

    def replace_vectors(
        self,
        model: str,
        model_file: str,
        dim: int,
        vectors: dict[int, tuple[NDArray[np.float32], float]],
        scanned: dict[int, tuple[NDArray[np.float32], float]] | None = None,
    ) -> None:
        """Bind to another model: every face in `vectors` gets its new vector (dim,) and quality, the others go.

        `scanned`: the same for scanned faces (LibraryTables.replace_vectors).
        """
        with self._change(rewrites=True):
            self.library.replace_vectors(scanned or {})
            for (face,) in self._db.rows("SELECT id FROM face"):
                if face not in vectors:
                    self._db.execute("DELETE FROM face WHERE id = ?", (face,))
                    continue
                self.faces([face])  # raises GalleryDamaged for damage, which a new seal would hide
                vector, quality = vectors[face]
                blob = np.asarray(vector, "<f4").tobytes()
                self._db.execute("UPDATE face SET vector = ?, quality = ? WHERE id = ?", (blob, quality, face))
                self._seal(face)
            self._db.execute("DELETE FROM person WHERE id NOT IN (SELECT person FROM face)")
            self._db.execute("UPDATE gallery SET model = ?, model_file = ?, dim = ?", (model, model_file, dim))

    def index_disagrees(self) -> GalleryDamaged:
        """The error for SQLite's own index, which has no checksum, where the index disagrees with its table."""
        return GalleryDamaged(
            f"{self.path} is damaged, its own index at least; run `facedex doctor`, which repairs that"
        )

    # Private

    @property
    def _snapshot_state(self) -> State | None:
        """The state of the snapshot that this thread is reading; None outside of one."""
        state: State | None = getattr(self._snapshots, "state", None)
        return state

    @contextmanager
    def _change(self, rewrites: bool) -> Iterator[_Change]:
        """One transaction, at whose end the revision grows."""
        with self._db.transaction():
            change = _Change(rewrites)
            yield change
            self._db.execute(
                "UPDATE gallery SET revision = revision + 1, "
                "rewritten = CASE WHEN ? THEN revision + 1 ELSE rewritten END",
                (change.rewrites,),
            )

    def _person(self, name: str) -> tuple[int, str]:
        """A person's id and stored name. Raises PersonNotFound."""
        # A shell may pass text that is not NFC, or not Unicode.
        wanted = unicodedata.normalize("NFC", name).encode("utf-8", "replace").decode()
        rows = self._db.rows("SELECT id, name FROM person WHERE name = ?", (wanted,))
        if not rows:
            near = near_names(wanted, (str(one) for (one,) in self._db.rows("SELECT name FROM person ORDER BY name")))
            remedy = f"did you mean {' or '.join(map(repr, near))}?" if near else "`facedex list` shows the names"
            raise PersonNotFound(f"Nobody named {name!r} is enrolled; {remedy}")
        return int(rows[0][0]), str(rows[0][1])

    def _add(self, records: Sequence[FaceRecord]) -> list[int]:
        """Add faces inside the caller's transaction; returns their ids."""
        enrolled = datetime.now(timezone.utc).isoformat(timespec="seconds")
        dim, first = self.state.dim, self._db.next_id("face")
        people = self._add_people(dict.fromkeys(record.name for record in records))
        rows = [new_row(face, people[record.name], record, dim, enrolled) for face, record in enumerate(records, first)]
        self._db.execute_many(INSERT_FACE, rows)
        self._db.execute(
            f"UPDATE gallery SET faces = faces + ?, digest = (digest + ?) % {schema.MODULUS}",
            (len(rows), sum(row[-1] for row in rows) % schema.MODULUS),
        )
        return list(range(first, first + len(records)))

    def _add_people(self, names: Iterable[str]) -> dict[str, int]:
        """Id by name, of people who are made where they are new."""
        ids: dict[str, int] = {}
        first, wanted = self._db.next_id("person"), list(names)
        for start in range(0, len(wanted), _VALUES):
            part = wanted[start : start + _VALUES]
            new = dict(zip(part, range(first + start, first + start + len(part)), strict=True))
            # One statement for many people takes a quarter of the time, because of the trigger.
            insert = f"INSERT OR IGNORE INTO person (name, id) VALUES {','.join(['(?, ?)'] * len(part))}"
            if self._db.execute(insert, [value for pair in new.items() for value in pair]) < len(part):
                marks = ",".join("?" * len(part))
                new = dict(self._db.rows(f"SELECT name, id FROM person WHERE name IN ({marks})", part))
            ids.update(new)
        return ids

    def _owners(self, faces: Sequence[int]) -> set[int]:
        """Ids of the people of these faces."""
        return {row[0] for face in faces for row in self._db.rows("SELECT person FROM face WHERE id = ?", (face,))}

    def _delete_empty(self, people: Iterable[int]) -> None:
        """Delete those of the people who have no face left."""
        statement = "DELETE FROM person WHERE id = ? AND NOT EXISTS (SELECT 1 FROM face WHERE person = ?)"
        for person in people:
            self._db.execute(statement, (person, person))

    def _chosen(self, column: str, values: Sequence[int]) -> StoredFaces:
        rows: list[Row] = []
        for start in range(0, len(values), _VALUES):
            part = [int(value) for value in values[start : start + _VALUES]]
            marks = ",".join("?" * len(part))
            rows += self._db.rows(f"{SELECT_FACE} WHERE {column} IN ({marks})", part)
        position, wanted = ("face.id", "face.person").index(column), set(values)
        if any(row[position] not in wanted for row in rows):
            raise self.index_disagrees()
        return stored_faces(rows, self.state.dim, self.path)

    def _check_types(self, face: int, source: object, photo: object, box: Sequence[object]) -> None:
        """Raise GalleryDamaged when a face's path, SHA-256 or box is not of the type that was written."""
        intact = isinstance(source, str) and isinstance(photo, bytes)
        if not (intact and all(isinstance(number, float) for number in box)):
            raise damaged_face(face, self.path)

    def _seal(self, face: int) -> None:
        """Write the checksum and mark of a face's present row. The caller has read the row before it changed it."""
        (row,) = self._db.rows(f"{SELECT_FACE} WHERE face.id = ?", (face,))
        self._db.execute("UPDATE face SET checksum = ?, mark = ? WHERE id = ?", (*seal(row), face))

    def _create(self, model: str, model_file: str, dim: int) -> None:
        """Make the tables of an empty database. Of two processes that do this at once, the second finds them made."""
        self._db.execute("PRAGMA journal_mode = WAL")
        with self._db.transaction():
            if schema.version(self._db.connection) == 0:
                schema.migrate(self._db.connection, 0)
                self._db.execute(
                    "INSERT INTO gallery (id, schema_version, model, model_file, dim, revision, rewritten) "
                    "VALUES (1, ?, ?, ?, ?, 0, 0)",
                    (len(schema.MIGRATIONS), model, model_file, dim),
                )

    def _migrate(self) -> None:
        """Bring the database to the newest version. Raises GalleryMismatch for a version that is not known yet."""
        connection, newest = self._db.connection, len(schema.MIGRATIONS)
        version = schema.version(connection)
        if version == newest:
            return
        if version == 0:
            raise GalleryDamaged(f"{self.path} is no facedex gallery; name another folder, or remove that file")
        if not isinstance(version, int) or version < 0:
            raise GalleryDamaged(f"{self.path} has lost its description; restore a copy or enroll again")
        if version > newest:
            raise GalleryMismatch(
                f"{self.path} has version {version} of the format, this facedex reads {newest}; upgrade facedex"
            )
        try:
            with self._db.transaction():
                if schema.version(connection) == version:  # else another process has just migrated it
                    schema.migrate(connection, version)
                    _log.info("migrated %s from version %d of the format to %d", self.path, version, newest)
        except GalleryError as error:
            if "readonly" not in str(error):
                raise
            raise GalleryError(
                f"{self.path} has an older version of the format, which can only be migrated where it can be written; "
                "copy the gallery's folder to such a place"
            ) from None
