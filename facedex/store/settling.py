"""What becomes of people who have lost photos or names of scanned faces."""

from __future__ import annotations

from collections.abc import Iterable

from facedex.store.changelog import ChangeLog
from facedex.store.database import Database


def settle(database: Database, people: Iterable[int]) -> bool:
    """Bring people (ids) to what is left of them, inside the caller's transaction; returns whether somebody went.

    Who has an enrolled photo is enrolled. Who has only scanned faces with the name stays without a photo, so that no
    name of a face is lost. Who has neither is deleted, and the log is cleared of the person.
    """
    gone = []
    for person in people:
        if database.rows("SELECT 1 FROM face WHERE person = ? LIMIT 1", (person,)):
            statement = "UPDATE person SET photoless = 0, expires = '' WHERE id = ? AND photoless = 1"
        elif database.rows("SELECT 1 FROM face_name WHERE person = ? LIMIT 1", (person,)):
            statement = "UPDATE person SET photoless = 1 WHERE id = ? AND photoless = 0"
        else:
            statement = "DELETE FROM person WHERE id = ?"
            gone.append(person)
        database.execute(statement, (person,))
    ChangeLog(database).clear_people(gone)
    return bool(gone)
