"""The scanned library in gallery.db: photo files, every face found in them, groups of faces, and names of faces.

These rows lie beside the enrolled people. No look-up reads them. Names of faces are decisions of a person, and only a
method that a user asked for changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.faces.boxes import Box, same_place
from facedex.store.changelog import ChangeLog
from facedex.store.database import Database
from facedex.store.face_links import NOT_FACE, FaceLinks, Rows
from facedex.store.library_rows import (
    INSERT_SCANNED,
    SELECT_SCANNED,
    LibraryCounts,
    Membership,
    PhotoFacts,
    ScannedFaces,
    ScannedFile,
    SeenFile,
    StoredGroup,
    face_checksum,
    is_intact,
    name_checksum,
    new_scanned_row,
    scanned_faces,
)
from facedex.store.rows import Row
from facedex.store.settling import settle

_BLOCK = 20_000  # rows read at a time
_SAME_PICTURE = 0.95  # cosine of two embeddings of one picture that was saved again; two people give less than .6
_HAS_FILE = "scanned_face.photo IN (SELECT photo FROM scanned_file)"
_IS_FACE = f"scanned_face.id NOT IN (SELECT face FROM {NOT_FACE})"


class LibraryTables:
    """The scanned library of an open Store. Every method raises GalleryError or one of its kinds.

    A change is one transaction, which is on disk when the method returns. Changes that delete vectors must be followed
    by `Store.scrub`. Callers hold the gallery's write lock while they change anything.
    """

    def __init__(self, database: Database, change: Callable[[bool], AbstractContextManager[object]]) -> None:
        """`change(rewrites)`: a transaction at whose end the gallery's revision grows (Store)."""
        self._db, self._change, self._changes = database, change, ChangeLog(database)
        self.links = FaceLinks(database)

    # Files and photos

    def counts(self) -> LibraryCounts:
        """How much was scanned."""
        tables = ("scanned_photo", "scanned_file", "scanned_face", "face_name")
        return LibraryCounts(*(self._db.rows(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables))

    def files(self) -> dict[str, ScannedFile]:
        """Every file by its source."""
        rows = self._db.rows("SELECT source, size, modified, photo FROM scanned_file")
        return {source: ScannedFile(*values) for source, *values in rows}

    def sources(self, photos: Iterable[int]) -> dict[int, list[str]]:
        """The sources of the files of these photos (ids), in the order of their text."""
        found: dict[int, list[str]] = {}
        query = "SELECT photo, source FROM scanned_file WHERE photo IN ({}) ORDER BY source"
        for photo, source in self._db.rows_for(query, photos):
            found.setdefault(photo, []).append(source)
        return found

    def sources_of_content(self, photo: str) -> list[str] | None:
        """The sources of the files with this SHA-256 (hex). None for a photo that was not scanned."""
        number = self.photo_of_content(photo)
        return None if number is None else self.sources([number]).get(number, [])

    def file(self, source: str) -> ScannedFile | None:
        """One file, None for a source that was not scanned."""
        rows = self._db.rows("SELECT size, modified, photo FROM scanned_file WHERE source = ?", (source,))
        return ScannedFile(*rows[0]) if rows else None

    def has_size(self, size: int) -> bool:
        """Whether a file of this many bytes was scanned. Only then can a file of this size be a stored photo."""
        return bool(self._db.rows("SELECT 1 FROM scanned_file WHERE size = ? LIMIT 1", (size,)))

    def photo_of_content(self, photo: str) -> int | None:
        """The id of the photo with this SHA-256 (hex), None for one that was not scanned."""
        rows = self._db.rows("SELECT id FROM scanned_photo WHERE photo = ?", (bytes.fromhex(photo),))
        return int(rows[0][0]) if rows else None

    def facts(self, photos: Iterable[int]) -> dict[int, PhotoFacts]:
        """What a scan noted of these photos (ids), by id."""
        query = "SELECT id, faces, detector, remark, taken FROM scanned_photo WHERE id IN ({})"
        return {photo: PhotoFacts(*values) for photo, *values in self._db.rows_for(query, photos)}

    def faces_of_photo(self, photo: int) -> ScannedFaces:
        """The faces of one photo (id), in the order in which they were found. Raises GalleryDamaged."""
        return self._faces_where("scanned_photo.id = ?", photo)

    def save(self, files: Sequence[SeenFile], gone: Iterable[str] = (), line: int | None = None) -> int:
        """Store files, and the photos among them that are new, in one transaction; returns the log's line.

        `line`: the number of the line of the files before these, where a scan goes on.
        `gone`: sources of files that moved. Their photos are stored under new sources by the same call. A photo that
        was edited at its place keeps the names of the faces that look as before, as after a change of its metadata. It
        keeps all else that a user said about them, too.
        """
        with self._db.transaction():
            dim, before = self._dim, self.counts()
            for file in files:
                digest = bytes.fromhex(file.photo)
                former = self._db.rows("SELECT photo FROM scanned_file WHERE source = ?", (file.source,))
                new = self._db.execute(
                    "INSERT OR IGNORE INTO scanned_photo (photo, faces, detector, remark, taken) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (digest, len(file.faces), file.detector, file.remark, file.taken),
                )
                photo = self._db.rows("SELECT id FROM scanned_photo WHERE photo = ?", (digest,))[0][0]
                if new > 0:
                    first = self._db.next_id("scanned_face")
                    self._db.execute_many(
                        INSERT_SCANNED,
                        [
                            new_scanned_row(face, photo, digest, found, dim, file.source)
                            for face, found in enumerate(file.faces, first)
                        ],
                    )
                    for (other,) in former:
                        self._carry_decisions(other, photo)
                self._db.execute(
                    "INSERT OR REPLACE INTO scanned_file (source, photo, size, modified) VALUES (?, ?, ?, ?)",
                    (file.source, photo, file.size, file.modified),
                )
            self._db.execute_many("DELETE FROM scanned_file WHERE source = ?", ((source,) for source in gone))
            line, after = line or self._changes.add("scanned"), self.counts()
            self._changes.count_more(line, after.photos - before.photos, after.faces - before.faces)
        return line

    def follow_content(self, file: SeenFile, former: str) -> None:
        """Store that a file has new bytes and shows the same picture, inside the caller's transaction.

        `file`: its source, new size, time and SHA-256. `former`: the SHA-256 before (hex). Faces, groups, names and
        decisions stay. A copy of the photo elsewhere keeps its bytes, so that there are two photos then.
        Raises GalleryDamaged.
        """
        number, digest = self.photo_of_content(former), bytes.fromhex(file.photo)
        if number is None:
            return  # forgotten meanwhile
        faces = self.faces_of_photo(number)  # raises for damage, which new checksums would hide
        if (photo := self.photo_of_content(file.photo)) is not None:
            self._carry_decisions(number, photo)
        elif len(self.sources([number])[number]) > 1:
            photo = self._copy_photo(number, faces, digest)
        else:
            photo = number
            self._db.execute("UPDATE scanned_photo SET photo = ? WHERE id = ?", (digest, number))
            for row in self._db.rows(f"{SELECT_SCANNED} WHERE scanned_photo.id = ?", (number,)):
                statement = "UPDATE scanned_face SET checksum = ? WHERE id = ?"
                self._db.execute(statement, (face_checksum(row[:12]), row[0]))
        self._db.execute(
            "UPDATE scanned_file SET photo = ?, size = ?, modified = ? WHERE source = ?",
            (photo, file.size, file.modified, file.source),
        )

    def drop_files(self, sources: Iterable[str]) -> tuple[int, int]:
        """Delete files, and photos that have no file left, with their faces; returns how many photos and faces."""
        before = self.counts()
        sources = list(sources)
        orphans = "FROM scanned_photo WHERE id NOT IN (SELECT photo FROM scanned_file)"
        if not sources and not self._db.rows(f"SELECT 1 {orphans} LIMIT 1"):
            return 0, 0  # nothing is deleted, so nothing is scrubbed
        with self._change(True):
            self._db.execute_many("DELETE FROM scanned_file WHERE source = ?", ((source,) for source in sources))
            self._db.execute(f"DELETE {orphans}")
            self._sweep()
            after = self.counts()
            photos, faces = before.photos - after.photos, before.faces - after.faces
            self._changes.add("forgotten", photos=photos, faces=faces)
        return photos, faces

    # Faces and groups

    def faces(self, everything: bool = False) -> ScannedFaces:
        """The scanned faces. Raises GalleryDamaged for an altered row.

        `everything`: also those of which a user said that they are no faces. A photo that was replaced has no file, and
        is left out. It keeps its faces until the scan ends, or the next one where that was killed.
        """
        condition = _HAS_FILE if everything else f"{_HAS_FILE} AND {_IS_FACE}"
        parts = [scanned_faces(block, self._dim, self._db.path) for block in self._blocks(f"AND {condition}")]
        return scanned_faces([], self._dim, self._db.path).joined(*parts)

    def membership(self) -> Membership:
        """What `faces` reads, without the vectors: it is quick, and the rows are not checked."""
        rows = self._db.rows(
            "SELECT scanned_face.id, photo, COALESCE(in_group, 0), COALESCE(person, 0), quality FROM scanned_face "
            f"LEFT JOIN face_name ON face_name.face = scanned_face.id WHERE {_HAS_FILE} AND {_IS_FACE} "
            "ORDER BY scanned_face.id"
        )
        columns = list(zip(*rows, strict=True)) if rows else [()] * 5
        ids, photos, groups, people = (np.array(column, np.int64) for column in columns[:4])
        return Membership(ids, photos, groups, people, np.array(columns[4], np.float64))

    def faces_of_photos(self, digests: Iterable[str]) -> ScannedFaces:
        """The faces of the photos with these SHA-256 (hex). Raises GalleryDamaged for an altered row."""
        blobs = [bytes.fromhex(digest) for digest in digests]
        rows = self._db.rows_for(
            f"{SELECT_SCANNED} WHERE scanned_photo.photo IN ({{}}) ORDER BY scanned_face.id", blobs
        )
        return scanned_faces(rows, self._dim, self._db.path)

    def faces_with_ids(self, ids: Iterable[int]) -> ScannedFaces:
        """The faces with these ids, as far as there are any. Raises GalleryDamaged for an altered row."""
        rows = self._db.rows_for(f"{SELECT_SCANNED} WHERE scanned_face.id IN ({{}}) ORDER BY scanned_face.id", ids)
        return scanned_faces(rows, self._dim, self._db.path)

    def faces_named(self, person: str) -> ScannedFaces:
        """The faces that bear this name. Raises GalleryDamaged for an altered row."""
        return self._faces_where("person.name = ?", person)

    def faces_in_group(self, group: int) -> ScannedFaces:
        """The faces of a group, named ones too, without what is no face. Raises GalleryDamaged for an altered row."""
        return self._faces_where(f"{_IS_FACE} AND in_group = ?", group)

    def not_faces_in_group(self, group: int) -> ScannedFaces:
        """What a user called no face of a group. Raises GalleryDamaged for an altered row."""
        return self._faces_where(f"scanned_face.id IN (SELECT face FROM {NOT_FACE}) AND in_group = ?", group)

    def enrolled_beside(self) -> list[tuple[int, int, int, Box, Box]]:
        """Scanned and enrolled faces of the same photos, every pair of them.

        (scanned face, enrolled face, person, box of the scanned face, box of the enrolled face), boxes in pixels.
        """
        rows = self._db.rows(
            "SELECT scanned_face.id, face.id, face.person, scanned_face.box_left, scanned_face.box_top, "
            "scanned_face.box_width, scanned_face.box_height, face.box_left, face.box_top, face.box_width, "
            "face.box_height FROM scanned_face JOIN scanned_photo ON scanned_photo.id = scanned_face.photo "
            "JOIN face ON face.photo = scanned_photo.photo ORDER BY scanned_face.id, face.id"
        )
        return [(*row[:3], tuple(row[3:7]), tuple(row[7:])) for row in rows]

    def groups(self) -> dict[int, StoredGroup]:
        """Every group by its number."""
        rows = self._db.rows(
            "SELECT face_group.id, COALESCE(resembles, 0), name, ignored FROM face_group "
            "LEFT JOIN person ON person.id = resembles"
        )
        return {group: StoredGroup(person, name, bool(ignored)) for group, person, name, ignored in rows}

    def next_group(self) -> int:
        """The number of the next new group."""
        return self._db.next_id("face_group")

    def regroup(self, members: Mapping[int, int], resembles: Mapping[int, int]) -> None:
        """Move faces into groups, in one transaction.

        `members`: the new group by face, 0 for none. `resembles`: the person by group, 0 for nobody. Groups that are
        not there are made, and those without faces are deleted.
        """
        if not members and not resembles:
            return
        with self._db.transaction():
            self._db.execute_many(
                "INSERT INTO face_group (id, resembles) VALUES (?, ?) "
                "ON CONFLICT (id) DO UPDATE SET resembles = excluded.resembles",
                ((group, person or None) for group, person in resembles.items()),
            )
            self._db.execute_many(
                "UPDATE scanned_face SET in_group = ? WHERE id = ?",
                ((group or None, face) for face, group in members.items()),
            )
            self._sweep()

    def ignore(self, group: int, ignored: bool) -> bool:
        """Say whether a group needs a name; returns False where there is no such group."""
        with self._db.transaction():
            rows = self._db.rows("SELECT ignored FROM face_group WHERE id = ?", (group,))
            if rows and rows[0][0] != ignored:
                self._db.execute("UPDATE face_group SET ignored = ? WHERE id = ?", (ignored, group))
                back = {"group": group, "ignored": rows[0][0]}
                self._changes.add("ignored" if ignored else "listed", detail=f"group {group}", back=back)
        return bool(rows)

    def decide(
        self,
        kind: str,
        detail: str,
        faces: Sequence[int],
        add: Rows | None = None,
        remove: Rows | None = None,
        groups: Mapping[int, int] | None = None,
        unname: Sequence[int] = (),
        person: tuple[int, str] | None = None,
    ) -> None:
        """Change what a user says about faces, with a line in the log, in one transaction. See `FaceLinks.change`.

        `kind` and `detail`: those of the line (changelog.py). `faces` (ids) and `person` (id, name): whom it concerns.
        """
        with self._db.transaction():
            back = self.links.change(add, remove, groups, unname)
            self._sweep()
            number, name = person or (None, None)
            count = len(faces)
            self._changes.add(kind, person=number, name=name, detail=detail, faces=count, scanned=faces, back=back)

    def take_back(self, back: Mapping[str, Any]) -> None:
        """Undo `decide`, inside the caller's transaction."""
        for face, person in self.links.restore(back):
            self.write_names([face], person)
        self._sweep()

    # Names

    def write_names(self, faces: Iterable[int], person: int) -> None:
        """Give faces to a person, inside the caller's transaction."""
        name = self._db.rows("SELECT name FROM person WHERE id = ?", (person,))[0][0]
        self._db.execute_many(
            "INSERT OR REPLACE INTO face_name (face, person, checksum) VALUES (?, ?, ?)",
            ((face, person, name_checksum(face, person, name)) for face in faces),
        )

    def named_faces(self, person: int) -> list[int]:
        """The ids of a person's faces, checked. Raises GalleryDamaged for an altered row."""
        ids: list[int] = self._faces_where("person.id = ?", person).ids.tolist()
        return ids

    def delete_faces_of(self, person: int) -> int:
        """Delete a person's scanned faces inside the caller's transaction; returns how many.

        Their photos stay known, so that no later scan brings the faces back.
        """
        query = "DELETE FROM scanned_face WHERE id IN (SELECT face FROM face_name WHERE person = ?)"
        removed = self._db.execute(query, (person,))
        self._sweep()
        return removed

    def people(self) -> dict[int, str]:
        """The name of everybody who is enrolled, by id."""
        return dict(self._db.rows("SELECT id, name FROM person"))

    # Damage, and another model

    def damaged(self) -> list[tuple[int, str]]:
        """The ids of scanned faces whose rows are altered, and the path of a file of each, "?" where there is none."""
        dim = self._dim
        damaged = [row for block in self._blocks() for row in block if not is_intact(row, dim)]
        paths = self.sources(row[13] for row in damaged)
        return [(row[0], paths.get(row[13], ["?"])[0]) for row in damaged]

    def remove_faces(self, faces: Iterable[int]) -> None:
        """Delete faces and forget their photos, so that the next scan looks at these again."""
        with self._change(True):
            before = self.counts()
            for face in list(faces):
                query = "DELETE FROM scanned_photo WHERE id = (SELECT photo FROM scanned_face WHERE id = ?)"
                self._db.execute(query, (face,))
            self._sweep()
            after = self.counts()
            self._changes.add("forgotten", photos=before.photos - after.photos, faces=before.faces - after.faces)

    def replace_vectors(self, embeddings: Mapping[int, tuple[NDArray[np.float32], float]]) -> None:
        """Give faces (ids) new vectors (dim,) and qualities, inside the caller's transaction.

        A photo with a face that has none is forgotten, so that the next scan looks at it again.
        """
        for block in list(self._blocks()):
            for row in block:
                if row[0] not in embeddings:
                    self._db.execute("DELETE FROM scanned_photo WHERE id = ?", (row[13],))
                    continue
                vector, quality = embeddings[row[0]]
                blob = np.asarray(vector, "<f4").tobytes()
                checksum = face_checksum((row[0], blob, *row[2:7], float(quality), *row[8:12]))
                statement = "UPDATE scanned_face SET vector = ?, quality = ?, checksum = ? WHERE id = ?"
                self._db.execute(statement, (blob, float(quality), checksum, row[0]))
        self._sweep()

    # Private

    @property
    def _dim(self) -> int:
        return int(self._db.rows("SELECT dim FROM gallery")[0][0])

    def _faces_where(self, condition: str, value: object) -> ScannedFaces:
        """The faces that meet a condition, checked."""
        rows = self._db.rows(f"{SELECT_SCANNED} WHERE {condition} ORDER BY scanned_face.id", (value,))
        return scanned_faces(rows, self._dim, self._db.path)

    def _blocks(self, condition: str = "") -> Iterator[list[Row]]:
        after = 0
        query = f"{SELECT_SCANNED} WHERE scanned_face.id > ? {condition} ORDER BY scanned_face.id LIMIT ?"
        while rows := self._db.rows(query, (after, _BLOCK)):
            yield rows
            after = rows[-1][0]

    def _copy_photo(self, former: int, faces: ScannedFaces, digest: bytes) -> int:
        """Store a photo anew under another SHA-256, with its faces, groups and names; returns its id."""
        self._db.execute(
            "INSERT INTO scanned_photo (photo, faces, detector, remark, taken) "
            "SELECT ?, faces, detector, remark, taken FROM scanned_photo WHERE id = ?",
            (digest, former),
        )
        (photo,) = self._db.rows("SELECT id FROM scanned_photo WHERE photo = ?", (digest,))[0]
        first = self._db.next_id("scanned_face")
        found = [(first + row, faces.found(row)) for row in range(len(faces))]
        self._db.execute_many(
            INSERT_SCANNED, [new_scanned_row(face, photo, digest, one, self._dim, digest.hex()) for face, one in found]
        )
        twins = {old: first + row for row, old in enumerate(faces.ids.tolist())}
        for old, group in zip(faces.ids.tolist(), faces.groups.tolist(), strict=True):
            self._db.execute("UPDATE scanned_face SET in_group = ? WHERE id = ?", (group or None, twins[old]))
        self._carry_decisions(former, photo)
        self._changes.add_twins(twins)
        return int(photo)

    def _carry_decisions(self, former: int, photo: int) -> None:
        """Give the names of a photo's faces, and what else a user said, to the same faces of its new version."""
        old, new = self.faces_of_photo(former), self.faces_of_photo(photo)
        alike = old.vectors @ new.vectors.T
        for row, other in np.argwhere(alike >= _SAME_PICTURE).tolist():
            if same_place(old.box(row), new.box(other)):
                if old.people[row]:
                    self.write_names([int(new.ids[other])], int(old.people[row]))
                self.links.carry(int(old.ids[row]), int(new.ids[other]))

    def _sweep(self) -> None:
        """Delete groups without faces, and people without photos who have lost their last named face."""
        used = "SELECT in_group FROM scanned_face WHERE in_group IS NOT NULL"
        self._db.execute(f"DELETE FROM face_group WHERE id NOT IN ({used})")
        settle(self._db, [person for (person,) in self._db.rows("SELECT id FROM person WHERE photoless = 1")])
