"""Looking up: a probe embedding to the most similar enrolled people, at the gallery's present state.

The projection gives a shortlist of distinct people; the head decides, on the exact vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedex import search
from facedex.calibrate import CONTENDERS, Calibration
from facedex.errors import GalleryMismatch
from facedex.fusion import fuse_people
from facedex.head import Head
from facedex.modelfile import ModelFile
from facedex.store import Store


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
        self._revision = -1
        self._threshold: tuple[Calibration, float, float] | None = None

    def __len__(self) -> int:
        """How many faces are enrolled."""
        self._refresh()
        return len(self._owners[0])

    def match(
        self, vector: np.ndarray, calibration: Calibration, top: int, prior: float, exhaustive: bool, shortlist: int
    ) -> list[Candidate]:
        """See Gallery.match."""
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
        self._revision = -1

    def _shortlist(self, vector: np.ndarray, people: int) -> np.ndarray:
        """Face ids that hold the nearest `people` distinct persons, or everybody when there are fewer."""
        assert self._projection is not None
        z = self.head.project(np.asarray(vector, np.float32)[None])[0]
        total = len(self._projection)
        people = min(people, len(self._names))
        k = min(total, 2 * people)
        while True:
            _, ids = self._projection.search(z, k)
            owners = self._owners[1][np.searchsorted(self._owners[0], ids)]
            if k >= total or len(np.unique(owners)) >= people:
                return ids
            k = min(total, 2 * k)

    def _all_photos(self, ids: np.ndarray) -> np.ndarray:
        """These faces, and all others of the same people: a score is fused from all of somebody's photos."""
        if len(self._photos) == len(self._owners[0]):
            return ids
        owners = self._owners[1][np.searchsorted(self._owners[0], ids)]
        return self._owners[0][np.isin(self._owners[1], owners)]

    def _refresh(self) -> None:
        """Bring this reader to the gallery's present state: one row is read when nothing changed."""
        state = self._store.state
        if state.revision == self._revision:
            return
        with self._store.snapshot():
            state = self._store.state
            if state.model_file != (self.model.path.name if self.model.path else None):
                raise GalleryMismatch(f"The gallery {self.folder} was given another model meanwhile; open it again")
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
        if data is not None:
            self._keep(projection, data)
