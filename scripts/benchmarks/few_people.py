"""Measure from how many people on `facedex train ./people` makes a model better for others.

    python -m scripts.benchmarks.few_people PEOPLE --out DIR [--aligned] [--corrections FILE] [--people 5,10,20,40,80]
        [--draws 3] [--model FILE]

PEOPLE is a folder or pack. 24 of them are held back to choose, calibrate and decide by, as with `facedex train
--validation`. For each number of people and each draw, so many others are drawn, with three to six photos each. The
model's projection and head are fitted to them and judged on everybody else: TAR at FAR 1e-3 over all pairs, before and
after, with the 95 % interval of the difference (bootstrap over people). The fitted model is judged even where `facedex
train` would refuse it. Finished rows are kept in DIR/results.jsonl and not measured again. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from facedex.cli.console import say
from facedex.data.dataset import Faces, correct, load_faces
from facedex.errors import FacedexError
from facedex.evaluation.matchers import model_matcher
from facedex.model.modelfile import ModelFile, read_model, shipped_model
from facedex.training import judging
from facedex.training.frozen import fit_frozen
from scripts.runner import list_of, run_script

HELD = 24  # people to choose the checkpoint and to calibrate by
PHOTOS = (3, 6)  # least and most photos of each person to fit to
JUDGED = 1200  # most photos to judge a model on


def hold_back(faces: Faces, seed: int = 0) -> tuple[Faces, np.ndarray]:
    """Return the faces of the people held back, and the numbers of all other people in random order."""
    order = np.random.default_rng([seed, 0xFE3]).permutation(len(faces.names))
    return faces.select(np.flatnonzero(np.isin(faces.people, order[:HELD]))), order[HELD:]


def draw(faces: Faces, others: np.ndarray, people: int, number: int) -> tuple[Faces, Faces]:
    """Draw people to fit to, with three to six photos each, and everybody else of `others`. Raises FacedexError."""
    rng = np.random.default_rng([people, number])
    count = np.bincount(faces.people, minlength=len(faces.names))
    enough = others[count[others] >= PHOTOS[0]]
    if len(enough) < people + 4:
        raise FacedexError(f"Only {len(enough)} people have {PHOTOS[0]} photos; {people + 4} are needed; add people")
    learnt = rng.choice(enough, people, replace=False)
    photos = [
        rng.permutation(np.flatnonzero(faces.people == person))[: rng.integers(PHOTOS[0], PHOTOS[1] + 1)]
        for person in learnt
    ]
    rest, judged = np.setdiff1d(others, learnt), np.empty(0, np.int64)
    for person in np.random.default_rng(0).permutation(rest):  # in the same order for every draw
        judged = np.concatenate([judged, np.flatnonzero(faces.people == person)])
        if len(judged) >= JUDGED:
            break
    return faces.select(np.sort(np.concatenate(photos))), faces.select(np.sort(judged))


def measure(start: ModelFile, faces: Faces, people: int, number: int, work: Path) -> dict:
    """Fit `start` to one draw and judge it on the others. Return a row."""
    held, others = hold_back(faces)
    learnt, judged = draw(faces, others, people, number)
    began = time.perf_counter()
    tuned = fit_frozen(start, learnt, work / "tuned.safetensors", held=held, seed=number, force=True, least=0)
    assert tuned.model is not None
    seconds, crops = time.perf_counter() - began, judged.crops112()
    was, now = (
        judging.tars(matcher, matcher.encode(crops), judged.people, 0)
        for matcher in map(model_matcher, (start, tuned.model))
    )
    found = judging.judged(was, now, len(judged.names))
    return {
        **shared_fields(start, faces),
        "people": people,
        "draw": number,
        "photos": len(learnt),
        "figure": found.figure,
        "judged_people": found.people,
        "before": found.before,
        "after": found.after,
        "low": found.low,
        "high": found.high,
        "seconds": round(seconds, 1),
    }


def shared_fields(start: ModelFile, faces: Faces) -> dict:
    """Return the fields that all rows of one table share."""
    return {"model": start.identity, "data": faces.digest()}


def finished_rows(path: Path, common: dict) -> dict[tuple[int, int], dict]:
    """Return the finished rows with the fields `common`, by people and draw. A half line after a crash is skipped."""

    def rows() -> Iterator[dict]:
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    return {(row["people"], row["draw"]): row for row in rows() if common.items() <= row.items()}


def table(rows: Sequence[dict]) -> str:
    """Return the rows as a table in Markdown, with one line for each number of people."""
    lines = ["| people | draws | photos | before | after | change, each draw | worse |", "|" + "---|" * 7]
    for people in sorted({row["people"] for row in rows}):
        some = [row for row in rows if row["people"] == people]
        mean = {key: float(np.mean([row[key] for row in some])) for key in ("photos", "before", "after")}
        changes = ", ".join(f"{100 * (row['after'] - row['before']):+.2f}" for row in some)
        worse = sum(row["after"] < row["before"] for row in some)
        lines.append(
            f"| {people} | {len(some)} | {mean['photos']:.0f} | {mean['before']:.2%} | {mean['after']:.2%} "
            f"| {changes} | {worse} of {len(some)} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the missing rows and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="PEOPLE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--aligned", action="store_true")
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--cache", type=Path, help="of decoded faces; else in DIR")
    parser.add_argument("--model", help="else the one that ships")
    parser.add_argument("--people", type=list_of(int, 1), default="5,10,20,40,80")
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.jsonl"
    start = read_model(options.model or shipped_model())
    faces = correct(
        load_faces(options.source, options.cache or options.out / "cache", options.aligned), options.corrections
    )
    common = shared_fields(start, faces)
    for number in range(options.draws):  # each number of people is drawn once before any is drawn again
        for people in options.people:
            if (people, number) in finished_rows(path, common):
                continue
            work = options.out / "work"
            shutil.rmtree(work, ignore_errors=True)
            row = measure(start, faces, people, number, work)
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            say(
                f"{people} people, draw {number}: {row['figure']} {row['before']:.4f} to {row['after']:.4f} in "
                f"{row['seconds']:.0f} s"
            )
    print(table(list(finished_rows(path, common).values())))


if __name__ == "__main__":
    run_script(main)
