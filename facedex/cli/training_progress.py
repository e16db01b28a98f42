"""What is shown while a network trains: a bar on a terminal, one line a validation everywhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """A progress bar on a terminal, one line a validation everywhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("training"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f} · accuracy {task.fields[accuracy]} · {task.fields[speed]:.0f} images/s"),
            TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.progress.add_task("train", total=None, loss=0.0, accuracy="-", speed=0.0)
        self._loss: float | None = None
        self._last = time.monotonic()
        self._speed = 0.0
        self._steps = 0
        self.stage = "preparing"  # then "stepping", and "finishing" once every step is taken and saved

    def on_event(self, event: dict) -> None:
        """Show one event of train.train."""
        if event["event"] in ("start", "saved"):
            self._steps = event.get("steps", self._steps)
            self.stage = "stepping" if event["step"] < self._steps else "finishing"
        if event["event"] == "start":
            self.progress.update(self.task, total=event["steps"], completed=event["step"])
            self.console.print(
                f"{event['photos']:,} photos of {event['people']:,} people, {event['steps']:,} steps on {event['device']}"
                f"{' in bf16' if event['bf16'] else ''}, from step {event['step']:,}",
                highlight=False,
                soft_wrap=True,
            )
            self._last = time.monotonic()
        elif event["event"] == "step":
            now = time.monotonic()
            speed = event["images"] / max(now - self._last, 1e-6)
            self._last = now
            self._speed = speed if not self._speed else 0.95 * self._speed + 0.05 * speed
            self._loss = event["loss"] if self._loss is None else 0.95 * self._loss + 0.05 * event["loss"]
            self.progress.update(self.task, completed=event["step"], loss=self._loss, speed=self._speed)
        elif event["event"] == "validation":
            self.progress.update(self.task, accuracy=f"{event['accuracy']:.1%}")
            self.console.print(
                f"step {event['step']:>6,}  {event['seconds'] / 60:6.1f} min  loss {event['loss']:.4f}  accuracy "
                f"{event['accuracy']:.2%}  TAR@FAR=1e-3 {event['tar_at_1e-3']:.2%} (cosine "
                f"{event['cosine_tar_at_1e-3']:.2%})  AUC {event['auc']:.4f}  "
                f"{self._speed:.0f} images/s",
                highlight=False,
                soft_wrap=True,
            )
            self._last = time.monotonic()
