"""The tables that identify, video, detect, list and show print in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table
from rich.text import Text

from facedex.photos.sources import UNKNOWN
from facedex.recognition.identification import Identification, IdentifiedPhoto
from facedex.store.expiry import has_passed
from facedex.store.rows import PersonRecord
from facedex.wording import clock, to_minute, visible

if TYPE_CHECKING:
    from facedex.gallery.shown import ShownPerson
    from facedex.library.finding import FoundPhoto
    from facedex.library.groups import FaceGroup
    from facedex.store.changelog import Change
    from facedex.video.appearances import IdentifiedVideo


def identify_table(photos: Iterable[IdentifiedPhoto], top: int) -> Table:
    """The table of `identify`: a row a face; more candidates than the first in a column of their own."""
    table = Table(
        Column("photo", overflow="fold"),
        Column("face at", overflow="fold"),
        Column("person", overflow="fold"),
        Column("probability", justify="right", overflow="fold"),
    )
    if top > 1:
        table.add_column("next candidates", overflow="fold")
    for photo in photos:
        for number, face in enumerate(photo.faces):
            left, upper, width, height = (round(value) for value in face.face.box)
            cells = [
                _plain(photo.photo) if number == 0 else "",
                f"{left},{upper} {width}x{height}",
            ]
            table.add_row(*cells, *_name_cells(face, top))
    return table


def video_table(videos: Iterable[IdentifiedVideo], top: int) -> Table:
    """The table of `video`: a row an appearance."""
    table = Table(
        Column("video", overflow="fold"),
        Column("from", justify="right"),
        Column("to", justify="right"),
        Column("person", overflow="fold"),
        Column("probability", justify="right", overflow="fold"),
    )
    if top > 1:
        table.add_column("next candidates", overflow="fold")
    for video in videos:
        for number, one in enumerate(video.appearances):
            cells = [_plain(video.video) if number == 0 else "", clock(one.start), clock(one.end)]
            table.add_row(*cells, *_name_cells(one.face, top))
    return table


def detect_table(rows: Iterable[dict[str, Any]]) -> Table:
    """The table of `detect`, from its CSV rows."""
    table = Table(
        Column("photo", overflow="fold"),
        Column("face", justify="right"),
        "face at",
        Column("score", justify="right"),
        Column("quality", overflow="fold"),
    )
    for row in rows:
        table.add_row(
            _plain(row["photo"]) if row["face"] == 1 else "",
            str(row["face"]),
            f"{row['left']},{row['top']} {row['width']}x{row['height']}",
            f"{row['score']:.2f}",
            _plain(row["reason"] or "good"),
        )
    return table


def list_table(people: Iterable[PersonRecord]) -> Table:
    """The table of `list`: a row a person."""
    people = list(people)
    table = Table(Column("person", overflow="fold"), "photos", "enrolled (UTC)")
    with_consent = any(record.consents or record.expires for record in people)
    if with_consent:
        table.add_column("consent", overflow="fold")
        table.add_column("until")
    for record in people:
        cells: list[str | Text] = [_plain(record.name), str(record.photos), to_minute(record.enrolled)]
        if with_consent:
            cells += [_plain("; ".join(record.consents)), _last_day(record.expires)]
        table.add_row(*cells)
    return table


def show_table(person: ShownPerson) -> Table:
    """The table of `show`: a row a photo. The photo that resembles the others least is marked."""
    table = Table(
        Column("photo", overflow="fold"),
        "enrolled (UTC)",
        Column("like the others", justify="right"),
        Column("quality", justify="right"),
        title=_plain(person.name),
    )
    with_consent = any(one.consent or one.expires for one in person.photos)
    if with_consent:
        table.add_column("consent", overflow="fold")
        table.add_column("until")
    least = person.least_alike
    for one in person.photos:
        similarity = "-" if one.similarity is None else f"{one.similarity:.1%}"
        cells: list[str | Text] = [
            _plain(one.photo),
            to_minute(one.enrolled),
            f"least: {similarity}" if one is least else similarity,
            f"unclear: {one.quality:.1f}" if one.unclear else f"{one.quality:.1f}",
        ]
        if with_consent:
            cells += [_plain(one.consent), _last_day(one.expires)]
        table.add_row(*cells)
    return table


def cluster_table(groups: Iterable[FaceGroup]) -> Table:
    """The table of `cluster`: a row a group."""
    table = Table(
        Column("group", justify="right"),
        Column("faces", justify="right"),
        Column("photos", justify="right"),
        Column("resembles", overflow="fold"),
        Column("for example", overflow="fold"),
    )
    for group in groups:
        counts = (str(group.number), f"{group.faces:,}", f"{group.photos:,}")
        table.add_row(*counts, _plain(group.resembles or ""), Text("\n".join(map(visible, group.examples))))
    return table


def log_table(lines: Iterable[tuple[Change, Sequence[str]]]) -> Table:
    """The table of `log`: a row a change, with at most two of its photos."""
    from facedex.store.changelog import KINDS

    table = Table(
        "time (UTC)",
        Column("change", overflow="fold"),
        Column("person", overflow="fold"),
        Column("photos", justify="right"),
        Column("faces", justify="right"),
        Column("from", overflow="fold"),
        Column("account", overflow="fold"),
    )
    for change, photos in lines:
        more = [f"and {len(photos) - 2:,} more"] if len(photos) > 2 else []
        origin = [*filter(None, [change.detail]), *photos[:2], *more]
        counts = (f"{change.photos:,}" if change.photos else "", f"{change.faces:,}" if change.faces else "")
        time, kind = to_minute(change.made), KINDS.get(change.kind, change.kind)
        table.add_row(
            time,
            _plain(kind),
            _plain(change.whom),
            *counts,
            Text("\n".join(map(visible, origin))),
            _plain(change.account or ""),
        )
    return table


def find_table(photos: Iterable[FoundPhoto]) -> Table:
    """The table of `find`: a row a photo."""
    photos = list(photos)
    headings = (
        Column("photo", overflow="fold"),
        Column("face at", overflow="fold"),
        Column("quality"),
        Column("named by"),
    )
    table = Table(*headings)
    if any(found.taken for found in photos):
        table.add_column("taken", overflow="fold")
    for found in photos:
        places = (tuple(map(round, box)) for box in found.boxes)
        at = "; ".join(f"{left},{top} {width}x{height}" for left, top, width, height in places)
        taken = [f"{found.taken:%Y-%m-%d %H:%M} ({found.taken_from})"] if found.taken else []
        by = "; ".join("you" if one is None else f"recognition, {one:.1%}" for one in found.probabilities)
        table.add_row(_plain(found.photo), at, f"{found.quality:.1f}", by, *taken)
    return table


def _name_cells(face: Identification, top: int) -> list[str | Text]:
    """The person, the probability, and with several candidates the others."""
    probability = "named" if face.confirmed else f"{face.probability:.1%}" if face.candidates else "-"
    cells: list[str | Text] = [_person(face), probability]
    if top > 1:
        others = face.candidates[1:] if face.name else face.candidates
        cells.append(_plain(", ".join(f"{other.name} {other.probability:.1%}" for other in others)))
    return cells


def _person(face: Identification) -> Text:
    """The name of a face with the warning about it, or "unknown" with the reason."""
    if face.name:
        return _plain(f"{face.name} ({face.warning})" if face.warning else face.name)
    return Text(visible(f"{UNKNOWN} ({face.reason})") if face.reason else UNKNOWN, "dim")


def _last_day(day: str) -> str:
    """The last day of a consent, with a word where it is over."""
    return f"{day} (expired)" if has_passed(day) else day


def _plain(text: str) -> Text:
    """Text without markup, and with escapes in place of characters that command the terminal."""
    return Text(visible(text))
