"""Every layout of pixels in a TIFF is read rightly, or refused with the reason."""

import itertools
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from facedex.errors import PhotoError, PhotoUnsupported
from facedex.photos import images
from tests.tiffs import BITS, CHANNELS, FORMAT, PHOTOMETRIC, PLANAR, tiff

WIDTH = 48
GREY_WHITE, GREY, RGB, CMYK = 0, 1, 2, 5
KINDS = {1: (GREY, GREY_WHITE), 2: (GREY,), 3: (RGB,), 4: (RGB, CMYK)}
DEPTHS = [(1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (12, 1), (16, 1), (16, 2), (24, 1), (32, 1), (32, 2), (64, 1)]
FLOATS = [(16, 3), (32, 3), (64, 3)]
READ = {  # (channels, photometric, planar, bits, kind) of the layouts that must be read
    *((1, photometric, False, bits, 1) for photometric in (GREY, GREY_WHITE) for bits in (1, 2, 4, 8, 16)),
    *((1, GREY, False, bits, kind) for bits, kind in ((12, 1), (16, 2), (32, 1), (32, 2), (32, 3))),
    *((channels, RGB, False, bits, 1) for channels in (3, 4) for bits in (8, 16)),
    *((channels, RGB, True, 8, 1) for channels in (3, 4)),
    (4, CMYK, False, 8, 1), (4, CMYK, False, 16, 1), (4, CMYK, True, 8, 1), (2, GREY, False, 8, 1),
}  # fmt: skip
LITTLE_ENDIAN_ONLY = {(1, GREY, False, 12, 1), (1, GREY, False, 32, 1), (1, GREY_WHITE, False, 16, 1)}
LAYOUTS = [
    (channels, photometric, planar, bits, kind)
    for channels, photometrics in KINDS.items()
    for photometric, planar, (bits, kind) in itertools.product(photometrics, (False, True), DEPTHS + FLOATS)
    if not (planar and channels == 1) and (bits >= 8 or channels == 1) and bits != 24
]


def ramps(channels, photometric):
    """Shares of white (8, WIDTH, channels) as stored, and the pixels (8, WIDTH, 3) that should come out."""
    up = np.linspace(0, 1, WIDTH)
    colours = [up, up[::-1], np.full(WIDTH, 0.5)] if channels > 2 else [up] * 3
    shown = np.tile(np.stack(colours, axis=1), (8, 1, 1))
    stored = shown[:, :, : min(channels, 3)] if channels != 2 else shown[:, :, :2]
    if photometric == CMYK:
        stored = np.concatenate([1 - shown, np.zeros((8, WIDTH, 1))], axis=2)
    elif channels in (2, 4):
        stored = np.concatenate([stored[:, :, : channels - 1], np.ones((8, WIDTH, 1))], axis=2)
    elif photometric == GREY_WHITE:
        stored = 1 - stored
    return stored, 255 * shown


def written(layout, order):
    """A TIFF of this layout, and the pixels that should come out."""
    channels, photometric, planar, bits, kind = layout
    stored, shown = ramps(channels, photometric)
    top = {1: 2.0**bits - 1, 2: 2.0 ** (bits - 1) - 1, 3: 1.0}[kind]
    if bits == 64 and kind < 3:
        top = 2.0**60
    values = stored * top if kind == 3 else np.round(stored * top)
    return tiff(values, photometric, bits, kind, planar, order), shown


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_layout_is_read_rightly_or_refused_with_the_reason(layout, order):
    data, shown = written(layout, order)
    if layout not in READ or (order == ">" and layout in LITTLE_ENDIAN_ONLY):
        with pytest.raises(PhotoUnsupported, match=r"photo is a TIFF with .* not read; save it"):
            images.decode(data, "photo")
        return
    pixels = images.decode(data, "photo")
    tolerance = 255 / 2 ** min(layout[3], 8) + 2
    assert np.abs(pixels.astype(float) - shown).max() <= tolerance


@pytest.mark.parametrize("tag", [PHOTOMETRIC, CHANNELS, PLANAR, BITS, FORMAT])
@pytest.mark.parametrize("kind", [1, 2, 7, 11, 12])
def test_a_tag_of_another_type_gives_pixels_or_a_photo_error(tag, kind):
    """A damaged tag may be a text, bytes or a fraction."""
    data, _ = written((3, RGB, False, 16, 1), "<")
    data = data.replace(struct.pack("<HH", tag, 3), struct.pack("<HH", tag, kind))
    with suppress(PhotoError):
        assert images.decode(data, "photo").dtype == np.uint8


def test_floating_point_colours_are_named_as_such():
    data, _ = written((3, RGB, False, 32, 3), "<")
    with pytest.raises(PhotoUnsupported, match="floating-point pixels"):
        images.decode(data, "photo")


@pytest.mark.parametrize("orientation", [3, 6])
def test_colours_of_a_png_that_use_12_bits_are_scaled(orientation):
    stored, shown = ramps(3, RGB)
    exif = Image.Exif()
    exif[274] = orientation
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.round(stored * 4095))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in (
        (b"IHDR", struct.pack(">IIBBBBB", WIDTH, 8, 16, 2, 0, 0, 0)),
        (b"eXIf", exif.tobytes()[6:]),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    upright = shown[::-1, ::-1] if orientation == 3 else np.rot90(shown, -1)
    pixels = images.decode(data, "photo")
    assert pixels.shape == upright.shape
    assert np.abs(pixels - upright).max() <= 2


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("used", [10, 12, 14])
def test_colours_that_use_fewer_than_16_bits_are_scaled(used, orientation):
    stored, shown = ramps(3, RGB)
    data = tiff(np.round(stored * (2**used - 1)), RGB, 16, orientation=orientation)
    upright = {1: shown, 3: shown[::-1, ::-1], 6: np.rot90(shown, -1)}[orientation]
    pixels = images.decode(data, "photo")
    assert pixels.shape == upright.shape
    assert np.abs(pixels - upright).max() <= 2
