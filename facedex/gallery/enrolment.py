"""Enrolling photos, a batch at a time: read them, leave out known ones, find and encode faces, commit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from facedex.decision.calibration import Calibration
from facedex.errors import FacedexError, NameDoubtful, NoFace, PhotoError, SeveralFaces
from facedex.faces import alignment
from facedex.faces.boxes import Box, same_place
from facedex.faces.face import Face
from facedex.faces.quality import Quality
from facedex.gallery.moved_photos import follow_move
from facedex.gallery.naming import Naming, camera_doubt
from facedex.log import logger
from facedex.model.head import Head
from facedex.model.reader import EncodedFace, FaceReader
from facedex.photos import images
from facedex.photos.lonefolders import has_camera_name
from facedex.photos.sources import NamedPhoto
from facedex.store.rows import FaceRecord, StoredPhoto
from facedex.store.store import Store
from facedex.threads import PIXELS_AT_ONCE, Budget, side_by_side
from facedex.wording import counted

_log = logger(__name__)

_PIXELS = Budget(PIXELS_AT_ONCE)  # all photos of the process that are being enrolled share it
_TASK = 4  # photos whose faces are encoded together
LEAST_SIDE = 960  # pixels: a large photo is first decoded with its shorter side no smaller than this


@dataclass(frozen=True)
class Enrolled:
    """The result for one photo.

    `status`: "enrolled", "known", "moved" (only with `update`), "conflict" or "skipped". `reason`: why, or a remark on
    a face that was enrolled. `exception`: the error of a photo that was skipped. `owned`: the id of this very face
    where it is enrolled under another name, which is a conflict.
    """

    photo: str
    name: str
    status: str
    reason: str | None = None
    exception: FacedexError | None = field(default=None, repr=False, compare=False)
    owned: int | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class _Subject:
    """The wanted face of a photo and its aligned crop. `faces` and `remarks` are those of _Found."""

    crop: NDArray[np.uint8]
    face: Face
    faces: int
    remarks: list[str]


@dataclass(frozen=True)
class _Found:
    """The wanted face of a photo.

    `faces`: how many the photo shows. `remarks`: what is missing of the photo. `poor`: what is poor about this face.
    """

    encoded: EncodedFace
    faces: int
    remarks: list[str]
    poor: str | None


@dataclass(frozen=True)
class _Batch:
    """Photos that are being encoded.

    `photos`: each photo with its SHA-256, or the error for one that is not enrolled. `wanted`: positions of the photos
    whose faces are looked for. `searches`: the results for these, _TASK photos in each.
    """

    photos: list[tuple[NamedPhoto, str | PhotoError | NameDoubtful]]
    wanted: list[int]
    searches: list[Future[list[_Found | PhotoError]]]


@dataclass(frozen=True)
class Wishes:
    """What a caller wants of an enrolment: arguments of Gallery.enroll_all.

    `trust_names`: enroll photos with doubtful names too. `terms`: consent and its last day (YYYY-MM-DD), "" for none.
    """

    strict: bool
    update: bool
    face: int | None
    trust_names: bool
    terms: tuple[str, str]


class Enrolling:
    """Puts photos into the store, a batch at a time, as `wishes` say.

    While one batch is waited for and committed, the next is read and encoded, so that no core idles.
    """

    def __init__(self, store: Store, reader: FaceReader, head: Head, calibration: Calibration, wishes: Wishes) -> None:
        self._store, self._reader, self._wishes = store, reader, wishes
        self._naming, self._unclear = Naming(head, calibration), calibration.unclear
        self._doubt: str | None = None  # the first one

    def batches(self, photos: Iterator[NamedPhoto], size: int) -> Iterator[list[Enrolled]]:
        """One result for each photo, in order. They are on disk when they are yielded.

        Batches have `size` photos. Results with doubtful names wait for a photo of a sound name, and NameDoubtful is
        raised where none follows. An error of `photos` is raised after the photos before it are enrolled.
        """
        waiting: list[Enrolled] = []
        sound = False
        try:
            for results in self._batches(photos, size):
                sound = sound or any(result.status != "skipped" for result in results)
                waiting += results
                if sound or self._doubt is None:
                    yield waiting
                    waiting = []
        except Exception:
            if waiting:
                yield waiting
            raise
        if waiting:
            raise NameDoubtful(f"Nothing is enrolled: {self._doubt}")

    def _batches(self, photos: Iterator[NamedPhoto], size: int) -> Iterator[list[Enrolled]]:
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
                    yield _logged(self._finish(current))
                if failure is not None:
                    if following is not None:
                        yield _logged(self._finish(following))
                    raise failure
                if following is None:
                    return
                current = following

    def _begin(self, photos: list[NamedPhoto], pool: Executor) -> _Batch:
        """Read photos, and start to encode the faces of those that may be new."""
        read: list[tuple[NamedPhoto, str | PhotoError | NameDoubtful]] = []
        wanted: list[int] = []
        contents: list[tuple[str, bytes]] = []
        for photo in photos:
            data = photo.content()
            if isinstance(data, PhotoError):
                read.append((photo, data))
                continue
            digest = images.sha256(data)
            if self._wishes.face is not None or not self._needs_no_search(photo, self._store.photos(digest)):
                if has_camera_name(photo.parts) and not self._wishes.trust_names:
                    read.append((photo, NameDoubtful(camera_doubt(photo))))
                    continue
                wanted.append(len(read))
                contents.append((photo.path, data))
            read.append((photo, digest))
        tasks = [contents[start : start + _TASK] for start in range(0, len(contents), _TASK)]
        return _Batch(read, wanted, [pool.submit(self._search, task) for task in tasks])

    def _needs_no_search(self, photo: NamedPhoto, enrolled: list[StoredPhoto]) -> bool:
        """Whether the photo is known without a look at its faces, given what is enrolled from the same photo."""
        names = {photo.name} | ({photo.other.name} if photo.other else set())
        return any(
            stored.name in names or (self._wishes.update and stored.source == photo.source) for stored in enrolled
        )

    def _search(self, photos: list[tuple[str, bytes]]) -> list[_Found | PhotoError]:
        """The wanted face, or the error, for each of a few photos (name, content). Runs in a thread of its own."""
        results: list[_Subject | PhotoError] = []
        for name, data in photos:
            try:
                results.append(self._face(name, data))
            except PhotoError as error:
                results.append(error)
        faces = [result for result in results if not isinstance(result, PhotoError)]
        embeddings = iter(self._reader.encode_crops([one.crop for one in faces], [one.face for one in faces]))
        found: list[_Found | PhotoError] = []
        for result in results:
            if isinstance(result, PhotoError):
                found.append(result)
                continue
            encoded = next(embeddings)
            poor = Quality.of(result.face, result.crop, encoded.quality).reason(self._unclear)
            found.append(_Found(encoded, result.faces, result.remarks, poor))
        return found

    def _face(self, name: str, data: bytes) -> _Subject:
        """The wanted face of a photo. Raises PhotoError."""
        remarks: list[str] = []
        if self._wishes.face is None:
            with _PIXELS.take(images.pixel_count(data, LEAST_SIDE)):
                pixels, scale = images.decode_smaller(data, name, LEAST_SIDE, remarks)
                faces = self._detect(pixels)
                large_enough = bool(faces) and min(faces[0].box[2:]) >= alignment.SIZE
                if scale == 1 or large_enough:
                    return self._subject(name, data, pixels, faces, scale, remarks)
        remarks.clear()
        with _PIXELS.take(images.pixel_count(data)):
            # `facedex detect` numbers the faces as found in all pixels.
            pixels = images.decode(data, name, remarks=remarks)
            return self._subject(name, data, pixels, self._detect(pixels), 1.0, remarks)

    def _detect(self, pixels: NDArray[np.uint8]) -> list[Face]:
        return self._reader.detector.detect(pixels, only_subject=self._wishes.face is None and not self._wishes.strict)

    def _subject(
        self, name: str, data: bytes, pixels: NDArray[np.uint8], faces: list[Face], scale: float, remarks: list[str]
    ) -> _Subject:
        """What `_face` returns, from the faces of a photo that is `scale` times as large as these pixels.

        Where they show no face, the next pages of a TIFF are searched.
        """
        later_pages = images.later_pages(data, name, remarks)
        while not faces and (page := next(later_pages, None)) is not None:
            pixels, faces = page, self._detect(page)
        if not faces:
            raise NoFace.at_all(name)
        if self._wishes.strict and len(faces) > 1:
            raise SeveralFaces(f"{name} shows {len(faces)} faces; crop it to one, or leave out --strict")
        number = self._wishes.face or 1
        if number > len(faces):
            shown = counted(len(faces), "face")
            raise NoFace(f"{name} shows {shown} and has no face {number}; `facedex detect` lists them by number")
        face = faces[number - 1]
        return _Subject(alignment.align(pixels, face.landmarks), face.enlarged(scale), len(faces), remarks)

    def _finish(self, batch: _Batch) -> list[Enrolled]:
        """Wait for a batch's faces and commit the new ones; returns one result for each photo."""
        found = dict(zip(batch.wanted, (face for search in batch.searches for face in search.result()), strict=True))
        vectors = {at: face.encoded.vector for at, face in found.items() if isinstance(face, _Found)}
        digests = [digest for _, digest in batch.photos]

        def names(position: int) -> set[str]:
            digest = digests[position]
            return {stored.name for stored in self._store.photos(digest)} if isinstance(digest, str) else set()

        some_known = any(at not in found and isinstance(digest, str) for at, digest in enumerate(digests))
        photos = self._naming.settle([photo for photo, _ in batch.photos], vectors, names)
        doubts = {} if self._wishes.trust_names else self._naming.doubts(photos, vectors, some_known)
        results: list[Enrolled] = []
        records: list[FaceRecord] = []
        for position, (photo, digest) in enumerate(zip(photos, digests, strict=True)):
            face = found.get(position)
            if not isinstance(digest, str):
                results.append(self._skipped(photo, digest))
                continue
            uncommitted = [(record.name, record.box) for record in records if record.photo == digest]
            result = self._not_enrolled(photo, self._store.photos(digest), uncommitted, face)
            if result is None and photo.name in doubts:
                result = self._skipped(photo, NameDoubtful(doubts[photo.name]))
            if result is None:
                assert isinstance(face, _Found)
                result = Enrolled(photo.path, photo.name, "enrolled", self._remark(face))
                records.append(_record(photo, digest, face.encoded, self._wishes.terms))
            results.append(result)
        self._store.add(records)
        return results

    def _skipped(self, photo: NamedPhoto, error: PhotoError | NameDoubtful) -> Enrolled:
        if isinstance(error, NameDoubtful) and self._doubt is None:
            self._doubt = str(error)
        return Enrolled(photo.path, photo.name, "skipped", str(error), error)

    def _remark(self, found: _Found) -> str | None:
        """What the user should know of a face that was enrolled. A poor face is never refused."""
        remarks = list(found.remarks)
        if found.faces > 1 and self._wishes.face is None:
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
        if self._wishes.update and (move := follow_move(self._store, photo, enrolled)):
            return Enrolled(photo.path, move.name, move.status, move.reason)
        status = reason = owned = None
        owners = [*((stored.name, stored.box) for stored in enrolled), *uncommitted]
        same_name = next((box for name, box in owners if name == photo.name), None)
        if same_name is not None and self._wishes.face is None:
            status, reason = "known", "this photo is enrolled already"
            if any(self._wishes.terms):
                reason += "; its consent stays as it was, `facedex consent` changes it"
        elif isinstance(found, PhotoError):
            return Enrolled(photo.path, photo.name, "skipped", str(found), found)
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
                owned = next((stored.face for stored in enrolled if stored.name == owner), None)
                reason = f"this very face is enrolled as {owner!r}; "
                reason += "enroll another face with --name and --face N, or remove or merge one of the two"
        return Enrolled(photo.path, photo.name, status, reason, owned=owned) if status else None


def _logged(results: list[Enrolled]) -> list[Enrolled]:
    """The results, after a line in the log for each photo that was not enrolled."""
    for result in results:
        if result.status in ("skipped", "conflict"):
            photo = "" if result.photo in str(result.reason) else f"{result.photo}: "  # most errors name the photo
            _log.warning("%s for %r: %s%s", result.status, result.name, photo, result.reason)
    return results


def _drawn(photos: Iterator[NamedPhoto], size: int) -> tuple[list[NamedPhoto], Exception | None]:
    """The next photos, and the error that ended them early, such as a broken pack."""
    drawn: list[NamedPhoto] = []
    try:
        for photo in islice(photos, size):
            drawn.append(photo)
    except Exception as error:
        return drawn, error
    return drawn, None


def _record(photo: NamedPhoto, digest: str, encoded: EncodedFace, terms: tuple[str, str]) -> FaceRecord:
    left, top, width, height = map(float, encoded.face.box)
    return FaceRecord(
        photo.name,
        encoded.vector,
        (left, top, width, height),
        encoded.face.score,
        encoded.quality,
        photo.source,
        digest,
        *terms,
    )
