"""The report's plots: SVG of matplotlib whose colours and font are the page's own, so that light and dark both fit."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from facedex.evaluation.bootstrap import Curve
from facedex.evaluation.error_rates import LEAST
from facedex.evaluation.people import PeopleReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins for the page's CSS variables; no plot uses these shades for anything else.
_INK, _MUTED, _GRID = "#010203", "#010204", "#010205"
GENUINE, IMPOSTOR = "#010206", "#010207"
SERIES = ["#010210", "#010211", "#010212", "#010213", "#010214", "#010215"]
_VARIABLES = {
    _INK: "--ink", _MUTED: "--muted", _GRID: "--line", GENUINE: "--genuine", IMPOSTOR: "--impostor",
    **{colour: f"--series{at}" for at, colour in enumerate(SERIES)},
}  # fmt: skip
_STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "facedex", "font.size": 9.5, "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED, "text.color": _INK, "xtick.color": _GRID, "ytick.color": _GRID,
    "xtick.labelcolor": _MUTED, "ytick.labelcolor": _MUTED, "grid.color": _GRID, "grid.linewidth": 0.8,
    "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "lines.linewidth": 2, "legend.frameon": False, "axes.labelsize": 9.5, "xtick.minor.size": 0, "ytick.minor.size": 0,
}  # fmt: skip


def has_rates(report: PeopleReport) -> bool:
    """Whether there are impostor pairs enough for an ROC to say anything."""
    return len(_measured(report).x) > 0


def roc(reports: Sequence[PeopleReport]) -> str:
    """TAR over FAR, of reports that `has_rates`."""
    with _Plot("false accept rate (FMR)", "true accept rate") as plot:
        for at, one in enumerate(reports):
            _line(plot.axes, _measured(one), SERIES[at % len(SERIES)], one.model)
        plot.axes.set(xscale="log", ylim=(0, 1.01))
        _percent(plot.axes, "xy")
        return plot.svg(len(reports) > 1, "best")


def det(reports: Sequence[PeopleReport]) -> str:
    """FNMR over FMR, both as logarithms, of reports that `has_rates`."""
    with _Plot("false match rate (FMR)", "false non-match rate (FNMR)") as plot:
        for at, one in enumerate(reports):
            line = _measured(one)
            # A logarithm has no nought: none missed is drawn below one in all pairs.
            floor = 0.1 / max(one.genuine, 1)
            flipped = Curve(line.x, *(np.maximum(1 - y, floor) for y in (line.y, line.high, line.low)))
            _line(plot.axes, flipped, SERIES[at % len(SERIES)], one.model)
            rate = one.figures["eer", ""].value
            plot.axes.plot(rate, rate, "o", color=SERIES[at % len(SERIES)], markersize=5)
        lines = [_measured(one) for one in reports]
        low = min(float(line.x[0]) for line in lines)
        # Down to where any curve still is, a decade below its rate of equal errors.
        bottom = min(max(one.figures["eer", ""].value, 1e-5) for one in reports) / 20
        plot.axes.plot([1e-9, 1], [1e-9, 1], color=_MUTED, linewidth=1, linestyle=(0, (2, 3)))
        plot.axes.set(xscale="log", yscale="log", xlim=(low * 0.8, 1.1), ylim=(bottom, 1.1))
        _percent(plot.axes, "xy")
        return plot.svg(len(reports) > 1, "best")


def scores(report: PeopleReport) -> str:
    """Histograms of the genuine and the impostor scores."""
    with _Plot("score" + (" (logit)" if report.verification.reliability else " (cosine)"), "share of pairs") as plot:
        edges = report.histogram.edges
        for values, colour, name in (
            (report.histogram.impostor, IMPOSTOR, "different people"),
            (report.histogram.genuine, GENUINE, "same person"),
        ):
            plot.axes.stairs(values, edges, fill=True, color=colour, alpha=0.28)
            plot.axes.stairs(values, edges, color=colour, linewidth=1.6, label=name)
        top = float(max(report.histogram.genuine.max(), report.histogram.impostor.max()))
        plot.axes.set(ylim=(0, 1.2 * top), xlim=(edges[0], edges[-1]))
        _percent(plot.axes, "y")
        return plot.svg(True, "upper right")


def ways(reports: Sequence[PeopleReport]) -> str:
    """N-way one-shot accuracy, and what guessing would give."""
    with _Plot("N: people to choose from, one photo each", "one-shot accuracy") as plot:
        last = 2.0
        for at, one in enumerate(reports):
            if one.identification:
                _bars(plot.axes, one.identification.ways, SERIES[at % len(SERIES)], one.model, at)
                last = max(last, float(one.identification.ways.x[-1]))
        n = np.geomspace(2, last, 60)
        plot.axes.plot(n, 1 / n, color=_MUTED, linewidth=1.2, linestyle=(0, (2, 3)), label="guessing")
        plot.axes.set(xscale="log", ylim=(0, 1.03), xlim=(1.8, last * 1.15))
        ticks = [tick for tick in (2, 5, 20, 50) if tick < 0.7 * last] + [last]
        plot.axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        plot.axes.set_xticks([], minor=True)
        _percent(plot.axes, "y")
        return plot.svg(True, "lower left" if last < 3 else "best")


def cmc(reports: Sequence[PeopleReport]) -> str:
    """Share of probes whose person is among the k best."""
    with _Plot("rank k", "right person among the k best") as plot:
        for at, one in enumerate(reports):
            if one.identification:
                _line(plot.axes, one.identification.cmc, SERIES[at % len(SERIES)], one.model)
        plot.axes.set(xscale="log", ylim=(0, 1.03))
        plot.axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        plot.axes.xaxis.set_minor_formatter(lambda value, _: "")
        _percent(plot.axes, "y")
        return plot.svg(len(reports) > 1, "best")


def reliability(reports: Sequence[PeopleReport]) -> str:
    """Share of pairs that are the same person over the probability given."""
    with _Plot("probability given", "share that is the same person") as plot:
        plot.axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1.2, linestyle=(0, (2, 3)))
        for at, one in enumerate(reports):
            if one.verification.reliability is not None and one.verification.reliability_weight is not None:
                colour = SERIES[at % len(SERIES)]
                _bars(plot.axes, one.verification.reliability, colour, one.model, 0)
                weight = one.verification.reliability_weight
                plot.axes.scatter(
                    one.verification.reliability.x, one.verification.reliability.y, 30 + 420 * weight, colour, alpha=0.3,
                    linewidths=0,
                )  # fmt: skip
        plot.axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _percent(plot.axes, "xy")
        return plot.svg(len(reports) > 1, "upper left")


def realised(reports: Sequence[PeopleReport]) -> str:
    """Realised FPIR with its interval, against the target, by how many are enrolled."""
    with _Plot("people enrolled", "strangers named (FPIR)") as plot:
        targets = sorted({row.target for one in reports if one.identification for row in one.identification.realised})
        lowest = min(targets) / 10
        sizes = sorted({row.enrolled for one in reports if one.identification for row in one.identification.realised})
        for target in targets:
            plot.axes.axhline(target, color=_MUTED, linewidth=1.2, linestyle=(0, (2, 3)))
            plot.axes.text(len(sizes) - 0.52, target * 1.06, f"target {_as_percent(target)}", color=_MUTED, ha="right", va="bottom", fontsize=8.5)  # fmt: skip
        for at, one in enumerate(reports):
            for row in one.identification.realised if one.identification else ():
                if np.isnan(row.fpir.value):
                    continue
                low, high = row.fpir.interval
                place = at * len(targets) + targets.index(row.target)  # of so many beside each other
                x = sizes.index(row.enrolled) + 0.12 * (place - (len(reports) * len(targets) - 1) / 2)
                plot.axes.plot([x, x], [max(low, lowest), max(high, lowest)], color=SERIES[at % len(SERIES)])
                marker = "o" if row.target == targets[-1] else "D"
                plot.axes.plot(x, max(row.fpir.value, lowest), marker, color=SERIES[at % len(SERIES)], markersize=6)
        plot.axes.set(yscale="log", xlim=(-0.5, len(sizes) - 0.5), ylim=(lowest * 0.8, None))
        plot.axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
        plot.axes.grid(visible=False, axis="x")
        _percent(plot.axes, "y")
        return plot.svg(False, "best")


class _Plot:
    """One set of axes in the page's style; `svg` draws it."""

    def __init__(self, x: str, y: str) -> None:
        self._labels = x, y

    def __enter__(self) -> _Plot:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        self._context = mpl.rc_context(_STYLE)
        self._context.__enter__()
        self._figure = Figure(figsize=(5.4, 3.7), layout="constrained")
        self._figure.patch.set_alpha(0)
        self.axes: Any = self._figure.add_subplot()
        self.axes.patch.set_alpha(0)
        self.axes.set_xlabel(self._labels[0])
        self.axes.set_ylabel(self._labels[1])
        return self

    def __exit__(self, *raised: object) -> None:
        self._context.__exit__(*raised)  # type: ignore[arg-type]

    def svg(self, legend: bool, place: str) -> str:
        if legend:
            self.axes.legend(loc=place)
        buffer = io.StringIO()
        self._figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
        return _inline(buffer.getvalue(), f"{self._labels[1]} over {self._labels[0]}")


