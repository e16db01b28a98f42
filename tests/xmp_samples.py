"""Photos in every orientation, and XMP as several programs write it."""

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 100, 60  # of the upright photo
FACE = (20.0, 10.0, 30.0, 20.0)  # the white box of `turned_photo`, in upright pixels
OPTIONS = {"webp": {"lossless": True}, "avif": {"quality": 95}}

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
    "darktable": "http://darktable.sf.net/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "MP": "http://ns.microsoft.com/photo/1.2/",
    "MPRI": "http://ns.microsoft.com/photo/1.2/t/RegionInfo#",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
}


def turned_photo(path, orientation, kind=None):
    """Write a photo that is stored in an EXIF orientation; upright it is 100 x 60, and black but for FACE."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left, top, width, height = map(int, FACE)
    pixels[top : top + height, left : left + width] = 255
    stored = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels),
        7: np.rot90(pixels, 2).transpose(1, 0, 2),
        8: np.rot90(pixels, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    options = OPTIONS.get(Path(path).suffix[1:], {})
    Image.fromarray(np.ascontiguousarray(stored)).save(path, kind, exif=exif, **options)
    return Path(path)


def packet(properties, attributes=""):
    """An XMP packet with these properties, as text."""
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    return (
        f"<x:xmpmeta {names}><rdf:RDF>"
        f'<rdf:Description rdf:about="" {attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta>'
    )


def regions(*items, size=(WIDTH, HEIGHT), array="Bag"):
    """mwg-rs:Regions with these items, as digiKam and Lightroom write it."""
    applied_to = (
        f'<mwg-rs:AppliedToDimensions stDim:w="{size[0]}" stDim:h="{size[1]}" stDim:unit="pixel"/>' if size else ""
    )
    return (
        f'<mwg-rs:Regions rdf:parseType="Resource">{applied_to}<mwg-rs:RegionList>'
        f"<rdf:{array}>{''.join(items)}</rdf:{array}></mwg-rs:RegionList></mwg-rs:Regions>"
    )


def region(name="Ada", x=0.35, y=1 / 3, w=0.3, h=1 / 3, kind="Face", unit="normalized", more=""):
    """An item of the list: by default a face at FACE in a photo that is stored upright."""
    name = f' mwg-rs:Name="{name}"' if name else ""
    kind = f' mwg-rs:Type="{kind}"' if kind else ""
    return (
        f"<rdf:li><rdf:Description{name}{kind}>{more}"
        f'<mwg-rs:Area stArea:x="{x}" stArea:y="{y}" stArea:w="{w}" stArea:h="{h}" stArea:unit="{unit}"/>'
        "</rdf:Description></rdf:li>"
    )


def microsoft(*people):
    """MP:RegionInfo with (name, rectangle) of each person."""
    items = (
        '<rdf:li rdf:parseType="Resource">'
        + (f"<MPReg:Rectangle>{rectangle}</MPReg:Rectangle>" if rectangle else "")
        + (f"<MPReg:PersonDisplayName>{name}</MPReg:PersonDisplayName>" if name else "")
        + "</rdf:li>"
        for name, rectangle in people
    )
    return (
        '<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions>'
        f"<rdf:Bag>{''.join(items)}</rdf:Bag></MPRI:Regions></MP:RegionInfo>"
    )


RICH = packet(
    "<dc:subject><rdf:Bag><rdf:li>holiday</rdf:li><rdf:li>Zoë &amp; co</rdf:li></rdf:Bag></dc:subject>"
    '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">first line&#xD;&#xA;second &lt;line&gt;</rdf:li>'
    '<rdf:li xml:lang="de">eine Zeile</rdf:li></rdf:Alt></dc:description>'
    "<lr:hierarchicalSubject><rdf:Bag><rdf:li>People|Family</rdf:li></rdf:Bag></lr:hierarchicalSubject>"
    '<darktable:history><rdf:Seq><rdf:li darktable:operation="exposure" darktable:params="0000&#10;f0&#9;ff"/>'
    "</rdf:Seq></darktable:history>"
    '<own:thing xmlns:own="http://example.org/own/" rdf:parseType="Resource"><own:part rdf:parseType="Resource" '
    'xmlns="http://example.org/default/"><leaf>  spaced  </leaf></own:part></own:thing>'
    + regions(
        region("Rex", 0.8, 0.8, 0.2, 0.2, kind="Pet"),
        region("", 0.5, 0.5, 0.1, 0.1, kind="Focus", more="<mwg-rs:FocusUsage>EvaluatedUsed</mwg-rs:FocusUsage>"),
        region("Bob", 0.8, 0.3, 0.1, 0.2, more="<mwg-rs:Rotation>0.1</mwg-rs:Rotation>"),
    )
    + microsoft(("Bob", "0.75, 0.2, 0.1, 0.2")),
    'xmp:Rating="4" crs:HasCrop="False" tiff:Orientation="1"',
)


def facts(xml):
    """Each element of a tree as (path of tags, text, attributes), with how often it occurs."""
    found = Counter()

    def walk(node, path):
        path = (*path, node.tag)
        text = node.text or ""
        found[path, text if text.strip() else "", tuple(sorted(node.attrib.items()))] += 1
        for part in node:
            walk(part, path)

    walk(ET.fromstring(xml), ())
    return found
