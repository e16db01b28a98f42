"""Quality measures, and the reasons that they give."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from facedex.faces import alignment
from facedex.faces.detector import FaceDetector
from facedex.faces.face import Face
from facedex.faces.quality import Quality, sharpness, turn
from tests.helpers import drawn_face

FRONT = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)
GOOD = Quality(100.0, 0.08, 0.05, 0.93, 12.0)


def test_a_good_face_has_no_reason():
    assert GOOD.reason() is None
    assert GOOD.reason(unclear=11.9) is None


SHORT = {"length": 3.0}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 23.4}, "face small (23 px wide); use a photo that shows it larger"),
        ({"sharpness": 0.001}, "face blurred; use a photo that shows it sharper"),
        ({"turn": 0.6}, "face turned away; use a photo that shows it from the front"),
        ({}, "face hard to recognise; use a photo that shows it uncovered, evenly lit and in its own colours"),
    ],
)
def test_the_reason_for_a_short_embedding_names_the_cause(change, reason):
    assert Quality(**{**vars(GOOD), **SHORT, **change}).reason(unclear=8.0) == reason


@pytest.mark.parametrize("change", [{"width": 23.4}, {"sharpness": 0.01}, {"turn": 0.6}, {"score": 0.62}])
def test_a_long_embedding_has_no_reason(change):
    for length in (12.0, 8.0):
        assert Quality(**{**vars(GOOD), **change, "length": length}).reason(unclear=8.0) is None


@pytest.mark.parametrize(
    ("change", "what"), [({"width": 16.0}, "small (16 px wide)"), ({"sharpness": 0.004}, "blurred")]
)
def test_a_tiny_or_smeared_face_has_a_reason_whatever_its_length(change, what):
    for unclear in (0.0, 8.0):
        assert f"face {what};" in Quality(**{**vars(GOOD), **change}).reason(unclear)


def test_the_reason_names_all_faults():
    what, better = Quality(18.0, 0.001, 0.6, 0.93, 12.0).reason().split("; ")
    assert what == "face small (18 px wide), blurred, turned away"
    assert better == "use a photo that shows it larger, sharper, from the front"


def test_the_length_is_ignored_where_the_model_has_no_limit():
    assert Quality(**{**vars(GOOD), "length": 0.1}).reason() is None


def test_blur_lowers_sharpness_and_darkness_does_not():
    photo = Image.fromarray(drawn_face(3))
    crops = [np.asarray(photo.filter(ImageFilter.GaussianBlur(radius)).resize((112, 112))) for radius in (0, 2, 4, 8)]
    values = [sharpness(crop) for crop in crops]
    assert values == sorted(values, reverse=True)
    assert values[0] > 3 * values[2]
    assert sharpness((crops[0] * 0.6).astype(np.uint8)) == pytest.approx(values[0], rel=0.2)
    assert sharpness(np.full((112, 112, 3), 90, np.uint8)) == 0


def test_turn_is_zero_from_the_front_and_independent_of_tilt_and_size():
    assert turn(FRONT) == pytest.approx(0)
    aside = FRONT.copy()
    aside[2, 0] += 12
    assert turn(aside) == pytest.approx(0.3)
    angle = np.deg2rad(35)
    tilted = aside @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    assert turn(3 * tilted + 50) == pytest.approx(0.3, abs=1e-5)
    assert turn(np.zeros((5, 2), np.float32)) == 1.0  # both eyes in one place


def test_quality_of_a_detected_face():
    pixels = drawn_face(2)
    face: Face = FaceDetector().detect(pixels)[0]
    found = Quality.of(face, alignment.align(pixels, face.landmarks), 11.0)
    assert found.width == min(face.box[2:])
    assert (found.score, found.length) == (face.score, 11.0)
    assert found.turn < 0.2
    assert found.sharpness > 0
