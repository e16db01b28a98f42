"""Make a photo of a face worse by a stated change to its pixels, and tell where the face is then."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from facedex.faces.face import Face

# From pixels (height, width, 3) uint8 RGB and the face in them to changed pixels and the new middle of the face (x, y).
Change = Callable[[np.ndarray, Face], tuple[np.ndarray, np.ndarray]]


def middle(face: Face) -> np.ndarray:
    """Return the middle of a face's box, (x, y)."""
    left, top, width, height = face.box
    return np.array([left + width / 2, top + height / 2])


def in_place(change: Callable[[np.ndarray, Face], np.ndarray]) -> Change:
    """Make a change that leaves the face in its place."""
    return lambda pixels, face: (change(pixels, face), middle(face))


def smaller(width: float) -> Change:
    """Reduce the photo until the face is `width` pixels wide. A smaller face is left alone."""

    def change(pixels: np.ndarray, face: Face) -> tuple[np.ndarray, np.ndarray]:
        scale = min(1.0, width / face.box[2])
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), middle(face) * scale

    return change


def blurred(sigma: float) -> Change:
    """Blur by a Gaussian. Sigma is in pixels of a face scaled to a width of 112."""
    return in_place(lambda pixels, face: cv2.GaussianBlur(pixels, (0, 0), sigma * face.box[2] / 112))


def lit(gain: float, contrast: float = 1.0) -> Change:
    """Multiply all values by `gain`, and their distance from the mean by `contrast`. Clip the result."""

    def change(pixels: np.ndarray, face: Face) -> np.ndarray:
        values: np.ndarray = pixels.astype(np.float32) * gain
        mean = float(values.mean())
        return np.clip(mean + contrast * (values - mean), 0, 255).astype(np.uint8)

    return in_place(change)


def recompressed(quality: int) -> Change:
    """Compress as JPEG of this quality and decode again."""

    def change(pixels: np.ndarray, face: Face) -> np.ndarray:
        data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]

    return in_place(change)


def grey(pixels: np.ndarray, face: Face) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def false_colour(pixels: np.ndarray, face: Face, scale: int = cv2.COLORMAP_VIRIDIS) -> np.ndarray:
    """Show brightness by a colour map."""
    return cv2.cvtColor(cv2.applyColorMap(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), scale), cv2.COLOR_BGR2RGB)


def false_colour_jet(pixels: np.ndarray, face: Face) -> np.ndarray:
    return false_colour(pixels, face, cv2.COLORMAP_JET)


def turned(degrees: float) -> Change:
    """Turn the photo in its plane about the face's middle. The canvas keeps its size and its edge is repeated."""

    def change(pixels: np.ndarray, face: Face) -> np.ndarray:
        matrix = cv2.getRotationMatrix2D(tuple(middle(face).tolist()), degrees, 1.0)
        return cv2.warpAffine(pixels, matrix, pixels.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)

    return in_place(change)


def _covered(pixels: np.ndarray, corners: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return cv2.fillPoly(pixels.copy(), [np.round(corners).astype(np.int32)], colour)


def sunglasses(pixels: np.ndarray, face: Face) -> np.ndarray:
    """Draw a dark bar over both eyes, half an eye distance beyond each."""
    left, right = face.landmarks[:2]
    along = right - left
    down = np.array([-along[1], along[0]])
    corners = [
        left - 0.5 * along - 0.3 * down,
        right + 0.5 * along - 0.3 * down,
        right + 0.5 * along + 0.3 * down,
        left - 0.5 * along + 0.3 * down,
    ]
    return _covered(pixels, np.array(corners), (15, 15, 15))


def mask(pixels: np.ndarray, face: Face) -> np.ndarray:
    """Draw a light surgical mask from the middle of the nose to below the chin."""
    left, right, nose, *mouth = face.landmarks
    along = right - left
    down = np.mean(mouth, axis=0) - (left + right) / 2
    bridge = (left + right) / 2 + 0.45 * (nose - (left + right) / 2)
    corners = [
        bridge - 0.15 * along,
        bridge + 0.15 * along,
        bridge + 0.85 * along + 0.25 * down,
        bridge + 0.6 * along + 1.1 * down,
        bridge + 1.4 * down,
        bridge - 0.6 * along + 1.1 * down,
        bridge - 0.85 * along + 0.25 * down,
    ]
    return _covered(pixels, np.array(corners), (190, 210, 225))


CHANGES: dict[str, dict[str, Change]] = {
    "size": {f"face {width} px wide": smaller(width) for width in (112, 60, 40, 30, 20, 16)},
    "blur": {f"Gaussian, sigma {sigma} px": blurred(sigma) for sigma in (1.5, 3, 5)},
    "light": {
        "tenth as bright": lit(0.1),
        "quarter as bright": lit(0.25),
        "half as bright": lit(0.5),
        "twice as bright": lit(2.0),
        "quarter of the contrast": lit(1, 0.25),
    },
    "jpeg": {f"quality {quality}": recompressed(quality) for quality in (40, 15, 5)},
    "colour": {"none": in_place(grey), "viridis": in_place(false_colour), "jet": in_place(false_colour_jet)},
    "cover": {"sunglasses": in_place(sunglasses), "mask": in_place(mask)},
    "turn": {f"{degrees} degrees": turned(degrees) for degrees in (15, 30, 45, 60, 90, 135, 180)},
}
