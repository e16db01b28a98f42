"""Enrolling photos, a batch at a time: read them, leave out known ones, find and encode faces, commit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from facedex.errors import NoFace, PhotoError, SeveralFaces
from facedex.faces import alignment
from facedex.faces.boxes import Box, same_place
from facedex.faces.face import Face
from facedex.faces.quality import Quality
from facedex.gallery.moved_photos import follow_move
from facedex.model.reader import EncodedFace, FaceReader
from facedex.photos import images
from facedex.photos.sources import NamedPhoto
from facedex.store.rows import FaceRecord, StoredPhoto
from facedex.store.store import Store
from facedex.threads import side_by_side
from facedex.wording import counted

_TASK = 4  # photos whose faces are encoded together
LEAST_SIDE = 960  # pixels: a large photo is first decoded with its shorter side no smaller than this


@dataclass(frozen=True)
class Enrolled:
    """The result for one photo.

    `status`: "enrolled", "known", "moved" (only with `update`), "conflict" or "skipped". `reason`: why, or a remark on
    a face that was enrolled.
    """

    photo: str
    name: str
    status: str
    reason: str | None = None


@dataclass(frozen=True)
class _Found:
    """The wanted face of a photo. `faces`: how many the photo shows. `poor`: what is poor about this face, in words."""

    encoded: EncodedFace
    faces: int
    poor: str | None


@dataclass(frozen=True)
class _Batch:
    """Photos that are being encoded.

    `photos`: each photo with its SHA-256, or the error for one that cannot be read. `wanted`: positions of the photos
    whose faces are looked for. `searches`: the results for these, _TASK photos in each.
    """

    photos: list[tuple[NamedPhoto, str | PhotoError]]
    wanted: list[int]
    searches: list[Future[list[_Found | PhotoError]]]


class Enrolling:
    """Puts photos into the store, a batch at a time. Arguments: Gallery.enroll, and `unclear` from Calibration.unclear.

    While one batch is waited for and committed, the next is read and encoded, so that no core idles.
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
        """One result for each photo, `size` at a time and in order. They are on disk when they are yielded.

        An error of `photos` is raised after the photos before it are enrolled.
        """
        with side_by_side() as pool:
            current: _Batch | None = None
            while True:
                following = None
                drawn, failure = _drawn(photos, size)
                try:
                    following = self._begin(drawn, pool) if drawn else None
                except Exception as error:
                    failure = error
                if current is not None:
                    yield self._finish(current)
                if failure is not None:
                    if following is not None:
                        yield self._finish(following)
                    raise failure
                if following is None:
                    return
                current = following

    def _begin(self, photos: list[NamedPhoto], pool: Executor) -> _Batch:
        """Read photos, and start to encode the faces of those that may be new."""
        read: list[tuple[NamedPhoto, str | PhotoError]] = []
        wanted: list[int] = []
        contents: list[tuple[str, bytes]] = []
        for photo in photos:
            data = photo.content()
            if isinstance(data, PhotoError):
                read.append((photo, data))
                continue
            digest = images.sha256(data)
            if self._number is not None or not self._needs_no_search(photo, self._store.photos(digest)):
                wanted.append(len(read))
                contents.append((photo.path, data))
            read.append((photo, digest))
        tasks = [contents[start : start + _TASK] for start in range(0, len(contents), _TASK)]
        return _Batch(read, wanted, [pool.submit(self._search, task) for task in tasks])

    def _needs_no_search(self, photo: NamedPhoto, enrolled: list[StoredPhoto]) -> bool:
        """Whether the photo is known without a look at its faces, given what is enrolled from the same photo."""
        return any(stored.name == photo.name or (self._update and stored.source == photo.source) for stored in enrolled)

    def _search(self, photos: list[tuple[str, bytes]]) -> list[_Found | PhotoError]:
        """The wanted face, or the error, for each of a few photos (name, content). Runs in a thread of its own."""
        results: list[tuple[NDArray[np.uint8], Face, int] | PhotoError] = []
        for name, data in photos:
            try:
                results.append(self._face(name, data))
            except PhotoError as error:
                results.append(error)
        faces = [result for result in results if not isinstance(result, PhotoError)]
        embeddings = iter(self._reader.encode_crops([crop for crop, _, _ in faces], [face for _, face, _ in faces]))
        found: list[_Found | PhotoError] = []
        for result in results:
            if isinstance(result, PhotoError):
                found.append(result)
                continue
            (crop, face, count), encoded = result, next(embeddings)
            found.append(_Found(encoded, count, Quality.of(face, crop, encoded.quality).reason(self._unclear)))
        return found

    def _face(self, name: str, data: bytes) -> tuple[NDArray[np.uint8], Face, int]:
        """The aligned crop of a photo's wanted face, that face, and the number of faces. Raises PhotoError."""
        if self._number is not None:  # `facedex detect` numbers the faces as found in all pixels
            pixels, scale = images.decode(data, name), 1.0
            faces = self._reader.detector.detect(pixels)
        else:
            pixels, scale = images.decode_smaller(data, name, LEAST_SIDE)
            faces = self._reader.detector.detect(pixels, only_subject=not self._strict)
            too_small = not faces or min(faces[0].box[2:]) < alignment.SIZE
            if scale > 1 and too_small:
                pixels, scale = images.decode(data, name), 1.0
                faces = self._reader.detector.detect(pixels, only_subject=not self._strict)
        if not faces:
            raise NoFace.at_all(name)
        if self._strict and len(faces) > 1:
            raise SeveralFaces(f"{name} shows {len(faces)} faces; crop it to one, or leave out --strict")
        number = self._number or 1
        if number > len(faces):
            shown = counted(len(faces), "face")
            raise NoFace(f"{name} shows {shown} and has no face {number}; `facedex detect` lists them by number")
        face = faces[number - 1]
        return alignment.align(pixels, face.landmarks), face.enlarged(scale), len(faces)

    def _finish(self, batch: _Batch) -> list[Enrolled]:
        """Wait for a batch's faces and commit the new ones; returns one result for each photo."""
        found = dict(zip(batch.wanted, (face for search in batch.searches for face in search.result()), strict=True))
        results: list[Enrolled] = []
        records: list[FaceRecord] = []
        for position, (photo, digest) in enumerate(batch.photos):
            face = found.get(position)
            if isinstance(digest, PhotoError):
                results.append(Enrolled(photo.path, photo.name, "skipped", str(digest)))
                continue
            uncommitted = [(record.name, record.box) for record in records if record.photo == digest]
            result = self._not_enrolled(photo, self._store.photos(digest), uncommitted, face)
            if result is None:
                assert isinstance(face, _Found)
                result = Enrolled(photo.path, photo.name, "enrolled", self._remark(face))
                records.append(_record(photo, digest, face.encoded))
            results.append(result)
        self._store.add(records)
        return results

    def _remark(self, found: _Found) -> str | None:
        """What the user should know of a face that was enrolled. A poor face is never refused."""
        remarks = []
        if found.faces > 1 and self._number is None:
            remarks.append(f"{found.faces} faces; the most prominent was taken, --face N takes another")
        if found.poor:
            remarks.append(found.poor)
        return "; ".join(remarks) or None

    def _not_enrolled(
        self,
        photo: NamedPhoto,
        enrolled: list[StoredPhoto],
        uncommitted: list[tuple[str, Box]],
        found: _Found | PhotoError | None,
    ) -> Enrolled | None:
        """The result for a photo that is not to be enrolled; None for one that is.

        `enrolled`: the faces in the store from the same photo. `uncommitted`: name and box of those in this batch.
        `found` is None where no face was looked for.
        """
        if self._update and (move := follow_move(self._store, photo, enrolled)):
            return Enrolled(photo.path, move.name, move.status, move.reason)
        status = reason = None
        owners = [*((stored.name, stored.box) for stored in enrolled), *uncommitted]
        same_name = next((box for name, box in owners if name == photo.name), None)
        if same_name is not None and self._number is None:
            status, reason = "known", "this photo is enrolled already"
        elif isinstance(found, PhotoError):
            status, reason = "skipped", str(found)
        elif same_name is not None and found is not None:
            if same_place(found.encoded.face.box, same_name):
                status, reason = "known", "this face is enrolled already"
            else:
                status = "conflict"
                reason = f"{photo.name!r} is enrolled by another face of this photo; "
                reason += "remove that person first, or give another name"
        else:
            box = None if found is None else found.encoded.face.box
            owner = next((name for name, other in owners if box is None or same_place(box, other)), None)
            if owner is not None:
                status = "conflict"
                reason = f"this very face is enrolled as {owner!r}; "
                reason += "enroll another face with --name and --face N, or remove or merge one of the two"
        return Enrolled(photo.path, photo.name, status, reason) if status else None


def _drawn(photos: Iterator[NamedPhoto], size: int) -> tuple[list[NamedPhoto], Exception | None]:
    """The next photos, and the error that ended them early, such as a broken pack."""
    drawn: list[NamedPhoto] = []
    try:
        for photo in islice(photos, size):
            drawn.append(photo)
    except Exception as error:
        return drawn, error
    return drawn, None


def _record(photo: NamedPhoto, digest: str, encoded: EncodedFace) -> FaceRecord:
    left, top, width, height = map(float, encoded.face.box)
    return FaceRecord(
        photo.name,
        encoded.vector,
        (left, top, width, height),
        encoded.face.score,
        encoded.quality,
        photo.source,
        digest,
    )
