"""Notes in the gallery's database, and in a copy beside it, where the index is kept."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from facedex.errors import EngineError, GalleryError
from facedex.files import patiently, replace_file
from facedex.store.store import Store

BINDING_FILE = "engine.json"
FORMAT = "facedex-engine/1"
FILES = "files"  # in place of a URL: the index is in the gallery's own folder


@dataclass(frozen=True)
class Binding:
    """Where a gallery's index is: the URL of an engine and the gallery's name there, or FILES and nothing.

    `left` are (URL, name) of engines that may hold rows of it besides, which have to go: a move may be interrupted.
    """

    url: str = FILES
    gallery: str = ""  # a UUID, so that a copy of the gallery, which gets another, leaves these rows alone
    left: tuple[tuple[str, str], ...] = ()
    format: str = FORMAT
    seal: str = ""  # SHA-256 of all of the above

    @property
    def place(self) -> tuple[str, str]:
        return self.url, self.gallery

    def sealed(self) -> Binding:
        text = json.dumps(asdict(replace(self, seal="")))
        return replace(self, seal=hashlib.sha256(text.encode()).hexdigest())

    def given_up(self) -> Binding:
        """The index in files, and the rows in this engine to be cleared."""
        left = self.left if self.url == FILES else (*self.left, self.place)
        return Binding(left=tuple(dict.fromkeys(left)))

    def note(self) -> str | None:
        """As it is kept; None where nothing has to be."""
        return None if self == Binding() else json.dumps(asdict(self.sealed()), indent=1)


def read_binding(store: Store) -> Binding:
    """Read the binding from the database, or from the copy where the database has none that is readable.

    Raises EngineError where notes exist and none is readable.
    """
    noted = False
    for from_copy in (False, True):
        note = _copied(store.path.parent) if from_copy else store.engine_note
        if note is not None:
            noted = True
            if (binding := _understood(note)) is not None:
                return binding
    if not noted:
        return Binding()
    raise EngineError(
        f"Where {store.path.parent} keeps its index can be read neither in {store.path.name} nor in {BINDING_FILE}; "
        "name the engine anew by `facedex reindex --index URL`, or bring the index back by `--index files`"
    )


def write_binding(store: Store, binding: Binding) -> None:
    """Note where a gallery's index is, in its database and in the copy; whoever calls holds the writer's place.

    Raises GalleryError; what was noted before holds then.
    """
    if binding.note() is None:
        write_copy(store.path.parent, binding)  # goes first: where the database says nothing, the copy counts
        if store.engine_note is not None:
            store.note_engine(None)
    else:
        store.note_engine(binding.note())
        with suppress(GalleryError):  # `mend_binding` does it
            write_copy(store.path.parent, binding)


def write_copy(folder: Path, binding: Binding) -> None:
    """A copy of what the database notes, for the day when that is damaged or replaced. Raises GalleryError."""
    path, note = folder / BINDING_FILE, binding.note()
    try:
        if note is None:
            patiently(partial(path.unlink, missing_ok=True))
        else:
            replace_file(path, note.encode(), private=True)
    except OSError as error:
        raise GalleryError(f"{path} cannot be written ({error.strerror}); check space and permissions") from None


def give_up_copy(folder: Path) -> None:
    """Of a gallery whose database is lost: note in the copy that its rows are to be cleared. Raises GalleryError."""
    if (binding := _understood(_copied(folder) or "")) is not None:
        write_copy(folder, binding.given_up())


def mend_binding(store: Store) -> bool:
    """Make database and copy say the same, as `read_binding` reads it, and whether that was needed; whoever calls holds
    the writer's place. Raises EngineError as `read_binding`, GalleryError.
    """
    binding = read_binding(store)
    wanted = binding.note()
    if store.engine_note == wanted == _copied(store.path.parent):
        return False
    write_binding(store, binding)
    return True


def _copied(folder: Path) -> str | None:
    """What the copy says, whether or not that makes sense; None where there is none."""
    try:
        return patiently((folder / BINDING_FILE).read_bytes).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _understood(note: str) -> Binding | None:
    """A note as it was written; None for one that was altered."""
    try:
        facts = json.loads(note)
        binding = Binding(**{**facts, "left": tuple((str(url), str(name)) for url, name in facts["left"])})
        if binding.format == FORMAT and binding.sealed() == binding:
            return replace(binding, seal="")
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None
