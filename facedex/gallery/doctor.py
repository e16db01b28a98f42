"""A gallery's health: everything that can be wrong with its files, looked for and, where possible, put right.

Each part is looked at on its own, so that one fault hides no other: folder, database, records, model, index.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedex.engines.binding import mend_binding, read_binding
from facedex.errors import (  # fmt: skip
    EngineAway,
    EngineError,
    FacedexError,
    GalleryDamaged,
    GalleryError,
    GalleryMismatch,
    GalleryNotFound,
    ModelError,
)
from facedex.gallery.backup import sweep
from facedex.gallery.gallery import Gallery
from facedex.index.manifest import INDEX_FILE, MANIFEST_FILE, discard_projection, stored_kind
from facedex.model.modelfile import read_model, shipped_model, shipped_models
from facedex.photos.sources import source_path
from facedex.store import modelcopy
from facedex.store.database import connect
from facedex.store.lock import writing
from facedex.store.store import BUSY_SECONDS, FILE, Store, is_there

_PROBES = 100  # faces that are looked up through the index and exhaustively, at most
_SCORED = 2_000_000  # pairs that this may cost
_OWN = re.compile(
    r"gallery\.db(-\w+)?|faces\.faiss|(manifest|engine)\.json|writer\.\w+|model-[0-9a-f]{16}\.\w+|\..+\.new"
)
_BLOCK = 20_000  # faces whose records are read together


@dataclass(frozen=True)
class Finding:
    """One part of a gallery: `state` is "sound", "repaired", "warning" or "broken"; `detail` says what, and the remedy."""

    part: str
    state: str
    detail: str


def examine(
    folder: str | os.PathLike[str], model: str | os.PathLike[str] | None = None, drop: bool = False
) -> Iterator[Finding]:
    """Look at every part of a gallery and repair what can be.

    `model` is put in the place of a lost or damaged copy when it is the same one; else the shipped model is tried.
    `drop` deletes faces whose records are damaged. Raises GalleryNotFound, and GalleryBusy while another writes.
    """
    folder = Path(folder)
    if not is_there(folder):
        raise GalleryNotFound(f"There is no gallery in {folder}; make one with `facedex enroll`")
    writable = True
    try:
        with writing(folder, BUSY_SECONDS):  # which takes away what killed writers left
            sweep(folder)
            yield _folder(folder)
    except GalleryError as error:
        if type(error) is not GalleryError:
            raise
        writable = False
        yield Finding("folder", "warning", f"{error}; nothing can be repaired here")
    for part, look in (
        ("database", _database), ("records", _records), ("model", _model), ("index", _index),
    ):  # fmt: skip
        try:
            yield look(folder, _Means(writable, model, drop))
        except GalleryDamaged as error:
            yield Finding(part, "broken", f"{error}; `facedex restore` brings a backup back")
            return
        except FacedexError as error:
            yield Finding(part, "broken", str(error))


@dataclass(frozen=True)
class _Means:
    """What may be done."""

    write: bool
    model: str | os.PathLike[str] | None
    drop: bool


def _folder(folder: Path) -> Finding:
    """Permissions of what belongs to a gallery."""
    if os.name == "posix":
        inside = list(folder.iterdir())
        own = [path for path in inside if _OWN.fullmatch(path.name)]
        if len(own) == len(inside):  # a folder that holds more may be shared on purpose
            own.append(folder)
        wide = [path for path in own if _is_wide(path)]
        for path in wide:
            try:
                path.chmod(0o700 if path.is_dir() else 0o600)
            except OSError as error:
                return Finding(
                    "folder", "warning", f"{path} is open to others and not yours ({error.strerror}); chmod it"
                )
        if wide:
            names = ", ".join(sorted(path.name for path in wide))
            return Finding("folder", "repaired", f"readable by the owner alone again: {names}")
    return Finding("folder", "sound", "private, nothing left of killed writers")


def _is_wide(path: Path) -> bool:
    """Whether others may open it. What is gone by now, as SQLite's files may be, nobody can; nor does a link say."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return not stat.S_ISLNK(status.st_mode) and bool(stat.S_IMODE(status.st_mode) & 0o077)


