"""Brings the names of a photo's faces together with the XMP that is there already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facedex.errors import NameInvalid
from facedex.faces.boxes import Box
from facedex.library import xmp
from facedex.library.region_edits import add_keyword, is_unchanged, name_region, put_region, remove_region
from facedex.library.region_trees import FaceRegions, FoundRegion, face_regions
from facedex.library.regions import NamedRegion, matches, to_area, to_box, within
from facedex.photos.photoheader import PhotoHeader
from facedex.photos.sources import person_name

Faces = Iterable[tuple[Box, str | None]]

_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2


class Source:
    """A file with XMP, and the regions of faces in it, for one photo."""

    def __init__(self, path: Path, packet: xmp.Packet, header: PhotoHeader) -> None:
        self.path, self.packet = path, packet
        self.faces: FaceRegions = face_regions(packet, header, str(path))

    def lists(self) -> list[list[FoundRegion]]:
        """The regions by who wrote them: MWG regions of other programs, ours, and Microsoft's. Each list is complete
        by itself, so that a face is in each of them once at most.
        """
        kinds: dict[tuple[bool, bool], list[FoundRegion]] = {}
        for region in self.faces.found:
            kinds.setdefault((region.microsoft, region.ours), []).append(region)
        return list(kinds.values())


@dataclass
class _Wish:
    """A face to be named: its box, its name, and the regions that all files have at its place."""

    box: Box
    name: str | None
    regions: list[tuple[Source, FoundRegion]] = field(default_factory=list)

    def clash(self) -> tuple[Source, FoundRegion] | None:
        """The region of another program with another name."""
        for source, region in self.regions:
            if not region.ours and region.name and region.name.casefold() != (self.name or "").casefold():
                return source, region
        return None


def merge_names(
    target: Source, others: Sequence[Source], faces: Faces, header: PhotoHeader
) -> tuple[tuple[NamedRegion, ...], tuple[str, ...]]:
    """Write names into the packet of `target`. `others` are further files that may name the same faces.

    `faces`: box in pixels of the upright photo, and name or None, as in `sidecars.write_names`.
    Returns the faces whose name stands in the packet, and a sentence for each face that was not written.
    Raises NameInvalid.
    """
    wishes, conflicts = _wishes(faces, header)
    orientation = target.faces.orientation
    if orientation is None:
        if wishes:
            conflicts.append(
                f"the face regions in {target.path} are those of a picture of another shape, so no name was written; "
                "remove these regions first"
            )
        return (), tuple(conflicts)
    for source in (target, *others):
        for regions in source.lists():
            for i, j in matches([wish.box for wish in wishes], [region.box for region in regions]).items():
                wishes[i].regions.append((source, regions[j]))
    named: list[tuple[_Wish, str]] = []
    for wish in wishes:
        clash = wish.clash()
        if wish.name is None or clash is None:
            _take_back(target, wish)
            if wish.name is not None:
                named.append((wish, wish.name))
        else:
            conflicts.append(
                f"{clash[0].path} names a face {clash[1].name}, not {wish.name}; rename one of them, "
                "or remove the region in the other program"
            )
    for wish, name in named:
        _write(target, wish, name, header, orientation)
    return tuple(NamedRegion(name, wish.box, str(target.path)) for wish, name in named), tuple(conflicts)


def _wishes(faces: Faces, header: PhotoHeader) -> tuple[list[_Wish], list[str]]:
    wishes, problems = [], []
    for box, text in faces:
        name = None if text is None else person_name(text)
        if name is not None and _NOT_IN_XML.search(name):
            raise NameInvalid(f"{name!r} holds characters that XML cannot hold; rename the person")
        area = within(to_area(box, header.upright_size))
        if area is None:
            place = ", ".join(f"{number:g}" for number in box)
            problems.append(f"the box ({place}) of {name or 'a face'} does not lie in the photo; give another box")
        else:
            wishes.append(_Wish(to_box(area, header.upright_size), name))
    return wishes, problems


def _take_back(target: Source, wish: _Wish) -> None:
    """Remove what facedex wrote at this place, unless it is what is wanted."""
    for region in _in_target(target, wish):
        if region.ours and not (wish.name and is_unchanged(region, wish.name, wish.box)):
            target.faces.found.remove(region)
            remove_region(target.packet, region, {other.name for other in target.faces.found})
            wish.regions.remove((target, region))


def _write(target: Source, wish: _Wish, name: str, header: PhotoHeader, orientation: int) -> None:
    regions = _in_target(target, wish)
    for region in regions:
        if not region.name:
            name_region(region, name)
    if all(region.microsoft for region in regions):
        put_region(target.packet, header, orientation, name, wish.box)
    add_keyword(target.packet, name)


def _in_target(target: Source, wish: _Wish) -> list[FoundRegion]:
    return [region for source, region in wish.regions if source is target]
