"""Encoding a gallery's photos anew, for another model: the same face of the same photo, or none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from facedex.errors import DataError, GalleryError, PhotoError
from facedex.faces.boxes import Box, overlap, same_place
from facedex.model.reader import FaceReader
from facedex.photos import images
from facedex.photos.sources import open_people, pack_of, source_path
from facedex.store.store import Store


def encode_anew(store: Store, reader: FaceReader) -> tuple[dict[int, tuple[np.ndarray, float]], list[str]]:
    """Vector (dim,) float32 and quality of every face whose photo is where it was, by id; and the other photos.

    Raises GalleryError when no photo of a gallery with faces is left.
    """
    vectors: dict[int, tuple[np.ndarray, float]] = {}
    lost: list[tuple[int, str]] = []
    shared: dict[str, list[tuple[int, str, Box]]] = defaultdict(
        list
    )  # faces of one photo, should it have several owners
    for face, source, digest, box in store.sources():
        shared[source].append((face, digest, box))
    for source, data in _photos(list(shared)):
        for face, digest, box in shared[source]:
            found = same_face(reader, data, digest, box, source) if data is not None else None
            if found is None:
                lost.append((face, source_path(source)))
            else:
                vectors[face] = found
    if shared and not vectors:
        raise GalleryError("None of the enrolled photos is where it was; the gallery is left as it was")
    return vectors, [path for _, path in sorted(lost)]


def same_face(
    reader: FaceReader, data: bytes, digest: str, box: Box, name: str = "the photo"
) -> tuple[np.ndarray, float] | None:
    """Embedding and quality of the face at `box`; None when these are not the bytes that were enrolled."""
    if images.sha256(data) != digest:
        return None
    try:
        faces = reader.read(images.decode(data, name))
    except PhotoError:
        return None
    best = max(faces, key=lambda one: overlap(one.face.box, box), default=None)
    if best is None or not same_place(best.face.box, box):
        return None
    return best.vector, best.quality


def _photos(sources: list[str]) -> Iterator[tuple[str, bytes | None]]:
    """Each source with its bytes, or None where they are gone; a pack is read through once."""
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
        except DataError:  # broken from here on
            pass
        for source in wanted:
            yield source, None
