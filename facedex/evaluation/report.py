"""One HTML page of an evaluation: self-contained, with plots, tables and the worst errors as pairs of pictures.

The page fetches nothing and sends nothing, and tells the browser to allow neither. It shows faces, so its file is
readable by the user alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from rich.table import Table

from facedex._version import __version__
from facedex.errors import DataError, MissingExtra
from facedex.evaluation import charts, tables
from facedex.evaluation.comparison import Comparison
from facedex.evaluation.embedded_photos import crops_of, listed_photos
from facedex.evaluation.error_rates import LEAST, Key
from facedex.evaluation.pairs_protocol import PairsReport
from facedex.evaluation.people_protocol import Mistake, PeopleReport
from facedex.files import replace_file
from facedex.pages.html_page import html_page, jpeg_uri
from facedex.photos.sources import open_people
from facedex.wording import counted, plural

_MOST_CARDS = 4
_CARDS: tuple[tuple[Key, str], ...] = (
    (("accuracy", ""), "of the listed pairs decided rightly"),
    (("tar", "0.001"), "same person recognised, one false match in 1,000"),
    (("rank", "1"), "right person first, everybody enrolled"),
    (("fnir", "0.01"), "missed, where 1 % of strangers are named"),
    (("ece", ""), "distance of probabilities from the truth"),
    (("auc", ""), "probability that a same pair scores higher"),
)
_NOTES = (
    "<p><b>How to read it.</b> TAR@FAR: the share of one person’s pairs accepted at the threshold that at most this "
    "share of two people’s pairs passes. FNIR@FPIR: the share of enrolled people not given their name at the threshold "
    "that at most this share of strangers passes. Intervals hold 95 %. They come from resampling the people, not the "
    "pairs, 1,000 times. A dash stands where there are too few pairs.</p>"
    "<p><b>Private.</b> This page shows faces of real people. It loads nothing and sends nothing. Share it only where "
    "you may share the photos.</p>"
)


def require_matplotlib() -> None:
    """Raise MissingExtra without matplotlib, before the photos are read."""
    if find_spec("matplotlib") is None:
        raise MissingExtra("A report", "report")


def write_report(
    folder: Path,
    data: Path,
    images: Path | None,
    aligned: bool,
    listed: Sequence[PairsReport],
    reports: Sequence[PeopleReport],
    comparisons: Sequence[Comparison],
) -> Path:
    """Write `folder`/report.html, readable by the user alone; returns its path.

    The pictures of the worst errors are cut again from the photos: from `data`, or with `listed` pairs from `images`.
    Raises MissingExtra, and DataError when the page cannot be written.
    """
    require_matplotlib()
    keys = {
        photo
        for report in reports
        for mistake in (*report.false_matches, *report.false_non_matches)
        for photo in (mistake.a, mistake.b)
    }
    if images is not None:
        crops = crops_of(listed_photos(images, sorted(keys)), keys, aligned)
    else:
        with open_people(data) as photos:
            crops = crops_of(photos, keys, aligned)
    pictures = {key: jpeg_uri(Image.fromarray(crop)) for key, crop in crops.items()}
    sections = [
        _header(data.name, reports),
        _cards(listed, reports),
        _one_against_one(reports),
        _one_against_many(reports),
        _strangers(reports),
        _all_figures(listed, reports, comparisons),
        *(_worst_errors(report, len(reports) > 1, pictures) for report in reports),
        f"<footer>{_NOTES}</footer>",
    ]
    path = folder / "report.html"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        page = html_page(f"{data.name} · facedex evaluation", sections, _series())
        replace_file(path, page, private=True)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); name another folder by --report") from None
    return path


def _series() -> str:
    """The colours of the models as CSS variables, for light and dark pages."""
    light, dark = (
        " ".join(f"--series{number}: {colour};" for number, colour in enumerate(palette.series))
        for palette in (charts.LIGHT, charts.DARK)
    )
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def _header(name: str, reports: Sequence[PeopleReport]) -> str:
    first = reports[0]
    chips = "".join(
        f'<span class="chip">{_dot(number)}{escape(report.model)}</span>' for number, report in enumerate(reports)
    )
    failed = "A face was found in every photo."
    if first.failed:
        failed = (
            f"{counted(len(first.failed), 'photo')} without a usable face {plural(len(first.failed), 'is')} left out."
        )
    return (
        f"<header><p class=eyebrow>facedex {__version__} · evaluation</p><h1>{escape(name)}</h1>"
        f"<p class=lede>{counted(first.photos, 'photo')} of {counted(first.people, 'person')}; "
        f"{first.genuine:,} pairs of one person, "
        f"{first.impostors:,} of two. {failed}</p><p class=chips>{chips}</p></header>"
    )


def _cards(listed: Sequence[PairsReport], reports: Sequence[PeopleReport]) -> str:
    """The first few figures, large. Figures of listed pairs replace those of every pair."""
    cards: list[str] = []
    for key, text in _CARDS:
        rows = []
        for number, report in enumerate(reports):
            figure = report.figures.get(key)
            if listed:
                figure = listed[number].figures.get(key, figure)
            if figure is not None and not np.isnan(figure.value):
                value, interval = tables.percent(figure.value, key[0]), tables.interval(figure, key[0])
                rows.append(f"<p class=big>{_dot(number)}{escape(value)}<small>{escape(interval)}</small></p>")
        if rows:
            title = escape(tables.label(key))
            cards.append(f"<div class=card><h3>{title}</h3>{''.join(rows)}<p class=note>{text}</p></div>")
    return f"<div class=figures>{''.join(cards[:_MOST_CARDS])}</div>"


def _one_against_one(reports: Sequence[PeopleReport]) -> str:
    if all(map(charts.has_rates, reports)):
        parts = [
            _plot("ROC", charts.roc, reports),
            _plot("DET", charts.det, reports, "The dot is the equal error rate."),
        ]
    else:
        parts = [
            f"<p class=note>Too few pairs of two people for an ROC: {reports[0].impostors:,}. "
            f"A rate is shown from {LEAST} false matches on.</p>"
        ]
    for report in reports:
        of_model = f" of {report.model}" if len(reports) > 1 else ""
        parts.append(_plot(f"Scores{of_model}", charts.scores, [report]))
    if any(report.error_rates.reliability is not None for report in reports):
        note = (
            "On the diagonal, seven in ten of the pairs called 70 % are the same person. Larger dots carry more pairs."
        )
        parts.append(_plot("Calibration", charts.reliability, reports, note))
    lede = (
        "The share of one person’s pairs that is recognised, at each rate of false matches. Bands and brackets hold "
        "95 %, by resampling people."
    )
    return _section("One face against one", lede, *parts)


def _one_against_many(reports: Sequence[PeopleReport]) -> str:
    return _section(
        "One face against many",
        "Everybody is enrolled with one photo. Another photo of the same person is searched for.",
        _plot("N-way one-shot", charts.ways, reports, "1,000 trials for each N."),
        _plot("CMC", charts.cmc, reports, f"Among all {reports[0].people:,} people."),
    )


def _strangers(reports: Sequence[PeopleReport]) -> str:
    """The rates at the models' own thresholds; empty where no model has one."""
    calibrated = [report for report in reports if report.open_set.realised]
    if not calibrated:
        return ""
    rows = "".join(
        _table(tables.realised_table(report.model, report.open_set.realised), f"At {report.model}’s own threshold")
        for report in calibrated
    )
    return _section(
        "Strangers",
        "How often a person who is not enrolled is given a name, at the threshold that the model sets for that many "
        "people. Twenty galleries drawn at random.",
        _plot("Realised FPIR", charts.realised, calibrated, "Dots: target 1 %. Diamonds: target 0.1 %."),
        f"<div class=card>{rows}</div>",
    )


