"""Encoding a gallery's photos with another model: the same face of the same photo, or none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from facedex.errors import DataError, GalleryError, PhotoError
from facedex.faces.boxes import Box, overlap, same_place
from facedex.model.reader import FaceReader
from facedex.photos import images
from facedex.photos.sources import open_people, pack_of, source_path
from facedex.store.store import Store

Embedding = tuple[NDArray[np.float32], float]  # vector (dim,) and quality


def encode_anew(store: Store, reader: FaceReader) -> tuple[dict[int, Embedding], list[str]]:
    """The new embedding of each face by id, and the paths of the photos that could not be encoded.

    A photo must be where it was, with the same bytes. Raises GalleryError when no photo of any face is.
    """
    embeddings: dict[int, Embedding] = {}
    lost: list[tuple[int, str]] = []
    faces_of: dict[str, list[tuple[int, str, Box]]] = defaultdict(list)  # a photo may show several enrolled people
    for face, source, digest, box in store.sources():
        faces_of[source].append((face, digest, box))
    for source, data in _photos(list(faces_of)):
        for face, digest, box in faces_of[source]:
            embedding = same_face(reader, data, digest, box, source) if data is not None else None
            if embedding is None:
                lost.append((face, source_path(source)))
            else:
                embeddings[face] = embedding
    if faces_of and not embeddings:
        raise GalleryError("None of the enrolled photos is where it was; the gallery is left as it was")
    return embeddings, [path for _, path in sorted(lost)]


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
        found = next(
            (
                found
                for source in sources.get(photo, [])
                if (found := _same_faces(reader, source_path(source), faces.digests[rows[0]], boxes))
            ),
            None,
        )
        if found is None:
            lost += [source_path(source) for source in sources.get(photo, [])[:1]]
        else:
            embeddings.update(found)
    return embeddings, lost


def _same_faces(reader: FaceReader, path: str, digest: str, boxes: dict[int, Box]) -> dict[int, Embedding] | None:
    """The embeddings of all faces of a photo by id. None where the photo is gone or shows not all of them."""
    with suppress(PhotoError):
        data = images.read_bytes(path)
        if images.sha256(data) != digest:
            return None
        for pixels in images.pages(data, path):
            if faces := reader.read(pixels):
                best = {face: max(faces, key=lambda one: overlap(one.face.box, box)) for face, box in boxes.items()}
                if all(same_place(best[face].face.box, box) for face, box in boxes.items()):
                    return {face: (encoded.vector, encoded.quality) for face, encoded in best.items()}
                return None
    return None


def same_face(reader: FaceReader, data: bytes, digest: str, box: Box, name: str = "the photo") -> Embedding | None:
    """The embedding of the face at `box` (pixels) in a photo.

    None for bytes with another SHA-256 than `digest`, for a photo that cannot be read, and where no face is at `box`.
    """
    if images.sha256(data) != digest:
        return None
    with suppress(PhotoError):
        for pixels in images.pages(data, name):
            if faces := reader.read(pixels):
                best = max(faces, key=lambda encoded: overlap(encoded.face.box, box))
                return (best.vector, best.quality) if same_place(best.face.box, box) else None
    return None


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
