"""Alignment: the fit is the least-squares similarity, and the crop shows the face at the template."""

import numpy as np
import pytest

from facedex.faces.alignment import MARGIN, SIZE, TEMPLATE, align, centre_crop, similarity

CANVAS = SIZE + 2 * MARGIN


def turn(angle, scale, shift):
    """A (2, 3) similarity."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def move(matrix, points):
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def wave(x, y):
    """A smooth picture with a known value at every point of the template's plane, 0..255 in three channels."""
    return 127.5 + 100 * np.stack([np.sin(x / 9 + 1), np.cos(y / 7), np.sin((x + y) / 11)], axis=-1)


def photo_of(picture, matrix, width, height):
    """(height, width, 3) uint8: the picture, with the template's point p at move(matrix, p)."""
    y, x = np.mgrid[:height, :width]
    inverse = np.linalg.inv(matrix[:, :2])
    points = (np.stack([x, y], axis=-1) - matrix[:, 2]) @ inverse.T
    return np.clip(picture(points[..., 0], points[..., 1]), 0, 255).round().astype(np.uint8)


# the fit


def test_similarity_recovers_a_known_transform():
    rng = np.random.default_rng(1)
    for _ in range(50):
        matrix = turn(rng.uniform(-np.pi, np.pi), rng.uniform(0.01, 100), rng.uniform(-1000, 1000, 2))
        source = rng.uniform(-50, 50, (5, 2))
        assert np.allclose(similarity(source, move(matrix, source)), matrix, atol=1e-6)


def test_no_other_similarity_fits_noisy_points_better():
    rng = np.random.default_rng(2)
    source, target = rng.uniform(0, 100, (5, 2)), rng.uniform(0, 100, (5, 2))
    fitted = similarity(source, target)
    best = ((move(fitted, source) - target) ** 2).sum()
    a, b = fitted[0, 0], fitted[1, 0]
    for da, db, dx, dy in rng.normal(0, 0.05, (200, 4)):
        other = np.array([[a + da, -b - db, fitted[0, 2] + dx], [b + db, a + da, fitted[1, 2] + dy]])
        assert ((move(other, source) - target) ** 2).sum() >= best


def test_the_fit_never_mirrors():
    matrix = similarity(TEMPLATE * (-1, 1), TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0
    assert matrix[0, 0] == pytest.approx(matrix[1, 1])
    assert matrix[0, 1] == pytest.approx(-matrix[1, 0])


def test_template_maps_onto_itself():
    assert np.allclose(similarity(TEMPLATE, TEMPLATE), np.eye(2, 3))


def test_the_fit_of_identical_points_is_finite():
    assert np.isfinite(similarity(np.full((5, 2), 7.0), TEMPLATE)).all()


# the crop


def test_an_aligned_face_stays_unchanged():
    crop = np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert np.array_equal(align(crop, TEMPLATE), crop)


def test_an_aligned_face_with_margin_stays_unchanged():
    crop = np.random.default_rng(3).integers(0, 256, (CANVAS, CANVAS, 3), dtype=np.uint8)
    assert np.array_equal(align(crop, TEMPLATE + MARGIN, margin=MARGIN), crop)


@pytest.fixture(
    params=[
        pytest.param((0.6, 0.0), id="small"),
        pytest.param((1.3, 0.4), id="plain"),
        pytest.param((1.99, -0.3), id="plain at its limit"),
        pytest.param((2.01, -0.3), id="just averaged down"),
        pytest.param((3.7, 0.6), id="averaged down"),
        pytest.param((6.0, 3.0), id="averaged down on its head"),
    ]
)
def camera(request):
    """(matrix, side): a similarity that puts the template in the middle of a photo of this side."""
    scale, angle = request.param
    side = int(210 * scale)
    matrix = turn(angle, scale, (0, 0))
    matrix[:, 2] = side / 2 - move(matrix, (SIZE / 2, SIZE / 2))
    return matrix, side


@pytest.mark.parametrize("margin", [0, MARGIN])
def test_crop_is_the_picture_at_the_template(camera, margin):
    matrix, side = camera
    crop = align(photo_of(wave, matrix, side, side), move(matrix, TEMPLATE), margin)
    y, x = np.mgrid[: SIZE + 2 * margin, : SIZE + 2 * margin] - margin
    assert np.abs(crop.astype(float) - wave(x, y)).mean() < 1.5


def detail(x, y):
    """Detail as fine as a face of 16 pixels can have: waves of three of its pixels."""
    return 127.5 + 100 * np.stack([np.sin(x / 2.5 + 1), np.cos(y / 2.5), np.sin((x + y) / 3.5)], axis=-1)


def test_a_small_face_keeps_its_detail():
    matrix = turn(0.1, 0.2, (8, 9))
    crop = align(photo_of(detail, matrix, 40, 40), move(matrix, TEMPLATE))
    y, x = np.mgrid[:SIZE, :SIZE]
    kept = (crop.astype(float) - 127.5) * (detail(x, y) - 127.5)
    assert kept[8:-8, 8:-8].mean() > 0.9 * ((detail(x, y) - 127.5) ** 2)[8:-8, 8:-8].mean()


def test_landmarks_land_on_the_template(camera):
    def dots(x, y):
        return sum(255 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 18) for a, b in TEMPLATE)[..., None].repeat(3, -1)

    matrix, side = camera
    crop = align(photo_of(dots, matrix, side, side), move(matrix, TEMPLATE)).astype(float)[:, :, 0]
    y, x = np.mgrid[:SIZE, :SIZE]
    for point in TEMPLATE:
        near = crop * (np.hypot(x - point[0], y - point[1]) < 12)
        centre = np.array([(x * near).sum(), (y * near).sum()]) / near.sum()
        assert np.abs(centre - point).max() < 0.1


