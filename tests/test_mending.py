"""Pictures that decoders refuse although the photo is there."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from facedex.errors import PhotoUnreadable, PhotoUnsupported
from facedex.photos import images


def encoded(kind, **options):
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3))
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return np.asarray(picture), buffer.getvalue()


def read(data):
    remarks = []
    return images.decode(data, "photo", remarks=remarks), remarks


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("kept", [-1, -2, 0.99, 0.9])
def test_a_jpeg_that_is_cut_short_is_read_with_a_remark(kept, options):
    picture, data = encoded("JPEG", quality=90, **options)
    pixels, remarks = read(data[:kept] if kept < 0 else data[: int(kept * len(data))])
    assert len(remarks) == 1
    assert "cut short" in remarks[0]
    upper = slice(0, 240)
    assert np.abs(pixels[upper].astype(float) - picture[upper]).mean() < 8


def test_the_remark_says_how_much_is_missing():
    _, data = encoded("JPEG", quality=90)
    pixels, remarks = read(data[: int(0.75 * len(data))])
    missing = float(remarks[0].split("and ")[1].split("%")[0]) / 100
    assert 0.15 < missing < 0.35
    assert (pixels[int((1 - missing) * 300) + 1 :] == 128).all()


def test_a_jpeg_of_which_most_is_missing_is_refused():
    _, data = encoded("JPEG", quality=90)
    with pytest.raises(PhotoUnreadable, match="cut short"):
        read(data[: int(0.3 * len(data))])


def test_a_whole_jpeg_has_no_remark():
    assert read(encoded("JPEG")[1])[1] == []
    assert read(encoded("JPEG")[1] + b"trailer of a program")[1] == []


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(
    "large",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**20 + 1))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2**20 + 1))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2**20 + 1))),
        chunk(b"tEXt", b"Comment\0" + bytes(65 * 2**20)),
    ],
    ids=["zTXt", "iTXt", "iCCP", "tEXt"],
)
def test_a_png_with_a_large_text_or_profile_is_read(large):
    picture, data = encoded("PNG")
    at = data.index(b"IDAT") - 4
    assert np.array_equal(read(data[:at] + large + data[at:])[0], picture)


def test_a_png_without_its_last_bytes_is_read():
    picture, data = encoded("PNG")
    assert np.array_equal(read(data[:-1])[0], picture)
    assert np.array_equal(read(data[:-12])[0], picture)


def test_a_text_that_begins_like_a_bmp_is_no_picture():
    with pytest.raises(PhotoUnsupported, match="not a picture"):
        read(b"BMW and other makers of cars\n" * 20)
