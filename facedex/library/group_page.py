"""One HTML page of the groups of a scanned library, with pictures cut out of the photos. It lies in one file.

The pictures are inside the page, so that it can be kept, moved and deleted as one. It shows faces, so its file is
readable by the user alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from facedex import threads
from facedex._version import __version__
from facedex.decision.clustering import RATE, Cut
from facedex.decision.doubts import chance, fits
from facedex.errors import DataError
from facedex.files import replace_file
from facedex.gallery.gallery import Gallery
from facedex.library.cropped_faces import PlacedFace, face_pictures
from facedex.library.groups import FaceGroup, stored_groups
from facedex.pages.html_page import html_page, jpeg_uri
from facedex.store.library_rows import ScannedFaces
from facedex.wording import counted, visible

GROUPS = 500  # the largest groups get a place on the page: more pictures than that of them nobody looks at
WEAK = 0.8  # a face is marked where it belongs to the rest of its group with less than this probability

_FACES = 12  # pictures of a group
_SIDE = 96  # pixels of a picture
_QUALITY = 75  # of the JPEGs: 3 KB each

_NOTE = (
    '<footer><p><b>What to do.</b> <code>facedex name 12 "Ada Lovelace"</code> names group 12. <code>facedex join 3 '
    "5</code> puts two groups of one person together, <code>facedex split 12 PHOTO</code> takes somebody else out, "
    "<code>facedex not-a-face 12 PHOTO</code> leaves out what is no face. <code>facedex review</code> asks about the "
    "rest. A dashed frame marks a face that hardly resembles its group.</p>"
    "<p><b>Private.</b> This page shows faces of real people. It loads nothing and sends nothing. Share it only where "
    "you may share the photos.</p></footer>"
)


@dataclass(frozen=True)
class _Shown:
    """A face on the page: where it is, and whether it hardly resembles its group."""

    place: PlacedFace
    weak: bool


def write_group_page(gallery: Gallery, folder: Path, rate: float = RATE) -> Path:
    """Write `folder`/groups.html, readable by the user alone; returns its path.

    It shows the groups that `cluster` stored, the largest GROUPS of them, each with up to 12 faces: those that hardly
    resemble their group first, then the clearest. Ignored groups are left out. `rate`: that of `cluster`. A face whose
    photo is gone has an empty frame. Raises DataError when the page cannot be written, GalleryDamaged.
    """
    path = folder / "groups.html"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # before the photos are read
        groups = [group for group in stored_groups(gallery) if not group.ignored]
        faces = gallery.library.faces()
        shown = _shown_faces(gallery, faces, groups[:GROUPS], rate)
        pictures = _pictures(one.place for several in shown.values() for one in several)
        sections = [_section(group, shown[group.number], pictures) for group in groups[:GROUPS]]
        page = html_page(
            f"{gallery.folder.name} · facedex groups",
            [_header(gallery, groups), f"<div class=groups>{''.join(sections)}</div>", _NOTE],
            "main { max-width: 2200px; }",
        )
        replace_file(path, page, private=True)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); name another folder by --report") from None
    return path


def weak_rows(gallery: Gallery, faces: ScannedFaces, rate: float = RATE) -> set[int]:
    """The rows of faces that hardly resemble the rest of their group."""
    rows = np.flatnonzero((faces.people == 0) & (faces.groups > 0))
    if not len(rows):
        return set()
    groups = faces.groups[rows]
    cut = Cut.for_people(gallery.calibration, len(np.unique(groups)), rate)
    z = gallery.head.project(faces.vectors[rows])
    probability = chance(gallery.calibration, fits(z, gallery.head.beta, cut, groups))
    return set(rows[probability < WEAK].tolist())


def _shown_faces(
    gallery: Gallery, faces: ScannedFaces, groups: Sequence[FaceGroup], rate: float
) -> dict[int, list[_Shown]]:
    """The faces of each group (number) that the page shows."""
    weak, rows_of = weak_rows(gallery, faces, rate), defaultdict[int, list[int]](list)
    for row in np.argsort(-faces.quality, kind="stable").tolist():
        if not faces.people[row]:
            rows_of[int(faces.groups[row])].append(row)
    rows = {group.number: sorted(rows_of[group.number], key=lambda row: row not in weak)[:_FACES] for group in groups}
    sources = gallery.library.sources(int(faces.photos[row]) for mine in rows.values() for row in mine)

    def place(row: int) -> PlacedFace:
        found = tuple(sources.get(int(faces.photos[row]), ()))
        return PlacedFace(int(faces.ids[row]), found, faces.digests[row], faces.box(row))

    return {number: [_Shown(place(row), row in weak) for row in mine] for number, mine in rows.items()}


def _pictures(places: Iterable[PlacedFace]) -> dict[int, str]:
    """The pictures of scanned faces by id, as data URIs. Each photo is read once."""
    of_photo: dict[str, list[PlacedFace]] = defaultdict(list)
    for place in places:
        of_photo[place.digest].append(place)

    def cut(mine: list[PlacedFace]) -> list[tuple[int, str]]:
        found = zip(mine, face_pictures(mine, _SIDE), strict=True)
        return [(place.face, jpeg_uri(picture.image, _QUALITY)) for place, picture in found if picture is not None]

    with ThreadPoolExecutor(threads.workers()) as pool:
        return dict(pair for pairs in pool.map(cut, of_photo.values()) for pair in pairs)


def _header(gallery: Gallery, groups: Sequence[FaceGroup]) -> str:
    faces = sum(group.faces for group in groups)
    rest = len(groups) - GROUPS
    left = f" The {counted(rest, 'smallest group')} are not shown." if rest > 0 else ""
    return (
        f"<header><p class=eyebrow>facedex {__version__} · groups</p><h1>{escape(visible(gallery.folder.name))}</h1>"
        f"<p class=lede>{counted(faces, 'face')} without a name in {counted(len(groups), 'group')}.{left}</p></header>"
    )


def _section(group: FaceGroup, shown: Sequence[_Shown], pictures: dict[int, str]) -> str:
    facts = [counted(group.faces, "face"), counted(group.photos, "photo")]
    more = group.faces - len(shown)
    note = f"<p class=note>{more:,} more</p>" if more > 0 else ""
    whom = f"<p class=note>resembles <b>{escape(visible(group.resembles))}</b></p>" if group.resembles else ""
    crops = "".join(_crop(one, pictures.get(one.place.face)) for one in shown)
    return (
        f"<section class=card id=group-{group.number}><h2>{group.number} <small>{' · '.join(facts)}</small></h2>{whom}"
        f"<div class=crops>{crops}</div>{note}</section>"
    )


def _crop(one: _Shown, picture: str | None) -> str:
    if picture is None:
        inner = "<div class=gone></div>"
    else:
        inner = f'<img alt="" src="{picture}" loading=lazy width={_SIDE} height={_SIDE}>'
    title = escape(visible(one.place.path))
    return f'<div{" class=weak" if one.weak else ""} title="{title}">{inner}{"<p>weak</p>" if one.weak else ""}</div>'
