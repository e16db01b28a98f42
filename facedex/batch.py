"""A batch of photos into the store: read, known already?, find the face, encode, commit; and which have gone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from facedex import align, images
from facedex.detect import Face
from facedex.errors import DataError, NameInvalid, NoFace, PhotoError, PhotoNotFound, SeveralFaces
from facedex.faces import FaceReader
from facedex.people import NamedPhoto, is_under, name_from, open_people, read_source, source_path
from facedex.quality import Quality
from facedex.records import FaceRecord, StoredPhoto
from facedex.store import Store


@dataclass(frozen=True)
class Enrolled:
    """What became of one photo, and why where it matters.

    `status`: "enrolled", "known", "moved" (only when updating), "conflict" or "skipped".
    """

    photo: str
    name: str
    status: str
    reason: str | None = None


def enroll_batch(
    store: Store,
    reader: FaceReader,
    batch: list[NamedPhoto],
    strict: bool,
    update: bool,
    pool: Executor,
    unclear: float = 0.0,
) -> list[Enrolled]:
    """One result a photo, all on disk when this returns. See Gallery.enroll; `unclear`: Calibration.unclear."""
    results: list[Enrolled | None] = [None] * len(batch)
    seen: dict[str, int] = {}
    wanted: list[tuple[int, str, bytes]] = []
    again: list[tuple[int, str]] = []  # photos enrolled before, or earlier in this batch
    for i, photo in enumerate(batch):
        try:
            data = photo.read()
        except (PhotoError, DataError) as error:  # DataError: a broken member of a pack
            results[i] = Enrolled(photo.path, photo.name, "skipped", str(error))
            continue
        digest = images.sha256(data)
        if seen.setdefault(digest, i) != i or store.known_photo(digest):
            again.append((i, digest))
        else:
            wanted.append((i, digest, data))

    def find(item: tuple[int, str, bytes]) -> tuple[np.ndarray, Face, int] | PhotoError:
        i, _, data = item
        name = batch[i].path
        try:
            pixels = images.decode(data, name)
            faces = reader.detector.detect(pixels)
            if not faces:
                raise NoFace(f"{name} shows no face that could be found; use a clearer photo")
            if strict and len(faces) > 1:
                raise SeveralFaces(f"{name} shows {len(faces)} faces; crop it to one, or leave out --strict")
            return align.align(pixels, faces[0].landmarks), faces[0], len(faces)
        except PhotoError as error:
            return error

    crops: list[tuple[int, str, np.ndarray, Face, int]] = []
    for (i, digest, _), result in zip(wanted, pool.map(find, wanted), strict=True):
        photo = batch[i]
        if isinstance(result, PhotoError):
            results[i] = Enrolled(photo.path, photo.name, "skipped", str(result))
            continue
        crop, face, several = result
        crops.append((i, digest, crop, face, several))
    encoded = reader.encode_crops([crop for _, _, crop, _, _ in crops], [face for _, _, _, face, _ in crops])
    records = []
    for (i, digest, crop, face, several), one in zip(crops, encoded, strict=True):
        poor = Quality.of(face, crop, one.quality).reason(unclear)  # a notice, never a refusal
        notices = [f"{several} faces; the largest was taken"] if several > 1 else []
        notices += [f"{poor}; a better photo helps"] if poor else []
        results[i] = Enrolled(batch[i].path, batch[i].name, "enrolled", "; ".join(notices) or None)
        box = (float(face.box[0]), float(face.box[1]), float(face.box[2]), float(face.box[3]))
        photo = batch[i]
        records.append(FaceRecord(photo.name, one.vector, box, face.score, one.quality, photo.source, digest))
    store.add(records)
    for i, digest in again:
        first = results[seen[digest]]
        if seen[digest] != i and first is not None and first.status == "skipped":
            why = f"it is the same photo as {first.photo}, which was skipped"
            results[i] = Enrolled(batch[i].path, batch[i].name, "skipped", why)
        else:
            results[i] = _known(store, batch[i], store.photos(digest), update)
    return [result for result in results if result is not None]


def _known(store: Store, photo: NamedPhoto, held: list[StoredPhoto], update: bool) -> Enrolled:
    """What becomes of a photo that is enrolled already, as `held`."""
    if update:
        source = photo.source
        if here := next((one for one in held if one.source == source), None):
            renamed = here.name != photo.name  # in the gallery, and on purpose
            return Enrolled(photo.path, here.name, "known", f"enrolled as {here.name!r}" if renamed else None)
        gone = [one for one in held if not _is_there(one)]
        if gone and (gone[0].name == photo.name or photo.name not in [one.name for one in held]):
            name = gone[0].name if _folder_name(gone[0].source, photo) == photo.name else photo.name
            store.relocate(gone[0], name, source)
            why = f"it was {source_path(gone[0].source)}" + (f", {gone[0].name!r}" if name != gone[0].name else "")
            return Enrolled(photo.path, name, "moved", why)
    if photo.name in [one.name for one in held]:
        return Enrolled(photo.path, photo.name, "known", "this photo is enrolled already")
    why = f"this very photo is enrolled as {held[0].name!r}; remove or merge one of the two"
    return Enrolled(photo.path, photo.name, "conflict", why)


def _is_there(photo: StoredPhoto) -> bool:
    """Whether a photo still is where it was; one that merely cannot be read counts as there."""
    try:
        return images.sha256(read_source(photo.source)) == photo.photo
    except PhotoNotFound:
        return False
    except (PhotoError, DataError):
        return True


def _folder_name(source: str, photo: NamedPhoto) -> str | None:
    """Whom a photo's former place named, read as its present place is."""
    path, depth = source_path(source).replace(os.sep, "/"), len(photo.parts)
    top = source_path(photo.source).replace(os.sep, "/")[: -len("/".join(photo.parts))]
    parts = tuple(path[len(top) :].split("/")) if path.startswith(top) else tuple(path.split("/"))[-depth:]
    try:
        return name_from(parts)
    except NameInvalid:
        return None


def vanished(enrolled: list[StoredPhoto], roots: Iterable[str | os.PathLike[str]]) -> list[StoredPhoto]:
    """Those of the enrolled photos that were in these folders or packs and are no more. See Gallery.vanished."""
    newest = {photo.source: photo.photo for photo in enrolled}  # in order of id: what was enrolled there last
    gone: dict[int, StoredPhoto] = {}
    for root in roots:
        with open_people(root) as photos:
            there = {photo.source for photo in photos}
        if not there:
            raise DataError(f"{root} holds no photos; if that is meant, delete its people with `facedex remove`")
        for photo in enrolled:
            if is_under(photo.source, root) and (photo.source not in there or newest[photo.source] != photo.photo):
                gone[photo.face] = photo
    return list(gone.values())
