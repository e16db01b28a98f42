"""Reports of an evaluation as JSON for programs."""

from __future__ import annotations

import math
from typing import Any

from facedex.evaluation.bootstrap import Figure
from facedex.evaluation.comparison import Comparison
from facedex.evaluation.error_rates import Key
from facedex.evaluation.pairs_protocol import PairsReport
from facedex.evaluation.people_protocol import PeopleReport


def pairs_json(report: PairsReport) -> dict[str, Any]:
    """The JSON of `evaluate PAIRS --images DIR`, one object for each model."""
    out: dict[str, Any] = {
        "protocol": "pairs",
        "pairs": report.pairs,
        "accuracy": _number(report.accuracy),
        "accuracy_se": _number(report.accuracy_se),
        "tar": {f"{far:g}": _number(tar) for far, tar in report.tar.items()},
        "auc": _number(report.auc),
        "failed": report.failed,
        "model": report.model,
    }
    if report.figures:
        out["ci"] = _nested({key: _interval(figure) for key, figure in report.figures.items()})
    if report.every_pair:
        out["every_pair"] = {**_figures(report.every_pair), "realised_fpir": _realised(report.every_pair)}
    return out


def people_json(report: PeopleReport) -> dict[str, Any]:
    """The JSON of `evaluate PEOPLE`, one object for each model. `ci` holds the intervals by the figures' names."""
    return {
        "protocol": "people",
        "model": report.model,
        "people": report.people,
        "photos": report.photos,
        **_figures(report),
        "failed": [{"photo": key, "reason": reason} for key, reason in report.failed],
        "realised_fpir": _realised(report),
    }


def comparison_json(found: Comparison) -> dict[str, Any]:
    """The JSON of two models on the same trials: figures of `a` minus those of `b`."""
    out: dict[str, Any] = {
        "protocol": "comparison",
        "a": found.a,
        "b": found.b,
        "on": found.on,
        "difference": _nested({key: _number(gap.value) for key, (gap, _) in found.differences.items()}),
        "ci": _nested({key: _interval(gap) for key, (gap, _) in found.differences.items()}),
        "p": _nested({key: _number(p) for key, (_, p) in found.differences.items()}),
    }
    if found.mcnemar is not None:
        out["mcnemar"] = {"only_a": found.only_a, "only_b": found.only_b, "p": _number(found.mcnemar)}
    return out


def _figures(report: PeopleReport) -> dict[str, Any]:
    return {
        "genuine": report.genuine,
        "impostors": report.impostors,
        **_nested({key: _number(figure.value) for key, figure in report.figures.items()}),
        "ci": _nested({key: _interval(figure) for key, figure in report.figures.items()}),
    }


def _realised(report: PeopleReport) -> list[dict[str, Any]]:
    """The rates of strangers at the model's own thresholds."""
    return [
        {
            "enrolled": row.enrolled,
            "target": row.target,
            "fpir": _number(row.fpir.value),
            "fpir_ci": _interval(row.fpir),
            "fnir": _number(row.fnir.value),
            "fnir_ci": _interval(row.fnir),
        }
        for row in report.open_set.realised
    ]


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
    """Six decimal places, or None for a figure that could not be measured: JSON has no nan."""
    return None if math.isnan(value) else round(float(value), 6)
