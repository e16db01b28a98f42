"""The command that gives embeddings to other programs: embed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facedex.cli.console import say
from facedex.cli.options import DeviceOption, JsonOption, ModelOption, find_photos
from facedex.cli.progress import photo_progress
from facedex.errors import DataError

if TYPE_CHECKING:
    import numpy as np


def embed(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders or patterns; - reads one photo from stdin.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the embeddings into this .npy file, and what each row is of into a .json file beside it.",
        ),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Give the embedding of every face of every photo, to a .npy file or as JSON. No gallery is needed."""
    from facedex import results
    from facedex.recognition.embedding import embed_photos

    if output is None and not as_json:
        raise typer.BadParameter("name a file by --output FILE.npy, or ask for --json")
    if output is not None and output.suffix != ".npy":
        raise typer.BadParameter(f"--output takes a file that ends in .npy; not {output}")
    paths = find_photos(photos)
    rows: list[dict[str, Any]] = []
    vectors: list[np.ndarray] = []
    skipped = False
    with photo_progress(len(paths)) as progress:
        task = progress.add_task("embedding", total=len(paths))
        for photo in embed_photos(paths, model, device):
            progress.advance(task)
            if photo.error:
                say(f"skipped: {photo.error}")
                skipped = True
            if as_json:
                print(results.json_line(results.embed_json(photo)), flush=True)
            if output is not None:
                rows += results.embed_rows(photo)
                vectors += [face.embedding for face in photo.faces if face.embedding is not None]
    if output is not None:
        _write(output, vectors, rows, model)
        say(f"{len(rows):,} embeddings are in {output}, and what they are of in {output.with_suffix('.json')}")
    raise typer.Exit(1 if skipped else 0)


def _write(path: Path, vectors: list[np.ndarray], rows: list[dict[str, Any]], model: Path | None) -> None:
    """Write the embeddings (n, dim) float32 and the index of their rows, each file whole. Raises DataError."""
    import io
    import json

    import numpy as np

    from facedex.files import replace_file
    from facedex.model.modelfile import read_model, shipped_model

    used = read_model(model or shipped_model())
    dim = int(used.meta["dim"])
    file = io.BytesIO()
    np.save(file, np.array(vectors, np.float32).reshape(-1, dim))
    index = {"model": used.fingerprint, "dim": dim, "faces": rows}
    try:
        replace_file(path, file.getvalue())
        replace_file(path.with_suffix(".json"), json.dumps(index, ensure_ascii=False, indent=1).encode())
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); name another file") from None
