"""Looking up: from a probe embedding to the most similar enrolled people, at the gallery's present state.

The index gives a shortlist of people. The head scores the exact vectors of all their photos.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from pathlib import Path

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.decision.candidate import Candidate
from facedex.decision.fusion import fuse, fuse_people
from facedex.decision.posterior import CONTENDERS
from facedex.engines.binding import FILES, Binding, read_binding
from facedex.engines.engine import Outdated
from facedex.errors import EngineError, GalleryDamaged, GalleryError, GalleryMismatch
from facedex.index.manifest import stored_coverage, stored_kind
from facedex.index.projection import Projection, build_projection, read_projection, save_projection
from facedex.index.remote import Remote, RemoteProjection
from facedex.model.head import Head
from facedex.model.modelfile import ModelFile
from facedex.store import expiry
from facedex.store.lock import writing
from facedex.store.rows import State, StoredFaces
from facedex.store.store import Store

Ranking = tuple[np.ndarray, np.ndarray, np.ndarray]  # people, their fused logits, their numbers of photos; best first


class Lookup:
    """A reader of a gallery, which answers at the gallery's newest revision. Threads may share it.

    `lock`: held while the index is replaced, and while the connection to an engine is used.
    """

    def __init__(self, folder: Path, store: Store, model: ModelFile, head: Head) -> None:
        self.folder, self._store, self.model, self.head = folder, store, model, head
        self.lock = threading.RLock()
        self._projection: Projection | RemoteProjection | None = None
        self._remote: Remote | None = None
        self._state: State | None = None
        self._photos: tuple[State, str, np.ndarray] | None = None
        self._threshold: tuple[np.ndarray, Calibration, float, float] | None = None

    @property
    def people(self) -> int:
        """How many people a look-up may name today."""
        state, today = self._store.state, expiry.today()
        return len(self._photos_at(state, today)) if self._store.expired(today) else state.people

    def match(
        self,
        vector: np.ndarray,
        quality: float,
        calibration: Calibration,
        top: int,
        prior: float,
        exhaustive: bool,
        shortlist: int,
    ) -> list[Candidate]:
        """See Gallery.match."""
        views = np.atleast_2d(np.asarray(vector, np.float32))
        shown = slice(max(top, CONTENDERS))  # of everybody, where all were scored; the others change nothing
        today, outdated = expiry.today(), 0
        while True:
            projection, state = (None, self.own_state()) if exhaustive else self._refreshed()
            with self._alone_with(projection), self._store.snapshot():
                if self._store.state != state:  # somebody wrote this moment
                    continue
                people = len(self._photos_at(state, today))
                if not people:
                    return []
                wanted = min(max(top, CONTENDERS), people)
                if projection is None:
                    persons, scores, photos = self._everybody(views, today)
                    faces = self._store.faces_of(persons[shown].tolist()).valid(today)
                else:
                    near = min(max(shortlist, wanted), people)
                    try:
                        faces, (persons, scores, photos) = self._near_any(projection, state, today, views, near, wanted)
                    except Outdated:
                        outdated = self._again(outdated)
                        continue
                break
        names = dict(zip(faces.people.tolist(), faces.names, strict=True))
        if not names.keys() >= set(persons[shown].tolist()):
            raise self._store.index_disagrees()
        shifts = calibration.shifts(quality, faces.quality, faces.people, persons[shown])
        probabilities = calibration.posterior(scores[shown], photos[shown], people, prior, shifts)
        similarities = calibration.similarity(scores[shown])
        return [
            Candidate(names[int(person)], float(s), float(p), float(score))
            for person, s, p, score in zip(persons[:top], similarities, probabilities, scores, strict=False)
        ]

    def may_reach(self, vector: np.ndarray, own: np.ndarray, least: float) -> bool:
        """Whether a face (dim,) may have the logit `least` or more with an enrolled face outside `own`, face ids (n,).

        The index alone answers, in a fifth of the time of `match` (2026-11-30).
        """
        projection, _ = self._refreshed()
        try:
            found = projection.search(self.head.project(np.asarray(vector, np.float32)[None])[0], len(own) + 1)
        except Outdated:
            return True
        others = found.bounds[~np.isin(found.rows, own)]
        return not len(others) or self.head.beta - float(others.min()) >= least

    @property
    def photos(self) -> np.ndarray:
        """How many photos each person has (people,) int64, counted once for each state of the gallery and each day.

        Photos whose consent has expired do not count.
        """
        return self._photos_at(self._store.state, expiry.today())

    def _photos_at(self, state: State, today: str) -> np.ndarray:
        known = self._photos
        if known is None or known[:2] != (state, today):
            if self._store.expired(today):
                photos = self._store.photos_each(today)
            elif state.people == state.faces:  # nobody counts as enrolled without a photo
                photos = np.ones(state.people, np.int64)
            else:
                photos = self._store.photos_each()
            known = self._photos = state, today, photos
        return known[2]

    def threshold(self, calibration: Calibration, fpir: float) -> float:
        """See Gallery.threshold; computed once for each state of the gallery and each day."""
        photos, known = self.photos, self._threshold
        if known is None or known[0] is not photos or known[1:3] != (calibration, fpir):
            known = self._threshold = photos, calibration, fpir, calibration.threshold(photos, fpir)
        return known[3]

    def forget(self) -> None:
        """Read the index again at the next look-up."""
        with self.lock:
            self._projection, self._state = None, None

    def remote(self) -> Remote | None:
        """The engine that holds the index; None for an index in the gallery's folder. Raises EngineError."""
        binding = read_binding(self._store)
        with self.lock:
            if binding.url == FILES:
                self.close()
            elif self._remote is None or self._remote.binding != binding:
                self.close()
                self._remote = self.remote_at(binding)
            return self._remote

    def remote_at(self, binding: Binding) -> Remote:
        """The gallery's index in the engine of any binding."""
        return Remote(self.folder, binding, self._store, self.head, self.model.head_fingerprint)

    def close(self) -> None:
        """Close the connection to the engine; safe to call twice."""
        with self.lock:
            if self._remote is not None:
                self._remote.close()
            self._remote = None

    def _alone_with(self, projection: Projection | RemoteProjection | None) -> AbstractContextManager[object]:
        """The lock for a search in an engine, whose connection serves one thread at a time."""
        return self.lock if isinstance(projection, RemoteProjection) else nullcontext()

    def _again(self, times: int) -> int:
        """Forget an engine's rows, which another process replaced; returns how often that has happened now.

        Raises EngineError at the tenth time.
        """
        if times == 10:
            raise EngineError(f"The engine that holds {self.folder}'s index is rewritten all the time; try again later")
        self.forget()
        return times + 1

    def _near_any(
        self,
        projection: Projection | RemoteProjection,
        state: State,
        today: str,
        views: np.ndarray,
        near: int,
        wanted: int,
    ) -> tuple[StoredFaces, Ranking]:
        """The faces of the people nearest to any view (k, dim) of a probe, and these people ranked by all views."""
        found = [self._nearest(projection, state, today, view, near, wanted) for view in views]
        if len(found) == 1:
            return found[0]
        people = np.unique(np.concatenate([persons for _, (persons, _, _) in found]))
        faces = self._store.faces_of(people.tolist()).valid(today)
        return faces, self._fused(views, faces)

    def _nearest(
        self,
        projection: Projection | RemoteProjection,
        state: State,
        today: str,
        probe: np.ndarray,
        near: int,
        wanted: int,
    ) -> tuple[StoredFaces, Ranking]:
        """The faces of the nearest people, at least `near` of them, and these people ranked by the head.

        The search stops when no photo that was not read could change the best `wanted` people. The index gives a lower
        bound of each photo's distance, so the head's logit of an unread photo is at most beta less that bound. A
        person's fused score is at most the logit of the person's best photo. An approximate index gives estimates of
        these bounds. Faces whose consent has expired are in the index until they are purged, and are left out here.
        """
        z = self.head.project(probe[None])[0]
        k = near + near // 8
        while True:
            found = projection.search(z, k)
            faces, ranking = self._ranked(self._read(found.rows[:k]), state, today, probe[None])
            limit = self.head.beta - float(ranking[1][wanted - 1]) if len(ranking[0]) >= wanted else float("inf")
            needed = int(np.searchsorted(found.bounds, limit, "right"))
            further = found.rows[k:needed]
            if len(further) and len(missing := np.setdiff1d(further, faces.ids)):
                faces, ranking = self._ranked(faces.joined(self._read(missing)), state, today, probe[None])
            if k >= len(projection) or (len(ranking[0]) >= near and limit <= found.horizon):
                return faces, ranking
            k = min(len(projection), 4 * k)

    def _ranked(self, faces: StoredFaces, state: State, today: str, views: np.ndarray) -> tuple[StoredFaces, Ranking]:
        """These faces with all others of the same people, and the people ranked by their fused scores."""
        if state.faces != state.people:
            near, faces = faces.ids, self._store.faces_of(np.unique(faces.people).tolist())
            if not np.isin(near, faces.ids).all():
                raise self._store.index_disagrees()
        faces = faces.valid(today)
        return faces, self._fused(views, faces)

    def _fused(self, views: np.ndarray, faces: StoredFaces) -> Ranking:
        """The people of these faces, ranked by the head."""
        order = np.argsort(faces.ids)
        return fuse_people(self._logits(views, faces.vectors[order]), faces.people[order])

    def _logits(self, views: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """The logits (n,) of faces (n, dim): for several views (k, dim) of a probe, the log of their mean odds."""
        return fuse(np.stack([self.head.logits(view[None], vectors) for view in views]), axis=0)

    def _read(self, ids: np.ndarray) -> StoredFaces:
        """The faces with these ids. Raises GalleryDamaged when one is missing."""
        faces = self._store.faces(ids.tolist())
        if len(faces.ids) != len(ids):
            raise GalleryDamaged(
                f"{self._store.path} has lost faces that were enrolled; restore a copy, or run `facedex reindex`"
            )
        return faces

    def _everybody(self, views: np.ndarray, today: str) -> Ranking:
        """Everybody, ranked by the head."""
        blocks = (block.valid(today) for block in self._store.blocks())
        parts = [(block.people, self._logits(views, block.vectors)) for block in blocks]
        people, logits = (np.concatenate(column) for column in zip(*parts, strict=True))
        return fuse_people(logits, people)

    def own_state(self) -> State:
        """The gallery's present state. Raises GalleryMismatch when its model is no longer this reader's."""
        state = self._store.state
        if state.model_file != (self.model.path.name if self.model.path else None):
            raise GalleryMismatch(f"The gallery {self.folder} was given another model meanwhile; open it again")
        return state

    def _refreshed(self) -> tuple[Projection | RemoteProjection, State]:
        """An index of the gallery's present state, and that state. Only one row is read when nothing changed."""
        with self.lock:
            return self._newest()

    def _newest(self) -> tuple[Projection | RemoteProjection, State]:
        state = self._store.state
        known = self._projection
        if known is not None and state == self._state and not (isinstance(known, RemoteProjection) and known.expired):
            return known, state
        self.own_state()
        outdated = 0
        while (remote := self.remote()) is not None:
            try:
                self._projection, self._state = remote.projection()
                return self._projection, self._state
            except Outdated:
                outdated = self._again(outdated)
        with self._store.snapshot():
            state = self.own_state()
            head_id, data = self.model.head_fingerprint, None
            # A copy follows, because other threads may be searching the former state.
            projection = copy(self._projection) if isinstance(self._projection, Projection) else None
            if projection is None or not projection.follow(self._store, state, self.head):
                stale = read_projection(self.folder, state, self.head, head_id)
                if stale is not None and stale.follow(self._store, state, self.head):
                    projection = stale
                else:
                    kind, coverage = stored_kind(self.folder), stored_coverage(self.folder)
                    projection, data = build_projection(self._store, state, self.head, head_id, kind, coverage, stale)
        self._projection, self._state = projection, state
        if data is not None:
            self._keep(projection, data)
        return projection, state

    def _keep(self, projection: Projection, data: bytes) -> None:
        """Save an index that this reader had to build, for the next reader, where the folder can be written."""
        try:
            with writing(self.folder, 0):
                if self._store.state.revision == projection.manifest.revision:
                    save_projection(self.folder, projection, data)
        except (GalleryError, OSError):
            pass
