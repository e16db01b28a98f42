"""The scan that a page starts: one at a time, of folders that were named when the server started."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from facedex.errors import DataError, FacedexError
from facedex.gallery.gallery import Gallery
from facedex.library.scan import STATUSES, list_photos, scan, vanished
from facedex.log import logger

_log = logger(__name__)

_OFTEN = 0.25  # seconds between two reports of progress


class ScanJob:
    """Scans on a thread of its own. `report` is called with the progress."""

    def __init__(
        self, gallery: Gallery, folders: tuple[Path, ...], device: str, report: Callable[[dict[str, Any]], None]
    ) -> None:
        self._gallery, self._folders, self._device, self._report = gallery, folders, device, report
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._progress: dict[str, Any] = _progress("never")

    def progress(self) -> dict[str, Any]:
        """State and counts of the scan that runs, or of the last one."""
        return {**self._progress, "folders": [str(folder) for folder in self._folders]}

    def start(self) -> bool:
        """Begin a scan; False where one runs already. Raises DataError where no folder was named."""
        if not self._folders:
            raise DataError("The server knows no folder to scan; start it with --scan FOLDER")
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return False
            self._stop.clear()
            self._progress = {**_progress("running"), "started": _now()}
            self._thread = threading.Thread(target=self._run, name="facedex-scan")
            self._thread.start()
        return True

    def stop(self) -> None:
        """End the scan after the photos that it is looking at. What it found is kept."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and wait for the end."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        counts: Counter[str] = Counter()
        state, error = "done", None
        try:
            self._scan(counts)
            if self._stop.is_set():
                state = "stopped"
        except FacedexError as failure:
            state, error = "failed", str(failure)
        except Exception as failure:  # the thread has no caller who would see it
            _log.error("scan: %s", type(failure).__name__, exc_info=failure)
            state, error = "failed", "a fault in facedex itself; the server's log says more"
        self._tell(counts, state=state, error=error, finished=_now())

    def _scan(self, counts: Counter[str]) -> None:
        photos = list_photos(self._folders)
        self._tell(counts, photos=len(photos))
        told = time.monotonic()
        with closing(scan(self._gallery, photos, self._device)) as results:  # type: ignore[type-var]
            for result in results:
                counts[result.status] += 1
                counts["faces"] += result.faces
                if time.monotonic() - told >= _OFTEN:
                    told = time.monotonic()
                    self._tell(counts)
                if self._stop.is_set():
                    return
        counts["gone"] = len(vanished(self._gallery.library, self._folders))

    def _tell(self, counts: Counter[str], **more: object) -> None:
        done = sum(number for name, number in counts.items() if name not in ("faces", "gone"))
        self._progress = {**self._progress, "done": done, **dict(counts), **more}
        self._report(self.progress())


def _progress(state: str) -> dict[str, Any]:
    counts = dict.fromkeys(("photos", "done", "faces", *STATUSES), 0)
    return {"state": state, **counts, "error": None, "started": None, "finished": None}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
