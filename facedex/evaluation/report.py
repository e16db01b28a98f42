"""One HTML page of an evaluation: self-contained, with plots, tables and the worst errors as pairs of pictures.

The page fetches nothing and sends nothing, and says so to the browser. It shows faces: it is written for the user alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from rich.table import Table

from facedex._version import __version__
from facedex.errors import DataError, MissingExtra
from facedex.evaluation import tables
from facedex.evaluation.comparison import Comparison
from facedex.evaluation.error_rates import LEAST, Key
from facedex.evaluation.pairs import PairsReport
from facedex.evaluation.people import Mistake, PeopleReport
from facedex.evaluation.photosets import crops_of, listed_photos, taker
from facedex.files import replace_file
from facedex.photos.sources import open_people

_CARDS: tuple[tuple[Key, str], ...] = (
    (("accuracy", ""), "of the listed pairs decided rightly"),
    (("tar", "0.001"), "same person recognised, one false match in 1,000"),
    (("rank", "1"), "right person first, everybody enrolled"),
    (("fnir", "0.01"), "missed, where 1 % of strangers are named"),
    (("ece", ""), "distance of probabilities from the truth"),
    (("auc", ""), "chance that a same pair scores higher"),
)


def require() -> None:
    """Raises MissingExtra without matplotlib: before the photos are read, not after."""
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

    The pictures of the worst errors are made anew from the photos: `data`, or with `listed` pairs those in `images`.
    Raises MissingExtra, DataError when the page cannot be written.
    """
    require()
    keys = {
        key for one in reports for wrong in (*one.false_matches, *one.false_non_matches) for key in (wrong.a, wrong.b)
    }
    if images is not None:
        crops = crops_of(listed_photos(images, sorted(keys)), keys, taker(aligned))
    else:
        with open_people(data) as photos:
            crops = crops_of(photos, keys, taker(aligned))
    page = _page(data.name, listed, reports, comparisons, {key: _picture(crop) for key, crop in crops.items()})
    path = folder / "report.html"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, page.encode("utf-8", "backslashreplace"), private=True)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); name another folder by --report") from None
    return path


def _page(
    name: str,
    listed: Sequence[PairsReport],
    reports: Sequence[PeopleReport],
    comparisons: Sequence[Comparison],
    pictures: dict[str, str],
) -> str:
    from facedex.evaluation import charts

    first = reports[0]
    chips = "".join(
        f'<span class="chip"><i style="background:var(--series{at % len(charts.SERIES)})"></i>{escape(one.model)}</span>'
        for at, one in enumerate(reports)
    )
    body = [
        f"<header><p class=eyebrow>facedex {__version__} · evaluation</p><h1>{escape(name)}</h1>"
        f"<p class=lede>{first.photos:,} photos of {first.people:,} people; {first.genuine:,} pairs of one person, "
        f"{first.impostors:,} of two. {_failures(first)}</p><p class=chips>{chips}</p></header>",
        _cards(listed, reports),
        _section(
            "One face against one",
            "How many pairs of one person are recognised, at each rate of false matches. Bands and brackets hold 95 %, by "
            "drawing people again.",
            *(
                [_plot("ROC", charts.roc(reports)),
                 _plot("DET", charts.det(reports), "The dot is the equal error rate.")]
                if all(map(charts.has_rates, reports)) else
                [f"<p class=note>Too few pairs of two people for an ROC: {first.impostors:,}, where a rate is told from "
                 f"{LEAST} false matches on.</p>"]
            ),
            *(_plot(f"Scores{_of(one, reports)}", charts.scores(one)) for one in reports),
            *(
                [_plot("Calibration", charts.reliability(reports),
                       "On the diagonal, seven in ten of the pairs called 70 % are the same person. "
                       "Larger dots carry more pairs.")]
                if any(one.verification.reliability is not None for one in reports) else []
            ),
        ),
    ]  # fmt: skip
    many = [one for one in reports if one.identification]
    if many:
        body.append(
            _section(
                "One face against many",
                "Everybody is enrolled with one photo; another photo of the same person is looked for.",
                _plot("N-way one-shot", charts.ways(reports), "1,000 trials for each N."),
                _plot("CMC", charts.cmc(reports), f"Among all {first.people:,} people."),
            )
        )
    own = [one for one in many if one.identification and one.identification.realised]
    if own:
        body.append(
            _section(
                "Strangers",
                "How often somebody who is not enrolled is given a name, at the threshold the model sets itself for that "
                "many people. Twenty galleries drawn at random.",
                _plot("Realised FPIR", charts.realised(own), "Dots: target 1 %. Diamonds: target 0.1 %."),
                "<div class=card>"
                + "".join(
                    _table(tables.realised_table(one.model, one.identification.realised), f"At {one.model}’s own threshold")
                    for one in own if one.identification
                )
                + "</div>",
            )
        )  # fmt: skip
    figures = []
    if listed:
        figures.append(_table(tables.pairs_table(listed), "Listed pairs"))
    figures.append(_table(tables.people_table(reports, ""), "Every pair of the photos" if listed else "All figures"))
    figures += [_table(tables.comparison_table(one), f"{one.a} against {one.b}: {one.on}") for one in comparisons]
    body.append(_section("Figures", "", *(f'<div class="card wide">{one}</div>' for one in figures)))
    for one in reports:
        body.append(
            _section(
                f"Worst errors{_of(one, reports)}",
                "The pairs this model gets most wrong. Faults in the labels show up here first.",
                _mistakes("Different people, most alike to the model", one.false_matches, pictures),
                _mistakes("One person, least alike to the model", one.false_non_matches, pictures),
            )
        )
    style = resources.files("facedex.evaluation").joinpath("report.css").read_text("utf-8")
    return (
        '<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width">'
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(name)} · facedex evaluation</title><style>{style}</style></head><body><main>"
        + "\n".join(body)
        + f"<footer>{_NOTES}</footer></main></body></html>\n"
    )