def _database(folder: Path, means: _Means) -> Finding:
    """SQLite's own structure."""

    def faults(db: sqlite3.Connection) -> list[str]:
        return [str(line) for (line,) in db.execute("PRAGMA integrity_check").fetchall() if line != "ok"] + [
            f"row {row[1]} of {row[0]} refers to nothing" for row in db.execute("PRAGMA foreign_key_check").fetchall()
        ]

    with Store(folder) as store:  # says what is no gallery, or a newer one's
        state = store.state
    path = folder / FILE
    try:
        with closing(connect(path, BUSY_SECONDS)[0]) as db:
            found = faults(db)
            if found and means.write:
                with writing(folder, BUSY_SECONDS):
                    db.execute("REINDEX")  # touches no table: where that was all, nothing is lost
                if not faults(db):
                    return Finding("database", "repaired", f"its indexes were built anew ({found[0]})")
    except sqlite3.Error as error:
        found = [str(error)]
    if found:
        raise GalleryDamaged(f"{path} is damaged: {found[0]}" + (f", and {len(found) - 1} more" if found[1:] else ""))
    return Finding("database", "sound", f"whole, at revision {state.revision}")


def _records(folder: Path, means: _Means) -> Finding:
    """Every face's checksum."""
    with Store(folder) as store:
        ids = [int(i) for i in store.owners()[0]]
        damaged = [
            face for start in range(0, len(ids), _BLOCK) for face in _damaged(store, ids[start : start + _BLOCK])
        ]
        if not damaged and store.count()[1] != len(ids):
            raise GalleryDamaged(f"{folder / FILE} holds {len(ids):,} faces and says {store.count()[1]:,}")
        if not damaged:
            found = f"{len(ids):,} faces of {store.counted()[0]:,} people, every checksum right"
            state = store.state
            if store.counted() == (state.people, state.faces, state.digest):
                return Finding("records", "sound", found)
            if not means.write:
                return Finding("records", "warning", f"{found}, but summed up wrongly; run this where it can write")
            with writing(folder, BUSY_SECONDS):
                store.recount()
            return Finding("records", "repaired", f"{found}, but summed up wrongly; counted anew")
        lost = ", ".join(f"{source_path(source)} ({name})" for source, name in map(store.described, damaged[:20]))
        lost += f" and {len(damaged) - 20} more" if len(damaged) > 20 else ""
        if means.drop and means.write:
            with writing(folder, BUSY_SECONDS):
                discard_projection(folder)
                store.remove_faces(damaged)
                store.recount()
                store.scrub()
            return Finding("records", "repaired", f"damaged faces deleted, enroll again: {lost}")
    return Finding(
        "records", "broken",
        f"{len(damaged)} damaged: {lost}; restore a backup, or `facedex doctor --drop` deletes them "
        "so that their photos can be enrolled again",
    )  # fmt: skip


def _damaged(store: Store, ids: list[int]) -> list[int]:
    """Which of these faces do not mean what was written, found by halving."""
    if not ids:
        return []
    try:
        vectors = store.vectors(ids)[1]
        if np.isfinite(vectors).all():
            return []
    except GalleryDamaged:
        pass
    if len(ids) == 1:
        return ids
    middle = len(ids) // 2
    return _damaged(store, ids[:middle]) + _damaged(store, ids[middle:])


