"""What `train` shows while a network trains: a bar in a terminal, and a line for each validation."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Shows the events of a training run.

    `stage` is "preparing" before the first step, "stepping" during the steps, and "finishing" once the last step is
    taken and saved.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(
                "loss {task.fields[loss]:.3f} · accuracy {task.fields[accuracy]} · {task.fields[speed]:.0f} images/s"
            ),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.stage = "preparing"
        self._task = self.bar.add_task("train", total=None, loss=0.0, accuracy="-", speed=0.0)
        self._loss: float | None = None
        self._speed = 0.0
        self._steps = 0
        self._last_step = time.monotonic()

    def on_event(self, event: dict[str, Any]) -> None:
        """Show one event of `facedex.training.train.train`."""
        kind = event["event"]
        if kind in ("start", "saved"):
            self._steps = event.get("steps", self._steps)
            self.stage = "stepping" if event["step"] < self._steps else "finishing"
        if kind == "start":
            self._show_start(event)
        elif kind == "step":
            self._show_step(event)
        elif kind == "validation":
            self._show_validation(event)

    def _show_start(self, event: dict[str, Any]) -> None:
        self.bar.update(self._task, total=event["steps"], completed=event["step"])
        self._print(
            f"{event['photos']:,} photos of {event['people']:,} people, {event['steps']:,} steps on {event['device']}"
            f"{' in bf16' if event['bf16'] else ''}, from step {event['step']:,}"
        )

    def _show_step(self, event: dict[str, Any]) -> None:
        """Update the bar with the loss and the speed, both averaged over some twenty steps."""
        now = time.monotonic()
        speed = event["images"] / max(now - self._last_step, 1e-6)
        self._last_step = now
        self._speed = speed if not self._speed else 0.95 * self._speed + 0.05 * speed
        self._loss = event["loss"] if self._loss is None else 0.95 * self._loss + 0.05 * event["loss"]
        self.bar.update(self._task, completed=event["step"], loss=self._loss, speed=self._speed)

    def _show_validation(self, event: dict[str, Any]) -> None:
        self.bar.update(self._task, accuracy=f"{event['accuracy']:.1%}")
        self._print(
            f"step {event['step']:>6,}  {event['seconds'] / 60:6.1f} min  loss {event['loss']:.4f}  accuracy "
            f"{event['accuracy']:.2%}  TAR@FAR=1e-3 {event['tar_at_1e-3']:.2%} (cosine "
            f"{event['cosine_tar_at_1e-3']:.2%})  AUC {event['auc']:.4f}  {self._speed:.0f} images/s"
        )

    def _print(self, line: str) -> None:
        """Print a line above the bar. Its time does not count as a step's."""
        self.console.print(line, highlight=False, soft_wrap=True)
        self._last_step = time.monotonic()
