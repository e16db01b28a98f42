"""Says how a face differs from ordinary photos: a negative, flat tones, or colours that no skin has.

Networks and calibrations see ordinary photos. Two negatives, or two posterised pictures, of different people resemble
each other: with negatives `verify` passed 79 to 87 % of pairs at a stated .1 %, with four levels or fewer 2 to 25 %
(scripts/benchmarks/unusual_colours.py). A tint leaves the rates as they are, and is told because a user expects it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from facedex.faces.alignment import SIZE
from facedex.opencv import cv2

NEGATIVE = "in reversed light and dark, as a negative"
COVERED = "covered below the eyes"
DARK_BELOW = "dark below the eyes, as if covered or a negative"
FLAT = "in a few flat tones"
TINTED = "of unusual colour"

# Places in the aligned crop (faces/alignment.py): rows and columns of the eyes, and of skin that is lighter than they.
_EYES = ((slice(44, 57), slice(29, 48)), (slice(44, 57), slice(65, 84)))
_SKIN = (
    ((slice(70, 83), slice(28, 45)), (slice(70, 83), slice(68, 85))),  # cheeks
    ((slice(58, 75), slice(51, 62)),),  # nose
    ((slice(24, 37), slice(38, 75)),),  # forehead
)
_MIDDLE = (slice(24, 104), slice(20, 92))
_FLAT_SHARE = 0.3  # of neighbouring pixels that are equal. At most .19 in 1,549 photos
# Medians of a and b (CIE Lab, D65) over the face. They lie inside for all but 3 of 1,549 photos.
_LEAST_A, _MOST_A, _LEAST_B, _MOST_B = -8, 34, -5, 46
# Linear sRGB to CIE XYZ, each divided by its value for white (IEC 61966-2-1).
_TO_XYZ = ((0.4339, 0.3762, 0.1899), (0.2127, 0.7152, 0.0722), (0.0178, 0.1095, 0.8727))


def unusual(crop: np.ndarray) -> str | None:
    """Return what is unusual about an aligned crop (112, 112, 3) uint8 RGB, in words; None for an ordinary one."""
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY).astype(np.float32)
    skin, forehead = (float(np.vdot(weights, grey)) for weights in _skin_over_eyes())
    if skin < 0:
        return NEGATIVE if forehead < 0 else DARK_BELOW
    middle = np.ascontiguousarray(crop[_MIDDLE][::4])  # every fourth row tells as much
    if _equal_neighbours(middle) > _FLAT_SHARE:
        return FLAT if _equal_neighbours(middle[: len(middle) // 2]) > _FLAT_SHARE / 2 else COVERED
    colours = np.sort(_lab_colours(middle[:, ::2]).reshape(-1, 2), axis=0)
    a, b = colours[len(colours) // 2].tolist()  # numpy's own median loads its masked arrays first, which takes 20 ms
    return None if _LEAST_A < a < _MOST_A and _LEAST_B < b < _MOST_B else TINTED


@cache
def _skin_over_eyes() -> tuple[np.ndarray, np.ndarray]:
    """Weights (112, 112) float32 whose products with grey levels tell how much lighter skin is than the eyes.

    The first is for all skin, the second for the forehead. Eyes and brows are darker than skin of any colour.
    """
    means = []
    for places in (_EYES, *_SKIN):
        mean = np.zeros((SIZE, SIZE), np.float32)
        for place in places:
            mean[place] = 1 / len(places) / mean[place].size
        means.append(mean)
    eyes, *skin = means
    return np.mean(skin, axis=0) - eyes, skin[-1] - eyes


def _lab_colours(pixels: np.ndarray) -> np.ndarray:
    """a and b (rows, columns, 2) of CIE Lab (CIE 15, D65) for sRGB pixels (rows, columns, 3) uint8.

    OpenCV's conversion fills tables first, which takes 90 ms.
    """
    values = pixels / 255.0
    linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)  # IEC 61966-2-1
    x, y, z = (sum(weight * linear[..., channel] for channel, weight in enumerate(row)) for row in _TO_XYZ)
    x, y, z = (np.where(one > 216 / 24389, np.cbrt(one), (24389 / 27 * one + 16) / 116) for one in (x, y, z))
    return np.stack([500 * (x - y), 200 * (y - z)], axis=-1)


def _equal_neighbours(pixels: np.ndarray) -> float:
    """The share of pixels (rows, columns, 3) that equal their neighbour to the right in all channels."""
    return float((pixels[:, 1:] == pixels[:, :-1]).all(2).mean())
