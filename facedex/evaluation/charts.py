"""The report's plots, drawn by matplotlib in the page's colours, once for light pages and once for dark ones."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from facedex.evaluation.bootstrap import Curve
from facedex.evaluation.error_rates import LEAST
from facedex.evaluation.people_protocol import PeopleReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTTED = (0, (2, 3))
_EER_MARGIN = 20  # the DET plot reaches down to the lowest equal error rate divided by this


@dataclass(frozen=True)
class Palette:
    """Colours of the page. `series` are for the models, in their order."""

    ink: str
    muted: str
    line: str
    genuine: str
    impostor: str
    series: tuple[str, ...]

    def model(self, number: int) -> str:
        """The colour of a model; after the last colour the first comes again."""
        return self.series[number % len(self.series)]


LIGHT = Palette(
    ink="#16181d",
    muted="#626a78",
    line="#e3e6ec",
    genuine="#0f8a5f",
    impostor="#d4552a",
    series=("#2f5fde", "#d4552a", "#0f8a5f", "#8b46c9", "#b0851a", "#c43d74"),
)
DARK = Palette(
    ink="#eceef2",
    muted="#99a1b0",
    line="#2a2f3a",
    genuine="#3ecf95",
    impostor="#ff8a5c",
    series=("#7ea2ff", "#ff8a5c", "#3ecf95", "#c792f5", "#e2bd5a", "#f283b0"),
)

Draw = Callable[["Axes", Palette, Sequence[PeopleReport]], None]


def picture(draw: Draw, reports: Sequence[PeopleReport]) -> str:
    """A plot as HTML. The browser shows the version that fits its light or dark page."""
    (light, label), (dark, _) = (_svg(draw, reports, palette) for palette in (LIGHT, DARK))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img class=plot alt="{escape(label)}" src="{light}"></picture>'
    )


def has_rates(report: PeopleReport) -> bool:
    """Whether there are impostor pairs enough for an ROC."""
    return len(_supported_roc(report).x) > 0


def roc(axes: Axes, palette: Palette, reports: Sequence[PeopleReport]) -> None:
    """TAR over FAR, of reports that `has_rates`."""
    for number, report in enumerate(reports):
        _line(axes, _supported_roc(report), palette.model(number), report.model)
    axes.set(xscale="log", ylim=(0, 1.01), xlabel="false accept rate (FMR)", ylabel="true accept rate")
    _in_percent(axes, "xy")
    _legend(axes, reports)


def det(axes: Axes, palette: Palette, reports: Sequence[PeopleReport]) -> None:
    """FNMR over FMR on logarithmic axes, of reports that `has_rates`. A dot marks the equal error rate."""
    curves = [_supported_roc(report) for report in reports]
    rates = [report.figures["eer", ""].value for report in reports]
    for number, (report, curve, rate) in enumerate(zip(reports, curves, rates, strict=True)):
        # A logarithmic axis has no zero: an FNMR of zero is drawn below one miss in all pairs.
        floor = 0.1 / max(report.genuine, 1)
        fnmr = (np.maximum(1 - tar, floor) for tar in (curve.y, curve.high, curve.low))
        _line(axes, Curve(curve.x, *fnmr), palette.model(number), report.model)
        axes.plot(rate, rate, "o", color=palette.model(number), markersize=5)
    left = min(float(curve.x[0]) for curve in curves) * 0.8
    bottom = min(max(rate, 1e-5) for rate in rates) / _EER_MARGIN
    axes.plot([1e-9, 1], [1e-9, 1], color=palette.muted, linewidth=1, linestyle=_DOTTED)
    axes.set(xscale="log", yscale="log", xlim=(left, 1.1), ylim=(bottom, 1.1))
    axes.set(xlabel="false match rate (FMR)", ylabel="false non-match rate (FNMR)")
    _in_percent(axes, "xy")
    _legend(axes, reports)


def scores(axes: Axes, palette: Palette, reports: Sequence[PeopleReport]) -> None:
    """Histograms of the genuine and the impostor scores of one report."""
    (report,) = reports
    histogram = report.histogram
    for values, colour, name in (
        (histogram.impostor, palette.impostor, "different people"),
        (histogram.genuine, palette.genuine, "same person"),
    ):
        axes.stairs(values, histogram.edges, fill=True, color=colour, alpha=0.28)
        axes.stairs(values, histogram.edges, color=colour, linewidth=1.6, label=name)
    top = float(max(histogram.genuine.max(), histogram.impostor.max()))
    axes.set(ylim=(0, 1.2 * top), xlim=(histogram.edges[0], histogram.edges[-1]))
    unit = "logit" if report.error_rates.reliability else "cosine"
    axes.set(xlabel=f"score ({unit})", ylabel="share of pairs")
    _in_percent(axes, "y")
    axes.legend(loc="upper right")


def ways(axes: Axes, palette: Palette, reports: Sequence[PeopleReport]) -> None:
    """N-way one-shot accuracy, and the accuracy of guessing."""
    for number, report in enumerate(reports):
        _bars(axes, report.open_set.ways, palette.model(number), report.model, shift=number)
    last = max(2.0, *(float(report.open_set.ways.x[-1]) for report in reports))
    n = np.geomspace(2, last, 60)
    axes.plot(n, 1 / n, color=palette.muted, linewidth=1.2, linestyle=_DOTTED, label="guessing")
    axes.set(xscale="log", ylim=(0, 1.03), xlim=(1.8, last * 1.15))
    ticks = [tick for tick in (2, 5, 20, 50) if tick < 0.7 * last] + [last]
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="N: people to choose from, one photo each", ylabel="one-shot accuracy")
    _in_percent(axes, "y")
    axes.legend(loc="lower left" if last < 3 else "best")


def cmc(axes: Axes, palette: Palette, reports: Sequence[PeopleReport]) -> None:
    """Share of probes whose person is among the k best."""
    for number, report in enumerate(reports):
        _line(axes, report.open_set.cmc, palette.model(number), report.model)
    axes.set(xscale="log", ylim=(0, 1.03), xlabel="rank k", ylabel="right person among the k best")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    _in_percent(axes, "y")
    _legend(axes, reports)


def reliability(axes: Axes, palette: Palette, reports: Sequence[PeopleReport]) -> None:
    """Share of pairs that are the same person over the probability given."""
    axes.plot([0, 1], [0, 1], color=palette.muted, linewidth=1.2, linestyle=_DOTTED)
    for number, report in enumerate(reports):
        curve, weight = report.error_rates.reliability, report.error_rates.reliability_weight
        if curve is not None and weight is not None:
            colour = palette.model(number)
            _bars(axes, curve, colour, report.model)
            axes.scatter(curve.x, curve.y, 30 + 420 * weight, colour, alpha=0.3, linewidths=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set(xlabel="probability given", ylabel="share that is the same person")
    _in_percent(axes, "xy")
    _legend(axes, reports, "upper left")


def realised(axes: Axes, palette: Palette, reports: Sequence[PeopleReport]) -> None:
    """Realised FPIR with its interval, against the target, by the number of people enrolled."""
    rows = [row for report in reports for row in report.open_set.realised]
    targets, sizes = sorted({row.target for row in rows}), sorted({row.enrolled for row in rows})
    lowest = min(targets) / 10
    columns = len(reports) * len(targets)
    for target in targets:
        axes.axhline(target, color=palette.muted, linewidth=1.2, linestyle=_DOTTED)
        place = len(sizes) - 0.52, target * 1.06
        axes.text(*place, f"target {_percent(target)}", color=palette.muted, ha="right", va="bottom", fontsize=8.5)
    for number, report in enumerate(reports):
        for row in report.open_set.realised:
            if np.isnan(row.fpir.value):
                continue
            low, high = row.fpir.interval
            column = number * len(targets) + targets.index(row.target)
            x = sizes.index(row.enrolled) + 0.12 * (column - (columns - 1) / 2)
            axes.plot([x, x], [max(low, lowest), max(high, lowest)], color=palette.model(number))
            marker = "o" if row.target == targets[-1] else "D"
            axes.plot(x, max(row.fpir.value, lowest), marker, color=palette.model(number), markersize=6)
    axes.set(yscale="log", xlim=(-0.5, len(sizes) - 0.5), ylim=(lowest * 0.8, None))
    axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="people enrolled", ylabel="strangers named (FPIR)")
    _in_percent(axes, "y")


def _svg(draw: Draw, reports: Sequence[PeopleReport], palette: Palette) -> tuple[str, str]:
    """A plot as the data address of an SVG file, and a label for readers who cannot see it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # svg.hashsalt and a missing date make the file the same on every run.
    with mpl.rc_context(_style(palette)):
        figure = Figure(figsize=(5.4, 3.7), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes, palette, reports)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    label = f"{axes.get_ylabel()} over {axes.get_xlabel()}"
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode(), label


