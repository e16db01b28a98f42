"""Names of every script as letters in a picture, each letter in a font that has it."""

from __future__ import annotations

import hashlib
import io
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facedex.errors import DataError, FacedexError
from facedex.fonts.system_fonts import font_files, font_folders

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

FONT_FILE = Path(__file__).parent / "DejaVuSans.ttf"
FONT_SHA256 = "3fdf69cabf06049ea70a00b5919340e2ce1e6d02b0cc3c4b44fb6801bd1e0d22"

_NO_CHARACTER = "\uffff"  # Unicode assigns it to nothing, so every font shows its box for a missing letter
_PROBE_SIZE = 24  # pixels; a letter is compared with the box in this size

Colour = tuple[int, int, int]


class Lettering:
    """Measures and draws text. Every letter takes the first font that has it.

    `missing`: the letters measured so far that no font has. They are drawn as boxes.
    """

    def __init__(self, font: str | os.PathLike[str] | None = None, folders: Sequence[Path] | None = None) -> None:
        """`font`: a font file to prefer. `folders`: where to look for further fonts, by default those of the system.

        Raises DataError for a file that is no font, FacedexError when the packaged font is missing or altered.
        """
        self.missing: set[str] = set()
        named = []
        if font is not None:
            try:
                named = [_open_font(os.fspath(font))]
            except OSError as error:
                raise DataError(f"{font} is no font that can be read ({error}); name a .ttf or .otf file") from None
        self._fonts = [*named, packaged_font()]
        self._folders = font_folders() if folders is None else folders
        self._font_of: dict[str, int] = {}
        self._sized: dict[tuple[int, int], FreeTypeFont] = {}

    def width(self, text: str, size: int) -> float:
        """The width in pixels of one line of text in letters of `size` pixels."""
        return sum(self._in_size(font, size).getlength(part) for part, font in self._parts(text))

    def draw(
        self, draw: ImageDraw, left: float, middle: float, text: str, size: int, fill: Colour, edge: Colour
    ) -> None:
        """Draw one line of text from `left` on, its height centred on `middle`, with an edge of another colour."""
        ascent, descent = self._in_size(0, size).getmetrics()
        baseline = middle + (ascent - descent) / 2
        for part, number in self._parts(text):
            font = self._in_size(number, size)
            draw.text(
                (left, baseline),
                part,
                fill=fill,
                font=font,
                anchor="ls",
                stroke_width=max(1, size // 16),
                stroke_fill=edge,
            )
            left += font.getlength(part)

    def _in_size(self, font: int, size: int) -> FreeTypeFont:
        if (font, size) not in self._sized:
            self._sized[font, size] = self._fonts[font].font_variant(size=size)
        return self._sized[font, size]

    def _parts(self, text: str) -> list[tuple[str, int]]:
        """The text in parts, each with the number of its font.

        Marks and spaces stay with the letter before them, because a script is shaped as a whole.
        """
        parts: list[tuple[str, int]] = []
        for letter in text:
            if parts and self._fits(letter, parts[-1][1]):
                parts[-1] = parts[-1][0] + letter, parts[-1][1]
            else:
                parts.append((letter, self._find(letter)))
        return parts

    def _fits(self, letter: str, font: int) -> bool:
        """Whether a letter is drawn in the font of the letter before it."""
        return unicodedata.category(letter) in ("Mn", "Mc", "Me", "Cf", "Zs") or has_letter(self._fonts[font], letter)

    def _find(self, letter: str) -> int:
        """The number of the first font that has a letter, or of the first font of all where none has it."""
        if letter not in self._font_of:
            found = next((number for number, font in enumerate(self._fonts) if has_letter(font, letter)), None)
            if found is None and (font := self._search(letter)) is not None:
                found = len(self._fonts)
                self._fonts.append(font)
            if found is None:
                self.missing.add(letter)
            self._font_of[letter] = found or 0
        return self._font_of[letter]

    def _search(self, letter: str) -> FreeTypeFont | None:
        """The first of the machine's fonts that has a letter."""
        return next((font for font in _readable(self._folders) if has_letter(font, letter)), None)


def packaged_font() -> FreeTypeFont:
    """The font in this folder. Raises FacedexError for a missing or altered file."""
    from PIL import ImageFont

    try:
        data = FONT_FILE.read_bytes()
    except OSError:
        raise FacedexError(f"The font {FONT_FILE} is missing; install facedex again") from None
    if hashlib.sha256(data).hexdigest() != FONT_SHA256:
        raise FacedexError(f"{FONT_FILE} is not the font of this facedex; install facedex again")
    return ImageFont.truetype(io.BytesIO(data), _PROBE_SIZE)


def has_letter(font: FreeTypeFont, letter: str) -> bool:
    """Whether a font shows a letter otherwise than as its box for missing letters."""
    return _picture(font, letter) != _picture(font, _NO_CHARACTER)


def _picture(font: FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    """Size and pixels of a letter in the size in which the font was opened."""
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def _readable(folders: Sequence[Path]) -> Iterator[FreeTypeFont]:
    """The machine's fonts that can be opened: fonts of bitmaps in one size cannot."""
    for path in font_files(folders):
        try:
            yield _open_font(str(path))
        except OSError:
            continue


def _open_font(path: str) -> FreeTypeFont:
    """Open a font file. Raises OSError."""
    from PIL import ImageFont

    return ImageFont.truetype(path, _PROBE_SIZE)
