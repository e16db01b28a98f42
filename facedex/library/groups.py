"""Groups of scanned faces that have no name, each of one person as far as faces can tell.

Named faces, enrolled faces and ignored groups are known beforehand. Faces that join a person's stay without a name
until the user gives it: a group only says whom it resembles.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedex.decision.clustering import RATE, Links, group_faces
from facedex.gallery.gallery import Gallery
from facedex.index.flat import projected
from facedex.index.neighbours import nearest_pairs
from facedex.library.decided import IGNORED, compared_faces, enrolled_owners, known_links, lacking_detail, unite
from facedex.photos.sources import source_path
from facedex.store.library_rows import Membership, ScannedFaces
from facedex.store.library_tables import LibraryTables
from facedex.store.rows import StoredFaces
from facedex.store.store import Store

_EXAMPLES = 3  # photos named for each group
_PICTURES = 12  # clearest faces told of each group
_ATTEMPTS = 2  # to compute groups while nobody decides anything; then the gallery is locked meanwhile


@dataclass(frozen=True)
class FaceGroup:
    """A group of scanned faces without a name.

    `number`: what `facedex name` takes. `faces` and `photos`: how many. `examples`: paths of photos with the clearest
    of these faces. `resembles`: the person whom the faces resemble, or None. `ignored`: whether the group needs no
    name. `clearest`: ids of the clearest faces, one of each photo.
    """

    number: int
    faces: int
    photos: int
    examples: tuple[str, ...]
    resembles: str | None
    ignored: bool
    clearest: tuple[int, ...] = ()


def cluster(gallery: Gallery, rate: float = RATE) -> list[FaceGroup]:
    """Group all scanned faces that have no name, store the groups, and return them, the largest first.

    A group keeps its number as long as more than half of its faces stay together. `rate`: the share of faces of people
    with no other photo that may join a wrong group. Others may write to the gallery while the groups are computed.
    Faces that are scanned meanwhile get no group yet.
    Raises ValueError for a rate outside 0..1, GalleryBusy, GalleryDamaged.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must lie between 0 and 1, not {rate}")
    with gallery.changing_library():
        pass  # a gallery that cannot be written is an error now, and not after minutes
    for _ in range(_ATTEMPTS):
        facts, labels = _grouped(gallery, rate)
        with gallery.changing_library() as store:
            if facts.still_hold(gallery, store):
                _store_groups(store.library, facts, labels)
                break
    else:  # somebody decides faster than groups are computed
        with gallery.changing_library() as store:
            _store_groups(store.library, *_grouped(gallery, rate))
    return stored_groups(gallery)


def stored_groups(gallery: Gallery) -> list[FaceGroup]:
    """The groups as `cluster` stored them, the largest first, with the faces that have no name yet."""
    library, expired = gallery.library, gallery.expired()[0]
    faces, described = library.membership(), library.groups()
    owners = enrolled_owners(library)
    open_rows = [row for row, face in enumerate(faces.ids.tolist()) if not faces.people[row] and face not in owners]
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row in sorted(open_rows, key=lambda row: -faces.quality[row]):
        rows_of[int(faces.groups[row])].append(row)
    rows_of.pop(0, None)
    photos_of = {group: list(dict.fromkeys(faces.photos[rows].tolist())) for group, rows in rows_of.items()}
    shown = {photo for photos in photos_of.values() for photo in photos[:_EXAMPLES]}
    paths = library.sources(shown)
    groups = [
        FaceGroup(
            number,
            len(rows),
            len(photos_of[number]),
            tuple(source_path(paths[photo][0]) for photo in photos_of[number][:_EXAMPLES] if photo in paths),
            None if described[number].name in expired else described[number].name,
            described[number].ignored,
            _clearest(faces, rows),
        )
        for number, rows in rows_of.items()
    ]
    return sorted(groups, key=lambda group: (-group.faces, group.number))


def _clearest(faces: Membership, rows: list[int]) -> tuple[int, ...]:
    """The ids of the first faces of the rows, one of each photo."""
    first = {int(faces.photos[row]): int(faces.ids[row]) for row in reversed(rows)}
    return tuple(first[photo] for photo in dict.fromkeys(faces.photos[rows].tolist()))[:_PICTURES]


