"""How the scripts end where something cannot be used: one line on stderr, exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from facedex.errors import FacedexError


def told(main: Callable[[], object]) -> None:
    """Run a script's `main`; an error that facedex raises on purpose is its last word."""
    try:
        main()
    except FacedexError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
