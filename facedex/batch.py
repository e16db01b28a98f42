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

from facedex import align, images
from facedex.errors import DataError, NameInvalid, NoFace, PhotoError, PhotoNotFound, SeveralFaces
from facedex.faces import EncodedFace, FaceReader
from facedex.people import NamedPhoto, name_from, open_people, pack_of, read_source, source_path, under
from facedex.quality import Quality
from facedex.records import FaceRecord, StoredPhoto
from facedex.stock import side_by_side
from facedex.store import Store
from facedex.yunet import Face

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
    """The face of a photo, encoded; how many the photo shows, and what is poor about this one, in words."""

    encoded: EncodedFace
    faces: int
    poor: str | None


@dataclass(frozen=True)
class _Batch:
    """Photos on their way: what became of some, those seen before, and what the others' faces are looked for by."""

    photos: list[NamedPhoto]
    results: list[Enrolled | None]
    again: list[tuple[int, str]]
    wanted: list[tuple[int, str]]
    looking: list[Future[list[_Found | PhotoError]]]


class Enrolling:
    """Photos into the store, a batch at a time. While one is waited for and committed, the next is read and looked at
    already, so that no core idles. See Gallery.enroll; `unclear`: Calibration.unclear.
    """

    def __init__(self, store: Store, reader: FaceReader, strict: bool, update: bool, unclear: float = 0.0) -> None:
        self._store, self._reader = store, reader
        self._strict, self._update, self._unclear = strict, update, unclear
        self._coming: set[str] = set()  # digests of photos that are looked at, not yet committed
        self._skipped: dict[str, str] = {}  # of the last batch, by digest: its path

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
        """Read them, and have the faces of those that are not known found and encoded."""
        results: list[Enrolled | None] = [None] * len(photos)
        again: list[tuple[int, str]] = []  # photos enrolled before, or on their way
        wanted: list[tuple[int, str]] = []
        looking: list[Future[list[_Found | PhotoError]]] = []
        task: list[tuple[str, bytes]] = []
        for i, photo in enumerate(photos):
            data = photo.content()
            if isinstance(data, PhotoError):
                results[i] = Enrolled(photo.path, photo.name, "skipped", str(data))
                continue
            digest = images.sha256(data)
            if digest in self._coming or self._store.known_photo(digest):
                again.append((i, digest))
                continue
            self._coming.add(digest)
            wanted.append((i, digest))
            task.append((photo.path, data))
            if len(task) == _TASK:
                looking.append(pool.submit(self._look, task))
                task = []
        if task:
            looking.append(pool.submit(self._look, task))
        return _Batch(photos, results, again, wanted, looking)

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
        """The crop of the largest face of a photo, that face, and how many there are. Raises PhotoError."""
        pixels, times = images.decode_smaller(data, name, LEAST_SIDE)
        faces = self._reader.detector.detect(pixels, largest=not self._strict)
        if times > 1 and (not faces or min(faces[0].box[2:]) < align.SIZE):  # its crop needs all pixels there are
            pixels, times = images.decode(data, name), 1.0
            faces = self._reader.detector.detect(pixels, largest=not self._strict)
        if not faces:
            raise NoFace(f"{name} shows no face that could be found; use a clearer photo")
        if self._strict and len(faces) > 1:
            raise SeveralFaces(f"{name} shows {len(faces)} faces; crop it to one, or leave out --strict")
        return align.align(pixels, faces[0].landmarks), faces[0].enlarged(times), len(faces)

    def _finish(self, batch: _Batch) -> list[Enrolled]:
        results, records, skipped = batch.results, [], dict[str, str]()
        looked = (found for task in batch.looking for found in task.result())
        for (i, digest), found in zip(batch.wanted, looked, strict=True):
            photo = batch.photos[i]
            if isinstance(found, PhotoError):
                results[i], skipped[digest] = Enrolled(photo.path, photo.name, "skipped", str(found)), photo.path
                continue
            # What is poor is a notice, never a refusal.
            notices = [f"{found.faces} faces; the largest was taken"] if found.faces > 1 else []
            notices += [found.poor] if found.poor else []
            results[i] = Enrolled(photo.path, photo.name, "enrolled", "; ".join(notices) or None)
            one, face = found.encoded, found.encoded.face
            box = (float(face.box[0]), float(face.box[1]), float(face.box[2]), float(face.box[3]))
            records.append(FaceRecord(photo.name, one.vector, box, face.score, one.quality, photo.source, digest))
        self._store.add(records)
        self._coming.difference_update(digest for _, digest in batch.wanted)
        for i, digest in batch.again:
            photo = batch.photos[i]
            if first := skipped.get(digest) or self._skipped.get(digest):
                why = f"it is the same photo as {first}, which was skipped"
                results[i] = Enrolled(photo.path, photo.name, "skipped", why)
            else:
                results[i] = _known(self._store, photo, self._store.photos(digest), self._update)
        self._skipped = skipped
        return [result for result in results if result is not None]


def _drawn(photos: Iterator[NamedPhoto], size: int) -> tuple[list[NamedPhoto], Exception | None]:
    """The next photos; and what ended them early, a broken pack, say: those before it are enrolled all the same."""
    drawn: list[NamedPhoto] = []
    try:
        for photo in islice(photos, size):
            drawn.append(photo)
    except Exception as error:
        return drawn, error
    return drawn, None


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
