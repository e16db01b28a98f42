"""Name the faces of photos by a gallery; strangers stay unknown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facedex.decision.assignment import assign
from facedex.decision.calibration import Calibration
from facedex.decision.candidate import Candidate
from facedex.decision.posterior import CONTENDERS
from facedex.errors import FacedexError, PhotoError
from facedex.faces.boxes import Box, overlap, same_place
from facedex.faces.detector import FaceDetector
from facedex.faces.face import Face
from facedex.faces.quality import Quality
from facedex.model.reader import EncodedFace, FaceReader
from facedex.photos.inputs import PhotoInput, given_photos
from facedex.recognition.embedding import KnownPhoto, encode_ahead

FPIR = 0.01  # default share of strangers who are given a name
PRIOR = 0.5  # default probability that the person in a photo is enrolled

_PROBABLE = 0.1  # probability of a best candidate below the threshold who is worth a second look


@dataclass(frozen=True)
class Identification:
    """One face of a photo and the person it was given.

    name: the person, or None for a stranger.
    similarity, probability: those of the named person; for a stranger those of the best candidate.
    candidates: the most similar people. The named person is the first, the others follow by probability.
    quality: the measures of the face.
    reason: why a face has no name. It says what is wrong with the face, that the best candidate is another face of
        the photo, or that the best candidate is not certain enough. None for a stranger to all, and for a named face.
    confirmed: whether a person gave the name (KnownPhoto.names). `similarity` and `probability` are still those of
        recognition, which such a name need not please. They are 0, without candidates, where nobody of that name is
        enrolled by a photo.
    """

    face: Face
    name: str | None
    similarity: float
    probability: float
    candidates: tuple[Candidate, ...]
    quality: Quality | None = None
    reason: str | None = None
    confirmed: bool = False

    @property
    def box(self) -> Box:
        """Left, top, width and height in pixels of the upright photo."""
        return self.face.box

    @property
    def warning(self) -> str | None:
        """Why the stated rates may not hold for this face, such as a negative or a tint. None for an ordinary face."""
        return None if self.quality is None else self.quality.warning


@dataclass(frozen=True)
class Decision:
    """The threshold that names one photo's faces, and what it means.

    threshold: the least logit of a named face.
    fpir: the share of strangers who reach the threshold in a gallery of `people` people.
    fpir_low, fpir_high: the middle 90 % of the values that `fpir` may have, given the calibration's error.
        NaN when the model does not state that error.
    """

    threshold: float
    fpir: float
    fpir_low: float
    fpir_high: float
    people: int


@dataclass(frozen=True)
class IdentifiedPhoto:
    """The faces of one photo, the subject first, and the decision that named them.

    `photo`: its path, or what stands for a photo in memory (GivenPhoto.name). `error` says why there are no faces, and
    `exception` is that error. `remark`: what a user should know of the photo itself, such as that a part is missing.
    `pixels`, (height, width, 3) uint8 RGB, are there only with `keep_pixels`.
    """

    photo: str
    faces: tuple[Identification, ...] = ()
    error: str | None = None
    pixels: np.ndarray | None = None
    decision: Decision | None = None
    remark: str | None = None
    exception: FacedexError | None = field(default=None, repr=False, compare=False)


class SearchedGallery(Protocol):
    """What `identify` needs of a Gallery, whose methods these are."""

    def __len__(self) -> int: ...

    @property
    def detector(self) -> FaceDetector: ...

    calibration: Calibration

    def reader(self, device: str = "cpu") -> FaceReader: ...

    def match(
        self,
        vector: NDArray[np.float32],
        top: int = 5,
        prior: float = PRIOR,
        exhaustive: bool = False,
        shortlist: int = CONTENDERS,
        quality: float = 0.0,
    ) -> list[Candidate]: ...

    def threshold(self, fpir: float) -> float: ...

    def false_alarm_rate(self, threshold: float) -> tuple[float, float, float]: ...


def identify(
    gallery: SearchedGallery,
    photos: PhotoInput | Iterable[PhotoInput],
    *,
    top: int = 1,
    fpir: float = FPIR,
    prior: float = PRIOR,
    threshold: float | None = None,
    allow_repeat: bool = False,
    exhaustive: bool = False,
    keep_pixels: bool = False,
    device: str = "cpu",
) -> Iterator[IdentifiedPhoto]:
    """Name every face in every photo, or in one photo, in the order of the photos. `gallery`: a facedex.Gallery.

    A photo that cannot be used yields a result with an `error` and does not stop the others. Each photo is read when it
    is drawn from `photos`, up to 16 photos before its result is asked for. The names of a KnownPhoto, as
    `library.known_photos` gives them, win over recognition.

    top: the number of candidates to list for every face.
    fpir: a face is named when its best candidate reaches the threshold for this share of strangers. The threshold
        follows the gallery's size at the moment of the look-up.
    prior: the probability that the person in a photo is enrolled. It changes probabilities, never names.
    threshold: a logit that replaces the threshold for `fpir`.
    allow_repeat: two faces of a photo may have the same name. Otherwise the names are those that together exceed the
        threshold by most, and a face without another candidate above the threshold is unknown.
    exhaustive: the head scores everybody, without the index.
    keep_pixels: the results hold the pixels of the photos.
    device: "cpu", "cuda" or "mps"; the last two need the extra `train`.

    Raises ValueError for an `fpir` outside 0..1, ModelError for a model or detector that cannot be used.
    """
    if not 0 < fpir < 1:
        raise ValueError(f"fpir must lie between 0 and 1, not {fpir}")
    detector, unclear_length = gallery.detector, gallery.calibration.unclear
    decision: Decision | None = None
    load = partial(gallery.reader, device)
    with closing(encode_ahead(given_photos(photos), detector, load, keep_pixels)) as results:
        for photo, encoded in results:
            if isinstance(encoded, PhotoError):
                yield IdentifiedPhoto(photo.name, error=str(encoded), exception=encoded)
                continue
            candidates = [
                gallery.match(face.vector, max(top, CONTENDERS), prior, exhaustive, quality=face.quality)
                for face in encoded.faces
            ]
            confirmed: dict[int, str] = {}
            if isinstance(photo, KnownPhoto):
                candidates = _without_refused(photo, encoded.faces, candidates)
                confirmed = _confirmed(gallery, photo, encoded.faces, candidates, prior)
            # The threshold is asked for after the look-up, so that it counts everybody whom the look-up could find
            # when another process enrolls people meanwhile.
            least_logit = gallery.threshold(fpir) if threshold is None else threshold
            names = _choose_names(candidates, least_logit, allow_repeat, confirmed)
            if not allow_repeat:
                candidates = _without_other_faces(candidates, names)
            if decision is None or (decision.threshold, decision.people) != (least_logit, len(gallery)):
                decision = Decision(least_logit, *gallery.false_alarm_rate(least_logit), len(gallery))
            faces = [
                identification(face.face, quality, ranked, name, top, least_logit, unclear_length)
                for face, quality, ranked, name in zip(encoded.faces, encoded.qualities, candidates, names, strict=True)
            ]
            for index in confirmed:
                faces[index] = replace(faces[index], confirmed=True)
            yield IdentifiedPhoto(photo.name, tuple(faces), None, encoded.pixels, decision, encoded.remark)


def _without_refused(
    photo: KnownPhoto, faces: list[EncodedFace], candidates: list[list[Candidate]]
) -> list[list[Candidate]]:
    """Each face's candidates without the names that a person refused it. P(i | not j) = P_i / (1 - P_j)."""
    kept = list(candidates)
    for box, name in photo.refused:
        index = _face_at(faces, box)
        if index is None:
            continue
        rest = [one for one in kept[index] if name is not None and one.name != name]
        remaining = max(1e-12, 1 - sum(one.probability for one in kept[index] if one not in rest))
        kept[index] = [replace(one, probability=min(1.0, one.probability / remaining)) for one in rest]
    return kept


