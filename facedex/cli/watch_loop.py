"""The loop of `scan --watch`: what it says, and how long it sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from facedex.cli.console import note, say
from facedex.cli.progress import photo_progress
from facedex.errors import GalleryBusy
from facedex.wording import counted

if TYPE_CHECKING:
    from facedex.gallery.gallery import Gallery
    from facedex.library.scan import ScannedPhoto
    from facedex.library.watching import Watch


def watch_library(
    gallery: Gallery, folders: list[Path], device: str, forgets: bool, report: Callable[[ScannedPhoto], None]
) -> NoReturn:
    """Scan the folders until Ctrl-C. `report` is called with each result. Raises what `Watch` raises."""
    from facedex.library.watching import Watch

    watch = Watch(gallery, folders, device, forgets)
    busy = False
    away: dict[str, str] = {}
    rounds = 0
    while True:
        ready = watch.look()
        for place in watch.away.keys() - away.keys():
            say(f"{watch.away[place]}; what it held is kept, and watching goes on")
        away = watch.away
        try:
            _round(watch, ready, rounds, report)
            busy = False
        except GalleryBusy as error:  # the photos come again in the next round
            if not busy:
                say(str(error))
            busy = True
        if rounds == 0:
            note(f"watching {counted(len(folders), 'place')}; Ctrl-C ends it")
        rounds += 1
        time.sleep(watch.pause)


def _round(watch: Watch, ready: list[str], rounds: int, report: Callable[[ScannedPhoto], None]) -> None:
    with photo_progress(len(ready)) as progress:
        task = progress.add_task("scanning", total=len(ready))
        for result in watch.scan(ready):
            progress.advance(task)
            report(result)
            if rounds and result.status not in ("known", "skipped"):
                faces = f", {counted(result.faces, 'face')}" if result.status in ("new", "changed") else ""
                note(f"{result.status}: {result.photo}{faces}")
    for result in watch.gone():
        report(result)
        note(f"gone: {result.photo}")
    grouped = watch.settle()
    if grouped is not None:
        if grouped.photos:
            note(f"forgot {counted(grouped.faces, 'face')} of {counted(grouped.photos, 'photo')} that are gone")
        note(f"{counted(len(grouped.groups), 'group')} without a name; `facedex cluster` shows them")
