"""Measure `facedex serve` under load beside the library in this process, in turns.

    python -m scripts.benchmarks.server_load PHOTOS [--clients 32] [--seconds 60] [--people 100] [--model NAME]

PHOTOS is a folder with a folder of photos for each person, or photos named by person. The first photos of --people
people are enrolled. Then the same photos are identified, in turns of five seconds: by as many threads as the server has
for photos, which call `Gallery.identify`, and by --clients clients of the server's /v1/identify. Each answer of the
server must name whom the library names. The clients run on the same machine and share its cores.

Needs the extra `web`. The exit code is 1 when an answer was wrong.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from facedex import Gallery, named_photos
from facedex.threads import workers
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


def client(port: int) -> Callable[[bytes], list[Any]]:
    """A client with a connection of its own, which returns the names of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(photo: bytes) -> list[Any]:
        connection.request("POST", "/v1/identify", photo, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            return [answer.status, body["error"]["code"]]
        return [face["name"] for face in body["photos"][0]["faces"]]

    return ask


def started(folder: Path, model: str | None) -> tuple[subprocess.Popen[str], int]:
    """A server of a gallery, and its port."""
    command = [sys.executable, "-m", "facedex", "serve", "-g", str(folder), "--port", "0"]
    process = subprocess.Popen(
        command + (["--model", model] if model else []), stderr=subprocess.PIPE, encoding="utf-8"
    )
    assert process.stderr is not None
    line = next((line for line in process.stderr if line.startswith("serving ")), "")
    threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
    return process, int(line.split("http://127.0.0.1:")[1].split()[0].strip(";,"))


def memory(process: int) -> int:
    """Resident memory in MiB; 0 where the system does not tell."""
    status = Path(f"/proc/{process}/status")
    rows = status.read_text().splitlines() if status.exists() else []
    return next((int(row.split()[1]) // 1024 for row in rows if row.startswith("VmRSS")), 0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--model")
    options = parser.parse_args()
    with named_photos(options.photos) as (found, _):
        named = list(itertools.islice(found, options.people))
    photos = [photo.read() for photo in named]
    with tempfile.TemporaryDirectory() as top, Gallery(Path(top) / "g", options.model, create=True) as gallery:
        gallery.enroll_all(named)

        def library(photo: bytes) -> list[Any]:
            return [face.name for face in gallery.identify(photo).faces]

        expected = [library(photo) for photo in photos]
        process, port = started(Path(top) / "g", options.model)
        try:
            by_library = Load(workers(), photos, lambda: library)
            by_server = Load(options.clients, photos, lambda: client(port))
            sizes = []
            while by_server.seconds < options.seconds:
                by_library.turn()
                by_server.turn()
                sizes.append(memory(process.pid))
        finally:
            process.terminate()
            process.wait(60)
    wrong = sum(expected[number] != names for one in (by_library, by_server) for number, names in one.answers)
    for name, one in (("library", by_library), ("server", by_server)):
        middle, late = np.percentile(one.times, (50, 99)) * 1000
        print(
            f"{name}: {one.threads} at once, {len(one.times)} photos in {one.seconds:.0f} s, {one.rate:.1f} a second, "
            f"p50 {middle:.0f} ms, p99 {late:.0f} ms"
        )
    print(f"server / library: {by_server.rate / by_library.rate:.3f}; wrong answers: {wrong}")
    print(f"memory of the server after each turn (MiB): {' '.join(map(str, sizes))}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    run_script(main)
