"""A gallery: a folder with enrolled people, the index for looking them up, and the model that encoded them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facedex.decision.calibration import Calibration
from facedex.decision.candidate import Candidate
from facedex.decision.misfit import FALSE_WARNINGS
from facedex.decision.posterior import CONTENDERS
from facedex.engines.binding import FILES
from facedex.engines.engine import Key
from facedex.engines.registry import open_engine
from facedex.errors import (
    DataError,
    FaceNotFound,
    GalleryError,
    GalleryMismatch,
    GalleryNotFound,
    ModelError,
    NoFace,
    PersonConflict,
    UndoConflict,
)
from facedex.faces.detector import FaceDetector
from facedex.files import make_private
from facedex.gallery import relocation
from facedex.gallery.indexwriter import IndexWriter
from facedex.gallery.lookup import Lookup
from facedex.index.manifest import stored_parameters
from facedex.index.remote import Remote
from facedex.log import logger, timed
from facedex.model.head import Head
from facedex.model.modelfile import ModelFile, read_model, shipped_model
from facedex.model.reader import FaceReader
from facedex.photos.inputs import PhotoInput, person_photos
from facedex.photos.sources import NamedPhoto, Paths, named_photos, person_name, several, source_path
from facedex.recognition.identification import FPIR, PRIOR, IdentifiedPhoto, identify
from facedex.store import expiry, modelcopy
from facedex.store.expiry import last_day
from facedex.store.lock import writing
from facedex.store.rows import FaceRecord, PersonRecord, StoredFaces, StoredPhoto
from facedex.store.store import Store, is_there, is_unfinished

# Verbs other than `match` load their modules when they are called: `facedex identify` is 5 ms faster.
if TYPE_CHECKING:
    from facedex.gallery.enrolment import Enrolled, Wishes
    from facedex.gallery.shown import ShownPerson
    from facedex.gallery.suspicion import Suspicion
    from facedex.store.changelog import Change
    from facedex.store.library_tables import LibraryTables
    from facedex.store.undoing import Undone

_log = logger(__name__)

_BATCH = 32  # photos committed together

# A folder or pack of people, or photos with names.
PeoplesPhotos: TypeAlias = str | os.PathLike[str] | Iterable[NamedPhoto | tuple[str, PhotoInput]]


def _named(record: FaceRecord) -> FaceRecord:
    """The record with its name as names are stored, so that it is found again. Raises NameInvalid."""
    name = person_name(record.name)
    return record if name == record.name else replace(record, name=name)


class Gallery:
    """People enrolled in a folder. One process may write while any number of processes read.

    Use as a context manager, or call `close`. Threads may share a Gallery. A forked process may use the Gallery of its
    parent, if no thread of the parent was using it at the fork.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: str | os.PathLike[str] | None = None,
        create: bool = False,
        rebind: bool = False,
    ):
        """Open a gallery. With `create`, make one for `model` (or the default model) when there is none.

        An existing gallery has its own model, and another `model` raises GalleryMismatch. `rebind` allows another one,
        because `reindex` with it will follow. It also replaces the gallery's own model when that is lost.
        Raises GalleryNotFound, GalleryDamaged, ModelError.
        """
        self.folder = Path(folder)
        self._detector: FaceDetector | None = None
        self._readers: dict[tuple[str, int], FaceReader] = {}  # by device and process: networks do not survive a fork
        self._loading = threading.RLock()  # held while networks are loaded, so that threads load them once
        self._thread = threading.local()  # whether it is alone
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
        state = self._store.state
        _log.info("opened the gallery %s: %d people, %d faces", self.folder, state.people, state.faces)

    def _own_model(self, named: ModelFile | None, rebind: bool) -> ModelFile:
        """The gallery's own model, unless the model that was named may replace it (see __init__)."""
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
            if self._store.state.model_file != state.model_file:  # another process has just changed the model
                return self._own_model(named, rebind)
            if named is None or not rebind:
                raise
            return named

    def _use_index(self) -> None:
        """Start to read and write the index of the present model."""
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
        """How many people are enrolled, without those whose consent has expired."""
        return self._lookup.people

    @property
    def faces(self) -> int:
        """How many faces are enrolled."""
        return self._store.state.faces

    @property
    def version(self) -> int:
        """A number that changes with every change that another thread or process makes, of the scanned library too.

        Only numbers that one thread was given can be compared.
        """
        return self._store.version

    @property
    def detector(self) -> FaceDetector:
        """The detector that finds faces in this gallery's photos, made on first use. Raises ModelError."""
        with self._loading:
            if self._detector is None:
                self._detector = FaceDetector()
            return self._detector

    def reader(self, device: str = "cpu") -> FaceReader:
        """The reader that finds faces by `detector` and encodes them on a device, made on first use."""
        with self._loading:
            key = device, os.getpid()
            if key not in self._readers:
                self._readers[key] = FaceReader(self.model, device, self.detector)
            return self._readers[key]

    # people

    def people(self) -> list[PersonRecord]:
        """Everybody enrolled, ordered by name."""
        return self._store.people()

    def person(self, person: int) -> PersonRecord:
        """The person with this id. Raises PersonNotFound."""
        return self._store.person(person)

    def find(self, *names: str) -> list[PersonRecord]:
        """The people with these names, each once. Any Unicode form of a name will do. Raises PersonNotFound."""
        people = {person.name: person for person in self._store.people()}
        return [people[name] for name in dict.fromkeys(self._store.stored_name(name) for name in names)]

    def show(self, name: str) -> ShownPerson:
        """A person's photos: path, time, quality, and how far each resembles the others.

        Raises PersonNotFound, which says which names are near.
        """
        from facedex.gallery.shown import show_person

        return show_person(self._store, self.head, self.calibration, name)

    def enroll(
        self,
        name: str,
        photo: PhotoInput,
        *,
        face: int | None = None,
        strict: bool = False,
        device: str = "cpu",
        consent: str = "",
        expires: str | date | None = None,
    ) -> Enrolled:
        """Enroll one person by one photo; it is on disk when this returns.

        The arguments are those of `enroll_all`. The result's `status` is "enrolled" or "known". A photo that was not
        given by its path is stored with the source `memory:` and the SHA-256 of its bytes. For pixels these are the
        bytes of a BMP file that holds them. `reindex` cannot encode it with another model.
        Raises NameInvalid, PhotoError for a photo that cannot be used, PersonConflict for a face that is enrolled under
        another name, and what `enroll_all` raises.
        """
        pair = (person_name(name), photo)
        (result,) = self.enroll_all([pair], strict, device, face=face, consent=consent, expires=expires)
        if result.exception is not None:
            raise result.exception
        if result.status not in ("enrolled", "known"):
            raise PersonConflict(f"{result.photo} is not enrolled as {result.name!r}: {result.reason}")
        return result

    def enroll_all(
        self,
        photos: PeoplesPhotos,
        strict: bool = False,
        device: str = "cpu",
        update: bool = False,
        face: int | None = None,
        consent: str = "",
        expires: str | date | None = None,
    ) -> list[Enrolled]:
        """Enroll one face of each photo: its subject, or the face numbered `face` from 1 (order: faces/subject.py).

        `photos`: a folder or pack of people, pairs (name, photo), or what `named_photos` gives. Returns one result for
        each photo, in order. All are on disk then. One bad photo never stops the rest.
        `strict` skips photos with several faces. Several people of one photo can be enrolled, each by another face.
        With `update`, a photo whose enrolled path no longer holds it becomes "moved". The gallery stores the photo's
        new path. Where the photo's folder has another name now, the photo becomes one of that person. `vanished` finds
        photos that were deleted.
        `consent` is kept with each photo that is enrolled now: what the person allowed, in your words. `expires`: the
        last day of it, a date or a text as store.expiry.last_day reads it. From the end of that day on, nobody is
        matched by the photo, and `purge` deletes it.
        Raises GalleryBusy when another process is writing, ValueError for a `face` below 1, DataError for a folder or
        pack that cannot be used or a wrong `expires`. The photos before the error stay.
        """
        return list(self.iter_enroll(photos, strict, device, update, face, consent=consent, expires=expires))

    def iter_enroll(
        self,
        photos: PeoplesPhotos,
        strict: bool = False,
        device: str = "cpu",
        update: bool = False,
        face: int | None = None,
        trust_names: bool = False,
        consent: str = "",
        expires: str | date | None = None,
    ) -> Iterator[Enrolled]:
        """As `enroll_all`, but yields each result once it is on disk, for a display of the progress.

        Nobody is enrolled before the first result is drawn. A photo whose result is not drawn may stay out.
        """
        if face is not None and face < 1:
            raise ValueError(f"faces are numbered from 1, so face cannot be {face}")
        from facedex.gallery.enrolment import Wishes

        return self._enroll(photos, device, Wishes(strict, update, face, trust_names, (consent, last_day(expires))))

    def _enroll(self, photos: PeoplesPhotos, device: str, wishes: Wishes) -> Iterator[Enrolled]:
        from facedex.gallery.enrolment import Enrolling

        with ExitStack() as stack:
            if isinstance(photos, str | os.PathLike):
                found, _ = stack.enter_context(named_photos([photos]))
            else:
                found = person_photos([photos] if isinstance(photos, NamedPhoto) else photos)
            stack.enter_context(self._changing())
            enrolling = Enrolling(self._store, self.reader(device), self.head, self.calibration, wishes)
            reachable = True
            for results in enrolling.batches(found, _BATCH):
                yield from results
                reachable = reachable and self._index.send()
            self._index.update()

    def vanished(self, sources: Paths) -> list[StoredPhoto]:
        """Enrolled photos that are no longer in these folders or packs; `remove_photos` deletes them.

        Call it after `enroll_all(..., update=True)`, which stores the new paths of photos that only moved. Several
        photos may have been enrolled from one path, one after another. All of them have vanished but the one that the
        path holds now. Raises DataError for a source without photos, because its disk may not be mounted.
        """
        from facedex.gallery.moved_photos import vanished

        return vanished(self._store.photos(), sources)

    def remove_photos(self, photos: Iterable[StoredPhoto]) -> int:
        """Delete single faces as `remove` does, and people who have none left; returns how many faces."""
        with self._changing():
            removed = self._store.remove_faces([photo.face for photo in photos])
            self._index.clear()
        return removed

    def add_faces(self, records: Iterable[FaceRecord], block: int = 25_000) -> int:
        """Add faces that are encoded already, `block` in a transaction; returns how many.

        Each vector (dim,) must come from this gallery's model. Raises GalleryError for a vector of another shape or
        a photo that the same person has already, and NameInvalid. The blocks before the error stay.
        """
        records, added, reachable = map(_named, records), 0, True
        with self._changing():
            while part := list(islice(records, block)):
                added += len(self._store.add(part))
                reachable = reachable and self._index.send()
            self._index.update()
        return added

    def suspicions(self, *names: str, rate: float = FALSE_WARNINGS) -> list[Suspicion]:
        """Photos that may show somebody else, and pairs of people who may be one, most suspicious first.

        Everybody is examined, or only the people with these `names`, who are compared with everybody. `rate` is the
        share of people whom each kind of warning may concern by mistake. No photo is read again.
        Raises PersonNotFound, EngineError, and ValueError for a rate outside 0..1.
        """
        from facedex.gallery.suspicion import Examination, ids_of

        threshold = self.threshold(rate)

        def other(vector: NDArray[np.float32], own: NDArray[np.int64], name: str) -> Candidate | None:
            if not self._lookup.may_reach(vector, own, threshold):
                return None
            best = next((one for one in self.match(vector, top=2) if one.name != name), None)
            return best if best is not None and best.logit >= threshold else None

        def false_alarms(logit: float) -> float:
            return self.calibration.false_alarm_rate(logit, self._lookup.photos)

        examination = Examination(self._store, self.head, self.calibration, other, threshold, rate, false_alarms)
        return examination.suspicions(ids_of(self._store, names))

    def rename(self, old: str, new: str) -> None:
        """Give a person another name. Raises PersonNotFound, NameInvalid, PersonConflict when it is taken."""
        with self._changing():
            self._store.rename(old, person_name(new))

    def merge(self, source: str, into: str) -> int:
        """Make two people one, named `into`; returns how many faces moved. Raises PersonNotFound.

        `undo` parts them again, unless a photo that both had was deleted.
        """
        with self._changing():
            moved = self._store.merge(source, into)
            if self._store.unscrubbed:  # a photo that both had was deleted
                self._index.clear()
            else:
                self._index.update()
        return moved

    def correct(self, face: int, name: str) -> None:
        """Give an enrolled face (id) to another person, known or new; `undo` gives it back.

        Where the face is all that is kept of a person, the person is renamed, or merged into the other one.
        Raises FaceNotFound, NameInvalid, and PersonConflict where the photo is enrolled for that person already.
        """
        with self._changing():
            self._store.correct(self.enrolled_photo(face), person_name(name))
            self._index.update()

    def remove(self, *names: str) -> int:
        """Delete people, and every trace of their faces in the gallery's files; returns how many faces.

        Raises PersonNotFound, and deletes nothing then. Raises GalleryBusy when a reader's query still holds the old
        state of the database. The people are deleted then, and the next change clears their traces.
        """
        with self._changing():
            removed = self._store.remove(names)
            self._index.clear()
        return removed

    # consent

    def set_consent(
        self,
        name: str,
        consent: str | None = None,
        expires: str | date | None = None,
        photos: Paths | None = None,
    ) -> int:
        """Change what a person allowed for enrolled photos, or its last day, or both; returns for how many photos.

        `photos`: some of the person's photos (paths), all of them for None. None leaves a value as it is; `expires`
        "never" stands for no end. Raises PersonNotFound, DataError for a wrong `expires` or a photo that the person
        does not have, and GalleryError for a person who has lost every photo.
        """
        end = None if expires is None else last_day(expires)
        with self._changing():
            stored = self._store.photos_of(name)[1]
            if not stored:
                raise GalleryError(f"{name!r} has no enrolled photo that a consent could belong to; enroll one first")
            faces = [photo.face for photo in stored]
            if photos is not None:
                wanted = {os.path.abspath(path): os.fspath(path) for path in several(photos)}
                found = {source_path(photo.source): photo.face for photo in stored}
                for path, given in wanted.items():
                    if path not in found:
                        raise DataError(f"{given} is no photo of {name!r}; `facedex show` lists them")
                faces = [photo.face for photo in stored if source_path(photo.source) in wanted]
            self._store.set_consent(faces, consent, end)
        return len(faces)

    def expired(self) -> tuple[list[str], list[StoredPhoto]]:
        """Whom `purge` would delete: names of people, and enrolled photos, those of these people too."""
        faces, people = set(self._store.expired(expiry.today())), self._store.expired_people(expiry.today())
        photos = [photo for photo in self._store.photos() if photo.face in faces] if faces else []
        return sorted(people.values()), photos

    def purge(self) -> tuple[int, int]:
        """Delete everybody whose consent has expired, as `remove` does; returns how many people and how many photos.

        A person who has other photos keeps these. Raises what `remove` raises.
        """
        with self._changing():
            purged = self._store.purge(expiry.today())
            if any(purged):
                self._index.clear()
        return purged

    def reindex(
        self,
        model: str | os.PathLike[str] | None = None,
        kind: str = "auto",
        device: str = "cpu",
        coverage: float | None = None,
        index: str | None = None,
        losing: Callable[[list[str]], None] = lambda photos: None,
    ) -> list[str]:
        """Build the index from nothing. With another `model`, encode all photos with it first.

        `kind`: one of index.projection.KINDS; "auto" follows the gallery's size. `coverage`: the share of the nearest
        five that an approximate index must find, as measured (default: as asked before, else
        index.manifest.COVERAGE). `index`: the URL of a search engine to move the index to, or "files" to move it
        back. Rows that an interrupted move left in an engine are deleted.

        Returns the photos that could not be encoded, because they are gone or changed. Their faces are deleted.
        `losing` is called with these photos before their faces are deleted. An error that `losing` raises leaves the
        gallery as it was.
        Raises GalleryError, also when no photo could be encoded; GalleryBusy as `remove` does; ModelError. An index in
        an engine raises DataError for any `kind` but "auto", MissingExtra and EngineError.
        """
        lost: list[str] = []
        if index not in (None, FILES):
            open_engine(str(index), Key("", "", "", 0)).close()  # raises for a URL that no engine can use
        with self._writing(), timed(_log, "reindexed %s", self.folder, level=logging.INFO):
            self._index.check(kind, coverage, index)
            if model is not None:
                lost = self._move_to(read_model(model), device, losing)
            modelcopy.sweep(modelcopy.files(self.folder), self._store.state.model_file)
            self._index.rebuild(kind, coverage, index)
            self._index.scrub()
            relocation.sweep(self._store)
        return lost

    def _move_to(self, model: ModelFile, device: str, losing: Callable[[list[str]], None]) -> list[str]:
        """Bind to another model, or to an intact copy of the same; returns the photos whose faces were deleted."""
        from facedex.gallery.reencoding import encode_anew, encode_scanned_anew

        before, copies = self._store.state, modelcopy.files(self.folder)
        lost: list[str] = []
        try:
            copy = modelcopy.keep(self.folder, model)
            assert copy.path is not None
            head, calibration = Head.from_file(copy), Calibration.from_meta(copy.meta)
            if copy.fingerprint != before.model:
                reader = FaceReader(copy, device, self.detector)
                vectors, lost = encode_anew(self._store, reader)
                scanned, lost_scanned = encode_scanned_anew(self._store, reader)
                lost += lost_scanned
                if lost:
                    _log.warning("%d photos of %s cannot be encoded with %s", len(lost), self.folder, model.path)
                    losing(lost)
                self._store.replace_vectors(copy.fingerprint, copy.path.name, int(copy.meta["dim"]), vectors, scanned)
                self._readers = {(device, os.getpid()): reader}
            elif copy.path.name != before.model_file:
                self._store.bind_model(copy.fingerprint, copy.path.name)
        except BaseException:  # also Ctrl-C; the copy stays when the database has changed to it already
            modelcopy.sweep(modelcopy.files(self.folder) - copies, self._store.state.model_file)
            raise
        self.model, self.head, self.calibration = copy, head, calibration
        self._lookup.close()
        self._use_index()
        return lost

    # the scanned library

    @property
    def library(self) -> LibraryTables:
        """The scanned photos, for reading; the folder `library/` works with them."""
        return self._store.library

    @property
    def has_scans(self) -> bool:
        """Whether anything was scanned."""
        return self._store.has_scans

    def enrolled_photos(self, name: str) -> tuple[StoredFaces, list[StoredPhoto], list[str]]:
        """A person's enrolled faces and photos, as Store.photos_of gives them. Raises PersonNotFound."""
        return self._store.photos_of(name)

    def enrolled_photo(self, face: int) -> StoredPhoto:
        """An enrolled face (id) and its photo. Raises FaceNotFound."""
        found = self._store.photos(face=face)
        if not found:
            raise FaceNotFound(f"There is no enrolled face {face}; it may have been removed")
        return found[0]

    def keep_picture(self, face: int, picture: bytes) -> None:
        """Keep a small picture of an enrolled face (id), a JPEG file. It is deleted with the face.

        Raises FaceNotFound, GalleryBusy.
        """
        with self._writing():
            self.enrolled_photo(face)
            self._store.keep_picture(face, picture)

    def kept_picture(self, face: int) -> bytes | None:
        """The picture that `keep_picture` kept, else None. Raises GalleryDamaged for an altered one."""
        return self._store.kept_picture(face)

    def enrolled_faces(self) -> list[StoredFaces]:
        """The enrolled faces that may be compared today, in blocks. Raises GalleryDamaged for an altered row."""
        return [block.valid(expiry.today()) for block in self._store.blocks()]

    def expired_people(self) -> set[int]:
        """The people (ids) who may not be compared with anybody today."""
        return set(self._store.expired_people(expiry.today()))

    @contextmanager
    def reading_library(self) -> Iterator[Store]:
        """The store, for reads of one state of the gallery while others write.

        Deletions are scrubbed only after the end, so it should be near. Raises GalleryMismatch for a gallery that was
        given another model meanwhile.
        """
        with self._store.snapshot():
            self._lookup.own_state()
            yield self._store

    @contextmanager
    def changing_library(self, enrolls: bool = False) -> Iterator[Store]:
        """The store, for a change of the scanned photos under the write lock.

        Deleted vectors are cleared out of every file in the end. `enrolls`: whether enrolled people change too.
        Raises what `remove` raises, and GalleryMismatch where another process has changed the gallery's model.
        """
        with self._changing():
            self._lookup.own_state()  # vectors of another model must not come among those of this one
            yield self._store
            if self._store.unscrubbed:
                self._index.clear()
            elif enrolls:
                self._index.update()

    # the log

    def changes(self, since: str = "") -> list[tuple[Change, tuple[str, ...]]]:
        """Every change of the gallery, the first one first, and the paths of its photos that are still there.

        `since`: a time (ISO 8601, UTC), from which on changes are listed.
        """
        return [(change, tuple(map(source_path, sources))) for change, sources in self._store.changes.lines(since)]

    def undoable(self) -> tuple[Change | None, list[Change]]:
        """The change that `undo` would undo, None where nothing is left, and the deletions after it, newest first.

        A deletion cannot be undone, because nothing of what was deleted is kept.
        """
        log = self._store.changes
        change = log.last_undoable()
        return change, log.deletions_after(change.number if change else 0)

    def undo(self, number: int | None = None) -> Undone | None:
        """Undo the last change that can be undone: a name of scanned faces, a split, an ignored group, a rename, a
        merge, a correction, a consent. Run again, it undoes the one before.

        `number`: the change that is meant, as `undoable` gave it. None where nothing is left. Raises UndoConflict where
        another change came in between or stands in the way, and what `remove` raises.
        """
        from facedex.store import undoing

        with self.changing_library(enrolls=True) as store:
            change = store.changes.last_undoable()
            if change is None:
                return None
            if number not in (None, change.number):
                raise UndoConflict(f"Another change of {self.folder} was made meanwhile; run `facedex undo` again")
            return undoing.undo(store, change)

    # looking up

    def identify(
        self,
        photo: PhotoInput,
        *,
        top: int = 1,
        fpir: float = FPIR,
        prior: float = PRIOR,
        threshold: float | None = None,
        device: str = "cpu",
    ) -> IdentifiedPhoto:
        """Name every face of one photo. The arguments are those of `facedex.identify`, which is for many photos.

        A photo that shows no face gives no faces. Raises PhotoError for a photo that cannot be read, ValueError,
        ModelError.
        """
        (result,) = identify(self, [photo], top=top, fpir=fpir, prior=prior, threshold=threshold, device=device)
        if result.exception is not None and not isinstance(result.exception, NoFace):
            raise result.exception
        return result

    def match(
        self,
        vector: NDArray[np.float32],
        top: int = 5,
        prior: float = 0.5,
        exhaustive: bool = False,
        shortlist: int = CONTENDERS,
        quality: float = 0.0,
    ) -> list[Candidate]:
        """The `top` people most like a probe embedding (dim,), best first, one candidate a person.

        Several views (k, dim) of one face, as from a video, count together: by the log of their mean odds. That finds
        more people than one view, and names no more strangers (facedex/video/README.md).
        The index gives a shortlist of people, and the head scores their exact vectors. With `exhaustive` the head
        scores everybody. `prior`: the probability that the probe is of somebody enrolled. `quality`:
        EncodedFace.quality of the probe, 0 where not known; only probabilities depend on it.
        """
        with timed(_log, "looked a face up in %s", self.folder):
            return self._lookup.match(vector, quality, self.calibration, top, prior, exhaustive, shortlist)

    def threshold(self, fpir: float) -> float:
        """The logit that the best candidates of a share `fpir` of strangers reach, at the gallery's present size.

        Both the number of people and each person's number of photos count. Raises ValueError for a rate outside 0..1.
        """
        return self._lookup.threshold(self.calibration, fpir)

    def false_alarm_rate(self, threshold: float) -> tuple[float, float, float]:
        """(FPIR, low, high): the share of strangers that a threshold names, at the gallery's present size.

        `low` and `high` bound the middle 90 % of the calibration's bootstrap; NaN when the model stores none.
        """
        photos = self._lookup.photos
        return (
            self.calibration.false_alarm_rate(threshold, photos),
            *self.calibration.interval(threshold, photos),
        )

    def remote(self) -> Remote | None:
        """The engine that holds the index; None for an index in the gallery's folder. Raises EngineError."""
        return self._lookup.remote()

    def coverage(self) -> tuple[float, float] | None:
        """(asked, measured): two shares of the nearest five faces, for an approximate index.

        The index was tuned to find the first share, and found the second when it was measured. None for an exact index.
        Raises EngineError.
        """
        remote = self.remote()
        parameters = stored_parameters(self.folder) if remote is None else remote.tuned()
        return (parameters["coverage"], parameters["measured"]) if "measured" in parameters else None

    # files

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else changes the gallery meanwhile, so that what this thread reads holds when it changes something.

        Raises GalleryBusy, GalleryError.
        """
        before = self._is_alone()
        with self._writing():
            self._thread.is_alone = True
            try:
                yield
            finally:
                self._thread.is_alone = before

    def _create(self, model: ModelFile) -> None:
        """Make the folder, the copy of the model and an empty database. Raises GalleryError, ModelError."""
        Head.from_file(model)  # raises for a model that no gallery can use, before anything is written
        Calibration.from_meta(model.meta)
        try:
            make_private(self.folder)
        except OSError as error:
            raise GalleryError(f"{self.folder} cannot be made ({error.strerror}); choose another folder") from None
        with writing(self.folder):
            copy = modelcopy.keep(self.folder, model)
            assert copy.path is not None
            Store(self.folder, (copy.fingerprint, copy.path.name, int(copy.meta["dim"]))).close()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The write lock. A deletion that a crash or a reader interrupted is completed first."""
        with self._writing():
            if self._store.unscrubbed:
                _log.warning("completing a deletion in %s that was interrupted", self.folder)
                with suppress(GalleryError):  # the next change tries again
                    self._index.clear()
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The write lock, unless this thread has it by `alone`. Raises GalleryBusy, GalleryError."""
        with nullcontext() if self._is_alone() else writing(self.folder):
            yield

    def _is_alone(self) -> bool:
        return getattr(self._thread, "is_alone", False)
