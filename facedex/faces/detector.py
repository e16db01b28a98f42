"""Where a photo's faces are, and their landmarks: how often and how closely the detector has to look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from facedex.faces.alignment import TEMPLATE, similarity
from facedex.faces.face import Face
from facedex.faces.subject import by_prominence, prominence
from facedex.faces.window import GREY, Region
from facedex.faces.yunet import YuNet

VERSION = 4  # raised whenever faces of a photo come to lie elsewhere, or in another order: caches are made anew

_SIDE = 640  # longer side worked at; faces of 60 px in a 2 Mpx photo are still found
_GLANCE = 0.5  # of that, where only the subject is wanted: a quarter of the work
_LEAST_GLANCE = 96  # pixels: below, there is nothing to save
_SURE_AT_A_GLANCE = 0.91  # a little more than _SURE: so small, 1 % of the faces on their head pass for upright
_FAINT = 0.2  # what scores less at a glance is no face
_FILLS = 0.75  # of the photo's shorter side
_RIVAL = 0.8  # of the subject's prominence: at half the scale, boxes are too coarse to tell the two apart
_CROWD = 4  # faces
_CROWD_SIDE = 1024
_SMALL = 36  # pixels at the worked scale: below, more faces may hide, so a crowd is looked at again, larger
_SMALLEST_INPUT = 160
_SURE = 0.90
_TILTED = 4.0  # degrees that landmarks show: YuNet draws them nearer upright than they are, 6 of 15 and 8 of 30
_TURNED_SIDE = 192  # of the region that is turned half way between the quarters, of which a face takes half
_NEAR_SIDE = 128  # of the region that is looked at from near, of which a face takes three quarters
_ASLANT = 20.0  # degrees from upright, where a face should stand upright: then the landmarks are wrong
_LOOKS = 2  # from near: the second where the first shows a face turned back too far, or not far enough
_APART = 1 / 8  # of a box: two looks whose landmarks differ by more do not see the same, and the surer counts
_SURER = 0.005  # than as it stands: by less than that, a score changes with half a pixel
_LESS_SURE = 0.05  # than before: then the look from near went astray
_LOOKED_AT_AGAIN = 20  # the first: of a crowd the others would cost more than they are worth


class FaceDetector:
    """Finds faces in upright RGB photos. One detector may be shared by threads: each has a network of its own meanwhile."""

    def __init__(self, weights: str | Path | None = None, min_score: float = 0.6) -> None:
        """`weights` replaces the packaged file of YuNet. Raises ModelError when it is missing or altered."""
        self._min_score = min_score
        # One network for photos, one for looks from near: a new size of its input costs it more than such a look.
        self._yunet, self._near = (YuNet(weights, min(min_score, _FAINT)) for _ in range(2))

    def detect(self, pixels: np.ndarray, only_subject: bool = False) -> list[Face]:
        """Faces in a photo (height, width, 3) uint8 RGB, the subject first: see subject.py.

        Each is looked at once more from near, as it is and mirrored, turned upright where it is tilted, for the sake of its
        landmarks.
        With `only_subject` only the first face matters. Others may be missing, and are not looked at again; most photos
        then need no more than a glance.

        Where no face is beyond doubt, the photo is tried again with a border (tight crops), then turned by 90,
        180 and 270 degrees too, and the orientation with the surest face counts; where nothing is found at all, half
        way between. Boxes and landmarks always refer to the photo as given.
        """
        best = self._as_it_stands(pixels, only_subject)
        # YuNet also answers, weakly and with misplaced landmarks, to faces that lie on their side or head; on
        # LFW the main face of 99 % of upright photos scores .90 or more, of turned ones .89 or less.
        if _top(best) < _SURE:
            for quarter in (1, 3, 2):
                turned = np.ascontiguousarray(np.rot90(pixels, quarter))
                faces = self._as_it_stands(turned, only_subject)
                if _top(faces) > _top(best):
                    best = [_unturn(face, quarter, pixels.shape) for face in faces]
            if not best:
                best = max((self._diagonally(pixels, degrees) for degrees in (45, -45)), key=_top)
            frames = self._askew
        else:
            frames = _as_seen
        best = by_prominence(best, pixels.shape)
        count = 1 if only_subject else _LOOKED_AT_AGAIN
        near = [self._from_near(pixels, *frames(pixels, face)) for face in best[:count]]
        return by_prominence(near + best[count:], pixels.shape)

    def _diagonally(self, pixels: np.ndarray, degrees: float) -> list[Face]:
        """Faces of the whole photo turned back by `degrees`."""
        size = np.array(pixels.shape[1::-1])
        side = float(np.hypot(*size))
        region = Region(pixels, (size - 1) / 2, side, degrees, round(np.clip(side, _SMALLEST_INPUT, _SIDE)))
        return region.back(self._run(region.pixels, 1.0))

    def _askew(self, pixels: np.ndarray, face: Face) -> tuple[Face, float]:
        """A doubtful face, or the same seen half way between the quarter turns, where that is clearly surer; and by how
        many degrees the picture was turned back for that.
        """
        turned = {degrees: self._turned(pixels, face, degrees) for degrees in (45.0, 135.0, -45.0, -135.0)}
        others = [(other, degrees) for degrees, other in turned.items() if other is not None]
        surest = max(others, key=lambda one: one[0].score, default=(face, 0.0))
        return surest if surest[0].score > face.score + _SURER else (face, _quarter(face))

    def _from_near(self, pixels: np.ndarray, face: Face, frame: float) -> Face:
        """A face that was found in a picture turned back by `frame` degrees, with its landmarks found anew where it
        stands upright and fills the picture: always as large and in the same place, so that what the detector gets
        wrong, it gets wrong alike for all faces.

        As landmarks are drawn too near upright, a tilted face is turned back twice as far as they say; and looked at
        again where it still shows a tilt.
        """
        left = _turn(tilt(face.landmarks) - frame)
        for _ in range(_LOOKS):
            if abs(left) > _TILTED:
                frame += 2 * left
            region = _around(pixels, face, frame, 4 / 3, _NEAR_SIDE)
            look = self._both_ways(region, face)
            if look is None or not _confirms(look, face, frame):
                break
            face, left = replace(face, landmarks=look.landmarks), _turn(tilt(look.landmarks) - frame)
            if abs(left) <= _TILTED:
                break
        return face

    def _turned(self, pixels: np.ndarray, face: Face, degrees: float) -> Face | None:
        """The same face as it is found when the picture round it is turned back by `degrees`; None when it is not."""
        region = _around(pixels, face, degrees, 2.0, _TURNED_SIDE)
        return self._look(region, face)

    def _both_ways(self, region: Region, face: Face) -> Face | None:
        """The same face as it is found in a region and in its mirror image, with the mean of both landmarks; None when it
        is in neither.

        Some of what the detector gets wrong is chance, and the mean has less of it. On all pairs of LFW's development
        photos the mean brings .1 / .1 / .3 points of TAR at FAR 1e-3 / 1e-4 / 1e-5, for 1.5 ms.
        """
        mirror = self._near.faces(np.ascontiguousarray(region.pixels[:, ::-1]), 1.0, self._min_score)
        other = _same(region.back([one.mirrored(region.pixels.shape[1]) for one in mirror]), face)
        looks = [one for one in (self._look(region, face), other) if one is not None]
        looks.sort(key=lambda one: -one.score)
        if len(looks) == 2 and np.abs(looks[0].landmarks - looks[1].landmarks).max() < _APART * max(face.box[2:]):
            return replace(looks[0], landmarks=(looks[0].landmarks + looks[1].landmarks) / 2)
        return looks[0] if looks else None

    def _look(self, region: Region, face: Face) -> Face | None:
        """The same face as it is found in a region; None when it is not."""
        return _same(region.back(self._near.faces(region.pixels, 1.0, self._min_score)), face)

    def _as_it_stands(self, pixels: np.ndarray, only_subject: bool) -> list[Face]:
        faces = (only_subject and self._glance(pixels)) or self._search(pixels)
        if _top(faces) < _SURE:
            padded = self._padded(pixels)
            surest = max(padded, key=lambda face: face.score, default=None)
            # In a large close-up YuNet finds parts of the face, weakly; a border shows it the whole.
            fills = surest is not None and 2 * max(surest.box[2:]) > min(pixels.shape[:2])
            if not faces or (fills and _top(padded) > _top(faces)):
                return padded
        return faces

    def _glance(self, pixels: np.ndarray) -> list[Face]:
        """The faces of a photo as they are found at half the scale, where the subject is beyond doubt; else none."""
        longer = max(pixels.shape[:2])
        scale = _GLANCE * min(1.0, _SIDE / longer)
        if scale * longer < _LEAST_GLANCE:
            return []
        seen = by_prominence(self._run(pixels, scale, _FAINT), pixels.shape)
        if not seen or seen[0].score < _SURE_AT_A_GLANCE or _fills(pixels, seen[0]):
            return []
        first, *others = (prominence(face, pixels.shape) for face in seen)
        # A face too small to be seen at a glance is less prominent than one that passes.
        if first * scale < _GLANCE * _SMALL or (others and others[0] > _RIVAL * first):
            return []
        return [face for face in seen if face.score >= self._min_score]

    def _search(self, pixels: np.ndarray) -> list[Face]:
        longer = max(pixels.shape[:2])
        faces = self._run(pixels, min(1.0, _SIDE / longer))
        scale = min(1.0, _CROWD_SIDE / longer)
        smallest = min((min(face.box[2:]) for face in faces), default=0) * min(1.0, _SIDE / longer)
        if longer > _SIDE and (not faces or len(faces) >= _CROWD or smallest < _SMALL):
            closer = self._run(pixels, scale)
            if len(closer) > len(faces):
                return closer
        return faces

    def _padded(self, pixels: np.ndarray) -> list[Face]:
        height, width = pixels.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size != (width, height):
            # Before the border, which round a long strip would be a hundred times the photo.
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        border = max(size) // 2
        padded = cv2.copyMakeBorder(pixels, border, border, border, border, cv2.BORDER_CONSTANT, value=GREY)
        longer = max(padded.shape[:2])
        scale = _SIDE / longer if longer > _SIDE else max(1.0, _SMALLEST_INPUT / longer)
        x, y = width / size[0], height / size[1]
        faces = []
        for face in self._run(padded, scale):
            left, top, wide, high = face.box
            box = ((left - border) * x, (top - border) * y, wide * x, high * y)
            faces.append(Face(box, (face.landmarks - border) * np.array([x, y], np.float32), face.score))
        return faces

    def _run(self, pixels: np.ndarray, scale: float, least: float = 0.0) -> list[Face]:
        """Faces of a picture at a scale, with a score of at least `least`, or else what counts as a face."""
        return self._yunet.faces(pixels, scale, least or self._min_score)


def tilt(landmarks: np.ndarray) -> float:
    """By how many degrees, -180..180, a face is turned in the picture's plane, to its own right positive."""
    matrix = similarity(landmarks, TEMPLATE)
    return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))