def _style(palette: Palette) -> Any:  # matplotlib's type for settings lists every name
    """Settings of matplotlib."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "facedex",
        "font.size": 9.5,
        "axes.labelsize": 9.5,
        "axes.edgecolor": palette.line,
        "axes.labelcolor": palette.muted,
        "text.color": palette.ink,
        "xtick.color": palette.line,
        "ytick.color": palette.line,
        "xtick.labelcolor": palette.muted,
        "ytick.labelcolor": palette.muted,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "grid.color": palette.line,
        "grid.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 2,
        "legend.frameon": False,
    }


def _supported_roc(report: PeopleReport) -> Curve:
    """The part of the ROC that enough impostor pairs support."""
    curve = report.error_rates.roc
    kept = curve.x * report.impostors >= LEAST
    return Curve(curve.x[kept], curve.y[kept], curve.low[kept], curve.high[kept])


def _line(axes: Axes, curve: Curve, colour: str, name: str) -> None:
    axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(curve.x, curve.y, color=colour, label=name)


def _bars(axes: Axes, curve: Curve, colour: str, name: str, shift: int = 0) -> None:
    """A curve with a bar for each interval. `shift` moves the bars of several models apart."""
    x = curve.x * (1 + 0.02 * shift)
    axes.vlines(x, curve.low, curve.high, color=colour, linewidth=1.6, alpha=0.75)
    axes.plot(x, curve.y, color=colour, marker="o", markersize=5, label=name, linewidth=1.4)


def _legend(axes: Axes, reports: Sequence[PeopleReport], place: Literal["best", "upper left"] = "best") -> None:
    """Name the models, where there are several."""
    if len(reports) > 1:
        axes.legend(loc=place)


def _in_percent(axes: Axes, which: str) -> None:
    """Label the axes named in `which` ("x", "y" or "xy") in percent."""
    for letter in which:
        axis = axes.xaxis if letter == "x" else axes.yaxis
        axis.set_major_formatter(lambda value, _: _percent(value))
        axis.set_minor_formatter(lambda value, _: "")


def _percent(value: float) -> str:
    return f"{100 * value:.10g} %"
