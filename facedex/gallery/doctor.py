"""Checks of every part of a gallery, and the repair of what can be repaired.

The parts are folder, database, records, consents, library, model and index. Each is checked by itself, so that one
fault hides no other.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facedex.engines.binding import mend_binding, read_binding
from facedex.errors import (
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
from facedex.log import logger
from facedex.model.modelfile import read_model, shipped_model, shipped_models
from facedex.photos.sources import source_path
from facedex.store import expiry, modelcopy
from facedex.store.database import connect
from facedex.store.lock import writing
from facedex.store.store import FILE, Store, is_there
from facedex.wording import counted

_log = logger(__name__)

_PROBES = 100  # faces, at most, that are looked up both through the index and exhaustively
_SCORED = 2_000_000  # pairs of faces, at most, that the exhaustive look-ups score
_OWN_FILE = re.compile(
    r"gallery\.db(-\w+)?|faces\.faiss|(manifest|engine)\.json|writer\.\w+|model-[0-9a-f]{16}\.\w+|\..+\.new"
)
_BLOCK = 20_000  # faces read together


@dataclass(frozen=True)
class Finding:
    """The result for one part of a gallery.

    `state`: "sound", "repaired", "warning" or "broken". `detail`: what was found, and the remedy.
    """

    part: str
    state: str
    detail: str


def examine(
    folder: str | os.PathLike[str], model: str | os.PathLike[str] | None = None, drop: bool = False
) -> Iterator[Finding]:
    """Check every part of a gallery and repair what can be repaired; yields a finding for each part.

    `model`: a file that replaces a lost or damaged copy of the gallery's model, if it is that model. The models that
    ship are tried too. `drop`: delete faces whose rows are damaged. Raises GalleryNotFound, and GalleryBusy while
    another process writes.
    """
    for finding in _findings(Path(folder), model, drop):
        level = logging.INFO if finding.state == "sound" else logging.WARNING
        _log.log(level, "%s of %s: %s, %s", finding.part, folder, finding.state, finding.detail)
        yield finding


def _findings(folder: Path, model: str | os.PathLike[str] | None, drop: bool) -> Iterator[Finding]:
    if not is_there(folder):
        raise GalleryNotFound(f"There is no gallery in {folder}; make one with `facedex enroll`")
    writable = True
    try:
        with writing(folder):  # this deletes the unfinished files of killed writers
            sweep(folder)
            yield _folder(folder)
    except GalleryError as error:
        if type(error) is not GalleryError:
            raise
        writable = False
        yield Finding("folder", "warning", f"{error}; nothing can be repaired here")
    options = _Options(writable, model, drop)
    checks = {
        "database": _database,
        "records": _records,
        "consents": _consents,
        "library": _library,
        "model": _model,
        "index": _index,
    }
    for part, check in checks.items():
        try:
            yield check(folder, options)
        except GalleryDamaged as error:
            yield Finding(part, "broken", f"{error}; `facedex restore` brings a backup back")
            return
        except FacedexError as error:
            yield Finding(part, "broken", str(error))


@dataclass(frozen=True)
class _Options:
    """`write`: whether the folder can be written. `model` and `drop`: see `examine`."""

    write: bool
    model: str | os.PathLike[str] | None
    drop: bool


def _folder(folder: Path) -> Finding:
    """Check, and repair, that only the owner may open the gallery's files."""
    if os.name == "posix":
        inside = list(folder.iterdir())
        own = [path for path in inside if _OWN_FILE.fullmatch(path.name)]
        if len(own) == len(inside):  # a folder that holds other files may be shared on purpose
            own.append(folder)
        shared = [path for path in own if _is_shared(path)]
        for path in shared:
            try:
                path.chmod(0o700 if path.is_dir() else 0o600)
            except OSError as error:
                return Finding(
                    "folder", "warning", f"{path} is open to others and not yours ({error.strerror}); chmod it"
                )
        if shared:
            names = ", ".join(sorted(path.name for path in shared))
            return Finding("folder", "repaired", f"readable by the owner alone again: {names}")
    return Finding("folder", "sound", "private, nothing left of killed writers")


def _is_shared(path: Path) -> bool:
    """Whether others than the owner may open a file or folder. A link's permissions mean nothing."""
    try:
        status = path.lstat()
    except OSError:  # it is gone: SQLite deletes its log
        return False
    return not stat.S_ISLNK(status.st_mode) and bool(stat.S_IMODE(status.st_mode) & 0o077)


def _database(folder: Path, options: _Options) -> Finding:
    """Check SQLite's own structure. Its indexes can be built again from its tables."""
    with Store(folder) as store:  # raises for a file that is no gallery, and for a newer version
        state = store.state
    path = folder / FILE
    try:
        with closing(connect(path)[0]) as connection:
            faults = _faults(connection)
            if faults and options.write:
                with writing(folder):
                    connection.execute("REINDEX")
                if not _faults(connection):
                    return Finding("database", "repaired", f"its indexes were built anew ({faults[0]})")
    except sqlite3.Error as error:
        faults = [str(error)]
    if faults:
        more = f", and {len(faults) - 1} more" if faults[1:] else ""
        raise GalleryDamaged(f"{path} is damaged: {faults[0]}{more}")
    return Finding("database", "sound", f"whole, at revision {state.revision}")


