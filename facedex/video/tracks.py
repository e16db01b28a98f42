"""Faces followed from frame to frame: a track is one face over a stretch of a video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from facedex.decision.assignment import assign
from facedex.decision.calibration import Calibration
from facedex.faces.boxes import overlap
from facedex.faces.quality import Quality
from facedex.model.head import Head
from facedex.model.reader import EncodedFace

AWAY = 3.0  # seconds after which a face that is not seen has left, where frames are not further apart

_VIEWS = 5  # views of a face that count, those of the best quality
_SAME_PLACE = 0.3  # overlap of the boxes of a face that moves a little from one frame to the next
# Share of pairs of two people that pass for one face. Cuts put another person's face in the same place, so the place
# alone is no proof.
_FMR_THERE, _FMR_ELSEWHERE = 1e-2, 1e-4


@dataclass(frozen=True)
class View:
    """One face in one frame, with its aligned `crop`, (112, 112, 3) uint8 RGB."""

    seconds: float
    encoded: EncodedFace
    quality: Quality
    crop: np.ndarray


class Track:
    """One face over a stretch of a video.

    `times`: the seconds at which it was seen. `best`: the view of the best quality. `latest`: the last view.
    """

    def __init__(self, first: View) -> None:
        self.times: list[float] = []
        self.best = first
        self._faces: list[EncodedFace] = []
        self.add(first)

    def add(self, view: View) -> None:
        """The same face in a later frame."""
        self.times.append(view.seconds)
        self.latest = view
        if view.encoded.quality > self.best.encoded.quality:
            self.best = view
        self._faces = sorted([*self._faces, view.encoded], key=lambda face: -face.quality)[:_VIEWS]

    @property
    def vectors(self) -> np.ndarray:
        """The embeddings of the best views, (k, dim) float32."""
        return np.stack([face.vector for face in self._faces])

    @property
    def quality(self) -> float:
        """The geometric mean of the qualities of the best views."""
        return float(np.exp(np.mean([np.log(max(face.quality, 1e-9)) for face in self._faces])))

    def beside(self, other: Track) -> bool:
        """Whether both faces are in one frame, so that they are of two people."""
        return not set(self.times).isdisjoint(other.times)


def follow(frames: Iterable[Sequence[View]], head: Head, calibration: Calibration, away: float = AWAY) -> list[Track]:
    """The tracks of all faces. `frames`: the views of each frame with a face, in the order of time.

    A face continues the track whose face is alike enough. In the same place of the picture less suffices. A face that
    was not seen for more than `away` seconds begins a new track.
    """
    tracks: list[Track] = []
    near: list[Track] = []
    least = [calibration.threshold(1, fmr) for fmr in (_FMR_ELSEWHERE, _FMR_THERE)]
    for views in frames:
        near = [track for track in near if views[0].seconds - track.latest.seconds <= away]
        gains = [_gains(view, near, head, least) for view in views]
        chosen = assign(gains)
        for view, number in zip(views, chosen, strict=True):
            if number is not None:
                near[int(number)].add(view)
        begun = [Track(view) for view, number in zip(views, chosen, strict=True) if number is None]
        tracks += begun
        near += begun
    return tracks


def _gains(view: View, tracks: Sequence[Track], head: Head, least: Sequence[float]) -> dict[str, float]:
    """By how much a face is more alike than it must be, for each track that it may continue, by number."""
    gains = {}
    for number, track in enumerate(tracks):
        known = np.concatenate([track.vectors, track.latest.encoded.vector[None]])
        there = overlap(view.encoded.face.box, track.latest.encoded.face.box) > _SAME_PLACE
        gain = float(head.logits(view.encoded.vector[None], known).max()) - least[there]
        if gain >= 0:
            gains[str(number)] = gain
    return gains
