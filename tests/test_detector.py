"""Detection: number and place of faces in every orientation, and no faces in pictures without faces."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from facedex.errors import ModelError
from facedex.faces import detector as detector_module
from facedex.faces import face as face_module
from facedex.faces import yunet
from facedex.faces.alignment import TEMPLATE, similarity
from facedex.faces.detector import FaceDetector
from facedex.faces.window import GREY, Window
from facedex.photos import images
from tests.helpers import drawn_face

PORTRAITS = ["obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png", "grace_hopper.jpg"]


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def weights():
    return yunet.packaged_weights()


@pytest.fixture(params=PORTRAITS)
def portrait(request, portraits):
    return images.read_photo(portraits / request.param)


def resized(pixels, height):
    size = (round(height * pixels.shape[1] / pixels.shape[0]), height)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def inside(face, cut):
    """Left, top, right and bottom in whole pixels of a face's box, less the share `cut` at each edge."""
    left, top, wide, high = face.box
    return int(left + cut * wide), int(top + cut * high), int(left + (1 - cut) * wide), int(top + (1 - cut) * high)


def turned_back(points, quarter, shape):
    """Points of np.rot90(photo, quarter) in the photo's pixels, looked up in a turned grid of coordinates."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    column, row = np.rot90(x, quarter), np.rot90(y, quarter)
    at = np.clip(np.round(points).astype(int), 0, np.array(column.shape[::-1]) - 1)
    return np.stack([column[at[:, 1], at[:, 0]], row[at[:, 1], at[:, 0]]], axis=1)


def centres(faces):
    return np.array([(left + wide / 2, top + high / 2) for left, top, wide, high in (face.box for face in faces)])


def marks(faces):
    """(5, faces, 2): the landmarks of the faces, by landmark."""
    return np.stack([face.landmarks for face in faces], axis=1)


# photos of people


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize(("name", "count"), [("friends.jpg", 6), ("tbbt.jpg", 7)])
def test_all_people_in_a_group_photo_are_found_in_every_orientation(shared, detector, name, count, quarter):
    pixels = images.read_photo(shared / "photos" / name)
    upright = detector.detect(pixels)
    turned = detector.detect(np.ascontiguousarray(np.rot90(pixels, quarter)))
    assert len(upright) == len(turned) == count
    for place, there in ((centres(upright), centres(turned)), *zip(marks(upright), marks(turned), strict=True)):
        back = turned_back(there, quarter, pixels.shape)
        distance = np.abs(place[:, None] - back[None]).max(axis=2)
        assert distance.min(axis=1).max() < 4


def test_a_portrait_has_one_face_with_a_high_score(portrait, detector):
    (face,) = detector.detect(portrait)
    assert 0.9 < face.score <= 1
    left, top, wide, high = face.box
    assert 0 <= left < left + wide <= portrait.shape[1]
    assert 0 <= top < top + high <= portrait.shape[0]


def test_landmarks_are_in_the_order_of_the_template(portrait, detector):
    (face,) = detector.detect(portrait)
    matrix = similarity(face.landmarks, TEMPLATE)
    placed = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    assert face.landmarks.shape == (5, 2)
    assert face.landmarks.dtype == np.float32
    assert np.abs(placed - TEMPLATE).max() < 8


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turned_portrait_gives_the_same_landmarks(portrait, detector, quarter):
    (upright,) = detector.detect(portrait)
    (turned,) = detector.detect(np.ascontiguousarray(np.rot90(portrait, quarter)))
    back = turned_back(turned.landmarks, quarter, portrait.shape)
    assert np.abs(back - upright.landmarks).max() < 0.05 * upright.box[2] + 1


def test_in_a_photo_upside_down_the_eyes_are_below_the_mouth(shared, detector):
    for path in sorted((shared / "lfw" / "images").rglob("*.jpg"))[::80]:
        pixels = images.read_photo(path)
        landmarks = detector.detect(np.ascontiguousarray(pixels[::-1, ::-1]))[0].landmarks
        assert landmarks[:2, 1].min() > landmarks[3:, 1].max(), path.name


def test_face_of_60_pixels_is_found(portrait, detector):
    (face,) = detector.detect(portrait)
    small = resized(portrait, round(60 * portrait.shape[0] / face.box[3]))
    (found,) = detector.detect(small)
    assert found.box[3] == pytest.approx(60, abs=9)
    assert np.abs(found.landmarks * (face.box[3] / 60) - face.landmarks).max() < 0.15 * face.box[2]


def test_face_of_60_pixels_in_two_megapixels_is_found(portrait, detector):
    (face,) = detector.detect(portrait)
    small = resized(portrait, round(60 * portrait.shape[0] / face.box[3]))
    canvas = np.full((1300, 1600, 3), 90, np.uint8)
    canvas[600 : 600 + small.shape[0], 900 : 900 + small.shape[1]] = small
    (found,) = detector.detect(canvas)
    there = face.landmarks * (60 / face.box[3]) + (900, 600)
    assert np.abs(found.landmarks - there).max() < 12


@pytest.mark.parametrize("height", [60, 300, 1600])
@pytest.mark.parametrize("cut", [0.0, 0.1, 0.15])
def test_tight_crop_gives_the_same_landmarks(portrait, detector, cut, height):
    (face,) = detector.detect(portrait)
    left, top, right, bottom = inside(face, cut)
    crop = resized(portrait[top:bottom, left:right], height)
    found = detector.detect(crop)[0]
    there = (face.landmarks - (left, top)) * (height / (bottom - top))
    assert np.abs(found.landmarks - there).max() < 0.15 * face.box[2] * height / (bottom - top)


def test_a_border_only_moves_the_face(portrait, detector):
    (face,) = detector.detect(portrait)
    padded = np.pad(portrait, ((200, 0), (300, 0), (0, 0)), constant_values=127)
    found = detector.detect(padded)[0]
    assert np.abs(found.landmarks - face.landmarks - (300, 200)).max() < 0.1 * face.box[2]


# drawings, which need no photos


def test_faces_come_most_prominent_first(detector):
    row = np.full((260, 900, 3), 120, np.uint8)
    for left, side in ((10, 120), (200, 240), (560, 180)):
        row[10 : 10 + side, left : left + side] = drawn_face(2, side)
    faces = detector.detect(row)
    assert len(faces) == 3
    assert [int(centre) // 300 for centre in centres(faces)[:, 0]] == [1, 2, 0]


def askew(pixels, face, degrees):
    """A photo turned about a face's centre, and the turned landmarks."""
    left, top, wide, high = face.box
    matrix = cv2.getRotationMatrix2D((left + wide / 2, top + high / 2), degrees, 1.0)
    turned = cv2.warpAffine(pixels, matrix, pixels.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return turned, face.landmarks @ matrix[:, :2].T + matrix[:, 2]


def off(face, marks):
    """The mean error of landmarks, in distances between the eyes."""
    return np.hypot(*(face.landmarks - marks).T).mean() / np.hypot(*(marks[1] - marks[0]))


@pytest.mark.parametrize("degrees", [-45, 15, 30, 45, 60, 120, 135])
def test_landmarks_of_a_tilted_drawing_are_right(detector, degrees):
    pixels = np.full((480, 480, 3), 140, np.uint8)
    pixels[120:360, 120:360] = drawn_face(3)
    (face,) = detector.detect(pixels)
    turned, marks = askew(pixels, face, degrees)
    (found,) = detector.detect(turned)
    assert off(found, marks) < 0.2
    assert abs(detector_module.tilt(found.landmarks) - detector_module.tilt(face.landmarks) - degrees) < 15
    assert found.box[2] == pytest.approx(face.box[2], rel=0.3)
    assert found.box[3] == pytest.approx(face.box[3], rel=0.3)


@pytest.mark.parametrize("degrees", [30, 45, 60])
def test_landmarks_of_a_tilted_portrait_are_right(portrait, detector, degrees, request):
    if request.node.callspec.id.startswith("obama2.jpg-45"):
        pytest.xfail("the score of this large, grainy face at 45 degrees is too low")
    (face,) = detector.detect(portrait)
    turned, marks = askew(portrait, face, degrees)
    assert min(off(found, marks) for found in detector.detect(turned)) < 0.2


@pytest.mark.parametrize("degrees", [0, 30, -120, 179])
def test_tilt_is_the_rotation_of_the_landmarks(degrees):
    matrix = cv2.getRotationMatrix2D((50, 60), degrees, 1.7)
    assert detector_module.tilt(TEMPLATE @ matrix[:, :2].T + matrix[:, 2]) == pytest.approx(degrees, abs=1e-3)


@pytest.fixture
def looks(monkeypatch):
    """The sizes of the pictures that the network gets."""
    shown, faces = [], yunet.YuNet.faces

    def noted(self, pixels, scale, min_score):
        shown.append(tuple(round(scale * side) for side in pixels.shape[:2]))
        return faces(self, pixels, scale, min_score)

    monkeypatch.setattr(yunet.YuNet, "faces", noted)
    return shown


def on_grey(height, width, *places):
    """Drawn faces on grey, each given by left, top and side in pixels."""
    pixels = np.full((height, width, 3), 140, np.uint8)
    for left, top, side in places:
        pixels[top : top + side, left : left + side] = drawn_face(3, side)
    return pixels


def test_an_upright_face_gets_one_close_look(detector, looks):
    (found,) = detector.detect(on_grey(480, 640, (150, 100, 250)))
    assert found.score >= detector_module._SURE
    assert abs(detector_module.tilt(found.landmarks)) <= detector_module._TILTED
    assert looks == [(480, 640), (128, 128), (128, 128)]


def test_a_coarse_look_is_enough_for_the_subject(detector, looks):
    pixels = on_grey(480, 640, (80, 60, 300), (500, 300, 44))
    everybody = detector.detect(pixels)
    assert len(everybody) == 2
    assert (480, 640) in looks
    looks.clear()
    subject = detector.detect(pixels, only_subject=True)[0]
    assert looks == [(240, 320), (128, 128), (128, 128)]
    assert np.abs(subject.landmarks - everybody[0].landmarks).max() < 0.05 * subject.box[2]


def test_a_doubtful_coarse_look_is_followed_by_a_full_look(detector, looks, monkeypatch):
    monkeypatch.setattr(detector_module, "_COARSE_SURE", 2.0)
    (found,) = detector.detect(on_grey(480, 640, (80, 60, 300)), only_subject=True)
    assert found.score >= detector_module._SURE
    assert looks == [(240, 320), (480, 640), (128, 128), (128, 128)]


def test_two_faces_of_like_prominence_need_a_full_look(detector, looks):
    pixels = on_grey(480, 640, (30, 100, 280), (330, 100, 290))
    (first, *_), (at_once, *_) = detector.detect(pixels), detector.detect(pixels, only_subject=True)
    assert first.box == at_once.box
    assert looks.count((480, 640)) == 2


def test_a_subject_of_low_prominence_needs_a_full_look(detector, looks):
    """Another face might be nearer the middle, and too small for the coarse look."""
    detector.detect(on_grey(640, 640, (0, 0, 64)), only_subject=True)
    assert (640, 640) in looks


def test_a_face_that_fills_the_photo_needs_a_full_look(detector, looks):
    detector.detect(drawn_face(3, 300), only_subject=True)
    assert (300, 300) in looks


def tilted_by_37_degrees(look):
    rotation = np.array([[0.8, 0.6], [-0.6, 0.8]], np.float32)
    return replace(look, landmarks=look.landmarks @ rotation)


def with_lower_score(look):
    return replace(look, score=look.score - 0.3)


@pytest.mark.parametrize("astray", [tilted_by_37_degrees, with_lower_score])
def test_a_close_look_that_goes_astray_is_ignored(detector, monkeypatch, astray):
    pixels, same, looks = on_grey(480, 640, (80, 60, 300)), detector_module._same_face, []

    def noted(found, face):
        looks.append(face)
        return astray(same(found, face))

    monkeypatch.setattr(detector_module, "_same_face", noted)
    (found,) = detector.detect(pixels)
    assert looks[0] is found  # the face before its close look


def test_a_tilted_face_is_upright_in_its_close_look(detector, looks):
    turned, _ = askew(on_grey(480, 640, (170, 90, 300)), face_module.Face((170, 90, 300, 300), TEMPLATE, 1.0), 20)
    (found,) = detector.detect(turned)
    assert looks[-1] == (128, 128)
    assert looks.count((128, 128)) <= 4
    assert detector_module.tilt(found.landmarks) == pytest.approx(20, abs=6)


def test_a_face_that_still_shows_a_tilt_gets_a_second_close_look(detector, looks, monkeypatch):
    monkeypatch.setattr(detector_module, "_TILTED", 0.0)
    detector.detect(on_grey(480, 640, (80, 60, 300)))
    assert looks == [(480, 640), *[(128, 128)] * 4]


def test_a_face_that_is_cut_off_gets_a_close_look(detector, looks):
    detector.detect(drawn_face(3, 300))
    assert looks[-1] == (128, 128)


@pytest.mark.parametrize(("degrees", "centre", "side", "size"), [(0, (300.5, 200), 90, 128), (30, (900, 17), 771, 64)])
def test_points_of_a_window_are_mapped_to_the_photo(degrees, centre, side, size):
    rng = np.random.default_rng(5)
    spots = np.array(centre) + rng.uniform(-0.3, 0.3, (5, 2)) * side
    y, x = np.mgrid[:801, :1203]
    for spot in spots[(spots.min(axis=1) > 20)]:
        light = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * (3 * side / size + 1) ** 2))
        window = Window(np.repeat(np.uint8(255 * light)[..., None], 3, axis=2), np.array(centre), side, degrees, size)
        assert window.pixels.shape == (size, size, 3)
        weight = np.maximum(window.pixels[..., 0] - (GREY[0] + 10.0), 0)  # less the grey beyond the edge
        v, u = np.mgrid[:size, :size]
        seen = np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum()
        (back,) = window.to_photo([face_module.Face((0, 0, 2 * seen[0], 2 * seen[1]), np.tile(seen, (5, 1)), 1.0)])
        assert np.abs(back.landmarks - spot).max() < 0.15 * max(1, side / size)
        assert np.abs(back.centre - spot).max() < 0.15 * max(1, side / size)


