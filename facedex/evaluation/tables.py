"""Reports of an evaluation as tables for people and as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from facedex.evaluation.bootstrap import Figure
from facedex.evaluation.comparison import Comparison
from facedex.evaluation.error_rates import Key
from facedex.evaluation.open_set import Realised
from facedex.evaluation.pairs import PairsReport
from facedex.evaluation.people import PeopleReport

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
    """What a figure is called in a table."""
    if key == ("n_way", "all"):
        return "one-shot among all"
    return _LABELS[key[0]].format(key[1].replace("e-0", "e-"))


def percent(value: float, name: str = "") -> str:
    """A figure as it is shown; "-" for what the photos are too few to show."""
    if math.isnan(value):
        return "-"
    return f"{value:.5f}" if name == "auc" else f"{100 * value:.2f} %"


def spread(figure: Figure, name: str = "") -> str:
    """The 95 % interval as it is shown."""
    low, high = figure.interval
    if math.isnan(low) or math.isnan(figure.value):
        return ""
    return f"{low:.5f} – {high:.5f}" if name == "auc" else f"{100 * low:.2f} – {100 * high:.2f}"


def pairs_json(found: PairsReport) -> dict[str, Any]:
    """The JSON of `evaluate PAIRS --images DIR`, one a model."""
    out: dict[str, Any] = {
        "protocol": "pairs", "pairs": found.pairs, "accuracy": _number(found.accuracy),
        "accuracy_se": _number(found.accuracy_se), "tar": {f"{far:g}": _number(tar) for far, tar in found.tar.items()},
        "auc": _number(found.auc), "failed": found.failed, "model": found.model,
    }  # fmt: skip
    if found.figures:
        out["ci"] = _nested({key: _interval(figure) for key, figure in found.figures.items()})
    if found.every:
        out["every_pair"] = {**_figures(found.every), **_realised(found.every)}
    return out


def people_json(found: PeopleReport) -> dict[str, Any]:
    """The JSON of `evaluate PEOPLE`, one a model. `ci` repeats the figures' names with their 95 % intervals."""
    out = {
        "protocol": "people", "model": found.model, "people": found.people, "photos": found.photos,
        **_figures(found), "failed": [{"photo": key, "reason": reason} for key, reason in found.failed],
        **_realised(found),
    }  # fmt: skip
    return out


def comparison_json(found: Comparison) -> dict[str, Any]:
    """The JSON of two models on the same trials: figures of `a` less those of `b`."""
    out: dict[str, Any] = {
        "protocol": "comparison", "a": found.a, "b": found.b, "on": found.on,
        "difference": _nested({key: _number(apart.value) for key, (apart, _) in found.differences.items()}),
        "ci": _nested({key: _interval(apart) for key, (apart, _) in found.differences.items()}),
        "p": _nested({key: _number(p) for key, (_, p) in found.differences.items()}),
    }  # fmt: skip
    if found.mcnemar is not None:
        out["mcnemar"] = {"only_a": found.only_a, "only_b": found.only_b, "p": _number(found.mcnemar)}
    return out


def pairs_table(found: Sequence[PairsReport]) -> Table:
    """Figures of the listed pairs, a column a model."""
    table = _table("listed pairs", [one.model for one in found])
    table.add_row("pairs", *_cells([f"{one.pairs:,}" for one in found]))
    for key in found[0].figures or ():
        if key[0] == "accuracy":
            cells = [(f"{100 * one.accuracy:.2f} % ± {100 * one.accuracy_se:.2f}", _figure(one, key)) for one in found]
            table.add_row(label(key), *(part for text, figure in cells for part in (text, spread(figure))))
        else:
            _figure_row(table, key, [_figure(one, key) for one in found])
    return table


def people_table(found: Sequence[PeopleReport], title: str) -> Table:
    """Figures of all pairs, and of one face against many, a column a model."""
    table = _table(title, [one.model for one in found])
    table.add_row("people", *_cells([f"{one.people:,}" for one in found]))
    table.add_row("photos", *_cells([f"{one.photos:,}" for one in found]))
    table.add_row("genuine / impostor pairs", *_cells([f"{one.genuine:,} / {one.impostors:,}" for one in found]))
    keys = dict.fromkeys(key for one in found for key in one.figures)
    for key in sorted(keys, key=lambda key: list(_LABELS).index(key[0])):
        _figure_row(table, key, [one.figures.get(key) for one in found])
    return table


