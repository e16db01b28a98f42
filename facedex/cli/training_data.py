"""Read the photos that `train` learns from, and report the photos it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.status import Status
from rich.text import Text

from facedex.cli.console import say, stderr_console
from facedex.data import dataset
from facedex.data.dataset import Faces
from facedex.decision.fitting import LEAST_PEOPLE
from facedex.errors import DataError
from facedex.wording import counted, plural, visible

_MOST_NOTICES = 20  # photos left out that are named; the others are counted


class TrainingData:
    """The people to train on and, where some were named, the people kept apart for validation."""

    def __init__(
        self,
        sources: Sequence[Path],
        validation: Sequence[Path],
        cache: Path,
        aligned: bool,
        corrections: Path | None,
    ) -> None:
        """`cache` is the folder that keeps the decoded crops."""
        self._sources, self._validation = sources, validation
        self._cache, self._aligned, self._corrections = cache, aligned, corrections
        self._left_out = 0
        self._labels: set[str] = set()  # the names and photo keys that a row of corrections may match

    def people(self) -> tuple[Faces, Faces | None]:
        """The faces to train on and those for validation, None where no people were named for it. Raises DataError."""
        known = self.load(self._sources)
        if not self._validation:
            return known, None
        held_out = dataset.without_people(self.load(self._validation), known.names)
        if not len(held_out):
            raise DataError(
                "Everybody in --validation is among the people to train on; name other people, or leave it out"
            )
        return known, held_out

    def split(self) -> tuple[Faces, Faces, Faces]:
        """The faces to train on, to choose the checkpoint on, and to calibrate on. No two have a person in common."""
        known, held_out = self.people()
        if held_out is None:
            known, held_out = dataset.split_people(known, 0.1, least=2 * LEAST_PEOPLE)
        return known, *dataset.split_people(held_out, 0.5, least=LEAST_PEOPLE)

    def load(self, sources: Sequence[Path]) -> Faces:
        """The faces of all sources, with the corrections applied. Raises DataError."""
        parts = []
        left_out_before = self._left_out
        for source in sources:
            with stderr_console().status(Text(visible(f"reading {source}"))) as status:
                faces = self._load_source(source, status)
            self._labels.update(faces.names, faces.keys)
            parts.append(dataset.correct(faces, self._corrections))
        unnamed = self._left_out - max(left_out_before, _MOST_NOTICES)
        if unnamed > 0:
            say(f"… and {unnamed} more {plural(unnamed, 'photo')} left out", style="yellow")
        return dataset.join(parts)

    def _load_source(self, source: Path, status: Status) -> Faces:
        photos = 0

        def count(more: int) -> None:
            nonlocal photos
            photos += more
            status.update(Text(visible(f"reading {source}: {counted(photos, 'photo')}")))

        return dataset.load_faces(source, self._cache, self._aligned, progress=count, notice=self._say_left_out)

    def _say_left_out(self, reason: str) -> None:
        self._left_out += 1
        if self._left_out <= _MOST_NOTICES:
            say(f"left out: {reason}", style="yellow")

    def say_corrections(self) -> None:
        """Print how many rows of corrections match a person or photo that was read."""
        if self._corrections is None:
            return
        rows = dataset.read_corrections(self._corrections)
        matches = len(rows.keys() & self._labels)
        hint = "" if matches else "; a key is NAME, or NAME/PHOTO without suffix"
        say(
            f"{matches} of {counted(len(rows), 'row')} of {self._corrections} {plural(matches, 'is')} of these "
            f"people{hint}",
            None if matches else "yellow",
        )
