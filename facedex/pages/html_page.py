"""The frame of the HTML pages that facedex writes: one file that fetches nothing and sends nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def html_page(title: str, sections: Sequence[str], style: str = "", head: str = "") -> bytes:
    """A whole page in UTF-8. `sections` and `head` are HTML already, `style` is CSS; the title is text.

    The page tells the browser to load nothing but pictures inside it. Colours of light and dark pages are variables in
    page.css.
    """
    css = resources.files("facedex.pages").joinpath("page.css").read_text("utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    text = (
        '<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f'<meta http-equiv=Content-Security-Policy content="{policy}">{head}'
        f"<title>{escape(title)}</title><style>{css}{style}</style>"
        "</head><body><main>" + "\n".join(sections) + "</main></body></html>\n"
    )
    return text.encode("utf-8", "backslashreplace")


def jpeg_uri(image: Image.Image, quality: int = 88) -> str:
    """A picture as a data URI of a JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
