"""Talk to the user: tables on stdout, notices and questions on stderr."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

import typer

from facedex.wording import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_quiet = False


def set_quiet(value: bool) -> bool:
    """The callback of `--quiet`: from now on `note` prints nothing, and no progress is shown."""
    global _quiet
    _quiet = value
    return value


def is_quiet() -> bool:
    """Whether the user asked for results and errors alone."""
    return _quiet


@cache
def stderr_console() -> Console:
    """The only console on stderr. Notices and progress bars share it, so that they do not overwrite each other."""
    from rich.console import Console

    return Console(stderr=True, emoji=False)


def show(table: Table) -> None:
    """Print a table on stdout. In a file it is 160 columns wide, so that grep finds what a narrow one would fold."""
    from rich.console import Console

    class StdoutConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich would exit with 1, the code of an answer

    console = StdoutConsole(emoji=False)  # without emoji: a file may be called :smile:.jpg
    if not console.is_terminal:
        console = StdoutConsole(emoji=False, width=160)
    console.print(table)


def say(text: str, style: str | None = None, end: str = "\n") -> None:
    """Print a warning or an error on stderr, without markup and never folded.

    File names may hold codes that command the terminal. They are made visible.
    """
    stderr_console().print(visible(text), style=style, end=end, highlight=False, markup=False, soft_wrap=True)


def note(text: str) -> None:
    """Print what only informs, unless `--quiet` was given."""
    if not _quiet:
        say(text)


def say_problems(photo: str, remark: str | None, error: str | None) -> bool:
    """Print what a user should know of a photo; returns whether it was skipped."""
    if remark:
        say(f"{photo}: {remark}")
    if error:
        say(f"skipped: {error}")
    return error is not None


def ask(question: str) -> bool:
    """Ask a question on stderr, because stdout belongs to results. Anything but yes is no, the end of input too."""
    say(f"{question} [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def confirm(question: str, yes: bool = False) -> None:
    """Ask a question that `yes` (the option --yes) answers beforehand. Raises Abort for anything but yes."""
    if not yes and not ask(question):
        raise typer.Abort
