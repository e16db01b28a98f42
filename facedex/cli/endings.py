"""How a run ends: the exit codes of errors, Ctrl-C, a stdout that takes no more, and faults of facedex itself."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from facedex._version import __version__
from facedex.cli.console import say
from facedex.errors import FacedexError

UNUSABLE, FAULT, INTERRUPTED, CLOSED = 2, 3, 130, 141  # 141 is what a shell reports after SIGPIPE

TRACEBACK = "FACEDEX_TRACEBACK"  # the environment variable that asks for the traceback of a fault


def with_exit_codes(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose interruptions have exit codes of their own. Typer would end them with 1, as answers are."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            say("facedex: interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except typer.Abort:
            say("facedex: nothing was changed")
            raise typer.Exit(UNUSABLE) from None
        except BrokenPipeError:
            _discard_stdout()
            raise typer.Exit(CLOSED) from None

    return run


def run_to_end(application: Callable[[], Any]) -> int:
    """Run the application and return the exit code. Every error becomes one line on stderr."""
    try:
        code = _run(application)
        if sys.stdout is not None:  # pythonw has none
            sys.stdout.flush()  # a full disk is noticed here, and not while Python ends
        return code
    except FacedexError as error:
        say(f"facedex: {error}", "red")
        return UNUSABLE
    except KeyboardInterrupt:  # while modules were imported
        say("facedex: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return CLOSED
    except OSError as error:
        return _after(f"{_subject_of(error)} ({error.strerror or error}); make room or check the permissions")
    except MemoryError:
        return _after("the memory is used up; give smaller photos, or fewer at once")
    except ImportError as error:
        return _after(f"a package that facedex needs cannot be imported ({error}); install facedex again")
    except Exception as error:
        _say_fault(error)
        return FAULT


def _run(application: Callable[[], Any]) -> int:
    """The exit code with which the application ends, which it tells by SystemExit."""
    try:
        application()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _after(message: str) -> int:
    """Print an error of the system; returns its exit code."""
    _shows_traceback()
    say(f"facedex: {message}", "red")
    try:
        sys.stdout.flush()
    except OSError:  # the results are still in the buffer
        _discard_stdout()
    return UNUSABLE


def _subject_of(error: OSError) -> str:
    """What an error of the system is about, as the beginning of a message."""
    if error.filename:
        return f"{os.fsdecode(error.filename)} cannot be read or written"
    return "stdout or a file cannot be written"  # errors of writing name no file


def _discard_stdout() -> None:
    """Let stdout lead nowhere, so that Python does not complain at its end about what is left in the buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _say_fault(error: Exception) -> None:
    """Say that facedex itself is at fault, and where to report it."""
    if _shows_traceback():
        how = "with the traceback above"
    else:
        how = f"with the traceback that {TRACEBACK}=1 shows"
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    say(
        f"facedex: a fault in facedex {__version__} itself ({what}); please report it {_where_to_report()} {how}", "red"
    )


def _shows_traceback() -> bool:
    """Print the traceback of the present error where the environment asks for it; returns whether it does."""
    if not os.environ.get(TRACEBACK):
        return False
    import traceback

    traceback.print_exc()
    return True


def _where_to_report() -> str:
    """The address for faults in the metadata of the installed package, as the project's owner has set it."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        entries = metadata("facedex").get_all("Project-URL") or []
    except PackageNotFoundError:  # it runs from a folder, and is not installed
        entries = []
    addresses = {label.strip().lower(): url.strip() for label, _, url in (entry.partition(",") for entry in entries)}
    for label in ("issues", "bug tracker", "repository", "source", "homepage"):
        if label in addresses:
            return f"at {addresses[label]}"
    return "to the people from whom you have facedex"