def _faults(connection: sqlite3.Connection) -> list[str]:
    """What SQLite's own checks find. Raises sqlite3.Error."""
    lines = [str(line) for (line,) in connection.execute("PRAGMA integrity_check").fetchall()]
    orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    return [line for line in lines if line != "ok"] + [f"row {row[1]} of {row[0]} refers to nothing" for row in orphans]


def _records(folder: Path, options: _Options) -> Finding:
    """Check every face's checksum, and the counts and digest. With `drop` damaged faces are deleted."""
    with Store(folder) as store:
        ids: list[int] = store.ids().tolist()
        damaged = [
            face for start in range(0, len(ids), _BLOCK) for face in _damaged(store, ids[start : start + _BLOCK])
        ]
        if not damaged:
            return _sums(folder, store, len(ids), options)
        lost = ", ".join(f"{source_path(source)} ({name})" for source, name in map(store.described, damaged[:20]))
        lost += f" and {len(damaged) - 20} more" if len(damaged) > 20 else ""
        if options.drop and options.write:
            with writing(folder):
                discard_projection(folder)
                store.remove_faces(damaged)
                store.recount()
                store.scrub()
            return Finding("records", "repaired", f"damaged faces deleted, enroll again: {lost}")
    remedy = "restore a backup, or `facedex doctor --drop` deletes them so that their photos can be enrolled again"
    return Finding("records", "broken", f"{len(damaged)} damaged: {lost}; {remedy}")


def _sums(folder: Path, store: Store, faces: int, options: _Options) -> Finding:
    """Check, and repair, the counts and the digest of a gallery whose faces are all intact.

    Raises GalleryDamaged when faces are missing or too many.
    """
    state, sums = store.state, store.counted()
    if state.faces != faces:
        raise GalleryDamaged(f"{folder / FILE} holds {counted(faces, 'face')} and says {state.faces:,}")
    detail = f"{counted(faces, 'face')} of {counted(sums[0], 'person')}, every checksum right"
    if sums == (state.people, state.faces, state.digest):
        return Finding("records", "sound", detail)
    if not options.write:
        return Finding("records", "warning", f"{detail}, but summed up wrongly; run this where it can write")
    with writing(folder):
        store.recount()
    return Finding("records", "repaired", f"{detail}, but summed up wrongly; counted anew")


def _consents(folder: Path, options: _Options) -> Finding:
    """Count whose consent has expired."""
    with Store(folder) as store:
        photos, people = store.expired(expiry.today()), store.expired_people(expiry.today())
    if not photos and not people:
        return Finding("consents", "sound", "none has expired")
    expired = f"{counted(len(photos), 'photo')} expired, and all photos of {counted(len(people), 'person')}"
    return Finding("consents", "warning", f"{expired}; `facedex purge` deletes them, `facedex consent` prolongs them")


def _damaged(store: Store, ids: list[int]) -> list[int]:
    """Those of the faces whose rows are altered, found by halving."""
    if not ids:
        return []
    try:
        if np.isfinite(store.faces(ids).vectors).all():
            return []
    except GalleryDamaged:
        pass
    if len(ids) == 1:
        return ids
    middle = len(ids) // 2
    return _damaged(store, ids[:middle]) + _damaged(store, ids[middle:])


def _library(folder: Path, options: _Options) -> Finding:
    """Check every scanned face's checksum, and that of its name. With `drop` damaged photos are forgotten."""
    with Store(folder) as store:
        damaged = store.library.damaged()
        counts = store.library.counts()
        if not damaged:
            found = (
                f"{counted(counts.faces, 'face')} of {counted(counts.photos, 'scanned photo')}, every checksum right"
            )
            without = [person.name for person in store.people() if not person.photos]
            if without:
                found += f"; named, but without an enrolled photo: {', '.join(without)}"
            return Finding("library", "sound", found)
        lost = ", ".join(source_path(source) for _, source in damaged[:20])
        lost += f" and {len(damaged) - 20} more" if len(damaged) > 20 else ""
        if options.drop and options.write:
            with writing(folder):
                store.library.remove_faces([face for face, _ in damaged])
                store.scrub()
            return Finding("library", "repaired", f"damaged photos forgotten, scan again: {lost}")
    remedy = "restore a backup, or `facedex doctor --drop` forgets these photos so that they can be scanned again"
    return Finding("library", "broken", f"{len(damaged)} damaged: {lost}; {remedy}")