_NOTES = (
    "<p><b>How to read it.</b> TAR@FAR: the share of one person’s pairs accepted at the threshold that at most this share of "
    "two people’s pairs passes. FNIR@FPIR: the share of enrolled people not given their name at the threshold that at most "
    "this share of strangers passes. Intervals hold 95 % and come from drawing the people, not the pairs, again 1,000 "
    "times. A dash stands where there are too few pairs to say.</p>"
    "<p><b>Private.</b> This page shows faces of real people. It loads nothing and sends nothing; share it only where you "
    "may share the photos.</p>"
)


def _failures(report: PeopleReport) -> str:
    if not report.failed:
        return "A face was found in every photo."
    return f"{len(report.failed):,} photos without a face that could be used are left out."


def _cards(listed: Sequence[PairsReport], reports: Sequence[PeopleReport]) -> str:
    cards: list[str] = []
    for key, text in _CARDS:
        rows = []
        for at, one in enumerate(reports):
            figures = {
                **one.figures,
                **({key: listed[at].figures[key]} if listed and key in listed[at].figures else {}),
            }
            if key in figures and not np.isnan(figures[key].value):
                rows.append(
                    f"<p class=big><i style='background:var(--series{at % 6})'></i>"
                    f"{escape(tables.percent(figures[key].value, key[0]))}"
                    f"<small>{escape(tables.spread(figures[key], key[0]))}</small></p>"
                )
        if rows and len(cards) < 4:
            cards.append(
                f"<div class=card><h3>{escape(tables.label(key))}</h3>{''.join(rows)}<p class=note>{text}</p></div>"
            )
    return f"<div class=figures>{''.join(cards)}</div>"


def _section(title: str, lede: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p class=lede>{escape(lede)}</p><div class=grid>{''.join(parts)}</div></section>"


def _plot(title: str, svg: str, note: str = "") -> str:
    return f"<figure class=card><h3>{escape(title)}</h3>{svg}<figcaption>{escape(note)}</figcaption></figure>"


def _table(table: Table, title: str) -> str:
    """A rich table as HTML."""
    heads = "".join(
        f"<th{' class=number' if column.justify == 'right' else ''}>{escape(str(column.header))}</th>"
        for column in table.columns
    )
    cells = zip(*(list(column.cells) for column in table.columns), strict=True)
    classes = [
        "dim" if column.style == "dim" else "number" if column.justify == "right" else "" for column in table.columns
    ]
    rows = "".join(
        "<tr>" + "".join(f"<td class='{kind}'>{escape(str(cell))}</td>" for kind, cell in zip(classes, row, strict=True)) + "</tr>"
        for row in cells
    )  # fmt: skip
    return f"<h3>{escape(title)}</h3><div class=scroll><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"


def _mistakes(title: str, wrong: Sequence[Mistake], pictures: dict[str, str]) -> str:
    shown = "".join(_pair(one, pictures) for one in wrong)
    return f'<div class="card wide"><h3>{escape(title)}</h3><div class=pairs>{shown}</div></div>'


def _pair(wrong: Mistake, pictures: dict[str, str]) -> str:
    faces = "".join(
        f'<img alt="" src="{pictures[key]}" width=112 height=112>' if key in pictures else "<span class=gone></span>"
        for key in (wrong.a, wrong.b)
    )
    names = list(dict.fromkeys(key.partition("/")[0].replace("_", " ") for key in (wrong.a, wrong.b)))
    answer = f"cosine {wrong.score:.3f}" if wrong.similarity is None else f"similarity {100 * wrong.similarity:.2f} %"
    return (
        f'<figure title="{escape(wrong.a)} · {escape(wrong.b)}"><div class=faces>{faces}</div><figcaption>'
        f"{' <s></s> '.join(escape(name) for name in names)}<b>{answer}</b></figcaption></figure>"
    )


def _picture(crop: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _of(one: PeopleReport, reports: Iterable[PeopleReport]) -> str:
    return f" of {one.model}" if len(list(reports)) > 1 else ""
