"""Changes by hand: two groups of one person, faces of two people, faces of another person, and what is no face."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from facedex.errors import DataError, GroupNotFound
from facedex.faces.boxes import Box, same_place
from facedex.gallery.gallery import Gallery
from facedex.library.decided import enrolled_owners
from facedex.library.known_photos import scanned_photos
from facedex.photos.sources import Paths, several, source_of, source_path
from facedex.recognition.identification import identify
from facedex.store.face_links import APART, NOT_FACE, NOT_PERSON, SAME
from facedex.store.library_rows import ScannedFaces
from facedex.store.library_tables import LibraryTables

_WITNESSES = 8  # faces of each side that are kept apart from every face of the other: all pairs would be too many


def join_groups(gallery: Gallery, group: int, other: int) -> int:
    """Put the faces of another group into a group, for good; returns how many faces it has then.

    Later runs of `cluster` keep the two together. No third group comes along. Raises GroupNotFound, GalleryBusy, and
    DataError for one group named twice.
    """
    if group == other:
        raise DataError(f"Group {group} cannot be joined with itself; name two groups")
    with gallery.changing_library() as store:
        faces, others = unnamed_in(store.library, group), unnamed_in(store.library, other)
        join(store.library, faces, others, group, f"group {other} into group {group}")
    return len(faces) + len(others)


def mark_not_faces(gallery: Gallery, group: int, photos: Paths = (), undo: bool = False) -> int:
    """Say that faces of a group are no faces, such as a statue, a poster or a blur; returns how many.

    `photos`: only those in these photos (paths), else all of the group without a name. They are in no group, no
    question and no table any more. A new scan does not bring them back, wherever their photos are then. `undo`: take
    that back. Raises GroupNotFound, GalleryBusy, and DataError for a photo that has no such face in the group.
    """
    with gallery.changing_library() as store:
        faces = unnamed_in(store.library, group, not_faces=undo)
        rows = rows_in(store.library, faces, photos, group) if list(several(photos)) else range(len(faces))
        ids = faces.ids[list(rows)].tolist()
        marked = {NOT_FACE: [(face,) for face in ids]}
        detail, add, remove = f"group {group}", {} if undo else marked, marked if undo else {}
        store.library.decide("face-again" if undo else "not-a-face", detail, ids, add, remove)
    return len(ids)


def remove_from_person(gallery: Gallery, name: str, photos: Paths) -> tuple[int, int]:
    """Say that photos (paths) do not show a person; returns how many scanned and how many enrolled faces that concerns.

    Scanned faces that bear the name, or that recognition takes for the person, lose the name and become a group. They
    are never taken for this person again. Enrolled faces are deleted, as `Gallery.remove_photos` does. Raises
    PersonNotFound, GalleryBusy, and DataError for a photo without a face of the person.
    """
    (record,) = gallery.find(name)
    wanted = {source_of(os.path.abspath(photo)): photo for photo in several(photos)}
    scanned = {source: file.photo for source in wanted if (file := gallery.library.file(source)) is not None}
    recognised = _recognised_in(gallery, scanned, record.name)
    with gallery.changing_library() as store:
        library = store.library
        owners, faces = enrolled_owners(library), library.faces()
        own = {at for at, face in enumerate(faces.ids.tolist()) if (faces.people[at] or owners.get(face)) == record.id}
        here = np.flatnonzero(np.isin(faces.photos, list(scanned.values()))).tolist()
        rows = [row for row in here if row in own or (not faces.people[row] and _is_at(faces, row, recognised))]
        digests = {faces.digests[row] for row in rows}
        leaving = [one for one in store.photos_of(record.name)[1] if one.source in wanted or one.photo in digests]
        shown = {int(faces.photos[row]) for row in rows}
        found = {one.source for one in leaving} | {source for source, photo in scanned.items() if photo in shown}
        for source in wanted.keys() - found:
            raise DataError(f"{wanted[source]} has no face of {record.name}; `facedex show` and `find` list the photos")
        if rows:
            ids, others = clearest(faces, rows), faces.ids[sorted(own.difference(rows))].tolist()
            add, remove = {NOT_PERSON: [(face, record.id) for face in ids]}, library.links.between(SAME, ids, others)
            groups, person = dict.fromkeys(ids, library.next_group()), (record.id, record.name)
            library.decide("not-person", "", ids, add, {SAME: remove}, groups, unname=ids, person=person)
    removed = gallery.remove_photos(leaving) if leaving else 0
    return len(rows), removed


def _recognised_in(gallery: Gallery, scanned: Mapping[str, int], name: str) -> dict[int, list[Box]]:
    """Where recognition sees a person in scanned photos (ids by source): boxes by the photo's id."""
    paths = {number: source_path(source) for source, number in scanned.items()}
    numbers = {path: number for number, path in paths.items()}
    photos = identify(gallery, scanned_photos(gallery, paths))
    return {numbers[photo.photo]: [face.box for face in photo.faces if face.name == name] for photo in photos}


