"""Names for groups of scanned faces: a person is enrolled by a few photos of the group, and gets all its faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedex.errors import DataError, GroupNotFound, PersonNotFound
from facedex.gallery.gallery import Gallery
from facedex.library.decided import enrolled_owners
from facedex.library.group_edits import clearest, part, rows_in, unnamed_in
from facedex.photos.sources import Paths, person_name
from facedex.store.library_rows import ScannedFaces
from facedex.store.rows import FaceRecord
from facedex.store.store import Store

MOST_ENROLLED = 8  # photos of a group that are enrolled


@dataclass(frozen=True)
class NamedGroup:
    """What `name_group` did: the person's stored name, how many faces got it, and how many photos were enrolled.

    `others`: faces of the group that are enrolled as another person, and were left as they are.
    """

    name: str
    faces: int
    enrolled: int
    others: int


def name_group(gallery: Gallery, group: int, name: str) -> NamedGroup:
    """Give a name to the faces of a group that have none, and enroll the best and most different of their photos.

    The person may be enrolled already. All of it is one transaction. Raises GroupNotFound, NameInvalid, GalleryBusy.
    """
    person = person_name(name)
    with gallery.changing_library(enrolls=True) as store:
        faces = store.library.faces_in_group(group)
        if not len(faces):
            raise GroupNotFound(f"There is no group {group}; `facedex cluster` shows the groups")
        owners, own = enrolled_owners(store.library), _person_id(store, person)
        owner = np.array([owners.get(face, own) for face in faces.ids.tolist()])
        unnamed = faces.people == 0
        if not unnamed.any():
            raise GroupNotFound(f"Every face of group {group} has a name already; `facedex cluster` shows the others")
        rows = np.flatnonzero(unnamed & (owner == own))
        unclear, named = gallery.calibration.unclear, f"group {group}"
        enrolled = give_name(store, faces, rows, person, unclear, detail=named) if len(rows) else 0
    return NamedGroup(person, len(rows), enrolled, int(unnamed.sum()) - len(rows))


def give_name(
    store: Store,
    faces: ScannedFaces,
    rows: NDArray[np.int64],
    person: str,
    unclear: float,
    kind: str = "named",
    detail: str = "",
) -> int:
    """Give a person the faces in these rows, and enroll some of their photos; returns how many.

    The caller holds the write lock, and the faces have no other name. `unclear`: Calibration.unclear. `kind` and
    `detail`: those of the line in the log (store/changelog.py).
    """
    records = _records(store, faces, rows, person, unclear)
    store.name_scanned(person, records, faces.ids[rows].tolist(), kind, detail)
    return len(records)


def split_group(gallery: Gallery, group: int, photos: Paths) -> int:
    """Take the faces of some photos (paths) out of a group, for good; returns the number of their new group.

    Later runs of `cluster` never join them with the faces that stay. Raises GroupNotFound, GalleryBusy, and DataError
    for a photo that has no unnamed face in the group, or where no face would stay.
    """
    with gallery.changing_library() as store:
        faces = unnamed_in(store.library, group)
        leaving = rows_in(store.library, faces, photos, group)
        staying = [row for row in range(len(faces)) if row not in leaving]
        if not staying:
            raise DataError(f"Group {group} would have no face left; name fewer photos")
        number = store.library.next_group()
        out, rest = clearest(faces, leaving), clearest(faces, staying)
        part(store.library, "split", f"group {number} out of group {group}", out, rest, dict.fromkeys(out, number))
    return number


def ignore_group(gallery: Gallery, group: int, ignored: bool = True) -> None:
    """Say that a group needs no name, or that it needs one after all. Raises GroupNotFound, GalleryBusy."""
    with gallery.changing_library() as store:
        if not store.library.ignore(group, ignored):
            raise GroupNotFound(f"There is no group {group}; `facedex cluster` shows the groups")


def best_and_different(
    vectors: NDArray[np.float32], quality: NDArray[np.float64], count: int, unclear: float = 0.0
) -> list[int]:
    """Up to `count` rows of unit vectors (n, dim): the clearest first, then always the one farthest from those chosen.

    Only the clearer half by `quality` (n,) is considered, because a blurred face is far from all others. The half grows
    where it has fewer than `count`. Faces below `unclear` are taken only where there is no clearer one.
    """
    order = np.argsort(-quality, kind="stable")
    candidates = order[: max(count, len(order) // 2)]
    clear = candidates[quality[candidates] >= unclear]
    candidates = clear if len(clear) else candidates[:1]
    chosen = [int(candidates[0])]
    nearest = vectors[candidates] @ vectors[chosen[0]]
    while len(chosen) < min(count, len(candidates)):
        nearest[np.isin(candidates, chosen)] = np.inf
        chosen.append(int(candidates[np.argmin(nearest)]))
        nearest = np.maximum(nearest, vectors[candidates] @ vectors[chosen[-1]])
    return chosen


def _person_id(store: Store, person: str) -> int:
    """The id of a person, 0 for somebody who is not enrolled yet."""
    return next((number for number, name in store.names().items() if name == person), 0)


def _records(
    store: Store, faces: ScannedFaces, rows: NDArray[np.int64], person: str, unclear: float
) -> list[FaceRecord]:
    """The faces to enroll. A photo that the person has already is left out."""
    try:
        has = {photo.photo for photo in store.photos_of(person)[1]}
    except PersonNotFound:
        has = set()
    once = {faces.digests[row]: row for row in rows.tolist()}  # a person is enrolled once from a photo
    sources = store.library.sources(faces.photos[rows].tolist())
    fresh = [row for digest, row in once.items() if digest not in has and int(faces.photos[row]) in sources]
    chosen = best_and_different(faces.vectors[fresh], faces.quality[fresh], MOST_ENROLLED, unclear) if fresh else []
    return [
        FaceRecord(
            person,
            faces.vectors[row],
            faces.box(row),
            float(faces.scores[row]),
            float(faces.quality[row]),
            sources[int(faces.photos[row])][0],
            faces.digests[row],
        )
        for row in (fresh[at] for at in chosen)
    ]
