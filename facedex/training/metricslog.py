"""A run's metrics: a CSV row a validation, and a plot of them. Neither ever ends a run: what cannot be read or written
is left out.
"""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

from facedex.files import replace_file

COLUMNS = ["step", "seconds", "side", "loss", "accuracy", "tar_at_1e-3", "cosine_tar_at_1e-3", "auc", "score"]


def append_metrics(path: Path, row: dict[str, Any]) -> None:
    """Add a row, where there is room and leave to."""
    with suppress(OSError), open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not file.tell():
            writer.writeheader()
        writer.writerow({key: round(v, 6) if isinstance(v, float) else v for key, v in row.items()})


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a run's metrics file, without those that are damaged; none where it cannot be read."""
    try:
        return [row for _, row in _whole_lines(path.read_text("utf-8", "replace"))]
    except OSError:
        return []


def trim_metrics(path: Path, step: int) -> None:
    """Drop rows of steps that a killed run had taken but not saved, which will be taken again, and damaged ones."""
    with suppress(OSError):
        if step == 0:
            path.unlink()
            return
        text = path.read_text("utf-8", "replace")
        kept = [line for line, row in _whole_lines(text) if row["step"] <= step]
        replace_file(path, "\n".join([",".join(COLUMNS), *kept, ""]).encode())


def _whole_lines(text: str) -> list[tuple[str, dict[str, float]]]:
    found = []
    for line in text.split("\n")[1:-1]:  # what no line feed ends is cut short
        with suppress(ValueError):  # cut short, or zeros in its place, as a machine that lost its power may leave
            found.append((line, dict(zip(COLUMNS, map(float, line.split(",")), strict=True))))
    return found


def plot_metrics(path: Path, picture: Path) -> None:
    """Loss and validation over the steps as a PNG; nothing without matplotlib, rows or room."""
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
