"""The JSON file that says what the index file beside it was made from; without it the index file is not valid."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from facedex.files import patiently
from facedex.store.rows import State

INDEX_FILE = "faces.faiss"
MANIFEST_FILE = "manifest.json"
FORMAT = "facedex-projection/2"
COVERAGE = 0.999  # share of the five nearest faces that an approximate index must find

_TAIL = 5000  # newer faces after which the index is written anew; or a tenth of it, but at least a thousand


@dataclass(frozen=True)
class Manifest:
    """What an index file was made from, and its `arrays` in file order: name, dtype, shape."""

    format: str
    kind: str
    automatic: bool  # whether the number of faces chooses the kind
    parameters: dict[str, Any]
    arrays: list[list[Any]]
    model: str
    head: str
    revision: int
    last_id: int
    count: int
    digest: int  # sum of the marks of the faces, as Store keeps it: tells apart galleries and copies of a gallery
    sha256: str
    seal: str = ""  # SHA-256 of all of the above

    def sealed(self) -> Manifest:
        return replace(self, seal=hashlib.sha256(json.dumps(asdict(replace(self, seal=""))).encode()).hexdigest())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a gallery; None where it is missing, altered or of another format."""
    try:
        manifest = Manifest(**json.loads(patiently((folder / MANIFEST_FILE).read_bytes)))
        return manifest if manifest.format == FORMAT and manifest.sealed() == manifest else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def wants_compaction(folder: Path, state: State) -> bool:
    """Whether the stored index lacks so many faces that it should be written anew. Reads only the manifest."""
    manifest = read_manifest(folder)
    count = manifest.count if manifest else 0
    return state.faces - count > min(_TAIL, max(1000, count // 10)) or manifest is None


def discard_projection(folder: Path) -> None:
    """Delete the index file and its manifest; the next reader builds them anew. Raises OSError."""
    for name in (MANIFEST_FILE, INDEX_FILE):
        patiently(partial((folder / name).unlink, missing_ok=True))


def stored_kind(folder: Path) -> str:
    """The kind of index that was asked for by name; "auto" where the number of faces chooses it."""
    manifest = read_manifest(folder)
    return "auto" if manifest is None or manifest.automatic else manifest.kind


def stored_coverage(folder: Path) -> float:
    """The coverage that was asked for, between 0 and 1."""
    return float(stored_parameters(folder).get("coverage", COVERAGE))


def stored_parameters(folder: Path) -> dict[str, Any]:
    """The parameters of the stored index, with the measured coverage of an approximate one; {} without an index."""
    manifest = read_manifest(folder)
    return manifest.parameters if manifest else {}
