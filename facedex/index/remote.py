"""A gallery's index in a search engine: brought up to date, tuned, searched, and never believed.

The engine answers with ids and vectors; both are held against gallery.db. What is not enrolled (any more) is left out,
what is not the enrolled face's vector is an error, and the head scores the truth. So an engine that is behind, or
was tampered with, can cost coverage until that is noticed, never a name or a score.

Nothing keeps a list of what is still to be sent. The engine keeps a digest of its rows, as the gallery does of its
faces: where the two differ, the newer faces are sent, and if that was not all, ranges of ids are compared by their
digests. Whatever was missed, and for whatever reason, is put right by the next who writes or looks up.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from facedex.engines.binding import Binding
from facedex.engines.engine import RANGE, Engine, Key, Outdated, Summary
from facedex.engines.registry import bound_engine
from facedex.errors import EngineError, GalleryBusy, GalleryError
from facedex.index.codes import Flat, Found, below
from facedex.model.head import Head
from facedex.store.lock import writing
from facedex.store.rows import State
from facedex.store.store import BUSY_SECONDS, Store

COVERAGE = 0.999  # of the nearest five
PROBES = 400  # faces that are kept out of the graph while its coverage is measured

_EXACT = 1000  # faces up to which every row is looked at, which is as quick as a graph
_GROWING = 1_000_000  # faces up to which a graph is built and tuned anew when they doubled; beyond, `reindex` does it
_NEAR = 56  # rows that a look-up asks for at least: another round trip costs more than they do
_RETRY = 1.0  # seconds after which an engine that was behind is looked at again
_BESIDE = 50_000  # faces that a reader searches beside the engine, or sends to it, without being asked


class RemoteProjection:
    """An engine's rows at one state of the gallery, and beside them the faces that it does not have yet.

    It has what Lookup needs of search.Projection.
    """

    exact = False

    def __init__(self, engine: Engine, summary: Summary, store: Store, head: Head, state: State) -> None:
        self._engine, self.summary, self._store, self._head = engine, summary, store, head
        self._ids = np.empty(0, np.int64)
        self._tail = Flat(np.empty((0, head.dim), np.float32))
        self.behind = (summary.faces, summary.digest) != (state.faces, state.digest)
        self._made = time.monotonic()
        if self.behind:
            for block in store.blocks(after=summary.last_id):
                self._ids = np.concatenate([self._ids, block.ids])
                self._tail = self._tail.extended(head.project(block.vectors))
                if len(self._ids) > _BESIDE:
                    raise EngineError("The engine lacks too many faces; run `facedex reindex`, which sends them")

    def __len__(self) -> int:
        return self.summary.faces + len(self._ids)

    @property
    def expired(self) -> bool:
        """Whether the engine should be looked at again, because it was behind: not at every query."""
        return self.behind and time.monotonic() - self._made > _RETRY

    def search(self, z: np.ndarray, k: int) -> Found:
        """As search.Projection.search, within a snapshot of the store. Raises EngineError for rows that are not the
        gallery's, Outdated when they changed since.
        """
        tuned = self.summary.tuned
        grown = max(1.0, self.summary.faces / max(1, tuned.get("faces", 1)))  # as HalfBytes does
        k = max(2 * k, _NEAR)  # a graph misses more of the farther ones than of the five that it is tuned by
        hits = self._engine.search(z, k, int(tuned.get("effort", 0) * grown))
        if hits.digest != self.summary.digest:
            raise Outdated
        truth = self._store.faces(hits.ids.tolist())
        order = np.argsort(hits.ids)
        kept = order[np.isin(hits.ids[order], truth.ids)]
        once = len(np.unique(hits.ids)) == len(hits.ids)
        true = self._head.project(truth.vectors[np.argsort(truth.ids)])
        same = once and np.allclose(hits.z[kept], true, rtol=1e-5, atol=1e-6)  # sent by another machine, perhaps
        if not same or (len(kept) < len(order) and not self.behind):
            raise EngineError(
                "The engine holds rows that are not this gallery's faces; run `facedex reindex`, which writes them anew"
            )
        distances = np.abs(hits.z.astype(np.float64) - z).sum(1)
        # Fewer than were asked for: every row that can be reached was considered.
        horizon = float(below(distances).max()) if 0 < k <= len(hits.ids) else float("inf")
        beside = self._tail.search(np.ascontiguousarray(z, np.float32), k)
        bounds = np.concatenate([below(np.abs(true.astype(np.float64) - z).sum(1)), beside.bounds])
        ids = np.concatenate([hits.ids[kept], self._ids[beside.rows]])
        order = np.lexsort((ids, bounds))
        return Found(bounds[order], ids[order], min(horizon, beside.horizon))


class Remote:
    """The index of one gallery and model in the engine that the gallery is bound to."""

    def __init__(self, folder: Path, binding: Binding, store: Store, head: Head, head_fingerprint: str) -> None:
        """Connects at first use. Raises MissingExtra, DataError."""
        state = store.state
        self.folder, self.binding, self._store, self._head = folder, binding, store, head
        self._engine = bound_engine(binding.url, Key(binding.gallery, state.model, head_fingerprint, head.dim))

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._engine.close()

    def projection(self) -> tuple[RemoteProjection, State]:
        """For a reader, and the state of the gallery that it is of.

        An engine that is behind is brought up to date by whoever may write; for others what it lacks is searched beside
        it and what it has too many of is left out. Raises EngineError, EngineAway, Outdated.
        """
        summary, state = self._looked()
        if summary is None or (summary.faces, summary.digest) != (state.faces, state.digest):
            missing = state.faces - (summary.faces if summary else 0)
            if missing > _BESIDE:
                raise EngineError(
                    f"{self.binding.url} lacks {missing:,} faces of {self.folder}; run `facedex reindex` to send them"
                )
            try:
                with writing(self.folder, 0 if summary else BUSY_SECONDS):
                    self.update()
            except GalleryBusy:  # whoever writes will do it
                if summary is None:
                    raise
            except GalleryError as error:
                if type(error) is not GalleryError and not isinstance(error, EngineError):
                    raise
                if summary is None:
                    raise
            summary, state = self._looked()
            if summary is None:
                raise Outdated
        return RemoteProjection(self._engine, summary, self._store, self._head, state), state

    def tuned(self) -> dict[str, Any]:
        """How the search was tuned, and the figures; {} where the engine holds nothing yet. Raises EngineError."""
        summary = self._engine.summary()
        return summary.tuned if summary else {}

    def update(self, grow: bool = False) -> None:
        """Make the engine hold the gallery's present faces; whoever calls holds the writer's place.

        With `grow` all is built and tuned anew where the faces have doubled since, as the index in files is. Raises
        EngineError, EngineAway; what was done until then stays, and the next call goes on from there.
        """
        for _ in range(3):  # rows may be replaced meanwhile by somebody who has a copy of the gallery
            try:
                summary, state = self._looked()
                if summary is None or (grow and _outgrown(summary, state)):
                    self.rebuild(None)
                    return
                if (summary.faces, summary.digest) == (state.faces, state.digest):
                    return
                self._send(summary.last_id, state)
                if self._differs(state):
                    self._compare(state)
                if not self._differs(state):
                    return
            except Outdated:
                continue
        raise EngineError(
            f"{self.binding.url} does not keep what it is given for {self.folder}; run `facedex reindex`, which writes "
            "it anew"
        )

    def rebuild(self, coverage: float | None) -> dict[str, Any]:
        """Send all faces anew, build the graph, tune it to a coverage, and only then put it in the place of the
        former one; whoever calls holds the writer's place. Returns what was measured. Raises as `update`.
        """
        try:
            return self._rebuilt(coverage)
        except Outdated:
            raise EngineError(
                f"Another process, of a copy of {self.folder} perhaps, writes the same rows in {self.binding.url}; run "
                "`facedex reindex --index URL` to give this one rows of its own"
            ) from None

    def _rebuilt(self, coverage: float | None) -> dict[str, Any]:
        before, state = self._looked()
        if coverage is None:
            coverage = before.tuned.get("coverage", COVERAGE) if before else COVERAGE
        fresh = self._engine.renewed()
        try:
            ids = self._store.ids()
            kept_out = ids[np.linspace(0, len(ids) - 1, min(PROBES, len(ids) // 10)).astype(np.int64)]
            for block in self._store.blocks():
                rows = ~np.isin(block.ids, kept_out)
                fresh.add(block.ids[rows], block.marks[rows], self._head.project(block.vectors[rows]), state.revision)
            tuned = self._tuned(fresh, ids, kept_out, coverage)
            out = self._store.faces(kept_out.tolist())
            fresh.add(out.ids, out.marks, self._head.project(out.vectors), state.revision)
            tuned = {**tuned, "faces": state.faces, "coverage": coverage}
            fresh.publish(state.revision, tuned)
        finally:
            fresh.close()
        self._engine.summary()  # from now on these
        return tuned

    def audit(self) -> bool:
        """Whether the engine's rows, not only its own account of them, are the gallery's faces."""
        try:
            with self._store.snapshot():
                return self._engine.digests() == self._store.digests(RANGE)
        except Outdated:
            return False

    def mend(self) -> None:
        """Put right what `audit` finds; whoever calls holds the writer's place. Raises as `update`."""
        try:
            self._compare(self._store.state)
            if self.audit() and not self._differs(self._store.state):
                return
        except Outdated:
            pass
        self.rebuild(None)

    def is_ahead(self) -> bool:
        """Whether the engine holds a later state than the gallery: then another copy of it goes on there."""
        try:
            summary = self._engine.summary()
        except Outdated:  # its tables went this moment
            return False
        return summary is not None and summary.revision > self._store.state.revision

    def _looked(self) -> tuple[Summary | None, State]:
        """What the engine holds, and then the gallery's state, which is never older."""
        summary = self._engine.summary()
        state = self._store.state
        if summary is not None and summary.revision > state.revision:
            raise EngineError(
                f"{self.binding.url} holds a later state of {self.folder} than the gallery itself, which was copied or "
                "put back; run `facedex reindex --index URL` to give this one rows of its own"
            )
        return summary, state

    def _differs(self, state: State) -> bool:
        summary = self._engine.summary()
        return summary is None or (summary.faces, summary.digest) != (state.faces, state.digest)

    def _send(self, after: int, state: State) -> None:
        for block in self._store.blocks(after):
            self._engine.add(block.ids, block.marks, self._head.project(block.vectors), state.revision)

    def _compare(self, state: State) -> None:
        """Delete and send again what differs, found by the digests of ranges of ids."""
        theirs, ours = self._engine.digests(), self._store.digests(RANGE)
        gone: list[np.ndarray] = []
        for part in sorted(theirs.keys() | ours.keys()):
            if theirs.get(part) == ours.get(part):
                continue
            ids, marks = self._engine.marks(part)
            block = next(self._store.blocks(part * RANGE - 1, RANGE), None) if part in ours else None
            rows = np.zeros(0, bool) if block is None else block.ids < (part + 1) * RANGE
            have = {} if block is None else dict(zip(block.ids[rows].tolist(), block.marks[rows].tolist(), strict=True))
            held = dict(zip(ids.tolist(), marks.tolist(), strict=True))
            gone.append(np.array([i for i, mark in held.items() if have.get(i) != mark], np.int64))
            lacking = [i for i, mark in have.items() if held.get(i) != mark]
            if block is not None and lacking:
                rows = np.isin(block.ids, lacking)
                self._engine.add(
                    block.ids[rows], block.marks[rows], self._head.project(block.vectors[rows]), state.revision
                )
                gone[-1] = np.setdiff1d(gone[-1], lacking)
        stale = np.concatenate([np.empty(0, np.int64), *gone])
        if len(stale):
            self._engine.remove(stale, state.revision)

    def _tuned(self, engine: Engine, ids: np.ndarray, kept_out: np.ndarray, coverage: float) -> dict[str, Any]:
        """Build a graph, and look as little far as finds a share `coverage` of the five nearest to faces that are not
        in it, as real probes are not: with the first kind of graph that can; else every row is looked at.
        """
        probes = self._head.project(self._store.faces(kept_out.tolist()).vectors)
        nearest = _nearest(
            probes,
            (
                (block.ids[rows], self._head.project(block.vectors[rows]))
                for block in self._store.blocks()
                for rows in [~np.isin(block.ids, kept_out)]
            ),
        )
        for graph in range(engine.graphs if len(ids) > _EXACT else 0):
            engine.finish(graph)
            for effort in engine.efforts:
                found = [
                    np.isin(near, engine.search(z, _NEAR, effort).ids) for z, near in zip(probes, nearest, strict=True)
                ]
                measured = float(np.mean(found)) if found else 1.0
                if measured >= coverage:
                    return {"effort": effort, "graph": graph, "measured": measured, "probes": len(probes)}
        return {"effort": 0, "measured": 1.0, "probes": len(probes)}


def _outgrown(summary: Summary, state: State) -> bool:
    """Whether the search should be tuned anew: the faces have doubled, or have become many for looking at every row."""
    doubled = 2 * summary.tuned.get("faces", 0) <= state.faces
    return doubled and state.faces > _EXACT and (state.faces <= _GROWING or not summary.tuned.get("effort"))


def _nearest(probes: np.ndarray, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Ids (p, 5) of the rows nearest to each probe (p, dim) by L1, over all blocks of ids (n,) and rows (n, dim)."""
    import faiss  # not where a gallery is only asked

    best, ids = np.full((len(probes), 5), np.inf, np.float32), np.full((len(probes), 5), -1, np.int64)
    for number, z in blocks:
        if not len(z) or not len(probes):
            continue
        index = faiss.IndexFlat(z.shape[1], faiss.METRIC_L1)
        index.add(z)
        distances, rows = index.search(probes, min(5, len(z)))
        all_distances, all_ids = np.hstack([best, distances]), np.hstack([ids, number[rows]])
        order = np.argsort(all_distances, axis=1, kind="stable")[:, :5]
        best, ids = np.take_along_axis(all_distances, order, 1), np.take_along_axis(all_ids, order, 1)
    return ids
