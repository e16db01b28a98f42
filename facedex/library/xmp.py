"""XMP packets: safe parsing, access to RDF in all its spellings, and writing without loss (ISO 16684-1).

XML from outside is refused when it declares a document type, which is the way to entities, or when it is huge or deep.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from facedex._version import __version__
from facedex.errors import XmpUnusable

MAX_BYTES = 16 * 2**20
_MAX_DEPTH = 100
_MAX_ELEMENTS = 200_000
_CHUNK = 2**16  # characters parsed before the caps are checked again

_NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xml": "http://www.w3.org/XML/1998/namespace",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "MP": "http://ns.microsoft.com/photo/1.2/",
    "MPRI": "http://ns.microsoft.com/photo/1.2/t/RegionInfo#",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
}


def qualified(name: str) -> str:
    """Return the tag that ElementTree has for a name such as "dc:subject", with one of this module's prefixes."""
    prefix, _, local = name.partition(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"


_ABOUT, _PARSE_TYPE = qualified("rdf:about"), qualified("rdf:parseType")
_RDF, _DESCRIPTION, _LI = qualified("rdf:RDF"), qualified("rdf:Description"), qualified("rdf:li")
_ARRAYS = tuple(map(qualified, ("rdf:Bag", "rdf:Seq", "rdf:Alt")))
_EXTENDED = qualified("xmpNote:HasExtendedXMP")


# Packets


@dataclass
class Packet:
    """An XMP packet. `prefixes`: the prefix of each namespace, as the packet's writer chose it."""

    root: ET.Element
    prefixes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> Packet:
        """Return a packet without properties."""
        root = ET.Element(qualified("x:xmpmeta"), {qualified("x:xmptk"): f"facedex {__version__}"})
        ET.SubElement(root, _RDF)
        return cls(root)

    @property
    def descriptions(self) -> list[ET.Element]:
        """The elements that hold the top-level properties."""
        return [node for rdf in self.root.iter(_RDF) for node in rdf.findall(_DESCRIPTION)]

    def find(self, name: str) -> ET.Element | None:
        """The element of a top-level property, or None."""
        return next((found for node in self.descriptions if (found := child(node, name)) is not None), None)

    def property_holder(self, name: str) -> ET.Element:
        """The description that holds a top-level property, or else one that the property may be added to."""
        tag, descriptions = qualified(name), self.descriptions
        for node in descriptions:
            if tag in node.attrib or node.find(tag) is not None:
                return node
        if descriptions:
            return descriptions[0]
        rdf = next(self.root.iter(_RDF))
        return ET.SubElement(rdf, _DESCRIPTION, {_ABOUT: ""})

    def extend(self, other: Packet) -> None:
        """Add the properties of extended XMP, and forget that there was an extension."""
        next(self.root.iter(_RDF)).extend(other.descriptions)
        self.prefixes = {**other.prefixes, **self.prefixes}
        for node in self.descriptions:
            node.attrib.pop(_EXTENDED, None)
            for note in node.findall(_EXTENDED):
                node.remove(note)

    def to_bytes(self) -> bytes:
        """Return the packet as UTF-8 with the packet wrapper of XMP part 1, 7.3. Its writer's prefixes are kept."""
        root = copy.deepcopy(self.root)
        ET.indent(root)
        used = dict.fromkeys(self._uris(), "")
        for uri in used:
            used[uri] = self._prefix(uri, used)
        for node in root.iter():
            node.tag = _short(node.tag, used)
            node.attrib = {_short(key, used): value for key, value in node.attrib.items()}
        root.attrib.update({f"xmlns:{prefix}": uri for uri, prefix in used.items() if prefix != "xml"})
        # A parser reads a bare carriage return as a line feed.
        xml = ET.tostring(root, "unicode").replace("\r", "&#13;")
        return f"<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\n{xml}\n<?xpacket end='w'?>\n".encode()

    def _uris(self) -> Iterator[str]:
        for node in self.root.iter():
            for name in (node.tag, *node.attrib):
                if name.startswith("{"):
                    yield name[1:].partition("}")[0]

    def _prefix(self, uri: str, used: dict[str, str]) -> str:
        """A prefix that no other namespace of the packet has: its writer's, the usual one, or a number."""
        usual = {uri: prefix for prefix, uri in _NAMESPACES.items()}
        numbered = (f"ns{number}" for number in range(len(used) + 1))
        wishes = (self.prefixes.get(uri), usual.get(uri), *numbered)
        taken = set(used.values())
        return next(prefix for prefix in wishes if prefix and prefix not in taken)


def _short(name: str, prefixes: dict[str, str]) -> str:
    uri, end, local = name[1:].partition("}")
    return f"{prefixes[uri]}:{local}" if name.startswith("{") and end else name


def parse(data: bytes, where: str) -> Packet:
    """Parse an XMP packet or sidecar. `where` stands for it in error messages. Raises XmpUnusable."""
    if len(data) > MAX_BYTES:
        raise XmpUnusable(f"the XMP of {where} is larger than {MAX_BYTES / 2**20:.0f} MiB; write it again or remove it")
    text = _text(data, where)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise XmpUnusable(f"the XMP of {where} declares a document type, which is not read; remove the declaration")
    parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end", "start-ns"))
    prefixes: dict[str, str] = {}
    root: ET.Element | None = None
    depth = elements = 0
    try:
        for start in range(0, len(text), _CHUNK):
            parser.feed(text[start : start + _CHUNK])
            for event, item in cast("Iterator[tuple[str, Any]]", parser.read_events()):
                if event == "start-ns":
                    prefixes.setdefault(item[1], item[0])
                elif event == "start":
                    root = item if root is None else root
                    elements, depth = elements + 1, depth + 1
                else:
                    depth -= 1
                if depth > _MAX_DEPTH or elements > _MAX_ELEMENTS:
                    raise XmpUnusable(
                        f"the XMP of {where} has more than {_MAX_DEPTH} levels or {_MAX_ELEMENTS} elements; "
                        "write it again or remove it"
                    )
        parser.close()
    except (ET.ParseError, ValueError) as error:  # a lone surrogate or an impossible name raises ValueError
        raise XmpUnusable(f"the XMP of {where} is no sound XML ({error}); write it again or remove it") from None
    if root is None or next(root.iter(_RDF), None) is None:
        raise XmpUnusable(f"the XMP of {where} holds no RDF, so it is no XMP; write it again or remove it")
    return Packet(root, prefixes)


def _text(data: bytes, where: str) -> str:
    """The characters of a packet, which is UTF-8, UTF-16 or UTF-32 (XMP part 1, 7.1)."""
    start = data[:4]
    if start.startswith((b"\0\0\xfe\xff", b"\xff\xfe\0\0")):
        encoding = "utf-32"
    elif start.startswith((b"\xfe\xff", b"\xff\xfe")):
        encoding = "utf-16"
    elif b"\0" in start[:2] and start.strip(b"\0"):
        encoding = "utf-16-be" if start[0] == 0 else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding).strip("\ufeff\0 \r\n\t")
    except UnicodeDecodeError:
        raise XmpUnusable(f"the XMP of {where} is not in Unicode; write it again or remove it") from None


