"""Who appears in a video, and when."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np

from facedex.decision.candidate import Candidate
from facedex.decision.posterior import CONTENDERS
from facedex.errors import FacedexError, PhotoError, VideoUnusable
from facedex.model.head import Head
from facedex.recognition.embedding import encode_ahead
from facedex.recognition.identification import (
    FPIR,
    PRIOR,
    Decision,
    Identification,
    SearchedGallery,
    identification,
)
from facedex.video.frames import Frame, VideoFile
from facedex.video.tracks import AWAY, Track, View, follow

EVERY = 0.5  # seconds between two frames that are looked at

Progress = Callable[[float, float], None]  # called with the seconds done and the seconds of the whole video


@dataclass(frozen=True)
class Appearance:
    """One person over a stretch of a video.

    start, end: seconds from the start of the video. frames: the number of frames in which the face was seen.
    at: the seconds of the clearest view. `face` has the box of that view, the name and the candidates, and `crop` is
    that view aligned, (112, 112, 3) uint8 RGB.
    """

    start: float
    end: float
    frames: int
    at: float
    face: Identification
    crop: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class IdentifiedVideo:
    """The appearances of one video by their start, and the decision that named them.

    `seconds`: how long the video is, as its header says; 0 where it does not. `error` says why there are no
    appearances, and `exception` is that error. `remark`: what a user should know of the file itself.
    """

    video: str
    seconds: float = 0.0
    appearances: tuple[Appearance, ...] = ()
    error: str | None = None
    decision: Decision | None = None
    remark: str | None = None
    exception: FacedexError | None = field(default=None, repr=False, compare=False)


class WatchingGallery(SearchedGallery, Protocol):
    """What `identify_videos` needs of a Gallery."""

    head: Head


def identify_videos(
    gallery: WatchingGallery,
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    every: float = EVERY,
    top: int = 1,
    fpir: float = FPIR,
    prior: float = PRIOR,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Iterator[IdentifiedVideo]:
    """Tell who appears in each video file, and when. `gallery`: a facedex.Gallery.

    A face is followed from frame to frame, and its clearest views are looked up together (Gallery.match). Two faces of
    one frame never have one name. Stretches of one name are one appearance where no more than AWAY seconds,
    or twice `every`, lie between them.
    A video that cannot be used yields a result with an `error` and does not stop the others.

    every: the seconds between two frames that are looked at; whoever is seen for less time may be missed.
    top, fpir, prior, device: as for facedex.identify. The share of strangers counts stretches, not frames.
    progress: called while a video is read.

    Raises ValueError for an `every` that is not above 0 or an `fpir` outside 0..1, ModelError for a model or detector
    that cannot be used.
    """
    if not 0 < fpir < 1:
        raise ValueError(f"fpir must lie between 0 and 1, not {fpir}")
    if not 0 < every < np.inf:
        raise ValueError(f"every must be a number of seconds above 0, not {every}")
    for video in [videos] if isinstance(videos, str | os.PathLike) else videos:
        path = os.fspath(video)
        try:
            yield _identified(gallery, path, every, top, fpir, prior, device, progress)
        except VideoUnusable as error:
            yield IdentifiedVideo(path, error=str(error), exception=error)


def _identified(
    gallery: WatchingGallery,
    path: str,
    every: float,
    top: int,
    fpir: float,
    prior: float,
    device: str,
    progress: Progress | None,
) -> IdentifiedVideo:
    """Raises VideoUnusable."""
    with VideoFile(path) as video, closing(_views(gallery, video, every, device, progress)) as views:
        away = max(AWAY, 2 * every)
        tracks = follow(views, gallery.head, gallery.calibration, away)
    ranked = [gallery.match(track.vectors, max(top, CONTENDERS), prior, quality=track.quality) for track in tracks]
    threshold = gallery.threshold(fpir)
    decision = Decision(threshold, *gallery.false_alarm_rate(threshold), len(gallery))
    names = _choose_names(tracks, ranked, threshold)
    appearances = [
        Appearance(
            track.times[0],
            track.times[-1],
            len(track.times),
            track.best.seconds,
            identification(
                track.best.encoded.face,
                track.best.quality,
                candidates,
                name,
                top,
                threshold,
                gallery.calibration.unclear,
            ),
            track.best.crop,
        )
        for track, candidates, name in zip(tracks, ranked, names, strict=True)
    ]
    return IdentifiedVideo(path, video.seconds, tuple(_joined(appearances, away)), None, decision, video.remark or None)


def _views(
    gallery: WatchingGallery, video: VideoFile, every: float, device: str, progress: Progress | None
) -> Generator[list[View], None, None]:
    """The faces of each frame. Raises VideoUnusable."""
    with closing(encode_ahead(video.frames(every), gallery.detector, partial(gallery.reader, device))) as frames:
        for frame, encoded in frames:
            assert isinstance(frame, Frame)
            if progress:
                progress(frame.seconds, video.seconds)
            if not isinstance(encoded, PhotoError):
                faces = zip(encoded.faces, encoded.qualities, encoded.crops, strict=True)
                yield [View(frame.seconds, *face) for face in faces]


def _choose_names(tracks: Sequence[Track], ranked: Sequence[list[Candidate]], threshold: float) -> list[str | None]:
    """The name of each track, the surest first. A name that a face in the same frame has is taken."""
    names: list[str | None] = [None] * len(tracks)
    best = [candidates[0].logit if candidates else -np.inf for candidates in ranked]
    for number in sorted(range(len(tracks)), key=lambda one: -best[one]):
        passing = [one.name for one in ranked[number] if one.logit >= threshold]
        taken = {name for other, name in enumerate(names) if name in passing and tracks[number].beside(tracks[other])}
        names[number] = next((name for name in passing if name not in taken), None)
    return names


def _joined(appearances: Iterable[Appearance], away: float) -> list[Appearance]:
    """Appearances by their start; those of one name that follow each other within `away` seconds are one."""
    joined: list[Appearance] = []
    latest: dict[str, int] = {}
    for one in sorted(appearances, key=lambda appearance: appearance.start):
        before = latest.get(one.face.name) if one.face.name else None
        if before is not None and one.start - joined[before].end <= away:
            earlier = joined[before]
            clearer = max(earlier, one, key=lambda appearance: appearance.face.probability)
            joined[before] = replace(
                clearer, start=earlier.start, end=max(earlier.end, one.end), frames=earlier.frames + one.frames
            )
            continue
        if one.face.name:
            latest[one.face.name] = len(joined)
        joined.append(one)
    return joined
