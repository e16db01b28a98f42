"""What a user said about scanned faces besides names: one person, two people, not that person, no face.

Every change returns what undoing it needs, so that an undone change leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from facedex.store.database import Database

SAME, APART, NOT_PERSON, NOT_FACE = "face_same", "face_apart", "face_not_person", "not_face"
_COLUMNS = {
    SAME: ("face", "other"),
    APART: ("face", "other"),
    NOT_PERSON: ("face", "person"),
    NOT_FACE: ("face",),
}

Rows = Mapping[str, Iterable[tuple[int, ...]]]


class FaceLinks:
    """The decisions about faces of an open Store. Every method raises GalleryError or one of its kinds.

    A decision is a row of ids: (face, other) in SAME and APART, (face, person) in NOT_PERSON, (face,) in NOT_FACE.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def rows(self, table: str) -> list[tuple[int, ...]]:
        """Every row of a table."""
        return self._db.rows(f"SELECT {', '.join(_COLUMNS[table])} FROM {table}")

    def between(self, table: str, faces: Iterable[int], others: Iterable[int]) -> list[tuple[int, ...]]:
        """The rows of SAME or APART that link a face of one kind with one of the other kind, in either order."""
        one, other = set(faces), set(others)
        return [(a, b) for a, b in self.rows(table) if (a in one and b in other) or (a in other and b in one)]

    def change(
        self,
        add: Rows | None = None,
        remove: Rows | None = None,
        groups: Mapping[int, int] | None = None,
        unname: Iterable[int] = (),
    ) -> dict[str, Any]:
        """Change decisions inside the caller's transaction; returns what `restore` takes, for JSON.

        `add` and `remove`: rows by table. `groups`: the new group by face; groups that are not there are made.
        `unname`: faces that lose their names.
        """
        groups, unname = groups or {}, list(unname)
        back: dict[str, Any] = {
            "added": {table: list(self._changed(True, table, rows)) for table, rows in (add or {}).items()},
            "removed": {table: list(self._changed(False, table, rows)) for table, rows in (remove or {}).items()},
            "groups": self._values("SELECT id, in_group FROM scanned_face WHERE id = ?", groups),
            "names": self._values("SELECT face, person FROM face_name WHERE face = ?", unname),
        }
        former = dict.fromkeys(group for _, group in back["groups"] if group)
        back["former"] = self._values("SELECT id, resembles, ignored FROM face_group WHERE id = ?", former)
        self._db.execute_many(
            "INSERT OR IGNORE INTO face_group (id) VALUES (?)", ((group,) for group in dict.fromkeys(groups.values()))
        )
        self._move(groups.items())
        self._db.execute_many("DELETE FROM face_name WHERE face = ?", ((face,) for face in unname))
        return back

    def restore(self, back: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Undo a change inside the caller's transaction, as far as its faces are still there.

        Returns the names that faces had, as (face, person), for LibraryTables.write_names.
        """
        for table, rows in back["added"].items():
            list(self._changed(False, table, rows))
        for table, rows in back["removed"].items():
            list(self._changed(True, table, rows))
        self._db.execute_many(
            "INSERT OR IGNORE INTO face_group (id, resembles, ignored) "
            "VALUES (?, (SELECT id FROM person WHERE id = ?), ?)",
            map(tuple, back["former"]),
        )
        self._move((face, group) for face, group in back["groups"])
        there = "SELECT f.id, p.id FROM scanned_face AS f JOIN person AS p WHERE f.id = ? AND p.id = ?"
        return [(row[0], row[1]) for pair in back["names"] for row in self._db.rows(there, pair)]

    def move_strangers(self, giver: int, taker: int) -> dict[str, Any]:
        """Let faces that are not one person be not another, inside the caller's transaction, as the two become one.

        Returns what `restore` takes.
        """
        faces = [face for face, person in self.rows(NOT_PERSON) if person == giver]
        add, remove = ({NOT_PERSON: [(face, person) for face in faces]} for person in (taker, giver))
        return self.change(add, remove)

    def carry(self, former: int, new: int) -> None:
        """Let a face take over the decisions about another, inside the caller's transaction."""
        for table, columns in _COLUMNS.items():
            for column in columns:
                if column != "person":
                    chosen = ", ".join("?" if one == column else one for one in columns)
                    self._db.execute(
                        f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) "
                        f"SELECT {chosen} FROM {table} WHERE {column} = ?",
                        (new, former),
                    )

    def _changed(self, add: bool, table: str, rows: Iterable[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
        """Add or remove rows, and yield those that were not as wanted already. Rows of faces that went are left out."""
        columns = _COLUMNS[table]
        owners = ["person" if column == "person" else "scanned_face" for column in columns]
        if add:
            there = " AND ".join(f"EXISTS (SELECT 1 FROM {owner} WHERE id = ?)" for owner in owners)
            statement = (
                f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) "
                f"SELECT {', '.join('?' * len(columns))} WHERE {there}"
            )
        else:
            statement = f"DELETE FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in columns)}"
        for row in list(rows):
            if self._db.execute(statement, (*row, *row) if add else tuple(row)) > 0:
                yield tuple(row)

    def _values(self, query: str, keys: Iterable[int]) -> list[list[Any]]:
        """The rows of a query for each of many keys."""
        return [list(row) for key in keys for row in self._db.rows(query, (key,))]

    def _move(self, groups: Iterable[tuple[int, int | None]]) -> None:
        self._db.execute_many(
            "UPDATE scanned_face SET in_group = ? WHERE id = ?", ((group, face) for face, group in groups)
        )
