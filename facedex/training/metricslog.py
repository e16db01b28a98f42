"""A run's metrics: a CSV row a validation, and a plot of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

COLUMNS = ["step", "seconds", "side", "loss", "accuracy", "tar_at_1e-3", "cosine_tar_at_1e-3", "auc", "score"]


def append_metrics(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow({key: round(v, 6) if isinstance(v, float) else v for key, v in row.items()})


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a run's metrics file."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def trim_metrics(path: Path, step: int) -> None:
    """Drop rows of steps that a killed run had taken but not saved: they will be taken again."""
    if not path.exists():
        return
    lines = path.read_text("utf-8").splitlines(keepends=True)
    kept = [line for i, line in enumerate(lines) if i == 0 or int(line.split(",")[0]) <= step]
    if step == 0:
        path.unlink()
    elif kept != lines:
        path.write_text("".join(kept), "utf-8")


def plot_metrics(path: Path, picture: Path) -> None:
    """Loss and validation over the steps as a PNG; nothing without matplotlib or rows."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    if not path.exists() or not (rows := read_metrics(path)):
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
    figure.savefig(picture, dpi=120)
