"""Pictures for people: names drawn on a photo, and faces cut out of it."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facedex.photos.sources import UNKNOWN
from facedex.recognition.detection import DetectedPhoto
from facedex.recognition.identification import IdentifiedPhoto

if TYPE_CHECKING:
    from PIL import Image

_LONGEST_STEM = 50  # letters of a photo's name that are kept in those of its crops; most disks take 255 bytes
_KNOWN, _STRANGER = (46, 160, 67), (208, 108, 20)


def annotated(photo: IdentifiedPhoto) -> Image.Image:
    """The photo with a box and a name on every face, legible on any background and at any size."""
    from PIL import Image, ImageDraw, ImageFont

    if photo.pixels is None:
        raise ValueError("the photo was identified without keep_pixels")
    picture = Image.fromarray(photo.pixels)
    smallest = min((min(one.face.box[2:]) for one in photo.faces), default=100)
    # Text follows the faces, but stays readable: small pictures are enlarged for it.
    factor = int(np.clip(np.ceil(480 / max(picture.size)), 1, 6))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.LANCZOS)
    longest = max(picture.size)
    size = int(np.clip(smallest * factor / 4.5, max(13, longest / 60), longest / 20))
    line = max(2, size // 7)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    taken: list[tuple[float, float, float, float]] = []
    for one in photo.faces:
        left, top, width, height = (value * factor for value in one.face.box)
        colour = _KNOWN if one.name else _STRANGER
        right, bottom = left + width, top + height
        draw.rectangle((left - line, top - line, right + line, bottom + line), outline=(0, 0, 0), width=line + 2)
        draw.rectangle(
            (left - line + 1, top - line + 1, right + line - 1, bottom + line - 1), outline=colour, width=line
        )
        text = f"{one.name} {one.probability:.0%}" if one.name else UNKNOWN
        wide, high = draw.textlength(text, font) + size * 0.6, size * 1.35
        # Above the face, else below, else inside: the first place that is in the picture and not taken.
        x = float(np.clip(left + width / 2 - wide / 2, 0, max(0, picture.width - wide)))
        places = [(x, top - line - high), (x, bottom + line), (x, top + line), (x, bottom - line - high)]
        spot = next(
            ((x, y) for x, y in places if 0 <= y <= picture.height - high and not _meets((x, y, wide, high), taken)),
            (x, float(np.clip(top - line - high, 0, max(0, picture.height - high)))),
        )
        taken.append((*spot, wide, high))
        draw.rectangle((*spot, spot[0] + wide, spot[1] + high), fill=colour, outline=(0, 0, 0))
        draw.text((spot[0] + size * 0.3, spot[1] + high / 2), text, fill=(255, 255, 255), font=font, anchor="lm",
                  stroke_width=max(1, size // 16), stroke_fill=(0, 0, 0))  # fmt: skip
    return picture


def save_annotated(photo: IdentifiedPhoto, folder: Path, used: set[str]) -> Path:
    """Write the annotated photo as JPEG into a folder; returns its path. Raises OSError.

    `used` holds the names of one run's pictures, so that photos of one name from different folders both stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = os.path.basename(photo.photo)
    name, number = f"{stem}.jpg", 2
    while name in used:
        name, number = f"{stem}-{number}.jpg", number + 1
    used.add(name)
    annotated(photo).save(folder / name, quality=90)
    return folder / name


def save_crops(photo: DetectedPhoto, folder: Path) -> list[Path]:
    """Write a photo's aligned faces as PNG into a folder: party-1.png, party-2.png; returns their paths. Raises OSError.

    No file is overwritten. Where one of these is there already, all are numbered on: party_2-1.png, party_2-2.png.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    stem = Path(photo.photo).stem[:_LONGEST_STEM]
    for tried in count(1):
        name = stem if tried == 1 else f"{stem}_{tried}"
        paths = [folder / f"{name}-{number}.png" for number in range(1, len(photo.faces) + 1)]
        if not any(os.path.lexists(path) for path in paths):
            break
    for path, one in zip(paths, photo.faces, strict=True):
        with open(path, "xb") as file:
            Image.fromarray(one.crop).save(file, "PNG")
    return paths


def _meets(box: tuple[float, float, float, float], others: list[tuple[float, float, float, float]]) -> bool:
    x, y, w, h = box
    return any(x < a + c and a < x + w and y < b + d and b < y + h for a, b, c, d in others)