def _model(folder: Path, options: _Options) -> Finding:
    """Check, and repair, the gallery's copy of its model. Copies that are not in use are deleted."""
    with Store(folder) as store:
        state = store.state
    try:
        modelcopy.read(folder, state)
    except (ModelError, GalleryMismatch) as error:
        for candidate in [*([options.model] if options.model else []), *map(shipped_model, shipped_models())]:
            model = read_model(candidate)
            if options.write and model.fingerprint == state.model and modelcopy.file_name(model) == state.model_file:
                with writing(folder):
                    modelcopy.keep(folder, model)
                return Finding("model", "repaired", f"the copy was put back from {candidate}")
        if re.fullmatch(r"model-[0-9a-f]{16}\.safetensors", state.model_file) is None:
            raise GalleryDamaged(f"{folder / FILE} names no model ({state.model_file!r})") from None
        remedy = (
            "name the file by `facedex doctor --model FILE`, or move the gallery to another model by "
            "`facedex reindex --model FILE`, which encodes the photos anew"
        )
        return Finding("model", "broken", f"{error}; {remedy}")
    unused = modelcopy.files(folder) - {folder / state.model_file}
    if unused and options.write:
        with writing(folder):
            modelcopy.sweep(unused, state.model_file)
        return Finding("model", "repaired", f"models of an interrupted move deleted: {counted(len(unused), 'file')}")
    return Finding("model", "sound", f"{state.model_file} is the gallery's")


def _index(folder: Path, options: _Options) -> Finding:
    """Check, and repair, that the index belongs to the database and answers as it does."""
    before = _index_files(folder)
    with Gallery(folder) as gallery:
        noted = options.write and _mend_note(folder)
        remote = gallery.remote()
        kind = stored_kind(folder) if remote is None else "auto"
        mended = remote is not None and not remote.audit()
        if remote is not None and mended:
            if not options.write:
                return Finding("index", "warning", f"{remote.binding.url} does not hold what the database does")
            with writing(folder):
                remote.mend()
        probes = _probes(folder)
        try:
            agrees = _agrees(gallery, probes)
        except EngineAway:
            raise
        except EngineError:  # the engine returned rows that were never sent
            agrees = False
        # An index is only built when it is needed, so that a gallery without one is sound.
        mended = mended or (bool(before) and _index_files(folder) != before)
        if not agrees and options.write:
            gallery.reindex(kind=kind)
            if not _agrees(gallery, probes):
                return Finding("index", "broken", "built anew, it still misses the nearest; please report this")
            mended = agrees = True
        with Store(folder) as store:
            unscrubbed = options.write and store.unscrubbed
            left = ", ".join(url for url, _ in read_binding(store).left)
        if unscrubbed:
            gallery.reindex(kind=kind)
            return Finding("index", "repaired", "a deletion was cut short: what it had left is gone from every file")
    where = "" if remote is None else f" in {remote.binding.url}"
    sound = f"{counted(len(probes), 'face')} looked up{where}, each the nearest to itself"
    return _index_finding(mended, agrees, noted, left, sound)


def _index_finding(mended: bool, agrees: bool, noted: bool, left: str, sound: str) -> Finding:
    """The finding for an index.

    `mended`: the index was built anew or repaired. `agrees`: the index answers as the database does. `noted`: the note
    of where the index is was written anew. `left`: URLs of former engines that still hold rows of this gallery, or "".
    `sound`: the detail when nothing is wrong.
    """
    if mended:
        return Finding("index", "repaired", "incomplete, stale or altered; built anew")
    if not agrees:
        return Finding("index", "warning", "it does not answer as the database does; run `facedex reindex`")
    if noted:
        return Finding("index", "repaired", "it answers as the database does; where it is was noted anew")
    if left:
        detail = f"rows of this gallery are left in {left}; run `facedex reindex`, which clears them"
        return Finding("index", "warning", detail)
    return Finding("index", "sound", sound)


def _mend_note(folder: Path) -> bool:
    """Make the two notes of where the index is (engines/binding.py) agree; returns whether they had disagreed."""
    with writing(folder), Store(folder) as store:
        return mend_binding(store)


def _probes(folder: Path) -> NDArray[np.float32]:
    """Vectors (n, dim) of some enrolled faces: as many as the exhaustive look-ups may cost, and at least one."""
    with Store(folder) as store:
        ids = store.ids()
        count = min(_PROBES, 1 + _SCORED // max(1, len(ids)))
        return store.faces(np.random.default_rng(0).permutation(ids)[:count].tolist()).vectors


def _agrees(gallery: Gallery, probes: NDArray[np.float32]) -> bool:
    """Whether the best candidate through the index scores as the best of an exhaustive look-up, for each probe.

    In an engine one probe in fifty may fail, because a graph does not reach every face.
    """

    def best(probe: NDArray[np.float32], exhaustive: bool) -> float:
        return gallery.match(probe, top=1, exhaustive=exhaustive)[0].logit

    missed = sum(abs(best(probe, False) - best(probe, True)) >= 1e-4 for probe in probes)
    return missed <= (0 if gallery.remote() is None else len(probes) // 50)


def _index_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and time of change in ns of the index's files, by name."""
    found = {}
    for name in (INDEX_FILE, MANIFEST_FILE):
        with suppress(OSError):
            status = (folder / name).stat()
            found[name] = status.st_size, status.st_mtime_ns
    return found
