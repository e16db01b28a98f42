"""Undoing changes of the log, each exactly: what a change replaced is put back, and its line goes.

A kind of change that can be undone has a function in UNDO. Its line in the log has a `back`, a JSON object with what
the function needs. The function runs inside one transaction with the deletion of the line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from facedex.errors import UndoConflict
from facedex.store.changelog import DECISIONS, Change
from facedex.store.store import Store


@dataclass(frozen=True)
class Undone:
    """What `undo` did.

    `faces` and `photos`: how many scanned faces and enrolled photos changed by it. `deleted`: whether vectors, or
    somebody's name, were deleted, so that the gallery must be scrubbed.
    """

    change: Change
    faces: int = 0
    photos: int = 0
    deleted: bool = False


def undo(store: Store, change: Change) -> Undone:
    """Undo a change, which must be `store.changes.last_undoable()`, and delete its line, in one transaction.

    Raises UndoConflict where something that came later stands in the way. Nothing is changed then.
    """
    with store.changing(rewrites=False) as transaction:
        undone = UNDO[change.kind](store, change)
        store.changes.delete(change.number)
        transaction.rewrites = undone.deleted
    return undone


def _named(store: Store, change: Change) -> Undone:
    """Names and enrolled faces of a naming go, and people who have nothing left."""
    owners = store.owners_of(change.enrolled)
    photos = sum(store.database.execute("DELETE FROM face WHERE id = ?", (face,)) for face in change.enrolled)
    faces = sum(store.database.execute("DELETE FROM face_name WHERE face = ?", (face,)) for face in change.scanned)
    assert change.back is not None
    assert change.person is not None
    gone = store.settle(owners | {change.person})
    store.write_end(change.person, change.back["end"])
    return Undone(change, faces, photos, deleted=gone or photos > 0)


def _renamed(store: Store, change: Change) -> Undone:
    assert change.person is not None
    assert change.former is not None
    store.write_person_name(change.person, change.former)
    return Undone(change)


def _merged(store: Store, change: Change) -> Undone:
    """The person who was merged comes back with the photos, scanned faces and groups of that time, if still there."""
    assert change.back is not None
    taker, giver, name = change.person, change.other, change.former
    if store.database.rows("SELECT 1 FROM person WHERE name = ?", (name,)):
        raise UndoConflict(f"{name!r} was enrolled anew since the merge; rename that person, then undo again")
    store.database.execute("INSERT INTO person (id, name) VALUES (?, ?)", (giver, name))
    assert taker is not None
    assert giver is not None
    moved = [face for face in change.enrolled if store.owners_of([face]) == {taker}]
    store.give_faces(moved, giver)
    named = set(store.library.named_faces(taker))
    scanned = [face for face in change.scanned if face in named]
    store.library.write_names(scanned, giver)
    store.database.execute_many(
        "UPDATE face_group SET resembles = ? WHERE id = ? AND resembles = ?",
        ((giver, group, taker) for group in change.back["groups"]),
    )
    store.library.links.restore(change.back["strangers"])
    store.settle({giver, taker})
    store.write_end(giver, change.back["giver"])
    store.write_end(taker, change.back["taker"])
    return Undone(change, len(scanned), len(moved))


def _corrected(store: Store, change: Change) -> Undone:
    """The photo is the former person's again, if it is still the other one's."""
    assert change.back is not None
    assert change.person is not None
    assert change.other is not None
    (face,) = change.enrolled
    if store.owners_of([face]) != {change.person}:
        return Undone(change)
    (photo,) = store.photos(face=face)
    if change.other in store.owners_of([one.face for one in store.photos(photo.photo)]):
        raise UndoConflict(
            f"{change.former!r} was enrolled by the same photo again; remove that photo, then undo again"
        )
    store.give_faces([face], change.other)
    gone = store.settle({change.other, change.person})
    store.write_end(change.person, change.back["end"])
    return Undone(change, photos=1, deleted=gone)


def _decided(store: Store, change: Change) -> Undone:
    """Links between faces, groups and names are as before (LibraryTables.decide)."""
    assert change.back is not None
    store.library.take_back(change.back)
    return Undone(change, len(change.scanned))


def _ignored(store: Store, change: Change) -> Undone:
    assert change.back is not None
    values = (change.back["ignored"], change.back["group"])
    store.database.execute("UPDATE face_group SET ignored = ? WHERE id = ?", values)
    return Undone(change)


def _consent(store: Store, change: Change) -> Undone:
    assert change.back is not None
    there = {int(face) for face in store.faces(list(change.enrolled)).ids}
    former = [(face, consent, expires) for face, consent, expires in change.back["was"] if face in there]
    store.write_consents(former)
    return Undone(change, photos=len(former))


UNDO: dict[str, Callable[[Store, Change], Undone]] = {
    "named": _named,
    "imported": _named,
    "renamed": _renamed,
    "merged": _merged,
    "corrected": _corrected,
    "consent": _consent,
    **dict.fromkeys(DECISIONS, _decided),
    "ignored": _ignored,
    "listed": _ignored,
}
