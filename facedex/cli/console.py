"""Talk to the user: tables on stdout, notices and questions on stderr."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@cache
def stderr_console() -> Console:
    """The only console on stderr. Notices and progress bars share it, so that they do not overwrite each other."""
    from rich.console import Console

    return Console(stderr=True, emoji=False)


def show(table: Table) -> None:
    """Print a table on stdout. In a file it is 160 columns wide, so that grep finds what a narrow one would fold."""
    from rich.console import Console

    console = Console(emoji=False)  # without emoji: a file may be called :smile:.jpg
    if not console.is_terminal:
        console = Console(emoji=False, width=160)
    console.print(table)


def say(text: str, style: str | None = None) -> None:
    """Print a notice on stderr, without markup and never folded."""
    stderr_console().print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def say_problems(photo: str, remark: str | None, error: str | None) -> bool:
    """Print what a user should know of a photo; returns whether it was skipped."""
    if remark:
        say(f"{photo}: {remark}")
    if error:
        say(f"skipped: {error}")
    return error is not None


def ask(question: str) -> bool:
    """Ask a question on stderr, because stdout belongs to results. Anything but yes is no, the end of input too."""
    stderr_console().print(f"{question} [y/N] ", end="", highlight=False, markup=False, soft_wrap=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
