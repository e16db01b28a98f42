"""The note of where a gallery's index is kept. It is in the gallery's database, with a copy in engine.json."""

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
    """Where a gallery's index is: the URL of an engine and the gallery's name there, or FILES and an empty name.

    `left`: (URL, name) of other engines where an interrupted move may have left rows, which must be deleted.
    """

    url: str = FILES
    gallery: str = ""  # a UUID: a copy of the gallery gets another one and leaves these rows alone
    left: tuple[tuple[str, str], ...] = ()
    format: str = FORMAT
    seal: str = ""  # SHA-256 of all fields above

    @property
    def place(self) -> tuple[str, str]:
        """The URL, and the gallery's name in that engine."""
        return self.url, self.gallery

    def sealed(self) -> Binding:
        """The same binding with its seal computed."""
        text = json.dumps(asdict(replace(self, seal="")))
        return replace(self, seal=hashlib.sha256(text.encode()).hexdigest())

    def given_up(self) -> Binding:
        """The binding after the index has returned to files: this engine's rows are noted as left there."""
        left = self.left if self.url == FILES else (*self.left, self.place)
        return Binding(left=tuple(dict.fromkeys(left)))

    def note(self) -> str | None:
        """The sealed JSON text; None for an index in files that left no rows anywhere, which needs no note."""
        return None if self == Binding() else json.dumps(asdict(self.sealed()), indent=1)


def read_binding(store: Store) -> Binding:
    """Read the binding from the database, or from the copy where the database has no readable note.

    Raises EngineError where there are notes but none is readable.
    """
    found = False
    for from_copy in (False, True):
        note = _read_copy(store.path.parent) if from_copy else store.engine_note
        if note is not None:
            found = True
            if (binding := _parse(note)) is not None:
                return binding
    if not found:
        return Binding()
    raise EngineError(
        f"No note of where {store.path.parent} keeps its index is readable, in {store.path.name} or in {BINDING_FILE}; "
        "name the engine again with `facedex reindex --index URL`, or bring the index back with `--index files`"
    )


def write_binding(store: Store, binding: Binding) -> None:
    """Note where a gallery's index is, in its database and in the copy; the caller holds the writer's lock.

    Raises GalleryError. The former note then stays valid.
    """
    if binding.note() is None:
        write_copy(store.path.parent, binding)  # first, because the copy counts where the database has no note
        if store.engine_note is not None:
            store.note_engine(None)
    else:
        store.note_engine(binding.note())
        with suppress(GalleryError):  # `mend_binding` writes the copy later
            write_copy(store.path.parent, binding)


def write_copy(folder: Path, binding: Binding) -> None:
    """Write the copy of the note, which counts when the database is damaged or replaced. Raises GalleryError."""
    path, note = folder / BINDING_FILE, binding.note()
    try:
        if note is None:
            patiently(partial(path.unlink, missing_ok=True))
        else:
            replace_file(path, note.encode(), private=True)
    except OSError as error:
        raise GalleryError(f"{path} cannot be written ({error.strerror}); check space and permissions") from None


def give_up_copy(folder: Path) -> None:
    """Note in the copy, for a gallery whose database is lost, that its rows must be deleted. Raises GalleryError."""
    if (binding := _parse(_read_copy(folder) or "")) is not None:
        write_copy(folder, binding.given_up())


def mend_binding(store: Store) -> bool:
    """Write what `read_binding` reads to both database and copy; the caller holds the writer's lock.

    Returns whether they differed. Raises EngineError as `read_binding` does, and GalleryError.
    """
    binding = read_binding(store)
    if store.engine_note == binding.note() == _read_copy(store.path.parent):
        return False
    write_binding(store, binding)
    return True


def _read_copy(folder: Path) -> str | None:
    """The text of the copy, which may be damaged; "" where it cannot be read, None where there is no copy."""
    try:
        return patiently((folder / BINDING_FILE).read_bytes).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _parse(note: str) -> Binding | None:
    """The binding in a note; None for a note that was altered since it was sealed."""
    try:
        facts = json.loads(note)
        binding = Binding(**{**facts, "left": tuple((str(url), str(name)) for url, name in facts["left"])})
        if binding.format == FORMAT and binding.sealed() == binding:
            return replace(binding, seal="")
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None
