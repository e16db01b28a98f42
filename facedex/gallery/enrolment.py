"""A batch of photos into the store: read, known already?, find the face, encode, commit; and which have gone."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import numpy as np

from facedex.errors import DataError, NameInvalid, NoFace, PhotoError, PhotoNotFound, SeveralFaces
from facedex.faces import alignment
from facedex.faces.boxes import Box, same_place
from facedex.faces.face import Face
from facedex.faces.quality import Quality
from facedex.model.reader import EncodedFace, FaceReader
from facedex.photos import images
from facedex.photos.sources import NamedPhoto, name_from, open_people, pack_of, read_source, source_path, under
from facedex.store.rows import FaceRecord, StoredPhoto
from facedex.store.store import Store
from facedex.threads import side_by_side

_TASK = 4  # photos whose faces are encoded together
LEAST_SIDE = 960  # pixels of a large photo's shorter side that are decoded at first


@dataclass(frozen=True)
class Enrolled:
    """What became of one photo, and why where it matters.

    `status`: "enrolled", "known", "moved" (only when updating), "conflict" or "skipped".
    """

    photo: str
    name: str
    status: str
    reason: str | None = None


@dataclass(frozen=True)
class _Found:
    """The wanted face of a photo, encoded; how many the photo shows, and what is poor about this one, in words."""

    encoded: EncodedFace
    faces: int
    poor: str | None


@dataclass(frozen=True)
class _Batch:
    """Photos on their way: each with its SHA-256 or why it cannot be read, and the search for the faces of those with
    these numbers.
    """

    photos: list[tuple[NamedPhoto, str | PhotoError]]
    wanted: list[int]
    looking: list[Future[list[_Found | PhotoError]]]


class Enrolling:
    """Photos into the store, a batch at a time. While one is waited for and committed, the next is read and looked at
    already, so that no core idles. See Gallery.enroll; `unclear`: Calibration.unclear.
    """

    def __init__(
        self,
        store: Store,
        reader: FaceReader,
        strict: bool,
        update: bool,
        face: int | None = None,
        unclear: float = 0.0,
    ) -> None:
        self._store, self._reader = store, reader
        self._strict, self._update, self._number, self._unclear = strict, update, face, unclear

    def batches(self, photos: Iterator[NamedPhoto], size: int) -> Iterator[list[Enrolled]]:
        """One result a photo, `size` at a time and in order, all on disk when they are yielded."""
        with side_by_side() as pool:
            ahead: _Batch | None = None
            while True:
                following = None
                drawn, failure = _drawn(photos, size)
                try:
                    following = self._begin(drawn, pool) if drawn else None
                except Exception as error:
                    failure = error
                if ahead is not None:
                    yield self._finish(ahead)
                if failure is not None:
                    if following is not None:
                        yield self._finish(following)
                    raise failure
                if following is None:
                    return
                ahead = following

    def _begin(self, photos: list[NamedPhoto], pool: Executor) -> _Batch:
        """Read them, and have the faces of those that may be new found and encoded."""
        read: list[tuple[NamedPhoto, str | PhotoError]] = []
        wanted: list[int] = []
        looking: list[Future[list[_Found | PhotoError]]] = []
        task: list[tuple[str, bytes]] = []
        for photo in photos:
            data = photo.content()
            if isinstance(data, PhotoError):
                read.append((photo, data))
                continue
            digest = images.sha256(data)
            if self._number is not None or not self._held_already(photo, self._store.photos(digest)):
                wanted.append(len(read))
                task.append((photo.path, data))
                if len(task) == _TASK:
                    looking.append(pool.submit(self._look, task))
                    task = []
            read.append((photo, digest))
        if task:
            looking.append(pool.submit(self._look, task))
        return _Batch(read, wanted, looking)

    def _held_already(self, photo: NamedPhoto, held: list[StoredPhoto]) -> bool:
        """Whether nothing need be looked for in a photo whose faces `held` are enrolled."""
        return any(one.name == photo.name or (self._update and one.source == photo.source) for one in held)

    def _look(self, photos: list[tuple[str, bytes]]) -> list[_Found | PhotoError]:
        """The faces of a few photos, given by name and content; in a thread of its own."""
        found: list[tuple[np.ndarray, Face, int] | PhotoError] = []
        for name, data in photos:
            try:
                found.append(self._face(name, data))
            except PhotoError as error:
                found.append(error)
        shown = [one for one in found if not isinstance(one, PhotoError)]
        encoded = iter(self._reader.encode_crops([crop for crop, _, _ in shown], [face for _, face, _ in shown]))
        results: list[_Found | PhotoError] = []
        for one in found:
            if isinstance(one, PhotoError):
                results.append(one)
                continue
            (crop, face, several), vector = one, next(encoded)
            results.append(_Found(vector, several, Quality.of(face, crop, vector.quality).reason(self._unclear)))
        return results

    def _face(self, name: str, data: bytes) -> tuple[np.ndarray, Face, int]:
        """The crop of the wanted face of a photo, that face, and how many there are. Raises PhotoError."""
        if self._number is not None:  # faces are numbered as they are found in the whole photo
            pixels, times = images.decode(data, name), 1.0
            faces = self._reader.detector.detect(pixels)
        else:
            pixels, times = images.decode_smaller(data, name, LEAST_SIDE)
            faces = self._reader.detector.detect(pixels, only_subject=not self._strict)
            if times > 1 and (
                not faces or min(faces[0].box[2:]) < alignment.SIZE
            ):  # its crop needs all pixels there are
                pixels, times = images.decode(data, name), 1.0
                faces = self._reader.detector.detect(pixels, only_subject=not self._strict)
        if not faces:
            raise NoFace(f"{name} shows no face that could be found; use a clearer photo")
        if self._strict and len(faces) > 1:
            raise SeveralFaces(f"{name} shows {len(faces)} faces; crop it to one, or leave out --strict")
        number = self._number or 1
        if number > len(faces):
            shown = "1 face" if len(faces) == 1 else f"{len(faces)} faces"
            raise NoFace(f"{name} shows {shown} and has no face {number}; `facedex detect` lists them by number")
        face = faces[number - 1]
        return alignment.align(pixels, face.landmarks), face.enlarged(times), len(faces)

    def _finish(self, batch: _Batch) -> list[Enrolled]:
        looked = (found for task in batch.looking for found in task.result())
        found = dict(zip(batch.wanted, looked, strict=True))
        results: list[Enrolled] = []
        records: list[FaceRecord] = []
        for number, (photo, digest) in enumerate(batch.photos):
            one = found.get(number)
            if isinstance(digest, PhotoError):
                results.append(Enrolled(photo.path, photo.name, "skipped", str(digest)))
                continue
            coming = [(record.name, record.box) for record in records if record.photo == digest]
            result = self._known(photo, self._store.photos(digest), coming, one)
            if result is None:
                assert isinstance(one, _Found)
                result = Enrolled(photo.path, photo.name, "enrolled", self._notice(one))
                records.append(_record(photo, digest, one.encoded))
            results.append(result)
        self._store.add(records)
        return results

    def _notice(self, found: _Found) -> str | None:
        """What is to be said of a face that is enrolled all the same; what is poor is never refused."""
        notices = []
        if found.faces > 1 and self._number is None:
            notices.append(f"{found.faces} faces; the most prominent was taken, --face N takes another")
        if found.poor:
            notices.append(found.poor)
        return "; ".join(notices) or None

    def _known(
        self,
        photo: NamedPhoto,
        held: list[StoredPhoto],
        coming: list[tuple[str, Box]],
        found: _Found | PhotoError | None,
    ) -> Enrolled | None:
        """What becomes of a photo unless it is enrolled now. Its faces `held` are enrolled, those `coming` wait in this
        batch. `found` is None where no face was looked for.
        """

        def told(status: str, why: str) -> Enrolled:
            return Enrolled(photo.path, photo.name, status, why)

        if self._update and (result := _moved(self._store, photo, held)):
            return result
        owners = [*((one.name, one.box) for one in held), *coming]
        mine = next((box for name, box in owners if name == photo.name), None)
        if mine is not None and self._number is None:
            return told("known", "this photo is enrolled already")
        if isinstance(found, PhotoError):
            return told("skipped", str(found))
        box = found.encoded.face.box if found else None
        if mine is not None and box is not None:
            if same_place(box, mine):
                return told("known", "this face is enrolled already")
            why = f"{photo.name!r} is enrolled by another face of this photo; remove that person first, or give another name"
            return told("conflict", why)
        owner = next((name for name, other in owners if box is None or same_place(box, other)), None)
        if owner is None:
            return None
        remedy = "enroll another face with --name and --face N, or remove or merge one of the two"
        return told("conflict", f"this very face is enrolled as {owner!r}; {remedy}")


def _drawn(photos: Iterator[NamedPhoto], size: int) -> tuple[list[NamedPhoto], Exception | None]:
    """The next photos; and what ended them early, a broken pack, say: those before it are enrolled all the same."""
    drawn: list[NamedPhoto] = []
    try:
        for photo in islice(photos, size):
            drawn.append(photo)
    except Exception as error:
        return drawn, error
    return drawn, None


def _record(photo: NamedPhoto, digest: str, one: EncodedFace) -> FaceRecord:
    left, top, wide, high = map(float, one.face.box)
    return FaceRecord(
        photo.name, one.vector, (left, top, wide, high), one.face.score, one.quality, photo.source, digest
    )


def _moved(store: Store, photo: NamedPhoto, held: list[StoredPhoto]) -> Enrolled | None:
    """What becomes, when updating, of a photo whose faces `held` lie in the same place, or did in one that is gone."""
    here = sorted((one for one in held if one.source == photo.source), key=lambda one: one.name != photo.name)
    if here:
        renamed = here[0].name != photo.name  # in the gallery, and on purpose
        return Enrolled(photo.path, here[0].name, "known", f"enrolled as {here[0].name!r}" if renamed else None)
    gone = [one for one in held if not _is_there(one)]

    def strangeness(one: StoredPhoto) -> tuple[bool, bool, bool]:
        """Sorts first whose place it was: of several people in one photo the others were enrolled by hand."""
        folder = _folder_name(one.source, photo)
        return one.name != photo.name, folder != photo.name, one.name != folder

    gone.sort(key=strangeness)
    if not gone or (gone[0].name != photo.name and photo.name in [one.name for one in held]):
        return None
    first = gone[0]
    name = first.name if _folder_name(first.source, photo) == photo.name else photo.name
    store.relocate(first, name, photo.source)
    for other in gone[1:]:
        if other.source == first.source:
            store.relocate(other, other.name, photo.source)
    why = f"it was {source_path(first.source)}" + (f", {first.name!r}" if name != first.name else "")
    return Enrolled(photo.path, name, "moved", why)


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
    digests: dict[str, list[str]] = defaultdict(list)  # of what was enrolled from a place, in that order
    for photo in enrolled:
        digests[photo.source].append(photo.photo)
    gone: dict[int, StoredPhoto] = {}
    for root in roots:
        inside = under(root)
        mine = [photo for photo in enrolled if inside(photo.source)]
        there = _sources(root)
        if not there:
            raise DataError(f"{root} holds no photos; if that is meant, delete its people with `facedex remove`")
        packs = {pack_of(photo.source) for photo in mine if photo.source not in there}  # such as lie inside the folder
        there |= {source for pack in packs - {None, os.path.abspath(root)} for source in _sources(str(pack))}
        lying = {source: _lying(source, digests[source]) for source in {photo.source for photo in mine} & there}
        for photo in mine:
            if photo.source in lying:
                is_there = lying[photo.source] == photo.photo
            else:  # a link's other name, or one in other capitals, is not listed
                is_there = os.path.lexists(source_path(photo.source))
            if not is_there:
                gone[photo.face] = photo
    return list(gone.values())


def _sources(root: str | os.PathLike[str]) -> set[str]:
    with open_people(root) as photos:
        return {photo.source for photo in photos}


def _lying(source: str, digests: list[str]) -> str:
    """Which of the photos that were enrolled from a place lies there now. One that is spoilt stands for the last."""
    if len(set(digests)) > 1:
        with suppress(PhotoError, DataError):
            if (now := images.sha256(read_source(source))) in digests:
                return now
    return digests[-1]
