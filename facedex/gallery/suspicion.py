"""Photos that may show somebody else than their name says, and pairs of people who may be one.

Stored embeddings alone are compared; no photo is read again. Similar people are found through the index, so the time
grows with the number of faces and not with its square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedex.decision.calibration import Calibration
from facedex.decision.candidate import Candidate
from facedex.decision.fusion import fuse
from facedex.model.head import Head
from facedex.photos.sources import source_path
from facedex.store import expiry
from facedex.store.store import Store

_PEOPLE = 256  # people read together
_COMPARED = 200  # photos of one person, at most, that each of the person's photos is compared with


@dataclass(frozen=True)
class Suspicion:
    """One photo, or one pair of people, to look at.

    kind: "unlike" (the photo does not resemble the person's other photos), "other" (the photo resembles another person
        more than its own name), "same" (the two people may be one).
    name: the person. photo: path of the photo when it was enrolled; of a pair the photo most like `other`.
    other: the person whom the photo resembles, None where it is nobody enrolled.
    photos: how many photos the person has.
    similarity: that of the photo with the person's other photos, None for a person with one photo.
    other_similarity: that of the photo with `other`; of a pair that of the two people. None where `other` is None.
    false_warnings: the share of people with right photos whom so suspicious a score would concern by mistake.
    face: the id of the face in the photo.
    """

    kind: str
    name: str
    photo: str
    other: str | None
    photos: int
    similarity: float | None
    other_similarity: float | None
    false_warnings: float
    face: int

    @property
    def reason(self) -> str:
        """The suspicion in words, without the photo's path."""
        like = "" if self.other is None else f"resembles {self.other} (similarity {self.other_similarity:.1%})"
        if self.kind == "same":
            return f"{self.name} and {self.other} may be one person (similarity {self.other_similarity:.1%})"
        if self.kind == "other":
            own = "" if self.similarity is None else f" more than {self.name} ({self.similarity:.1%})"
            return f"{like}{own}; it may show {self.other}"
        rest = "the other photo" if self.photos == 2 else f"the other {self.photos - 1} photos"
        seen = f"does not resemble {rest} of {self.name} (similarity {self.similarity:.1%})"
        return f"{seen} and {like}; it may show {self.other}" if like else f"{seen}; it may show somebody else"


# From a face, the face ids of its person and the person's name, to another person whom it resembles much, if any.
Other = Callable[[NDArray[np.float32], NDArray[np.int64], str], Candidate | None]


@dataclass(frozen=True)
class _Photo:
    """One face of a person: its id, its photo's path, its score with the others, and the other person it is like."""

    name: str
    face: int
    photo: str
    photos: int
    score: float | None
    other: Candidate | None