@pytest.mark.parametrize(("gain", "counts"), [(0.001, False), (0.02, True)])
def test_a_turned_look_only_counts_with_a_clearly_higher_score(detector, monkeypatch, gain, counts):
    face = face_module.Face((10.0, 10.0, 30.0, 40.0), TEMPLATE.astype(np.float32), 0.8)

    def turned(self, pixels, face, degrees, side):
        return replace(face, score=0.8 + gain * (1 if degrees == -45 else 0.9 if degrees == 45 else -1))

    monkeypatch.setattr(FaceDetector, "_detect_turned", turned)
    found, degrees = detector._upright(on_grey(60, 60), face, doubtful=True)
    assert (found.score, degrees) == ((0.8 + gain, -45.0) if counts else (0.8, 0.0))


@pytest.mark.parametrize(("seed", "quarter"), [(3, 1), (4, 1), (4, 2), (5, 2), (3, 3), (7, 3)])
def test_a_turned_face_beside_an_upright_one_has_its_own_landmarks(detector, seed, quarter):
    drawing = drawn_face(seed)
    (alone,) = detector.detect(np.pad(drawing, ((60, 60), (60, 60), (0, 0)), constant_values=140))
    faces = detector.detect(np.concatenate([drawn_face(3), np.rot90(drawing, quarter)], axis=1))
    (upright,), (turned,) = ([f for f in faces if (f.centre[0] > 240) == beyond] for beyond in (False, True))
    marks = turned_back(turned.landmarks - (240, 0), quarter, drawing.shape)
    assert off(replace(alone, landmarks=marks), alone.landmarks - 60) < 0.15
    assert abs(detector_module.tilt(upright.landmarks)) < 5