def _face_at(faces: list[EncodedFace], box: Box) -> int | None:
    """The number of the face in the same place as a box, from 0."""
    index = max(range(len(faces)), key=lambda one: overlap(faces[one].face.box, box), default=None)
    return index if index is not None and same_place(faces[index].face.box, box) else None


def _confirmed(
    gallery: SearchedGallery,
    photo: KnownPhoto,
    faces: list[EncodedFace],
    candidates: list[list[Candidate]],
    prior: float,
) -> dict[int, str]:
    """The names that a person gave to faces of this photo, by the number of the face from 0.

    Each such person is added to the face's candidates, where recognition has not found her and she is enrolled.
    """
    confirmed: dict[int, str] = {}
    for box, name in photo.names:
        index = _face_at(faces, box)
        if index is None:
            continue
        ranked, face = candidates[index], faces[index]
        if ranked and all(candidate.name != name for candidate in ranked):
            everybody = gallery.match(face.vector, len(gallery), prior, True, quality=face.quality)
            ranked += [candidate for candidate in everybody if candidate.name == name]
        confirmed[index] = name
    return confirmed


def _choose_names(
    candidates: list[list[Candidate]], threshold: float, allow_repeat: bool, confirmed: dict[int, str]
) -> list[str | None]:
    """The name of each face of one photo, None for a face without a candidate at or above the threshold.

    `confirmed`: names of faces, by number, that stand. No other face gets them, unless names may be repeated.
    """
    taken = set() if allow_repeat else set(confirmed.values())
    excess = [
        {one.name: one.logit - threshold for one in ranked if one.logit >= threshold and one.name not in taken}
        if index not in confirmed
        else {}
        for index, ranked in enumerate(candidates)
    ]
    names = [next(iter(found), None) for found in excess] if allow_repeat else assign(excess)
    return [confirmed.get(index, name) for index, name in enumerate(names)]


