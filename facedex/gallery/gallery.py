"""A gallery of known people: store + search, and the model they were encoded with, in one folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.decision.posterior import CONTENDERS
from facedex.engines.binding import FILES
from facedex.engines.engine import Key
from facedex.engines.registry import open_engine
from facedex.errors import GalleryError, GalleryMismatch, GalleryNotFound, ModelError
from facedex.faces.detector import FaceDetector
from facedex.files import make_private
from facedex.gallery import relocation
from facedex.gallery.enrolment import Enrolled, Enrolling, vanished
from facedex.gallery.indexwriter import IndexWriter
from facedex.gallery.lookup import Candidate, Lookup
from facedex.gallery.reencoding import encode_anew
from facedex.index.manifest import stored_parameters
from facedex.index.remote import Remote
from facedex.model.head import Head
from facedex.model.modelfile import ModelFile, read_model, shipped_model
from facedex.model.reader import FaceReader
from facedex.photos.sources import NamedPhoto, person_name
from facedex.store import modelcopy
from facedex.store.lock import writing
from facedex.store.rows import FaceRecord, PersonRecord, StoredPhoto
from facedex.store.store import BUSY_SECONDS, Store, is_there, is_unfinished

_BATCH = 32  # photos committed together


def _named(record: FaceRecord) -> FaceRecord:
    """A record under the name as it is kept, by which alone it is found again. Raises NameInvalid."""
    name = person_name(record.name)
    return record if name == record.name else replace(record, name=name)


class Gallery:
    """People enrolled in a folder. Safe for one writer and any number of readers, in any number of processes.

    Use as a context manager, or call `close`. Threads that look up at the same time need one each.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: str | os.PathLike[str] | None = None,
        create: bool = False,
        rebind: bool = False,
    ):
        """Open a gallery, or with `create` make one for `model` (else the shipped model) when there is none.

        An existing gallery brings its own model; naming another one raises GalleryMismatch, unless `rebind` says
        that `reindex` is to follow: then it may be another, and stands in when the gallery's own is lost.
        Raises GalleryNotFound, GalleryDamaged, ModelError.
        """
        self.folder = Path(folder)
        self._reader: FaceReader | None = None
        fresh = not is_there(self.folder)
        if fresh and not create:
            raise GalleryNotFound(f"There is no gallery in {self.folder}; make one with `facedex enroll`")
        if fresh or (create and is_unfinished(self.folder)):
            self._create(read_model(model or shipped_model()))
        self._store = Store(self.folder)
        try:
            self.model = self._own_model(read_model(model) if model else None, rebind)
            self.head = Head.from_file(self.model)
            self.calibration = Calibration.from_meta(self.model.meta)
        except BaseException:
            self._store.close()
            raise
        self._use_index()

    def _own_model(self, named: ModelFile | None, rebind: bool) -> ModelFile:
        state = self._store.state
        if named is not None and not rebind and modelcopy.file_name(named) != state.model_file:
            if named.fingerprint != state.model:
                other, anew = "model", "encode its photos anew"
            else:
                other, anew = "head or calibration", "change to these"
            raise GalleryMismatch(
                f"The gallery {self.folder} was made with another {other} than {named.path}; leave out --model, or run "
                f"`facedex reindex --model` to {anew}"
            )
        try:
            return modelcopy.read(self.folder, state)
        except (ModelError, GalleryMismatch):
            if self._store.state.model_file != state.model_file:  # it was moved to another model this moment
                return self._own_model(named, rebind)
            if named is None or not rebind:
                raise
            return named

    def _use_index(self) -> None:
        """Read and write the index that belongs to the present model."""
        self._lookup = Lookup(self.folder, self._store, self.model, self.head)
        self._index = IndexWriter(self._store, self._lookup)

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; safe to call twice."""
        self._lookup.close()
        self._store.close()

    def __len__(self) -> int:
        """How many people are enrolled."""
        return self._store.count()[0]

    @property
    def faces(self) -> int:
        """How many faces are enrolled."""
        return self._store.count()[1]

    @cached_property
    def detector(self) -> FaceDetector:
        """What finds the faces in photos for this gallery, made on first use. Raises ModelError."""
        return FaceDetector()

    def reader(self, device: str = "cpu") -> FaceReader:
        """What encodes photos for this gallery, made on first use; it finds the faces by `detector`."""
        if self._reader is None:
            self._reader = FaceReader(self.model, device, self.detector)
        return self._reader

    # people

    def people(self) -> list[PersonRecord]:
        """Everybody enrolled, by name."""
        return self._store.people()

    def find(self, *names: str) -> list[PersonRecord]:
        """These people, each once, whatever form their accents are typed in. Raises PersonNotFound."""
        people = {person.name: person for person in self._store.people()}
        return [people[name] for name in dict.fromkeys(self._store.stored_name(name) for name in names)]

    def enroll(
        self,
        photos: Iterable[NamedPhoto],
        strict: bool = False,
        device: str = "cpu",
        update: bool = False,
        face: int | None = None,
    ) -> Iterator[Enrolled]:
        """Enrol one face of each photo: its subject, or the face numbered `face` in the order of subject.py, from 1.

        Yields one result a photo, in order, each only once it is on disk. One bad photo never stops the rest.
        `strict` skips photos with several faces. Several people of one photo can be enrolled, each by another face.
        With `update` a photo that is known, but lay elsewhere, is "moved": its source is noted anew, and where its
        folder has another name now, so is whom it shows. `vanished` says what is no longer there.
        Raises GalleryBusy when another process is writing, ValueError for a `face` below 1.
        """
        if face is not None and face < 1:
            raise ValueError(f"faces are numbered from 1, so face cannot be {face}")
        with self._changing():
            work = Enrolling(self._store, self.reader(device), strict, update, face, self.calibration.unclear)
            reached = True
            for results in work.batches(iter(photos), _BATCH):
                yield from results
                reached = reached and self._index.send()
            self._index.update()

    def vanished(self, sources: Iterable[str | os.PathLike[str]]) -> list[StoredPhoto]:
        """Enrolled photos of these folders or packs that are no longer in them, to be offered to `remove_photos`.

        After `enroll(..., update=True)`, which notes the photos that only moved. Of several enrolled from one
        place only what lies there now counts as there. Raises DataError for a source without photos: it may merely not be mounted.
        """
        return vanished(self._store.photos(), sources)

    def remove_photos(self, photos: Iterable[StoredPhoto]) -> int:
        """Delete single faces as `remove` does, and people who have none left; returns how many went."""
        with self._changing():
            gone = self._store.remove_faces([photo.face for photo in photos])
            self._index.clear()
        return gone

    def add_faces(self, records: Iterable[FaceRecord], block: int = 25_000) -> int:
        """Put faces in that were encoded elsewhere, `block` in a transaction; returns how many.

        Each vector (dim,) must be this gallery's model's. Raises GalleryError for one that is not, or a photo that
        the same person has already, NameInvalid for what is no name: the blocks before it stay.
        """
        records, added, reached = map(_named, records), 0, True
        with self._changing():
            while part := list(islice(records, block)):
                added += len(self._store.add(part))
                reached = reached and self._index.send()
            self._index.update()
        return added

    def rename(self, old: str, new: str) -> None:
        """Give a person another name. Raises PersonNotFound, NameInvalid, GalleryError when it is taken."""
        with self._changing():
            self._store.rename(old, person_name(new))

    def merge(self, source: str, into: str) -> int:
        """Make two people one, named `into`; returns how many faces moved. Raises PersonNotFound."""
        with self._changing():
            moved = self._store.merge(source, into)
            if self._store.unscrubbed:  # a double went
                self._index.clear()
            else:
                self._index.update()
        return moved

    def remove(self, *names: str) -> int:
        """Delete people: nothing of their faces is left in any file of the gallery. Returns how many faces went.

        Raises PersonNotFound (nothing is deleted then), and GalleryBusy when a reader in the middle of a query
        still keeps the old pages: the deletion is done, and whoever writes next clears them.
        """
        with self._changing():
            gone = self._store.remove(names)
            self._index.clear()
        return gone

    def reindex(
        self,
        model: str | os.PathLike[str] | None = None,
        kind: str = "auto",
        device: str = "cpu",
        coverage: float | None = None,
        index: str | None = None,
        losing: Callable[[list[str]], None] = lambda photos: None,
    ) -> list[str]:
        """Build the projection anew; with another `model` encode all photos anew first.

        `index` moves it to a search engine, given by its URL, or back by "files" (see engine.py); what was left there
        by a move that was interrupted goes.

        `kind` is one of search.KINDS; "auto" follows the gallery's size. `coverage`: the share of the nearest five
        that an approximate index must find, as measured (search.COVERAGE unless one was asked for before).
        Returns the photos that could not be encoded again (gone, or changed): their faces are dropped, but only
        when that is not all of them. `losing` is told them before that; what it raises leaves the gallery as it was. Raises GalleryError, ModelError; GalleryBusy as `remove` does. DataError,
        MissingExtra, EngineError for an engine, which knows no kinds.
        """
        lost: list[str] = []
        if index not in (None, FILES):
            open_engine(str(index), Key("", "", "", 0)).close()  # asks for nothing yet, but refuses what it cannot use
        with self._writing():
            self._index.check(kind, coverage, index)
            if model is not None:
                lost = self._move_to(read_model(model), device, losing)
            modelcopy.sweep(modelcopy.files(self.folder), self._store.state.model_file)  # an interrupted move's too
            self._index.rebuild(kind, coverage, index)
            self._index.scrub()
            relocation.sweep(self._store)
        return lost

    def _move_to(self, model: ModelFile, device: str, losing: Callable[[list[str]], None]) -> list[str]:
        """Bind to another model, or to a good copy of the same one; returns the photos whose faces were dropped."""
        before, copies = self._store.state, modelcopy.files(self.folder)
        lost: list[str] = []
        try:
            copy = modelcopy.keep(self.folder, model)
            assert copy.path is not None
            head, calibration = Head.from_file(copy), Calibration.from_meta(copy.meta)
            if copy.fingerprint != before.model:
                reader = FaceReader(copy, device, self.detector)
                vectors, lost = encode_anew(self._store, reader)
                if lost:
                    losing(lost)
                self._store.replace_vectors(copy.fingerprint, copy.path.name, int(copy.meta["dim"]), vectors)
                self._reader = reader
            elif copy.path.name != before.model_file:
                self._store.bind_model(copy.fingerprint, copy.path.name)
        except BaseException:  # Ctrl-C may come when the database has its new model already: that one stays
            modelcopy.sweep(modelcopy.files(self.folder) - copies, self._store.state.model_file)
            raise
        self.model, self.head, self.calibration = copy, head, calibration
        self._lookup.close()
        self._use_index()
        return lost

    # looking up

    def match(
        self,
        vector: np.ndarray,
        top: int = 5,
        prior: float = 0.5,
        exhaustive: bool = False,
        shortlist: int = CONTENDERS,
        quality: float = 0.0,
    ) -> list[Candidate]:
        """The people most like a probe embedding (dim,), best first, one entry a person.

        `quality` is EncodedFace.quality, 0 where not known; only probabilities hang on it. The index gives a shortlist of distinct people; the head decides, on the exact vectors. `exhaustive` has
        the head score everybody.
        """
        return self._lookup.match(vector, quality, self.calibration, top, prior, exhaustive, shortlist)

    def threshold(self, fpir: float) -> float:
        """The logit above which a stranger would be named with probability `fpir`, at the present size.

        The size is counted in people, by their numbers of photos. Raises ValueError for a rate outside 0..1.
        """
        return self._lookup.threshold(self.calibration, fpir)

    def false_alarm_rate(self, threshold: float) -> tuple[float, float, float]:
        """(FPIR, low, high): the share of strangers that a threshold names at the present size, and the middle 90 %
        of the calibration's bootstrap around it (NaN when the model stores none).
        """
        photos = self._lookup.photos
        return (
            self.calibration.false_alarm_rate(threshold, photos),
            *self.calibration.interval(threshold, photos),
        )

    def remote(self) -> Remote | None:
        """The engine that holds the index; None where that is in the gallery's folder. Raises EngineError."""
        return self._lookup.remote()

    def coverage(self) -> tuple[float, float] | None:
        """The share of the nearest five that an approximate index was asked to find, and that it finds, as measured;
        None for an exact one. Raises EngineError.
        """
        remote = self.remote()
        told = stored_parameters(self.folder) if remote is None else remote.tuned()
        return (told["coverage"], told["measured"]) if "measured" in told else None

    # files

    def _create(self, model: ModelFile) -> None:
        Head.from_file(model)  # refuses models that no gallery can use, before anything is written
        Calibration.from_meta(model.meta)
        try:
            make_private(self.folder)
        except OSError as error:
            raise GalleryError(f"{self.folder} cannot be made ({error.strerror}); choose another folder") from None
        with self._writing():
            copy = modelcopy.keep(self.folder, model)
            assert copy.path is not None
            Store(self.folder, (copy.fingerprint, copy.path.name, int(copy.meta["dim"]))).close()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The writer's place, where a deletion that a crash cut short or a reader held up is ended first."""
        with self._writing():
            if self._store.unscrubbed:
                with suppress(GalleryError):  # as well as it can be; it stays noted
                    self._index.clear()
            yield

    @contextmanager
    def _writing(self, wait: float = BUSY_SECONDS) -> Iterator[None]:
        with writing(self.folder, wait):
            yield
