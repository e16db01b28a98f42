"""The command that asks about groups and names that are unsure: review."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.browser import has_desktop, open_page
from facedex.cli.console import note, say
from facedex.cli.options import DEFAULT_GALLERY, GalleryOption, QuietOption, rate_option
from facedex.errors import DataError, FacedexError, GalleryError
from facedex.wording import counted, tally, visible

if TYPE_CHECKING:
    from facedex.library.cropped_faces import FacePicture
    from facedex.library.review import Question, Review

    Pair = tuple[FacePicture | None, FacePicture | None]

_SIDE = 480  # pixels of a picture
_GAP = 16
_PAGE, _RELOAD_SECONDS = "review.html", 1
_KEYS = "y yes, n no, s skip, u undo the last answer, q quit"
_MEANINGS = {"y": "yes", "n": "no", "s": "skipped", "q": "quit", "u": "undo", "\x1b": "quit"}


def review(
    gallery: GalleryOption = DEFAULT_GALLERY,
    page: Annotated[bool, typer.Option("--page", help="Show the pictures on a page in the browser.")] = False,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Show paths and no pictures.")] = False,
    rate: Annotated[
        float, rate_option("Share of faces of people with no other photo that may join a wrong group.")
    ] = 0.05,
    quiet: QuietOption = False,
) -> None:
    """Ask whether two faces show one person, where that is unsure, the most useful question first.

    A question is about two groups of `cluster`, about a group and a person, or about a named face that hardly fits. No
    answer is asked for twice. Pictures appear in terminals that can show them, else in the browser of this machine.
    """
    import shutil
    import tempfile

    from facedex.gallery.gallery import Gallery
    from facedex.library.review import Review

    if page and no_pictures:
        raise typer.BadParameter("give --page or --no-pictures, not both")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise FacedexError("review asks questions, so it needs a terminal; run it in one, and without a pipe")
    with Gallery(gallery) as opened:
        session = Review(opened, rate)
        asked = len(session)
        if not asked:
            note("nothing is unsure; `facedex cluster` groups new faces, and `facedex name` names groups")
            return
        note(f"{counted(asked, 'question')}, the most useful first: {_KEYS}")
        folder = Path(tempfile.mkdtemp(prefix="facedex-"))  # readable by the user alone
        try:
            _ask_all(session, _display(page, no_pictures, folder))
        finally:
            _end_page(folder / _PAGE)
            shutil.rmtree(folder, ignore_errors=True)


def _ask_all(session: Review, display: Callable[[Question, Pair], None]) -> None:
    from facedex.library.cropped_faces import face_picture

    answers: list[str] = []
    while (question := session.question()) is not None:
        pictures = face_picture(question.one, _SIDE), face_picture(question.other, _SIDE)
        display(question, pictures)
        answer = _answer(f"{_words(question)} [y/n/s/u/q] ")
        if answer == "quit":
            break
        try:
            if answer != "undo":
                session.answer(question, {"yes": True, "no": False}.get(answer))
                answers.append(answer)
            elif session.undo() is None:
                say("no answer of this review is left to undo")
            else:
                note(f"undone: {answers.pop()}")
        except (DataError, GalleryError) as error:  # somebody else changes the gallery at the same time
            say(f"{error}")
    else:
        note("no question is left")
    note(tally(Counter(answers), ("yes", "no", "skipped")) or "no question was answered")


def _answer(question: str) -> str:
    """Ask until one of the keys is pressed, and say what it means. Raises KeyboardInterrupt."""
    while True:
        say(question, end="")
        try:
            key = typer.getchar()
        except EOFError:  # Ctrl-D
            key = "q"
        meaning = _MEANINGS.get(key[:1].lower() if key[:1] != "\x1b" or len(key) == 1 else "")
        say(meaning or "")
        if meaning:
            return meaning
        note(_KEYS)


def _words(question: Question) -> str:
    """The question in words."""
    faces = counted(question.faces, "face")
    if question.person is None:
        what = f"Do groups {question.group} and {question.other_group} show one person? {faces}"
    elif question.group:
        what = f"Does group {question.group} show {question.person}? {faces}"
    else:
        what = f"Is this face {question.person}?"
    return f"{what}, {question.probability:.0%} likely"


def _display(page: bool, no_pictures: bool, folder: Path) -> Callable[[Question, Pair], None]:
    """The way in which a question's faces are shown here."""
    from facedex.cli.terminal_pictures import picture_protocol, shower

    protocol = None if page or no_pictures else picture_protocol()
    if protocol is not None:
        show = shower(protocol)
        return lambda question, pictures: _show_in_terminal(question, pictures, show)
    if page or (not no_pictures and has_desktop()):
        path = folder / _PAGE
        opened: list[bool] = []
        return lambda question, pictures: _show_page(question, pictures, path, opened)
    return _show_paths


def _show_in_terminal(question: Question, pictures: Pair, show: Callable[..., str]) -> None:
    from PIL import Image

    found = [picture.image for picture in pictures if picture is not None]
    if found:
        side = max(image.width for image in found)
        both = Image.new("RGB", (2 * side + _GAP, side), (128, 128, 128))
        for at, picture in enumerate(pictures):
            if picture is not None:  # the smaller face is enlarged, so that both are as easy to see
                both.paste(picture.image.resize((side, side)), (at * (side + _GAP), 0))
        sys.stderr.write(show(both))
        sys.stderr.flush()
    _show_paths(question, pictures)


def _show_paths(question: Question, pictures: Pair) -> None:
    for side, place, picture in zip(("left", "right"), (question.one, question.other), pictures, strict=True):
        say(f"{side + ':':<7}{_described(place.path, picture)}")


def _described(path: str, picture: FacePicture | None) -> str:
    """A photo's path and date."""
    if picture is None:
        return f"{path} (the photo is not there any more, or another one is)"
    return f"{picture.path} ({picture.taken:%Y-%m-%d})" if picture.taken else picture.path


def _show_page(question: Question, pictures: Pair, path: Path, opened: list[bool]) -> None:
    """Write the page, which loads itself again every second, and open it the first time."""
    from facedex.files import replace_file
    from facedex.pages.html_page import html_page, jpeg_uri

    sides = zip((question.one, question.other), pictures, strict=True)
    figures = "".join(
        "<figure class=card>"
        + (f'<img class=plot alt="" src="{jpeg_uri(picture.image)}">' if picture else "<div class=gone></div>")
        + f"<figcaption>{escape(visible(_described(place.path, picture)))}</figcaption></figure>"
        for place, picture in sides
    )
    title = f"<h1>{escape(visible(_words(question)))}</h1><p class=lede>Answer in the terminal: {_KEYS}.</p>"
    again = f"<meta http-equiv=refresh content={_RELOAD_SECONDS}>"
    page = html_page("facedex review", [title, f"<div class=grid>{figures}</div>"], head=again)
    replace_file(path, page, private=True)
    if not opened:
        opened.append(open_page(path.as_uri()))
        say(f"the pictures are on the page {path}" + ("" if opened[0] else "; open it in a browser"))
    _show_paths(question, pictures)


def _end_page(path: Path) -> None:
    """Let a browser that shows the page see that the review is over, before the page is deleted."""
    from facedex.pages.html_page import html_page

    if path.exists():
        path.write_bytes(html_page("facedex review", ["<h1>The review is over.</h1>"]))
        time.sleep(1.5 * _RELOAD_SECONDS)