def test_averaging_down_agrees_with_the_direct_warp():
    """The same picture with every pixel as a square of 16 x 16 takes the other path to nearly the same crop."""
    rng = np.random.default_rng(4)
    coarse = np.repeat(np.repeat(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8), 8, 0), 8, 1)
    landmarks = TEMPLATE * 1.1 + (15, 12)
    large = np.repeat(np.repeat(coarse, 16, 0), 16, 1)
    there = (landmarks + 0.5) * 16 - 0.5
    difference = np.abs(align(large, there).astype(int) - align(coarse, landmarks).astype(int))
    assert difference.mean() < 3


def test_fine_detail_of_a_large_face_is_averaged_and_not_sampled():
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = align(stripes, TEMPLATE * 9 + 60)
    assert crop.std() < 20
    assert 118 < crop.mean() < 138


def test_beyond_the_photo_is_black():
    white = np.full((200, 200, 3), 255, np.uint8)
    crop = align(white, TEMPLATE - (SIZE / 2, 0))
    assert (crop[:, : SIZE // 2 - 1] == 0).all()
    assert (crop[:, SIZE // 2 + 1 :] == 255).all()


@pytest.mark.parametrize("scale", [1, 10])
def test_face_outside_the_photo_is_a_black_crop(scale):
    white = np.full((200, 200, 3), 255, np.uint8)
    assert not align(white, TEMPLATE * scale + 5000).any()


@pytest.mark.parametrize("shape", [(150, 40_000), (40_000, 150)])
def test_photo_longer_than_opencv_warps_is_cropped_first(shape):
    photo = np.zeros((*shape, 3), np.uint8)
    photo[-120:, -120:] = np.random.default_rng(5).integers(0, 256, (120, 120, 3))
    crop = align(photo, TEMPLATE + np.array([shape[1] - 120, shape[0] - 120]))
    assert np.array_equal(crop, photo[-120:-8, -120:-8])


def test_centre_crop_cuts_the_margin_off():
    crops = np.random.default_rng(6).integers(0, 256, (3, CANVAS, CANVAS, 3), dtype=np.uint8)
    inner = centre_crop(crops)
    assert inner.shape == (3, SIZE, SIZE, 3)
    assert np.array_equal(inner[1], align(crops[1], TEMPLATE + MARGIN))
