"""Pictures for people: photos with the names of the faces, and the faces cut out of a photo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facedex.fonts.lettering import Lettering
from facedex.photos.sources import UNKNOWN
from facedex.recognition.identification import IdentifiedPhoto
from facedex.wording import visible

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Rectangle = tuple[float, float, float, float]  # left, top, width, height in pixels

NAMED_COLOUR, UNKNOWN_COLOUR = (46, 160, 67), (208, 108, 20)  # RGB

_COMMENT = b"annotated by facedex"  # in the JPEG, to tell an annotated picture from somebody's photo
_MOST_BYTES = 255  # of a file's name, on most file systems
_MOST_LETTERS = 50  # of a file's name in the names of its crops, since most file systems allow 255 bytes
_READABLE = 480  # pixels of the longest side that small pictures are enlarged to, so that names can be read


def annotated(photo: IdentifiedPhoto, lettering: Lettering | None = None) -> Image.Image:
    """A copy of the photo with a box and a name on every face; small photos are enlarged.

    `lettering`: the fonts of the names, by default the packaged font and the machine's. Raises ValueError for a photo
    that was identified without `keep_pixels`.
    """
    from PIL import Image, ImageDraw

    lettering = lettering or _default_lettering()

    if photo.pixels is None:
        raise ValueError("the photo was identified without keep_pixels")
    picture = Image.fromarray(photo.pixels)
    factor = int(np.clip(np.ceil(_READABLE / max(picture.size)), 1, 6))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.LANCZOS)
    # The text is as large as suits the smallest face, within what can be read and what leaves the photo visible.
    smallest_side = min((min(face.face.box[2:]) for face in photo.faces), default=100)
    longest = max(picture.size)
    text_size = int(np.clip(smallest_side * factor / 4.5, max(13, longest / 60), longest / 20))
    draw = ImageDraw.Draw(picture)
    labels: list[Rectangle] = []
    for face in photo.faces:
        left, top, width, height = (value * factor for value in face.face.box)
        box = (left, top, width, height)
        line = max(2, text_size // 7)
        colour = NAMED_COLOUR if face.name else UNKNOWN_COLOUR
        _draw_box(draw, box, line, colour)
        text = f"{visible(face.name)} {face.probability:.0%}" if face.name else UNKNOWN
        label_size = lettering.width(text, text_size) + text_size * 0.6, text_size * 1.35
        label = (*_place_label(box, label_size, line, picture.size, labels), *label_size)
        labels.append(label)
        _draw_label(draw, label, text, lettering, text_size, colour)
    return picture


def save_annotated(
    photo: IdentifiedPhoto, folder: Path, used_names: set[str], lettering: Lettering | None = None
) -> Path:
    """Save the annotated photo as a JPEG in a folder; returns its path. Raises OSError.

    The picture of party.png is party.jpg, or party-2.jpg where that name is taken. `used_names` collects the names of
    one run, so that photos of one name from different folders both stay. Annotated pictures of an earlier run are
    replaced, and no other file is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = Path(photo.photo).stem
    endings = chain([".jpg"], (f"-{number}.jpg" for number in count(2)))
    names = (_shortened(stem, ending) + ending for ending in endings)
    name = next(name for name in names if name.casefold() not in used_names and _is_free(folder / name))
    used_names.add(name.casefold())  # Windows and macOS take names that differ in case alone for one
    annotated(photo, lettering).save(folder / name, quality=90, comment=_COMMENT)
    return folder / name


def _is_free(path: Path) -> bool:
    """Whether a picture may be written to a path: nothing is there, or a picture that `save_annotated` wrote."""
    from PIL import Image

    if not os.path.lexists(path):
        return True
    try:
        with Image.open(path) as picture:
            return bool(picture.info.get("comment") == _COMMENT)
    except (OSError, ValueError):
        return False


def _shortened(stem: str, ending: str) -> str:
    """The part of a file's stem that fits before an ending, in whole characters."""
    while len(os.fsencode(stem)) + len(ending) > _MOST_BYTES:
        stem = stem[:-1]
    return stem


def save_crops(source: str, crops: Sequence[np.ndarray], folder: Path) -> list[Path]:
    """Save aligned faces, (112, 112, 3) uint8 RGB each, as PNG files in a folder; returns their paths. Raises OSError.

    `source`: the photo or video that shows them. The files of party.jpg are party-1.png, party-2.png. No file is
    overwritten: if one of them exists, all of them become party_2-1.png, party_2-2.png.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    source_name = Path(source).stem[:_MOST_LETTERS]
    for attempt in count(1):
        name = source_name if attempt == 1 else f"{source_name}_{attempt}"
        paths = [folder / f"{name}-{number}.png" for number in range(1, len(crops) + 1)]
        if not any(os.path.lexists(path) for path in paths):
            break
    for path, crop in zip(paths, crops, strict=True):
        with open(path, "xb") as file:
            Image.fromarray(crop).save(file, "PNG")
    return paths


def _draw_box(draw: ImageDraw.ImageDraw, box: Rectangle, line: int, colour: tuple[int, int, int]) -> None:
    """Draw a coloured frame with a black edge around a face, and nothing on the face itself."""
    left, top, width, height = box
    right, bottom = left + width, top + height
    draw.rectangle((left - line, top - line, right + line, bottom + line), outline=(0, 0, 0), width=line + 2)
    inner = (left - line + 1, top - line + 1, right + line - 1, bottom + line - 1)
    draw.rectangle(inner, outline=colour, width=line)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    label: Rectangle,
    text: str,
    lettering: Lettering,
    text_size: int,
    colour: tuple[int, int, int],
) -> None:
    """Draw white text with a black edge on a coloured rectangle."""
    left, top, width, height = label
    draw.rectangle((left, top, left + width, top + height), fill=colour, outline=(0, 0, 0))
    lettering.draw(draw, left + text_size * 0.3, top + height / 2, text, text_size, (255, 255, 255), (0, 0, 0))


@cache
def _default_lettering() -> Lettering:
    return Lettering()


def _place_label(
    box: Rectangle, label_size: tuple[float, float], line: int, picture_size: tuple[int, int], labels: list[Rectangle]
) -> tuple[float, float]:
    """The left and top of a label: above the face, else below it, else inside.

    The first place that lies in the picture and does not overlap another label is taken, or the place above the face.
    """
    left, top, width, height = box
    label_width, label_height = label_size
    lowest = max(0, picture_size[1] - label_height)
    x = float(np.clip(left + width / 2 - label_width / 2, 0, max(0, picture_size[0] - label_width)))
    bottom = top + height
    for y in (top - line - label_height, bottom + line, top + line, bottom - line - label_height):
        inside = 0 <= y <= picture_size[1] - label_height
        if inside and not any(_overlap((x, y, label_width, label_height), other) for other in labels):
            return x, y
    return x, float(np.clip(top - line - label_height, 0, lowest))


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    """Whether two rectangles share any area."""
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