def _is_at(faces: ScannedFaces, row: int, places: Mapping[int, list[Box]]) -> bool:
    """Whether a face is at one of these places (boxes by the photo's id)."""
    return any(same_place(faces.box(row), box) for box in places.get(int(faces.photos[row]), ()))


def join(library: LibraryTables, faces: ScannedFaces, others: ScannedFaces, group: int, detail: str) -> None:
    """Put other faces into a group with these, under the caller's write lock. The last answer counts, so links that
    keep them apart go.
    """
    ids, more = clearest(faces), clearest(others)
    library.decide(
        "joined",
        detail,
        more,
        add={SAME: [(ids[0], more[0])]},
        remove={APART: library.links.between(APART, ids, more)},
        groups=dict.fromkeys(more, group),
    )


def part(
    library: LibraryTables,
    kind: str,
    detail: str,
    faces: Sequence[int],
    others: Sequence[int],
    groups: dict[int, int] | None = None,
) -> None:
    """Keep faces (ids, clearest first) apart from others for good, under the caller's write lock."""
    pairs = [(face, other) for face in faces for other in others[:_WITNESSES]]
    pairs += [(face, other) for face in faces[:_WITNESSES] for other in others[_WITNESSES:]]
    links = library.links.between(SAME, faces, others)
    library.decide(kind, detail, faces, add={APART: pairs}, remove={SAME: links}, groups=groups)


def unnamed_in(library: LibraryTables, group: int, not_faces: bool = False) -> ScannedFaces:
    """The faces of a group that have no name, or what is no face of it. Raises GroupNotFound where there are none."""
    faces = library.not_faces_in_group(group) if not_faces else library.faces_in_group(group)
    faces = faces.only(faces.people == 0)
    if not len(faces):
        what = "Nothing is marked as no face" if not_faces else "There is no face without a name"
        raise GroupNotFound(f"{what} in group {group}; `facedex cluster` shows the groups")
    return faces


def clearest(faces: ScannedFaces, rows: Iterable[int] | None = None) -> list[int]:
    """The ids of faces in these rows, or of all, the clearest first."""
    rows = np.arange(len(faces)) if rows is None else np.array(sorted(rows), np.int64)
    found: list[int] = faces.ids[rows[np.argsort(-faces.quality[rows], kind="stable")]].tolist()
    return found


def rows_in(library: LibraryTables, faces: ScannedFaces, photos: Paths, group: int) -> set[int]:
    """The rows of faces that lie in these photos (paths). Raises DataError for a photo without one."""
    sources = library.sources(faces.photos.tolist())
    found: set[int] = set()
    for photo in several(photos):
        source = source_of(os.path.abspath(photo))
        rows = [row for row, one in enumerate(faces.photos.tolist()) if source in sources.get(one, [])]
        if not rows:
            raise DataError(f"{photo} has no face without a name in group {group}; `facedex cluster` shows examples")
        found.update(rows)
    return found
