"""Reports of an evaluation as tables for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Column, Table
from rich.text import Text

from facedex.evaluation.bootstrap import Figure
from facedex.evaluation.comparison import Comparison
from facedex.evaluation.error_rates import Key
from facedex.evaluation.open_set import RealisedRates
from facedex.evaluation.pairs_protocol import PairsReport
from facedex.evaluation.people_protocol import PeopleReport
from facedex.wording import visible

_LABELS = {
    "accuracy": "ten-fold accuracy",
    "tar": "TAR@FAR={}",
    "eer": "equal error rate",
    "auc": "AUC",
    "p50": "accuracy at p > .5, half the pairs the same",
    "ece": "calibration error (ECE)",
    "n_way": "{}-way one-shot",
    "rank": "rank-{}",
    "fnir": "FNIR@FPIR={}",
}


def label(key: Key) -> str:
    """A figure's name in a table."""
    if key == ("n_way", "all"):
        return "one-shot among all"
    return _LABELS[key[0]].format(key[1].replace("e-0", "e-"))


def percent(value: float, name: str = "") -> str:
    """A figure as text: a percentage, or five decimal places for the AUC; "-" where the photos are too few."""
    if math.isnan(value):
        return "-"
    return f"{value:.5f}" if name == "auc" else f"{100 * value:.2f} %"


def interval(figure: Figure, name: str = "") -> str:
    """A figure's 95 % interval as text; empty where there is none."""
    low, high = figure.interval
    if math.isnan(low) or math.isnan(figure.value):
        return ""
    return f"{low:.5f} – {high:.5f}" if name == "auc" else f"{100 * low:.2f} – {100 * high:.2f}"


def pairs_table(reports: Sequence[PairsReport]) -> Table:
    """Figures of the listed pairs, a column for each model."""
    table = _table("listed pairs", [report.model for report in reports])
    table.add_row("pairs", *_with_blanks([f"{report.pairs:,}" for report in reports]))
    for key in reports[0].figures:
        if key[0] == "accuracy":
            cells = []
            for report in reports:
                accuracy = f"{100 * report.accuracy:.2f} % ± {100 * report.accuracy_se:.2f}"
                cells += [accuracy, interval(report.figures[key])]
            table.add_row(label(key), *cells)
        else:
            _add_figures(table, key, [report.figures[key] for report in reports])
    return table


def people_table(reports: Sequence[PeopleReport], title: str) -> Table:
    """Figures of all pairs, and of one face against many, a column for each model."""
    table = _table(title, [report.model for report in reports])
    table.add_row("people", *_with_blanks([f"{report.people:,}" for report in reports]))
    table.add_row("photos", *_with_blanks([f"{report.photos:,}" for report in reports]))
    pairs = [f"{report.genuine:,} / {report.impostors:,}" for report in reports]
    table.add_row("genuine / impostor pairs", *_with_blanks(pairs))
    keys = dict.fromkeys(key for report in reports for key in report.figures)
    for key in sorted(keys, key=lambda key: list(_LABELS).index(key[0])):
        _add_figures(table, key, [report.figures.get(key) for report in reports])
    return table


def realised_table(model: str, rows: Sequence[RealisedRates]) -> Table:
    """Strangers at the model's own threshold."""
    table = Table(
        Column("enrolled", justify="right"),
        Column("target", justify="right"),
        Column("realised FPIR", justify="right"),
        Column("95 %", style="dim"),
        Column("FNIR", justify="right"),
        Column("95 %", style="dim"),
        title=_plain(f"strangers named at {model}'s own threshold"),
        title_justify="left",
    )
    for row in rows:
        fpir = percent(row.fpir.value), interval(row.fpir)
        fnir = percent(row.fnir.value), interval(row.fnir)
        table.add_row(f"{row.enrolled:,}", f"{100 * row.target:g} %", *fpir, *fnir)
    return table


def comparison_table(found: Comparison) -> Table:
    """Differences with their significance."""
    table = Table(
        "measure",
        Column("difference, points", justify="right"),
        Column("95 %", style="dim"),
        Column("p", justify="right"),
        title=_plain(f"{found.a} against {found.b}: {found.on}"),
        title_justify="left",
    )
    for key, (gap, p) in found.differences.items():
        if not math.isnan(gap.value):
            ends = " – ".join(_points(end, key[0]) for end in gap.interval)
            table.add_row(label(key), _points(gap.value, key[0]), ends, _p_value(p, 0.002))
    if found.mcnemar is not None:
        counts = f"{found.only_a} : {found.only_b}"
        table.add_row("McNemar", counts, "right by only one", _p_value(found.mcnemar, 0.001))
    return table


def _table(title: str, models: Sequence[str]) -> Table:
    columns: list[Column] = []
    for model in models:
        columns += [Column(_plain(model), justify="right", overflow="fold"), Column("95 %", style="dim")]
    return Table("measure", *columns, title=_plain(title), title_justify="left")


def _add_figures(table: Table, key: Key, figures: Sequence[Figure | None]) -> None:
    cells: list[str] = []
    for figure in figures:
        cells += ["-", ""] if figure is None else [percent(figure.value, key[0]), interval(figure, key[0])]
    table.add_row(label(key), *cells)


def _with_blanks(texts: list[str]) -> list[str]:
    """The texts, each followed by an empty cell in place of an interval."""
    return [cell for text in texts for cell in (text, "")]


def _points(value: float, name: str) -> str:
    """A difference in percentage points, or as it is for the AUC."""
    text = f"{value:+.5f}" if name == "auc" else f"{100 * value:+.2f}"
    return text.replace("-", "−")


def _p_value(p: float, least: float) -> str:
    """A p as text, from `least` on, below which the method cannot tell."""
    return f"< {least:g}".replace("0.", ".") if p < least else f"{p:.3f}".lstrip("0")


def _plain(text: str) -> Text:
    """A name without markup, and with escapes in place of characters that command the terminal."""
    return Text(visible(text))
