"""Photos that were moved, renamed or deleted after they were enrolled."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass

from facedex.errors import DataError, NameInvalid, PhotoError, PhotoNotFound
from facedex.photos import images
from facedex.photos.listing import is_gone
from facedex.photos.sources import (
    NamedPhoto,
    Paths,
    name_from,
    open_people,
    pack_of,
    read_source,
    several,
    source_path,
    under,
)
from facedex.store.rows import StoredPhoto
from facedex.store.store import Store


@dataclass(frozen=True)
class Move:
    """The result of `follow_move`: `status` is "known" or "moved", `name` the person's."""

    status: str
    name: str
    reason: str | None


def follow_move(store: Store, photo: NamedPhoto, enrolled: list[StoredPhoto]) -> Move | None:
    """Follow a photo that is enrolled from its present path, or from a path where it no longer is.

    `enrolled`: the faces in the store from the same photo. A moved photo gets its new path in the store, and its new
    name where its folder has another name. None for a photo that did not move.
    """
    here = sorted((stored for stored in enrolled if stored.source == photo.source), key=lambda s: s.name != photo.name)
    if here:
        renamed = here[0].name != photo.name  # `facedex rename` gave the person another name than the folder's
        return Move("known", here[0].name, f"enrolled as {here[0].name!r}" if renamed else None)
    gone = [stored for stored in enrolled if not _is_there(stored)]

    def order(stored: StoredPhoto) -> tuple[bool, bool, bool]:
        """Sorts the person whom the folder named first. Other people in the photo were enrolled by hand."""
        folder = _folder_name(stored.source, photo)
        return stored.name != photo.name, folder != photo.name, stored.name != folder

    gone.sort(key=order)
    if not gone or (gone[0].name != photo.name and photo.name in [stored.name for stored in enrolled]):
        return None
    first = gone[0]
    name = first.name if _folder_name(first.source, photo) == photo.name else photo.name
    store.relocate(first, name, photo.source)
    for other in gone[1:]:
        if other.source == first.source:
            store.relocate(other, other.name, photo.source)
    reason = f"it was {source_path(first.source)}" + (f", {first.name!r}" if name != first.name else "")
    return Move("moved", name, reason)


def vanished(enrolled: list[StoredPhoto], roots: Paths) -> list[StoredPhoto]:
    """The enrolled photos that were in these folders or packs and no longer are.

    Raises DataError for a folder or pack without photos. Gallery.vanished says when to ask.
    """
    digests: dict[str, list[str]] = defaultdict(list)  # SHA-256 of the photos enrolled from a path, in that order
    for photo in enrolled:
        digests[photo.source].append(photo.photo)
    gone: dict[int, StoredPhoto] = {}
    for root in several(roots):
        is_inside = under(root)
        inside = [photo for photo in enrolled if is_inside(photo.source)]
        listed = _sources(root)
        if not listed:
            raise DataError(f"{root} holds no photos; if that is meant, delete its people with `facedex remove`")
        packs = {pack_of(photo.source) for photo in inside if photo.source not in listed}  # packs inside the folder
        listed |= {source for pack in packs - {None, os.path.abspath(root)} for source in _sources(str(pack))}
        present = {
            source: _present_digest(source, digests[source]) for source in {photo.source for photo in inside} & listed
        }
        for photo in inside:
            if photo.source in present:
                is_there = present[photo.source] == photo.photo
            else:  # a link, or a name in other capitals, is not listed and may be there
                is_there = not is_gone(source_path(photo.source))
            if not is_there:
                gone[photo.face] = photo
    return list(gone.values())


def _is_there(photo: StoredPhoto) -> bool:
    """Whether a photo is still at its path. A file that cannot be read counts as there."""
    try:
        return images.sha256(read_source(photo.source)) == photo.photo
    except PhotoNotFound:
        return False
    except (PhotoError, DataError):
        return True


def _folder_name(source: str, photo: NamedPhoto) -> str | None:
    """The name that a photo's former path gave the person. None where that path gives no valid name.

    `source` is the former path, `photo` the photo at its present path. The present path has a top folder, which the
    user named, and parts below it. The parts of the former path begin below the same top folder. A former path
    elsewhere gives as many last parts as the present path has.
    """
    path, depth = source_path(source).replace(os.sep, "/"), len(photo.parts)
    top = source_path(photo.source).replace(os.sep, "/")[: -len("/".join(photo.parts))]
    parts = tuple(path[len(top) :].split("/")) if path.startswith(top) else tuple(path.split("/"))[-depth:]
    try:
        return name_from(parts)
    except NameInvalid:
        return None


def _sources(root: str | os.PathLike[str]) -> set[str]:
    """The sources of all photos in a folder or pack."""
    with open_people(root) as photos:
        return {photo.source for photo in photos}


def _present_digest(source: str, digests: list[str]) -> str:
    """SHA-256 of the photo at a path, one of `digests`: those of the photos enrolled from this path, in that order.

    A file that is none of these photos, or cannot be read, counts as the last of them.
    """
    if len(set(digests)) > 1:
        with suppress(PhotoError, DataError):
            if (digest := images.sha256(read_source(source))) in digests:
                return digest
    return digests[-1]
