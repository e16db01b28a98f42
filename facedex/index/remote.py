"""A gallery's index in a search engine: updating, tuning, searching and checking it.

The engine answers with ids and vectors. Both are compared with gallery.db. Ids that are not enrolled are left out. A
vector that is not the enrolled face's is an error. The head scores the vectors of gallery.db. So an engine that is
behind, or was tampered with, can cost coverage until that is noticed, but never give a wrong name or score.

No list of unsent faces is kept. The engine keeps a digest of its rows, as the gallery does of its faces. Where the two
differ, the newer faces are sent. If that was not all, the digests of ranges of ids are compared. So the next writer or
reader repairs whatever the engine lacks, for whatever reason.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from facedex.engines.binding import Binding
from facedex.engines.engine import RANGE, Engine, Key, Outdated, Summary
from facedex.engines.registry import bound_engine
from facedex.errors import EngineError, GalleryBusy, GalleryError
from facedex.index.flat import Flat, Found, below, five_nearest
from facedex.index.manifest import COVERAGE
from facedex.model.head import Head
from facedex.store.lock import writing
from facedex.store.rows import State
from facedex.store.store import Store
from facedex.wording import counted

_PROBES = 400  # faces that stay out of the graph while its coverage is measured
_SCANNED_UP_TO = 1000  # up to so many faces every row is looked at, which is as quick as a graph
_RETUNED_UP_TO = 1_000_000  # up to so many faces a doubling builds the graph anew; beyond, `reindex` does it
_LEAST_ROWS = 56  # that a look-up asks for: a second round trip would cost more than these rows do
_RECHECK_SECONDS = 1.0  # after which an engine that was behind is looked at again
_MOST_MISSING = 50_000  # faces that a reader searches beside the engine, or sends to it, without being asked


class RemoteProjection:
    """An engine's rows at one state of the gallery, and the faces that the engine lacks.

    It offers Lookup the same calls as projection.Projection.
    """

    def __init__(self, engine: Engine, summary: Summary, store: Store, head: Head, state: State) -> None:
        """Raises EngineError where the engine lacks more faces than a reader searches by itself."""
        self._engine, self.summary, self._store, self._head = engine, summary, store, head
        self._missing_ids = np.empty(0, np.int64)
        self._missing = Flat(np.empty((0, head.dim), np.float32))
        self.behind = not _is_current(summary, state)
        self._created = time.monotonic()
        if self.behind:
            for block in store.blocks(after=summary.last_id):
                self._missing_ids = np.concatenate([self._missing_ids, block.ids])
                self._missing = self._missing.extended(head.project(block.vectors))
                if len(self._missing_ids) > _MOST_MISSING:
                    raise EngineError(
                        f"The engine lacks more than {_MOST_MISSING:,} faces; run `facedex reindex` to send them"
                    )

    def __len__(self) -> int:
        return self.summary.faces + len(self._missing_ids)

    @property
    def expired(self) -> bool:
        """Whether to look at the engine again, because it was behind; never at each query."""
        return self.behind and time.monotonic() - self._created > _RECHECK_SECONDS

    def search(self, z: np.ndarray, k: int) -> Found:
        """As Projection.search: faces near to a projected probe `z` (dim,) float32, within a snapshot of the store.

        Raises EngineError for rows that are not the gallery's faces, Outdated when the rows changed meanwhile.
        """
        tuned = self.summary.tuned
        growth = max(1.0, self.summary.faces / max(1, tuned.get("faces", 1)))  # since the tuning
        k = max(2 * k, _LEAST_ROWS)  # the graph is tuned for the five nearest and misses more of the farther rows
        hits = self._engine.search(z, k, int(tuned.get("effort", 0) * growth))
        if hits.digest != self.summary.digest:
            raise Outdated
        enrolled = self._store.faces(hits.ids.tolist())
        by_id = np.argsort(hits.ids)
        kept = by_id[np.isin(hits.ids[by_id], enrolled.ids)]
        distinct = len(np.unique(hits.ids)) == len(hits.ids)
        enrolled_z = self._head.project(enrolled.vectors[np.argsort(enrolled.ids)])
        # The tolerance is for rounding: another machine may have sent the rows.
        genuine = distinct and np.allclose(hits.z[kept], enrolled_z, rtol=1e-5, atol=1e-6)
        if not genuine or (len(kept) < len(hits.ids) and not self.behind):
            raise EngineError(
                "The engine holds rows that are not this gallery's faces; run `facedex reindex` to write them anew"
            )
        distances = np.abs(hits.z.astype(np.float64) - z).sum(1)
        # Fewer rows than asked for means that the engine considered every row it can reach.
        horizon = float(below(distances).max()) if 0 < k <= len(hits.ids) else float("inf")
        missing = self._missing.search(np.ascontiguousarray(z, np.float32), k)
        bounds = np.concatenate([below(np.abs(enrolled_z.astype(np.float64) - z).sum(1)), missing.bounds])
        ids = np.concatenate([hits.ids[kept], self._missing_ids[missing.rows]])
        order = np.lexsort((ids, bounds))
        return Found(bounds[order], ids[order], min(horizon, missing.horizon))


class Remote:
    """The index of one gallery and model in the engine that the gallery is bound to."""

    def __init__(self, folder: Path, binding: Binding, store: Store, head: Head, head_fingerprint: str) -> None:
        """Connects at first use. Raises EngineError where the URL or a Python package is at fault."""
        state = store.state
        self.folder, self.binding, self._store, self._head = folder, binding, store, head
        self._engine = bound_engine(binding.url, Key(binding.gallery, state.model, head_fingerprint, head.dim))

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._engine.close()

    def projection(self) -> tuple[RemoteProjection, State]:
        """The index for a reader, and the state of the gallery that it shows.

        A reader that may write brings an engine that is behind up to date. Any other reader searches the missing faces
        beside the engine and leaves out the removed ones. Raises EngineError, EngineAway, Outdated.
        """
        summary, state = self._read_states()
        if not _is_current(summary, state):
            missing = state.faces - (summary.faces if summary else 0)
            if missing > _MOST_MISSING:
                raise EngineError(
                    f"{self.binding.url} lacks {counted(missing, 'face')} of {self.folder}; run "
                    "`facedex reindex` to send them"
                )
            try:
                with writing(self.folder, 0 if summary else None):
                    self.update()
            except GalleryError as error:
                # Rows that are merely behind can be searched: the process that is writing will update them, and a
                # reader may lack the permission. Other kinds, such as damage, are errors of the gallery itself.
                harmless = isinstance(error, (GalleryBusy, EngineError)) or type(error) is GalleryError
                if summary is None or not harmless:
                    raise
            summary, state = self._read_states()
        if summary is None:
            raise Outdated
        return RemoteProjection(self._engine, summary, self._store, self._head, state), state

    def tuned(self) -> dict[str, Any]:
        """How the search was tuned, and the figures; {} where the engine holds nothing yet. Raises EngineError."""
        summary = self._engine.summary()
        return summary.tuned if summary else {}

    def update(self, grow: bool = False) -> None:
        """Make the engine hold the gallery's present faces; the caller holds the writer's lock.

        With `grow` all rows are built and tuned anew where the faces have doubled since, as for the index in files.
        Raises EngineError, EngineAway. What was sent before an error stays, and the next call continues from there.
        """
        for _ in range(3):  # the owner of a copy of the gallery may replace the rows meanwhile
            try:
                summary, state = self._read_states()
                if summary is None or (grow and _needs_tuning(summary, state)):
                    self.rebuild(None)
                    return
                if _is_current(summary, state):
                    return
                self._send(summary.last_id, state)
                if not _is_current(self._engine.summary(), state):
                    self._repair(state)
                if _is_current(self._engine.summary(), state):
                    return
            except Outdated:
                continue
        raise EngineError(
            f"{self.binding.url} does not keep the faces of {self.folder} that it is sent; run `facedex reindex` to "
            "write its rows anew"
        )

    def rebuild(self, coverage: float | None) -> dict[str, Any]:
        """Send all faces anew, build the graph and tune it to a coverage; the caller holds the writer's lock.

        The new rows replace the former ones only when they are complete. Returns the figures of the tuning. Raises as
        `update` does.
        """
        try:
            return self._rebuild(coverage)
        except Outdated:
            raise EngineError(
                f"Another process, perhaps with a copy of {self.folder}, writes the same rows in {self.binding.url}; "
                "run `facedex reindex --index URL` to give this gallery rows of its own"
            ) from None

    def _rebuild(self, coverage: float | None) -> dict[str, Any]:
        former, state = self._read_states()
        if coverage is None:
            coverage = former.tuned.get("coverage", COVERAGE) if former else COVERAGE
        fresh = self._engine.renewed()
        try:
            ids = self._store.ids()
            probe_ids = ids[np.linspace(0, len(ids) - 1, min(_PROBES, len(ids) // 10)).astype(np.int64)]
            for block_ids, marks, z in self._rows(without=probe_ids):
                fresh.add(block_ids, marks, z, state.revision)
            tuned = self._tune(fresh, len(ids), probe_ids, coverage)
            kept_out = self._store.faces(probe_ids.tolist())
            fresh.add(kept_out.ids, kept_out.marks, self._head.project(kept_out.vectors), state.revision)
            tuned = {**tuned, "faces": state.faces, "coverage": coverage}
            fresh.publish(state.revision, tuned)
        finally:
            fresh.close()
        self._engine.summary()  # makes the engine find the published rows
        return tuned

    def audit(self) -> bool:
        """Whether the engine's rows are the gallery's faces, by digests of the rows and not by the engine's summary."""
        try:
            with self._store.snapshot():
                return self._engine.digests() == self._store.digests(RANGE)
        except Outdated:
            return False

    def mend(self) -> None:
        """Repair what `audit` finds; the caller holds the writer's lock. Raises as `update` does."""
        try:
            self._repair(self._store.state)
            if self.audit() and _is_current(self._engine.summary(), self._store.state):
                return
        except Outdated:
            pass
        self.rebuild(None)

    def is_ahead(self) -> bool:
        """Whether the engine holds a later state than the gallery: then another copy of the gallery is in use."""
        try:
            summary = self._engine.summary()
        except Outdated:  # another process has just dropped the tables
            return False
        return summary is not None and summary.revision > self._store.state.revision

    def _read_states(self) -> tuple[Summary | None, State]:
        """The engine's rows summed up, and the gallery's state, read second so that it is never the older one."""
        summary = self._engine.summary()
        state = self._store.state
        if summary is not None and summary.revision > state.revision:
            raise EngineError(
                f"{self.binding.url} holds a later state than {self.folder}, which was copied or restored; run "
                "`facedex reindex --index URL` to give this gallery rows of its own"
            )
        return summary, state

    def _send(self, after: int, state: State) -> None:
        for block in self._store.blocks(after):
            self._engine.add(block.ids, block.marks, self._head.project(block.vectors), state.revision)

    def _rows(self, without: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Ids (n,), marks (n,) and z (n, dim) of all faces but those with the ids `without`, block by block."""
        for block in self._store.blocks():
            rows = ~np.isin(block.ids, without)
            yield block.ids[rows], block.marks[rows], self._head.project(block.vectors[rows])

    def _repair(self, state: State) -> None:
        """Send faces that the engine lacks or holds altered, and delete rows of faces that are not enrolled.

        Only ranges of ids whose digests differ are compared row by row.
        """
        engine_digests, store_digests = self._engine.digests(), self._store.digests(RANGE)
        surplus: list[int] = []
        for part in sorted(engine_digests.keys() | store_digests.keys()):
            if engine_digests.get(part) == store_digests.get(part):
                continue
            ids, marks = self._engine.marks(part)
            held = dict(zip(ids.tolist(), marks.tolist(), strict=True))
            block = next(self._store.blocks(part * RANGE - 1, RANGE), None) if part in store_digests else None
            enrolled: dict[int, int] = {}
            if block is not None:
                rows = block.ids < (part + 1) * RANGE
                enrolled = dict(zip(block.ids[rows].tolist(), block.marks[rows].tolist(), strict=True))
                rows = np.isin(block.ids, [face for face, mark in enrolled.items() if held.get(face) != mark])
                if rows.any():
                    self._engine.add(
                        block.ids[rows], block.marks[rows], self._head.project(block.vectors[rows]), state.revision
                    )
            surplus += held.keys() - enrolled.keys()
        if surplus:
            self._engine.remove(np.array(sorted(surplus), np.int64), state.revision)

    def _tune(self, engine: Engine, faces: int, probe_ids: np.ndarray, coverage: float) -> dict[str, Any]:
        """Build a graph and find the least effort that finds a share `coverage` of the five faces nearest to a probe.

        The graph holds no probe, as it holds none of the faces that are looked up later. The first kind of graph that
        reaches the coverage is kept. Where none does, and for few faces, every row is looked at: effort 0.
        """
        if faces > _SCANNED_UP_TO:
            probes = self._head.project(self._store.faces(probe_ids.tolist()).vectors)
            nearest = five_nearest(probes, probe_ids, ((ids, z) for ids, _, z in self._rows(without=probe_ids)))
            for graph in range(engine.graphs):
                engine.finish(graph)
                for effort in engine.efforts:
                    found = [
                        np.isin(five, engine.search(z, _LEAST_ROWS, effort).ids)
                        for z, five in zip(probes, nearest, strict=True)
                    ]
                    measured = float(np.mean(found))
                    if measured >= coverage:
                        return {"effort": effort, "graph": graph, "measured": measured, "probes": len(probe_ids)}
        return {"effort": 0, "measured": 1.0, "probes": len(probe_ids)}


def _is_current(summary: Summary | None, state: State) -> bool:
    """Whether the engine's rows are the faces of the gallery in this state, by their number and digest."""
    return summary is not None and (summary.faces, summary.digest) == (state.faces, state.digest)


def _needs_tuning(summary: Summary, state: State) -> bool:
    """Whether the faces have doubled since the tuning, and are either few enough for that or still without a graph."""
    doubled = 2 * summary.tuned.get("faces", 0) <= state.faces
    has_graph = bool(summary.tuned.get("effort"))
    return doubled and state.faces > _SCANNED_UP_TO and (state.faces <= _RETUNED_UP_TO or not has_graph)
