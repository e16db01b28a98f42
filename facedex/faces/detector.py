"""Finds the faces in a photo and their landmarks: how often the detector looks, and how closely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from facedex.faces.alignment import TEMPLATE, similarity
from facedex.faces.face import Face
from facedex.faces.subject import by_prominence, prominence
from facedex.faces.window import GREY, Window
from facedex.faces.yunet import YuNet
from facedex.opencv import cv2

VERSION = 4  # raised with every change of landmarks or of the order of faces, so that caches are built again

_SIDE = 640  # pixels: longer side of a photo in the detector. Faces of 60 px in a photo of 2 Mpx are still found
_SMALLEST_INPUT = 160  # pixels: smaller padded photos are enlarged to this longer side
_SURE = 0.90  # score above which a face counts as upright and real, see FaceDetector.detect

# The coarse look, for callers that only want the subject
_COARSE = 0.5  # of the usual scale: a quarter of the work
_COARSE_MIN_SIDE = 96  # pixels: smaller pictures save no time
_COARSE_SURE = 0.91  # a little above _SURE, because 1 % of faces on their head pass for upright at this scale
_COARSE_MIN_SCORE = 0.2  # fainter detections are no faces
_MAX_FILL = 0.75  # of the photo's shorter side: a larger face may be cut off
_RIVAL = 0.8  # of the subject's prominence: coarse boxes cannot tell which of two such faces is more prominent

# The second look at a crowd, at a larger scale
_CROWD = 4  # faces
_CROWD_SIDE = 1024  # pixels
_SMALL_FACE = 36  # pixels at the scale in use: where faces are smaller, others may have been missed

# The close look at one face
_CLOSE_SIDE = 128  # pixels of the window, of which a face takes three quarters
_CLOSE_LOOKS = 2  # the second look corrects a face that the first one turned back too far, or not far enough
_TURNED_SIDE = 192  # pixels of the window half way between quarter turns, of which a face takes half
_TILTED = 4.0  # degrees of tilt in the landmarks that are corrected. YuNet shows 6 of 15 degrees, and 8 of 30
_MAX_TILT = 20.0  # degrees: landmarks that tilt a face more in an upright window are wrong
_AGREEMENT = 1 / 8  # of a box: where landmarks of two looks differ more, only the look with the higher score counts
_CLEARLY_HIGHER = 0.005  # score. Half a pixel changes a score by less
_MAX_SCORE_LOSS = 0.05  # a close look that loses more score went astray
_MAX_REFINED = 20  # faces in a photo that get a close look. In a crowd more looks cost more than they gain


class FaceDetector:
    """Finds faces in upright RGB photos. Threads may share it, and each thread borrows networks of its own."""

    def __init__(self, weights: str | Path | None = None, min_score: float = 0.6) -> None:
        """Open YuNet's packaged file, or the file `weights`. Faces that score below `min_score` are left out.

        Raises ModelError for a file that is missing or altered.
        """
        self._min_score = min_score
        # Close looks have a network of their own: changing a network's input size costs more than such a look.
        self._yunet, self._close_yunet = (YuNet(weights, min(min_score, _COARSE_MIN_SCORE)) for _ in range(2))

    def detect(self, pixels: np.ndarray, only_subject: bool = False) -> list[Face]:
        """Return the faces in a photo (height, width, 3) uint8 RGB, the subject first (subject.py).

        A close look at each face improves its landmarks. It shows the face upright, as it is and mirrored.
        With `only_subject` only the first face is reliable. Other faces may be missing, and get no close look. A coarse
        look at half the scale then suffices for most photos.

        Where no face scores at least .90, the photo is tried again: with a border for tight crops, then turned by 90,
        180 and 270 degrees. The orientation with the highest score counts. If no face is found, the photo is turned by
        45 degrees both ways. Boxes and landmarks always refer to the photo as given.
        """
        orient: Callable[[np.ndarray, Face], tuple[Face, float]] = _nearest_quarter_turn
        best = self._detect_as_given(pixels, only_subject)
        # YuNet also reports faces on their side or head, with low scores and misplaced landmarks. On LFW the main face
        # of 99 % of upright photos scores .90 or more, and of turned photos .89 or less.
        if _top_score(best) < _SURE:
            for quarter in (1, 3, 2):
                turned = np.ascontiguousarray(np.rot90(pixels, quarter))
                faces = self._detect_as_given(turned, only_subject)
                if _top_score(faces) > _top_score(best):
                    best = [_undo_quarter_turn(face, quarter, pixels.shape) for face in faces]
            if not best:
                best = max((self._detect_diagonal(pixels, degrees) for degrees in (45, -45)), key=_top_score)
            orient = self._best_orientation
        best = by_prominence(best, pixels.shape)
        count = 1 if only_subject else _MAX_REFINED
        refined = [self._refine(pixels, *orient(pixels, face)) for face in best[:count]]
        return by_prominence(refined + best[count:], pixels.shape)

    # Detection in a whole photo

    def _detect_as_given(self, pixels: np.ndarray, only_subject: bool) -> list[Face]:
        """Faces of a photo in this orientation, with a border where that is clearly better."""
        faces = (only_subject and self._detect_coarse(pixels)) or self._detect_full(pixels)
        if _top_score(faces) < _SURE:
            padded = self._detect_padded(pixels)
            surest = max(padded, key=lambda face: face.score, default=None)
            # In a large close-up YuNet finds parts of the face with low scores. A border shows it the whole face.
            fills = surest is not None and 2 * max(surest.box[2:]) > min(pixels.shape[:2])
            if not faces or (fills and _top_score(padded) > _top_score(faces)):
                return padded
        return faces

    def _detect_coarse(self, pixels: np.ndarray) -> list[Face]:
        """Faces of a photo at half the usual scale. Empty where that leaves a doubt about the subject."""
        longer = max(pixels.shape[:2])
        scale = _COARSE * min(1.0, _SIDE / longer)
        if scale * longer < _COARSE_MIN_SIDE:
            return []
        faces = by_prominence(self._yunet.faces(pixels, scale, _COARSE_MIN_SCORE), pixels.shape)
        if not faces or faces[0].score < _COARSE_SURE or _fills(pixels, faces[0]):
            return []
        first, *others = (prominence(face, pixels.shape) for face in faces)
        # A face too small for this scale is less prominent than a first face that passes this test.
        if first * scale < _COARSE * _SMALL_FACE or (others and others[0] > _RIVAL * first):
            return []
        return [face for face in faces if face.score >= self._min_score]

    def _detect_full(self, pixels: np.ndarray) -> list[Face]:
        """Faces of a photo at the usual scale, or at a larger scale where that finds more."""
        longer = max(pixels.shape[:2])
        scale = min(1.0, _SIDE / longer)
        faces = self._yunet.faces(pixels, scale, self._min_score)
        smallest = min((min(face.box[2:]) for face in faces), default=0) * scale
        if longer > _SIDE and (not faces or len(faces) >= _CROWD or smallest < _SMALL_FACE):
            closer = self._yunet.faces(pixels, min(1.0, _CROWD_SIDE / longer), self._min_score)
            if len(closer) > len(faces):
                return closer
        return faces

    def _detect_padded(self, pixels: np.ndarray) -> list[Face]:
        """Faces of a photo with a grey border of half its longer side."""
        height, width = pixels.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size != (width, height):
            # The photo shrinks before it gets the border, which can be a hundred times as large as a long strip.
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        border = max(size) // 2
        padded = cv2.copyMakeBorder(pixels, border, border, border, border, cv2.BORDER_CONSTANT, value=GREY)
        longer = max(padded.shape[:2])
        scale = _SIDE / longer if longer > _SIDE else max(1.0, _SMALLEST_INPUT / longer)
        x_ratio, y_ratio = width / size[0], height / size[1]
        faces = []
        for face in self._yunet.faces(padded, scale, self._min_score):
            left, top, box_width, box_height = face.box
            box = ((left - border) * x_ratio, (top - border) * y_ratio, box_width * x_ratio, box_height * y_ratio)
            landmarks = (face.landmarks - border) * np.array([x_ratio, y_ratio], np.float32)
            faces.append(Face(box, landmarks, face.score))
        return faces

    def _detect_diagonal(self, pixels: np.ndarray, degrees: float) -> list[Face]:
        """Faces of the whole photo turned back by `degrees`."""
        size = np.array(pixels.shape[1::-1])
        side = float(np.hypot(*size))
        window = Window(pixels, (size - 1) / 2, side, degrees, round(np.clip(side, _SMALLEST_INPUT, _SIDE)))
        return window.to_photo(self._yunet.faces(window.pixels, 1.0, self._min_score))

    # Close looks at one face

    def _best_orientation(self, pixels: np.ndarray, face: Face) -> tuple[Face, float]:
        """A doubtful face in the orientation with the highest score, and the degrees by which the photo is turned back.

        Orientations half way between the quarter turns count only where the score is clearly higher.
        """
        turned = {degrees: self._detect_turned(pixels, face, degrees) for degrees in (45.0, 135.0, -45.0, -135.0)}
        found = [(other, degrees) for degrees, other in turned.items() if other is not None]
        surest = max(found, key=lambda pair: pair[0].score, default=(face, 0.0))
        return surest if surest[0].score > face.score + _CLEARLY_HIGHER else _nearest_quarter_turn(pixels, face)

    def _refine(self, pixels: np.ndarray, face: Face, degrees: float) -> Face:
        """Find a face's landmarks anew in a window where the face is upright and always of the same size.

        `degrees`: the photo was turned back by so much when the face was found. In such windows the detector's errors
        are alike for all faces. YuNet draws landmarks nearer to upright than the face is. A tilted face is therefore
        turned back by twice the tilt, and looked at again where a tilt is left.
        """
        tilt_left = _wrapped(tilt(face.landmarks) - degrees)
        for _ in range(_CLOSE_LOOKS):
            if abs(tilt_left) > _TILTED:
                degrees += 2 * tilt_left
            window = _window_round(pixels, face, degrees, 4 / 3, _CLOSE_SIDE)
            found = self._look_with_mirror(window, face)
            if found is None or not _is_consistent(found, face, degrees):
                break
            face, tilt_left = replace(face, landmarks=found.landmarks), _wrapped(tilt(found.landmarks) - degrees)
            if abs(tilt_left) <= _TILTED:
                break
        return face

    def _detect_turned(self, pixels: np.ndarray, face: Face, degrees: float) -> Face | None:
        """The same face in the photo turned back by `degrees`, or None where it is not found."""
        return self._look(_window_round(pixels, face, degrees, 2.0, _TURNED_SIDE), face)

    def _look_with_mirror(self, window: Window, face: Face) -> Face | None:
        """The same face in a window and in its mirror image, with the mean landmarks. None where neither shows it.

        The mean reduces random errors of the detector. On all pairs of LFW's development photos it gains .1 / .1 / .3
        points of TAR at FAR 1e-3 / 1e-4 / 1e-5, for 1.5 ms.
        """
        mirror_image = np.ascontiguousarray(window.pixels[:, ::-1])
        mirrored = [
            found.mirrored(window.pixels.shape[1])
            for found in self._close_yunet.faces(mirror_image, 1.0, self._min_score)
        ]
        candidates = (self._look(window, face), _same_face(window.to_photo(mirrored), face))
        found = sorted((look for look in candidates if look is not None), key=lambda look: -look.score)
        if len(found) == 2:
            first, second = (look.landmarks for look in found)
            if np.abs(first - second).max() < _AGREEMENT * max(face.box[2:]):
                return replace(found[0], landmarks=(first + second) / 2)
        return found[0] if found else None

    def _look(self, window: Window, face: Face) -> Face | None:
        """The same face in a window, or None where it is not found."""
        return _same_face(window.to_photo(self._close_yunet.faces(window.pixels, 1.0, self._min_score)), face)


def tilt(landmarks: np.ndarray) -> float:
    """Return the in-plane rotation of landmarks (5, 2) in degrees, -180..180, positive to the face's own right."""
    matrix = similarity(landmarks, TEMPLATE)
    return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))