# Values. XMP allows a structure as rdf:parseType="Resource", as a nested rdf:Description, and as bare attributes.


def child(node: ET.Element, name: str) -> ET.Element | None:
    """Return the element of a property of `node`, a description or a structure. None where there is none."""
    tag = qualified(name)
    return next((found for holder in _holders(node) if (found := holder.find(tag)) is not None), None)


def text(node: ET.Element, name: str) -> str:
    """Return the text of a simple property of `node`, without surrounding space. Empty where there is none."""
    tag = qualified(name)
    for holder in _holders(node):
        if tag in holder.attrib:
            return holder.attrib[tag].strip()
    found = child(node, name)
    return "" if found is None else (found.text or "").strip() or text(found, "rdf:value")


def fields(node: ET.Element | None) -> dict[str, str]:
    """Return the simple fields of a structure by their local names. Programs differ in the namespace of some."""
    found: dict[str, str] = {}
    for holder in () if node is None else _holders(node):
        found.update({_local(key): value.strip() for key, value in holder.attrib.items()})
        found.update({_local(part.tag): (part.text or "").strip() for part in holder})
    return found


def array(node: ET.Element, name: str) -> ET.Element | None:
    """Return the Bag, Seq or Alt of an array property of `node`. None where there is none."""
    found = child(node, name)
    return None if found is None else next((part for part in found if part.tag in _ARRAYS), None)


def items(node: ET.Element, name: str) -> list[ET.Element]:
    """Return the items of an array property of `node`."""
    found = array(node, name)
    return [] if found is None else found.findall(_LI)


def _holders(node: ET.Element) -> list[ET.Element]:
    return [node, *node.findall(_DESCRIPTION)]


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


# Changes


def add(node: ET.Element, name: str, value: str | None = None, attributes: dict[str, str] | None = None) -> ET.Element:
    """Add a property to an element that `opened` or `structure` returned, and return the property's element."""
    attrib = {qualified(key): text for key, text in (attributes or {}).items()}
    element = ET.SubElement(node, qualified(name), attrib)
    element.text = value
    return element


def structure(node: ET.Element, name: str) -> ET.Element:
    """Return the element that fields of a structure property of `node` may be added to. The property is made if new."""
    found = child(node, name)
    return opened(ET.SubElement(node, qualified(name)) if found is None else found)


def opened(node: ET.Element) -> ET.Element:
    """Return the element that fields of a structure may be added to: itself or its nested rdf:Description."""
    nested = node.find(_DESCRIPTION)
    if nested is not None:
        return nested
    if node.get(_PARSE_TYPE) != "Resource":
        if node.attrib:  # RDF forbids elements beside attributes here
            nested = ET.SubElement(node, _DESCRIPTION, dict(node.attrib))
            node.attrib.clear()
            return nested
        node.set(_PARSE_TYPE, "Resource")
    return node


def bag(node: ET.Element, name: str) -> ET.Element:
    """Return the array of an array property of `node`. A new property is made, and a lone value becomes an item."""
    found = array(node, name)
    if found is not None:
        return found
    lone = text(node, name)
    node.attrib.pop(qualified(name), None)
    for old in node.findall(qualified(name)):
        node.remove(old)
    made = ET.SubElement(ET.SubElement(node, qualified(name)), _ARRAYS[0])
    if lone:
        add(made, "rdf:li", lone)
    return made


def put_text(node: ET.Element, name: str, value: str) -> None:
    """Set a simple property of an element that `opened` or `structure` returned."""
    node.attrib.pop(qualified(name), None)
    for old in node.findall(qualified(name)):
        node.remove(old)
    add(node, name, value)


def remove(root: ET.Element, node: ET.Element) -> None:
    """Remove an element from the tree below `root`."""
    parent = next(parent for parent in root.iter() if node in list(parent))
    parent.remove(node)
