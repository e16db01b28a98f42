"""Builds, saves, reads, follows and searches the projection of a gallery.

The projection is derived from gallery.db and is built again at any doubt. It holds z = w * F f(x) under L1, so its
order is the head's (facedex/model/head.py). The number of faces decides the kind of index (codes.py, halfbytes.py).
`faces.faiss` is read whole, never mapped: the checked bytes are the used bytes, and the file can be replaced meanwhile.
Newer faces are searched beside the file until the next compaction, so one more photo never rewrites a large file.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from facedex.errors import GalleryDamaged
from facedex.files import patiently, replace_file
from facedex.index.codes import Bytes, Flat, Found
from facedex.index.halfbytes import HalfBytes
from facedex.index.manifest import (
    COVERAGE,
    FORMAT,
    INDEX_FILE,
    MANIFEST_FILE,
    Manifest,
    read_manifest,
)
from facedex.model.head import Head
from facedex.store.lock import HOLDER_FILE
from facedex.store.rows import State
from facedex.store.schema import MODULUS
from facedex.store.store import Store

INDEXES: dict[str, type[Flat] | type[Bytes]] = {index.kind: index for index in (Flat, Bytes, HalfBytes)}
KINDS = ("auto", *INDEXES)

# The largest gallery of a kind, in numbers of all z: 5,000 and 75,000 faces of 512 numbers. Beyond comes halfbytes.
_SIZES = ((2_560_000, "flat"), (38_400_000, "bytes"))
# A writer replaces the two files one after the other. In between they do not fit together, so a reader tries again.
_LOOKS, _PAUSE = 4, 0.05


class Projection:
    """The faces of one state of a gallery: `index` with `ids` and `marks` (n,) int64, and a tail of newer faces."""

    def __init__(self, index: Any, ids: np.ndarray, marks: np.ndarray, manifest: Manifest) -> None:
        self.index, self.ids, self.marks, self.manifest = index, ids, marks, manifest
        self._tail = Flat(np.empty((0, index.dim), np.float32))
        self._tail_ids, self._tail_marks = np.empty(0, np.int64), np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.ids) + len(self._tail_ids)

    @property
    def exact(self) -> bool:
        """Whether the shortlist is provably the head's own."""
        return bool(self.index.exact)

    @property
    def last_id(self) -> int:
        """The id of the newest face; 0 where there is none."""
        for ids in (self._tail_ids, self.ids):
            if len(ids):
                return int(ids[-1])
        return 0

    @property
    def digest(self) -> int:
        """The sum of the marks of all faces modulo 2^48, as Store keeps it."""
        return (_digest(self.marks) + _digest(self._tail_marks)) % MODULUS

    def follow(self, store: Store, state: State, head: Head) -> bool:
        """Add newer faces to the tail. Returns False where the faces then are not those of `state`."""
        for block in store.blocks(after=self.last_id):
            self._tail = self._tail.extended(_projected(head, block.vectors))
            self._tail_ids = np.concatenate([self._tail_ids, block.ids])
            self._tail_marks = np.concatenate([self._tail_marks, block.marks])
        return len(self) == state.faces and self.digest == state.digest

    def search(self, z: np.ndarray, k: int) -> Found:
        """The faces nearest to one projected probe `z` (dim,) float32: a codes.Found with face ids in place of rows."""
        query = np.ascontiguousarray(z, np.float32)
        a, b = self.index.search(query, k), self._tail.search(query, k)
        bounds = np.concatenate([a.bounds, b.bounds])
        ids = np.concatenate([self.ids[a.rows], self._tail_ids[b.rows]])
        order = np.lexsort((ids, bounds))
        return Found(bounds[order], ids[order], min(a.horizon, b.horizon), max(a.slack, b.slack))


