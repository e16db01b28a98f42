"""Scans a photo library on and on, as photos arrive, change, move or go.

The folders are listed again and again. Notices of the system would be quicker, but they need a package and do
not come from network drives. They are lost in containers, and when their queue is full. Listing finds every change
there, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from facedex.errors import PhotoError
from facedex.gallery.gallery import Gallery
from facedex.library.forgetting import forget
from facedex.library.groups import FaceGroup, cluster
from facedex.library.scan import ScannedPhoto, check_place, scan, vanished
from facedex.photos.listing import find_photos, is_gone
from facedex.photos.sources import Paths, several, source_path

_STILL = 5.0  # seconds without a change, by a file's own time, after which it is no longer being written
_QUIET = 60.0  # seconds without news, after which faces are grouped
_PAUSE = 2.0  # seconds between two listings
_SHARE = 10  # listings take at most one part in so many of the time

_Stamp = tuple[int, int]  # size in bytes and time of change in ns


@dataclass(frozen=True)
class Grouped:
    """What a quiet minute led to: the groups without a name, and how many photos and faces were forgotten."""

    groups: tuple[FaceGroup, ...]
    photos: int
    faces: int


class Watch:
    """A scan that goes on. Call `look`, `scan`, `gone` and `settle` in turn, and sleep for `pause` seconds.

    A photo is read once it is as the last listing saw it and nobody has written to it for five seconds. Photos that
    are gone are told. They are forgotten only if `forgets` is set, after a quiet minute, and where their folder still
    holds another photo: a folder whose photos are all gone may be a disk that is not mounted.
    What is kept in memory grows with the library, and not with time.
    """

    def __init__(self, gallery: Gallery, places: Paths, device: str = "cpu", forgets: bool = False) -> None:
        """`places`: folders, which may be empty, and photos. Raises DataError, as `list_photos`."""
        self._gallery, self._device, self._forgets = gallery, device, forgets
        self._places: list[str] = []
        for place in several(places):
            check_place(place)
            self._places.append(os.path.abspath(place))
        self.away: dict[str, str] = {}  # places that the last listing could not see, and why
        self.pause = _PAUSE
        self._found: dict[str, _Stamp] = {}  # as the last listing saw every file
        self._handled: dict[str, _Stamp] = {}  # as every file was scanned
        self._gone: set[str] = set()  # sources that were told
        self._lost, self._news, self._first = True, False, True
        self._last_news = time.monotonic()

    def look(self) -> list[str]:
        """List the folders; returns the files that are ready to be scanned.

        Raises PhotoUnreadable for a folder that cannot be listed at the first time. Later it is in `away`.
        """
        start, before = time.monotonic(), self._found
        found: dict[str, _Stamp] = {}
        away: dict[str, str] = {}
        for place in self._places:
            try:
                found.update(_stamps(place))
            except PhotoError as error:  # it is gone, or a part of it: nothing follows from what was seen
                if self._first:
                    raise
                away[place] = str(error)
        self.away = away
        kept = {path: stamp for path, stamp in before.items() if path not in found and _inside(path, away)}
        self._found = {**kept, **found}
        if handled := self._handled.keys() - self._found.keys():
            self._lost = True
            for path in handled:
                del self._handled[path]
        changed = [path for path, stamp in found.items() if self._handled.get(path) != stamp]
        seen = found if self._first else before
        ready = [path for path in changed if seen.get(path) == found[path] and _is_still(found[path])]
        self._first = False
        self.pause = max(_PAUSE, _SHARE * (time.monotonic() - start))
        return ready

    def scan(self, ready: list[str]) -> Iterator[ScannedPhoto]:
        """Scan the files of `look`, as `library.scan` does. Raises what it raises; the next `look` names the rest."""
        for result in scan(self._gallery, ready, self._device) if ready else ():
            self._handled[result.photo] = self._found[result.photo]
            if result.status not in ("known", "skipped"):
                self._tell()
            yield result

    def gone(self) -> Iterator[ScannedPhoto]:
        """The scanned photos that are gone since the last call, but for those that `scan` found elsewhere."""
        self._gone = {source for source in self._gone if is_gone(source_path(source))}
        if self._lost:
            self._lost = False
            for source in vanished(self._gallery.library, [one for one in self._places if one not in self.away]):
                if source not in self._gone:
                    self._gone.add(source)
                    self._tell()
                    yield ScannedPhoto(source_path(source), "gone")

    def settle(self) -> Grouped | None:
        """After a quiet minute, forget what is gone and group the faces; None while there are news, or none at all.

        Raises GalleryBusy; the next call tries again.
        """
        if not self._news or time.monotonic() - self._last_news < _QUIET:
            return None
        photos = faces = 0
        if self._forgets and (certain := self._certainly_gone()):
            photos, faces = forget(self._gallery, certain)
            self._gone -= certain
        groups = tuple(group for group in cluster(self._gallery) if not group.ignored)
        self._news = False
        return Grouped(groups, photos, faces)

    def _certainly_gone(self) -> set[str]:
        """The sources of photos that are gone from a folder that still holds others."""
        folders = {os.path.dirname(path) for path in self._handled if not _inside(path, self.away)}
        return {source for source in self._gone if os.path.dirname(source_path(source)) in folders}

    def _tell(self) -> None:
        self._news, self._last_news = True, time.monotonic()


def _stamps(place: str) -> dict[str, _Stamp]:
    """Every photo in a place with its stamp. Raises PhotoError for a folder that cannot be listed."""
    stamps: dict[str, _Stamp] = {}
    for path in map(str, find_photos(place)) if os.path.isdir(place) or not os.path.isfile(place) else [place]:
        try:
            status = os.stat(path)
        except OSError:  # it went this moment, or it is a link to nothing
            stamps[path] = (-1, -1)
        else:
            stamps[path] = status.st_size, status.st_mtime_ns
    return stamps


def _is_still(stamp: _Stamp) -> bool:
    """Whether nobody has written to a file for a while. The clock of a network drive may be ahead."""
    age = time.time() - stamp[1] / 1e9
    return age >= _STILL or age < 0


def _inside(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip(os.sep) + os.sep) for place in places)
