"""The command that measures models: evaluate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facedex.cli.console import say, show
from facedex.cli.options import DeviceOption, JsonOption, parse_channels, parse_landmarks
from facedex.cli.progress import add_counter, progress_bar
from facedex.errors import DataError

if TYPE_CHECKING:
    from facedex.evaluation.matchers import Matcher


def evaluate(
    data: Annotated[
        Path, typer.Argument(help="A folder of people, a .tar or .zip of one, or a pairs file in LFW's format.")
    ],
    images: Annotated[
        Path | None, typer.Option(help="With a pairs file: the folder of its photos, NAME/NAME_0001.jpg.")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model", "-m", envvar="FACEDEX_MODEL", help="Model file, several to compare; else the shipped one."
        ),
    ] = None,
    onnx: Annotated[
        list[Path] | None, typer.Option(help="Any encoder as ONNX, on 112 x 112 faces, compared by cosine.")
    ] = None,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Of --onnx: pixels a side that it takes.")] = 112,
    mean: Annotated[str, typer.Option(help="Of --onnx: taken off each pixel of 0-255; one number or R,G,B.")] = "0",
    scale: Annotated[
        str, typer.Option(help="Of --onnx: what is left is multiplied by this; one number or R,G,B.")
    ] = "1",
    rgb: Annotated[bool, typer.Option("--rgb/--bgr", help="Of --onnx: the order of its channels.")] = True,
    mirrored: Annotated[
        bool,
        typer.Option("--mirrored", help="Of --onnx: the mean over a face and its mirror image, as with our models."),
    ] = False,
    points: Annotated[
        str | None, typer.Option(help="Of --onnx: where it wants the landmarks, ten numbers X,Y,... in its pixels.")
    ] = None,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Photos are aligned faces already, 128 or 112 pixels.")
    ] = False,
    corrections: Annotated[
        Path | None,
        typer.Option(help="CSV of label faults: key (NAME, or NAME/PHOTO without suffix), person (empty: leave out)."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for report.html, one page with plots and the worst errors.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for embeddings, so that a second run is quick; else none are kept.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and photos: same trials.")] = 0,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Measure models on photos of people: TAR@FAR, one-shot accuracy, strangers; every figure with its interval."""
    from facedex import results
    from facedex.evaluation import report_json, tables
    from facedex.evaluation.comparison import compare
    from facedex.evaluation.embedded_photos import read_listed, read_people
    from facedex.evaluation.pairs_protocol import evaluate_pairs, photos_of, read_pairs
    from facedex.evaluation.people_protocol import evaluate_people
    from facedex.photos.sources import is_pack

    as_pairs = not (data.is_dir() or is_pack(data))
    if as_pairs and images is None:
        raise DataError(
            f"{data} is no folder or pack of people; if it is a pairs file, name its photos by --images DIR"
        )
    if not as_pairs and images is not None:
        raise DataError(f"--images goes with a pairs file, and {data} is a folder or pack; leave one of them out")
    if as_pairs and (aligned or corrections):
        raise DataError("--aligned and --corrections go with a folder or pack of people, not with a pairs file")
    if not onnx and (mirrored or points is not None or not rgb or (size, mean, scale) != (112, "0", "1")):
        raise DataError(
            "--size, --mean, --scale, --points, --bgr and --mirrored go with --onnx; a model knows by itself what it is to see"
        )
    listed = read_pairs(data) if as_pairs else []
    if report:
        from facedex.evaluation.report import require_matplotlib

        require_matplotlib()
    shown = {
        "size": size, "mean": parse_channels(mean, "--mean"), "scale": parse_channels(scale, "--scale"), "rgb": rgb,
        "mirrored": mirrored, "points": parse_landmarks(points, "--points"),
    }  # fmt: skip
    matchers = _matchers(model or [], onnx or [], shown, device)

    with progress_bar(None if as_json else 1) as progress:
        counted = add_counter(progress, "photos")
        if images is not None:
            photos = read_listed(images, photos_of(listed), matchers, cache, counted)
        else:
            photos = read_people(data, matchers, aligned, corrections, cache, counted)
        bars: dict[str, Callable[[int, int | None], None]] = {}

        def scored(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = add_counter(progress, f"pairs, {name}")
            bars[name](done, total)

        listed_reports = evaluate_pairs(matchers, listed, photos, seed, scored) if as_pairs else []
        if as_pairs:
            reports = [one.every_pair for one in listed_reports if one.every_pair]
        else:
            reports = evaluate_people(matchers, photos, seed, scored)
    comparisons = [compare(kind[0], other) for kind in (listed_reports, reports) for other in kind[1:]]

    if as_json:
        found = [report_json.pairs_json(one) for one in listed_reports] or [
            report_json.people_json(one) for one in reports
        ]
        # What is said of every pair stands with the listed ones; the comparison follows, of the listed ones first.
        for line in [*found, *(report_json.comparison_json(one) for one in comparisons)]:
            print(results.json_line(line))
    else:
        if listed_reports:
            show(tables.pairs_table(listed_reports))
        if reports:
            show(tables.people_table(reports, f"every pair of {len(photos):,} photos" if as_pairs else str(data)))
        for report_of in reports:
            if report_of.open_set.realised:
                show(tables.realised_table(report_of.model, report_of.open_set.realised))
        for comparison in comparisons:
            show(tables.comparison_table(comparison))
    if report and reports:
        from facedex.evaluation.report import write_report

        page = write_report(report, data, images, aligned, listed_reports, reports, comparisons)
        say(f"{page} shows the worst errors as pictures: it is for whoever may see these photos, and no one else")
    elif report:
        say("no report: too few of the photos show a face for all of their pairs to be compared")
    if photos.failed:
        say(f"no face that could be used in {len(photos.failed)} photos"
            f"{', whose pairs count as different' if as_pairs else ', which are left out'}:")  # fmt: skip
        for key, reason in photos.failed[:5]:
            say(f"  {key}: {reason}")
        if len(photos.failed) > 5:
            say(f"  … and {len(photos.failed) - 5} more; --json lists all")
    raise typer.Exit(1 if photos.failed else 0)


def _matchers(models: list[Path], graphs: list[Path], shown: dict[str, Any], device: str) -> list[Matcher]:
    """What takes part: the models, then the encoders; the default model where neither is named. `shown`: what
    foreign_model takes beside the file.
    """
    from facedex.evaluation.matchers import cosine_matcher, distinct_names, model_matcher
    from facedex.model.foreign import foreign_model
    from facedex.model.modelfile import DEFAULT, read_model

    if not models and not graphs:
        models = [Path(DEFAULT)]
    names = distinct_names([*models, *graphs])
    return [
        *(model_matcher(read_model(path), name, device) for path, name in zip(models, names, strict=False)),
        *(
            cosine_matcher(foreign_model(path, **shown), name)
            for path, name in zip(graphs, names[len(models) :], strict=True)
        ),
    ]
