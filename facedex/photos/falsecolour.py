"""Grey pictures that were saved through a scale of colours (false colour), brought back to grey.

Plotting libraries do this to a grey picture unasked: matplotlib's `imsave` writes it in viridis. Networks that learnt
from photos hardly find a face in one. The colours of such a picture all lie on one line through colour space, so the
grey levels can be read back from them.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

# Scales whose brightness alone says little, or that photos cannot be mistaken for. Left out: grey itself (bone), and
# those of near-natural tints (pink, autumn, twilight), along which an ordinary photo may lie.
_SCALES = (
    cv2.COLORMAP_VIRIDIS, cv2.COLORMAP_PLASMA, cv2.COLORMAP_INFERNO, cv2.COLORMAP_MAGMA, cv2.COLORMAP_CIVIDIS,
    cv2.COLORMAP_JET, cv2.COLORMAP_TURBO, cv2.COLORMAP_HOT, cv2.COLORMAP_RAINBOW, cv2.COLORMAP_HSV,
    cv2.COLORMAP_PARULA, cv2.COLORMAP_COOL, cv2.COLORMAP_SPRING, cv2.COLORMAP_SUMMER, cv2.COLORMAP_WINTER,
    cv2.COLORMAP_OCEAN, cv2.COLORMAP_DEEPGREEN,
)  # fmt: skip
_GLANCE = 20  # pixels a side of the sample that is looked at first
_COLOURFUL = 60  # of 255, the median difference between a pixel's largest and least channel: few photos reach it
# How far pixels lie from the scale's line, of 255: half of them at the most so far, nine in ten at the most so far. A JPEG
# of quality 75 stays below 12 and 45. Of 1,549 photos none that is as colourful came below 23 and 51.
_NEAR, _FAR = 15.0, 50.0
_SPREAD = 50  # levels between the tenth and the ninetieth of a hundred pixels: a few flat colours show no scale
_BLOCK = 20_000


def in_grey(pixels: np.ndarray) -> np.ndarray:
    """A picture (height, width, 3) uint8 RGB; where it is a grey one in false colour, that grey one in three channels.

    An ordinary photo costs a look at a few hundred pixels and comes back as it is.
    """
    height, width = pixels.shape[:2]
    rows, columns = (np.linspace(0, side - 1, min(side, _GLANCE)).astype(int) for side in (height, width))
    sample = pixels[np.ix_(rows, columns)].reshape(-1, 3)
    if np.median(np.ptp(sample, axis=1)) < _COLOURFUL:
        return pixels
    scales = _colours()
    found = [_nearest(sample, scale) for scale in scales]
    best = min(range(len(scales)), key=lambda number: float(np.median(found[number][1])))
    levels, distance = found[best]
    low, high = np.quantile(levels, [0.1, 0.9])
    if np.median(distance) > _NEAR or np.quantile(distance, 0.9) > _FAR or high - low < _SPREAD:
        return pixels
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, where = np.unique(packed.ravel(), return_inverse=True)
    unpacked = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8)
    levels = np.concatenate(
        [_nearest(unpacked[at : at + _BLOCK], scales[best])[0] for at in range(0, len(unpacked), _BLOCK)]
    )
    return np.repeat(levels[where].reshape(height, width, 1), 3, axis=2)


def _nearest(pixels: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The level (n,) uint8 on a scale (256, 3) nearest to each pixel (n, 3), and how far that is (n,) float32."""
    a, b = pixels.astype(np.float32), scale
    squares = (a**2).sum(1)[:, None] - 2 * np.einsum("nc,lc->nl", a, b) + (b**2).sum(1)
    level = squares.argmin(1)
    return level.astype(np.uint8), np.sqrt(np.maximum(squares[np.arange(len(a)), level], 0))


@cache
def _colours() -> list[np.ndarray]:
    """The colours of each scale, from level 0 to 255: (256, 3) float32 RGB."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    return [cv2.applyColorMap(levels, scale)[:, 0, ::-1].astype(np.float32) for scale in _SCALES]
