"""Photos to names, and two photos to one answer."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from facedex.decision.assignment import assign
from facedex.decision.posterior import CONTENDERS
from facedex.errors import FacedexError, NoFace
from facedex.faces import alignment
from facedex.faces.face import Face
from facedex.faces.quality import Quality
from facedex.gallery.gallery import Gallery
from facedex.gallery.lookup import Candidate
from facedex.model.reader import EncodedFace
from facedex.photos import images
from facedex.threads import side_by_side

FPIR = 0.01  # of strangers who are given a name, unless the caller says otherwise
PRIOR = 0.5  # that whoever is in the photo is enrolled at all

_AHEAD = 16  # photos whose faces are looked for before they are asked for

T = TypeVar("T")


@dataclass(frozen=True)
class Identification:
    """One face of a photo. `name` is None for a stranger; `similarity` and `probability` are then the best
    candidate's. `candidates` are the most similar people, whoever is named first, then best first.

    `reason`: in words, for whom has no name: what is wrong with the face, or that another face of the photo is the
    best candidate. `quality` tells the face's measures.
    """

    face: Face
    name: str | None
    similarity: float
    probability: float
    candidates: tuple[Candidate, ...]
    quality: Quality | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Decision:
    """What a face had to pass: the logit `threshold`, the `fpir` that it stands for among `people` enrolled, and the
    middle 90 % of what it may be, given the calibration's error (NaN where the model does not state it).
    """

    threshold: float
    fpir: float
    fpir_low: float
    fpir_high: float
    people: int


@dataclass(frozen=True)
class IdentifiedPhoto:
    """All faces of one photo, the subject first, or why there are none, and by what they were decided. `pixels` (height,
    width, 3) uint8 RGB only where kept.
    """

    photo: str
    faces: tuple[Identification, ...] = ()
    error: str | None = None
    pixels: np.ndarray | None = None
    decision: Decision | None = None


def identify(
    gallery: Gallery,
    photos: Iterable[str | os.PathLike[str]],
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
    """Name every face in every photo, in order. A photo that cannot be used yields its error, never raises.

    A face gets a name when its best candidate passes the threshold at which a stranger would be named with
    probability `fpir`, at the gallery's size when the photo is looked at; or passes `threshold`, a logit, if given.
    Two faces of one photo are never given one name unless `allow_repeat`: the names are those that together pass
    the threshold by most, and a face that is left with no candidate above it is unknown. `exhaustive` scores
    everybody with the head, without the index. Raises ValueError for a rate outside 0..1.
    """
    if not 0 < fpir < 1:
        raise ValueError(f"fpir must lie between 0 and 1, not {fpir}")

    detector, unclear = gallery.detector, gallery.calibration.unclear
    names = (os.fspath(photo) for photo in photos)
    with side_by_side(1) as pool:
        loading = pool.submit(gallery.reader, device)  # the network, while the first photos are read

        def find(photo: str) -> _Found | FacedexError:
            try:
                pixels = images.decode(images.read_bytes(photo), photo)
                faces = detector.detect(pixels)
                if not faces:
                    raise NoFace(f"{photo} shows no face that could be found; use a clearer photo")
                crops = [alignment.align(pixels, face.landmarks) for face in faces]
            except FacedexError as error:
                return error
            encoded = loading.result().encode_crops(crops, faces)
            return _Found(
                encoded,
                [Quality.of(face, crop, one.quality) for face, crop, one in zip(faces, crops, encoded, strict=True)],
                pixels if keep_pixels else None,
            )

        decision: Decision | None = None
        for photo, future in _ahead(names, lambda photo: pool.submit(find, photo)):
            loading.result()  # before anything is said: without it nothing can be
            found = future.result()
            if isinstance(found, FacedexError):
                yield IdentifiedPhoto(photo, error=str(found))
                continue
            matches = [
                gallery.match(one.vector, max(top, CONTENDERS), prior, exhaustive, quality=one.quality)
                for one in found.encoded
            ]
            # After the look-up, so that a gallery that another process enlarges meanwhile is counted whole.
            least = gallery.threshold(fpir) if threshold is None else threshold
            chosen = _choose(matches, least, allow_repeat)
            if not allow_repeat:
                matches = _given(matches, chosen)
            named = tuple(
                _decided(one.face, quality, candidates, name, top, least, unclear)
                for one, quality, candidates, name in zip(found.encoded, found.qualities, matches, chosen, strict=True)
            )
            if decision is None or (decision.threshold, decision.people) != (least, len(gallery)):
                decision = Decision(least, *gallery.false_alarm_rate(least), len(gallery))
            yield IdentifiedPhoto(photo, named, None, found.pixels, decision)


@dataclass(frozen=True)
class _Found:
    """The faces of one photo, encoded, with their measures."""

    encoded: list[EncodedFace]
    qualities: list[Quality]
    pixels: np.ndarray | None


def _ahead(names: Iterator[str], start: Callable[[str], Future[T]]) -> Iterator[tuple[str, Future[T]]]:
    """Each name with what `start` returns for it, which is called for some names ahead."""
    waiting: deque[tuple[str, Future[T]]] = deque()
    for name in names:
        waiting.append((name, start(name)))
        if len(waiting) > _AHEAD:
            yield waiting.popleft()
    yield from waiting


def _choose(matches: list[list[Candidate]], threshold: float, allow_repeat: bool) -> list[str | None]:
    """The name of each face of one photo."""
    passing = [{c.name: c.logit - threshold for c in candidates if c.logit >= threshold} for candidates in matches]
    if allow_repeat:
        return [next(iter(options), None) for options in passing]
    return assign(passing)


def _given(matches: list[list[Candidate]], chosen: list[str | None]) -> list[list[Candidate]]:
    """Each face's candidates, given that the others have the names chosen for them: whoever is another face of the photo
    is not this one, so P(i | not j) = P_i / (1 - P_j).
    """
    out = []
    for at, candidates in enumerate(matches):
        taken = {name for other, name in enumerate(chosen) if other != at and name is not None}
        left = max(1e-12, 1 - sum(one.probability for one in candidates if one.name in taken))
        out.append(
            [
                replace(one, probability=0.0 if one.name in taken else min(1.0, one.probability / left))
                for one in candidates
            ]
        )
    return out


def _decided(
    face: Face,
    quality: Quality,
    candidates: list[Candidate],
    name: str | None,
    top: int,
    threshold: float,
    unclear: float,
) -> Identification:
    reason = quality.reason(unclear) if name is None else None
    if not candidates:
        return Identification(face, None, 0.0, 0.0, (), quality, reason)
    best = next((one for one in candidates if one.name == name), candidates[0])
    if name is None and best.logit >= threshold:
        reason = f"{best.name} is another face of this photo"
    listed = (best, *(one for one in candidates if one is not best))[:top]
    return Identification(face, name, best.similarity, best.probability, listed, quality, reason)
