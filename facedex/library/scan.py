"""Looks at every photo of a library once, and keeps every face found.

Sizes and times of change show which files are as they were. Only the others are read. Photos that were looked at are
committed a batch at a time, so that a scan that was killed goes on where it was.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, islice

from facedex.errors import DataError, NoFace, PhotoError
from facedex.faces import detector
from facedex.faces.quality import Quality
from facedex.gallery.gallery import Gallery
from facedex.model.reader import EncodedFace
from facedex.photos import images
from facedex.photos.listing import find_photos, is_gone
from facedex.photos.packs import is_pack
from facedex.photos.sources import Paths, several, source_of, source_path, under
from facedex.photos.takentime import taken_time
from facedex.recognition.embedding import EncodedPhoto, KnownPhoto, encode_ahead
from facedex.store.library_rows import FoundFace, SeenFile
from facedex.store.library_tables import LibraryTables

STATUSES = ("new", "changed", "moved", "copy", "known", "skipped", "gone")  # in the order of a summary

_BATCH = 32  # files committed together: what a kill can cost. The first batches are smaller, so that results come soon
_NOTHING = EncodedPhoto([], [], [], None, None)


@dataclass(frozen=True)
class ScannedPhoto:
    """The result for one file.

    `status`: "new", "changed" (another photo was at this path), "moved" (the photo had another path), "copy" (the photo
    has another path too), "known" or "skipped". `faces`: how many were found now. `reason`: why the file was skipped,
    or what a user should know of it.
    """

    photo: str
    status: str
    faces: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class _File:
    path: str
    source: str
    size: int
    modified: int
    status: str  # "new" or "changed"


@dataclass(frozen=True)
class _Done:
    """A file with its result. `seen`: what to store, None for a file that was skipped. `gone`: sources it had."""

    result: ScannedPhoto
    seen: SeenFile | None = None
    gone: tuple[str, ...] = ()


class _Photo(KnownPhoto):
    """A photo file. `digest`: SHA-256 of its bytes (hex), once a thread has read them. `taken`: when, by EXIF.

    `done`: the result for a file whose content is stored already, so that nobody looks for faces.
    """

    def __init__(self, file: _File, done: _Done | None) -> None:
        super().__init__(file.path, None if done is None else _NOTHING)
        self.file, self.done = file, done
        self.digest: str | None = None
        self.taken: datetime | None = None

    def data(self) -> bytes:
        data = super().data()
        self.digest, self.taken = images.sha256(data), taken_time(data, self.name)
        return data


def list_photos(paths: Paths) -> list[str]:
    """The absolute paths of the photos in these folders, each once; a photo file may be named too.

    Raises DataError for a path that does not exist or is a pack, and for a folder without photos.
    """
    found: dict[str, None] = {}
    for path in several(paths):
        top = os.path.abspath(path)
        if not check_place(path):
            found[top] = None
            continue
        before = len(found)
        found.update(dict.fromkeys(map(str, find_photos(top))))
        if len(found) == before and next(find_photos(top), None) is None:
            raise DataError(f"{path} holds no photos; mount its disk, or delete what it held by `facedex forget`")
    return list(found)


def check_place(path: str | os.PathLike[str]) -> bool:
    """Whether a place to scan is a folder. Raises DataError for one that does not exist or is a pack."""
    if os.path.isdir(path):
        return True
    if not os.path.lexists(path) or is_pack(path):
        what = "is a pack; unpack it and" if os.path.lexists(path) else "does not exist;"
        raise DataError(f"{path} {what} name a folder of photos")
    return False


def scan(gallery: Gallery, photos: list[str], device: str = "cpu") -> Iterator[ScannedPhoto]:
    """Look at the photos of `list_photos` that are new or changed, and yield the result for every file.

    Results are yielded once they are on disk. The files that are as they were come first. A file that cannot be used is
    skipped, and the next scan tries it again. `device`: "cpu", "cuda" or "mps".
    Raises GalleryBusy while another process writes, GalleryError, ModelError.
    """
    known = gallery.library.files()
    waiting: list[_File] = []
    for path in photos:
        source = source_of(path)
        try:
            status = os.stat(path)
            size, modified = status.st_size, status.st_mtime_ns
        except OSError:  # reading the file will say why
            size = modified = -1
        before = known.get(source)
        if before is not None and (before.size, before.modified) == (size, modified):
            yield ScannedPhoto(path, "known")
        else:
            waiting.append(_File(path, source, size, modified, "changed" if before else "new"))
    if waiting:
        sizes, line = {file.size for file in known.values()}, None
        with closing(_looked_at(gallery, waiting, sizes, device)) as results:
            size = 1
            while batch := list(islice(results, size)):
                size = min(2 * size, _BATCH)
                seen = [done.seen for done in batch if done.seen is not None]
                if seen:
                    with gallery.changing_library() as store:
                        line = store.library.save(seen, chain.from_iterable(done.gone for done in batch), line)
                yield from (done.result for done in batch)
    with gallery.changing_library() as store:
        store.library.drop_files(_lost_copies(store.library))  # and photos that were replaced


def vanished(library: LibraryTables, paths: Paths) -> list[str]:
    """The sources of the scanned files in these folders that are no longer there.

    Call it after `scan`, which follows photos that only moved, and copies of photos.
    """
    inside = [under(path) for path in several(paths)]
    files = {os.path.abspath(path) for path in several(paths)}
    return [
        source
        for source in library.files()
        if (source_path(source) in files or any(test(source) for test in inside)) and is_gone(source_path(source))
    ]


def _lost_copies(library: LibraryTables) -> list[str]:
    """The sources of files that are gone, where another file of the same photo is there."""
    copies: dict[int, list[str]] = defaultdict(list)
    for source, file in library.files().items():
        copies[file.photo].append(source)
    lost: list[str] = []
    for sources in copies.values():
        if len(sources) > 1:
            gone = [source for source in sources if is_gone(source_path(source))]
            lost += gone if len(gone) < len(sources) else []
    return lost


def _looked_at(gallery: Gallery, files: list[_File], sizes: set[int], device: str) -> Generator[_Done, None, None]:
    """Look at files. Those whose content is stored already are not searched for faces."""
    # Only a file of the same size can be a stored photo. The others are read once, by the threads.
    photos = (_Photo(file, _stored_content(gallery.library, file) if file.size in sizes else None) for file in files)
    with closing(encode_ahead(photos, gallery.detector, partial(gallery.reader, device))) as encoded:
        for photo, result in encoded:
            assert isinstance(photo, _Photo)
            yield photo.done or _done(photo, result)


def _stored_content(library: LibraryTables, file: _File) -> _Done | None:
    """The result for a file whose content is stored already, else None."""
    try:
        digest = images.sha256(images.read_bytes(file.path))
    except PhotoError:
        return None  # reading it again will say why
    sources = library.sources_of_content(digest)
    if sources is None:
        return None
    others = [source for source in sources if source != file.source]
    gone = tuple(source for source in others if is_gone(source_path(source)))
    seen = SeenFile(file.source, file.size, file.modified, digest)
    if file.source in sources:
        return _Done(ScannedPhoto(file.path, "known"), seen)
    if gone or not others:
        reason = f"it was {source_path(gone[0])}" if gone else None
        return _Done(ScannedPhoto(file.path, "moved", reason=reason), seen, gone)
    return _Done(ScannedPhoto(file.path, "copy"), seen)


def _done(photo: _Photo, result: EncodedPhoto | PhotoError) -> _Done:
    """The result for a photo that was searched for faces."""
    file = photo.file
    if photo.digest is None or (isinstance(result, PhotoError) and not isinstance(result, NoFace)):
        return _Done(ScannedPhoto(file.path, "skipped", reason=str(result)))
    faces: list[tuple[EncodedFace, Quality]] = []
    remark = None
    if not isinstance(result, PhotoError):
        faces, remark = list(zip(result.faces, result.qualities, strict=True)), result.remark
    found = tuple(_found_face(face, quality) for face, quality in faces)
    taken = photo.taken.isoformat() if photo.taken else None
    seen = SeenFile(file.source, file.size, file.modified, photo.digest, found, remark, taken, detector.VERSION)
    return _Done(ScannedPhoto(file.path, file.status, len(faces), remark), seen)


def _found_face(encoded: EncodedFace, quality: Quality) -> FoundFace:
    face = encoded.face
    measures = face.score, encoded.quality, quality.sharpness, quality.unusual
    return FoundFace(encoded.vector, face.box, face.landmarks, *measures)