def realised_table(model: str, rows: Sequence[Realised]) -> Table:
    """Strangers at the model's own threshold."""
    table = Table(
        Column("enrolled", justify="right"), Column("target", justify="right"),
        Column("realised FPIR", justify="right"), Column("95 %", style="dim"),
        Column("FNIR", justify="right"), Column("95 %", style="dim"),
        title=_plain(f"strangers named at {model}'s own threshold"), title_justify="left",
    )  # fmt: skip
    for one in rows:
        table.add_row(
            f"{one.enrolled:,}", f"{100 * one.target:g} %", percent(one.fpir.value), spread(one.fpir),
            percent(one.fnir.value), spread(one.fnir),
        )  # fmt: skip
    return table


def comparison_table(found: Comparison) -> Table:
    """Differences with their significance."""
    table = Table(
        "measure", Column("difference, points", justify="right"), Column("95 %", style="dim"),
        Column("p", justify="right"), title=_plain(f"{found.a} against {found.b}: {found.on}"), title_justify="left",
    )  # fmt: skip
    for key, (apart, p) in found.differences.items():
        if not math.isnan(apart.value):
            table.add_row(
                label(key), _points(apart.value, key[0]), " – ".join(_points(end, key[0]) for end in apart.interval),
                "< .002" if p < 0.002 else f"{p:.3f}".lstrip("0"),
            )  # fmt: skip
    if found.mcnemar is not None:
        table.add_row(
            "McNemar", f"{found.only_a} : {found.only_b}", "right by only one",
            "< .001" if found.mcnemar < 0.001 else f"{found.mcnemar:.3f}".lstrip("0"),
        )  # fmt: skip
    return table


def _figure(found: PairsReport, key: Key) -> Figure:
    return found.figures[key]


def _table(title: str, models: Sequence[str]) -> Table:
    columns: list[Column] = []
    for model in models:
        columns += [Column(_plain(model), justify="right", overflow="fold"), Column("95 %", style="dim")]
    return Table("measure", *columns, title=_plain(title), title_justify="left")


def _points(value: float, name: str) -> str:
    """A difference, in percentage points but for the AUC."""
    text = f"{value:+.5f}" if name == "auc" else f"{100 * value:+.2f}"
    return text.replace("-", "−")


def _cells(texts: list[str]) -> list[str]:
    return [part for text in texts for part in (text, "")]


def _figure_row(table: Table, key: Key, figures: Sequence[Figure | None]) -> None:
    cells: list[str] = []
    for figure in figures:
        cells += ["-", ""] if figure is None else [percent(figure.value, key[0]), spread(figure, key[0])]
    table.add_row(label(key), *cells)


def _figures(found: PeopleReport) -> dict[str, Any]:
    return {
        "genuine": found.genuine, "impostors": found.impostors,
        **_nested({key: _number(figure.value) for key, figure in found.figures.items()}),
        "ci": _nested({key: _interval(figure) for key, figure in found.figures.items()}),
    }  # fmt: skip


def _realised(found: PeopleReport) -> dict[str, Any]:
    """The thresholds that the model sets itself, where strangers met them."""
    if not found.identification:
        return {}
    rows = [
        {"enrolled": one.enrolled, "target": one.target, "fpir": _number(one.fpir.value),
         "fpir_ci": _interval(one.fpir), "fnir": _number(one.fnir.value), "fnir_ci": _interval(one.fnir)}
        for one in found.identification.realised
    ]  # fmt: skip
    return {"realised_fpir": rows}


def _nested(values: dict[Key, Any]) -> dict[str, Any]:
    """{("tar", "0.01"): x, ("eer", ""): y} as {"tar": {"0.01": x}, "eer": y}."""
    out: dict[str, Any] = {}
    for (name, argument), value in values.items():
        if argument:
            out.setdefault(name, {})[argument] = value
        else:
            out[name] = value
    return out


def _interval(figure: Figure) -> list[float | None]:
    return [_number(end) for end in figure.interval]


def _number(value: float) -> float | None:
    """Six places; null for what could not be measured, which JSON has no other word for."""
    return None if math.isnan(value) else round(float(value), 6)


def _plain(text: str) -> Text:
    """A name as rich prints it, without markup; no odd byte of a path can break it."""
    return Text(text.encode("utf-8", "backslashreplace").decode())
