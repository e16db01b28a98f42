"""Encoding a gallery's photos with another model: the same face of the same photo, or none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from facedex.errors import DataError, GalleryError, PhotoError
from facedex.faces.boxes import Box, overlap, same_place
from facedex.model.reader import FaceReader
from facedex.photos import images
from facedex.photos.sources import open_people, pack_of, source_path
from facedex.store.rows import StoredPhoto
from facedex.store.store import Store

Embedding = tuple[NDArray[np.float32], float]  # vector (dim,) and quality


def encode_anew(store: Store, reader: FaceReader) -> tuple[dict[int, Embedding], list[str]]:
    """The new embedding of each face by id, and the paths of the photos that could not be encoded.

    A photo must be where it was, with the same bytes. Raises GalleryError when no photo of any face is.
    """
    embeddings: dict[int, Embedding] = {}
    lost: list[StoredPhoto] = []
    faces_of: dict[str, list[StoredPhoto]] = defaultdict(list)  # a photo may show several enrolled people
    for stored in store.photos():
        faces_of[stored.source].append(stored)
    for source, data in _photos(list(faces_of)):
        digest = None if data is None else images.sha256(data)
        boxes = {stored.face: stored.box for stored in faces_of[source] if stored.photo == digest}
        found = {} if data is None else _faces_at(reader, data, boxes)
        embeddings.update(found)
        lost += [stored for stored in faces_of[source] if stored.face not in found]
    if faces_of and not embeddings:
        raise GalleryError("None of the enrolled photos is where it was; the gallery is left as it was")
    return embeddings, [source_path(stored.source) for stored in sorted(lost, key=lambda stored: stored.face)]


def encode_scanned_anew(store: Store, reader: FaceReader) -> tuple[dict[int, Embedding], list[str]]:
    """The new embedding of each scanned face by id, and the paths of the photos that could not be encoded.

    A photo must be at one of its paths, with the same bytes, and show all its faces where they were.
    """
    faces = store.library.faces(everything=True)
    sources = store.library.sources(faces.photos.tolist())
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, photo in enumerate(faces.photos.tolist()):
        rows_of[photo].append(row)
    embeddings: dict[int, Embedding] = {}
    lost: list[str] = []
    for photo, rows in rows_of.items():
        boxes = {int(faces.ids[row]): faces.box(row) for row in rows}
        paths = [source_path(source) for source in sources.get(photo, [])]
        for path in paths:
            with suppress(PhotoError):
                data = images.read_bytes(path)
                if images.sha256(data) == faces.digests[rows[0]]:
                    found = _faces_at(reader, data, boxes)
                    if len(found) == len(boxes):
                        embeddings.update(found)
                        break
        else:
            lost += paths[:1]
    return embeddings, lost


def _faces_at(reader: FaceReader, data: bytes, boxes: Mapping[int, Box]) -> dict[int, Embedding]:
    """The embeddings of the faces at `boxes` (pixels, by id) in a photo, without those that are not found there."""
    with suppress(PhotoError):
        for pixels in images.pages(data, "the photo") if boxes else ():
            if faces := reader.read(pixels):
                best = {face: max(faces, key=lambda one: overlap(one.face.box, box)) for face, box in boxes.items()}
                return {
                    face: (encoded.vector, encoded.quality)
                    for face, encoded in best.items()
                    if same_place(encoded.face.box, boxes[face])
                }
    return {}


def _photos(sources: list[str]) -> Iterator[tuple[str, bytes | None]]:
    """Each source with its bytes, or None where they are gone. A pack is read through once."""
    packs: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        pack = pack_of(source)
        if pack is not None:
            packs[pack].add(source)
            continue
        try:
            yield source, images.read_bytes(source_path(source))
        except PhotoError:
            yield source, None
    for pack, wanted in packs.items():
        try:
            with open_people(pack) as photos:
                for photo in photos:
                    if photo.source in wanted:
                        wanted.remove(photo.source)
                        data = photo.content()
                        yield photo.source, None if isinstance(data, PhotoError) else data
        except DataError:  # the pack is missing, or broken from here on
            pass
        for source in wanted:
            yield source, None
