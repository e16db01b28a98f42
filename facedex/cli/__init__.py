"""The command line: parse, call the library, render. Results go to stdout, everything else to stderr.

Imports that take time are inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import atexit
import functools
import gc
import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from facedex._version import __version__
from facedex.cli import detection, evaluation, identification, people, training, upkeep
from facedex.cli.console import err
from facedex.errors import FacedexError

COMMANDS: dict[str, Callable[..., None]] = {
    "train": training.train,
    "enroll": people.enroll,
    "identify": identification.identify,
    "verify": identification.verify,
    "evaluate": evaluation.evaluate,
    "detect": detection.detect,
    "list": people.list_people,
    "rename": people.rename,
    "merge": people.merge,
    "remove": people.remove,
    "reindex": upkeep.reindex,
    "doctor": upkeep.doctor,
    "backup": upkeep.backup,
    "restore": upkeep.restore,
}

# These multiply nothing large. The threads that numpy's OpenBLAS starts would cost them 60 of 480 ms of processor time.
_OF_FEW_PHOTOS = ("identify", "verify", "detect")


def _version(value: bool) -> None:
    if value:
        print(f"facedex {__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def application(asked: str | None = None) -> typer.Typer:
    """All commands; where one of them is `asked` for by its name, only that: typer takes some time over each."""
    app = typer.Typer(
        name="facedex",
        help="One-shot face recognition: one photo of each person you know, new photos to name.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_main)
    for name in [asked] if asked in COMMANDS else COMMANDS:
        app.command(name)(_interruptible(COMMANDS[name]))
    return app


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which says so when Ctrl-C ends it: typer would end it without a word."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            err().print("facedex: interrupted")
            raise typer.Exit(130) from None

    return run


# To look through everything once more before the process ends takes longer than to find a face.
atexit.register(gc.freeze)


def main() -> None:
    """Run the command line; every FacedexError becomes one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # an odd byte in a path, or a narrow code page, is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    asked = sys.argv[1] if len(sys.argv) > 1 else None
    if asked in _OF_FEW_PHOTOS:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported
    try:
        application(asked)()
    except FacedexError as error:
        err().print(f"facedex: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
