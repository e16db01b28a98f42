"""Names of scanned faces, told to other programs by XMP in sidecars or photos, and taken over from their XMP."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from facedex.errors import NameInvalid, PhotoError, PhotoUnreadable
from facedex.faces.boxes import Box
from facedex.gallery.gallery import Gallery
from facedex.library.decided import enrolled_owners
from facedex.library.exiftool import embed_names, find_exiftool
from facedex.library.group_names import give_name
from facedex.library.regions import NamedRegion, matches
from facedex.library.sidecars import WrittenNames, read_names, write_names
from facedex.photos import images
from facedex.photos.listing import is_gone
from facedex.photos.sources import person_name, source_path
from facedex.store.library_rows import ScannedFaces, SeenFile

_Named = list[tuple[Box, str | None]]  # the faces of a photo with their names


@dataclass(frozen=True)
class ExportedPhoto:
    """What `export_names` or `embed_in_photos` did for one photo file.

    `file`: the sidecar, or the photo itself. `names`: those that stand in it now, in the order of the faces.
    `conflicts`: a sentence for each face that another program names otherwise. `changed`: whether the file was written.
    `error`: why not, where the photo or its sidecar cannot be used.
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
    for source, _, named in _named_faces(gallery, sources):
        path = source_path(source)
        if any(name for _, name in named) or _has_sidecar(path):  # else the photo need not be read
            yield _exported(path, partial(write_names, path, named))


def embed_in_photos(gallery: Gallery, sources: Iterable[str]) -> Iterator[ExportedPhoto]:
    """Write the names of scanned faces into these photo files themselves, by exiftool (`exiftool.embed_names`).

    Yields each file that has a name, or had one of facedex's. `sources`: those of scanned files. The gallery follows
    the new content of each file, so that the photo stays known. A file that has changed since it was scanned is left as
    it is. One that cannot be used does not stop the others. Raises MissingProgram, GalleryBusy, GalleryError.
    """
    find_exiftool()
    for source, digest, named in _named_faces(gallery, sources):
        if not named:
            continue
        path = source_path(source)
        done = _exported(path, partial(_embed, path, digest, named))
        if done.changed:
            _follow(gallery, source, digest)
        if done.changed or done.error or done.conflicts or any(name for _, name in named):
            yield done
    with gallery.changing_library() as store:
        store.library.drop_files([])  # photos all of whose files have new content


def with_names(gallery: Gallery, sources: Iterable[str]) -> list[str]:
    """Those of the sources that show a face with a name."""
    return [source for source, _, named in _named_faces(gallery, sources) if any(name for _, name in named)]


def _named_faces(gallery: Gallery, sources: Iterable[str]) -> Iterator[tuple[str, str, _Named]]:
    """Each source with the SHA-256 of its photo (hex, "" where no face is left), and its faces with their names."""
    library = gallery.library
    faces, files = library.faces(), library.files()
    names, rows_of = _names(gallery, faces), _rows_of(faces)
    for source in sources:
        rows = rows_of[files[source].photo]
        yield source, faces.digests[rows[0]] if rows else "", [(faces.box(row), names[row]) for row in rows]


def _exported(path: str, write: Callable[[], WrittenNames]) -> ExportedPhoto:
    try:
        written = write()
    except (PhotoError, NameInvalid) as error:
        return ExportedPhoto(path, None, error=str(error))
    known = tuple(region.name for region in written.regions)
    return ExportedPhoto(path, written.file, known, written.conflicts, written.changed)


def _embed(path: str, digest: str, named: _Named) -> WrittenNames:
    if images.sha256(images.read_bytes(path)) != digest:
        raise PhotoUnreadable(f"{path} has changed since it was scanned; run `facedex scan` first")
    return embed_names(path, named)


def _follow(gallery: Gallery, source: str, former: str) -> None:
    """Tell the gallery of a file's new content. A kill before leaves a photo that the next scan looks at again."""
    path = source_path(source)
    status, digest = os.stat(path), images.sha256(images.read_bytes(path))
    with gallery.changing_library() as store:
        gone = [one.source for one in store.photos(former) if is_gone(source_path(one.source))]
        file = SeenFile(source, status.st_size, status.st_mtime_ns, digest)
        store.follow_content(file, former, {source, *gone})


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
