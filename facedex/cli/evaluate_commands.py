"""The command that measures models: evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facedex.cli.console import say, show
from facedex.cli.encoder_options import (
    ENCODER_SIZE,
    EncoderInput,
    MeanOption,
    MirroredOption,
    PointsOption,
    RgbOption,
    ScaleOption,
)
from facedex.cli.options import (
    AlignedOption,
    CorrectionsOption,
    DeviceOption,
    JobsOption,
    JsonOption,
    OutputOption,
    QuietOption,
)
from facedex.cli.progress import add_counter, progress_bar
from facedex.cli.result_output import output_form, results_to
from facedex.errors import DataError
from facedex.wording import counted, plural

if TYPE_CHECKING:
    from facedex.evaluation.comparison import Comparison
    from facedex.evaluation.matchers import Matcher
    from facedex.evaluation.pairs_protocol import PairsReport
    from facedex.evaluation.people_protocol import PeopleReport


def evaluate(
    data: Annotated[
        Path, typer.Argument(help="A folder of people, a .tar or .zip file of it, or a pairs file in LFW's format.")
    ],
    images: Annotated[
        Path | None, typer.Option(help="With a pairs file: the folder of its photos, NAME/NAME_0001.jpg.")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            "-m",
            envvar="FACEDEX_MODEL",
            help="Model file, or the name of a model that ships. Give several to compare them. Default: 'default'.",
        ),
    ] = None,
    onnx: Annotated[
        list[Path] | None,
        typer.Option(help="An encoder of aligned faces as ONNX, compared by cosine. May be repeated."),
    ] = None,
    size: Annotated[
        int, typer.Option(min=16, max=1024, help="ONNX encoder: pixels a side of its input.")
    ] = ENCODER_SIZE,
    mean: MeanOption = "0",
    scale: ScaleOption = "1",
    rgb: RgbOption = True,
    mirrored: MirroredOption = False,
    points: PointsOption = None,
    aligned: AlignedOption = False,
    corrections: CorrectionsOption = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for report.html, a page with plots and the worst errors as pictures.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the embeddings, so that a second run is quick.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the draws. The same seed and photos give the same trials.")
    ] = 0,
    device: DeviceOption = "cpu",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure models on photos of people: TAR@FAR, one-shot accuracy, strangers. Every figure has its interval."""
    from facedex.photos.packs import is_pack

    has_people = data.is_dir() or is_pack(data)
    encoder_input = EncoderInput(mean, scale, rgb, mirrored, points)
    if not has_people:
        _check_options_of_pairs(data, images, aligned or corrections is not None)
    elif images is not None:
        raise DataError(f"--images goes with a pairs file, and {data} is a folder or pack; leave one of them out")
    if not onnx and not (encoder_input.is_default() and size == ENCODER_SIZE):
        raise DataError(
            "--size, --mean, --scale, --points, --bgr and --mirrored describe an encoder; add --onnx or leave them out"
        )
    if report:
        from facedex.evaluation.report import require_matplotlib

        require_matplotlib()  # before the long work begins
    matchers = _matchers(model or [], onnx or [], encoder_input, size, device)
    as_json = output_form(as_json, None, output) == "json"
    with results_to(output):
        found = _measure(matchers, data, images, aligned, corrections, cache, seed, show_progress=not as_json)
        if as_json:
            _print_json(found)
        else:
            _show_tables(found, f"every pair of {counted(found.photos, 'photo')}" if images else str(data))
    if report and found.people_reports:
        from facedex.evaluation.report import write_report

        page = write_report(report, data, images, aligned, found.pairs_reports, found.people_reports, found.comparisons)
        say(f"{page} shows photos of the worst errors; give it only to people who may see these photos")
    elif report:
        say("no report: too few of the photos show a face for all of their pairs to be compared")
    _say_failures(
        found.failed,
        "whose pairs count as different" if images else f"which {plural(len(found.failed), 'is')} left out",
    )
    raise typer.Exit(1 if found.failed else 0)


@dataclass(frozen=True)
class Evaluation:
    """The reports of all models, the comparisons of the first with each other one, and the photos they come from.

    `pairs_reports` is empty for a folder of people. `failed` lists photos without a usable face, each with the reason.
    """

    pairs_reports: list[PairsReport]
    people_reports: list[PeopleReport]
    comparisons: list[Comparison]
    photos: int
    failed: Sequence[tuple[str, str]]


