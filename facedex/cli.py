"""The command line: parse, call the library, render. Results go to stdout, everything else to stderr.

Imports that take time are inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from facedex._version import __version__
from facedex.errors import DataError, FacedexError

if TYPE_CHECKING:
    from rich.progress import Progress, Task
    from rich.text import Text

app = typer.Typer(
    name="facedex",
    help="One-shot face recognition: one photo of each person you know, new photos to name.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
err = Console(stderr=True, emoji=False)


def _version(value: bool) -> None:
    if value:
        print(f"facedex {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def train(
    data: Annotated[list[Path], typer.Argument(help="Folders of people (NAME/*.jpg) or packs (.tar, .zip) of such.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write, ending in .safetensors.")],
    arch: Annotated[str, typer.Option(help="compact (ours) or koch (the 2015 baseline).")] = "compact",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Photos are aligned faces already, 128 or 112 pixels.")
    ] = False,
    validation: Annotated[
        list[Path] | None, typer.Option(help="People kept apart to validate on; else a tenth of DATA.")
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="CSV of label faults: key, person (empty: leave out).")
    ] = None,
    teachers: Annotated[
        Path | None, typer.Option(help=".npz of other encoders' embeddings to learn from: key, and (n, d) arrays.")
    ] = None,
    unlabelled: Annotated[
        list[Path] | None, typer.Option(help="Photos without names, learnt from with --teachers.")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="Start from this model's weights.")] = None,
    minutes: Annotated[
        float, typer.Option(min=0.05, help="Steps are set so that training takes about this long.")
    ] = 60,
    steps: Annotated[int, typer.Option(min=0, help="Train exactly this many steps instead.")] = 0,
    rate: Annotated[
        float, typer.Option(min=1e-6, max=100, help="Factor on the learning rates; below 1 to go on from --init.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, data and machine: same weights.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run of this output.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded crops; else OUTPUT's .train folder.")] = None,
) -> None:
    """Train a Siamese network on photos of people, two photos or more of most."""
    from facedex import training_cli

    done = training_cli.run(
        err, data, output, aligned=aligned, arch=arch, validation=validation or [], corrections=corrections,
        teachers=teachers, unlabelled=unlabelled or [], init=init, steps=steps, minutes=minutes, rate=rate, seed=seed,
        device=device, resume=resume, cache=cache,
    )  # fmt: skip
    raise typer.Exit(0 if done else 130)


GalleryOption = Annotated[
    Path, typer.Option("--gallery", "-g", envvar="FACEDEX_GALLERY", help="Folder of the gallery.")
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model", "-m", envvar="FACEDEX_MODEL", help="Model file; else the gallery's own, else the shipped one."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Comma-separated values.")]
DeviceOption = Annotated[str, typer.Option(help="cpu; cuda or mps with the extra train.")]
INDEX = Path("index")


def _one_format(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other; choose one")


def _print(table: object) -> None:
    """A rich table on stdout, wide enough to be grepped when it goes to a file."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def _say(text: str) -> None:
    """A notice on stderr."""
    err.print(text, highlight=False, markup=False, soft_wrap=True)


