"""Finds the faces in a photo and their landmarks: how often the detector looks, and how closely."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from facedex.faces import tiles
from facedex.faces.face import Face
from facedex.faces.subject import by_prominence, cut_off, prominence
from facedex.faces.turns import nearest_quarter_turn, tilt, undo_quarter_turn, wrapped
from facedex.faces.window import GREY, Window
from facedex.faces.yunet import YuNet
from facedex.opencv import cv2

VERSION = 6  # raised with every change of landmarks, crops or the order of faces, so that caches are built again

_SIDE = 640  # pixels: longer side of a photo in the detector. Faces of 60 px in a photo of 2 Mpx are still found
_SMALLEST_INPUT = 160  # pixels: smaller padded photos are enlarged to this longer side
_SURE = 0.90  # score above which a face counts as upright and real, see FaceDetector.detect
_LEAST_SCORE = 0.2  # fainter detections are no faces

# The coarse look, for callers that only want the subject
_COARSE = 0.5  # of the usual scale: a quarter of the work
_COARSE_MIN_SIDE = 96  # pixels: smaller pictures save no time
_COARSE_SURE = 0.91  # a little above _SURE, because 1 % of faces on their head pass for upright at this scale
_MAX_FILL = 0.75  # of the photo's shorter side: a larger face may be cut off
_RIVAL = 0.8  # of the subject's prominence: coarse boxes cannot tell which of two such faces is more prominent

# The second look at a crowd, at a larger scale
_CROWD = 4  # faces
_CROWD_SIDE = 1024  # pixels
_SMALL_FACE = 36  # pixels at the scale in use: where faces are smaller, others may have been missed

# Faces that are too small or turned beside others
_FAINTEST = 0.3  # score of a detection in the whole photo that may be such a face
_MAX_FAINT = 40  # such detections in a photo that are looked at again
_PLAIN = 0.8  # score that such a face must reach in a look of its own

# The close look at one face
_CLOSE_SIDE = 128  # pixels of the window, of which a face takes three quarters
_CLOSE_LOOKS = 2  # the second look corrects a face that the first one turned back too far, or not far enough
_TURNED_SIDE = 192  # pixels of the window half way between quarter turns, of which a face takes half
_HALF_WAY = (45.0, 135.0, -45.0, -135.0)  # degrees
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
        self._min_score, self._faintest = min_score, min(min_score, _FAINTEST)
        self._least = min(min_score, _LEAST_SCORE)
        # Close looks have a network of their own: changing a network's input size costs more than such a look.
        self._yunet, self._close_yunet = (YuNet(weights, self._least) for _ in range(2))

    def detect(self, pixels: np.ndarray, only_subject: bool = False) -> list[Face]:
        """Return the faces in a photo (height, width, 3) uint8 RGB, the subject first (subject.py).

        A close look at each face improves its landmarks. It shows the face upright, as it is and mirrored.
        With `only_subject` only the first face is reliable. Other faces may be missing, and get no close look. A coarse
        look at half the scale then suffices for most photos.

        Where no face scores at least .90, the photo is tried again: with a border for tight crops, then turned by 90,
        180 and 270 degrees. The orientation with the highest score counts. A photo of 2,048 pixels or more is also
        searched in tiles. If no face is found, the photo is turned by 45 degrees both ways. A face that scores below
        .90 is turned by itself too. Boxes and landmarks always refer to the photo as given.
        """
        small, factor = tiles.reduced(pixels)
        faces, quarter, doubtful = self._detect_whole(small, only_subject)
        faces = [face.enlarged(factor) for face in faces]
        if factor > 1 and not (only_subject and self._clear(faces)):
            faces = tiles.merged(faces + self._detect_in_tiles(pixels, quarter))
            doubtful = doubtful and (quarter > 0 or _top_score(faces) < _SURE)
        if not self._clear(faces):
            slanting = max((self._detect_diagonal(small, degrees) for degrees in (45, -45)), key=_top_score)
            faces += [face.enlarged(factor) for face in slanting]
        clear = by_prominence(self._clear(faces), pixels.shape)
        if only_subject:
            return by_prominence([*self._closer(pixels, clear[:1], doubtful), *clear[1:]], pixels.shape)
        closer = self._closer(pixels, clear[:_MAX_REFINED], doubtful)
        hidden = self._hidden_faces(pixels, faces)
        return by_prominence(tiles.merged([*closer, *clear[_MAX_REFINED:], *hidden]), pixels.shape)

    def _clear(self, faces: list[Face]) -> list[Face]:
        """The faces that reach the least score of the caller."""
        return [face for face in faces if face.score >= self._min_score]

    def _closer(self, pixels: np.ndarray, faces: list[Face], doubtful: bool) -> list[Face]:
        """Faces after the looks that find their orientation and their landmarks. `doubtful`: the photo showed none."""
        return [self._refine(pixels, *self._upright(pixels, face, doubtful)) for face in faces]

    def _hidden_faces(self, pixels: np.ndarray, faces: list[Face]) -> list[Face]:
        """Faces that are too faint where they were found, and plain in a look of their own: small or turned ones."""
        faint = [face for face in faces if face.score < self._min_score and not cut_off(face, pixels.shape)]
        faint.sort(key=lambda face: -face.score)
        found = (self._upright(pixels, face, False) for face in faint[:_MAX_FAINT])
        return [self._refine(pixels, *pair) for pair in found if pair[0].score >= max(_PLAIN, self._min_score)]

    # Detection in a whole photo

    def _detect_whole(self, pixels: np.ndarray, only_subject: bool) -> tuple[list[Face], int, bool]:
        """Faces of a photo in the best of four orientations, and the quarter turns of np.rot90 that lead there.

        The third value tells whether no face was plain in the photo as given. YuNet also reports faces on their side or
        head, with low scores and misplaced landmarks. On LFW the main face of 99 % of upright photos scores .90 or
        more, and of turned photos .89 or less.
        """
        best, best_quarter = self._detect_as_given(pixels, only_subject), 0
        doubtful = _top_score(best) < _SURE
        for quarter in (1, 3, 2) if doubtful else ():
            faces = self._detect_as_given(np.ascontiguousarray(np.rot90(pixels, quarter)), only_subject)
            if _top_score(faces) > max(_top_score(best), self._min_score):
                best = [undo_quarter_turn(face, quarter, pixels.shape) for face in faces]
                best_quarter = quarter
        return best, best_quarter, doubtful

    def _detect_as_given(self, pixels: np.ndarray, only_subject: bool) -> list[Face]:
        """Faces of a photo in this orientation, with a border where that is clearly better, and faint ones."""
        faces = (only_subject and self._detect_coarse(pixels)) or self._detect_full(pixels)
        if _top_score(faces) < _SURE:
            padded = self._detect_padded(pixels)
            surest = max(padded, key=lambda face: face.score, default=None)
            # In a large close-up YuNet finds parts of the face with low scores. A border shows it the whole face.
            fills = surest is not None and 2 * max(surest.box[2:]) > min(pixels.shape[:2])
            if padded and (not self._clear(faces) or (fills and _top_score(padded) > _top_score(faces))):
                return padded
        return faces

    def _detect_coarse(self, pixels: np.ndarray) -> list[Face]:
        """Faces of a photo at half the usual scale. Empty where that leaves a doubt about the subject."""
        longer = max(pixels.shape[:2])
        scale = _COARSE * min(1.0, _SIDE / longer)
        if scale * longer < _COARSE_MIN_SIDE:
            return []
        faces = by_prominence(self._yunet.faces(pixels, scale, _LEAST_SCORE), pixels.shape)
        if not faces or faces[0].score < _COARSE_SURE or _fills(pixels, faces[0]):
            return []
        first, *others = (prominence(face, pixels.shape) for face in faces)
        # A face too small for this scale is less prominent than a first face that passes this test.
        if first * scale < _COARSE * _SMALL_FACE or (others and others[0] > _RIVAL * first):
            return []
        return [face for face in faces if face.score >= self._min_score]

    def _detect_full(self, pixels: np.ndarray) -> list[Face]:
        """Faces of a photo at the usual scale, or at a larger scale where that finds more, and faint ones."""
        longer = max(pixels.shape[:2])
        scale = min(1.0, _SIDE / longer)
        faces = self._yunet.faces(pixels, scale, self._faintest)
        clear = self._clear(faces)
        smallest = min((min(face.box[2:]) for face in clear), default=0) * scale
        if longer > _SIDE and (not clear or len(clear) >= _CROWD or smallest < _SMALL_FACE):
            closer = self._yunet.faces(pixels, min(1.0, _CROWD_SIDE / longer), self._faintest)
            if len(self._clear(closer)) > len(clear):
                return closer
        return faces

    def _detect_in_tiles(self, pixels: np.ndarray, quarter: int) -> list[Face]:
        """Faces of a large photo that is turned by quarter turns of np.rot90, too small for a look at the whole."""
        found = tiles.search(np.rot90(pixels, quarter), lambda part, scale: self._yunet.faces(part, scale, self._least))
        return [undo_quarter_turn(face, quarter, pixels.shape) for face in found] if quarter else found

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

    def _upright(self, pixels: np.ndarray, face: Face, doubtful: bool) -> tuple[Face, float]:
        """A face in the orientation with the highest score, and the degrees by which the photo is turned back.

        A sure face stays as it was found. Another one may lie on its side or head beside upright faces. It is looked at
        again as it is, and where that leaves it unsure in the other quarter turns. In a photo that is `doubtful` every
        face is also looked at half way between the quarter turns. Another orientation must score clearly higher.
        """
        degrees, best = nearest_quarter_turn(face), face
        turned: list[tuple[Face | None, float]] = []
        if face.score < _SURE:
            again = self._detect_turned(pixels, face, degrees, _CLOSE_SIDE)
            best = max(face, again or face, key=lambda look: look.score)
            turns = (degrees + 90, degrees - 90, degrees + 180) if best.score < _SURE else ()
            turned = [(self._detect_turned(pixels, face, turn, _CLOSE_SIDE), wrapped(turn)) for turn in turns]
        if doubtful:
            turned += [(self._detect_turned(pixels, face, turn, _TURNED_SIDE), turn) for turn in _HALF_WAY]
        found = [(other, turn) for other, turn in turned if other is not None]
        surest = max(found, key=lambda pair: pair[0].score, default=(best, degrees))
        if surest[0].score > best.score + _CLEARLY_HIGHER:
            return surest
        return (best if face.score < self._min_score else face), degrees

    def _refine(self, pixels: np.ndarray, face: Face, degrees: float) -> Face:
        """Find a face's landmarks anew in a window where the face is upright and always of the same size.

        `degrees`: the photo was turned back by so much when the face was found. In such windows the detector's errors
        are alike for all faces. YuNet draws landmarks nearer to upright than the face is. A tilted face is therefore
        turned back by twice the tilt, and looked at again where a tilt is left.
        """
        tilt_left = wrapped(tilt(face.landmarks) - degrees)
        for _ in range(_CLOSE_LOOKS):
            if abs(tilt_left) > _TILTED:
                degrees += 2 * tilt_left
            window = _window_round(pixels, face, degrees, 4 / 3, _CLOSE_SIDE)
            found = self._look_with_mirror(window, face)
            if found is None or not _is_consistent(found, face, degrees):
                break
            face, tilt_left = replace(face, landmarks=found.landmarks), wrapped(tilt(found.landmarks) - degrees)
            if abs(tilt_left) <= _TILTED:
                break
        return face

    def _detect_turned(self, pixels: np.ndarray, face: Face, degrees: float, side: int) -> Face | None:
        """The same face in a window of `side` pixels turned back by `degrees`, or None where it is not found."""
        return self._look(_window_round(pixels, face, degrees, 2.0, side), face)

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


def _window_round(pixels: np.ndarray, face: Face, degrees: float, factor: float, size: int) -> Window:
    """A window `factor` times as large as the face, turned back by `degrees` and resized to `size` pixels."""
    return Window(pixels, face.centre, factor * max(face.box[2:]), degrees, size)


def _same_face(found: list[Face], face: Face) -> Face | None:
    """The face with the highest score among those found in the same place as `face`."""
    near = [other for other in found if np.abs(other.centre - face.centre).max() < max(face.box[2:]) / 4]
    return max(near, key=lambda other: other.score, default=None)


def _is_consistent(look: Face, face: Face, degrees: float) -> bool:
    """Whether a close look keeps the face's score, and shows it nearly upright in a photo turned back by `degrees`."""
    tilt_left = wrapped(tilt(look.landmarks) - degrees)
    return look.score >= face.score - _MAX_SCORE_LOSS and abs(tilt_left) <= _MAX_TILT


def _fills(pixels: np.ndarray, face: Face) -> bool:
    """Whether a face is so large in its photo that it may be cut off, or be a part of a larger one."""
    return bool(max(face.box[2:]) > _MAX_FILL * min(pixels.shape[:2]))


def _top_score(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)
