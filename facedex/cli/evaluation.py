"""The command that measures a model: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facedex.cli.console import DeviceOption, JsonOption, ModelOption, progress_bar, say, show


def evaluate(
    pairs: Annotated[Path, typer.Argument(help="Pairs file in LFW's format.")],
    images: Annotated[Path, typer.Option(help="Folder of the photos, NAME/NAME_0001.jpg.")],
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Measure a model on pairs of photos: ten-fold accuracy, TAR@FAR, AUC."""
    from facedex import render
    from facedex.evaluation.pairs import evaluate_pairs, read_pairs
    from facedex.modelfile import read_model, shipped_model

    listed = read_pairs(pairs)
    with progress_bar(None if as_json else len(listed)) as progress:
        task = progress.add_task("photos", total=None)
        found = evaluate_pairs(
            read_model(model or shipped_model()), listed, images, device,
            lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        print(render.json_line(render.evaluated(found)))
    else:
        show(render.evaluated_table(found))
    if found.failed:
        say(
            f"no face found in {len(found.failed)} photos, whose pairs count as different: {', '.join(found.failed[:5])}"
        )
    raise typer.Exit(1 if found.failed else 0)
