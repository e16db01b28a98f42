"""Opening a page in the user's browser."""

from __future__ import annotations

import os
import sys


def open_page(url: str) -> bool:
    """Open a page in a browser with windows; returns whether there is one."""
    import webbrowser

    return has_desktop() and webbrowser.open(url)


def has_desktop() -> bool:
    """Whether a browser with windows can be opened here. Over ssh it would open on the other machine, or as text."""
    if "SSH_CONNECTION" in os.environ:
        return "DISPLAY" in os.environ
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))
