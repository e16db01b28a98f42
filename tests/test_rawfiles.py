"""Raw files of cameras: the largest preview is read, and other raw files are named as what they are."""

import io

import numpy as np
import pytest
from PIL import Image

from facedex.errors import PhotoUnsupported
from facedex.photos import images
from tests.tiffs import raw_file


def jpeg(width, height, **options):
    """A picture that is light on the left and dark on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = 200
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_largest_preview_of_a_raw_file_is_read(order):
    remarks = []
    data = raw_file([jpeg(400, 320), jpeg(800, 600), jpeg(640, 480)], order=order)
    assert images.decode(data, "photo", remarks=remarks).shape == (600, 800, 3)
    assert len(remarks) == 1
    assert "preview of 800 x 600" in remarks[0]


def test_a_preview_is_turned_as_the_raw_file_says():
    pixels = images.decode(raw_file([jpeg(800, 600)], orientation=6), "photo")
    assert pixels.shape == (800, 600, 3)
    assert pixels[50, 300, 0] > 150 > pixels[750, 300, 0], "the left side is at the top"


def test_a_preview_that_says_itself_how_it_is_turned_is_believed():
    exif = Image.Exif()
    exif[274] = 3
    pixels = images.decode(raw_file([jpeg(800, 600, exif=exif)], orientation=6), "photo")
    assert pixels.shape == (600, 800, 3)
    assert pixels[300, 100, 0] < 50


def test_a_raw_file_with_small_previews_is_refused_with_the_reason():
    with pytest.raises(PhotoUnsupported, match="raw photo without a preview"):
        images.decode(raw_file([jpeg(160, 120)]), "photo")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3 of Canon"),
        (b"FUJIFILMCCD-RAW 0201FF383501", "RAF of Fujifilm"),
        (b"IIRO\x08\0\0\0", "ORF of Olympus"),
        (b"IIU\0\x18\0\0\0", "RW2 of Panasonic"),
        (b"FOVb\0\0\2\0", "X3F of Sigma"),
    ],
)
def test_other_raw_files_are_named(data, kind):
    with pytest.raises(PhotoUnsupported, match=kind):
        images.decode(data + bytes(100), "photo")


def test_altered_raw_files_give_pixels_or_a_photo_error():
    whole = raw_file([jpeg(400, 320)])
    rng = np.random.default_rng(3)
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(len(data) - 600, len(data), 4):
            data[at] = rng.integers(256)
        try:
            assert images.decode(bytes(data), "photo").dtype == np.uint8
        except images.PhotoError:
            continue