@dataclass(frozen=True)
class _Facts:
    """What groups follow from, besides vectors.

    `faces`: the scanned ones. `enrolled` (m,) int64: ids of the enrolled ones. `links` and `same`: see `known_links`.
    """

    faces: Membership
    enrolled: NDArray[np.int64]
    links: Links
    same: NDArray[np.int64]

    @classmethod
    def read(
        cls, gallery: Gallery, store: Store, last: int | None = None
    ) -> tuple[_Facts, ScannedFaces, list[StoredFaces]]:
        """The present facts, and the scanned and the enrolled faces; of scanned ones only those up to the id `last`."""
        faces, enrolled = compared_faces(store.library, gallery.expired_people()), gallery.enrolled_faces()
        if last is not None:
            faces = faces.only(faces.ids <= last)
        links, same = known_links(store.library, faces, enrolled)
        member = Membership(faces.ids, faces.photos, faces.groups, faces.people, faces.quality)
        ids = np.concatenate([np.empty(0, np.int64), *(block.ids for block in enrolled)])
        return cls(member, ids, links, same), faces, enrolled

    def still_hold(self, gallery: Gallery, store: Store) -> bool:
        """Whether nothing has changed but that faces were added, which have higher ids."""
        now = _Facts.read(gallery, store, int(self.faces.ids.max(initial=0)))[0]
        return all(
            np.array_equal(before, after)
            for before, after in (
                (self.faces.ids, now.faces.ids),
                (self.faces.groups, now.faces.groups),
                (self.enrolled, now.enrolled),
                (self.links.person, now.links.person),
                (self.links.apart, now.links.apart),
                (self.same, now.same),
            )
        )


def _grouped(gallery: Gallery, rate: float) -> tuple[_Facts, NDArray[np.int64]]:
    """The facts, and the group of each scanned face and each enrolled one after them (n,), a number without meaning."""
    with gallery.reading_library() as store:
        facts, faces, enrolled = _Facts.read(gallery, store)
    vectors = np.concatenate([faces.vectors, *(block.vectors for block in enrolled)])
    quality = np.concatenate([faces.quality, *(block.quality for block in enrolled)])
    faint = lacking_detail(faces, enrolled)
    del faces, enrolled  # they take as much memory as the vectors
    clear = (quality == 0) | (quality >= gallery.calibration.unclear)
    head = gallery.head
    pairs, z = nearest_pairs(head, vectors), projected(head, vectors)
    del vectors
    labels = group_faces(z, head.beta, gallery.calibration, pairs, facts.links, clear, rate, faint)[0]
    return facts, unite(labels, facts.links.person, facts.same)


def _store_groups(library: LibraryTables, facts: _Facts, labels: NDArray[np.int64]) -> None:
    """Store what changed: the group of each face without a name, and whom each group resembles."""
    faces, known = facts.faces, facts.links.person
    links = {int(label): int(number) for label, number in zip(labels[known > 0], known[known > 0], strict=True)}
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(known[: len(faces)] == 0):
        rows_of[int(labels[row])].append(int(row))
    settled = {label: number - IGNORED for label, number in links.items() if number > IGNORED and label in rows_of}
    numbers = settled | _numbers(faces.groups, {k: v for k, v in rows_of.items() if k not in settled}, library)
    groups = {
        int(faces.ids[row]): numbers[label]
        for label, rows in rows_of.items()
        for row in rows
        if faces.groups[row] != numbers[label]
    }
    before = library.groups()
    resembles = {
        number: links.get(label, 0)
        for label, number in numbers.items()
        if label not in settled and (number not in before or before[number].person != links.get(label, 0))
    }
    library.regroup(groups, resembles)


def _numbers(before: NDArray[np.int64], rows_of: Mapping[int, list[int]], library: LibraryTables) -> dict[int, int]:
    """The number of each group: that of the former group of which it holds more than half, else a new one."""
    sizes = Counter(int(before[row]) for rows in rows_of.values() for row in rows)
    numbers: dict[int, int] = {}
    following = library.next_group()
    for label, rows in sorted(rows_of.items(), key=lambda entry: (-len(entry[1]), entry[1][0])):
        shares = Counter(int(before[row]) for row in rows if before[row])
        kept = [(count, -number) for number, count in shares.items() if 2 * count > sizes[number]]
        if kept:
            numbers[label] = -max(kept)[1]
        else:
            numbers[label] = following
            following += 1
    return numbers
