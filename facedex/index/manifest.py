"""What a projection file was made from: the JSON file beside it, which makes it count."""

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
COVERAGE = 0.999  # of the nearest five, where the index is approximate

_TAIL = 5000  # faces beside the index, or a tenth of it where that is less, but not below a thousand


@dataclass(frozen=True)
class Manifest:
    """What a projection file was made from, and where its arrays lie in it: name, dtype, shape, one after another."""

    format: str
    kind: str
    automatic: bool  # whether the kind follows the size
    parameters: dict[str, Any]
    arrays: list[list[Any]]
    model: str
    head: str
    revision: int
    last_id: int
    count: int
    digest: int  # of these faces, as Store keeps it: another gallery's, or another copy's, are not taken for them
    sha256: str
    seal: str = ""  # SHA-256 of all of the above

    def sealed(self) -> Manifest:
        return replace(self, seal=hashlib.sha256(json.dumps(asdict(replace(self, seal=""))).encode()).hexdigest())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest, if it is whole and of this format."""
    try:
        manifest = Manifest(**json.loads(patiently((folder / MANIFEST_FILE).read_bytes)))
        return manifest if manifest.format == FORMAT and manifest.sealed() == manifest else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def wants_compaction(folder: Path, state: State) -> bool:
    """Whether so many faces are not in the stored index yet that it should be written anew; does not read it."""
    manifest = read_manifest(folder)
    count = manifest.count if manifest else 0
    return state.faces - count > min(_TAIL, max(1000, count // 10)) or manifest is None


def discard_projection(folder: Path) -> None:
    """Delete the projection's files; the next reader builds them anew. Raises OSError."""
    for name in (MANIFEST_FILE, INDEX_FILE):
        patiently(partial((folder / name).unlink, missing_ok=True))


def stored_kind(folder: Path) -> str:
    """The kind of index a gallery was given by name; "auto" where it follows the size."""
    manifest = read_manifest(folder)
    return "auto" if manifest is None or manifest.automatic else manifest.kind


def stored_coverage(folder: Path) -> float:
    """The coverage an approximate index was asked for."""
    return float(stored_parameters(folder).get("coverage", COVERAGE))


def stored_parameters(folder: Path) -> dict[str, Any]:
    """What the stored index was made with, and for an approximate one what was measured; {} where there is none."""
    manifest = read_manifest(folder)
    return manifest.parameters if manifest else {}
