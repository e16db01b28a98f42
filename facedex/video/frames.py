"""Video files to frames, by OpenCV's FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from facedex.errors import VideoUnusable
from facedex.opencv import cv2
from facedex.photos.inputs import GivenPhoto
from facedex.threads import quiet
from facedex.wording import clock

SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv",
)  # fmt: skip

# FFmpeg writes faults of files on stderr. It reads this level when the first file is opened; -8 is silence.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_COMPLETE = 0.98  # of the frames that the header states. Headers are often wrong by a few frames


class Frame(GivenPhoto):
    """One frame of a video. `seconds`: its time from the start of the video."""

    def __init__(self, video: str, seconds: float, pixels: np.ndarray) -> None:
        """`pixels`: (height, width, 3) uint8 RGB."""
        super().__init__(f"{video} at {clock(seconds)}", held=pixels)
        self.seconds = seconds


class VideoFile:
    """An open video file.

    `seconds`: how long the video is, as the header says; 0 where it does not. `remark`: what a user should know of the
    file, such as that its end is missing; known after the last frame.
    """

    def __init__(self, path: str) -> None:
        """Raises VideoUnusable for a file that is missing or no video."""
        self.path, self.remark = path, ""
        if not os.path.isfile(path):
            raise VideoUnusable(f"{path} does not exist, or is no file; check the path")
        # FFmpeg takes names such as http:… for addresses. An absolute path is always a file.
        with quiet():
            self._capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise VideoUnusable(f"{path} cannot be read as a video; convert it to MP4 (H.264) first")
        self._rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._stated = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.seconds = self._stated / self._rate if self._rate > 0 else 0.0

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._capture.release()

    def frames(self, every: float) -> Iterator[Frame]:
        """The first frame and then one every so many seconds, upright. Raises VideoUnusable where there is none."""
        read, following, seconds = 0, 0.0, 0.0
        while self._capture.grab():
            # Not every file has times. The number of the frame stands in for a time that does not grow.
            stated = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            counted = read / self._rate if self._rate > 0 else float(read)
            seconds = stated if stated > seconds or not read else max(seconds, counted)
            read += 1
            if seconds < following:
                continue
            following = max(following + every, seconds + every / 2)
            good, pixels = self._capture.retrieve()
            if good:
                yield Frame(self.path, seconds, np.ascontiguousarray(pixels[..., ::-1]))
        if not read:
            raise VideoUnusable(f"{self.path} holds no frame that can be read; convert it to MP4 (H.264) first")
        if read < _COMPLETE * self._stated - 1:
            self.remark = f"the video breaks off at {clock(seconds)} of {clock(self.seconds)}"
