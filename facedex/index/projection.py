"""The projection of a gallery for searching: derived from gallery.db, thrown away and built again at any doubt.

It holds z = w * F f(x) under L1, so the index's order is the head's (see head.py), in the form that suits its size (see
codes.py). `faces.faiss` is bound by `manifest.json` to the faces it is of, to model and head, and to its own hash, and
is read whole, never mapped: what was checked is what is used, and a file can be replaced while others read it. Faces
enrolled since are searched beside it until the next compaction, so one more photo never rewrites a large file.
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

# Numbers up to which a kind is the best: with 512 a face 5,000 faces and 75,000. Beyond, half-bytes.
_SIZES = ((2_560_000, "flat"), (38_400_000, "bytes"))
# The two files are exchanged one after the other: who looks in between, while somebody writes, finds what does not fit, but
# not for long.
_LOOKS, _PAUSE = 4, 0.05


class Projection:
    """A searchable projection of one state of a gallery: `ids` and `marks` (n,) of the faces in `index`, and a tail."""

    def __init__(self, index: Any, ids: np.ndarray, marks: np.ndarray, manifest: Manifest) -> None:
        self.index, self.ids, self.marks, self.manifest = index, ids, marks, manifest
        self._tail = Flat(np.empty((0, index.dim), np.float32))
        self._tail_ids, self._tail_marks = np.empty(0, np.int64), np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.ids) + len(self._tail_ids)

    @property
    def exact(self) -> bool:
        """Whether the shortlist is provably the head's own, or an approximation of it."""
        return self.index.exact

    @property
    def last_id(self) -> int:
        """The newest face in it."""
        for ids in (self._tail_ids, self.ids):
            if len(ids):
                return int(ids[-1])
        return 0

    @property
    def digest(self) -> int:
        """Of its faces, as Store keeps it."""
        return (_sum(self.marks) + _sum(self._tail_marks)) % MODULUS

    def follow(self, store: Store, state: State, head: Head) -> bool:
        """Take in the faces enrolled since; False when that does not make it the gallery's present state."""
        for block in store.blocks(after=self.last_id):
            self._tail = self._tail.extended(_projected(head, block.vectors))
            self._tail_ids = np.concatenate([self._tail_ids, block.ids])
            self._tail_marks = np.concatenate([self._tail_marks, block.marks])
        return len(self) == state.faces and self.digest == state.digest

    def search(self, z: np.ndarray, k: int) -> Found:
        """The faces nearest to one projected probe (dim,), with ids for rows: see codes.Found."""
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

    From an `old` projection of this model and head the faces that are still there are taken as they are, where the
    kind stays (and, of bytes, nobody went); without one, all are read.
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
        FORMAT, index.kind, automatic, index.parameters, layout, state.model, head_fingerprint, state.revision,
        int(ids[-1]) if len(ids) else 0, len(ids), _sum(marks), hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    return Projection(index, ids, marks, manifest.sealed()), data


def save_projection(folder: Path, projection: Projection, data: bytes) -> None:
    """Write both files, each whole: the manifest last, because it is what makes the index count."""
    for name, content in (
        (INDEX_FILE, data),
        (MANIFEST_FILE, json.dumps(asdict(projection.manifest), indent=1).encode()),
    ):
        replace_file(folder / name, content, private=True)


def load_projection(folder: Path, store: Store, state: State, head: Head, head_fingerprint: str) -> Projection | None:
    """The stored projection with the newer faces beside it; None when it is missing, stale or altered."""
    stored = read_projection(folder, state, head, head_fingerprint)
    return stored if stored is not None and stored.follow(store, state, head) else None


def read_projection(folder: Path, state: State, head: Head, head_fingerprint: str) -> Projection | None:
    """The stored projection of this model and head, whole, of whatever state; None when there is none."""
    for number in range(_LOOKS):
        manifest = read_manifest(folder)
        if manifest is None or (manifest.model, manifest.head) != (state.model, head_fingerprint):
            return None
        try:
            data = patiently((folder / INDEX_FILE).read_bytes)
            if hashlib.sha256(data).hexdigest() == manifest.sha256:
                return _restored(data, manifest, head.dim)
        except (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, RuntimeError):
            pass  # what is not as the manifest says; RuntimeError: FAISS's
        if read_manifest(folder) == manifest:
            if number + 1 == _LOOKS or not (folder / HOLDER_FILE).exists():
                break
            time.sleep(_PAUSE)
    return None


def _reused(
    store: Store, state: State, head: Head, old: Projection, kind: str
) -> tuple[Any, np.ndarray, np.ndarray] | None:
    """An index of the present faces from an older one: those that went left out, those that came put in."""
    tuned = old.manifest.parameters.get("faces", state.faces)
    if old.index.kind != kind or not len(old.ids) or not state.faces < 2 * tuned or not tuned < 2 * max(state.faces, 1):
        return None
    present = store.ids()
    kept = np.isin(old.ids, present, assume_unique=True)
    index, ids, marks = old.index, old.ids, old.marks
    if not kept.all():
        if kind == "bytes":  # their grid lies midway between the least and the greatest, which may be those of who went
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
    if len(ids) != state.faces or _sum(marks) != state.digest:
        return None
    return index, ids, marks


def _everybody(store: Store, state: State, head: Head) -> tuple[np.ndarray, np.ndarray, _Projected]:
    """Ids (n,), marks (n,) and vectors of all faces, put in their places block by block: of a million there should not be
    two copies.
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
    """z (n, dim) of vectors (n, d), worked out for the rows that are asked for: it may be several times as large."""

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


def _sum(marks: np.ndarray) -> int:
    """Modulo 2^48; that 64 bits run over does not matter."""
    return int(marks.astype(np.uint64).sum(dtype=np.uint64)) % MODULUS
