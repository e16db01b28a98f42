"""What photo files say of themselves: size and orientation as decoding has them, and embedded XMP."""

import contextlib
import hashlib
import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from facedex.errors import PhotoError, PhotoTooLarge, PhotoUnreadable, PhotoUnsupported
from facedex.photos import images
from facedex.photos.photoheader import read_header
from tests.xmp_samples import RICH, packet, turned_photo


def encoded(kind, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, kind, **options)
    return buffer.getvalue()


def with_segment(jpeg, content):
    """A JPEG with one more APP1 segment, behind its first marker."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "avif"])
def test_size_and_orientation_are_those_of_decoding(tmp_path, kind, orientation):
    if kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = turned_photo(tmp_path / f"a.{kind}", orientation)
    header = read_header(path.read_bytes(), "a")
    pixels = images.read_photo(path)
    assert header.orientation == orientation
    assert header.upright_size == pixels.shape[1::-1] == (100, 60)
    assert (header.width, header.height) == ((60, 100) if orientation >= 5 else (100, 60))


@pytest.mark.parametrize(("orientation", "turn"), [(1, None), (6, None), (1, 0), (3, 2), (6, 3), (8, 1)])
def test_the_orientation_of_heic_is_that_of_its_container(tmp_path, orientation, turn):
    pytest.importorskip("pillow_heif", reason="needs the extra heic").register_heif_opener()
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (128, 64)).save(tmp_path / "a.heic", exif=exif)
    data = (tmp_path / "a.heic").read_bytes()
    if turn is not None:  # in quarters, anticlockwise. The colour profile makes room for the turn
        start = data.index(b"colr")
        data = data[:start] + b"irot" + bytes([turn]) + data[start + 5 :]
    header = read_header(data, "a")
    assert (header.width, header.height) == (128, 64)
    assert header.orientation == (orientation if turn else 1)
    assert header.upright_size == images.decode(data, "a").shape[1::-1]


@pytest.mark.parametrize("exif", [b"rubbish", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", None])
def test_a_photo_without_sound_exif_is_upright(exif):
    header = read_header(encoded("JPEG", **({"exif": exif} if exif else {})), "a")
    assert (header.width, header.height, header.orientation, header.xmp) == (40, 30, 1, ())


def test_the_size_is_that_of_decoding_whatever_is_wrong_with_the_exif():
    rng = random.Random(4)
    exif = Image.Exif()
    exif[274], exif[271], exif[282] = 6, "maker", 72.5
    exif.get_ifd(0x8769)[36867] = "2020:01:01 00:00:00"
    whole = encoded("JPEG", exif=exif)
    start, end = whole.index(b"Exif"), whole.index(b"\xff\xdb")
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(start, end)] = rng.randrange(256)
        header = read_header(bytes(data), "a")
        assert header.upright_size == images.decode(bytes(data), "a").shape[1::-1]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG", "AVIF"])
def test_embedded_xmp_is_found(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    xmp = RICH.encode()
    if kind == "PNG":
        options = {"pnginfo": png_text(xmp)}
    elif kind == "TIFF":
        options = {"tiffinfo": {700: xmp}}
    else:
        options = {"xmp": xmp}
    assert read_header(encoded(kind, **options), "a").xmp == (xmp,)


def png_text(xmp):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return info


def test_xmp_behind_the_pixels_of_a_png_is_found():
    png = encoded("PNG", pnginfo=png_text(RICH.encode()))
    start = png.index(b"iTXt") - 4
    (length,) = struct.unpack(">I", png[start : start + 4])
    chunk = png[start : start + length + 12]
    end = png.index(b"IEND") - 4
    moved = png[:start] + png[start + len(chunk) : end] + chunk + png[end:]
    assert moved.index(b"IDAT") < moved.index(b"iTXt")
    assert read_header(moved, "a").xmp == (RICH.encode(),)


def test_extended_xmp_of_a_jpeg_is_put_together_in_any_order():
    rest = packet("<dc:source>" + "s" * 100_000 + "</dc:source>").encode()
    guid = hashlib.md5(rest).hexdigest().upper().encode()
    main = packet("", f'xmpNote:HasExtendedXMP="{guid.decode()}"').encode()
    jpeg = encoded("JPEG", xmp=main)
    for start in (0, 60_000):  # the last segment comes first
        part = rest[start : start + 60_000]
        head = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", len(rest), start)
        jpeg = with_segment(jpeg, head + part)
    stranger = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 4, 0) + b"none"
    assert read_header(with_segment(jpeg, stranger), "a").xmp == (main, rest)


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff", b"\0\0\0\x20ftypheic" + b"\0" * 50])
def test_what_is_no_photo_is_refused(data):
    with pytest.raises((PhotoUnreadable, PhotoUnsupported), match="holiday"):
        read_header(data, "holiday")


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded():
    png = bytearray(encoded("PNG"))
    png[16:24] = struct.pack(">II", 12_000, 12_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    with pytest.raises(PhotoTooLarge, match="holiday"):
        read_header(bytes(png), "holiday")


def test_random_damage_is_read_or_refused(tmp_path):
    rng = random.Random(2)
    xmp = RICH.encode()
    wholes = [encoded("JPEG", xmp=xmp), encoded("WEBP", xmp=xmp), encoded("PNG", pnginfo=png_text(xmp))]
    wholes.append(turned_photo(tmp_path / "a.tif", 6).read_bytes())
    for _ in range(400):
        data = bytearray(rng.choice(wholes))
        for _ in range(rng.randrange(1, 5)):
            place = rng.randrange(min(len(data), 3000))
            data[place : place + rng.randrange(1, 4)] = rng.randbytes(rng.randrange(4))
        with contextlib.suppress(PhotoError):
            read_header(bytes(data), "a")
    for _ in range(100):
        with contextlib.suppress(PhotoError):
            read_header(np.random.default_rng(rng.randrange(99)).bytes(rng.randrange(300)), "a")
