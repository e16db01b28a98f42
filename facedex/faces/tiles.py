"""Cuts a large photo into overlapping tiles, and merges what was found in them.

A photo is searched as a whole at a fixed size, so the smallest face that is found there grows with the photo. Tiles
show the same photo closer. Their number grows in line with the photo's area.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from facedex.faces.boxes import overlap, shared_area
from facedex.faces.face import Face
from facedex.opencv import cv2

_WHOLE_SIDE = 1024  # pixels: a photo twice as long gets a smaller copy, and is searched in tiles
_STRIP = 128  # rows of the smaller copy that are made at a time
_FINEST = 0.5  # of the photo's scale. YuNet finds faces of 12 px, and faces below 24 px are hardly recognised
_STEP = 4  # times: each level of tiles shows the photo so much closer than the level before
_LARGEST_TILE = 640  # pixels at the level's scale
_TILE_OVERLAP = 96  # pixels at the level's scale: a larger face is found at the level before
_SEAM = 0.1  # of a face's side: a box nearer to a seam than this may belong to a face that is cut in two
_DUPLICATE = 0.3  # intersection over union of two boxes on one face, as in YuNet itself
_INSIDE = 0.75  # of the smaller box: so much of a neighbour's face never lies within another face
_PLAINLY_FACES = 0.9  # score: two detections above it count as equally sure, and the larger one is kept


def reduced(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a copy of a large photo (height, width, 3) uint8 for looks at the whole, and how many times smaller it is.

    The copy's longer side is 1,024 to 1,535 pixels. A smaller photo is returned itself.
    """
    height, width = pixels.shape[:2]
    factor = min(max(height, width) // _WHOLE_SIDE, height, width)
    if factor < 2:
        return pixels, 1
    rows, columns = height // factor, width // factor  # a rest of less than `factor` pixels at the edge is left out
    small = np.empty((rows, columns, 3), np.uint8)
    for top in range(0, rows, _STRIP):  # OpenCV would copy the whole of a photo that is only viewed upright
        bottom = min(top + _STRIP, rows)
        strip = pixels[top * factor : bottom * factor, : columns * factor]
        small[top:bottom] = cv2.resize(strip, (columns, bottom - top), interpolation=cv2.INTER_AREA)
    return small, factor


def search(pixels: np.ndarray, look: Callable[[np.ndarray, float], list[Face]]) -> list[Face]:
    """Return the faces that `look` finds in the tiles of a large photo (height, width, 3) uint8.

    `look` gets a part of the photo and the scale at which to look at it. Faces are in pixels of the photo, and those
    that a seam cuts are left out. A face may be there several times: see `merged`.
    """
    found = []
    for scale in _scales(max(pixels.shape[:2])):
        for tile in _tiles(pixels.shape, scale):
            part = np.ascontiguousarray(pixels[tile.top : tile.bottom, tile.left : tile.right])
            faces = [face.moved(tile.left, tile.top) for face in look(part, scale)]
            found += [face for face in faces if not tile.cuts(face, pixels.shape)]
    return found


def merged(faces: list[Face]) -> list[Face]:
    """Return each face once.

    Two neighbours stay two faces, though their boxes overlap. Of several boxes on one face the best score is kept.
    Above a score of .90 the largest box is kept, since a part of a face may be taken for a face.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: (min(face.score, _PLAINLY_FACES), face.area), reverse=True):
        if not any(_on_one_face(face, other) for other in kept):
            kept.append(face)
    return kept


def _on_one_face(a: Face, b: Face) -> bool:
    return overlap(a.box, b.box) > _DUPLICATE or shared_area(a.box, b.box) > _INSIDE * min(a.area, b.area)


@dataclass(frozen=True)
class _Tile:
    """A part of a photo, in its pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def cuts(self, face: Face, shape: tuple[int, ...]) -> bool:
        """Whether a face touches an edge of the tile that is not the edge of the photo of this shape."""
        left, top, width, height = face.box
        gap = _SEAM * max(width, height)
        return bool(
            (self.left > 0 and left < self.left + gap)
            or (self.top > 0 and top < self.top + gap)
            or (self.right < shape[1] and left + width > self.right - gap)
            or (self.bottom < shape[0] and top + height > self.bottom - gap)
        )


def _scales(longer: int) -> list[float]:
    """The scales of the levels of tiles for a photo with this longer side, the closest first."""
    scales = [_FINEST]
    while scales[-1] / _STEP * longer > 1.5 * _WHOLE_SIDE:
        scales.append(scales[-1] / _STEP)
    return scales


def _tiles(shape: tuple[int, ...], scale: float) -> Iterator[_Tile]:
    """Tiles of one size that cover a photo of this shape and overlap by _TILE_OVERLAP."""
    rows, columns = (_spans(side, round(_LARGEST_TILE / scale), round(_TILE_OVERLAP / scale)) for side in shape[:2])
    for top, bottom in rows:
        for left, right in columns:
            yield _Tile(left, top, right, bottom)


def _spans(side: int, longest: int, shared: int) -> list[tuple[int, int]]:
    """As few spans as cover 0..side, of one length up to `longest`, that share at least `shared` with the next."""
    count = max(1, -(-(side - shared) // (longest - shared)))
    length = min(side, -(-(side + (count - 1) * shared) // count))
    return [(start, start + length) for start in np.linspace(0, side - length, count).astype(int).tolist()]
