"""Changes the face regions and keywords of an XMP packet. What facedex did not write stays as it is."""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET

from facedex.faces.boxes import Box, overlap
from facedex.library import xmp
from facedex.library.region_trees import MAKER, FoundRegion
from facedex.library.regions import to_area, to_stored
from facedex.photos.photoheader import PhotoHeader

_UNCHANGED = 0.999  # overlap of a region with its new box above which it is not written again


def put_region(packet: xmp.Packet, header: PhotoHeader, orientation: int, name: str, box: Box) -> None:
    """Add a named face as an MWG region, and its name to the keywords.

    `box`: left, top, width and height in pixels of the upright photo, within the photo.
    `orientation`: turns the packet's areas upright.
    """
    holder = xmp.structure(packet.property_holder("mwg-rs:Regions"), "mwg-rs:Regions")
    if xmp.child(holder, "mwg-rs:AppliedToDimensions") is None:
        sides = {"stDim:w": str(header.width), "stDim:h": str(header.height), "stDim:unit": "pixel"}
        xmp.add(holder, "mwg-rs:AppliedToDimensions", attributes=sides)
    left, top, width, height = to_stored(to_area(box, header.upright_size), orientation)
    area = {"x": left + width / 2, "y": top + height / 2, "w": width, "h": height}
    item = xmp.add(xmp.bag(holder, "mwg-rs:RegionList"), "rdf:li", attributes={"rdf:parseType": "Resource"})
    xmp.add(item, "mwg-rs:Name", name)
    xmp.add(item, "mwg-rs:Type", "Face")
    numbers = {f"stArea:{key}": f"{value:.8f}" for key, value in area.items()}
    xmp.add(item, "mwg-rs:Area", attributes={**numbers, "stArea:unit": "normalized"})
    extensions = xmp.structure(item, "mwg-rs:Extensions")
    xmp.add(extensions, "xmp:CreatorTool", MAKER)
    xmp.add(extensions, "xmp:Label", name)
    if add_keyword(packet, name):
        # The keyword is noted here, so that it goes when the face gets another name.
        xmp.add(xmp.bag(extensions, "dc:subject"), "rdf:li", name)


def is_unchanged(region: FoundRegion, name: str, box: Box) -> bool:
    """Whether a region has this name and this place already."""
    return region.name == name and overlap(region.box, box) > _UNCHANGED


def remove_region(packet: xmp.Packet, region: FoundRegion, other_names: set[str]) -> None:
    """Remove a region that facedex wrote, and the keyword that came with it if no other face has that name."""
    extensions = xmp.child(region.node, "mwg-rs:Extensions")
    brought = set() if extensions is None else {_text(item) for item in xmp.items(extensions, "dc:subject")}
    xmp.remove(packet.root, region.node)
    for item in _keywords(packet):
        if _text(item) in brought - other_names:
            xmp.remove(packet.root, item)


def name_region(region: FoundRegion, name: str) -> None:
    """Give a name to a region of another program that has none."""
    field = "MPReg:PersonDisplayName" if region.microsoft else "mwg-rs:Name"
    xmp.put_text(xmp.opened(region.node), field, name)


def add_keyword(packet: xmp.Packet, name: str) -> bool:
    """Add a name to the keywords, and tell whether it is new."""
    if any(_text(item) == name for item in _keywords(packet)):
        return False
    xmp.add(xmp.bag(packet.property_holder("dc:subject"), "dc:subject"), "rdf:li", name)
    return True


def _keywords(packet: xmp.Packet) -> list[ET.Element]:
    return [item for node in packet.descriptions for item in xmp.items(node, "dc:subject")]


def _text(item: ET.Element) -> str:
    return unicodedata.normalize("NFC", (item.text or "").strip())
