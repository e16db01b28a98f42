"""The index as a writer keeps it: brought up to date after a change, rewritten after a deletion.

The index is in the gallery's folder (index/projection.py) or in a search engine (index/remote.py). Readers use
lookup.py. Every method expects that the caller holds the gallery's write lock.
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
    """Keeps the index that `lookup` reads in step with `store`."""

    def __init__(self, store: Store, lookup: Lookup) -> None:
        self.folder, self._store, self._lookup = lookup.folder, store, lookup

    def update(self) -> None:
        """Bring the index up to date after faces were added. Raises GalleryError, EngineError.

        An index in files is written only when the newer faces have become many. Until then look-ups read them from
        the database.
        """
        self._refresh(compact_only=True)

    def send(self) -> bool:
        """Send new faces to the engine while more are being enrolled, so that other readers find them there.

        False where that failed. The faces are on disk, and `update` raises the error at the end.
        """
        try:
            with self._lookup.lock:
                if (remote := self._lookup.remote()) is not None:
                    remote.update()
        except GalleryError:
            return False
        return True

    def check(self, kind: str, coverage: float | None, index: str | None) -> None:
        """Raise DataError for arguments that `rebuild` cannot use."""
        if kind not in KINDS:
            raise DataError(f"There is no index kind {kind!r}; choose one of: {', '.join(KINDS)}")
        if coverage is not None and not 0 < coverage <= 1:
            raise DataError(f"The coverage must lie between 0 and 1, not {coverage}; .999 is the default")
        if kind != "auto" and index != FILES and (place := index or read_binding(self._store).url) != FILES:
            raise DataError(
                f"{place} knows no index kind {kind!r}, which is for an index in files; leave it out, or bring the "
                "index back by `--index files`"
            )

    def rebuild(self, kind: str, coverage: float | None, index: str | None) -> None:
        """Build the index from nothing, where it is or in another place. Arguments and errors: Gallery.reindex."""
        if index is None:
            self._refresh(compact_only=False, kind=kind, coverage=coverage)
        else:
            relocation.move(self._store, self._lookup, index, coverage, lambda: self._write_files(kind, coverage))
            if index != FILES:
                self._discard_files()

    def clear(self) -> None:
        """After a deletion, rewrite every file that could still hold deleted vectors, the database's too.

        Raises the errors of `scrub`. Raises GalleryError where the index could not be written; it is deleted then.
        Raises EngineError where an engine failed. Deleted rows then stay in the engine until its next use, and no
        look-up names them.
        """
        try:
            self._refresh(compact_only=False)
        except EngineError as error:
            self._discard_files()
            self.scrub()
            raise type(error)(
                f"Nobody is named by what went, but its rows wait in the engine for the next use of it. {error}"
            ) from None
        except GalleryError as error:
            self._discard_files()  # no index is better than one that holds deleted vectors
            self.scrub()
            raise GalleryError(f"Deleted; but the index will be built anew at the next query: {error}") from None
        self.scrub()

    def scrub(self) -> None:
        """Clear the database's log and free pages. Raises GalleryError, or GalleryBusy while a reader needs them."""
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

    def _refresh(self, compact_only: bool, kind: str | None = None, coverage: float | None = None) -> None:
        """Bring the index up to date, in files or in an engine.

        `compact_only`: write files only when the newer faces have become many. With `kind` the index is built from
        nothing.
        """
        try:
            with self._lookup.lock:
                remote = self._lookup.remote()
                if remote is not None:
                    remote.rebuild(coverage) if kind else remote.update(grow=True)
        except GalleryError as error:
            self._lookup.forget()
            raise type(error)(f"What was done is safe in {self.folder}, but its index is behind: {error}") from None
        if remote is not None:
            self._lookup.forget()
            self._discard_files()  # a move that was interrupted may have left them
        elif not compact_only or wants_compaction(self.folder, self._store.state):
            self._write_files(kind, coverage)

    def _discard_files(self) -> None:
        """Delete the index in the gallery's folder. Raises GalleryError."""
        try:
            discard_projection(self.folder)
        except OSError as error:
            raise GalleryError(
                f"Done; but the older index in {self.folder} cannot be deleted ({error.strerror}); check its "
                "permissions, the next change clears it"
            ) from None

    def _write_files(self, kind: str | None = None, coverage: float | None = None) -> None:
        """Write the index into the gallery's folder: from the one there, or from nothing with `kind`."""
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