def _model(folder: Path, means: _Means) -> Finding:
    """The gallery's copy of its model, and copies that belong to nobody."""
    with Store(folder) as store:
        state = store.state
    try:
        modelcopy.read(folder, state)
    except (ModelError, GalleryMismatch) as error:
        for candidate in [*([means.model] if means.model else []), *map(shipped_model, shipped_models())]:
            model = read_model(candidate)
            if means.write and model.fingerprint == state.model and modelcopy.file_name(model) == state.model_file:
                with writing(folder, BUSY_SECONDS):
                    modelcopy.keep(folder, model)
                return Finding("model", "repaired", f"the copy was put back from {candidate}")
        if re.fullmatch(r"model-[0-9a-f]{16}\.safetensors", state.model_file) is None:
            raise GalleryDamaged(f"{folder / FILE} names no model ({state.model_file!r})") from None
        return Finding(
            "model", "broken",
            f"{error}; name the file by `facedex doctor --model FILE`, or move the gallery to another model by "
            "`facedex reindex --model FILE`, which encodes the photos anew",
        )  # fmt: skip
    stray = {path for path in modelcopy.files(folder) if path.stem != Path(state.model_file).stem}
    if stray and means.write:
        with writing(folder, BUSY_SECONDS):
            modelcopy.sweep(stray, state.model_file)
        return Finding("model", "repaired", f"models of an interrupted move deleted: {len(stray)} files")
    return Finding("model", "sound", f"{state.model_file} is the gallery's")


def _index(folder: Path, means: _Means) -> Finding:
    """The projection: of this truth, and answering as the truth does."""
    before = _contents(folder)
    with Gallery(folder) as gallery:
        noted = means.write and _noted(folder)
        remote = gallery.remote()
        kind = stored_kind(folder) if remote is None else "auto"
        mended = remote is not None and not remote.audit()
        if remote is not None and mended:
            if not means.write:
                return Finding("index", "warning", f"{remote.binding.url} does not hold what the database does")
            with writing(folder, BUSY_SECONDS):
                remote.mend()
        with Store(folder) as store:
            ids = store.owners()[0]
            chosen = np.random.default_rng(0).permutation(ids)[: min(_PROBES, 1 + _SCORED // max(1, len(ids)))]
            probes = store.vectors([int(i) for i in chosen])[1]
        try:
            exact = _agrees(gallery, probes)
        except EngineAway:
            raise
        except EngineError:  # rows there that are not what was sent
            exact = False
        mended = mended or _contents(folder) != before
        if not exact and means.write:
            gallery.reindex(kind=kind)
            if not _agrees(gallery, probes):
                return Finding("index", "broken", "built anew, it still misses the nearest; please report this")
            mended = True
        with Store(folder) as store:
            cut_short = means.write and store.unscrubbed
            left = ", ".join(url for url, _ in read_binding(store).left)
        if cut_short:
            gallery.reindex(kind=kind)
            return Finding("index", "repaired", "a deletion was cut short: what it had left is gone from every file")
    if mended:
        return Finding("index", "repaired", "missing, stale or altered; built anew")
    if not exact:
        return Finding("index", "warning", "it does not answer as the database does; run `facedex reindex`")
    if noted:
        return Finding("index", "repaired", "it answers as the database does; where it is was noted anew")
    if left:
        return Finding(
            "index", "warning", f"rows of this gallery are left in {left}; run `facedex reindex`, which clears them"
        )
    where = "" if remote is None else f" in {remote.binding.url}"
    return Finding("index", "sound", f"{len(probes)} faces looked up{where}, each the nearest to itself")


def _noted(folder: Path) -> bool:
    """Whether it had to be noted anew where the index is."""
    with writing(folder, BUSY_SECONDS), Store(folder) as store:
        return mend_binding(store)


def _agrees(gallery: Gallery, probes: np.ndarray) -> bool:
    def best(probe: np.ndarray, exhaustive: bool) -> float:
        return gallery.match(probe, top=1, exhaustive=exhaustive)[0].logit

    missed = sum(abs(best(probe, False) - best(probe, True)) >= 1e-4 for probe in probes)
    # A graph may fail to reach a face now and then, which is what its coverage says.
    return missed <= (0 if gallery.remote() is None else len(probes) // 50)


def _contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of the projection's files."""
    files = {name: folder / name for name in (INDEX_FILE, MANIFEST_FILE)}
    found = {}
    for name, path in files.items():
        with suppress(OSError):
            status = path.stat()
            found[name] = status.st_size, status.st_mtime_ns
    return found
