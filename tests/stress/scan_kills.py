"""Kill `scan` with SIGKILL at its steps and at random moments, and check what it leaves.

    python -m tests.stress.scan_kills [--runs 50] [--seed 0] [--photos 24]

A library of drawn faces is scanned and partly named. Then photos come, move, change, are copied and are touched. One
undisturbed scan of that records its steps and its end. Each run scans a copy of the same state and is killed, half of
them at a recorded step and half at a random moment. After each kill these facts must hold:

- `doctor` finds the gallery sound, or completes a deletion that was cut short.
- Each photo that was reported is stored. Each stored photo has all of its faces, and each of them once.
- Names that were given stay, unless their photo shows somebody else now.
- The next scan looks at no photo again that was stored, and ends in the state of the undisturbed scan.

POSIX only. Needs the package onnx (extra `train` or `dev`), as `crash.py` does, whose steps are used.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from facedex.gallery.doctor import examine
from facedex.gallery.gallery import Gallery
from facedex.library import scan as scanning
from tests.helpers import save_blank, save_face
from tests.stress.crash import Steps, copy_folder, fork, tiny_model

_SIDE = 120  # pixels of a drawn face
Library = dict[str, Any]  # what is stored: files with their photos, photos with their faces, names of photos


def draw(folder: Path, photos: range) -> None:
    """Draw photos of one face, and every third of two."""
    for number in photos:
        people = (number, 500 + number) if number % 3 == 0 else (number,)
        save_face(folder / f"{number % 4}" / f"{number:03d}.png", *people, side=_SIDE)


def rearrange(folder: Path, photos: int) -> None:
    """Move, replace, copy, touch and delete photos that were scanned, and add as many new ones."""
    (folder / "0" / "000.png").rename(folder / "3" / "moved.png")
    (folder / "1" / "001.png").rename(folder / "2" / "001.png")
    save_face(folder / "2" / "002.png", 902, side=_SIDE)
    shutil.copy(folder / "3" / "003.png", folder / "copy.png")
    os.utime(folder / "0" / "004.png", ns=(1, 1))
    (folder / "1" / "005.png").unlink()
    save_blank(folder / "nobody.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    draw(folder, range(photos, 2 * photos))


def scan(work: Path, acknowledge: Callable[[str, str], None]) -> None:
    """Scan the photos in small batches, and acknowledge each result."""
    scanning._BATCH = 3  # more commits in less time
    with Gallery(work / "g", work / "tiny.safetensors", create=True) as gallery:
        for result in scanning.scan(gallery, scanning.list_photos(work / "photos")):
            acknowledge(result.status, result.photo)


def stored(work: Path) -> Library:
    """What a gallery keeps of the library. Numbers of rows are left out, because they depend on the order."""
    with Gallery(work / "g") as gallery:
        files, faces = gallery.library.files(), gallery.library.faces()
        sources = gallery.library.sources(file.photo for file in files.values())
        kept: dict[int, list[list[float]]] = {file.photo: [] for file in files.values()}
        for row, photo in enumerate(faces.photos.tolist()):
            kept[photo].append([*faces.box(row), *faces.vectors[row, :3].tolist()])
        names = {
            sources[photo][0]: name for photo, name in zip(faces.photos.tolist(), faces.names, strict=True) if name
        }
    return {"files": {source: sorted(kept[file.photo]) for source, file in files.items()}, "names": names}


def prepare(work: Path, photos: int, print_line: Callable[[str], None]) -> None:
    """Make the photos, and a gallery in which half of them are scanned and all their faces named."""
    tiny_model(work / "tiny.safetensors")
    draw(work / "photos", range(photos))
    scan(work, lambda status, photo: None)
    with Gallery(work / "g") as gallery, gallery.changing_library() as store:
        store.name_scanned("Ada", [], store.library.faces().ids.tolist())
    rearrange(work / "photos", photos)


def run_scan(work: Path, last: str | None, record: bool, print_line: Callable[[str], None]) -> None:
    """Scan in this process, which is killed at the step `last`; print steps and results as JSON lines."""

    def tell(*what: Any) -> None:
        print_line(json.dumps(what))

    Steps(work / "g", last, tell if record else None).install()
    scan(work, partial(tell, "ack"))


def check(work: Path, end: Library, acknowledged: list[list[str]], print_line: Callable[[str], None]) -> None:
    """Check a gallery after a kill, and scan again. Raises AssertionError where something is lost or twice."""
    findings = [finding for finding in examine(work / "g") if finding.state not in ("sound", "repaired")]
    assert not findings, findings
    now = stored(work)
    for status, photo in acknowledged:
        assert status == "skipped" or photo in now["files"], f"{photo} was reported as {status} and is lost"
    for source, faces in now["files"].items():
        if source in end["files"] and source not in end["changed"]:
            assert faces == end["files"][source], f"{source} has other faces"
    again: list[tuple[str, str]] = []
    scan(work, lambda status, photo: again.append((status, photo)))
    reported = {photo: status for status, photo in acknowledged}
    for status, photo in again:
        assert status in ("known", "skipped") or photo not in reported, f"{photo} was {status} twice"
    after = stored(work)
    assert after["files"] == end["files"], "the scan that was killed does not end in the same state"
    assert after["names"] == end["names"], "names were lost"


class Harness:
    """The state from which each run starts, the undisturbed scan, and the counts of the runs."""

    def __init__(self, top: Path, photos: int) -> None:
        # Every run uses the same path, because a gallery stores where its photos are.
        self.template, self.work = top / "template", top / "run"
        self.work.mkdir()
        self._done(fork(partial(prepare, self.work, photos)))
        self.work.rename(self.template)
        self._set_up()
        recorded = self._done(fork(partial(run_scan, self.work, None, True)))
        self.steps = [what for kind, what, *_ in map(json.loads, recorded.lines) if kind == "step"]
        self.end = json.loads(self._done(fork(lambda print_line: print_line(json.dumps(stored(self.work))))).lines[0])
        self.end["changed"] = [str(self.work / "photos" / "2" / "002.png")]
        self._set_up()
        self.seconds = self._done(fork(partial(run_scan, self.work, None, False))).seconds
        self.counts: Counter[str] = Counter()

    @staticmethod
    def _done(ended: Any) -> Any:
        assert ended.status == 0, ended.lines
        return ended

    def _set_up(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        copy_folder(self.template, self.work)

    def run(self, number: int, last: str | None, rng: random.Random) -> None:
        """Kill a scan once, check what it left, count and print what was found."""
        self._set_up()
        moment = None if last else rng.uniform(0, 0.9 * self.seconds)
        ended = fork(partial(run_scan, self.work, last, False), moment)
        acknowledged = [line[1:] for line in map(json.loads, (one for one in ended.lines if one.startswith("[")))]
        faults = ended.lines[-1:]
        if ended.killed or ended.status == 0:
            checked = fork(partial(check, self.work, self.end, acknowledged))
            faults = checked.lines if checked.status else []
        self.counts[("at a step" if last else "at random") if ended.killed else "finished before"] += 1
        if faults:
            self.counts["FAILED"] += 1
            print(f"run {number}, {last or f'after {moment:.4f} s'}: {faults}", flush=True)


def main() -> None:
    """Run and print the summary. The exit code is 1 when anything was lost or twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=int, default=24, help="scanned before; as many come then")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as top:
        harness = Harness(Path(top), options.photos)
        began = time.perf_counter()
        for number in range(options.runs):
            harness.run(number, rng.choice(harness.steps) if number % 2 else None, rng)
        seconds = time.perf_counter() - began
    counts = ", ".join(f"{harness.counts[kind]} {kind}" for kind in ("at a step", "at random", "finished before"))
    print(f"{options.runs} scans killed in {seconds:.0f} s, seed {options.seed}, {len(harness.steps)} steps: {counts}")
    print(f"{harness.counts['FAILED']} with something lost, twice, or not sound")
    sys.exit(1 if harness.counts["FAILED"] else 0)


if __name__ == "__main__":
    main()
