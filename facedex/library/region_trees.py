"""Reads the face regions of an XMP packet: those of the Metadata Working Group (MWG), and Microsoft's.

MWG: Guidelines for Handling Image Metadata 2.0, 5.9. An area is a centre, a width and a height.
Microsoft: MP:RegionInfo of Windows Photo Gallery. A rectangle is a left upper corner, a width and a height.
Both are parts of the sides of the stored picture, before the orientation is applied.
"""

from __future__ import annotations

import math
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from facedex.faces.boxes import Box
from facedex.library import xmp
from facedex.library.regions import Area, frame, to_box, to_upright, within
from facedex.photos.photoheader import PhotoHeader
from facedex.photos.sources import UNKNOWN

MAKER = "facedex"  # the tool named in the regions that facedex writes
_MOST_REGIONS = 500  # of a kind in a packet. Comparing many thousands with each other would take minutes
_NOWHERE = (math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class FoundRegion:
    """The region of a face in a packet.

    `name`: as the packet gives it, in Unicode NFC. Empty for a face without a name.
    `box`: left, top, width and height in pixels of the upright photo.
    `node`: the item of the packet's tree.
    `microsoft`: whether the region is Microsoft's and not MWG's.
    `ours`: whether facedex wrote it.
    """

    name: str
    box: Box
    node: ET.Element
    microsoft: bool
    ours: bool


@dataclass
class FaceRegions:
    """The regions of faces in one packet, for one photo.

    `warnings`: a sentence for each region that makes no sense, and is therefore not among `found`.
    `orientation`: turns the MWG areas upright. None where they apply to a picture of another shape.
    """

    found: list[FoundRegion]
    warnings: list[str]
    orientation: int | None


def face_regions(packet: xmp.Packet, header: PhotoHeader, where: str) -> FaceRegions:
    """Read the regions of faces. `where` stands for the packet in warnings."""
    structure, info = packet.find("mwg-rs:Regions"), packet.find("MP:RegionInfo")
    size = None if structure is None else _applied_to(structure)
    regions = FaceRegions([], [], frame(size, header))
    mwg = [] if structure is None else [item for item in xmp.items(structure, "mwg-rs:RegionList") if _is_face(item)]
    # Microsoft lists people without a place too.
    microsoft = [] if info is None else [item for item in xmp.items(info, "MPRI:Regions") if _rectangle(item)]

    def keep(item: ET.Element, name: str, area: Area, orientation: int, is_microsoft: bool) -> None:
        sound = within(area)
        if sound is None:
            face = f"the face {name!r}" if name else "a face"
            regions.warnings.append(f"{where} gives {face} no sound place, so it was left out")
            return
        box = to_box(to_upright(sound, orientation), header.upright_size)
        regions.found.append(FoundRegion(name, box, item, is_microsoft, not is_microsoft and _is_ours(item)))

    if regions.orientation is not None:
        for item in mwg[:_MOST_REGIONS]:
            area = _mwg_area(item, size or (header.width, header.height))
            keep(item, _name(item, "mwg-rs:Name"), area, regions.orientation, False)
    elif mwg and size:
        regions.warnings.append(
            f"the face regions in {where} are those of a picture of {size[0]:g} x {size[1]:g} pixels, "
            f"and the photo has another shape, so they were left out"
        )
    for item in microsoft[:_MOST_REGIONS]:
        keep(item, _name(item, "MPReg:PersonDisplayName"), _microsoft_area(_rectangle(item)), header.orientation, True)
    if max(len(mwg), len(microsoft)) > _MOST_REGIONS:
        regions.warnings.append(f"{where} has more than {_MOST_REGIONS} face regions; the others were left out")
    return regions


def _is_face(item: ET.Element) -> bool:
    kind = xmp.text(item, "mwg-rs:Type").casefold()
    return kind == "face" or (not kind and bool(xmp.text(item, "mwg-rs:Name")))


def _is_ours(item: ET.Element) -> bool:
    """Whether facedex wrote an MWG region, and its name is still the one that facedex gave."""
    mark = xmp.child(item, "mwg-rs:Extensions")
    if mark is None or xmp.text(mark, "xmp:CreatorTool") != MAKER:
        return False
    return xmp.text(mark, "xmp:Label") == xmp.text(item, "mwg-rs:Name")


def _rectangle(item: ET.Element) -> str:
    return xmp.text(item, "MPReg:Rectangle")


def _name(item: ET.Element, field: str) -> str:
    name = unicodedata.normalize("NFC", xmp.text(item, field))
    return "" if name.casefold() == UNKNOWN else name


def _applied_to(structure: ET.Element) -> tuple[float, float] | None:
    """Width and height of the picture that MWG regions apply to, or None where they are not given."""
    sides = xmp.fields(xmp.child(structure, "mwg-rs:AppliedToDimensions"))
    width, height = _number(sides.get("w")), _number(sides.get("h"))
    return (width, height) if 0 < width < math.inf and 0 < height < math.inf else None


def _mwg_area(item: ET.Element, size: tuple[float, float]) -> Area:
    parts = xmp.fields(xmp.child(item, "mwg-rs:Area"))
    x, y, width, height = (_number(parts.get(key)) for key in ("x", "y", "w", "h"))
    if parts.get("unit") == "pixel":
        x, y, width, height = x / size[0], y / size[1], width / size[0], height / size[1]
    return (x - width / 2, y - height / 2, width, height)


def _microsoft_area(rectangle: str) -> Area:
    numbers = [_number(part) for part in rectangle.split(",")]
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else _NOWHERE


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
