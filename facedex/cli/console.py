"""What all commands share: the two streams, the options that mean the same everywhere, the progress bar.

rich is loaded only where something is shown with it: a table, a notice, a bar.
"""

from __future__ import annotations

import math
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facedex.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task
    from rich.text import Text

GalleryOption = Annotated[
    Path, typer.Option("--gallery", "-g", envvar="FACEDEX_GALLERY", help="Folder of the gallery.")
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model", "-m", envvar="FACEDEX_MODEL", help="Model file; else the gallery's own, else the shipped one."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Comma-separated values.")]
DeviceOption = Annotated[str, typer.Option(help="cpu; cuda or mps with the extra train.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
INDEX = Path("index")


@cache
def err() -> Console:
    """The console on stderr; one for all, so that notices and a bar do not overwrite each other."""
    from rich.console import Console

    return Console(stderr=True, emoji=False)


def a_number(value: float | None) -> float | None:
    """Refuse NaN and infinity: the first lies in no range, and not every typer refuses it by itself."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number")
    return value


def numbers(text: str, option: str) -> list[float]:
    """One number, or three with commas. Raises DataError."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, 3):
        raise DataError(f"{option} is one number, or three with commas for R,G,B; not {text!r}")
    return found


def landmarks(text: str, option: str) -> list[tuple[float, float]]:
    """Five points of ten numbers with commas. Raises DataError."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != 10:
        raise DataError(f"{option} is ten numbers with commas: X,Y of eyes, nose and mouth's corners; not {text!r}")
    return list(zip(found[::2], found[1::2], strict=True))


def one_format(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other; choose one")


def show(table: object) -> None:
    """A rich table on stdout, wide enough to be grepped when it goes to a file."""
    from rich.console import Console

    console = Console(emoji=False)  # a file may well be called :smile:.jpg
    if not console.is_terminal:
        console = Console(emoji=False, width=160)
    console.print(table)


def say(text: str, style: str | None = None) -> None:
    """A notice on stderr, as it is and on one line however long."""
    err().print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def ask(question: str) -> bool:
    """A question on stderr, so that stdout stays a program's to read; no answer is a no."""
    err().print(f"{question} [y/N] ", end="", highlight=False, markup=False, soft_wrap=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class NoBar:
    """Stands for a bar where none is shown."""

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def add_task(self, description: str, **facts: Any) -> Any:
        return None

    def advance(self, task: Any, advance: float = 1) -> None:
        pass

    def update(self, task: Any, **facts: Any) -> None:
        pass


def progress_bar(total: int | None) -> Progress | NoBar:
    """A bar on stderr with speed and time left; nothing where stderr is no terminal or there is no total."""
    if total is None or not sys.stderr.isatty():
        return NoBar()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Speed(TextColumn):
        def render(self, task: Task) -> Text:
            from rich.text import Text

            return Text(f"{task.speed:.1f} images/s" if task.speed else "")

    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(""), TimeRemainingColumn(),
        console=err(), disable=not err().is_terminal, transient=True,
    )  # fmt: skip
