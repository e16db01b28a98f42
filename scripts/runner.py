"""End a script with one line on stderr and exit code 2 after an error; parse lists of numbers."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facedex.errors import FacedexError


def run_script(main: Callable[[], object]) -> None:
    """Run a script's `main`. A FacedexError or OSError ends it with one line on stderr and exit code 2."""
    try:
        main()
    except FacedexError as error:
        message = str(error)
    except OSError as error:
        path = error.filename2 or error.filename  # of a renaming, the new name
        message = f"{path} cannot be used ({error.strerror}); check the path" if path else str(error)
    else:
        return
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(2)


def list_of(kind: type[int] | type[float], least: float, most: float = math.inf) -> Callable[[str], list[Any]]:
    """Return an argparse type: a list of numbers from `least` to `most`, separated by commas."""

    def parse(text: str) -> list[Any]:
        try:
            numbers = [kind(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not numbers or not all(least <= number <= most for number in numbers):
            what = "whole numbers" if kind is int else "numbers"
            limits = f"of {least:g} to {most:g}" if most < math.inf else f"from {least:g} on"
            raise ArgumentTypeError(f"{text!r} will not do; give {what} {limits} with commas between, as in 2,3,2")
        return numbers

    return parse
