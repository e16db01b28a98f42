"""The subject of a photo: the face that the photo is about.

Every command that takes one face of a photo takes the first in this order.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from facedex.faces.face import Face

# Chosen on LFW's 1,549 development photos, where the person named is known. In seven of them another face is larger
# (tests/test_subject.py names them). This rule takes the right face in all. Any corner weight from .1 to .8 does so.
_CORNER_WEIGHT = 0.5  # weight of a face in a corner of the photo
_CUT_OFF_WEIGHT = 0.7  # weight of a face that the photo's border cuts off
_BORDER_GAP = 0.02  # of a face's side: a box nearer to the border than this belongs to a face that is cut off


def prominence(face: Face, shape: tuple[int, ...]) -> float:
    """Return how prominent a face is in a photo of this `shape` (height, width, ...), as a weighted side in pixels.

    The side is the square root of the box's area. Its weight falls evenly from 1 in the middle of the photo to one half
    in a corner. A face that the photo's border cuts off counts .7 of that.
    """
    height, width = shape[:2]
    side = float(np.sqrt(face.area))
    eccentricity = np.hypot(*(face.centre - (width / 2, height / 2))) / (np.hypot(width, height) / 2)
    weight = 1 - (1 - _CORNER_WEIGHT) * min(float(eccentricity), 1.0)
    return side * weight * (_CUT_OFF_WEIGHT if cut_off(face, shape) else 1.0)


def cut_off(face: Face, shape: tuple[int, ...]) -> bool:
    """Return whether the border of a photo of this `shape` (height, width, ...) cuts a face off."""
    left, top, width, height = face.box
    gap = min(left, top, shape[1] - left - width, shape[0] - top - height)
    return bool(gap < _BORDER_GAP * np.sqrt(face.area))


def by_prominence(faces: Iterable[Face], shape: tuple[int, ...]) -> list[Face]:
    """Return the faces of a photo of this `shape` (height, width, ...), the subject first."""
    return sorted(faces, key=lambda face: -prominence(face, shape))
