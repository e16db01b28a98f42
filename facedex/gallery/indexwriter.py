"""The writer's part of a gallery's index: brought up to date after a change, and rewritten where something was deleted.

The index is in the gallery's folder (search.py) or in a search engine (remote.py). The reader's part is lookup.py.
"""

from __future__ import annotations

from facedex.engines.binding import FILES, read_binding
from facedex.errors import DataError, EngineError, GalleryBusy, GalleryError
from facedex.gallery import relocation
from facedex.gallery.lookup import Lookup
from facedex.index.manifest import discard_projection, stored_coverage, stored_kind, wants_compaction
from facedex.index.projection import KINDS, build_projection, read_projection, save_projection
from facedex.store.store import Store


class IndexWriter:
    """Keeps the index that `lookup` reads true to `store`. Whoever calls holds the writer's place."""

    def __init__(self, store: Store, lookup: Lookup) -> None:
        self.folder, self._store, self._lookup = lookup.folder, store, lookup

    def update(self) -> None:
        """After faces came: in files only when the newer ones have become many. Raises GalleryError, EngineError."""
        self._bring(compact_only=True)

    def send(self) -> bool:
        """Send what is new to the engine while more is to come, so that other readers find it there; False where that
        is not possible, for whatever reason: these faces are on disk, and the end of the work will say it.
        """
        try:
            if (remote := self._lookup.remote()) is not None:
                remote.update()
        except GalleryError:
            return False
        return True

    def check(self, kind: str, coverage: float | None, index: str | None) -> None:
        """Raises DataError for what `rebuild` cannot be asked for."""
        if kind not in KINDS:
            raise DataError(f"There is no index kind {kind!r}; choose one of: {', '.join(KINDS)}")
        if coverage is not None and not 0 < coverage <= 1:
            raise DataError(f"The coverage must lie between 0 and 1, not {coverage}; .999 is the default")
        if kind != "auto" and index != FILES and (place := index or read_binding(self._store).url) != FILES:
            raise DataError(
                f"{place} knows no index kind {kind!r}, which is for an index in files; leave it out, or bring the index "
                "back by `--index files`"
            )

    def rebuild(self, kind: str, coverage: float | None, index: str | None) -> None:
        """From nothing, where it is or in another place: see Gallery.reindex, which raises the same."""
        if index is None:
            self._bring(compact_only=False, kind=kind, coverage=coverage)
        else:
            relocation.move(self._store, self._lookup, index, coverage, lambda: self._write_files(kind, coverage))
            if index != FILES:
                self._discard_files()

    def clear(self) -> None:
        """After a deletion: rewrite every file that could still hold what was deleted, the database's too.

        Raises as `scrub`; GalleryError where the index could not be written, and is therefore discarded; EngineError
        where an engine did not take it, whose rows then wait there for its next use, and name nobody.
        """
        try:
            self._bring(compact_only=False)
        except EngineError as error:
            self._discard_files()
            self.scrub()
            raise type(error)(
                f"Nobody is named by what went, but its rows wait in the engine for the next use of it. {error}"
            ) from None
        except GalleryError as error:
            self._discard_files()  # rather none than one that holds what was deleted
            self.scrub()
            raise GalleryError(f"Deleted; but the index will be built anew at the next query: {error}") from None
        self.scrub()

    def scrub(self) -> None:
        """Clear the database's log and free pages. Raises GalleryBusy while a reader still needs them, GalleryError."""
        try:
            if self._store.scrub():
                return
        except GalleryBusy:
            pass
        except GalleryError as error:
            raise GalleryError(
                f"Done, but {self.folder} still holds overwritten pages ({error}); free some space and run "
                "`facedex reindex`, which clears them"
            ) from None
        raise GalleryBusy(
            f"Done, but another process still reads an older state of {self.folder}, which is on disk until then; "
            "the next change or `facedex reindex` clears what is left"
        )

    def _bring(self, compact_only: bool, kind: str | None = None, coverage: float | None = None) -> None:
        """Bring the index up to date, wherever it is. In files with `compact_only` just when the newer faces have
        become many; `kind` or a new model has it built from nothing.
        """
        try:
            remote = self._lookup.remote()
            if remote is not None:
                remote.rebuild(coverage) if kind else remote.update(grow=True)
        except GalleryError as error:
            self._lookup.forget()
            raise type(error)(f"What was done is safe in {self.folder}, but its index is behind: {error}") from None
        if remote is not None:
            self._lookup.forget()
            self._discard_files()  # of a move that was cut short
        elif not compact_only or wants_compaction(self.folder, self._store.state):
            self._write_files(kind, coverage)

    def _discard_files(self) -> None:
        try:
            discard_projection(self.folder)
        except OSError as error:
            raise GalleryError(
                f"Done; but the older index in {self.folder} cannot be deleted ({error.strerror}); check its permissions, "
                "the next change clears it"
            ) from None

    def _write_files(self, kind: str | None = None, coverage: float | None = None) -> None:
        """Write the index into the gallery's folder."""
        state, head = self._store.state, self._lookup.head
        head_id = self._lookup.model.head_fingerprint
        coverage = coverage or stored_coverage(self.folder)
        old = None if kind else read_projection(self.folder, state, head, head_id)
        kind = kind or stored_kind(self.folder)
        projection, data = build_projection(self._store, state, head, head_id, kind, coverage, old)
        try:
            save_projection(self.folder, projection, data)
        except OSError as error:
            raise GalleryError(
                f"The index in {self.folder} cannot be written ({error.strerror}); check space and "
                "permissions, what was enrolled is safe"
            ) from None
        self._lookup.forget()