def _window_round(pixels: np.ndarray, face: Face, degrees: float, factor: float, size: int) -> Window:
    """A window `factor` times as large as the face, turned back by `degrees` and resized to `size` pixels."""
    return Window(pixels, face.centre, factor * max(face.box[2:]), degrees, size)


def _same_face(found: list[Face], face: Face) -> Face | None:
    """The face with the highest score among those found in the same place as `face`."""
    near = [other for other in found if np.abs(other.centre - face.centre).max() < max(face.box[2:]) / 4]
    return max(near, key=lambda other: other.score, default=None)


def _is_consistent(look: Face, face: Face, degrees: float) -> bool:
    """Whether a close look keeps the face's score, and shows it nearly upright in a photo turned back by `degrees`."""
    tilt_left = _wrapped(tilt(look.landmarks) - degrees)
    return look.score >= face.score - _MAX_SCORE_LOSS and abs(tilt_left) <= _MAX_TILT


def _nearest_quarter_turn(_: np.ndarray, face: Face) -> tuple[Face, float]:
    """A face, and the quarter turn nearest to its tilt in degrees."""
    return face, 90.0 * round(tilt(face.landmarks) / 90)


def _wrapped(degrees: float) -> float:
    """The same angle within -180..180."""
    return (degrees + 180) % 360 - 180


def _fills(pixels: np.ndarray, face: Face) -> bool:
    """Whether a face is so large in its photo that it may be cut off, or be a part of a larger one."""
    return bool(max(face.box[2:]) > _MAX_FILL * min(pixels.shape[:2]))


def _top_score(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _undo_quarter_turn(face: Face, quarter: int, shape: tuple[int, ...]) -> Face:
    """A face found in np.rot90(photo, quarter), in the photo's own pixels. `shape` is the photo's."""
    height, width = shape[:2]

    def in_photo(points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0], points[:, 1]
        if quarter == 1:
            return np.stack([width - 1 - y, x], 1)
        if quarter == 2:
            return np.stack([width - 1 - x, height - 1 - y], 1)
        return np.stack([y, height - 1 - x], 1)

    left, top, box_width, box_height = face.box
    corners = in_photo(np.array([(left, top), (left + box_width, top + box_height)], np.float32))
    low, size = corners.min(0), np.abs(corners[1] - corners[0])
    box = (float(low[0]), float(low[1]), float(size[0]), float(size[1]))
    return Face(box, in_photo(face.landmarks).astype(np.float32), face.score)
