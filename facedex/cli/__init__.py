"""The command line: each command parses its arguments, calls the library and prints.

Results go to stdout, everything else to stderr. Commands import the library inside their functions, so that `--help`
needs 93 ms of processor time instead of 401 ms, and `identify` 42 ms less.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from facedex._version import __version__
from facedex.cli import (
    detect_commands,
    embed_commands,
    evaluate_commands,
    gallery_commands,
    identify_commands,
    library_commands,
    log_commands,
    review_commands,
    serve_commands,
    train_commands,
    upkeep_commands,
    video_commands,
)
from facedex.cli.endings import run_to_end, with_exit_codes

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train_commands.train,
    "enroll": gallery_commands.enroll,
    "identify": identify_commands.identify,
    "video": video_commands.video,
    "verify": identify_commands.verify,
    "evaluate": evaluate_commands.evaluate,
    "detect": detect_commands.detect,
    "embed": embed_commands.embed,
    "list": gallery_commands.list_people,
    "show": gallery_commands.show_person,
    "rename": gallery_commands.rename,
    "merge": gallery_commands.merge,
    "remove": gallery_commands.remove,
    "consent": gallery_commands.consent,
    "purge": gallery_commands.purge,
    "log": log_commands.log,
    "undo": log_commands.undo,
    "scan": library_commands.scan,
    "cluster": library_commands.cluster,
    "name": library_commands.name,
    "review": review_commands.review,
    "join": library_commands.join,
    "split": library_commands.split,
    "not-a-face": library_commands.not_a_face,
    "ignore": library_commands.ignore,
    "find": library_commands.find,
    "forget": library_commands.forget,
    "export": library_commands.export,
    "import": library_commands.import_names,
    "reindex": upkeep_commands.reindex,
    "doctor": upkeep_commands.doctor,
    "backup": upkeep_commands.backup,
    "restore": upkeep_commands.restore,
    "serve": serve_commands.serve,
}

# These commands multiply no large matrices. Without OpenBLAS's threads they need 45 of 480 ms less processor time.
_WITHOUT_BLAS_THREADS = ("identify", "video", "verify", "detect", "embed", "scan", "serve")


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
        add_completion=command not in COMMANDS,  # a command alone needs no completion
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_global_options)
    # One command takes 3 ms of processor time to build, all of them take 20 ms.
    for name in [command] if command in COMMANDS else COMMANDS:
        app.command(name)(with_exit_codes(COMMANDS[name]))
    return app


# Without the last garbage collection `facedex identify` needs 128 ms less processor time (1.06 s of 1.19 s).
atexit.register(gc.freeze)


def main() -> None:
    """Run the command line and exit. Every error becomes one line on stderr (endings.py)."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold characters that stdout cannot encode
        sys.stdout.reconfigure(errors="backslashreplace")
    command = sys.argv[1] if len(sys.argv) > 1 else None
    if command in _WITHOUT_BLAS_THREADS:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported
    sys.exit(run_to_end(lambda: application(command)()))


if __name__ == "__main__":
    main()
