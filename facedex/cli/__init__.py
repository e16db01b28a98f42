"""The command line: parse, call the library, render. Results go to stdout, everything else to stderr.

Imports that take time are inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from facedex._version import __version__
from facedex.cli import evaluation, identification, people, training, upkeep
from facedex.cli.console import err
from facedex.errors import FacedexError

app = typer.Typer(
    name="facedex",
    help="One-shot face recognition: one photo of each person you know, new photos to name.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        print(f"facedex {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


for command in (
    training.train,
    people.enroll,
    identification.identify,
    identification.verify,
    evaluation.evaluate,
    people.rename,
    people.merge,
    people.remove,
    upkeep.reindex,
    upkeep.doctor,
    upkeep.backup,
    upkeep.restore,
):
    app.command()(command)
app.command("list")(people.list_people)


def main() -> None:
    """Run the command line; every FacedexError becomes one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # an odd byte in a path, or a narrow code page, is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except FacedexError as error:
        err.print(f"facedex: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("facedex: interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