def _inline(svg: str, title: str) -> str:
    """An SVG file as a part of an HTML page: no prologue, no addresses, the page's colours and font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"', rf'<svg role="img" aria-label="{title}" \1', svg, count=1)
    svg = re.sub(r"font: ([\w ]*[\d.]+px) [^;\"]+", r"font: \1 var(--sans)", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, f"var({variable})")
    return svg


def _measured(report: PeopleReport) -> Curve:
    """The ROC where there are impostor pairs enough to speak of it."""
    curve = report.verification.roc
    kept = curve.x * report.impostors >= LEAST
    return Curve(curve.x[kept], curve.y[kept], curve.low[kept], curve.high[kept])


def _line(axes: Axes, curve: Curve, colour: str, name: str) -> None:
    axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(curve.x, curve.y, color=colour, label=name)


def _bars(axes: Axes, curve: Curve, colour: str, name: str, at: int) -> None:
    x = curve.x * (1 + 0.02 * at)
    axes.vlines(x, curve.low, curve.high, color=colour, linewidth=1.6, alpha=0.75)
    axes.plot(x, curve.y, color=colour, marker="o", markersize=5, label=name, linewidth=1.4)


def _percent(axes: Axes, which: str) -> None:
    for letter in which:
        axis = axes.xaxis if letter == "x" else axes.yaxis
        axis.set_major_formatter(lambda value, _: _as_percent(value))
        axis.set_minor_formatter(lambda value, _: "")


def _as_percent(value: float) -> str:
    return f"{100 * value:.10g} %"
