"""Pictures in a terminal: kitty's graphics protocol, iTerm2's inline images, or sixels, whichever it can show.

A terminal that can show none gets none of their codes, since it would print them as text.
"""

from __future__ import annotations

import base64
import io
import os
import re
import select
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from facedex.cli.sixel import sixels

if TYPE_CHECKING:
    from PIL import Image

Show = Callable[["Image.Image"], str]  # the text that shows a picture

_PATIENCE = 0.4  # seconds that a terminal has to answer: those far away over ssh need a quarter of a second
_CHUNK = 4096  # characters in one command of kitty's protocol, at most
_CELL = 8, 16  # pixels of a character, where the terminal does not say
_SIXELS = "4"  # among the features in an answer to DA1
_ANSWER = re.compile(rb"\x1b\[\?([\d;]*)c")


def picture_protocol() -> str | None:
    """How the terminal at stderr shows pictures: "kitty", "iterm2", "sixel", or None where it cannot, or is none."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None
    protocol = by_environment(os.environ)
    if protocol is None and sys.stdin.isatty() and _SIXELS in device_attributes(sys.stdin.fileno()):
        protocol = "sixel"
    return protocol


def by_environment(environment: Mapping[str, str]) -> str | None:
    """The protocol that variables of the environment tell of.

    None inside tmux and screen, which hand on only what they know themselves, and where nothing is said.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith(("tmux", "screen")):
        return None
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty" or "KITTY_WINDOW_ID" in environment:
        return "kitty"
    # ssh hands on variables whose names begin with LC_.
    if program in ("iTerm.app", "WezTerm", "mintty") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return None


def device_attributes(terminal: int) -> list[str]:
    """The features in a terminal's answer to DA1, which every terminal knows (ECMA-48, 8.3.24).

    `terminal`: its file descriptor. Empty where no answer comes in time.
    """
    try:
        import termios
        import tty
    except ImportError:  # Windows
        return []
    if not os.isatty(terminal):
        return []
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSAFLUSH)  # else the answer would be shown, and would wait for Enter
        os.write(terminal, b"\x1b[c")
        answer, until = b"", time.monotonic() + _PATIENCE
        while not (found := _ANSWER.search(answer)):
            if not select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0]:
                return []
            answer += os.read(terminal, 256)
        return found[1].decode().split(";")[1:]  # the first number is the kind of terminal
    except OSError:
        return []
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


def shower(protocol: str) -> Show:
    """The function that makes the text of a picture for a protocol of `picture_protocol`."""
    columns, width = _room()
    if protocol == "kitty":
        return lambda image: _kitty(image, columns)
    if protocol == "iterm2":
        return lambda image: _iterm2(image, columns)
    return lambda image: sixels(_at_most(image, width)) + "\n"


def _room() -> tuple[int, int]:
    """How wide a picture of two squares may be, in characters and in pixels: it leaves room for the question."""
    size, cell = shutil.get_terminal_size(), _CELL[0]
    columns = max(20, min(size.columns - 2, 96, 4 * (size.lines - 6)))  # a character is twice as high as it is wide
    try:
        import fcntl
        import struct
        import termios

        shape = fcntl.ioctl(sys.stderr.fileno(), termios.TIOCGWINSZ, bytes(8))
        _, wide, pixels, _ = struct.unpack("4H", shape)
        cell = pixels // wide if wide and pixels >= wide else cell
    except (ImportError, OSError, ValueError):  # Windows, or a stderr that is no file
        pass
    return columns, columns * cell


def _at_most(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    return image.resize((width, max(1, image.height * width // image.width)))


def _kitty(image: Image.Image, columns: int) -> str:
    """A PNG in pieces (https://sw.kovidgoyal.net/kitty/graphics-protocol). q=2: the terminal gives no answer."""
    data = _png(image)
    parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    heads = [f"a=T,f=100,q=2,c={columns},"] + [""] * (len(parts) - 1)
    return (
        "".join(
            f"\x1b_G{head}m={int(at < len(parts) - 1)};{part}\x1b\\"
            for at, (head, part) in enumerate(zip(heads, parts, strict=True))
        )
        + "\n"
    )


def _iterm2(image: Image.Image, columns: int) -> str:
    """A PNG (https://iterm2.com/documentation-images.html)."""
    return f"\x1b]1337;File=inline=1;width={columns};preserveAspectRatio=1:{_png(image)}\x07\n"


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
