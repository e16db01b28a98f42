"""Measure `facedex serve` under load beside the library in this process and other packages' servers, in turns.

    python -m scripts.benchmarks.server_load PHOTOS [--clients 32] [--seconds 60] [--people 100] [--model NAME]
        [--deepface PYTHON] [--face-recognition PYTHON] [--workers N]

PHOTOS is a folder with a folder of photos for each person, or photos named by person. People with two photos are taken,
--people of them. The first photo of each is enrolled, and the second one is identified, in turns of five seconds: by as
many threads as the server has for photos, which call `Gallery.identify`, and by --clients clients of each server. The
clients run on the same machine and share its cores.

--deepface is the Python of an environment with `deepface[api]`. --face-recognition is that of one with
`face_recognition`, `fastapi`, `uvicorn` and `python-multipart`. Without an option, that package is left out. Each of
the two gets --workers processes, else one for each core.

Needs the extra `web`. The exit code is 1 when the server of facedex named whom the library does not name.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facedex import Gallery, named_photos
from facedex.errors import DataError
from facedex.photos.sources import NamedPhoto
from facedex.threads import workers
from scripts.benchmarks.serving_peers import deepface_server, face_recognition_server, facedex_server, usage
from scripts.runner import run_script

TURN = 5.0  # seconds


class Load:
    """Threads that ask again and again until a turn is over; each connects anew in each turn."""

    def __init__(self, threads: int, photos: list[bytes], connect: Callable[[], Callable[[bytes], list[Any]]]) -> None:
        self.threads, self.photos = threads, photos
        self.connect = connect
        self.seconds, self.times = 0.0, []  # type: tuple[float, list[float]]
        self.answers: list[tuple[int, list[Any]]] = []
        self._next = itertools.count()

    def turn(self) -> None:
        """Ask for one turn. Requests that have begun are finished, and the time until then counts."""
        begun = time.perf_counter()
        running = [threading.Thread(target=self._ask, args=(begun + TURN,)) for _ in range(self.threads)]
        for one in running:
            one.start()
        for one in running:
            one.join()
        self.seconds += time.perf_counter() - begun

    def _ask(self, end: float) -> None:
        ask = self.connect()  # anew, because the server closes idle connections between turns
        while (begun := time.perf_counter()) < end:
            number = next(self._next) % len(self.photos)
            self.answers.append((number, ask(self.photos[number])))
            self.times.append(time.perf_counter() - begun)

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds


def two_photos(folder: Path, people: int) -> dict[str, tuple[NamedPhoto, NamedPhoto]]:
    """The first two photos of the first people who have two. Raises DataError where nobody has."""
    photos: dict[str, list[NamedPhoto]] = {}
    with named_photos(folder) as (found, _):
        for photo in found:
            photos.setdefault(photo.name, []).append(photo)
    pairs = {name: (of[0], of[1]) for name, of in photos.items() if len(of) > 1}
    if not pairs:
        raise DataError(f"{folder} holds nobody with two photos; give another folder")
    return dict(itertools.islice(pairs.items(), people))


class Verdict(NamedTuple):
    """How many photos of people were answered in which way, where not by the right name alone.

    `wrong`: only others were named. `beside`: another was named beside the right person, which may be true, because
    the label of a photo tells one of the people in it. `unnamed`: nobody was named. `failed`: there was no answer.
    """

    wrong: int
    beside: int
    unnamed: int
    failed: int


def judged(answers: list[tuple[int, list[Any]]], people: list[str]) -> Verdict:
    """Judge answers, each with the number of the person whom the photo shows. A photo counts once of each kind."""
    kinds: dict[str, set[int]] = {kind: set() for kind in Verdict._fields}
    for number, names in answers:
        texts = {name for name in names if isinstance(name, str)}
        if any(isinstance(name, int) for name in names):
            kinds["failed"].add(number)
        elif not texts:
            kinds["unnamed"].add(number)
        elif people[number] not in texts:
            kinds["wrong"].add(number)
        elif len(texts) > 1:
            kinds["beside"].add(number)
    return Verdict(**{kind: len(numbers) for kind, numbers in kinds.items()})


def report(name: str, load: Load, people: list[str], used: list[tuple[int, float]]) -> None:
    """Print what a turn-taker did, and what a server used before its first turn and after each turn."""
    middle, late = np.percentile(load.times, (50, 99)) * 1000
    verdict = judged(load.answers, people)
    print(
        f"{name}: {load.threads} at once, {len(load.times)} photos in {load.seconds:.0f} s, {load.rate:.1f} a second, "
        f"p50 {middle:.0f} ms, p99 {late:.0f} ms; of {len(people)} people {verdict.wrong} named as somebody else, "
        f"{verdict.unnamed} not named, {verdict.failed} without an answer; {verdict.beside} with another name beside"
    )
    if used:
        spent = (used[-1][1] - used[0][1]) / len(load.times) * 1000
        print(f"{name}: {spent:.0f} ms of processor time a photo; {used[1][0]} MiB after a turn, {used[-1][0]} at last")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--model")
    parser.add_argument("--deepface", metavar="PYTHON")
    parser.add_argument("--face-recognition", metavar="PYTHON")
    parser.add_argument("--workers", type=int, default=workers())
    options = parser.parse_args()
    pairs = two_photos(options.photos, options.people)
    people, photos = list(pairs), [asked.read() for _, asked in pairs.values()]
    with contextlib.ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gallery = stack.enter_context(Gallery(top / "g", options.model, create=True))
        gallery.enroll_all([enrolled for enrolled, _ in pairs.values()])

        def library(photo: bytes) -> list[Any]:
            return [face.name for face in gallery.identify(photo).faces]

        servers = {"server": stack.enter_context(facedex_server(top / "g", options.model))}
        (top / "people").mkdir()
        for name, (enrolled, _) in pairs.items():
            (top / "people" / f"{name}.jpg").write_bytes(enrolled.read())
        for name, python, start in (
            ("deepface", options.deepface, deepface_server),
            ("face_recognition", options.face_recognition, face_recognition_server),
        ):
            if python:
                servers[name] = stack.enter_context(start(python, top / "people", options.workers))
        loads = {name: Load(options.clients, photos, server.connect) for name, server in servers.items()}
        loads = {"library": Load(workers(), photos, lambda: library), **loads}
        used = {name: [usage(server.process)] for name, server in servers.items()}
        while loads["server"].seconds < options.seconds:
            for name, load in loads.items():
                load.turn()
                if name in servers:
                    used[name].append(usage(servers[name].process))
        expected = [library(photo) for photo in photos]
    for name, load in loads.items():
        report(name, load, people, used.get(name, []))
    other = sum(expected[number] != names for number, names in loads["server"].answers)
    print(f"server / library: {loads['server'].rate / loads['library'].rate:.3f}; other answers than its: {other}")
    sys.exit(1 if other else 0)


if __name__ == "__main__":
    run_script(main)
