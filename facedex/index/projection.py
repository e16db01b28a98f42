"""Builds, saves, reads, follows and searches the projection of a gallery.

The projection is derived from gallery.db and is built again at any doubt. It finds the faces that the head
(facedex/model/head.py) then scores. The number of faces decides the kind of index (flat.py, quantised.py).
`faces.faiss` is read whole, never mapped: the checked bytes are the used bytes, and the file can be replaced meanwhile.
Newer faces are searched beside the file until the next compaction, so one more photo never rewrites a large file.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from facedex.errors import GalleryDamaged
from facedex.files import patiently, replace_file
from facedex.index.flat import Flat, Found, projected
from facedex.index.manifest import (
    COVERAGE,
    FORMAT,
    INDEX_FILE,
    MANIFEST_FILE,
    Manifest,
    read_manifest,
)
from facedex.index.quantised import FEWEST, Quantised
from facedex.log import logger
from facedex.model.head import Head
from facedex.store.lock import HOLDER_FILE
from facedex.store.rows import State
from facedex.store.schema import MODULUS
from facedex.store.store import Store

_log = logger(__name__)

INDEXES: dict[str, type[Flat] | type[Quantised]] = {"flat": Flat, "quantised": Quantised}
KINDS = ("auto", *INDEXES)

# The largest gallery that is searched exactly. With z of 512 numbers a search then takes 2 ms and 41 MB of memory.
_EXACT = 20_000
# A writer replaces the two files one after the other. In between they do not fit together, so a reader tries again.
_LOOKS, _PAUSE = 4, 0.05


class Projection:
    """The faces of one state of a gallery: `index` with `ids` and `marks` (n,) int64, and a tail of newer faces."""

    def __init__(
        self, index: Flat | Quantised, ids: np.ndarray, marks: np.ndarray, dim: int, manifest: Manifest
    ) -> None:
        """`dim`: the length of z."""
        self.index, self.ids, self.marks, self.manifest = index, ids, marks, manifest
        self._tail = Flat(np.empty((0, dim), np.float32))
        self._tail_ids, self._tail_marks = np.empty(0, np.int64), np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.ids) + len(self._tail_ids)

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
            self._tail = self._tail.extended(projected(head, block.vectors))
            self._tail_ids = np.concatenate([self._tail_ids, block.ids])
            self._tail_marks = np.concatenate([self._tail_marks, block.marks])
        return len(self) == state.faces and self.digest == state.digest

    def search(self, z: np.ndarray, k: int) -> Found:
        """The faces nearest to one projected probe `z` (dim,) float32: a flat.Found with face ids in place of rows."""
        query = np.ascontiguousarray(z, np.float32)
        a, b = self.index.search(query, k), self._tail.search(query, k)
        bounds = np.concatenate([a.bounds, b.bounds])
        ids = np.concatenate([self.ids[a.rows], self._tail_ids[b.rows]])
        order = np.lexsort((ids, bounds))
        return Found(bounds[order], ids[order], min(a.horizon, b.horizon))

    def merged(self) -> tuple[Flat | Quantised, np.ndarray, np.ndarray]:
        """An index of all faces, the tail's too, with ids and marks."""
        ids, marks = np.concatenate([self.ids, self._tail_ids]), np.concatenate([self.marks, self._tail_marks])
        return self.index.extended(self._tail.z), ids, marks


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

    An `old` projection of this model and head is extended where its kind stays and only new faces are missing. After a
    removal all codes are learned again, so that nothing is left of the removed faces. Only the figures of the tuning
    stay, until the number of faces has doubled or halved.
    """
    begun = time.perf_counter()
    chosen = kind if kind != "auto" else "flat" if state.faces <= _EXACT else "quantised"
    if state.faces < FEWEST:
        chosen = "flat"
    parameters = None
    if old is not None and old.index.kind == chosen:
        tuned = old.manifest.parameters.get("faces", state.faces)
        if tuned < 2 * state.faces and state.faces < 2 * tuned:
            parameters = old.manifest.parameters
    if old is not None and parameters is not None and old.follow(store, state, head):
        index, ids, marks = old.merged()
    else:
        ids, marks, vectors = _everybody(store, state)
        if chosen == "flat":
            index = Flat(projected(head, vectors))
        else:
            index = Quantised.build(head, vectors, coverage, parameters)
    arrays = {"ids": ids.astype("<i8"), "marks": marks.astype("<i8"), **index.arrays()}
    layout = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    data = b"".join(np.ascontiguousarray(array).data.cast("B") if array.size else b"" for array in arrays.values())
    manifest = Manifest(
        format=FORMAT,
        kind=index.kind,
        automatic=kind != index.kind,
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
    seconds = time.perf_counter() - begun
    _log.info("built the index of %s: %s, %d faces, in %.2f s", store.path.parent, index.kind, len(ids), seconds)
    return Projection(index, ids, marks, head.dim, manifest.sealed()), data


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
                return _restored(data, manifest, head)
        except (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, RuntimeError, MemoryError):
            pass  # the file is not as the manifest says; FAISS raises RuntimeError or MemoryError
        if read_manifest(folder) == manifest:
            if number + 1 == _LOOKS or not (folder / HOLDER_FILE).exists():
                break
            time.sleep(_PAUSE)
    return None


def _everybody(store: Store, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids (n,) int64, marks (n,) int64 and embeddings (n, d) float32 of all faces. Raises GalleryDamaged.

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
    return ids[:n], marks[:n], vectors[:n]


def _restored(data: bytes, manifest: Manifest, head: Head) -> Projection | None:
    arrays, at = {}, 0
    for name, dtype, shape in manifest.arrays:
        kind = np.dtype(dtype)
        size = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, kind, size, at).reshape(shape)
        at += size * kind.itemsize
    ids, marks = arrays.pop("ids"), arrays.pop("marks")
    index = INDEXES[manifest.kind].restore(arrays, manifest.parameters, head)
    return Projection(index, ids, marks, head.dim, manifest) if len(index) == len(ids) else None


def _digest(marks: np.ndarray) -> int:
    """The sum of marks modulo 2^48. An overflow of 64 bits does not matter, since 2^48 divides 2^64."""
    return int(marks.astype(np.uint64).sum(dtype=np.uint64)) % MODULUS
