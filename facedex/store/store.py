"""The people and faces of gallery.db, and the model that they belong to.

Any number of readers work beside one writer, each on a consistent snapshot. A change is on disk before it is
acknowledged.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
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
from facedex.faces.boxes import same_place
from facedex.log import logger
from facedex.store import schema
from facedex.store.database import MOST_VALUES, Database, connect, translated
from facedex.store.nearnames import near_names
from facedex.store.rows import (
    INSERT_FACE,
    SELECT_FACE,
    FaceRecord,
    PersonRecord,
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
    from facedex.store.changelog import ChangeLog
    from facedex.store.library_rows import SeenFile
    from facedex.store.library_tables import LibraryTables

_log = logger(__name__)

FILE = "gallery.db"


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
    with translated(path), closing(connect(path)[0]) as connection:
        return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


@dataclass
class Changing:
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
        self._db = Database(self.path)
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

    def note_restore(self) -> None:
        """Write into the log that this gallery came from a backup."""
        with self.changing(rewrites=False):
            self.changes.add("restored")

    def bind_model(self, model: str, model_file: str) -> None:
        """Bind to another file of the same encoder, with a new head or calibration. The vectors stay."""
        with self.changing(rewrites=True):
            self.changes.add("re-encoded", detail="another head or calibration of the same encoder")
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

        return LibraryTables(self._db, self.changing)

    @property
    def changes(self) -> ChangeLog:
        """The log of changes. It is loaded on first use, as the library is."""
        from facedex.store.changelog import ChangeLog

        return ChangeLog(self._db)

    # Counts

    @property
    def has_scans(self) -> bool:
        """Whether anything was scanned. `library` loads modules that a gallery without scans does not need."""
        return bool(self._db.rows("SELECT 1 FROM scanned_file LIMIT 1"))

    def counted(self) -> tuple[int, int, int]:
        """(people, faces, digest), counted anew from the tables."""
        people = self._db.rows("SELECT COUNT(*) FROM person WHERE NOT photoless")[0][0]
        # In two halves, because the sum of a million marks exceeds SQLite's 64 bits.
        faces, low, high = self._db.rows(
            "SELECT COUNT(*), COALESCE(SUM(mark & 16777215), 0), COALESCE(SUM(mark >> 24), 0) FROM face"
        )[0]
        return people, faces, (low + (high << 24)) % schema.MODULUS

    def recount(self) -> None:
        """Replace the counts and the digest by `counted`, after damage."""
        with self.changing(rewrites=False):
            self._db.execute("UPDATE gallery SET people = ?, faces = ?, digest = ?", self.counted())

    def digests(self, size: int) -> dict[int, tuple[int, int]]:
        """Number of faces and sum of their marks for each block of `size` ids (at most 2^15), by id // size."""
        rows = self._db.rows("SELECT id / ?, COUNT(*), SUM(mark) FROM face GROUP BY 1", (size,))
        return {block: (count, total) for block, count, total in rows}

    def photos_each(self, today: str = "") -> NDArray[np.int64]:
        """How many faces each person has (people,) int64, in no particular order.

        `today` (YYYY-MM-DD) leaves out faces whose consent has expired, and people who have no other.
        """
        each = "SELECT COUNT(*) AS n FROM face WHERE expires = '' OR expires >= ? GROUP BY person"
        rows = self._db.rows(f"SELECT n, COUNT(*) FROM ({each}) GROUP BY n", (today,))
        counts = np.array(rows, np.int64).reshape(-1, 2)
        return np.repeat(counts[:, 0], counts[:, 1])

    # Consents

    def expired(self, today: str) -> list[int]:
        """The ids of enrolled faces whose consent has expired on the day `today` (YYYY-MM-DD), ascending."""
        query = "SELECT id FROM face WHERE expires <> '' AND expires < ? ORDER BY id"
        return [face for (face,) in self._db.rows(query, (today,))]

    def expired_people(self, today: str) -> dict[int, str]:
        """Name by id of the people none of whose photos may be matched on the day `today`, because all have expired."""
        rows = self._db.rows(
            "SELECT id, name FROM person WHERE expires <> '' AND expires < :today AND photoless = 1 OR id IN "
            "(SELECT person FROM face WHERE expires <> '' AND expires < :today) AND NOT EXISTS "
            "(SELECT 1 FROM face WHERE person = person.id AND (expires = '' OR expires >= :today))",
            {"today": today},
        )
        return dict(rows)

    def consents(self, faces: Iterable[int]) -> list[tuple[str, str]]:
        """What was allowed for each of these faces (ids), and its last day (YYYY-MM-DD, "" for no end)."""
        query = "SELECT consent, expires FROM face WHERE id = ?"
        return [(consent, expires) for face in faces for consent, expires in self._db.rows(query, (face,))]

    def set_consent(self, faces: Sequence[int], consent: str | None, expires: str | None) -> None:
        """Replace what was allowed for faces (ids) of one person, or its last day (YYYY-MM-DD, "" for no end), or both.

        None leaves the present value. Raises GalleryDamaged for an altered row.
        """
        with self.changing(rewrites=False):
            (person,) = self.owners_of(faces)
            former = [(face, *terms) for face, terms in zip(faces, self.consents(faces), strict=True)]
            self.write_consents(
                (face, was if consent is None else consent, ended if expires is None else expires)
                for face, was, ended in former
            )
            until = f"until {expires}" if expires else "without end"
            self.changes.add(
                "consent",
                person=person,
                name=self._name_of(person),
                detail="" if expires is None else until,
                photos=len(faces),
                enrolled=faces,
                back={"was": former},
            )

    def purge(self, today: str) -> tuple[int, int]:
        """Delete every face whose consent has expired on the day `today`, in one transaction; returns (people, faces).

        People who have no other photo are deleted as by `remove`, with the scanned faces that bear their names. The
        number of people is that of these.
        """
        expired, gone = self.expired(today), self.expired_people(today)
        if not expired and not gone:
            return 0, 0
        with self.changing(rewrites=True):
            owners = self._owner_counts(expired)
            self._delete_faces(expired)
            for person in gone:
                self.library.delete_faces_of(person)
            self.settle(gone)
            for person, count in owners.items():
                if person not in gone:
                    self.changes.add("purged", person=person, name=self._name_of(person), photos=count)
            for _ in gone:
                self.changes.add("purged")
        return len(gone), len(expired)

    # People

    def people(self) -> list[PersonRecord]:
        """Everybody, ordered by name, also those who have lost their photos and still have named scanned faces."""
        return self._people("")

    def person(self, person: int) -> PersonRecord:
        """The person with this id. Raises PersonNotFound."""
        found = self._people("WHERE person.id = ?", person)
        if not found:
            raise PersonNotFound(f"There is no person {person}, or no more; the list of people has their ids")
        return found[0]

    def _people(self, where: str, *values: object) -> list[PersonRecord]:
        rows = self._db.rows(
            "SELECT name, COUNT(face.id), COALESCE(MIN(enrolled), ''), "
            "json_group_array(DISTINCT consent) FILTER (WHERE consent <> ''), "
            "CASE WHEN MIN(face.expires) = '' THEN '' ELSE COALESCE(MAX(face.expires), person.expires) END, person.id "
            f"FROM person LEFT JOIN face ON face.person = person.id {where} GROUP BY person.id ORDER BY name",
            values,
        )
        return [
            PersonRecord(name, photos, enrolled, tuple(sorted(json.loads(consents))), expires, person)
            for name, photos, enrolled, consents, expires, person in rows
        ]

    def names(self) -> dict[int, str]:
        """Name by person id."""
        return dict(self._db.rows("SELECT id, name FROM person"))

    def stored_name(self, name: str) -> str:
        """A person's name as it is stored, in Unicode's form NFC. Raises PersonNotFound."""
        return self._person(name)[1]

    def rename(self, old: str, new: str) -> None:
        """Give a person another name. Raises PersonNotFound, PersonConflict when the new name is taken."""
        with self.changing(rewrites=False):
            person, former = self._person(old)
            if new == former:
                return
            self.write_person_name(person, new)
            self.changes.add("renamed", person=person, name=new, former=former, back={})

    def merge(self, source: str, into: str) -> int:
        """Give all faces of one person to another; returns how many. A photo that both have is kept once.

        Such a double is deleted, so that the merge cannot be undone then.
        Raises PersonNotFound, PersonConflict for two names of one person.
        """
        with self.changing(rewrites=False) as change:
            (giver, former), (taker, name) = self._person(source), self._person(into)
            if giver == taker:
                raise PersonConflict(f"{source!r} cannot be merged into itself; name two people")
            both = "SELECT a.id FROM face AS a JOIN face AS b USING (photo) WHERE a.person = ? AND b.person = ?"
            doubles = {face for (face,) in self._db.rows(both, (giver, taker))}
            change.rewrites = bool(doubles)  # these faces are deleted with their person
            moved = [face for face in self.faces_of([giver]).ids.tolist() if face not in doubles]
            self.give_faces(moved, taker)
            scanned = self.library.named_faces(giver)
            self.library.write_names(scanned, taker)
            groups = [group for (group,) in self._db.rows("SELECT id FROM face_group WHERE resembles = ?", (giver,))]
            self._db.execute("UPDATE face_group SET resembles = ? WHERE resembles = ?", (taker, giver))
            ends = {"giver": self._end_of(giver), "taker": self._end_of(taker)}
            strangers = self.library.links.move_strangers(giver, taker)
            self._db.execute("DELETE FROM person WHERE id = ?", (giver,))
            self.settle({taker})
            self.changes.add(
                "merged",
                person=taker,
                name=name,
                other=giver,
                former=former,
                photos=len(moved),
                faces=len(scanned),
                enrolled=moved,
                scanned=scanned,
                back=None if doubles else {**ends, "groups": groups, "strangers": strangers},
            )
        return len(moved)

    def remove(self, names: Iterable[str]) -> int:
        """Delete people, their faces and their scanned faces in one transaction; returns how many faces.

        The number is that of enrolled faces. Raises PersonNotFound.
        """
        with self.changing(rewrites=True):
            removed = 0
            for person in dict.fromkeys([self._person(name)[0] for name in names]):
                self.library.delete_faces_of(person)
                removed += self._db.execute("DELETE FROM face WHERE person = ?", (person,))
                self.settle({person})
                self.changes.add("removed")
        return removed

    # Photos

    def photos(self, photo: str | None = None, face: int | None = None) -> list[StoredPhoto]:
        """Every face's photo, ordered by face id, or only the faces of one photo (SHA-256, hex), or one face (id).

        Raises GalleryDamaged for a row whose values are not of the types that were written.
        """
        where, values = "", tuple[object, ...]()
        if photo is not None:
            where, values = " WHERE photo = ?", (bytes.fromhex(photo),)
        elif face is not None:
            where, values = " WHERE face.id = ?", (face,)
        rows = self._db.rows(
            "SELECT face.id, name, source, photo, box_left, box_top, box_width, box_height "
            f"FROM face LEFT JOIN person ON person.id = face.person{where} ORDER BY face.id",
            values,
        )
        photos = []
        for face, name, source, digest, *box in rows:
            intact = isinstance(name, str) and isinstance(source, str) and isinstance(digest, bytes)
            if not (intact and all(isinstance(number, float) for number in box)):
                raise damaged_face(face, self.path)
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

    def relocate(self, photo: StoredPhoto, name: str, source: str) -> None:
        """Store a photo's new path, and the name of the person whom it shows there."""
        with self.changing(rewrites=False):
            self.faces([photo.face])  # raises GalleryDamaged for damage, which a new seal would hide
            (former,) = self.owners_of([photo.face])
            person = self.add_person(name)
            self._db.execute("UPDATE face SET source = ?, person = ? WHERE id = ?", (source, person, photo.face))
            self._seal(photo.face)
            gone = self._settle_after(photo.face, former, person)
            other = (None, None) if gone or former == person else (former, photo.name)
            self.changes.add(
                "moved", person=person, name=name, other=other[0], former=other[1], photos=1, enrolled=[photo.face]
            )

    def correct(self, photo: StoredPhoto, name: str) -> None:
        """Give an enrolled face to another person, known or new. What the face's consent says stays.

        Where the face is all that is kept of a person, the person is renamed, or merged into the other one.
        Raises PersonConflict where the photo is enrolled for the other person already.
        """
        if name == photo.name:
            return
        if name in [other.name for other in self.photos(photo.photo)]:
            raise PersonConflict(f"{name!r} is enrolled by this photo already; remove one of the two faces first")
        (former,) = self.owners_of([photo.face])
        if len(self.faces_of([former])) == 1 and not self.library.named_faces(former):
            if self._db.rows("SELECT 1 FROM person WHERE name = ?", (name,)):
                self.merge(photo.name, name)
            else:
                self.rename(photo.name, name)
            return
        with self.changing(rewrites=False):
            person = self.add_person(name)
            back = {"end": self._end_of(person)}
            self.give_faces([photo.face], person)
            self._settle_after(photo.face, former, person)
            self.changes.add(
                "corrected",
                person=person,
                name=name,
                other=former,
                former=photo.name,
                photos=1,
                enrolled=[photo.face],
                back=back,
            )

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

    def follow_content(self, file: SeenFile, former: str, sources: Collection[str]) -> None:
        """Store that a photo file has new bytes and shows the same picture, for scanned and enrolled faces.

        See LibraryTables.follow_content. Faces that were enrolled from `sources` belong to the new bytes. Those of a
        copy elsewhere stay; the scanned faces get their names.
        """
        enrolled = self.photos(former)
        with self.changing(rewrites=False) if enrolled else self._db.transaction():
            scanned = self.library.faces_of_photos([former])
            for photo in enrolled:
                if photo.source in sources:
                    self.faces([photo.face])  # raises GalleryDamaged for damage, which a new seal would hide
                    statement = "UPDATE OR IGNORE face SET photo = ? WHERE id = ?"
                    self._db.execute(statement, (bytes.fromhex(file.photo), photo.face))
                    self._seal(photo.face)
                    continue
                (person,) = self.owners_of([photo.face])
                free = np.flatnonzero(scanned.people == 0).tolist()
                rows = [row for row in free if same_place(scanned.box(row), photo.box)]
                self.library.write_names(scanned.ids[rows].tolist(), person)
            self.library.follow_content(file, former)

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
        with self.changing(rewrites=False):
            ids, people = self._add(records)
            faces_of: dict[str, list[int]] = {}
            for record, face in zip(records, ids, strict=True):
                faces_of.setdefault(record.name, []).append(face)
            self.changes.add_enrolled((people[name], name, faces) for name, faces in faces_of.items())
        return ids

    def name_scanned(
        self, name: str, records: Sequence[FaceRecord], faces: Iterable[int], kind: str = "named", detail: str = ""
    ) -> None:
        """Give scanned faces (ids) to a person, and enroll some of them, in one transaction.

        The person is made where there is none. `records` bear this name. The consent of the person's photos holds for
        them too: of several that which ends last. `kind` and `detail`: those of the log's line. Raises as `add`.
        """
        with self.changing(rewrites=False):
            person, faces = self._add_people([name])[name], list(faces)
            end, terms = self._end_of(person), self._terms_of(person)
            enrolled = self._add([replace(record, consent=terms[0], expires=terms[1]) for record in records])[0]
            self.library.write_names(faces, person)
            self.settle({person})
            self.changes.add(
                kind,
                person=person,
                name=name,
                detail=detail,
                photos=len(enrolled),
                faces=len(faces),
                enrolled=enrolled,
                scanned=faces,
                back={"end": end},
            )

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

    def remove_faces(self, faces: Sequence[int]) -> int:
        """Delete faces in one transaction; returns how many. `settling.settle` says what becomes of their people."""
        with self.changing(rewrites=True):
            photos, removed = self._owner_counts(faces), self._delete_faces(faces)
            for owner, count in photos.items():
                self.changes.add("photos-removed", person=owner, name=self._name_of(owner), photos=count)
            self.settle(photos)
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
        with self.changing(rewrites=True):
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
            without = self._db.rows("SELECT id FROM person WHERE id NOT IN (SELECT person FROM face)")
            self.settle([person for (person,) in without])
            self._db.execute("UPDATE gallery SET model = ?, model_file = ?, dim = ?", (model, model_file, dim))
            self.changes.add("re-encoded", photos=len(vectors), faces=len(scanned or {}))

    def index_disagrees(self) -> GalleryDamaged:
        """The error for SQLite's own index, which has no checksum, where the index disagrees with its table."""
        return GalleryDamaged(
            f"{self.path} is damaged, its own index at least; run `facedex doctor`, which repairs that"
        )

    # For the other modules of this folder, inside a transaction of theirs

    @property
    def database(self) -> Database:
        """The open database."""
        return self._db

    @contextmanager
    def changing(self, rewrites: bool) -> Iterator[Changing]:
        """One transaction, at whose end the revision grows. `rewrites`: see Changing."""
        with self._db.transaction():
            change = Changing(rewrites)
            yield change
            self._db.execute(
                "UPDATE gallery SET revision = revision + 1, "
                "rewritten = CASE WHEN ? THEN revision + 1 ELSE rewritten END",
                (change.rewrites,),
            )

    def settle(self, people: Iterable[int]) -> bool:
        """See settling.settle."""
        from facedex.store.settling import settle

        return settle(self._db, people)

    def owners_of(self, faces: Sequence[int]) -> set[int]:
        """Ids of the people of these faces."""
        return {row[0] for face in faces for row in self._db.rows("SELECT person FROM face WHERE id = ?", (face,))}

    def add_person(self, name: str) -> int:
        """The id of a person, who is made where new. `settle` must follow in the same transaction."""
        return self._add_people([name])[name]

    def give_faces(self, faces: Sequence[int], person: int) -> None:
        """Give enrolled faces (ids) to a person. Raises GalleryDamaged for an altered row."""
        self.faces(faces)  # raises GalleryDamaged for damage, which a new seal would hide
        for face in faces:
            self._db.execute("UPDATE face SET person = ? WHERE id = ?", (person, face))
            self._seal(face)

    def write_end(self, person: int, expires: str) -> None:
        """Write the last day that a person (id) who has lost every photo keeps of the last one."""
        self._db.execute("UPDATE person SET expires = ? WHERE id = ? AND photoless = 1", (expires, person))

    def write_consents(self, consents: Iterable[tuple[int, str, str]]) -> None:
        """Write for faces (ids) what was allowed, and its last day. Raises GalleryDamaged for an altered row."""
        consents = list(consents)
        self.faces([face for face, *_ in consents])  # raises GalleryDamaged for damage, which a new seal would hide
        for face, consent, expires in consents:
            self._db.execute("UPDATE face SET consent = ?, expires = ? WHERE id = ?", (consent, expires, face))
            self._seal(face)

    def write_person_name(self, person: int, name: str) -> None:
        """Give a person (id) another name. Raises PersonConflict where it is taken."""
        taken = self._db.rows("SELECT id FROM person WHERE name = ?", (name,))
        if taken and taken[0][0] != person:
            raise PersonConflict(f"{name!r} is enrolled already; use merge to make the two one person")
        faces, scanned = self.faces_of([person]).ids.tolist(), self.library.named_faces(person)
        self._db.execute("UPDATE person SET name = ? WHERE id = ?", (name, person))
        for face in faces:
            self._seal(face)
        self.library.write_names(scanned, person)

    # Private

    @property
    def _snapshot_state(self) -> State | None:
        """The state of the snapshot that this thread is reading; None outside of one."""
        state: State | None = getattr(self._snapshots, "state", None)
        return state

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

    def _add(self, records: Sequence[FaceRecord]) -> tuple[list[int], dict[str, int]]:
        """Add faces inside the caller's transaction; returns their ids, and the id of each person by name."""
        enrolled = datetime.now(timezone.utc).isoformat(timespec="seconds")
        dim, first, first_person = self.state.dim, self._db.next_id("face"), self._db.next_id("person")
        people = self._add_people(dict.fromkeys(record.name for record in records))
        rows = [new_row(face, people[record.name], record, dim, enrolled) for face, record in enumerate(records, first)]
        self._db.execute_many(INSERT_FACE, rows)
        self._db.execute(
            f"UPDATE gallery SET faces = faces + ?, digest = (digest + ?) % {schema.MODULUS}",
            (len(rows), sum(row[-1] for row in rows) % schema.MODULUS),
        )
        self._db.execute_many(
            "UPDATE person SET photoless = 0, expires = '' WHERE id = ? AND photoless = 1",
            ((person,) for person in people.values() if person < first_person),
        )
        return list(range(first, first + len(records))), people

    def _add_people(self, names: Iterable[str]) -> dict[str, int]:
        """Id by name, of people who are made where they are new."""
        ids: dict[str, int] = {}
        first, wanted = self._db.next_id("person"), list(names)
        for start in range(0, len(wanted), MOST_VALUES):
            part = wanted[start : start + MOST_VALUES]
            new = dict(zip(part, range(first + start, first + start + len(part)), strict=True))
            # One statement for many people takes a quarter of the time, because of the trigger.
            insert = f"INSERT OR IGNORE INTO person (name, id) VALUES {','.join(['(?, ?)'] * len(part))}"
            if self._db.execute(insert, [value for pair in new.items() for value in pair]) < len(part):
                new = dict(self._db.rows_for("SELECT name, id FROM person WHERE name IN ({})", part))
            ids.update(new)
        return ids

    def _owner_counts(self, faces: Iterable[int]) -> Counter[int]:
        """How many of these faces (ids) each person has."""
        return Counter(owner for face in faces for owner in self.owners_of([face]))

    def _delete_faces(self, faces: Iterable[int]) -> int:
        """Delete faces (ids) inside the caller's transaction; returns how many there were."""
        return sum(self._db.execute("DELETE FROM face WHERE id = ?", (face,)) for face in faces)

    def _settle_after(self, face: int, former: int, person: int) -> bool:
        """Settle the two people after a face (id) changed hands; returns whether the former owner went.

        A former owner without another photo keeps the last day of this one's consent, as after a deletion.
        """
        gone = self.settle({former, person})
        ((end,),) = self._db.rows("SELECT expires FROM face WHERE id = ?", (face,))
        self.write_end(former, end)
        return gone

    def _end_of(self, person: int) -> str:
        """The last day that a person (id) who has lost every photo keeps of the last one; "" for anybody else."""
        return "".join(end for (end,) in self._db.rows("SELECT expires FROM person WHERE id = ?", (person,)))

    def _terms_of(self, person: int) -> tuple[str, str]:
        """Consent and last day of the photo of a person (id) whose consent ends last. One without end ends last."""
        query = "SELECT consent, expires FROM face WHERE person = ? ORDER BY expires <> '', expires DESC, id LIMIT 1"
        for consent, expires in self._db.rows(query, (person,)):
            return consent, expires
        return "", self._end_of(person)

    def _name_of(self, person: int) -> str | None:
        """The name of a person (id); None where it is damaged, so that a damaged face can be deleted."""
        with suppress(GalleryError):
            for (name,) in self._db.rows("SELECT name FROM person WHERE id = ?", (person,)):
                return str(name)
        return None

    def _chosen(self, column: str, values: Sequence[int]) -> StoredFaces:
        rows = self._db.rows_for(f"{SELECT_FACE} WHERE {column} IN ({{}})", map(int, values))
        position, wanted = ("face.id", "face.person").index(column), set(values)
        if any(row[position] not in wanted for row in rows):
            raise self.index_disagrees()
        return stored_faces(rows, self.state.dim, self.path)

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