def test_a_doubtful_upright_face_beside_a_sure_one_stays_upright(detector):
    blurred = cv2.GaussianBlur(drawn_face(5), (0, 0), 9)
    faces = detector.detect(np.concatenate([drawn_face(3), blurred], axis=1))
    doubtful = [face for face in faces if face.score < detector_module._SURE]
    assert len(faces) == 2
    assert len(doubtful) == 1
    assert abs(detector_module.tilt(doubtful[0].landmarks)) < 10


def test_sure_faces_are_not_looked_at_in_other_turns(detector, looks):
    faces = detector.detect(np.concatenate([drawn_face(3), drawn_face(2)], axis=1))
    assert [face.score >= detector_module._SURE for face in faces] == [True, True]
    assert looks == [(240, 480), *[(128, 128)] * 4]


def test_a_faint_face_must_be_plain_in_a_look_of_its_own(detector, monkeypatch):
    pixels = np.concatenate([drawn_face(3), np.rot90(drawn_face(4), 2)], axis=1)
    assert len(detector.detect(pixels)) == 2
    monkeypatch.setattr(detector_module, "_PLAIN", 0.99)
    assert len(detector.detect(pixels)) == 1


@pytest.mark.parametrize("side", [240, 1000])
def test_a_face_that_is_only_found_at_45_degrees_is_found(detector, monkeypatch, side):
    pixels = np.full((2 * side, 3 * side, 3), 140, np.uint8)
    pixels[side // 2 : side // 2 + side, side : 2 * side] = drawn_face(3, side)
    (face,) = detector.detect(pixels)
    turned, marks = askew(pixels, face, 45)
    monkeypatch.setattr(FaceDetector, "_detect_as_given", lambda self, pixels, only_subject: [])
    (found,) = detector.detect(turned)
    assert off(found, marks) < 0.2


def test_detection_is_the_same_twice_and_in_threads(detector):
    drawings = [drawn_face(seed) for seed in range(4)] * 2
    alone = [detector.detect(pixels) for pixels in drawings]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detector.detect, drawings))
    assert all(alone)
    for one, other in zip(alone, together, strict=True):
        assert [(face.box, face.score) for face in one] == [(face.box, face.score) for face in other]


