"""The command line: each command parses its arguments, calls the library and prints.

Results go to stdout, everything else to stderr. Commands import the library inside their functions, so that `--help`
needs 93 ms of processor time instead of 401 ms, and `identify` 42 ms less.
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
from facedex.cli import (
    detect_commands,
    evaluate_commands,
    gallery_commands,
    identify_commands,
    train_commands,
    upkeep_commands,
)
from facedex.cli.console import say
from facedex.errors import FacedexError

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train_commands.train,
    "enroll": gallery_commands.enroll,
    "identify": identify_commands.identify,
    "verify": identify_commands.verify,
    "evaluate": evaluate_commands.evaluate,
    "detect": detect_commands.detect,
    "list": gallery_commands.list_people,
    "show": gallery_commands.show_person,
    "rename": gallery_commands.rename,
    "merge": gallery_commands.merge,
    "remove": gallery_commands.remove,
    "reindex": upkeep_commands.reindex,
    "doctor": upkeep_commands.doctor,
    "backup": upkeep_commands.backup,
    "restore": upkeep_commands.restore,
}

# These commands multiply no large matrices. Without OpenBLAS's threads they need 45 of 480 ms less processor time.
_WITHOUT_BLAS_THREADS = ("identify", "verify", "detect")


def _print_version(value: bool) -> None:
    if value:
        print(f"facedex {__version__}")
        raise typer.Exit


def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def application(command: str | None = None) -> typer.Typer:
    """The typer application with all commands, or only with `command` when one has this name."""
    app = typer.Typer(
        name="facedex",
        help="One-shot face recognition: enroll one photo of each person, then name the faces of new photos.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_global_options)
    # One command takes 3 ms of processor time to build, all fifteen take 20 ms.
    for name in [command] if command in COMMANDS else COMMANDS:
        app.command(name)(_with_ctrl_c_message(COMMANDS[name]))
    return app


def _with_ctrl_c_message(command: Callable[..., None]) -> Callable[..., None]:
    """A command that prints a line when Ctrl-C ends it. Typer would end it in silence."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            say("facedex: interrupted")
            raise typer.Exit(130) from None

    return run


# Without the last garbage collection `facedex identify` needs 128 ms less processor time (1.06 s of 1.19 s).
atexit.register(gc.freeze)


def main() -> None:
    """Run the command line. A FacedexError becomes one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold characters that stdout cannot encode
        sys.stdout.reconfigure(errors="backslashreplace")
    command = sys.argv[1] if len(sys.argv) > 1 else None
    if command in _WITHOUT_BLAS_THREADS:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported
    try:
        application(command)()
    except FacedexError as error:
        say(f"facedex: {error}", "red")
        sys.exit(2)


if __name__ == "__main__":
    main()
