"""XMP packets: hostile ones are refused, and the others are written again without loss."""

import contextlib
import random

import pytest

from facedex.errors import XmpUnusable
from facedex.library import xmp
from tests.xmp_samples import RICH, facts, packet

LAUGHS = "".join(f'<!ENTITY l{i} "{"".join(f"&l{i - 1};" for _ in range(10))}">' for i in range(1, 10))


def refused(data):
    with pytest.raises(XmpUnusable) as caught:
        xmp.parse(data if isinstance(data, bytes) else data.encode(), "photo.xmp")
    message = str(caught.value)
    assert "photo.xmp" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_a_document_type_is_refused_in_every_encoding(encoding):
    xml = f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]>' + packet("<dc:source>&l9;</dc:source>")
    assert "document type" in refused(xml.encode(encoding))


@pytest.mark.parametrize(
    "xml",
    [
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + packet("<dc:source>&e;</dc:source>"),
        '<!DOCTYPE x SYSTEM "http://example.org/x.dtd">' + packet(""),
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>' + packet(""),
    ],
)
def test_external_entities_are_refused(xml):
    assert "document type" in refused(xml)


def test_huge_deep_and_crowded_packets_are_refused():
    assert "16 MiB" in refused(b"<x>" + b" " * (100 * 2**20))
    assert "levels" in refused(packet("<dc:a>" * 100_000 + "</dc:a>" * 100_000))
    assert "elements" in refused(packet("<dc:a/>" * 250_000))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00",
        b"\xfe\xff\xd8\x00",
        b"\x80\x81\x82",
        b"<a",
        b"<a/>",
        b"\0\0\0\0",
        b"<rdf:RDF/>",
        packet("<dc:a>&unknown;</dc:a>").encode(),
        packet("<dc:a>&#xD800;</dc:a>").encode(),
        packet("<unbound:a/>").encode(),
        packet("").encode().replace(b"<rdf:RDF>", b"<rdf:RDF x:a='1' x:a='2'>"),
    ],
)
def test_what_is_no_xmp_is_refused_in_a_sentence(data):
    refused(data)


def test_random_damage_is_read_or_refused():
    rng = random.Random(1)
    whole = RICH.encode()
    for _ in range(300):
        data = bytearray(whole if rng.random() < 0.8 else rng.randbytes(rng.randrange(200)))
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.randrange(4)] = rng.randbytes(rng.randrange(4))
        with contextlib.suppress(XmpUnusable):
            xmp.parse(bytes(data), "photo.xmp").to_bytes()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_a_packet_is_written_without_loss(encoding):
    written = xmp.parse(RICH.encode(encoding), "photo.xmp").to_bytes()
    assert facts(written) == facts(RICH)
    assert xmp.parse(written, "photo.xmp").to_bytes() == written


def test_prefixes_of_the_writer_stay():
    written = xmp.parse(RICH.encode(), "photo.xmp").to_bytes().decode()
    for name in ("own:thing", "darktable:history", "lr:hierarchicalSubject", "crs:HasCrop", "tiff:Orientation"):
        assert f"{name}>" in written or f"{name}=" in written


def test_two_namespaces_of_one_prefix_and_a_default_namespace_stay_apart():
    xml = packet(
        '<p:a xmlns:p="http://example.org/1/"><p:b xmlns:p="http://example.org/2/">'
        '<c xmlns="http://example.org/3/" d="4"/></p:b></p:a>'
    )
    assert facts(xmp.parse(xml.encode(), "photo.xmp").to_bytes()) == facts(xml)


def test_properties_are_found_in_every_spelling():
    for inner in (
        '<mwg-rs:Area stArea:x="1"/>',
        '<mwg-rs:Area rdf:parseType="Resource"><stArea:x>1</stArea:x></mwg-rs:Area>',
        '<mwg-rs:Area><rdf:Description stArea:x="1"/></mwg-rs:Area>',
        "<mwg-rs:Area><rdf:Description><stArea:x>1</stArea:x></rdf:Description></mwg-rs:Area>",
    ):
        (description,) = xmp.parse(packet(inner).encode(), "photo.xmp").descriptions
        assert xmp.fields(xmp.child(description, "mwg-rs:Area"))["x"] == "1"
    (description,) = xmp.parse(
        packet('<dc:source rdf:parseType="Resource"><rdf:value> a </rdf:value></dc:source>').encode(), "photo.xmp"
    ).descriptions
    assert xmp.text(description, "dc:source") == "a"


def test_a_structure_of_attributes_opens_for_elements():
    (description,) = xmp.parse(packet('<mwg-rs:Regions mwg-rs:Name="a"/>').encode(), "photo.xmp").descriptions
    xmp.add(xmp.structure(description, "mwg-rs:Regions"), "mwg-rs:Type", "Face")
    node = xmp.child(description, "mwg-rs:Regions")
    assert (xmp.text(node, "mwg-rs:Name"), xmp.text(node, "mwg-rs:Type")) == ("a", "Face")
    assert not node.attrib


def test_a_lone_keyword_becomes_an_item():
    for sample in (packet("", 'dc:subject="old"'), packet("<dc:subject>old</dc:subject>")):
        (description,) = xmp.parse(sample.encode(), "photo.xmp").descriptions
        xmp.add(xmp.bag(description, "dc:subject"), "rdf:li", "new")
        assert [item.text for item in xmp.items(description, "dc:subject")] == ["old", "new"]


@pytest.mark.parametrize(
    ("properties", "attributes"),
    [("", 'xmpNote:HasExtendedXMP="0F"'), ("<xmpNote:HasExtendedXMP>0F</xmpNote:HasExtendedXMP>", "")],
)
def test_extended_xmp_becomes_a_part_of_the_packet(properties, attributes):
    main = xmp.parse(packet(properties + "<dc:a>1</dc:a>", attributes).encode(), "photo.jpg")
    main.extend(xmp.parse(packet('<p:b xmlns:p="http://example.org/">2</p:b>').encode(), "photo.jpg"))
    text = main.to_bytes().decode()
    assert "HasExtendedXMP" not in text
    assert "<dc:a>1</dc:a>" in text
    assert "<p:b>2</p:b>" in text
