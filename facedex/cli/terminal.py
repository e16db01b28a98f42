"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from facedex.photos.sources import UNKNOWN
from facedex.recognition.identification import IdentifiedPhoto
from facedex.store.rows import PersonRecord

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def identified_table(photos: Iterable[IdentifiedPhoto], top: int) -> Table:
    """The table of `identify`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=False)
    for heading in ("photo", "face at", "person", "probability"):
        table.add_column(heading, justify="right" if heading == "probability" else "left", overflow="fold")
    if top > 1:
        table.add_column("next candidates", overflow="fold")
    for photo in photos:
        for number, one in enumerate(photo.faces):
            left, upper, width, height = (round(value) for value in one.face.box)
            cells: list[str | Text] = [
                _plain(photo.photo) if number == 0 else "",
                f"{left},{upper} {width}x{height}",
                _plain(one.name) if one.name else Text(f"{UNKNOWN} ({one.reason})" if one.reason else UNKNOWN, "dim"),
                f"{one.probability:.1%}" if one.candidates else "-",
            ]
            if top > 1:
                others = one.candidates[1:] if one.name else one.candidates
                cells.append(_plain(", ".join(f"{c.name} {c.probability:.1%}" for c in others)))
            table.add_row(*cells)
    return table


def detected_table(rows: list[dict[str, Any]]) -> Table:
    """The table of `detect`, of its CSV rows."""
    from rich.table import Column, Table

    number, score = Column("face", justify="right"), Column("score", justify="right")
    table = Table(Column("photo", overflow="fold"), number, "face at", score, Column("quality", overflow="fold"))
    for row in rows:
        table.add_row(
            _plain(row["photo"]) if row["face"] == 1 else "",
            str(row["face"]),
            f"{row['left']},{row['top']} {row['width']}x{row['height']}",
            f"{row['score']:.2f}",
            row["reason"] or "good",
        )
    return table


def people_table(people: list[PersonRecord]) -> Table:
    """The table of `list`."""
    from rich.table import Column, Table

    table = Table(Column("person", overflow="fold"), "photos", "enrolled (UTC)")
    for record in people:
        table.add_row(_plain(record.name), str(record.photos), record.enrolled.replace("T", " ")[:16])
    return table


def _plain(text: str) -> Text:
    """Text that rich prints as it is, without markup, and that no odd byte of a path can break."""
    from rich.text import Text

    return Text(text.encode("utf-8", "backslashreplace").decode())
