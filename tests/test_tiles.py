"""Tiles of a large photo: they cover it, no seam cuts a face, and each face is found once."""

import itertools

import cv2
import numpy as np
import pytest

from facedex.faces import tiles
from facedex.faces.detector import FaceDetector
from facedex.faces.face import Face
from tests.helpers import drawn_face


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


def face(left, top, width, height, score=0.8):
    return Face((left, top, width, height), np.full((5, 2), (left + width / 2, top + height / 2), np.float32), score)


def scene(height, width, *places):
    """A noisy photo with drawn faces, each given by left, top and side. A face's box is about half as wide."""
    noise = np.random.default_rng(3).integers(134, 147, (500, 500, 3), dtype=np.uint8)
    pixels = np.tile(noise, (height // 500 + 1, width // 500 + 1, 1))[:height, :width].copy()
    for seed, (left, top, side) in enumerate(places):
        pixels[top : top + side, left : left + side] = drawn_face(seed % 8, side)
    return pixels


def found_at(faces, places):
    """How many faces lie within each place, given by left, top and side."""
    return [
        sum(left < f.centre[0] < left + side and top < f.centre[1] < top + side for f in faces)
        for left, top, side in places
    ]


# where tiles lie


@pytest.mark.parametrize("side", [50, 640, 641, 1183, 1184, 5000, 20_011])
def test_spans_cover_the_side_and_overlap(side):
    spans = tiles._spans(side, 640, 96)
    assert spans[0][0] == 0
    assert spans[-1][1] == side
    assert len({end - start for start, end in spans}) == 1
    assert spans[0][1] <= 640
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end - start >= 95  # rounded to whole pixels


def looks_at(height, width):
    """The pixels that the detector is shown of a photo of this size, and how many tiles there are."""
    seen = []

    def look(part, scale):
        seen.append(part.shape[0] * part.shape[1] * scale**2)
        return []

    tiles.search(np.broadcast_to(np.uint8(0), (height, width, 3)), look)
    return sum(seen), len(seen)


def test_the_work_is_in_line_with_the_area():
    small, large = looks_at(3000, 4000), looks_at(12_000, 16_000)
    assert 12 < large[0] / small[0] < 20
    assert small[0] < 1.6 * 3000 * 4000 / 4


@pytest.mark.parametrize(("longer", "levels"), [(2048, 1), (6000, 1), (16_000, 2), (60_000, 3)])
def test_each_level_finds_the_faces_that_are_too_large_for_the_one_before(longer, levels):
    scales = tiles._scales(longer)
    assert len(scales) == levels
    assert scales[-1] * longer / 4 <= 1536  # what is too large for this level is found in the smaller copy


def test_a_face_that_a_seam_cuts_is_left_out_and_one_at_the_photo_s_edge_is_kept():
    shape = (1000, 3000, 3)
    tile = tiles._Tile(1000, 0, 2000, 1000)
    assert tile.cuts(face(1002, 300, 40, 50), shape)
    assert tile.cuts(face(1970, 300, 40, 50), shape)
    assert not tile.cuts(face(1500, 300, 40, 50), shape)
    assert not tile.cuts(face(1500, 0, 40, 50), shape)
    assert not tiles._Tile(2000, 0, 3000, 1000).cuts(face(2970, 300, 40, 50), shape)


def test_every_face_up_to_the_overlap_is_whole_in_some_tile():
    boxes = [face(x, y, 150, 150) for x in range(0, 3850, 37) for y in range(0, 2850, 41)]  # 75 px at half the size
    whole = set()
    for tile in tiles._tiles((3000, 4000, 3), 0.5):
        for number, box in enumerate(boxes):
            x, y = box.centre
            if tile.left < x < tile.right and tile.top < y < tile.bottom and not tile.cuts(box, (3000, 4000, 3)):
                whole.add(number)
    assert len(whole) == len(boxes)


# merging


def test_two_neighbours_whose_boxes_overlap_stay_two_faces():
    assert len(tiles.merged([face(0, 0, 100, 120), face(70, 5, 100, 120, 0.95)])) == 2


def test_of_two_boxes_on_one_face_the_better_score_is_kept():
    assert [f.score for f in tiles.merged([face(0, 0, 100, 120, 0.7), face(4, 3, 100, 120, 0.8)])] == [0.8]


def test_half_a_face_is_dropped_beside_the_whole_face():
    whole, half = face(0, 0, 100, 120, 0.91), face(50, 0, 50, 120, 0.93)
    assert tiles.merged([half, whole]) == [whole]


def test_a_poor_large_box_does_not_hide_a_plain_face():
    large, plain = face(0, 0, 200, 240, 0.62), face(60, 60, 60, 70, 0.93)
    assert tiles.merged([large, plain]) == [plain]


# the smaller copy


def test_a_photo_of_ordinary_size_is_its_own_smaller_copy():
    pixels = np.zeros((1500, 2000, 3), np.uint8)
    assert tiles.reduced(pixels) == (pixels, 1)


@pytest.mark.parametrize(("height", "width"), [(3000, 4000), (2050, 700), (30, 9000), (1, 8000)])
def test_a_smaller_copy_shows_the_same(height, width):
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    pixels = np.repeat(np.tile(ramp, (height, 1))[:, :, None], 3, axis=2)
    small, factor = tiles.reduced(pixels)
    assert small.shape == (height // factor, width // factor, 3)
    assert max(small.shape) < 1536 or factor == min(height, width)
    for view in (np.rot90(pixels), pixels[::-1, ::-1]):
        assert tiles.reduced(view)[1] == factor
    rest = (factor - 1) // 2
    assert np.abs(small[0, :, 0].astype(int) - ramp[rest::factor][: small.shape[1]]).max() <= 1


# in whole photos


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_every_face_of_40_pixels_in_12_megapixels_is_found_once(detector, order):
    places = [(60 + 640 * i + 97 * j, 50 + 590 * j, 76) for i in range(5) for j in range(5)]
    pixels = scene(3000, 4000, *places)
    if order == "columns":  # as a photo lies in memory that EXIF turns
        pixels = np.ascontiguousarray(pixels.transpose(1, 0, 2)).transpose(1, 0, 2)
    assert found_at(detector.detect(pixels), places) == [1] * len(places)


def test_small_faces_of_a_photo_on_its_side_are_found(detector):
    places = [(1200, 500, 1600), (3300, 2500, 80), (100, 100, 80)]
    turned = np.rot90(scene(3000, 4000, *places))
    there = [(top, 4000 - left - side, side) for left, top, side in places]
    assert found_at(detector.detect(turned), there) == [1] * 3


def test_a_small_face_beside_a_large_one_is_found_in_12_megapixels(detector):
    places = [(1200, 500, 1600), (3300, 2500, 80)]
    faces = detector.detect(scene(3000, 4000, *places))
    assert found_at(faces, places) == [1, 1]
    assert faces[0].box[2] > 500  # the subject comes first


def test_a_face_larger_than_the_overlap_is_found_once_wherever_it_lies(detector):
    for left in (900, 1040, 1180):  # seams of this photo lie round 1,100
        places = [(left, 800, 700)]
        faces = detector.detect(scene(2400, 3200, *places))
        assert found_at(faces, places) == [1]


def test_faces_of_a_panorama_are_found_at_every_size(detector):
    places = [(300, 700, 80), (3100, 300, 160), (5600, 100, 400), (7000, 50, 1300)]
    assert found_at(detector.detect(scene(1500, 9000, *places)), places) == [1] * 4


def test_landmarks_of_a_small_face_are_those_of_its_close_look(detector):
    drawing = drawn_face(0, 76)
    (alone,) = detector.detect(np.pad(drawing, ((60, 60), (60, 60), (0, 0)), constant_values=140))
    (found,) = detector.detect(scene(2000, 3000, (2001, 1501, 76)))
    assert np.abs(found.landmarks - (2001 - 60, 1501 - 60) - alone.landmarks).max() < 5


def test_a_photo_below_the_size_is_looked_at_as_before(detector, monkeypatch):
    monkeypatch.setattr(tiles, "search", lambda *_: pytest.fail("an ordinary photo was cut into tiles"))
    pixels = cv2.resize(scene(650, 800, (200, 100, 400)), (1600, 1300))
    assert len(detector.detect(pixels)) == 1


def test_the_subject_of_a_large_photo_needs_no_tiles(detector, monkeypatch):
    monkeypatch.setattr(tiles, "search", lambda *_: pytest.fail("the subject was found already"))
    assert detector.detect(scene(2400, 3200, (800, 500, 1400)), only_subject=True)


def test_a_subject_that_is_too_small_for_the_whole_is_found_in_tiles(detector):
    assert found_at(detector.detect(scene(3000, 4000, (2900, 1900, 76)), only_subject=True), [(2900, 1900, 76)]) == [1]
