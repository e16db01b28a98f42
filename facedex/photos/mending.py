"""Makes pictures readable that decoders refuse although the photo is there, and measures what is missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facedex.photos.formats import JPEG_MAGIC, PNG_MAGIC

# Chunks that the pixels depend on. Pillow refuses others when they are large, such as texts and colour profiles.
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
_FILLING = 128  # libjpeg gives blocks that are missing this grey


def without_texts(data: bytes) -> bytes | None:
    """A PNG without texts, colour profile and other additions. None for data that is no PNG, or has none of them."""
    if not data.startswith(PNG_MAGIC):
        return None
    kept, at = [PNG_MAGIC], len(PNG_MAGIC)
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in _PNG_CHUNKS:
            kept.append(data[at:end])
        at = end
    bare = b"".join(kept)
    return bare if len(bare) < len(data) else None


def with_end(data: bytes) -> bytes | None:
    """A JPEG with a mark of its end, so that a decoder fills what is missing with grey. None for other data."""
    return data + b"\xff\xd9" if data.startswith(JPEG_MAGIC) else None


def missing_share(pixels: NDArray[np.uint8]) -> float:
    """The share of a picture (height, width, 3) that a decoder filled, 0..1. It may lie at any side of a turned one."""
    filled = (pixels == _FILLING).all(2)
    lines = [filled.all(1), filled.all(1)[::-1], filled.all(0), filled.all(0)[::-1]]
    return max(float(np.logical_and.accumulate(line).mean()) for line in lines)
