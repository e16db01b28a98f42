"""How the scripts end where something cannot be used: one line on stderr, exit code 2; and lists of numbers."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facedex.errors import FacedexError


def run_script(main: Callable[[], object]) -> None:
    """Run a script's `main`; an error that facedex raises on purpose, or the system of a file, is its last word."""
    try:
        main()
    except FacedexError as error:
        last = str(error)
    except OSError as error:
        path = error.filename2 or error.filename  # of two names the one that was to be
        last = f"{path} cannot be used ({error.strerror}); check the path" if path else str(error)
    else:
        return
    print(f"{Path(sys.argv[0]).name}: {last}", file=sys.stderr)
    sys.exit(2)


def list_of(kind: type[int] | type[float], least: float, most: float = math.inf) -> Callable[[str], list[Any]]:
    """What argparse makes a list of: numbers of `least` to `most`, with commas between them."""

    def parse(text: str) -> list[Any]:
        try:
            found = [kind(part) for part in text.split(",")]
        except ValueError:
            found = []
        if not found or not all(least <= one <= most for one in found):
            what = "whole numbers" if kind is int else "numbers"
            limits = f"of {least:g} to {most:g}" if most < math.inf else f"from {least:g} on"
            raise ArgumentTypeError(f"{text!r} will not do; give {what} {limits} with commas between, as in 2,3,2")
        return found

    return parse
