"""Deletes what a scan kept: of a photo, of a folder, or of everything."""

from __future__ import annotations

import os
from collections.abc import Iterable

from facedex.errors import DataError
from facedex.gallery.gallery import Gallery
from facedex.photos.sources import Paths, several, source_path
from facedex.store.library_tables import LibraryTables


def scanned_sources(library: LibraryTables, paths: Paths | None) -> list[str]:
    """The sources of the scanned files at these paths and below them; of all files for None.

    The files and folders themselves need not exist any more. Raises DataError for a path where nothing was scanned.
    """
    sources = list(library.files())
    if paths is None:
        return sources
    found: dict[str, None] = {}
    for path in several(paths):
        top = os.path.abspath(path)
        below = top.rstrip(os.sep) + os.sep
        inside = [one for one in sources if source_path(one) == top or source_path(one).startswith(below)]
        if not inside:
            raise DataError(f"Nothing was scanned in {path}; name a photo or folder that was")
        found.update(dict.fromkeys(inside))
    return list(found)


def forget(gallery: Gallery, sources: Iterable[str]) -> tuple[int, int]:
    """Delete files from the scanned library; returns how many photos and faces went with them.

    No file of the gallery keeps anything of these faces, and their names are lost. A photo that also lies at another
    path stays. Enrolled people stay. Raises GalleryBusy, and what `Gallery.remove` raises.
    """
    with gallery.changing_library() as store:
        return store.library.drop_files(sources)
