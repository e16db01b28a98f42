"""Finds grey pictures saved in false colour (a colour map), and brings them back to grey.

Plotting libraries add false colour unasked: matplotlib's `imsave` writes a grey picture in viridis. Networks trained on
photos hardly find a face in such a picture. All its colours lie on one line through colour space, so the grey levels
can be read back from them.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from facedex.opencv import cv2

# Colour maps that photos are not mistaken for. Left out are bone, which is nearly grey itself, and maps of near-natural
# tints (pink, autumn, twilight), because an ordinary photo may lie along them.
_COLOUR_MAPS = (
    cv2.COLORMAP_VIRIDIS,
    cv2.COLORMAP_PLASMA,
    cv2.COLORMAP_INFERNO,
    cv2.COLORMAP_MAGMA,
    cv2.COLORMAP_CIVIDIS,
    cv2.COLORMAP_JET,
    cv2.COLORMAP_TURBO,
    cv2.COLORMAP_HOT,
    cv2.COLORMAP_RAINBOW,
    cv2.COLORMAP_HSV,
    cv2.COLORMAP_PARULA,
    cv2.COLORMAP_COOL,
    cv2.COLORMAP_SPRING,
    cv2.COLORMAP_SUMMER,
    cv2.COLORMAP_WINTER,
    cv2.COLORMAP_OCEAN,
    cv2.COLORMAP_DEEPGREEN,
)
_SAMPLE_SIDE = 20  # pixels: the sample that is tested first has at most this many rows and columns
_MIN_COLOURFULNESS = 60  # of 255: median difference between a pixel's largest and least channel. Few photos reach it
# Largest allowed distances of pixels from the colour map's line, of 255: the median and the ninth decile. A JPEG of
# quality 75 stays below 12 and 45. Of 1,549 photos, none that is as colourful came below 23 and 51.
_MAX_MEDIAN_DISTANCE, _MAX_DECILE_DISTANCE = 15.0, 50.0
_MIN_LEVEL_RANGE = 50  # levels between the first and ninth decile. A few flat colours do not show a colour map
_AT_ONCE = 4_000_000  # pixels brought back at a time, which bounds the memory
_BLOCK = 20_000  # colours compared at a time, which bounds the memory


def in_grey(pixels: np.ndarray) -> np.ndarray:
    """Return the grey picture behind a false-colour one, and any other picture unchanged.

    `pixels` and the result are (height, width, 3) uint8 RGB. A grey result has three equal channels. An ordinary photo
    costs only a test of a few hundred pixels, and the same array is returned.
    """
    height, width = pixels.shape[:2]
    rows, columns = (np.linspace(0, side - 1, min(side, _SAMPLE_SIDE)).astype(int) for side in (height, width))
    sample = pixels[np.ix_(rows, columns)].reshape(-1, 3)
    if np.median(np.ptp(sample, axis=1)) < _MIN_COLOURFULNESS:
        return pixels
    matches = [(_nearest_levels(sample, colours), colours) for colours in _map_colours()]
    (levels, distances), colours = min(matches, key=lambda match: float(np.median(match[0][1])))
    low, high = np.quantile(levels, [0.1, 0.9])
    if (
        np.median(distances) > _MAX_MEDIAN_DISTANCE
        or np.quantile(distances, 0.9) > _MAX_DECILE_DISTANCE
        or high - low < _MIN_LEVEL_RANGE
    ):
        return pixels
    grey = np.empty_like(pixels)
    step = max(1, _AT_ONCE // width)
    for top in range(0, height, step):
        grey[top : top + step] = _levels(pixels[top : top + step], colours)[:, :, None]
    return grey


def _levels(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The level (height, width) uint8 in a colour map (256, 3) nearest to each pixel (height, width, 3)."""
    # Each distinct colour is looked up once, since pictures repeat theirs.
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    distinct, positions = np.unique(packed.ravel(), return_inverse=True)
    unpacked = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=1).astype(np.uint8)
    blocks = [unpacked[start : start + _BLOCK] for start in range(0, len(unpacked), _BLOCK)]
    levels = np.concatenate([_nearest_levels(block, colours)[0] for block in blocks])
    return levels[positions].reshape(pixels.shape[:2])


def _nearest_levels(pixels: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The level (n,) uint8 in a colour map (256, 3) nearest to each pixel (n, 3), and its distance (n,) float32."""
    values = pixels.astype(np.float32)
    squares = (values**2).sum(1)[:, None] - 2 * np.einsum("nc,lc->nl", values, colours) + (colours**2).sum(1)
    levels = squares.argmin(1)
    return levels.astype(np.uint8), np.sqrt(np.maximum(squares[np.arange(len(values)), levels], 0))


@cache
def _map_colours() -> list[np.ndarray]:
    """The colours of each colour map, from level 0 to 255: (256, 3) float32 RGB."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    return [cv2.applyColorMap(levels, name)[:, 0, ::-1].astype(np.float32) for name in _COLOUR_MAPS]