def test_faces_below_the_minimum_score_are_left_out():
    assert FaceDetector(min_score=0.6).detect(drawn_face(0))
    assert not FaceDetector(min_score=0.999).detect(drawn_face(0))


# no face


@pytest.mark.parametrize("shade", [0, 127, 255])
def test_flat_picture_has_no_face(detector, shade):
    assert detector.detect(np.full((300, 400, 3), shade, np.uint8)) == []


def test_noise_has_no_face(detector):
    rng = np.random.default_rng(8)
    for shape in ((200, 300, 3), (400, 300, 3)):
        assert detector.detect(rng.integers(0, 256, shape, dtype=np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 1), (7, 5), (2, 900), (900, 2)])
def test_tiny_and_thin_pictures_have_no_face(detector, shape):
    assert detector.detect(np.full((*shape, 3), 90, np.uint8)) == []


def test_the_faces_of_a_thin_picture_do_not_depend_on_stray_memory():
    weak = FaceDetector(min_score=0.02)
    thin, drawing, rng = np.full((2, 640, 3), 90, np.uint8), drawn_face(0), np.random.default_rng(19)
    seen = set()
    for _ in range(6):
        weak.detect(drawing)
        stray = [np.full(int(size), 50, np.float32) for size in rng.integers(1000, 300_000, 8)]
        del stray
        seen.add(tuple((face.box, face.score) for face in weak.detect(thin)))
    assert len(seen) == 1


