"""What is known of scanned faces before they are grouped: names, ignored groups, and a user's answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from facedex.decision.clustering import Links, faintness
from facedex.faces.boxes import same_place
from facedex.store.face_links import APART, NOT_PERSON, SAME
from facedex.store.library_rows import ScannedFaces
from facedex.store.library_tables import LibraryTables
from facedex.store.rows import StoredFaces

IGNORED = 1 << 40  # added to the number of an ignored group, so that it is no person's

Rows = NDArray[np.int64]


def known_links(library: LibraryTables, faces: ScannedFaces, enrolled: Sequence[StoredFaces]) -> tuple[Links, Rows]:
    """What is known of the scanned faces and of the enrolled ones after them, and pairs (p, 2) of rows of one person.

    The person of an ignored group is IGNORED and its number. Two faces of one photo, and faces that a user keeps apart,
    are two people's. The pairs are those that a user called one person: `unite` applies them after the grouping.
    """
    known = np.concatenate([_known_people(library, faces), *(block.people for block in enrolled)])
    row_of = {face: row for row, face in enumerate(faces.ids.tolist())}
    same = _pairs((row_of.get(a), row_of.get(b)) for a, b in library.links.rows(SAME))
    row_of_person = dict(zip(known.tolist(), range(len(known)), strict=True))
    decided = [(row_of.get(a), row_of.get(b)) for a, b in library.links.rows(APART)]
    decided += [(row_of.get(face), row_of_person.get(person)) for face, person in library.links.rows(NOT_PERSON)]
    apart = np.concatenate([_pairs_of_one_photo(faces.photos), _pairs(decided)])
    return Links(known, _through(apart, same)), same


def compared_faces(library: LibraryTables, expired: Collection[int]) -> ScannedFaces:
    """The scanned faces without those of people (ids) with whom nobody may be compared any more."""
    faces = library.faces()
    if not expired:
        return faces
    owners = enrolled_owners(library)
    known = np.where(faces.people > 0, faces.people, [owners.get(face, 0) for face in faces.ids.tolist()])
    return faces.only(~np.isin(known, list(expired)))


def lacking_detail(faces: ScannedFaces, enrolled: Sequence[StoredFaces]) -> NDArray[np.float64]:
    """The `faintness` (n,) of the scanned faces and of the enrolled ones after them, whose sharpness is not stored."""
    return np.append(faintness(faces.sharpness), np.zeros(sum(len(block.ids) for block in enrolled)))


def unite(labels: Rows, known: Rows, same: Rows) -> Rows:
    """Unite groups (n,) that hold the two faces of a pair (p, 2), unless they are two known people's.

    This comes after the grouping. Otherwise a united group, which is larger, could draw in a third one.
    """
    person = dict(zip(labels[known > 0].tolist(), known[known > 0].tolist(), strict=True))
    into: dict[int, int] = {}

    def final(label: int) -> int:
        while label in into:
            label = into[label]
        return label

    for a, b in labels[same].tolist():
        low, high = sorted((final(a), final(b)))
        both = {person.get(low, 0), person.get(high, 0)} - {0}
        if low != high and len(both) < 2:
            into[high] = low
            person[low] = both.pop() if both else 0
    return np.array([final(label) for label in labels.tolist()], np.int64) if into else labels


def enrolled_owners(library: LibraryTables) -> dict[int, int]:
    """The person (id) of each scanned face (id) that is enrolled, since it lies where an enrolled face does."""
    return {face: person for face, _, person, box, other in library.enrolled_beside() if same_place(box, other)}


def _known_people(library: LibraryTables, faces: ScannedFaces) -> Rows:
    """What is known of each scanned face (n,): its person, IGNORED and its ignored group, or 0."""
    owners = enrolled_owners(library)
    ignored = {number for number, group in library.groups().items() if group.ignored}
    known: Rows = np.array(faces.people)
    for row in np.flatnonzero(known == 0):
        face, group = int(faces.ids[row]), int(faces.groups[row])
        known[row] = owners.get(face, IGNORED + group if group in ignored else 0)
    return known


def _pairs(pairs: Iterable[tuple[int | None, int | None]]) -> Rows:
    """Pairs (p, 2) of rows, without those that lack one."""
    return np.array([pair for pair in pairs if None not in pair], np.int64).reshape(-1, 2)


def _pairs_of_one_photo(photos: Rows) -> Rows:
    """Pairs (p, 2) of rows with the same photo: two faces of one photo are two people's."""
    order = np.argsort(photos, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(photos[order])) + 1)
    pairs = [rows[np.stack(np.triu_indices(len(rows), 1), 1)] for rows in parts if len(rows) > 1]
    return np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)


def _through(apart: Rows, same: Rows) -> Rows:
    """The pairs `apart`, also between all rows that `same` makes one person of those."""
    if not len(same):
        return apart
    one: dict[int, set[int]] = defaultdict(set)
    for a, b in same.tolist():
        joined = (one[a] or {a}) | (one[b] or {b})
        one.update(dict.fromkeys(joined, joined))
    concerned = np.isin(apart, list(one)).any(1)
    more = {
        (x, y)
        for a, b in apart[concerned].tolist()
        for x in one.get(a, {a})
        for y in one.get(b, {b})
        if y not in one.get(x, {x})  # a user's answer outweighs that both faces are in one photo
    }
    return np.concatenate([apart[~concerned], _pairs(sorted(more))])