def _check_options_of_pairs(data: Path, images: Path | None, people_options: bool) -> None:
    """Raise DataError for options that do not go with a pairs file."""
    if images is None:
        raise DataError(
            f"{data} is no folder or pack of people; if it is a pairs file, name its photos by --images DIR"
        )
    if people_options:
        raise DataError("--aligned and --corrections go with a folder or pack of people, not with a pairs file")


def _matchers(
    models: list[Path], encoders: list[Path], encoder_input: EncoderInput, size: int, device: str
) -> list[Matcher]:
    """The models, then the encoders; the default model where neither is named. Raises ModelError, DataError."""
    from facedex.evaluation.matchers import cosine_matcher, distinct_names, model_matcher
    from facedex.model.modelfile import DEFAULT, read_model

    if not models and not encoders:
        models = [Path(DEFAULT)]
    names = iter(distinct_names([*models, *encoders]))
    return [
        *(model_matcher(read_model(path), next(names), device) for path in models),
        *(cosine_matcher(encoder_input.read_encoder(path, size), next(names)) for path in encoders),
    ]


def _measure(
    matchers: list[Matcher],
    data: Path,
    images: Path | None,
    aligned: bool,
    corrections: Path | None,
    cache: Path | None,
    seed: int,
    show_progress: bool,
) -> Evaluation:
    """Run the protocol of a pairs file when `images` names its photos, else the protocol of a folder of people."""
    from facedex.evaluation.comparison import compare
    from facedex.evaluation.embedded_photos import read_listed, read_people
    from facedex.evaluation.pairs_protocol import evaluate_pairs, photos_of, read_pairs
    from facedex.evaluation.people_protocol import evaluate_people

    pairs_reports: list[PairsReport] = []
    with progress_bar(1 if show_progress else None) as progress:
        count_photos = add_counter(progress, "photos")
        pair_counters: dict[str, Callable[[int, int | None], None]] = {}

        def count_pairs(model: str, done: int, total: int) -> None:
            if model not in pair_counters:
                pair_counters[model] = add_counter(progress, f"pairs, {model}")
            pair_counters[model](done, total)

        if images is None:
            photos = read_people(data, matchers, aligned, corrections, cache, count_photos)
            people_reports = evaluate_people(matchers, photos, seed, count_pairs)
        else:
            pairs = read_pairs(data)
            photos = read_listed(images, photos_of(pairs), matchers, cache, count_photos)
            pairs_reports = evaluate_pairs(matchers, pairs, photos, seed, count_pairs)
            people_reports = [report.every_pair for report in pairs_reports if report.every_pair]
    comparisons = [
        *(compare(pairs_reports[0], other) for other in pairs_reports[1:]),
        *(compare(people_reports[0], other) for other in people_reports[1:]),
    ]
    return Evaluation(pairs_reports, people_reports, comparisons, len(photos), photos.failed)


def _print_json(found: Evaluation) -> None:
    """Print one object a model, then one a comparison. A pairs object holds the figures of every pair, too."""
    from facedex.evaluation.report_json import comparison_json, pairs_json, people_json
    from facedex.results import json_line

    objects = [pairs_json(report) for report in found.pairs_reports]
    if not objects:
        objects = [people_json(report) for report in found.people_reports]
    objects += [comparison_json(comparison) for comparison in found.comparisons]
    for line in objects:
        print(json_line(line))


def _show_tables(found: Evaluation, title: str) -> None:
    """Print the tables of all reports; `title` names the trials of the people reports."""
    from facedex.evaluation import tables

    if found.pairs_reports:
        show(tables.pairs_table(found.pairs_reports))
    if found.people_reports:
        show(tables.people_table(found.people_reports, title))
    for report in found.people_reports:
        if report.open_set.realised:
            show(tables.realised_table(report.model, report.open_set.realised))
    for comparison in found.comparisons:
        show(tables.comparison_table(comparison))


def _say_failures(failed: Sequence[tuple[str, str]], consequence: str) -> None:
    """Print the first five photos without a usable face."""
    if not failed:
        return
    say(f"{counted(len(failed), 'photo')} {plural(len(failed), 'shows')} no usable face, {consequence}:")
    for key, reason in failed[:5]:
        say(f"  {key}: {reason}")
    if len(failed) > 5:
        say(f"  … and {len(failed) - 5} more; --json lists all")