def test_a_long_strip_takes_little_memory(detector):
    tracemalloc.start()
    try:
        assert detector.detect(np.full((1, 8000, 3), 90, np.uint8)) == []
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


# weights


def test_another_weights_file_can_be_used(tmp_path, weights):
    copy = tmp_path / "模型.onnx"
    copy.write_bytes(weights)
    assert FaceDetector(copy).detect(drawn_face(0))


@pytest.mark.parametrize("data", [b"", b"no network", bytes(5000)])
def test_file_that_is_no_network_is_a_model_error(tmp_path, data):
    (tmp_path / "yunet.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=r"yunet\.onnx cannot be loaded"):
        FaceDetector(tmp_path / "yunet.onnx")


def test_truncated_weights_are_a_model_error(tmp_path, weights):
    (tmp_path / "yunet.onnx").write_bytes(weights[:-1000])
    with pytest.raises(ModelError):
        FaceDetector(tmp_path / "yunet.onnx")


def test_missing_weights_are_a_model_error(tmp_path):
    with pytest.raises(ModelError):
        FaceDetector(tmp_path / "nowhere.onnx")


def test_the_packaged_file_is_used(weights):
    assert yunet.YUNET_FILE.parent.name == "weights"
    assert yunet.YUNET_FILE.read_bytes() == weights
    assert FaceDetector().detect(drawn_face(0))


def test_an_altered_packaged_file_is_a_model_error(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(yunet, "YUNET_FILE", tmp_path / "yunet.onnx")
    data = bytearray(weights)
    data[100_000] ^= 1
    yunet.YUNET_FILE.write_bytes(data)
    with pytest.raises(ModelError, match="is not the YuNet 2023mar file of this facedex; install facedex again"):
        FaceDetector()


def test_a_packaged_file_that_is_missing_is_a_model_error(tmp_path, monkeypatch):
    monkeypatch.setattr(yunet, "YUNET_FILE", tmp_path / "yunet.onnx")
    with pytest.raises(ModelError, match=r"yunet\.onnx is missing; install facedex again"):
        FaceDetector()
