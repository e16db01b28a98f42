"""Which of several faces is the subject of a photo."""

import numpy as np
import pytest

from facedex.faces.detector import FaceDetector
from facedex.faces.face import Face
from facedex.faces.subject import by_prominence, prominence
from facedex.photos import images
from tests.helpers import drawn_face

SHAPE = (400, 600, 3)


def face(left, top, wide, high=None):
    return Face((left, top, wide, high or wide), np.zeros((5, 2), np.float32), 0.9)


def centred(x, y, side):
    return face(x - side / 2, y - side / 2, side)


def first(*faces, shape=SHAPE):
    return faces.index(by_prominence(faces, shape)[0])


@pytest.mark.parametrize(
    ("faces", "subject"),
    [
        ([centred(300, 200, 100), centred(480, 200, 105)], 0),  # a neighbour a little larger
        ([centred(300, 200, 60), centred(150, 200, 105)], 1),  # a person in the background, in the very middle
        ([centred(200, 150, 100), centred(400, 150, 110)], 1),  # side by side: the larger
        ([centred(300, 200, 100), face(430, 100, 170, 190)], 0),  # the border cuts the larger face off
        ([centred(300, 200, 60), face(0, 100, 200, 250)], 1),  # a face that is cut off but far larger: a close-up
        ([face(-20, -20, 300), face(350, -20, 200)], 0),  # both faces are cut off
    ],
)
def test_size_closeness_to_the_middle_and_the_border_count_together(faces, subject):
    assert first(*faces) == subject
    assert first(*reversed(faces)) == len(faces) - 1 - subject


def test_a_face_in_a_corner_weighs_a_half_and_a_face_cut_off_seven_tenths():
    assert prominence(centred(300, 200, 80), SHAPE) == pytest.approx(80)
    assert prominence(face(-40, -40, 80), SHAPE) == pytest.approx(0.5 * 0.7 * 80)
    assert prominence(face(-200, -200, 80), SHAPE) == pytest.approx(0.5 * 0.7 * 80)  # outside a photo with a border
    touching, whole = face(1, 160, 80), face(3, 160, 80)
    assert prominence(touching, SHAPE) == pytest.approx(0.7 * prominence(whole, SHAPE), rel=0.01)


@pytest.mark.parametrize("times", [0.5, 3])
def test_the_order_does_not_depend_on_the_photos_resolution(times):
    rng = np.random.default_rng(0)
    faces = [face(*rng.uniform(-20, 500, 2), rng.uniform(20, 200)) for _ in range(20)]
    shape = (round(400 * times), round(600 * times), 3)
    larger = by_prominence([face.enlarged(times) for face in faces], shape)
    expected = [face.enlarged(times).box for face in by_prominence(faces, SHAPE)]
    assert [face.box for face in larger] == expected


def test_a_mirrored_photo_has_the_same_subject():
    faces = [centred(250, 200, 100), centred(480, 150, 120), face(-5, 100, 150)]
    mirrored = [face(600 - left - width, top, width) for left, top, width, _ in (found.box for found in faces)]
    assert first(*faces) == first(*mirrored) == 0


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.mark.parametrize(
    ("places", "subject"),
    [
        ([(260, 130, 220), (500, 60, 240)], 0),
        ([(60, 60, 300), (330, 190, 90)], 0),
        ([(250, 130, 200), (0, 100, 200)], 0),
    ],
)
def test_the_detector_lists_the_subject_first_in_a_coarse_look_too(detector, places, subject):
    pixels = np.full((480, 740, 3), 140, np.uint8)
    for seed, (left, top, side) in enumerate(places):
        pixels[top : top + side, left : left + side] = drawn_face(3 + seed, side)
    left, top, side = places[subject]
    for only_subject in (False, True):
        found = detector.detect(pixels, only_subject=only_subject)[0]
        assert (np.abs(found.centre - (left + side / 2, top + side / 2)) < side / 4).all()


def test_in_real_photos_the_person_named_is_the_subject(detector, shared):
    """Each photo shows a larger face beside the person named, who is in the middle."""
    names = [
        "Christine_Todd_Whitman_0005",
        "Condoleezza_Rice_0005",
        "Elsa_Zylberstein_0005",
        "Helene_Eksterowicz_0001",
        "Kosuke_Kitajima_0002",
        "Wendy_Selig_0001",
        "Winona_Ryder_0015",
    ]
    for name in names:
        pixels = images.open_photo(shared / "lfw" / "images" / name[:-5] / f"{name}.jpg").pixels
        for only_subject in (False, True):
            found = detector.detect(pixels, only_subject=only_subject)
            assert np.abs(found[0].centre - 125).max() < 30, name
        assert max(detector.detect(pixels), key=lambda face: face.area).box != detector.detect(pixels)[0].box, name
