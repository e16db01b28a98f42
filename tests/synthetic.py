"""Made-up people for training tests: each a pattern of colours that noise and light vary; no real face."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def person_crop(person: int, photo: int, side: int = 128) -> np.ndarray:
    """(side, side, 3) uint8 RGB: a pattern that belongs to the person, in a light that belongs to the photo."""
    pattern = np.random.default_rng([person, 1]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    rng = np.random.default_rng([person, photo, 2])
    image = np.asarray(Image.fromarray(pattern).resize((side, side), Image.Resampling.BICUBIC), np.float32)
    image = image * rng.uniform(0.8, 1.2) + rng.normal(0, 8, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_pack(path: Path, people: int, photos: int, singles: int = 0, first: int = 0) -> Path:
    """A .tar of PNG crops NAME/NUMBER.png."""
    with tarfile.open(path, "w") as tar:
        for person in range(first, first + people + singles):
            for photo in range(photos if person < first + people else 1):
                buffer = io.BytesIO()
                Image.fromarray(person_crop(person, photo)).save(buffer, "PNG")
                info = tarfile.TarInfo(f"person{person:03d}/{photo:02d}.png")
                info.size = buffer.tell()
                buffer.seek(0)
                tar.addfile(info, buffer)
    return path
