"""Grey pictures in false colour become grey, and other pictures stay unchanged."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from facedex.photos import images
from facedex.photos.falsecolour import in_grey
from tests.helpers import drawn_face

SCALES = ["VIRIDIS", "PLASMA", "INFERNO", "MAGMA", "JET", "TURBO", "HOT", "PARULA", "HSV"]


def grey(seed=3, side=100):
    """A grey face with levels from black to white, (side, side) uint8."""
    plain = cv2.cvtColor(drawn_face(seed, side), cv2.COLOR_RGB2GRAY)
    return cv2.normalize(plain, None, 0, 255, cv2.NORM_MINMAX)


def coloured(picture, scale):
    return np.ascontiguousarray(cv2.applyColorMap(picture, getattr(cv2, f"COLORMAP_{scale}"))[..., ::-1])


@pytest.mark.parametrize("scale", SCALES)
def test_the_grey_levels_come_back(scale):
    found = in_grey(coloured(grey(), scale))
    assert found.shape == (100, 100, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.repeat(found[..., :1], 3, axis=2))
    # HSV has the same colour at both ends, and some colour maps repeat a colour for neighbouring levels.
    assert np.abs(found[..., 0].astype(int) - grey()).mean() < 2


@pytest.mark.parametrize("scale", ["VIRIDIS", "PLASMA", "INFERNO", "MAGMA"])
def test_the_grey_levels_come_back_from_a_jpeg(scale):
    file = io.BytesIO()
    Image.fromarray(coloured(grey(side=160), scale)).save(file, "JPEG", quality=80)
    found = images.decode(file.getvalue(), "photo.jpg")
    assert (np.ptp(found, axis=2) == 0).all()
    assert np.abs(found[..., 0].astype(int) - grey(side=160)).mean() < 8


def test_ordinary_pictures_stay_unchanged():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    sepia = (grey()[..., None] * np.array([1.0, 0.8, 0.6])).astype(np.uint8)
    red = np.stack([grey(), grey() // 4, grey() // 4], axis=2)
    tiny = np.array([[[255, 0, 0]]], np.uint8)
    for picture in (drawn_face(1), drawn_face(2, 60), noise, sepia, np.repeat(grey()[..., None], 3, axis=2), red, tiny):
        assert in_grey(picture) is picture or np.array_equal(in_grey(picture), picture)


def test_photos_of_people_stay_unchanged(shared):
    for path in sorted((shared / "lfw" / "images").glob("*/*.jpg"))[::40]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert in_grey(pixels) is pixels, path.name
