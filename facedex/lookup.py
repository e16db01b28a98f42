"""Looking up: a probe embedding to the most similar enrolled people, at the gallery's present state.

The projection gives a shortlist of distinct people; the head decides, on the exact vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedex import search
<<<<<<< HEAD
from facedex.calibrate import CONTENDERS, Calibration
from facedex.errors import GalleryMismatch
from facedex.fusion import fuse_people
=======
from facedex.calibrate import Calibration
from facedex.errors import GalleryDamaged, GalleryMismatch
>>>>>>> 1b4a46c (A gallery to a million faces: byte codes with proven bounds, tuned half-bytes, a digest that moves with each change)
from facedex.head import Head
from facedex.modelfile import ModelFile
from facedex.store import State, Store, StoredFaces


@dataclass(frozen=True)
class Candidate:
    """One enrolled person against one probe.

    `similarity`: calibrated probability that the faces are the same person's, if half of all pairs were;
    `probability`: that this name is right, given the whole gallery; `logit`: the head's, of several photos fused.
    """

    name: str
    similarity: float
    probability: float
    logit: float


class Lookup:
    """One reader of a gallery: follows its revisions, and answers at the newest."""

    def __init__(
        self, folder: Path, store: Store, model: ModelFile, head: Head,
        keep: Callable[[search.Projection, bytes], None],
    ) -> None:  # fmt: skip
        """`keep` is given a projection that had to be built here, and its bytes, to save it for the next reader."""
        self.folder, self._store, self.model, self.head = folder, store, model, head
        self._keep = keep
        self._projection: search.Projection | None = None
<<<<<<< HEAD
        self._revision = -1
        self._threshold: tuple[Calibration, float, float] | None = None
=======
        self._state: State | None = None
>>>>>>> 1b4a46c (A gallery to a million faces: byte codes with proven bounds, tuned half-bytes, a digest that moves with each change)

    def __len__(self) -> int:
        """How many faces are enrolled."""
        return self._store.state.faces

    def match(
        self, vector: np.ndarray, calibration: Calibration, top: int, prior: float, exhaustive: bool, shortlist: int
    ) -> list[Candidate]:
        """See Gallery.match."""
<<<<<<< HEAD
        self._refresh()
        if not len(self._owners[0]):
            return []
        wanted = min(max(top, CONTENDERS), len(self._photos))
        near = min(max(shortlist, wanted), len(self._photos))
        while True:
            if exhaustive:
                ids, vectors = self._store.vectors()
                known = np.isin(ids, self._owners[0])  # another process may have added some since
                ids, vectors = ids[known], vectors[known]
            else:
                listed = self._shortlist(vector, near)
                ids, vectors = self._store.vectors(np.sort(self._all_photos(listed)).tolist())
            logits = self.head.logits(np.asarray(vector, np.float32)[None], vectors)
            owners = self._owners[1][np.searchsorted(self._owners[0], ids)]
            persons, scores, photos = fuse_people(logits, owners)
            # Whoever is not on the list has no photo better than the worst that is, so no better fused score either.
            if exhaustive or near == len(self._photos) or scores[wanted - 1] >= logits[np.isin(ids, listed)].min():
                break
            near = min(2 * near, len(self._photos))
        probabilities = calibration.posterior(scores, photos, len(self._photos), prior)
        similarities = calibration.similarity(scores)
        return [
            Candidate(self._names[int(person)], float(s), float(p), float(score))
            for person, s, p, score in zip(persons[:top], similarities, probabilities, scores, strict=False)
=======
        probe, wanted = np.asarray(vector, np.float32), max(shortlist, top)
        while True:
            projection, state = self._refreshed()
            with self._store.snapshot():
                if self._store.state != state:  # somebody wrote this moment
                    continue
                if not state.faces:
                    return []
                if exhaustive:
                    faces, logits = self._everybody(probe, wanted)
                else:
                    faces, logits = self._nearest(projection, state, probe, wanted, top)
                break
        best = _best_of_each(faces.people, logits, faces.ids)[:wanted]
        scores = logits[best]
        probabilities = calibration.posterior(scores, state.people, prior)
        similarities = calibration.similarity(scores)
        return [
            Candidate(faces.names[i], float(s), float(p), float(logit))
            for i, s, p, logit in zip(best[:top].tolist(), similarities, probabilities, scores, strict=False)
>>>>>>> 1b4a46c (A gallery to a million faces: byte codes with proven bounds, tuned half-bytes, a digest that moves with each change)
        ]

    @property
    def photos(self) -> np.ndarray:
        """How many photos each person is enrolled from, (people,)."""
        self._refresh()
        return self._photos

    def threshold(self, calibration: Calibration, fpir: float) -> float:
        """See Gallery.threshold; worked out once for each state of the gallery."""
        photos = self.photos
        if self._threshold is None or self._threshold[0] is not calibration or self._threshold[1] != fpir:
            self._threshold = calibration, fpir, calibration.threshold(photos, fpir)
        return self._threshold[2]

    def forget(self) -> None:
        """Read the gallery's files anew at the next question."""
        self._projection, self._state = None, None

    def _nearest(
        self, projection: search.Projection, state: State, probe: np.ndarray, people: int, top: int
    ) -> tuple[StoredFaces, np.ndarray]:
        """Faces that hold the nearest `people` persons, and their logits.

        The `top` best are proven to be the head's own choice: no face that was left out, of those the index
        considered, can be nearer than the last of them, by the index's lower bounds.
        """
        people, top = min(people, state.people), min(top, state.people)
        z = self.head.project(probe[None])[0]
        k = people + people // 8
        while True:
            found = projection.search(z, k)
            faces = self._read(found.rows[:k])
            logits = self.head.logits(probe[None], faces.vectors)
            best = _best_of_each(faces.people, logits, faces.ids)
            limit = self.head.beta - float(logits[best[top - 1]]) if len(best) >= top else float("inf")
            needed = int(np.searchsorted(found.bounds, limit, "right"))
            if needed > k:
                more = self._read(found.rows[k:needed])
                faces = faces.joined(more)
                logits = np.concatenate([logits, self.head.logits(probe[None], more.vectors)])
                best = _best_of_each(faces.people, logits, faces.ids)
            if k >= len(projection) or (len(best) >= people and limit <= found.horizon):
                return faces, logits
            k = min(len(projection), 4 * k)