def _around(pixels: np.ndarray, face: Face, degrees: float, around: float, size: int) -> Region:
    """The picture round a face, `around` times as large, turned back by `degrees` and brought to `size` pixels."""
    return Region(pixels, face.middle, around * max(face.box[2:]), degrees, size)


def _same(found: list[Face], face: Face) -> Face | None:
    """The surest of the faces found that lie where this one does."""
    near = [one for one in found if np.abs(one.middle - face.middle).max() < max(face.box[2:]) / 4]
    return max(near, key=lambda one: one.score, default=None)


def _confirms(look: Face, face: Face, frame: float) -> bool:
    """Whether a face is nearly as sure as it was, and nearly upright in a picture turned back by `frame` degrees."""
    return look.score >= face.score - _LESS_SURE and abs(_turn(tilt(look.landmarks) - frame)) <= _ASLANT


def _as_seen(pixels: np.ndarray, face: Face) -> tuple[Face, float]:
    """A face and by how many degrees the picture was turned back to see it: whole quarters."""
    return face, _quarter(face)


def _quarter(face: Face) -> float:
    """The quarter turn nearest to a face's tilt, in degrees."""
    return 90.0 * round(tilt(face.landmarks) / 90)


def _turn(degrees: float) -> float:
    """The same angle within -180..180."""
    return (degrees + 180) % 360 - 180


def _fills(pixels: np.ndarray, face: Face) -> bool:
    """Whether a face is so large in its photo that it may be cut off, or be a part of a larger one."""
    return max(face.box[2:]) > _FILLS * min(pixels.shape[:2])


def _top(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _unturn(face: Face, quarter: int, shape: tuple[int, ...]) -> Face:
    """A face found in np.rot90(photo, quarter), in the photo's own pixels."""
    height, width = shape[:2]

    def back(points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0], points[:, 1]
        if quarter == 1:
            return np.stack([width - 1 - y, x], 1)
        if quarter == 2:
            return np.stack([width - 1 - x, height - 1 - y], 1)
        return np.stack([y, height - 1 - x], 1)

    left, top, wide, high = face.box
    corners = back(np.array([(left, top), (left + wide, top + high)], np.float32))
    low, size = corners.min(0), np.abs(corners[1] - corners[0])
    box = (float(low[0]), float(low[1]), float(size[0]), float(size[1]))
    return Face(box, back(face.landmarks).astype(np.float32), face.score)
