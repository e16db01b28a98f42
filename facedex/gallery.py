"""A gallery of known people: store + search, and the model they were encoded with, in one folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from facedex import align, images, search
from facedex.calibrate import Calibration
from facedex.detect import Face
from facedex.errors import (
    DataError,
    GalleryBusy,
    GalleryError,
    GalleryMismatch,
    GalleryNotFound,
    NoFace,
    PhotoError,
    SeveralFaces,
)
from facedex.faces import FaceReader
from facedex.head import Head
from facedex.lookup import Candidate, Lookup
from facedex.modelfile import ModelFile, read_graph, read_model, shipped_model
from facedex.people import NamedPhoto, person_name
from facedex.quality import Quality
from facedex.store import BUSY_SECONDS, FILE, FaceRecord, PersonRecord, Store, is_unfinished

_LOCK_FILE = "writer.lock"
_BATCH = 32  # photos decoded, encoded and committed together


@dataclass(frozen=True)
class Enrolled:
    """What became of one photo: status "enrolled", "known", "conflict" or "skipped", and why where it matters."""

    photo: str
    name: str
    status: str
    reason: str | None = None


class Gallery:
    """People enrolled in a folder. Safe for one writer and any number of readers, in any number of processes.

    Use as a context manager, or call `close`.
    """

    def __init__(
        self, folder: str | os.PathLike[str], model: str | os.PathLike[str] | None = None, create: bool = False
    ):
        """Open a gallery, or with `create` make one for `model` (else the shipped model) when there is none.

        An existing gallery brings its own model; naming another one raises GalleryMismatch.
        Raises GalleryNotFound, GalleryDamaged, ModelError.
        """
        self.folder = Path(folder)
        self._reader: FaceReader | None = None
        fresh = not (self.folder / FILE).exists()
        if fresh and not create:
            raise GalleryNotFound(f"There is no gallery in {self.folder}; make one with `facedex enroll`")
        if fresh or (create and is_unfinished(self.folder)):
            self._create(read_model(model or shipped_model()))
        self._store = Store(self.folder)
        state = self._store.state
        try:
            self.model = read_model(self.folder / state.model_file)
            if self.model.fingerprint != state.model:
                raise GalleryMismatch(
                    f"{self.model.path} is not the model of this gallery; run `facedex reindex --model`"
                )
            if model is not None and read_model(model).fingerprint != state.model:
                raise GalleryMismatch(
                    f"The gallery {self.folder} was made with another model than {model}; leave out --model, or run "
                    "`facedex reindex --model` to encode its photos anew"
                )
            self.head = Head.from_file(self.model)
            self.calibration = Calibration.from_meta(self.model.meta)
        except BaseException:
            self._store.close()
            raise
        self._lookup = Lookup(self.folder, self._store, self.model, self.head, self._keep)

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; safe to call twice."""
        self._store.close()

    def __len__(self) -> int:
        """How many people are enrolled."""
        return self._store.count()[0]

    @property
    def faces(self) -> int:
        """How many faces are enrolled."""
        return self._store.count()[1]

    def reader(self, device: str = "cpu") -> FaceReader:
        """What encodes photos for this gallery, made on first use."""
        if self._reader is None:
            self._reader = FaceReader(self.model, device)
        return self._reader

    # people

    def people(self) -> list[PersonRecord]:
        """Everybody enrolled, by name."""
        return self._store.people()

    def enroll(self, photos: Iterable[NamedPhoto], strict: bool = False, device: str = "cpu") -> Iterator[Enrolled]:
        """Enrol one face of each photo, the largest (`strict` skips photos with several).

        Yields one result a photo, in order, each only once it is on disk. One bad photo never stops the rest.
        Raises GalleryBusy when another process is writing.
        """
        photos = iter(photos)
        with self._writing():
            with ThreadPoolExecutor(2) as pool:
                while batch := list(islice(photos, _BATCH)):
                    yield from self._enroll_batch(batch, strict, device, pool)
            self._project(compact_only=True)

    def _enroll_batch(
        self, batch: list[NamedPhoto], strict: bool, device: str, pool: ThreadPoolExecutor
    ) -> list[Enrolled]:
        reader = self.reader(device)
        results: list[Enrolled | None] = [None] * len(batch)
        seen: dict[str, int] = {}
        wanted: list[tuple[int, str, bytes]] = []
        again: list[tuple[int, str, list[str]]] = []  # photos enrolled before, or earlier in this batch
        for i, photo in enumerate(batch):
            try:
                data = photo.read()
            except (PhotoError, DataError) as error:  # DataError: a broken member of a pack
                results[i] = Enrolled(photo.path, photo.name, "skipped", str(error))
                continue
            digest = images.sha256(data)
            names = self._store.known_photo(digest)
            if names or seen.setdefault(digest, i) != i:
                again.append((i, digest, names))
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

        records: list[FaceRecord] = []
        crops: list[tuple[int, str, np.ndarray, Face]] = []
        for (i, digest, _), result in zip(wanted, pool.map(find, wanted), strict=True):
            photo = batch[i]
            if isinstance(result, PhotoError):
                results[i] = Enrolled(photo.path, photo.name, "skipped", str(result))
                continue
            crop, face, several = result
            crops.append((i, digest, crop, face))
            reason = f"{several} faces; the largest was taken" if several > 1 else None
            results[i] = Enrolled(photo.path, photo.name, "enrolled", reason)
        encoded = reader.encode_crops([crop for _, _, crop, _ in crops], [face for _, _, _, face in crops])
        for (i, digest, crop, face), one in zip(crops, encoded, strict=True):
            warning = Quality.of(face, crop, one.quality).reason(self.calibration.unclear)
            enrolled = results[i]
            if warning and enrolled is not None:  # a notice, never a refusal
                results[i] = replace(
                    enrolled, reason="; ".join(filter(None, [enrolled.reason, f"{warning}; a better photo helps"]))
                )
            source = os.path.abspath(batch[i].path)
            source = source.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            box = (float(face.box[0]), float(face.box[1]), float(face.box[2]), float(face.box[3]))
            records.append(FaceRecord(batch[i].name, one.vector, box, face.score, one.quality, source, digest))
        self._store.add(records)
        for i, digest, names in again:
            photo = batch[i]
            first = None if names else results[seen[digest]]
            if first and first.status == "skipped":
                why = f"it is the same photo as {first.photo}, which was skipped"
                results[i] = Enrolled(photo.path, photo.name, "skipped", why)
                continue
            names = [first.name] if first else names
            if photo.name in names:
                results[i] = Enrolled(photo.path, photo.name, "known", "this photo is enrolled already")
            else:
                why = f"this very photo is enrolled as {names[0]!r}; remove or merge one of the two"
                results[i] = Enrolled(photo.path, photo.name, "conflict", why)
        return [result for result in results if result is not None]

    def rename(self, old: str, new: str) -> None:
        """Give a person another name. Raises PersonNotFound, NameInvalid, GalleryError when it is taken."""
        with self._writing():
            self._store.rename(old, person_name(new))

    def merge(self, source: str, into: str) -> int:
        """Make two people one, named `into`; returns how many faces moved. Raises PersonNotFound."""
        with self._writing():
            moved = self._store.merge(source, into)
            self._forget()
        return moved

    def remove(self, *names: str) -> int:
        """Delete people: nothing of their faces is left in any file of the gallery. Returns how many faces went.

        Raises PersonNotFound (nothing is deleted then), and GalleryBusy when a reader in the middle of a query
        still keeps the old pages: the deletion is done, but run it again to clear them.
        """
        with self._writing():
            gone = self._store.remove(names)
            self._forget()
        return gone

    def _forget(self) -> None:
        """Rewrite every file that could still hold what was deleted."""
        self._project(compact_only=False)
        self._scrub()

    def _scrub(self) -> None:
        if not self._store.scrub():
            raise GalleryBusy(
                f"Done, but another process still reads an older state of {self.folder}, which is on disk until then; "
                "run `facedex reindex` when it is done, which clears what is left"
            )

    def reindex(
        self, model: str | os.PathLike[str] | None = None, kind: str = "flat", device: str = "cpu"
    ) -> list[str]:
        """Build the projection anew; with another `model` encode all photos anew first.

        Returns the photos that could not be encoded again (gone, or changed): their faces are dropped, but only
        when that is not all of them. Raises GalleryError, ModelError; GalleryBusy as `remove` does.
        """
        lost: list[str] = []
        with self._writing():
            if model is not None:
                lost = self._reencode(read_model(model), device)
            self._project(compact_only=False, kind=kind)
            self._scrub()
        return lost

    def _reencode(self, model: ModelFile, device: str) -> list[str]:
        before = self._store.state
        copy = self._keep_model(model)
        head, calibration = Head.from_file(copy), Calibration.from_meta(copy.meta)
        lost: list[str] = []
        if copy.fingerprint == before.model:
            assert copy.path is not None
            self._store.bind_model(copy.fingerprint, copy.path.name)
        else:
            reader = FaceReader(copy, device)
            vectors: dict[int, tuple[np.ndarray, float]] = {}
            sources = self._store.sources()
            for face_id, source, digest, box in sources:
                found = _same_face(reader, source, digest, box)
                if found is None:
                    lost.append(source)
                else:
                    vectors[face_id] = found
            if sources and not vectors:
                raise GalleryError("None of the enrolled photos is where it was; the gallery is left as it was")
            assert copy.path is not None
            self._store.replace_vectors(copy.fingerprint, copy.path.name, int(copy.meta["dim"]), vectors)
            self._reader = reader
        self.model, self.head, self.calibration = copy, head, calibration
        self._lookup = Lookup(self.folder, self._store, copy, head, self._keep)
        if before.model_file != self._store.state.model_file:
            for suffix in (".safetensors", ".onnx"):
                (self.folder / before.model_file).with_suffix(suffix).unlink(missing_ok=True)
        return lost

    # looking up

    def match(
        self, vector: np.ndarray, top: int = 5, prior: float = 0.5, exhaustive: bool = False, shortlist: int = 50
    ) -> list[Candidate]:
        """The people most like a probe embedding (dim,), best first, one entry a person.

        The index gives a shortlist of distinct people; the head decides, on the exact vectors. `exhaustive` has
        the head score everybody.
        """
        return self._lookup.match(vector, self.calibration, top, prior, exhaustive, shortlist)

    def threshold(self, fpir: float) -> float:
        """The logit above which a stranger would be named with probability `fpir`, at the present size.

        The size is counted in people, by their numbers of photos. Raises ValueError for a rate outside 0..1.
        """
        return self._lookup.threshold(self.calibration, fpir)

    def false_alarm_rate(self, threshold: float) -> tuple[float, float, float]:
        """(FPIR, low, high): the share of strangers that a threshold names at the present size, and the middle 80 %
        of the calibration's bootstrap around it (NaN when the model stores none).
        """
        photos = self._lookup.photos
        return (
            self.calibration.false_alarm_rate(threshold, photos),
            *self.calibration.interval(threshold, photos),
        )

    def _keep(self, projection: search.Projection, data: bytes) -> None:
        """Keep what a reader had to build for the next one, if it may; it has what it needs either way."""
        try:
            with self._writing(wait=0):
                if self._store.state.revision == projection.manifest.revision:
                    search.save(self.folder, projection, data)
        except (GalleryError, OSError):
            pass

    # files

    def _project(self, compact_only: bool, kind: str | None = None) -> None:
        """Write the projection anew; with `compact_only` just when the newer faces have become many."""
        state = self._store.state
        head_id = self.model.head_fingerprint
        if compact_only:
            current = search.load(self.folder, self._store, state, self.head, head_id)
            if current is not None and not current.wants_compaction:
                return
        kind = kind or search.stored_kind(self.folder)
        projection, data = search.build(self._store, state, self.head, head_id, kind)
        try:
            search.save(self.folder, projection, data)
        except OSError as error:
            raise GalleryError(
                f"The index in {self.folder} cannot be written ({error.strerror}); check space and "
                "permissions, what was enrolled is safe"
            ) from None
        self._lookup.forget()

    def _create(self, model: ModelFile) -> None:
        Head.from_file(model)  # refuses models that no gallery can use, before anything is written
        Calibration.from_meta(model.meta)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.name == "posix":
                self.folder.chmod(0o700)
        except OSError as error:
            raise GalleryError(f"{self.folder} cannot be made ({error.strerror}); choose another folder") from None
        with self._writing():
            copy = self._keep_model(model)
            assert copy.path is not None
            Store(self.folder, (copy.fingerprint, copy.path.name, int(copy.meta["dim"]))).close()

    def _keep_model(self, model: ModelFile) -> ModelFile:
        """Copy a model into the gallery, under a name of its own, so that an upgrade locks nobody out."""
        read_graph(model)
        assert model.path is not None
        target = self.folder / f"model-{model.identity[:16]}.safetensors"
        try:
            for source in (model.graph_path, model.path):
                copy = target.with_suffix(source.suffix)
                if not copy.exists():
                    temporary = copy.with_name(f".{copy.name}.{os.getpid()}.new")
                    shutil.copyfile(source, temporary)
                    os.replace(temporary, copy)
                    copy.chmod(0o600)
        except OSError as error:
            raise GalleryError(
                f"The model cannot be copied to {self.folder} ({error.strerror}); check space and permissions"
            ) from None
        return read_model(target)

    @contextmanager
    def _writing(self, wait: float = BUSY_SECONDS) -> Iterator[None]:
        """Hold the gallery's one writer's place. Raises GalleryBusy when somebody else keeps it."""
        lock = FileLock(str(self.folder / _LOCK_FILE), mode=0o600)
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            raise GalleryBusy(f"Another process is writing to {self.folder}; try again when it is done") from None
        except OSError as error:
            raise GalleryError(f"{self.folder} cannot be written ({error.strerror}); check its permissions") from None
        try:
            for left in self.folder.glob(".*.new"):  # of writers that were killed
                left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()


def _same_face(
    reader: FaceReader, source: str, digest: str, box: tuple[float, float, float, float]
) -> tuple[np.ndarray, float] | None:
    """The embedding of the face that was at `box` when the photo was enrolled; None when the photo is gone."""
    try:
        data = images.read_bytes(source)
        if images.sha256(data) != digest:
            return None
        faces = reader.read(images.decode(data, source))
    except PhotoError:
        return None
    if not faces:
        return None
    best = max(faces, key=lambda one: _overlap(one.face.box, box))
    return (best.vector, best.quality) if _overlap(best.face.box, box) > 0.5 else None


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