def _all_figures(
    listed: Sequence[PairsReport], reports: Sequence[PeopleReport], comparisons: Sequence[Comparison]
) -> str:
    figures = []
    if listed:
        figures.append(_table(tables.pairs_table(listed), "Listed pairs"))
    title = "Every pair of the photos" if listed else "All figures"
    figures.append(_table(tables.people_table(reports, ""), title))
    for found in comparisons:
        figures.append(_table(tables.comparison_table(found), f"{found.a} against {found.b}: {found.on}"))
    return _section("Figures", "", *(f'<div class="card wide">{figure}</div>' for figure in figures))


def _worst_errors(report: PeopleReport, several: bool, pictures: dict[str, str]) -> str:
    return _section(
        f"Worst errors of {report.model}" if several else "Worst errors",
        "The pairs that this model gets most wrong. Faults in the labels show up here first.",
        _mistakes("Different people with the highest scores", report.false_matches, pictures),
        _mistakes("One person with the lowest scores", report.false_non_matches, pictures),
    )


def _section(title: str, lede: str, *parts: str) -> str:
    grid = f"<div class=grid>{''.join(parts)}</div>"
    return f"<section><h2>{escape(title)}</h2><p class=lede>{escape(lede)}</p>{grid}</section>"


def _plot(title: str, draw: charts.Draw, reports: Sequence[PeopleReport], note: str = "") -> str:
    caption = f"<figcaption>{escape(note)}</figcaption>"
    return f"<figure class=card><h3>{escape(title)}</h3>{charts.picture(draw, reports)}{caption}</figure>"


def _table(table: Table, title: str) -> str:
    """A rich table as HTML."""
    classes, heads = [], []
    for column in table.columns:
        number = column.justify == "right"
        classes.append("dim" if column.style == "dim" else "number" if number else "")
        heads.append(f"<th{' class=number' if number else ''}>{escape(str(column.header))}</th>")
    rows = []
    for row in zip(*(list(column.cells) for column in table.columns), strict=True):
        cells = (f"<td class='{kind}'>{escape(str(cell))}</td>" for kind, cell in zip(classes, row, strict=True))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head, body = f"<thead><tr>{''.join(heads)}</tr></thead>", f"<tbody>{''.join(rows)}</tbody>"
    return f"<h3>{escape(title)}</h3><div class=scroll><table>{head}{body}</table></div>"


def _mistakes(title: str, mistakes: Sequence[Mistake], pictures: dict[str, str]) -> str:
    shown = "".join(_mistake(mistake, pictures) for mistake in mistakes)
    return f'<div class="card wide"><h3>{escape(title)}</h3><div class=pairs>{shown}</div></div>'


def _mistake(mistake: Mistake, pictures: dict[str, str]) -> str:
    faces = "".join(
        f'<img alt="" src="{pictures[key]}" width=112 height=112>' if key in pictures else "<span class=gone></span>"
        for key in (mistake.a, mistake.b)
    )
    names = list(dict.fromkeys(key.partition("/")[0].replace("_", " ") for key in (mistake.a, mistake.b)))
    if mistake.similarity is None:
        answer = f"cosine {mistake.score:.3f}"
    else:
        answer = f"similarity {100 * mistake.similarity:.2f} %"
    return (
        f'<figure title="{escape(mistake.a)} · {escape(mistake.b)}"><div class=faces>{faces}</div><figcaption>'
        f"{' <s></s> '.join(escape(name) for name in names)}<b>{answer}</b></figcaption></figure>"
    )


def _dot(number: int) -> str:
    """A dot in the colour of a model."""
    return f"<i style='background:var(--series{number % len(charts.LIGHT.series)})'></i>"
