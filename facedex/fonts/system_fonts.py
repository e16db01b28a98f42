"""The font files of this machine, in the folders where Linux, macOS and Windows keep them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
# A regular upright font is read best. macOS's LastResort has a box for every letter and says nothing.
_LATER = ("bold", "italic", "oblique", "light", "thin", "black", "mono", "condensed", "narrow")
_NEVER = ("lastresort", "adobeblank", "emoji")


def font_folders() -> list[Path]:
    """The usual folders of fonts, the system's before the user's; some may not exist."""
    home = Path(os.path.expanduser("~"))
    if os.name == "nt":
        return [
            Path(os.environ.get("WINDIR", r"C:\Windows"), "Fonts"),
            Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"), "Microsoft", "Windows", "Fonts"),
        ]
    return [
        Path("/System/Library/Fonts"),
        Path("/Library/Fonts"),
        home / "Library" / "Fonts",
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "fonts",
        home / ".fonts",
    ]


def font_files(folders: Iterable[Path]) -> list[Path]:
    """The font files in folders and below, regular upright ones first, in a stable order."""
    found = [
        Path(parent, name)
        for folder in folders
        for parent, _, names in os.walk(folder)
        for name in sorted(names)
        if name.lower().endswith(_SUFFIXES) and not any(part in name.lower() for part in _NEVER)
    ]
    return sorted(found, key=lambda path: (any(part in path.name.lower() for part in _LATER), path.name.lower()))
