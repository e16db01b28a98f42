"""Where a gallery's index is kept, changed: into a search engine, to another one, or back into the gallery's folder."""

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


def move(store: Store, lookup: Lookup, index: str, coverage: float | None, write_files: Callable[[], None]) -> None:
    """Build the index in another place (a URL, or FILES by `write_files`), and only then give up the former one, whose
    rows `sweep` clears; whoever calls holds the writer's place. Raises as Remote.rebuild; nothing has moved then.
    """
    try:
        former = read_binding(store)
    except EngineError:
        former = Binding()
    place = _place(lookup, former, index)
    if index == FILES:
        write_files()
    else:
        if place != former.place:
            write_binding(store, replace(former, left=(*(one for one in former.left if one != place), place)))
        with closing(lookup.remote_at(Binding(*place))) as remote:
            remote.rebuild(coverage)
    left = [
        one
        for one in (*former.left, former.place)
        if one != place and one[0] != FILES and not _is_anothers(lookup, one)
    ]
    write_binding(store, Binding(*place, left=tuple(dict.fromkeys(left))))
    lookup.forget()


def sweep(store: Store) -> None:
    """Delete the rows that a move left in other engines; whoever calls holds the writer's place.

    Raises EngineAway where one does not answer, EngineError where it refuses: what is noted stays noted.
    """
    mend_binding(store)
    binding, failed = read_binding(store), None
    if not binding.left:
        return
    for place in binding.left:
        try:
            with closing(bound_engine(place[0], Key(place[1], "", "", 0))) as engine:
                engine.drop()
            binding = replace(binding, left=tuple(one for one in binding.left if one != place))
        except EngineError as error:
            failed = error
    write_binding(store, binding)
    if failed is not None:
        kind = EngineAway if isinstance(failed, EngineAway) else EngineError
        raise kind(
            f"Done; but the former engine still holds rows of {store.path.parent}: run `facedex reindex` again to clear "
            f"them ({failed})"
        )


def _place(lookup: Lookup, former: Binding, index: str) -> tuple[str, str]:
    """The place to move to: one that is known already, unless a copy of this gallery has gone on there."""
    if index == FILES:
        return Binding().place
    for place in (former.place, *former.left):
        if place[0] == index:
            with closing(lookup.remote_at(Binding(*place))) as remote:
                if not remote.is_ahead():
                    return place
    return new_place(index)


def _is_anothers(lookup: Lookup, place: tuple[str, str]) -> bool:
    """Whether a copy of this gallery has gone on in a place, whose rows are that one's then."""
    try:
        with closing(lookup.remote_at(Binding(*place))) as remote:
            return remote.is_ahead()
    except EngineError:
        return False
