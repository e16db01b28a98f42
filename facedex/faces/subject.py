"""Which face a photo is about. Every command that takes one face of a photo takes the first in this order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from facedex.faces.face import Face

# Chosen on LFW's 1,549 development photos, where the person named is known. In seven of them the largest face is another
# (tests/test_subject.py names them); this rule takes the right one in all. Any corner weight from .1 to .8 does so.
_CORNER = 0.5  # what a face in a corner of the photo counts, to one in the middle
_CUT_OFF = 0.7  # what a face cut off by the border counts, to a whole one
_TOUCHES = 0.02  # of a face's side: a box that comes so near to the border belongs to a face that is cut off


def prominence(face: Face, shape: tuple[int, ...]) -> float:
    """How likely a photo of this `shape` (height, width, ...) is about a face: a number of pixels to compare with others.

    It is the side of the face's box, the root of its area. In the middle of the photo the side counts whole, in a corner
    half, evenly in between. The side of a face that the photo's border cuts off counts .7 of that.
    """
    left, top, wide, high = face.box
    height, width = shape[:2]
    side = float(np.sqrt(face.area))
    away = np.hypot(*(face.middle - (width / 2, height / 2))) / (np.hypot(width, height) / 2)
    near_border = min(left, top, width - left - wide, height - top - high) < _TOUCHES * side
    return side * (1 - (1 - _CORNER) * min(float(away), 1.0)) * (_CUT_OFF if near_border else 1.0)


def by_prominence(faces: Iterable[Face], shape: tuple[int, ...]) -> list[Face]:
    """The faces of a photo of this `shape` (height, width, ...), the subject first."""
    return sorted(faces, key=lambda face: -prominence(face, shape))
