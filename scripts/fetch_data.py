"""Fetch photos of people (LFW, PubFig or any list of links) for `facedex train` and `facedex evaluate`.

    python -m scripts.fetch_data lfw OUT [--kind deepfunneled]
    python -m scripts.fetch_data pubfig OUT [--part dev] [--crop face]
    python -m scripts.fetch_data list FILE OUT [--crop aligned]

FILE has a line for each photo, tab-separated: person, number, url, rectangle of the face (left,top,right,bottom), MD5.
Photos become OUT/PERSON/PERSON_0001.jpg. --crop chooses what is kept of each:

    rect     the list's rectangle, or the detected face where a line has none
    face     the detected face nearest to the rectangle
    aligned  that face on the 128 x 128 template, for `facedex train --aligned`
    none     the whole photo

Many links of such lists are dead. Failures are counted by reason and listed in OUT/failures.csv. The same command
continues an interrupted run. It skips links that failed for good, unless --again is given. Exit codes: 0 everything is
there, 1 some links failed, 2 nothing could be done. Needs the package requests: pip install ".[fetch]".

The photos show real people, and we may not pass them on. LFW and PubFig are offered for non-commercial research.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from facedex.cli.console import say
from facedex.cli.progress import progress_bar
from facedex.errors import DataError, FacedexError, PhotoError, PhotoTooLarge, PhotoUnsupported
from facedex.faces import alignment
from facedex.faces.detector import FaceDetector
from facedex.faces.face import Face
from facedex.files import replace_file
from facedex.photos import images
from scripts.fetching.lfw import KINDS, fetch_lfw
from scripts.fetching.linklist import Link, Rect, read_links
from scripts.fetching.polite import in_parallel, persist
from scripts.fetching.transfer import DiskError, Failure, Limits, forget, get

PUBFIG = "https://www.cs.columbia.edu/CAVE/databases/pubfig/download/"
PUBFIG_LISTS = {"dev": "dev_urls.txt", "eval": "eval_urls.txt"}  # no checksum of these is published
WORK = ".fetch"  # a folder in OUT, hidden so that nothing takes it for a person
CROPS = ("rect", "face", "aligned", "none")
MAX_PIXELS = 50_000_000
_OTHER, _BROKEN = "another file", "broken picture"  # reasons that a lost connection can also cause


class Cropper:
    """Cuts the wanted face out of a photo."""

    def __init__(self, mode: str, margin: float) -> None:
        self.mode, self.margin = mode, margin
        self._detector = None if mode == "none" else FaceDetector()

    @property
    def key(self) -> str:
        """The settings on which the picture depends, as text."""
        return self.mode if self.mode in ("aligned", "none") else f"{self.mode} {self.margin:g}"

    def __call__(self, pixels: np.ndarray, rect: Rect | None) -> np.ndarray:
        """Cut the face out of a photo (height, width, 3) uint8 RGB. Raises Failure."""
        if self._detector is None:
            return pixels
        if self.mode != "rect" or rect is None:
            face = self._face(self._detector.detect(pixels), rect)
            if self.mode == "aligned":
                return alignment.align(pixels, face.landmarks, alignment.MARGIN)
            left, top, width, height = face.box
            rect = (left, top, left + width, top + height)
        return _cut(pixels, rect, self.margin)

    @staticmethod
    def _face(faces: list[Face], rect: Rect | None) -> Face:
        """Return the face that overlaps the list's rectangle most, or the subject without a rectangle."""
        if rect is not None:
            faces = [face for face in faces if _overlap(face, rect) > 0]
            faces.sort(key=lambda face: -_overlap(face, rect))
        if not faces:
            raise Failure("dead", "no face", "" if rect is None else "none in the rectangle")
        return faces[0]


def _overlap(face: Face, rect: Rect) -> float:
    """Return the intersection over union of a face's box and a rectangle."""
    left, top, width, height = face.box
    wide = min(left + width, rect[2]) - max(left, rect[0])
    high = min(top + height, rect[3]) - max(top, rect[1])
    shared = max(wide, 0) * max(high, 0)
    return shared / (width * height + (rect[2] - rect[0]) * (rect[3] - rect[1]) - shared)


def _cut(pixels: np.ndarray, rect: Rect, margin: float) -> np.ndarray:
    across, down = margin * (rect[2] - rect[0]), margin * (rect[3] - rect[1])
    height, width = pixels.shape[:2]
    if rect[0] >= width or rect[1] >= height or rect[2] <= 0 or rect[3] <= 0:
        raise Failure("dead", "rectangle outside", f"the picture has {width} x {height} pixels")
    left, top = max(0, int(rect[0] - across)), max(0, int(rect[1] - down))
    return pixels[top : int(np.ceil(rect[3] + down)), left : int(np.ceil(rect[2] + across))]


