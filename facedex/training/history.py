"""The history of a run: a CSV file with a row for each validation, and a plot of it.

No error here ends a run: rows that cannot be read or written are left out.
"""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

from facedex.files import replace_file

COLUMNS = [
    *("step", "seconds", "side", "loss", "accuracy"),
    *("tar_at_1e-3", "cosine_tar_at_1e-3", "cosine_tar_at_1e-4", "auc", "score"),
]


def append_metrics(path: Path, row: dict[str, Any]) -> None:
    """Add a row, if the file can be written."""
    with suppress(OSError), open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not file.tell():
            writer.writeheader()
        rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
        writer.writerow(rounded)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a history file, without damaged ones; none where the file cannot be read."""
    try:
        return [row for _, row in _whole_lines(path.read_text("utf-8", "replace"))]
    except OSError:
        return []


def trim_metrics(path: Path, step: int) -> None:
    """Drop damaged rows, and rows after `step`: a resumed run takes those steps again."""
    with suppress(OSError):
        if step == 0:
            path.unlink()
            return
        text = path.read_text("utf-8", "replace")
        kept = [line for line, row in _whole_lines(text) if row["step"] <= step]
        replace_file(path, "\n".join([",".join(COLUMNS), *kept, ""]).encode())


def _whole_lines(text: str) -> list[tuple[str, dict[str, float]]]:
    """Every undamaged line with its row."""
    found = []
    for line in text.split("\n")[1:-1]:  # a last line without a line feed is incomplete
        with suppress(ValueError):  # a power failure can leave part of a line, or zeros
            found.append((line, dict(zip(COLUMNS, map(float, line.split(",")), strict=True))))
    return found


def plot_metrics(path: Path, picture: Path) -> None:
    """Draw loss and validation over the steps as a PNG file, if matplotlib is installed and there are rows."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    if not (rows := read_metrics(path)):
        return
    figure = Figure(figsize=(8, 4), layout="constrained")
    left = figure.add_subplot()
    right = left.twinx()
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["loss"] for row in rows], color="tab:red", label="loss")
    right.plot(steps, [row["accuracy"] for row in rows], color="tab:blue", label="accuracy")
    right.plot(steps, [row["tar_at_1e-3"] for row in rows], color="tab:green", label="TAR@FAR=1e-3")
    left.set(xlabel="step", ylabel="training loss")
    right.set(ylabel="validation, people never trained on", ylim=(0, 1))
    figure.legend(loc="upper center", ncols=3)
    with suppress(OSError):
        figure.savefig(picture, dpi=120)
