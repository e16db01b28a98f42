"""The FAISS projection of a gallery: derived from gallery.db, thrown away and built again at any doubt.

It holds z = w * f(x) under L1, so the index's order is the head's (see head.py), and face ids. `faces.faiss` is
bound by `manifest.json` to the revision, the model and its own hash. Faces enrolled since are searched flat beside
it until the next compaction, so one more photo never rewrites a large file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from facedex.head import Head
from facedex.modelfile import replace_file
from facedex.store import State, Store

INDEX_FILE = "faces.faiss"
MANIFEST_FILE = "manifest.json"
FORMAT = "facedex-projection/1"
KINDS = ("flat", "ivf")

_COMPACT_FACES = 1000  # or a tenth of the index, whichever is more


@dataclass(frozen=True)
class Manifest:
    """What a projection file was made from."""

    format: str
    kind: str
    parameters: dict[str, int]
    model: str
    head: str
    revision: int
    last_id: int
    count: int
    faces: str  # Store.digest of these: another gallery's, or another copy's, are not taken for them
    sha256: str


class Projection:
    """A searchable projection of one revision of a gallery."""

    def __init__(self, index: Any, manifest: Manifest, tail: Any) -> None:
        self._index = index
        self.manifest = manifest
        self._tail = tail

    def __len__(self) -> int:
        return self._index.ntotal + self._tail.ntotal

    @property
    def exact(self) -> bool:
        """Whether the shortlist is the head's own, or an approximation of it."""
        return self.manifest.kind == "flat"

    @property
    def wants_compaction(self) -> bool:
        return self._tail.ntotal > max(_COMPACT_FACES, self._index.ntotal // 10)

    def search(self, z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest faces of one projected probe (dim,): L1 distances and face ids, nearest first.

        Ties go to the face enrolled first.
        """
        query = np.ascontiguousarray(z, np.float32).reshape(1, -1)
        distances, ids = [], []
        for index in (self._index, self._tail):
            if index.ntotal:
                d, i = index.search(query, min(k, index.ntotal))
                distances.append(d[0])
                ids.append(i[0])
        if not ids:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        d, i = np.concatenate(distances), np.concatenate(ids)
        found = i >= 0
        d, i = d[found], i[found]
        order = np.lexsort((i, d))[:k]
        return d[order], i[order]


def build(
    store: Store, state: State, head: Head, head_fingerprint: str, kind: str = "flat"
) -> tuple[Projection, bytes]:
    """A projection of all faces, and the bytes of its index. Raises GalleryDamaged for a broken record."""
    ids, vectors = store.vectors()
    last_id = int(ids[-1]) if len(ids) else 0
    index, parameters = _make_index(kind, state.dim, len(ids))
    if len(ids):
        z = head.project(vectors)
        if not np.isfinite(z).all() or len(np.unique(ids)) != len(ids):
            raise ValueError("faces to index must be finite and have ids of their own")  # FAISS would not notice
        if not index.is_trained:
            index.train(z)
        index.add_with_ids(z, ids)
    data = faiss.serialize_index(index).tobytes()
    manifest = Manifest(
        FORMAT, kind, parameters, state.model, head_fingerprint, state.revision,
        last_id, len(ids), store.digest(last_id), hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    return Projection(index, manifest, _flat(state.dim)), data


def save(folder: Path, projection: Projection, data: bytes) -> None:
    """Write both files, each whole: the manifest last, because it is what makes the index count."""
    replace_file(folder / INDEX_FILE, data)
    text = json.dumps(asdict(projection.manifest), indent=1, sort_keys=True)
    replace_file(folder / MANIFEST_FILE, text.encode())
    for name in (INDEX_FILE, MANIFEST_FILE):
        (folder / name).chmod(0o600)


def load(folder: Path, store: Store, state: State, head: Head, head_fingerprint: str) -> Projection | None:
    """The stored projection with the newer faces beside it; None when it is missing, stale or altered."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST_FILE).read_text("utf-8")))
        data = (folder / INDEX_FILE).read_bytes()
        if (
            (manifest.format, manifest.model, manifest.head) != (FORMAT, state.model, head_fingerprint)
            or not state.rewritten <= manifest.revision <= state.revision
            or hashlib.sha256(data).hexdigest() != manifest.sha256
            or manifest.faces != store.digest(int(manifest.last_id))
        ):
            return None
        index: Any = faiss.deserialize_index(np.frombuffer(data, np.uint8))
    except (OSError, ValueError, TypeError, OverflowError, RuntimeError):  # RuntimeError: an index of a newer FAISS
        return None
    if index.ntotal != manifest.count or index.d != state.dim:
        return None
    return Projection(index, manifest, _tail(store, state.dim, head, manifest.last_id))


def discard(folder: Path) -> None:
    """Delete the projection's files; the next reader builds them anew."""
    for name in (MANIFEST_FILE, INDEX_FILE):
        (folder / name).unlink(missing_ok=True)


def stored_kind(folder: Path) -> str:
    """The kind of index a gallery was given, whether or not that still counts; "flat" where nothing says so."""
    try:
        kind = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))["kind"]
    except (OSError, ValueError, TypeError, KeyError):
        return "flat"
    return kind if kind in KINDS else "flat"


def _tail(store: Store, dim: int, head: Head, last_id: int) -> Any:
    tail = _flat(dim)
    ids, vectors = store.vectors(after=last_id)
    if len(ids):
        tail.add_with_ids(head.project(vectors), ids)
    return tail


def _flat(dim: int) -> Any:
    return faiss.IndexIDMap2(faiss.IndexFlat(dim, faiss.METRIC_L1))


def _make_index(kind: str, dim: int, count: int) -> tuple[Any, dict[str, int]]:
    if kind == "ivf" and count >= 256:
        lists = max(1, int(np.sqrt(count)))
        quantizer: Any = faiss.IndexFlat(dim, faiss.METRIC_L1)
        index: Any = faiss.IndexIVFFlat(quantizer, dim, lists, faiss.METRIC_L1)
        index.own_fields = True
        quantizer.this.disown()
        index.nprobe = max(1, lists // 8)
        index.cp.min_points_per_centroid = 5
        return index, {"nlist": lists, "nprobe": int(index.nprobe)}
    return _flat(dim), {}