<<<<<<< HEAD
    def _all_photos(self, ids: np.ndarray) -> np.ndarray:
        """These faces, and all others of the same people: a score is fused from all of somebody's photos."""
        if len(self._photos) == len(self._owners[0]):
            return ids
        owners = self._owners[1][np.searchsorted(self._owners[0], ids)]
        return self._owners[0][np.isin(self._owners[1], owners)]

    def _refresh(self) -> None:
        """Bring this reader to the gallery's present state: one row is read when nothing changed."""
=======
    def _read(self, ids: np.ndarray) -> StoredFaces:
        faces = self._store.faces(ids.tolist())
        if len(faces.ids) != len(ids):
            raise GalleryDamaged(
                f"{self._store.path} has lost faces that were enrolled; restore a copy, or run `facedex reindex`"
            )
        return faces

    def _everybody(self, probe: np.ndarray, people: int) -> tuple[StoredFaces, np.ndarray]:
        """The best face of each of the nearest persons, everybody scored by the head."""
        ids, persons, scores = [], [], []
        for block in self._store.blocks():
            ids.append(block.ids)
            persons.append(block.people)
            scores.append(self.head.logits(probe[None], block.vectors))
        best = _best_of_each(np.concatenate(persons), np.concatenate(scores), np.concatenate(ids))[:people]
        faces = self._read(np.concatenate(ids)[best])
        return faces, self.head.logits(probe[None], faces.vectors)

    def _refreshed(self) -> tuple[search.Projection, State]:
        """A projection of the gallery's present state: one row is read when nothing changed."""
>>>>>>> 1b4a46c (A gallery to a million faces: byte codes with proven bounds, tuned half-bytes, a digest that moves with each change)
        state = self._store.state
        if self._projection is not None and state == self._state:
            return self._projection, state
        with self._store.snapshot():
            state = self._store.state
            if state.model_file != (self.model.path.name if self.model.path else None):
                raise GalleryMismatch(f"The gallery {self.folder} was given another model meanwhile; open it again")
<<<<<<< HEAD
            self._owners = self._store.owners()
            self._photos = np.unique(self._owners[1], return_counts=True)[1]
            self._threshold = None
            self._names = self._store.names()
            head_id = self.model.head_fingerprint
            projection = search.load(self.folder, self._store, state, self.head, head_id)
            data = None
            if projection is None:
                kind = search.stored_kind(self.folder)
                projection, data = search.build(self._store, state, self.head, head_id, kind)
        self._projection, self._revision = projection, state.revision
=======
            head_id, data = self.model.head_fingerprint, None
            projection = self._projection
            if projection is None or not projection.follow(self._store, state, self.head):
                stale = search.read(self.folder, state, head_id)
                if stale is not None and stale.follow(self._store, state, self.head):
                    projection = stale
                else:
                    kind, coverage = search.stored_kind(self.folder), search.stored_coverage(self.folder)
                    projection, data = search.build(self._store, state, self.head, head_id, kind, coverage, stale)
        self._projection, self._state = projection, state
>>>>>>> 1b4a46c (A gallery to a million faces: byte codes with proven bounds, tuned half-bytes, a digest that moves with each change)
        if data is not None:
            self._keep(projection, data)
        return projection, state


def _best_of_each(people: np.ndarray, logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where each person's best face is, best first; of equals the one enrolled first."""
    order = np.lexsort((ids, -logits))
    return order[np.sort(np.unique(people[order], return_index=True)[1])]
