"""Stop `facedex serve` while clients enroll: what was answered 201 must be there, and nothing twice. POSIX only.

    python -m tests.stress.http_crash [--runs 100] [--signal KILL] [--seed 0]

KILL ends the server at once. TERM asks it to stop: requests that it has begun must still be answered, and the server
must end with the exit code 0 within its grace time.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx

from facedex.gallery.gallery import Gallery
from facedex.server.running import STOP_SECONDS
from tests.servers import photo, served

CLIENTS = 3


class Enrolling(threading.Thread):
    """A client that enrolls one made-up person after another until the server is gone."""

    def __init__(self, url: str, numbers: range) -> None:
        super().__init__()
        self.url, self.numbers = url, numbers
        self.answered: dict[int, int] = {}
        self.unanswered: list[int] = []
        self.cut: list[str] = []

    def run(self) -> None:
        for number in self.numbers:
            try:
                self.answered[number] = enroll(self.url, number)
            except httpx.ConnectError:
                return
            except httpx.HTTPError as error:
                self.unanswered.append(number)
                self.cut.append(f"{type(error).__name__}: {error}")
                return


def enroll(url: str, number: int) -> int:
    """Enroll a person over a connection of its own; returns the status."""
    return httpx.post(f"{url}/v1/people", files=[photo(number)], data={"name": f"p{number}"}, timeout=60).status_code


def stop_once(folder: Path, first: int, sent: signal.Signals, rng: random.Random) -> tuple[list[Enrolling], int, float]:
    """Serve a gallery, let clients enroll, stop the server; returns the clients, the exit code, and the seconds."""
    with served("-g", folder) as process:
        clients = [Enrolling(process.url, range(first + k, first + 600, CLIENTS)) for k in range(CLIENTS)]
        for one in clients:
            one.start()
        end = time.monotonic() + 30
        while not any(one.answered for one in clients) and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(sent)
        begun = time.perf_counter()
        process.wait(2 * STOP_SECONDS)
        seconds = time.perf_counter() - begun
        for one in clients:
            one.join(60)
        return clients, process.returncode, seconds


def faults_of(folder: Path, known: set[int], maybe: set[int]) -> tuple[list[str], set[int]]:
    """What is wrong in a gallery that must hold `known` people and may hold `maybe`; and whom it holds."""
    with Gallery(folder) as gallery:
        photos = {int(person.name[1:]): person.photos for person in gallery.people()}
    faults = [f"p{number} was answered and is lost" for number in sorted(known - set(photos))]
    faults += [f"p{number} was never asked for" for number in sorted(set(photos) - known - maybe)]
    faults += [f"p{number} has {count} photos" for number, count in photos.items() if count != 1]
    return faults, set(photos)


def main() -> None:
    """Run and print the summary. The exit code is 1 when anything was lost, doubled or cut off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, sent = random.Random(options.seed), signal.Signals[f"SIG{options.signal}"]
    known: set[int] = set()
    counts: Counter[str] = Counter()
    faults: list[str] = []
    begun, slowest = time.perf_counter(), 0.0
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "g"
        for run in range(options.runs):
            clients, code, seconds = stop_once(folder, 1000 * run, sent, rng)
            answered = {number: status for one in clients for number, status in one.answered.items()}
            known |= {number for number, status in answered.items() if status == 201}
            maybe = {number for one in clients for number in one.unanswered}
            found, there = faults_of(folder, known, maybe)
            found += [f"p{number} was answered {status}" for number, status in answered.items() if status != 201]
            if sent is signal.SIGTERM:
                found += [f"the exit code is {code}"] * (code != 0)
                found += [f"it ended after {seconds:.1f} s"] * (seconds > STOP_SECONDS + 2)
                found += [f"p{number} was enrolled and not answered" for number in sorted(maybe & there)]
            slowest = max(slowest, seconds)
            counts.update(acknowledged=len(answered), unanswered=len(maybe), kept=len(maybe & there))
            known |= there
            faults += [f"run {run}: {fault}" for fault in found]
        if maybe:  # clients ask again, and nothing may double
            with served("-g", folder) as process:
                for number in sorted(maybe):
                    enroll(process.url, number)
            faults += faults_of(folder, known | maybe, set())[0]
    for fault in faults[:20]:
        print(fault)
    print(
        f"{options.runs} stops by SIG{options.signal} in {time.perf_counter() - begun:.0f} s, seed {options.seed}: "
        f"{counts['acknowledged']} acknowledged, {counts['unanswered']} unanswered ({counts['kept']} of them kept); "
        f"ended within {slowest:.1f} s; {len(faults)} faults"
    )
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
