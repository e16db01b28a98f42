"""Tells a file name that a camera, a telephone or a program gave from a person's name."""

from __future__ import annotations

import re

# Letters that stand beside the numbers in such names, in lower case.
_WORDS = """
am at bild burst capture cimg copy cover crop dcp dji dsc dscf dscn dscp edit edited fb file foto frame gopr hdr hpim
imag image img jpeg kimg kopie mg mov mvimg n night o p pano photo pic picture pm portrait psx pxl scan screen
screenshot sdc shot signal snapchat t telegram unnamed untitled wa whatsapp wp z
スクリーンショット 屏幕截图 微信图片 写真 图片
"""
_KNOWN = frozenset(_WORDS.split())
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def is_camera_name(stem: str) -> bool:
    """Whether a file's name without its suffix is a camera's: a number or a date, alone or beside known words.

    IMG_0001, P1010001, "WhatsApp Image 2024-01-31 at 10.11.12", 20240131_101112, 17 and a UUID are such names.
    """
    if _UUID.fullmatch(stem):
        return True
    tokens: list[str] = _TOKEN.findall(stem)
    numbers = [token for token in tokens if token.isdecimal()]
    words = {token.casefold() for token in tokens if not token.isdecimal()}
    least_digits = 6 if words and all(len(word) == 1 for word in words) else 1  # p1 may be a person's number
    return words <= _KNOWN and max(map(len, numbers), default=0) >= least_digits
