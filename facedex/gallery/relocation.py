"""Moving a gallery's index: into a search engine, to another engine, or back into the gallery's folder.

A place is (URL, name), as in engines/binding.py. The caller of `move` and of `sweep` holds the gallery's write lock.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from facedex.engines.binding import FILES, Binding, mend_binding, read_binding, write_binding
from facedex.engines.engine import Key
from facedex.engines.registry import bound_engine, new_place
from facedex.errors import EngineAway, EngineError
from facedex.gallery.lookup import Lookup
from facedex.store.store import Store

Place = tuple[str, str]


def move(store: Store, lookup: Lookup, index: str, coverage: float | None, write_files: Callable[[], None]) -> None:
    """Build the index in another place, then note that place and the former ones, whose rows `sweep` deletes.

    `index`: the URL of an engine, or FILES, for which `write_files` builds the index. Raises the errors of
    Remote.rebuild; the index has not moved then.
    """
    try:
        former = read_binding(store)
    except EngineError:
        former = Binding()
    place = _choose_place(lookup, former, index)
    if index == FILES:
        write_files()
    else:
        if place != former.place:
            # Noted first, so that the rows of a move that is interrupted are found and deleted.
            noted = (*(other for other in former.left if other != place), place)
            write_binding(store, replace(former, left=noted))
        with closing(lookup.remote_at(Binding(*place))) as remote:
            remote.rebuild(coverage)
    left = dict.fromkeys(
        other
        for other in (*former.left, former.place)
        if other != place and other[0] != FILES and not _belongs_to_copy(lookup, other)
    )
    write_binding(store, Binding(*place, left=tuple(left)))
    lookup.forget()


def sweep(store: Store) -> None:
    """Delete the rows that former moves left in other engines.

    Raises EngineAway where an engine does not answer, EngineError where it refuses. Its place stays noted then.
    """
    mend_binding(store)
    binding, failure = read_binding(store), None
    if not binding.left:
        return
    for place in binding.left:
        try:
            with closing(bound_engine(place[0], Key(place[1], "", "", 0))) as engine:
                engine.drop()
            binding = replace(binding, left=tuple(other for other in binding.left if other != place))
        except EngineError as error:
            failure = error
    write_binding(store, binding)
    if failure is not None:
        kind = EngineAway if isinstance(failure, EngineAway) else EngineError
        raise kind(
            f"Done; but the former engine still holds rows of {store.path.parent}: run `facedex reindex` again to "
            f"clear them ({failure})"
        )


def _choose_place(lookup: Lookup, former: Binding, index: str) -> Place:
    """The place to move to. A place that the gallery already has in this engine is used again.

    A copy of the gallery may use that place now. The gallery then gets a new place.
    """
    if index == FILES:
        return Binding().place
    for place in (former.place, *former.left):
        if place[0] == index:
            with closing(lookup.remote_at(Binding(*place))) as remote:
                if not remote.is_ahead():
                    return place
    return new_place(index)


def _belongs_to_copy(lookup: Lookup, place: Place) -> bool:
    """Whether a copy of this gallery uses the rows in this place: they are newer than the gallery's own state.

    False where the engine does not answer.
    """
    try:
        with closing(lookup.remote_at(Binding(*place))) as remote:
            return remote.is_ahead()
    except EngineError:
        return False