def _without_other_faces(candidates: list[list[Candidate]], names: list[str | None]) -> list[list[Candidate]]:
    """Each face's candidates, given the names of the photo's other faces.

    The person of another face is not this face's person, so P(i | not j) = P_i / (1 - P_j).
    """
    conditional = []
    for index, ranked in enumerate(candidates):
        others = {name for other, name in enumerate(names) if other != index and name is not None} - {names[index]}
        remaining = max(1e-12, 1 - sum(candidate.probability for candidate in ranked if candidate.name in others))
        conditional.append(
            [
                replace(
                    candidate,
                    probability=0.0 if candidate.name in others else min(1.0, candidate.probability / remaining),
                )
                for candidate in ranked
            ]
        )
    return conditional


def identification(
    face: Face,
    quality: Quality,
    candidates: list[Candidate],
    name: str | None,
    top: int,
    threshold: float,
    unclear_length: float,
) -> Identification:
    """The result for one face: its name, or the reason why it has none."""
    if name is not None and all(candidate.name != name for candidate in candidates):
        return Identification(face, name, 0.0, 0.0, (), quality)  # somebody named the face, and enrolled no photo
    reason = quality.reason(unclear_length) if name is None else None
    if not candidates:
        return Identification(face, None, 0.0, 0.0, (), quality, reason)
    best = next((candidate for candidate in candidates if candidate.name == name), candidates[0])
    if name is None and best.logit >= threshold:
        reason = f"{best.name} is another face beside this one"
    elif name is None and reason is None and best.probability >= _PROBABLE:
        reason = f"may be {best.name}, which is not certain enough for a name"
    listed = (best, *(candidate for candidate in candidates if candidate is not best))[:top]
    return Identification(face, name, best.similarity, best.probability, listed, quality, reason)
