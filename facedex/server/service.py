"""One gallery behind the API: it is opened once, and work on it goes through lanes of threads."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from facedex.errors import FacedexError, PhotoError, PhotoTooLarge, ServerBusy
from facedex.gallery.backup import backup
from facedex.gallery.gallery import Gallery
from facedex.photos import images
from facedex.photos.inputs import GivenPhoto, given_photo
from facedex.recognition.verification import Verifier
from facedex.server.bodies import HeldBytes
from facedex.server.event_stream import EventStream
from facedex.server.face_pictures import face_picture
from facedex.server.lanes import Lane
from facedex.server.recent_photos import RecentPhotos
from facedex.server.request_counts import RequestCounts
from facedex.server.scan_job import ScanJob
from facedex.server.settings import ServerSettings
from facedex.server.uploads import Upload
from facedex.threads import PIXELS_AT_ONCE, Budget, workers

T = TypeVar("T")

_BACKUPS = 2  # made or sent at once: each is a copy of the gallery on the disk
_LOOK = 1.0  # seconds between two looks for changes by other processes


class Service:
    """What the routes share: the gallery with its networks, the lanes, the events and the scan.

    `photo_work`: for what runs networks. `lookups`: for what only reads the database, which is never kept waiting by
    photos. `pictures`: for pictures of faces. `changes`: one thread, so that one change at a time is made.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Open the gallery, and make one where there is none. Raises GalleryError, ModelError."""
        self.settings, limits = settings, settings.limits
        self.gallery = Gallery(settings.gallery, settings.model, create=True)
        self.held, self.counts = HeldBytes(), RequestCounts()
        self.events = EventStream(limits.listeners)
        self.photo_work = Lane("photos", workers(), limits.waiting)
        self.lookups = Lane("lookups", 4, 4 * limits.waiting)
        self.pictures = Lane("pictures", 2, 8 * limits.waiting)
        self.changes = Lane("changes", 1, limits.waiting)
        self.watching = Lane("watching", 1, 1)  # one thread, because versions of one connection are compared
        self.own_changes = 0
        self.recent = RecentPhotos()
        self.scan = ScanJob(self.gallery, settings.folders, settings.device, self._tell_of_scan)
        self._pixels = Budget(PIXELS_AT_ONCE)  # of photos of all requests together
        self._backups: set[Path] = set()  # folders

    def load(self) -> None:
        """Load the networks, so that the first request does not wait for them. Raises ModelError."""
        self.gallery.reader(self.settings.device)

    def verifier(self) -> Verifier:
        """A verifier with the gallery's networks."""
        gallery = self.gallery
        return Verifier.of(gallery.reader(self.settings.device), gallery.head, gallery.calibration)

    async def ask(self, upload: Upload, question: Callable[[list[GivenPhoto]], T]) -> T:
        """Ask something about the photos of a request, on a thread of `photo_work`."""
        return await self.photo_work.run(partial(self._with_photos, upload, question))

    async def change(self, what: str, work: Callable[[], T]) -> T:
        """Change the gallery on the one thread that may, and tell those who listen. `what`: people, groups."""
        result = await self.changes.run(work)
        self.events.publish("change", {"what": what})
        self.own_changes += 1
        return result

    async def watch(self) -> None:
        """Tell those who listen of changes by other processes, and forget old photos, until this is cancelled."""
        seen = await self.watching.run(self._version)
        told = self.own_changes
        while True:
            await asyncio.sleep(_LOOK)
            self.recent.forget()
            if not len(self.events):
                continue
            with suppress(FacedexError):  # a gallery that is busy or gone is told of by the next request
                now = await self.watching.run(self._version)
                busy = self.changes.inside or self.scan.progress()["state"] == "running"
                if now != seen and told == self.own_changes and not busy:
                    self.events.publish("change", {"what": "other"})
                seen, told = now, self.own_changes

    def _tell_of_scan(self, progress: dict[str, Any]) -> None:
        self.events.publish("scan", progress)
        if progress["state"] != "running":
            self.events.publish("change", {"what": "library"})
            self.own_changes += 1

    def _version(self) -> int:
        return self.gallery.version

    async def change_by(self, upload: Upload, work: Callable[[list[GivenPhoto]], T]) -> T:
        """As `change`, by the photos of a request."""
        return await self.change("people", partial(self._with_photos, upload, work))

    async def read(self, work: Callable[[], T]) -> T:
        """Read the database on a thread of `lookups`."""
        return await self.lookups.run(work)

    async def picture(self, face: str) -> bytes:
        """A picture of a face (face_pictures.py)."""
        return await self.pictures.run(partial(face_picture, self.gallery, face))

    async def backup(self) -> Path:
        """A backup of the gallery, until `end_backup`. Raises ServerBusy when others are still sent."""
        if len(self._backups) >= _BACKUPS:
            raise ServerBusy(f"{_BACKUPS} backups are still sent; try again when one is done", 60)
        folder = Path(tempfile.mkdtemp(prefix="facedex-"))
        self._backups.add(folder)
        try:
            file = folder / "gallery.tar"
            await self.photo_work.run(partial(backup, self.gallery.folder, file))
        except Exception:
            self.end_backup(folder)
            raise
        return file

    def end_backup(self, folder: Path) -> None:
        """Delete the folder of a backup."""
        shutil.rmtree(folder, ignore_errors=True)
        self._backups.discard(folder)

    def _with_photos(self, upload: Upload, work: Callable[[list[GivenPhoto]], T]) -> T:
        photos = [self._given(data, name) for name, data in upload.photos]
        with self._pixels.take(sum(photo.pixel_count() for photo in photos)):
            return work(photos)

    def _given(self, data: bytes, name: str) -> GivenPhoto:
        """A photo of a request. One with too many pixels becomes its error before anything is decoded."""
        with suppress(PhotoError):  # reading the photo says what is wrong with it
            try:
                with images.opened(data, name, self.settings.limits.pixels):
                    pass
            except PhotoTooLarge as error:
                return GivenPhoto(name, held=error)
        return given_photo(data, name)

    def gauges(self) -> dict[str, tuple[str, float]]:
        """What /metrics tells of this moment."""
        lanes = (self.photo_work, self.lookups, self.pictures, self.changes)
        waiting: dict[str, tuple[str, float]] = {
            f"{lane.name}_requests": (f"Requests in the lane {lane.name}, running or waiting.", float(lane.inside))
            for lane in lanes
        }
        people: Any = len(self.gallery)
        return {
            **waiting,
            "held_bytes": ("Bytes of request bodies in memory.", float(self.held.number)),
            "listeners": ("Open event streams.", float(len(self.events))),
            "people": ("People enrolled.", float(people)),
            "faces": ("Faces enrolled.", float(self.gallery.faces)),
        }

    def close(self) -> None:
        """Finish what has begun, and close the gallery."""
        self.scan.close()
        for lane in (self.photo_work, self.lookups, self.pictures, self.changes, self.watching):
            lane.close()
        for folder in list(self._backups):  # of requests that were cancelled
            self.end_backup(folder)
        self.gallery.close()