@app.command()
def enroll(
    photos: Annotated[list[Path], typer.Argument(help="Folders of people, packs of such; or photos, with --name.")],
    gallery: GalleryOption = INDEX,
    name: Annotated[str | None, typer.Option(help="Enroll all these photos as this person.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Skip photos that show several faces.")] = False,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Put people into the gallery: DIR/NAME.jpg or DIR/NAME/*.jpg, one face a photo."""
    from collections import Counter

    from facedex import render
    from facedex.enrolment import named_photos
    from facedex.gallery import Enrolled, Gallery

    _one_format(as_json, as_csv)
    results: list[Enrolled] = []
    with named_photos(photos, name) as (found, total), Gallery(gallery, model, create=True) as into:
        progress = _progress(total)
        if as_csv:
            render.write_csv(sys.stdout, ["photo", "name", "status", "reason"], [])
        with progress:
            task = progress.add_task("enrolling", total=total)
            for result in into.enroll(found, strict, device):
                results.append(result)
                progress.advance(task)
                if as_json:
                    print(render.json_line(render.enrolled(result)), flush=True)
                elif as_csv:
                    render.write_row(sys.stdout, render.enrolled(result))
        people, faces = len(into), into.faces
    if not results:
        raise DataError(f"{photos[0]} holds no photos; put each person's photos in a folder of their own")
    for result in results:
        if result.reason and result.status != "known":
            about = "" if result.photo in result.reason else f"{result.photo}: "  # errors name the photo themselves
            _say(f"{result.status}: {about}{result.reason}")
    counts = Counter(result.status for result in results)
    summary = ", ".join(
        f"{counts[status]} {status}" for status in ("enrolled", "known", "conflict", "skipped") if counts[status]
    )
    _say(f"{summary}; the gallery {gallery} holds {people:,} people, {faces:,} faces")
    raise typer.Exit(1 if counts["skipped"] or counts["conflict"] else 0)


@app.command()
def identify(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders, patterns.")],
    gallery: GalleryOption = INDEX,
    top: Annotated[int, typer.Option(min=1, help="How many candidates to list for every face.")] = 1,
    fpir: Annotated[
        float, typer.Option(min=1e-9, max=0.999, help="Share of strangers who may be given a name.")
    ] = 0.01,
    prior: Annotated[
        float, typer.Option(min=1e-9, max=1 - 1e-9, help="Chance that whoever is in the photo is enrolled.")
    ] = 0.5,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Score everybody, without the index.")] = False,
    annotate: Annotated[
        Path | None, typer.Option(help="Write the photos with boxes and names into this folder.")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Name every face in every photo; a stranger stays unknown."""
    from facedex import render
    from facedex.gallery import Gallery
    from facedex.identification import expand
    from facedex.identification import identify as identify_photos

    _one_format(as_json, as_csv)
    wanted = list(expand(photos))
    done, used = [], set[str]()
    with Gallery(gallery, model) as known:
        if not len(known):
            _say(f"nobody is enrolled in {gallery}; every face is unknown")
        if as_csv:
            render.write_csv(sys.stdout, render.IDENTIFIED_COLUMNS, [])
        with _progress(len(wanted) if len(wanted) > 8 else None) as progress:
            task = progress.add_task("identifying", total=len(wanted))
            for photo in identify_photos(
                known, wanted, top=top, fpir=fpir, prior=prior, exhaustive=exhaustive,
                keep_pixels=annotate is not None, device=device,
            ):  # fmt: skip
                progress.advance(task)
                if as_json:
                    print(render.json_line(render.identified(photo)), flush=True)
                elif as_csv:
                    for row in render.identified_rows(photo):
                        render.write_row(sys.stdout, row, render.IDENTIFIED_COLUMNS)
                if photo.error:
                    _say(f"skipped: {photo.error}")
                elif annotate is not None:
                    try:
                        render.save_annotated(photo, annotate, used)
                    except OSError as error:
                        raise FacedexError(
                            f"{annotate} cannot be written ({error.strerror}); name another folder"
                        ) from None
                done.append(dataclasses.replace(photo, pixels=None))  # a long batch keeps no pictures in memory
    if not (as_json or as_csv) and any(photo.faces for photo in done):
        _print(render.identified_table(done, top))
    clean = not any(photo.error for photo in done)
    raise typer.Exit(0 if clean and any(face.name for photo in done for face in photo.faces) else 1)


@app.command()
def verify(
    a: Annotated[Path, typer.Argument(help="A photo.")],
    b: Annotated[Path, typer.Argument(help="Another.")],
    fmr: Annotated[float, typer.Option(min=1e-9, max=0.999, help="Share of different pairs called the same.")] = 1e-3,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Say whether the largest faces of two photos are the same person's."""
    from facedex import render
    from facedex.identification import Verifier

    result = Verifier(model, device).verify(a, b, fmr)
    if as_json:
        print(render.json_line(render.verified(result)))
    else:
        print(f"{'the same person' if result.same else 'different people'} (similarity {result.similarity:.1%})")
    raise typer.Exit(0 if result.same else 1)


@app.command()
def evaluate(
    pairs: Annotated[Path, typer.Argument(help="Pairs file in LFW's format.")],
    images: Annotated[Path, typer.Option(help="Folder of the photos, NAME/NAME_0001.jpg.")],
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Measure a model on pairs of photos: ten-fold accuracy, TAR@FAR, AUC."""
    from facedex import render
    from facedex.evaluate import evaluate_pairs, read_pairs
    from facedex.modelfile import read_model, shipped_model

    listed = read_pairs(pairs)
    with _progress(None if as_json else len(listed)) as progress:
        task = progress.add_task("photos", total=None)
        found = evaluate_pairs(
            read_model(model or shipped_model()), listed, images, device,
            lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        print(render.json_line(render.evaluated(found)))
    else:
        _print(render.evaluated_table(found))
    if found.failed:
        _say(
            f"no face found in {len(found.failed)} photos, whose pairs count as different: {', '.join(found.failed[:5])}"
        )
    raise typer.Exit(1 if found.failed else 0)


@app.command("list")
def list_people(gallery: GalleryOption = INDEX, as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """Show who is enrolled."""
    from facedex import render
    from facedex.gallery import Gallery

    _one_format(as_json, as_csv)
    with Gallery(gallery) as known:
        people = known.people()
    if as_json:
        for record in people:
            print(render.json_line(render.person(record)))
    elif as_csv:
        render.write_csv(sys.stdout, ["name", "photos", "enrolled"], map(render.person, people))
    else:
        _print(render.people_table(people))


@app.command()
def rename(old: str, new: str, gallery: GalleryOption = INDEX) -> None:
    """Give a person another name."""
    from facedex.gallery import Gallery

    with Gallery(gallery) as known:
        known.rename(old, new)
    _say(f"{old} is now {new}")


@app.command()
def merge(source: str, into: str, gallery: GalleryOption = INDEX) -> None:
    """Make two people one: all photos of SOURCE become INTO's."""
    from facedex.gallery import Gallery

    with Gallery(gallery) as known:
        moved = known.merge(source, into)
    _say(f"{moved} faces of {source} are now {into}'s")


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="People to delete.")],
    gallery: GalleryOption = INDEX,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete people; nothing of their faces stays in the gallery's files."""
    from facedex.gallery import Gallery

    with Gallery(gallery) as known:
        if not yes:
            photos = {record.name: record.photos for record in known.people()}
            for name in names:
                if name in photos:
                    _say(f"{name}: {photos[name]} photos")
            typer.confirm("Delete these people from the gallery?", abort=True, err=True)
        gone = known.remove(*dict.fromkeys(names))
    _say(f"deleted {gone} faces of {len(set(names))} people")


@app.command()
def reindex(
    gallery: GalleryOption = INDEX,
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Encode all photos anew with this model.")] = None,
    kind: Annotated[str, typer.Option(help="flat (exact) or ivf (partitioned, approximate).")] = "flat",
    device: DeviceOption = "cpu",
) -> None:
    """Build the search index anew; with --model move the gallery to another model."""
    from facedex.gallery import Gallery
    from facedex.search import KINDS

    if kind not in KINDS:
        raise DataError(f"There is no index kind {kind!r}; choose one of: {', '.join(KINDS)}")
    with Gallery(gallery) as known:
        lost = known.reindex(model, kind, device)
        faces = known.faces
    for photo in lost:
        _say(f"dropped, the photo is gone or has changed: {photo}")
    _say(f"{gallery}: {faces:,} faces indexed")
    raise typer.Exit(1 if lost else 0)


def _progress(total: int | None) -> Progress:
    """A bar on stderr with speed and time left; nothing where stderr is no terminal or there is no total."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Speed(TextColumn):
        def render(self, task: Task) -> Text:
            from rich.text import Text

            return Text(f"{task.speed:.1f} images/s" if task.speed else "")

    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(""), TimeRemainingColumn(),
        console=err, disable=not err.is_terminal or total is None, transient=True,
    )  # fmt: skip


def main() -> None:
    """Run the command line; every FacedexError becomes one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # an odd byte in a path, or a narrow code page, is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except FacedexError as error:
        err.print(f"facedex: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("facedex: interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
