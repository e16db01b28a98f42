"""Names of scanned faces, told to other programs by XMP sidecars, and taken over from their XMP."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from facedex.errors import NameInvalid, PhotoError
from facedex.faces.boxes import Box
from facedex.gallery.gallery import Gallery
from facedex.library.decided import enrolled_owners
from facedex.library.group_names import give_name
from facedex.library.regions import NamedRegion, matches
from facedex.library.sidecars import read_names, write_names
from facedex.photos.sources import person_name, source_path
from facedex.store.library_rows import ScannedFaces


@dataclass(frozen=True)
class ExportedPhoto:
    """What `export_names` did for one photo file.

    `file`: the sidecar. `names`: those that stand in it now, in the order of the faces. `conflicts`: a sentence for
    each face that another program names otherwise. `changed`: whether the sidecar was written. `error`: why not, where
    the photo or its sidecar cannot be used.
    """

    photo: str
    file: str | None
    names: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    changed: bool = False
    error: str | None = None


@dataclass(frozen=True)
class ImportedPhoto:
    """What `import_names` took over from one photo file.

    `names`: of faces that had none. `warnings`: a sentence for each name that was left out. `error`: why the photo
    cannot be used.
    """

    photo: str
    names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None


def export_names(gallery: Gallery, sources: Iterable[str]) -> Iterator[ExportedPhoto]:
    """Write the names of scanned faces into the sidecars of these files, and never into a photo.

    Yields each file that has a name or a sidecar. `sources`: those of scanned files. A face that lost its name loses
    the one that facedex wrote. A photo that cannot be used does not stop the others.
    """
    library = gallery.library
    faces, files = library.faces(), library.files()
    names, rows_of = _names(gallery, faces), _rows_of(faces)
    for source in sources:
        path = source_path(source)
        rows = rows_of[files[source].photo]
        named: list[tuple[Box, str | None]] = [(faces.box(row), names[row]) for row in rows]
        if not any(name for _, name in named) and not _has_sidecar(path):
            continue  # the photo need not be read
        try:
            written = write_names(path, named)
        except (PhotoError, NameInvalid) as error:
            yield ExportedPhoto(path, None, error=str(error))
            continue
        known = tuple(region.name for region in written.regions)
        yield ExportedPhoto(path, written.file, known, written.conflicts, written.changed)


def import_names(gallery: Gallery, sources: Iterable[str]) -> Iterator[ImportedPhoto]:
    """Give scanned faces of these files the names that other programs wrote, and yield each file that has names.

    `sources`: those of scanned files. The names are stored after the last file, and their people are enrolled as by
    `name_group`. A face that has another name here keeps it. Raises GalleryBusy, GalleryError.
    """
    library = gallery.library
    faces, files = library.faces(), library.files()
    names, rows_of = _names(gallery, faces), _rows_of(faces)
    wanted: dict[str, set[int]] = defaultdict(set)  # faces by name
    for source in sources:
        path, rows = source_path(source), rows_of[files[source].photo]
        try:
            found = read_names(path)
        except PhotoError as error:
            yield ImportedPhoto(path, error=str(error))
            continue
        taken, warnings = _taken(found.regions, faces, rows, names)
        for name, row in taken:
            wanted[name].add(int(faces.ids[row]))
        if found.regions or found.warnings:
            yield ImportedPhoto(path, tuple(name for name, _ in taken), (*found.warnings, *warnings))
    if wanted:
        _store_names(gallery, wanted)


def _taken(
    regions: Iterable[NamedRegion], faces: ScannedFaces, rows: list[int], names: list[str | None]
) -> tuple[list[tuple[str, int]], list[str]]:
    """The names of one photo that are new, each with the row of its face, and a sentence for each left out."""
    regions = list(regions)
    partners = matches([region.box for region in regions], [faces.box(row) for row in rows])
    taken: list[tuple[str, int]] = []
    warnings: list[str] = []
    for place, region in enumerate(regions):
        name = person_name(region.name)
        if place not in partners:
            warnings.append(f"{region.source} names {name} where the scan found no face")
            continue
        row = rows[partners[place]]
        if names[row] is None:
            taken.append((name, row))
        elif names[row] != name:
            warnings.append(f"{region.source} names a face {name}, which is {names[row]} in the gallery and stays so")
    return taken, warnings


def _store_names(gallery: Gallery, wanted: dict[str, set[int]]) -> None:
    with gallery.changing_library(enrolls=True) as store:
        faces = store.library.faces()
        free = faces.people == 0
        for name, ids in wanted.items():
            rows = np.flatnonzero(np.isin(faces.ids, list(ids)) & free)
            if len(rows):
                give_name(store, faces, rows, name, gallery.calibration.unclear, kind="imported")
                free[rows] = False


def _names(gallery: Gallery, faces: ScannedFaces) -> list[str | None]:
    """The name of each face, also of one that is enrolled; None where it has none."""
    owners, people = enrolled_owners(gallery.library), gallery.library.people()
    return [name or people.get(owners.get(face, 0)) for face, name in zip(faces.ids.tolist(), faces.names, strict=True)]


def _rows_of(faces: ScannedFaces) -> dict[int, list[int]]:
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, photo in enumerate(faces.photos.tolist()):
        rows_of[photo].append(row)
    return rows_of


def _has_sidecar(path: str) -> bool:
    return any(os.path.lexists(name) for name in (f"{path}.xmp", os.path.splitext(path)[0] + ".xmp"))
