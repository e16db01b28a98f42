"""Boxes of faces in one photo, and whether two boxes hold the same face."""

from __future__ import annotations

Box = tuple[float, float, float, float]  # left, top, width, height, in pixels

_SAME_FACE_OVERLAP = 0.5  # intersection over union above which two boxes hold the same face


def shared_area(a: Box, b: Box) -> float:
    """Return the area in which two boxes overlap, in square pixels."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes, 0..1."""
    shared = shared_area(a, b)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def same_place(a: Box, b: Box) -> bool:
    """Whether two boxes hold the same face."""
    return overlap(a, b) > _SAME_FACE_OVERLAP