def build_projection(
    store: Store,
    state: State,
    head: Head,
    head_fingerprint: str,
    kind: str = "auto",
    coverage: float = COVERAGE,
    old: Projection | None = None,
) -> tuple[Projection, bytes]:
    """A projection of all faces, and the bytes of its file. Raises GalleryDamaged for a broken record.

    Faces that are still enrolled are taken from an `old` projection of this model and head where the kind stays. For
    kind "bytes" that also needs that no face was removed. Without `old`, all faces are read.
    """
    automatic = kind == "auto"
    chosen = next((name for most, name in _SIZES if state.faces * head.dim <= most), "halfbytes") if automatic else kind
    made = _reused(store, state, head, old, chosen) if old is not None else None
    if made is None:
        ids, marks, z = _everybody(store, state, head)
        if chosen == "halfbytes" and len(z) < 1000:
            chosen = "bytes"  # too few to learn a code book from
        if chosen == "bytes" and not len(z):
            chosen = "flat"
        made = INDEXES[chosen].build(z, coverage), ids, marks
    index, ids, marks = made
    arrays = {"ids": ids.astype("<i8"), "marks": marks.astype("<i8"), **index.arrays()}
    layout = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    data = b"".join(np.ascontiguousarray(array).data.cast("B") if array.size else b"" for array in arrays.values())
    manifest = Manifest(
        format=FORMAT,
        kind=index.kind,
        automatic=automatic,
        parameters=index.parameters,
        arrays=layout,
        model=state.model,
        head=head_fingerprint,
        revision=state.revision,
        last_id=int(ids[-1]) if len(ids) else 0,
        count=len(ids),
        digest=_digest(marks),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return Projection(index, ids, marks, manifest.sealed()), data


def save_projection(folder: Path, projection: Projection, data: bytes) -> None:
    """Write both files, each whole. The manifest comes last because it makes the index valid. Raises OSError."""
    for name, content in (
        (INDEX_FILE, data),
        (MANIFEST_FILE, json.dumps(asdict(projection.manifest), indent=1).encode()),
    ):
        replace_file(folder / name, content, private=True)


def read_projection(folder: Path, state: State, head: Head, head_fingerprint: str) -> Projection | None:
    """The stored projection, of any state; None where it is missing, altered or of another model or head."""
    for number in range(_LOOKS):
        manifest = read_manifest(folder)
        if manifest is None or (manifest.model, manifest.head) != (state.model, head_fingerprint):
            return None
        try:
            data = patiently((folder / INDEX_FILE).read_bytes)
            if hashlib.sha256(data).hexdigest() == manifest.sha256:
                return _restored(data, manifest, head.dim)
        except (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, RuntimeError):
            pass  # the file is not as the manifest says; FAISS raises RuntimeError
        if read_manifest(folder) == manifest:
            if number + 1 == _LOOKS or not (folder / HOLDER_FILE).exists():
                break
            time.sleep(_PAUSE)
    return None


def _reused(
    store: Store, state: State, head: Head, old: Projection, kind: str
) -> tuple[Any, np.ndarray, np.ndarray] | None:
    """Index, ids and marks of the present faces, made from `old`; None where that is not possible."""
    tuned = old.manifest.parameters.get("faces", state.faces)
    if old.index.kind != kind or not len(old.ids) or not state.faces < 2 * tuned or not tuned < 2 * max(state.faces, 1):
        return None
    present = store.ids()
    kept = np.isin(old.ids, present, assume_unique=True)
    index, ids, marks = old.index, old.ids, old.marks
    if not kept.all():
        if kind == "bytes":  # a removed face may have set the range of their grid
            return None
        index, ids, marks = index.kept(kept), ids[kept], marks[kept]
    if not len(ids):
        return None
    blocks = list(store.blocks(after=int(old.ids[-1])))
    if blocks:
        index = index.extended(_Projected(head, np.concatenate([block.vectors for block in blocks])))
        ids, marks = (
            np.concatenate([have, *(getattr(block, name) for block in blocks)])
            for have, name in ((ids, "ids"), (marks, "marks"))
        )
    if len(ids) != state.faces or _digest(marks) != state.digest:
        return None
    return index, ids, marks


def _everybody(store: Store, state: State, head: Head) -> tuple[np.ndarray, np.ndarray, _Projected]:
    """Ids (n,) int64, marks (n,) int64 and projections of all faces. Raises GalleryDamaged.

    Blocks are copied into arrays of the final size, so that a million vectors are never in memory twice.
    """
    ids, marks = np.empty(state.faces, np.int64), np.empty(state.faces, np.int64)
    vectors, n = np.empty((state.faces, state.dim), np.float32), 0
    for block in store.blocks():
        end = n + len(block.ids)
        if end > state.faces:
            raise GalleryDamaged(f"{store.path} holds more faces than it says; run `facedex doctor`")
        ids[n:end], marks[n:end], vectors[n:end] = block.ids, block.marks, block.vectors
        n = end
    return ids[:n], marks[:n], _Projected(head, vectors[:n])


class _Projected:
    """z (n, dim) of vectors (n, d), computed for the requested rows alone: all of z may be several times as large."""

    def __init__(self, head: Head, vectors: np.ndarray) -> None:
        self._head, self._vectors, self.shape = head, vectors, (len(vectors), head.dim)

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return _projected(self._head, self._vectors[rows])


def _restored(data: bytes, manifest: Manifest, dim: int) -> Projection | None:
    arrays, at = {}, 0
    for name, dtype, shape in manifest.arrays:
        kind = np.dtype(dtype)
        size = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, kind, size, at).reshape(shape)
        at += size * kind.itemsize
    ids, marks = arrays.pop("ids"), arrays.pop("marks")
    index = INDEXES[manifest.kind].restore(arrays, manifest.parameters)
    if len(index) != len(ids) or index.dim != dim:
        return None
    return Projection(index, ids, marks, manifest)


def _projected(head: Head, vectors: np.ndarray) -> np.ndarray:
    z = head.project(vectors)
    if not np.isfinite(z).all():
        raise ValueError("faces to index must be finite")  # FAISS would not notice
    return z


def _digest(marks: np.ndarray) -> int:
    """The sum of marks modulo 2^48. An overflow of 64 bits does not matter, since 2^48 divides 2^64."""
    return int(marks.astype(np.uint64).sum(dtype=np.uint64)) % MODULUS
