"""Progress bars on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from facedex.cli.console import is_quiet, stderr_console

if TYPE_CHECKING:
    from rich.progress import Progress, Task
    from rich.text import Text


class NoProgress:
    """Takes the place of a bar that is not shown. The import of rich's bars costs 10 ms of processor time."""

    def __enter__(self) -> NoProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def add_task(self, description: str, **fields: Any) -> Any:
        return None

    def advance(self, task: Any, advance: float = 1) -> None:
        pass

    def update(self, task: Any, **fields: Any) -> None:
        pass


def progress_bar(total: int | None, unit: str = "images") -> Progress | NoProgress:
    """A bar with speed, in `unit` a second, and time left.

    It is shown on a terminal, where the total is known and nobody wants quiet.
    """
    if total is None or is_quiet() or not sys.stderr.isatty():
        return NoProgress()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Speed(TextColumn):
        def render(self, task: Task) -> Text:
            from rich.text import Text

            return Text(f"{task.speed:.1f} {unit}/s" if task.speed else "")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(""),
        TimeRemainingColumn(),
        console=stderr_console(),
        disable=not stderr_console().is_terminal,
        transient=True,
    )


def photo_progress(photos: int) -> Progress | NoProgress:
    """A bar for a command that handles photos one by one; few photos are done before a bar could be read."""
    return progress_bar(photos if photos > 8 else None)


def add_counter(progress: Progress | NoProgress, description: str) -> Callable[[int, int | None], None]:
    """Add a task to a bar; returns the function that sets how many of how many are done."""
    task = progress.add_task(description, total=None)

    def set_count(done: int, total: int | None) -> None:
        progress.update(task, completed=done, total=total)

    return set_count