class Journal:
    """The outcome of each link in a file of JSON lines, so that a run can continue an interrupted one."""

    def __init__(self, path: Path) -> None:
        self._last: dict[tuple[str, str], dict] = {}
        if path.exists():
            for line in path.read_text("utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self._last[entry["file"], entry["url"]] = entry
                except (ValueError, KeyError, TypeError):  # a crash left half a line
                    continue
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self._file.write("\n")  # ends a half line, which would spoil the next

    def entry(self, link: Link) -> dict:
        return self._last.get((link.file, link.url), {})

    def add(self, link: Link, crop: str, failure: Failure | None) -> None:
        entry = {"file": link.file, "url": link.url, "crop": crop, "kind": failure.kind if failure else "done"}
        if failure:
            entry |= {"reason": failure.reason, "detail": failure.detail}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        self._last[link.file, link.url] = entry

    def close(self) -> None:
        self._file.close()


def fetch_links(links: list[Link], out: Path, crop: Cropper, limits: Limits, again: bool = False) -> Counter[str]:
    """Fetch the missing photos. Count links by outcome: "done" (now or before), or the reason of the failure.

    Raises DataError when another run works in the same folder, DiskError, MissingExtra.
    """
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DataError(f"Another run is fetching into {out}; wait for it, or name another folder") from None
    journal = Journal(work / "journal.jsonl")
    try:
        wanted = [link for link in links if not _settled(link, out, journal.entry(link), crop, again)]
        decoding = threading.Semaphore(os.cpu_count() or 1)  # limits how many decoded photos are in memory

        def fetch(link: Link) -> None:
            name = hashlib.sha256(f"{link.file}\0{link.url}".encode("utf-8", "replace")).hexdigest()[:24]
            raw = work / name
            try:
                certain = get(link.url, raw, limits)
            except Failure as failure:
                if failure.kind == "dead":
                    forget(raw)
                raise
            try:
                data = raw.read_bytes()
                raw.unlink()
                with decoding:
                    replace_file(out / link.file, _picture(data, link, crop))
            except Failure as failure:
                if not certain and failure.reason in (_OTHER, _BROKEN):
                    raise Failure("later", "cut off", f"perhaps: {failure.detail}") from None
                raise
            except OSError as error:
                raise DiskError(f"{out / link.file} cannot be written ({error.strerror}); free some space") from None

        with progress_bar(len(links)) as bar:
            task = bar.add_task("fetching", total=len(links), completed=len(links) - len(wanted))
            for link, result in in_parallel(wanted, lambda link: link.url, fetch, limits):
                journal.add(link, crop.key, result if isinstance(result, Failure) else None)
                bar.advance(task)
        return Counter(_outcome(journal.entry(link)) for link in links)
    finally:
        _write_failures(out / "failures.csv", links, journal)
        journal.close()
        lock.release()


def _settled(link: Link, out: Path, entry: dict, crop: Cropper, again: bool) -> bool:
    if entry.get("crop") != crop.key:
        return False
    return (out / link.file).is_file() if entry["kind"] == "done" else entry["kind"] == "dead" and not again


def _outcome(entry: dict) -> str:
    return "done" if entry.get("kind") == "done" else entry.get("reason", "not tried")


def _picture(data: bytes, link: Link, crop: Cropper) -> bytes:
    """Return the JPEG to keep of a fetched file. Metadata such as the place is dropped. Raises Failure."""
    if link.digest and _digest(data, link.digest) != link.digest:
        raise Failure("dead", _OTHER, "its checksum differs from the list's")
    remarks: list[str] = []
    try:
        pixels = images.decode(data, "the file", MAX_PIXELS, remarks)
    except PhotoUnsupported as error:
        raise Failure("dead", "not a picture", str(error)) from None
    except PhotoTooLarge as error:
        raise Failure("dead", "too large", str(error)) from None
    except PhotoError as error:
        raise Failure("dead", _BROKEN, str(error)) from None
    if remarks:  # a photo of which a part is missing can be used, but another fetch may bring all of it
        raise Failure("dead", _BROKEN, "; ".join(remarks))
    buffer = io.BytesIO()
    Image.fromarray(crop(pixels, link.rect)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _digest(data: bytes, like: str) -> str:
    return hashlib.new("md5" if len(like) == 32 else "sha256", data, usedforsecurity=False).hexdigest()


def _write_failures(path: Path, links: list[Link], journal: Journal) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["person", "number", "url", "reason", "detail", "again"])
    for link in links:
        entry = journal.entry(link)
        if entry.get("kind") not in (None, "done"):
            next_try = "no" if entry["kind"] == "dead" else "in the next run"
            table.writerow([link.person, link.number, link.url, entry["reason"], entry["detail"], next_try])
    replace_file(path, text.getvalue().encode("utf-8", "replace"))


def pubfig_lists(out: Path, parts: list[str], base: str, limits: Limits) -> list[Path]:
    """Fetch PubFig's own lists of links, unless they are there. Return their paths. Raises DataError, MissingExtra."""
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    paths = []
    for part in parts:
        path, url = work / PUBFIG_LISTS[part], f"{base.rstrip('/')}/{PUBFIG_LISTS[part]}"
        if not path.is_file():
            try:
                persist(lambda url=url, path=path: get(url, path, limits), limits)  # type: ignore[misc]
            except Failure as failure:
                raise DataError(f"{url} cannot be fetched ({failure}); name another address with --mirror") from None
            try:
                read_links(path)
            except DataError:
                path.unlink()
                raise DataError(f"{url} is no list of links; name another address with --mirror") from None
        paths.append(path)
    return paths


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line. Return the exit code."""
    options = _parser().parse_args(arguments)
    limits = Limits(
        options.workers,
        options.per_host,
        options.pause,
        options.connect,
        options.read,
        options.total,
        options.tries,
        max_bytes=int(options.max_mib * 2**20),
    )
    try:
        if options.command == "lfw":
            photos, people = fetch_lfw(options.out, options.kind, options.mirror, limits)
            print(f"{photos:,} photos of {people:,} people in {options.out}, and the lists of pairs beside them")
            return 0
        if options.command == "pubfig":
            parts = list(PUBFIG_LISTS) if options.part == "both" else [options.part]
            lists = pubfig_lists(options.out, parts, options.mirror or PUBFIG, limits)
        else:
            lists = [options.file]
        found, bad = read_links(*lists)
        for sentence in bad:
            say(f"skipped: {sentence}")
        return report(
            fetch_links(found, options.out, Cropper(options.crop, options.margin), limits, options.again),
            len(bad),
            options.out,
        )
    except (FacedexError, DiskError) as error:
        say(f"fetch_data.py: {error}")
        return 2
    except OSError as error:
        say(f"fetch_data.py: {options.out} cannot be written ({error.strerror}); name another folder")
        return 2
    except KeyboardInterrupt:
        say("interrupted; run the same command again to continue")
        return 130


def report(outcomes: Counter[str], bad: int, out: Path) -> int:
    """Print how many links became photos, and why the others failed. Return the exit code."""
    total = outcomes.total() + bad
    print(f"{outcomes['done']:,} of {total:,} photos are in {out}")
    for reason, count in outcomes.most_common():
        if reason != "done":
            print(f"{count:>8,}  {reason}")
    if bad:
        print(f"{bad:>8,}  unusable line of the list")
    if outcomes["done"] < outcomes.total():
        print(f"Each is listed in {out / 'failures.csv'}.")
    return 0 if outcomes["done"] == total else 1 if outcomes["done"] else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    polite = argparse.ArgumentParser(add_help=False)
    default = Limits()

    def number(kind: type, least: float) -> Callable[[str], float]:
        def parse(text: str) -> float:
            if not least <= (value := kind(text)) < 1e6:
                raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and a million")
            return value

        parse.__name__ = "whole number" if kind is int else "number"  # argparse says: invalid ... value
        return parse

    whole, seconds, any_size = number(int, 1), number(float, 0.01), number(float, 0)
    for flag, kind, value, text in (
        ("--workers", whole, default.workers, "requests at a time"),
        ("--per-host", whole, default.per_host, "requests at a time to one host"),
        ("--pause", any_size, default.pause, "seconds between two of these"),
        ("--connect", seconds, default.connect, "seconds to wait for a connection"),
        ("--read", seconds, default.read, "seconds to wait for the next byte"),
        ("--total", seconds, default.total, "seconds for one photo; LFW's archive may take hours"),
        ("--tries", whole, default.tries, "tries at a link that times out or answers 5xx or 429"),
        ("--max-mib", seconds, default.max_bytes / 2**20, "largest photo in MiB"),
    ):
        polite.add_argument(flag, type=kind, default=value, metavar="N", help=f"{text} (default {value:g})")
    cut = argparse.ArgumentParser(add_help=False)
    cut.add_argument("--crop", choices=CROPS, default="rect", help="what to keep of a photo (default rect)")
    cut.add_argument(
        "--margin", type=any_size, default=0.5, help="margin round the face, in parts of its size (default .5)"
    )
    cut.add_argument("--again", action="store_true", help="try links again that failed for good")
    lfw = commands.add_parser("lfw", parents=[polite], help="Labeled Faces in the Wild, whole photos and pairs")
    pubfig = commands.add_parser("pubfig", parents=[cut, polite], help="PubFig, by its lists of links")
    pubfig.add_argument(
        "--part",
        choices=[*PUBFIG_LISTS, "both"],
        default="both",
        help="development list (60 people), evaluation list (140) or both (the default)",
    )
    links = commands.add_parser("list", parents=[cut, polite], help="any list of links")
    links.add_argument("file", type=Path, help="tab-separated lines: person, number, url, rectangle, MD5")
    lfw.add_argument(
        "--kind", choices=KINDS, default="deepfunneled", help="how the faces were aligned (default deepfunneled)"
    )
    for command in (lfw, pubfig):
        command.add_argument("--mirror", help="address of a folder with the files, tried first")
    for command in (lfw, pubfig, links):
        command.add_argument("out", type=Path, help="the folder to fill")
    return parser


if __name__ == "__main__":
    sys.exit(main())
