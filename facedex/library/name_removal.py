"""Takes the names of deleted people out of the XMP sidecars of scanned photos."""

from __future__ import annotations

import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from facedex.errors import XmpUnusable
from facedex.gallery.gallery import Gallery
from facedex.library import xmp
from facedex.library.sidecars import read_sidecar, replace_sidecar, sidecars_of
from facedex.photos.sources import source_path

_LEVELS = re.compile(r"[|/]")  # keywords of several levels: People|Ada in Lightroom, People/Ada in digiKam
# Tags whose values are never names, but for the items of arrays.
_STRUCTURE = tuple(map(xmp.qualified, ("rdf:", "x:", "stArea:", "stDim:", "mwg-rs:Type")))
_ITEM = xmp.qualified("rdf:li")
_REGION_NAMES = ("mwg-rs:Name", "MPReg:PersonDisplayName")


@dataclass(frozen=True)
class NamingSidecar:
    """A sidecar, and those of the names asked for that stand in it. `error`: why it could not be changed."""

    file: str
    names: tuple[str, ...]
    error: str | None = None


def sidecars_naming(gallery: Gallery, names: Iterable[str]) -> Iterator[NamingSidecar]:
    """The sidecars of scanned photos in which one of these names stands as a name: of a face, or as a keyword.

    A name within a longer text, such as a caption, does not count. Sidecars that cannot be read are left out.
    """
    wanted = {_plain(name): name for name in names}
    seen: set[Path] = set()
    for source in sorted(gallery.library.files()):
        for file in sidecars_of(Path(source_path(source))):
            if file in seen:
                continue
            seen.add(file)
            try:
                packet = read_sidecar(file)
            except XmpUnusable:
                continue
            if found := set(_texts(packet.root)) & wanted.keys():
                yield NamingSidecar(str(file), tuple(sorted(wanted[name] for name in found)))


def take_names_out(sidecars: Sequence[NamingSidecar]) -> Iterator[NamingSidecar]:
    """Delete the faces and keywords with these names from each sidecar, whoever wrote them. The rest stays.

    Yields each sidecar once it is written. A sidecar that cannot be changed does not stop the others.
    """
    for sidecar in sidecars:
        path = Path(sidecar.file)
        try:
            packet = read_sidecar(path)
            _clear(packet.root, {_plain(name) for name in sidecar.names})
            replace_sidecar(path, packet.to_bytes())
            yield sidecar
        except XmpUnusable as error:
            yield NamingSidecar(sidecar.file, sidecar.names, str(error))


def _clear(root: ET.Element, names: set[str]) -> None:
    """Remove every region with one of these names, then every other value that is such a name."""
    for item in list(root.iter(_ITEM)):
        if any(_plain(xmp.text(item, field)) in names for field in _REGION_NAMES):
            xmp.remove(root, item)
    for parent in list(root.iter()):
        parent.attrib = {key: value for key, value in parent.attrib.items() if not _names(key, value) & names}
        for node in list(parent):
            if not len(node) and _names(node.tag, node.text) & names:
                parent.remove(node)


def _texts(root: ET.Element) -> Iterator[str]:
    """Every value in a tree that may be a name."""
    for node in root.iter():
        for tag, value in ((node.tag, node.text), *node.attrib.items()):
            yield from _names(tag, value)


def _names(tag: str, value: str | None) -> set[str]:
    """What the value of a property (its tag) may name: itself, and each level of a keyword with several."""
    if not value or not value.strip() or (tag.startswith(_STRUCTURE) and tag != _ITEM):
        return set()
    return {_plain(value), *map(_plain, _LEVELS.split(value))}


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
