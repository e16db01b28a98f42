"""The log of a gallery in gallery.db: a line for each change, written in the transaction of that change.

A line holds names as they were at that time, and the ids of faces in place of their photos' paths. Deleting a person
clears the lines that concern the person, in the same transaction.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from facedex.errors import GalleryDamaged
from facedex.store.database import Database
from facedex.store.rows import Row

# What each kind of change is called in words. `undoing.UNDO` lists the kinds that can be undone.
KINDS = {
    "enrolled": "enrolled",
    "named": "scanned faces named",
    "imported": "scanned faces named by XMP",
    "moved": "photo moved",
    "corrected": "photo given to another person",
    "renamed": "renamed",
    "merged": "merged",
    "consent": "consent changed",
    "removed": "person deleted",
    "photos-removed": "photos deleted",
    "purged": "deleted, since consent had expired",
    "split": "group split",
    "joined": "groups joined",
    "apart": "groups kept apart",
    "not-person": "faces kept apart from a person",
    "confirmed": "name of a face confirmed",
    "not-a-face": "marked as no face",
    "face-again": "a face after all",
    "ignored": "group ignored",
    "listed": "group listed again",
    "scanned": "photos scanned",
    "forgotten": "scanned photos forgotten",
    "re-encoded": "encoded with another model",
    "restored": "restored from a backup",
}
DELETIONS = ("removed", "photos-removed", "purged", "forgotten")  # nothing of what they deleted is kept
# What a user says about scanned faces besides names (LibraryTables.decide).
DECISIONS = ("split", "joined", "apart", "not-person", "confirmed", "not-a-face", "face-again")

_COLUMNS = "id, made, account, kind, person, other, name, former, detail, photos, faces, enrolled, scanned, back"
_ADD = (
    "INSERT INTO change (made, account, kind, person, other, name, former, detail, photos, faces, enrolled, scanned, "
    "back) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True)
class Change:
    """One line of the log.

    `made`: when, ISO 8601 in UTC. `account`: the system's account of the process, None where it has no name. `kind`:
    one of KINDS. `name` and `former`: the person and the former name, or the other person; None for nobody, and for
    somebody who was deleted later. `detail`: the rest in words. `photos` and `faces`: how many photos and
    scanned faces the change concerns. `enrolled` and `scanned`: ids of its faces. `back`: what undoing needs, None
    where the change cannot be undone.
    """

    number: int
    made: str
    account: str | None
    kind: str
    person: int | None
    other: int | None
    name: str | None
    former: str | None
    detail: str
    photos: int
    faces: int
    enrolled: tuple[int, ...] = field(repr=False)
    scanned: tuple[int, ...] = field(repr=False)
    back: dict[str, Any] | None = field(repr=False)

    @property
    def whom(self) -> str:
        """The people in words: "Ada", "Ada to Ada Lovelace", or "" for nobody."""
        return f"{self.former} to {self.name}" if self.former and self.name else self.name or ""


class ChangeLog:
    """The lines of an open gallery. Every method raises GalleryError or one of its kinds."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self,
        kind: str,
        *,
        person: int | None = None,
        name: str | None = None,
        other: int | None = None,
        former: str | None = None,
        detail: str = "",
        photos: int = 0,
        faces: int = 0,
        enrolled: Iterable[int] = (),
        scanned: Iterable[int] = (),
        back: Mapping[str, Any] | None = None,
    ) -> int:
        """Write a line inside the caller's transaction; returns its number.

        The arguments are those of Change. Whoever is named must be given by id too, so that a deletion finds the line.
        `detail` may hold neither a name nor a path. `back` may hold both.
        """
        concerned = (kind, person, other, name, former, detail, photos, faces, _ids(enrolled), _ids(scanned))
        self._db.execute(_ADD, (*_origin(), *concerned, None if back is None else json.dumps(dict(back))))
        return int(self._db.rows("SELECT last_insert_rowid()")[0][0])

    def add_enrolled(self, people: Iterable[tuple[int, str, Sequence[int]]]) -> None:
        """Write a line for each person (id, name) and the ids of the faces that were enrolled, as `add` does."""
        origin = _origin()
        self._db.execute_many(
            _ADD,
            (
                (*origin, "enrolled", person, None, name, None, "", len(faces), 0, _ids(faces), "[]", None)
                for person, name, faces in people
            ),
        )

    def count_more(self, number: int, photos: int, faces: int) -> None:
        """Add to the counts of a line, inside the caller's transaction: a scan is one line, however long it takes."""
        statement = "UPDATE change SET photos = photos + ?, faces = faces + ? WHERE id = ?"
        self._db.execute(statement, (photos, faces, number))

    def add_twins(self, twins: Mapping[int, int]) -> None:
        """Let namings concern further scanned faces, inside the caller's transaction, so that they are undone together.

        `twins`: the new face (id) by the one whose name it has.
        """
        for number, text in self._db.rows("SELECT id, scanned FROM change WHERE kind IN ('named', 'imported')"):
            faces = json.loads(text)
            if added := [twins[face] for face in faces if face in twins]:
                self._db.execute("UPDATE change SET scanned = ? WHERE id = ?", (_ids(faces + added), number))

    def lines(self, since: str = "") -> list[tuple[Change, tuple[str, ...]]]:
        """Every change at or after a time (ISO 8601, UTC), the first one first, and the sources of its photos.

        These are the present sources of the faces that are still there.
        """
        sources: dict[int, dict[str, None]] = {}
        for column, origin in (
            ("enrolled", "face ON face.id = value"),
            ("scanned", "scanned_face ON scanned_face.id = value JOIN scanned_file USING (photo)"),
        ):
            query = (
                f"SELECT change.id, source FROM change, json_each(change.{column}) JOIN {origin} "
                "WHERE made >= ? ORDER BY change.id, source"
            )
            for number, source in self._db.rows(query, (since,)):
                sources.setdefault(number, {})[source] = None
        rows = self._db.rows(f"SELECT {_COLUMNS} FROM change WHERE made >= ? ORDER BY id", (since,))
        return [(self._change(row), tuple(sources.get(row[0], ()))) for row in rows]

    def last_undoable(self) -> Change | None:
        """The newest change that can be undone, None where there is none."""
        rows = self._db.rows(f"SELECT {_COLUMNS} FROM change WHERE back IS NOT NULL ORDER BY id DESC LIMIT 1")
        return self._change(rows[0]) if rows else None

    def deletions_after(self, number: int) -> list[Change]:
        """The deletions after a line, the newest first."""
        marks = ",".join("?" * len(DELETIONS))
        query = f"SELECT {_COLUMNS} FROM change WHERE id > ? AND kind IN ({marks}) ORDER BY id DESC"
        return [self._change(row) for row in self._db.rows(query, (number, *DELETIONS))]

    def delete(self, number: int) -> None:
        """Delete the line of a change that was undone, inside the caller's transaction."""
        self._db.execute("DELETE FROM change WHERE id = ?", (number,))

    def clear_people(self, people: Iterable[int]) -> None:
        """Clear names and ids out of every line about these people, inside the caller's transaction.

        People who became one with them by a merge are cleared too. Such a line cannot be undone any more.
        """
        waiting, cleared = list(people), set[int]()
        while waiting:
            person = waiting.pop()
            if person in cleared:
                continue
            cleared.add(person)
            merged = "SELECT other FROM change WHERE kind = 'merged' AND person = ? AND other IS NOT NULL"
            waiting += [other for (other,) in self._db.rows(merged, (person,))]
        # Two statements, because SQLite uses one index for each.
        for column in ("person", "other"):
            self._db.execute_many(
                "UPDATE change SET person = NULL, other = NULL, name = NULL, former = NULL, enrolled = '[]', "
                f"scanned = '[]', back = NULL WHERE {column} = ?",
                ((person,) for person in cleared),
            )

    def _change(self, row: Row) -> Change:
        """A row as a Change. Raises GalleryDamaged for one that cannot be read."""
        try:
            enrolled, scanned = (tuple(map(int, json.loads(text))) for text in row[11:13])
            back = None if row[13] is None else dict(json.loads(row[13]))
        except (TypeError, ValueError):
            raise GalleryDamaged(f"{self._db.path} is damaged; run `facedex doctor`, or restore a copy") from None
        values: Row = (*row[:11], enrolled, scanned, back)
        return Change(*values)


def _ids(faces: Iterable[int]) -> str:
    return json.dumps([int(face) for face in faces])


def _origin() -> tuple[str, str | None]:
    """The time and the account of a change that is being made."""
    try:
        account = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run as a user without a name
        account = None
    return datetime.now(timezone.utc).isoformat(timespec="seconds"), account
