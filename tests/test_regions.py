"""Places of faces: areas of stored pictures, boxes of upright ones, and which of them hold the same face."""

import math

import numpy as np
import pytest
from PIL import Image

from facedex.library.regions import frame, matches, to_area, to_box, to_stored, to_upright, within
from facedex.photos import images
from facedex.photos.photoheader import PhotoHeader, read_header
from tests.xmp_samples import FACE, turned_photo


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_area_lies_where_its_pixels_are_stored(tmp_path, orientation):
    path = turned_photo(tmp_path / "a.png", orientation)
    stored = np.asarray(Image.open(path))
    rows, columns = np.nonzero(stored[:, :, 0])
    box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    header = read_header(path.read_bytes(), "a")
    area = to_stored(to_area(FACE, header.upright_size), orientation)
    assert to_box(area, (header.width, header.height)) == pytest.approx(box)
    assert to_box(to_upright(area, orientation), header.upright_size) == pytest.approx(FACE)
    assert images.read_photo(path).shape[1::-1] == header.upright_size


@pytest.mark.parametrize(
    "area",
    [
        (math.nan, 0, 0.1, 0.1),
        (0.1, 0.1, math.inf, 0.1),
        (0.1, 0.1, 0.0, 0.1),
        (0.1, 0.1, 0.1, -0.1),
        (1.2, 0.1, 0.1, 0.1),
        (0.1, -0.5, 0.1, 0.1),
        (-3.0, 0.1, 7.0, 0.1),
    ],
)
def test_nonsense_is_no_area(area):
    assert within(area) is None


def test_an_area_that_the_border_cuts_off_is_clipped():
    assert within((-0.1, 0.8, 0.4, 0.3)) == pytest.approx((0, 0.8, 0.3, 0.2))
    assert within((0.0, 0.0, 1.000001, 1.0)) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("applied_to", "orientation", "expected"),
    [
        (None, 6, 6),
        ((4000, 3000), 6, 6),
        ((1000, 750), 3, 3),
        ((4016, 3016), 1, 1),
        ((3000, 4000), 6, 1),
        ((3000, 4000), 1, None),
        ((3000, 3000), 1, None),
        ((math.inf, 3000), 8, 8),
    ],
)
def test_areas_are_turned_by_the_picture_that_they_apply_to(applied_to, orientation, expected):
    assert frame(applied_to, PhotoHeader(4000, 3000, orientation)) == expected


def test_each_face_is_matched_with_the_box_that_overlaps_most():
    boxes = [(0, 0, 10, 10), (6, 0, 10, 10), (50, 50, 10, 10)]
    others = [(6, 0, 10, 11), (1, 0, 10, 10), (80, 80, 5, 5)]
    assert matches(boxes, others) == {0: 1, 1: 0}
    assert matches([(0, 0, 10, 13)], [(-4, -2, 18, 18)]) == {0: 0}
    assert matches([(0, 0, 10, 10)], [(9, 9, 10, 10)]) == {}
