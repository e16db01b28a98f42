"""Places of faces as XMP writes them: parts of the stored picture, and boxes in upright pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from facedex.faces.boxes import Box, overlap
from facedex.photos.photoheader import PhotoHeader

Area = tuple[float, float, float, float]  # left, top, width, height, each as a part of the picture's side, 0..1

# Some programs draw a face from chin to brow, others the whole head, up to four times as large.
_SAME_FACE_OVERLAP = 0.25
_LARGEST = 1.01  # of the picture's side. Rounding brings an area of the whole picture above 1
_SAME_SHAPE = 0.02  # relative difference of two aspect ratios. Raw files have a few more rows than their previews

# How stored pixels become upright, for each orientation of EXIF 2.3: whether x and y change places, and then whether
# x and y are mirrored.
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


@dataclass(frozen=True)
class NamedRegion:
    """A face that a file names.

    `box`: left, top, width and height in pixels of the upright photo.
    `source`: the path of the file that holds the name.
    """

    name: str
    box: Box
    source: str


def to_upright(area: Area, orientation: int) -> Area:
    """Return the place in the upright picture of an area of the stored picture."""
    swapped, mirror_x, mirror_y = _TURNS[orientation]
    left, top, width, height = area
    if swapped:
        left, top, width, height = top, left, height, width
    return _mirrored((left, top, width, height), mirror_x, mirror_y)


def to_stored(area: Area, orientation: int) -> Area:
    """Return the place in the stored picture of an area of the upright picture."""
    swapped, mirror_x, mirror_y = _TURNS[orientation]
    left, top, width, height = _mirrored(area, mirror_x, mirror_y)
    return (top, left, height, width) if swapped else (left, top, width, height)


def _mirrored(area: Area, mirror_x: bool, mirror_y: bool) -> Area:
    left, top, width, height = area
    return (1 - left - width if mirror_x else left, 1 - top - height if mirror_y else top, width, height)


def within(area: Area) -> Area | None:
    """Return the part of an area that lies in the picture.

    None for nonsense: numbers that are not finite, no width or height, a centre outside the picture, or an area larger
    than the picture.
    """
    left, top, width, height = area
    if not all(map(math.isfinite, area)) or not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
        return None
    if not (0 <= left + width / 2 <= 1 and 0 <= top + height / 2 <= 1):
        return None
    right, bottom = min(left + width, 1.0), min(top + height, 1.0)
    left, top = max(left, 0.0), max(top, 0.0)
    return (left, top, right - left, bottom - top)


def to_box(area: Area, size: tuple[int, int]) -> Box:
    """Return an area as a box in pixels of a picture of this `size` (width, height)."""
    return (area[0] * size[0], area[1] * size[1], area[2] * size[0], area[3] * size[1])


def to_area(box: Box, size: tuple[int, int]) -> Area:
    """Return a box in pixels as parts of a picture of this `size` (width, height)."""
    return (box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1])


def frame(applied_to: tuple[float, float] | None, header: PhotoHeader) -> int | None:
    """Return the orientation that turns areas upright which apply to a picture of this width and height.

    That is the photo's own orientation where the areas apply to the stored picture, whatever its scale. It is 1 where
    they apply to the upright picture. None is returned where they apply to another picture, such as one that was
    cropped later. Areas without dimensions apply to the stored picture.
    """
    if applied_to is None or not all(math.isfinite(side) and side > 0 for side in applied_to):
        return header.orientation
    if _same_shape(applied_to, (header.width, header.height)):
        return header.orientation
    return 1 if _same_shape(applied_to, header.upright_size) else None


def _same_shape(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return abs(a[0] / a[1] * b[1] / b[0] - 1) <= _SAME_SHAPE


def matches(boxes: Sequence[Box], others: Sequence[Box]) -> dict[int, int]:
    """Return which of `others` holds the same face as each box: {place in `boxes`: place in `others`}.

    Each has at most one partner. The pairs that overlap most come first.
    """
    pairs = ((overlap(a, b), i, j) for i, a in enumerate(boxes) for j, b in enumerate(others))
    near = sorted((pair for pair in pairs if pair[0] > _SAME_FACE_OVERLAP), key=lambda pair: -pair[0])
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in near:
        if i not in found and j not in taken:
            found[i] = j
            taken.add(j)
    return found
