"""Where results go and in which form: JSON, CSV or a table, on stdout or in a file that is written whole."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, cast

import typer

from facedex.errors import DataError, FacedexError
from facedex.files import replacing

Result = ParamSpec("Result")

_FORMS = {".json": "json", ".jsonl": "json", ".csv": "csv"}  # by the suffix of the file


def output_form(as_json: bool, as_csv: bool | None, output: Path | None = None) -> str:
    """Return "json", "csv" or "table", as the options say, else as the suffix of the file says.

    `as_csv` is None for a command without CSV. Raises BadParameter for two forms at once, and for CSV where there is
    none.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other; choose one")
    if as_json or as_csv:
        return "json" if as_json else "csv"
    form = _FORMS.get(output.suffix.lower(), "table") if output else "table"
    if form == "csv" and as_csv is None:
        raise typer.BadParameter(f"this command writes no CSV; {output} may end in .json, or in .txt for a table")
    return form


@contextmanager
def results_to(output: Path | None) -> Iterator[None]:
    """Inside, what is printed on stdout goes to a file, which is written in the end, whole or not at all.

    Nothing is written after an error or Ctrl-C; the exit code of a command is no error. Without a file nothing changes.
    Results wait on disk, because those of a whole library would fill the memory.
    Raises DataError for a file that cannot be written, at once where that is known already.
    """
    if output is None:
        yield
        return
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise DataError(f"{output} cannot be written; name a file in a folder that is there and may be written to")
    ended: typer.Exit | None = None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace", newline="") as text:
        with redirect_stdout(text):
            try:
                yield
            except typer.Exit as end:
                ended = end
        text.seek(0)
        _write(output, cast(BinaryIO, text.buffer))
    if ended is not None:
        raise ended


def _write(output: Path, results: BinaryIO) -> None:
    """Raises DataError."""
    try:
        with replacing(output) as file:
            shutil.copyfileobj(results, file)
    except OSError as error:
        raise DataError(f"{output} cannot be written ({error.strerror}); make room, or name another file") from None


def make_picture_folder(folder: Path) -> None:
    """Make the folder for pictures before the first photo is read. Raises FacedexError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FacedexError(f"{folder} cannot be written ({error.strerror}); name another folder") from None


class ResultPrinter:
    """Prints results one by one as JSON or CSV, each as soon as it is known. A table is printed by the command."""

    def __init__(self, form: str, columns: Sequence[str] = ()) -> None:
        """`form`: see `output_form`. `columns`: the header of the CSV, printed now. Some commands have none."""
        from facedex import results

        self._results, self._form, self._columns = results, form, columns
        if form == "csv":
            results.write_csv(sys.stdout, columns)

    def print(
        self,
        to_json: Callable[Result, dict[str, Any]],
        to_rows: Callable[Result, list[dict[str, Any]]] | None,
        *result: Result.args,
        **more: Result.kwargs,
    ) -> bool:
        """Print one result as the form says; returns False for a table, of which nothing is printed here.

        `to_rows` is None where the CSV has one row a result, with the fields of the JSON.
        """
        if self._form == "json":
            print(self._results.json_line(to_json(*result, **more)), flush=True)
        elif self._form == "csv":
            rows = to_rows(*result, **more) if to_rows else [to_json(*result, **more)]
            self._results.write_csv(sys.stdout, self._columns, rows, header=False)
        return self._form != "table"