class Examination:
    """Compares the photos of people with each other and with everybody else.

    `other` finds the other person whom a face resembles with a logit of `threshold` or more. The best of the enrolled
    strangers has such a logit for a share `rate` of faces, and any logit for the share `false_alarms` of it.
    """

    def __init__(
        self,
        store: Store,
        head: Head,
        calibration: Calibration,
        other: Other,
        threshold: float,
        rate: float,
        false_alarms: Callable[[float], float],
    ) -> None:
        self._store, self._head, self._calibration, self._other = store, head, calibration, other
        self._threshold, self._rate, self._false_alarms = threshold, rate, false_alarms

    def suspicions(self, people: dict[int, str]) -> list[Suspicion]:
        """What is suspicious about these people (names by id), most suspicious first."""
        found: list[tuple[float, Suspicion]] = []  # each with how far its score lies beyond what is usual
        pairs: dict[tuple[str, str], _Photo] = {}
        for name, faces, vectors in self._each(list(people)):
            for logit, suspicion, photo in self._person(name, faces, vectors):
                if suspicion is not None:
                    found.append((logit, suspicion))
                if photo.other is not None:
                    first, second = sorted((name, photo.other.name))
                    best = pairs.get((first, second))
                    if best is None or best.other is None or photo.other.logit > best.other.logit:
                        pairs[first, second] = photo
        same = dict(self._same(pairs))
        kept = [
            (logit, one)
            for logit, one in found
            if one.kind == "unlike" or tuple(sorted((one.name, str(one.other)))) not in same
        ]
        kept += same.values()
        return [one for _, one in sorted(kept, key=lambda pair: (pair[1].false_warnings, -pair[0]))]

    def _each(self, people: Sequence[int]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
        """Name, ids of faces (n,) and vectors (n, dim) of each person who is still enrolled."""
        for start in range(0, len(people), _PEOPLE):
            faces = self._store.faces_of(people[start : start + _PEOPLE]).valid(expiry.today())
            order = np.lexsort((faces.ids, faces.people))
            for mine in np.split(order, np.flatnonzero(np.diff(faces.people[order])) + 1):
                if len(mine):
                    yield faces.names[mine[0]], faces.ids[mine], faces.vectors[mine]

    def _person(
        self, name: str, faces: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> Iterator[tuple[float, Suspicion | None, _Photo]]:
        """Each photo of a person that is suspicious or much like another person, with how suspicious it is."""
        scores, rates = self._own(vectors)
        for face, vector, score, rate in zip(faces.tolist(), vectors, scores.tolist(), rates, strict=True):
            other = self._other(vector, faces, name)
            if other is None and rate is None:
                continue
            own = score if len(faces) > 1 else None
            photo = _Photo(name, face, source_path(self._store.described(face)[0]), len(faces), own, other)
            if rate is not None:
                yield -score, self._suspicion("unlike", photo, rate), photo
            elif other is not None and (own is None or other.logit > own):
                yield other.logit, self._suspicion("other", photo, self._false_alarms(other.logit)), photo
            else:
                yield 0.0, None, photo

    def _suspicion(self, kind: str, photo: _Photo, rate: float, score: float | None = None) -> Suspicion:
        """The suspicion about a photo. `score`: that of a pair, in place of the photo's with the other person."""

        def similarity(logit: float | None) -> float | None:
            return None if logit is None else float(self._calibration.similarity(logit))

        other = photo.other
        if score is None and other is not None:
            score = other.logit
        own = similarity(photo.score)
        name = None if other is None else other.name
        return Suspicion(kind, photo.name, photo.photo, name, photo.photos, own, similarity(score), rate, photo.face)

    def _own(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], list[float | None]]:
        """For n photos of a person: the fused score of each with the others (n,), and the rate of each misfit.

        The rate is that of Calibration.misfit_rate, and None for a photo that fits. A photo that does not fit is left
        out when the others are compared again, so that several wrong photos are found one after the other.
        """
        count = len(vectors)
        rates: list[float | None] = [None] * count
        scores = np.zeros(count)
        columns = _some(count)
        logits = self._head.pairwise(vectors, vectors[columns]).astype(np.float64)
        logits[columns, np.arange(len(columns))] = -np.inf  # not with itself
        rows = np.arange(count)
        while len(rows) > 1 and len(columns) > 1:
            # The photo itself is among the compared ones, and counts as none.
            itself = np.isin(rows, columns)
            scores[rows] = fuse(logits[rows]) + np.where(itself, np.log(len(columns) / (len(columns) - 1)), 0.0)
            worst = int(rows[::-1][scores[rows[::-1]].argmin()])  # of two photos the newer
            rate = self._calibration.misfit_rate(float(scores[worst]), len(rows))
            if rate > self._rate:
                break
            rates[worst] = rate
            rows = rows[rows != worst]
            logits, columns = logits[:, columns != worst], columns[columns != worst]
        return scores, rates

    def _same(self, pairs: dict[tuple[str, str], _Photo]) -> Iterator[tuple[tuple[str, str], tuple[float, Suspicion]]]:
        """The pairs of people who may be one, by their names.

        Each must resemble the other in the mean over all photos. One wrong photo does not make two people one.
        """
        if not pairs:
            return
        wanted = {name for pair in pairs for name in pair}
        ids = {name: person for person, name in self._store.names().items() if name in wanted}
        for (first, second), photo in pairs.items():
            if first not in ids or second not in ids:
                continue  # renamed or removed this moment
            a, b = (self._some_vectors(ids[name]) for name in (first, second))
            logits = self._head.pairwise(a, b).astype(np.float64)
            score = min(float(fuse(logits, axis).mean()) for axis in (0, 1))
            if score >= self._threshold:
                yield (first, second), (score, self._suspicion("same", photo, self._false_alarms(score), score))

    def _some_vectors(self, person: int) -> NDArray[np.float32]:
        """Vectors (n, dim) of a person's photos, or of some of many."""
        vectors = self._store.faces_of([person]).valid(expiry.today()).vectors
        return vectors[_some(len(vectors))]


def _some(count: int) -> NDArray[np.int64]:
    """Positions of at most _COMPARED photos of `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, _COMPARED)).astype(np.int64))


def ids_of(store: Store, names: Iterable[str]) -> dict[int, str]:
    """Names by id of the people with these names, or of everybody. Raises PersonNotFound."""
    everybody = store.names()
    wanted = {store.stored_name(name) for name in names}
    return {person: name for person, name in everybody.items() if name in wanted} if wanted else everybody
