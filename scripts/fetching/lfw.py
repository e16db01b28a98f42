"""Fetch Labeled Faces in the Wild (Huang et al. 2007) from the first mirror that has it; check and unpack it."""

from __future__ import annotations

import hashlib
import re
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from facedex.cli.console import say, stderr_console
from facedex.errors import DataError
from scripts.fetching.polite import persist
from scripts.fetching.transfer import DiskError, Failure, Limits, get

OFFICIAL = "http://vis-www.cs.umass.edu/lfw/"
FIGSHARE = "https://ndownloader.figshare.com/files/"  # scikit-learn's copies
ARCHIVED = "https://web.archive.org/web/2020id_/http://vis-www.cs.umass.edu/lfw/"
_PHOTO = re.compile(r"[^/\\:]+_\d{4}\.jpg")
_MOST_BYTES = 2**20  # of a photo; LFW's largest has some 50 KB


@dataclass(frozen=True)
class Published:
    """A published file, its MD5 as recorded by torchvision's LFW class, and the addresses that have it."""

    name: str
    md5: str
    addresses: tuple[str, ...]


def _published(name: str, md5: str, figshare: str = "") -> Published:
    copies = (f"{FIGSHARE}{figshare}",) if figshare else ()
    return Published(name, md5, (f"{OFFICIAL}{name}", *copies, f"{ARCHIVED}{name}"))


KINDS = {
    "original": _published("lfw.tgz", "a17d05bd522c52d84eca14327a23d494", "5976018"),
    "funneled": _published("lfw-funneled.tgz", "1b42dfed7d15c9b2dd63d5e5840c86ad", "5976015"),
    "deepfunneled": _published("lfw-deepfunneled.tgz", "68331da3eb755a505a502b5aacb3c201"),
}
PAIRS = (
    _published("pairs.txt", "9f1ba174e4e1c508ff7cdf10ac338a7d", "5976006"),
    _published("pairsDevTest.txt", "5132f7440eb68cf58910c8a45a2ac10b", "5976009"),
    _published("pairsDevTrain.txt", "4f27cbf15b2da4a85c1907eb4181ad21", "5976012"),
)


def fetch_lfw(
    out: Path,
    kind: str,
    mirror: str | None,
    limits: Limits,
    archive: Published | None = None,
    pairs: tuple[Published, ...] = PAIRS,
) -> tuple[int, int]:
    """Fetch one archive and the lists of pairs into `out`. Return the numbers of photos and people.

    The address `mirror` is tried first. A file that is already there, by its checksum, is not fetched again. Raises
    DataError, DiskError.
    """
    archive = archive or KINDS[kind]
    work = out / ".fetch"
    work.mkdir(parents=True, exist_ok=True)
    for listed in pairs:
        fetch_published(listed, out / listed.name, mirror, limits)
    unpacked = work / f"unpacked-{archive.md5}"
    if not unpacked.is_file():
        packed = work / archive.name
        # An archive has 110 to 240 MB. It may take hours as long as bytes arrive.
        patient = replace(limits, total=max(limits.total, 4 * 3600), max_bytes=2**30)
        fetch_published(archive, packed, mirror, patient)
        for mark in work.glob("unpacked-*"):  # the photos of another kind have the same names and are replaced
            mark.unlink()
        unpack(packed, out)
        unpacked.touch()
        packed.unlink()
    photos = list(out.glob("*/*_[0-9][0-9][0-9][0-9].jpg"))
    return len(photos), len({path.parent for path in photos})


def fetch_published(file: Published, target: Path, mirror: str | None, limits: Limits) -> None:
    """Fetch a file from the first address that has it with the right checksum. Raises DataError, DiskError."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    if _md5(target) == file.md5:
        return
    addresses = ((f"{mirror.rstrip('/')}/{file.name}",) if mirror else ()) + file.addresses
    for address in addresses:
        with Progress(
            TextColumn(file.name),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=stderr_console(),
            disable=not stderr_console().is_terminal,
            transient=True,
        ) as bar:
            task = bar.add_task(file.name, total=None)

            def show_progress(done: int, total: int | None, bar: Progress = bar, task: int = task) -> None:
                bar.update(task, completed=done, total=total)  # type: ignore[arg-type]

            try:
                persist(lambda address=address, show=show_progress: get(address, target, limits, show), limits)  # type: ignore
            except Failure as failure:
                say(f"{address}: {failure}")
                continue
        if _md5(target) == file.md5:
            return
        say(f"{address}: another file than the published one")
        target.unlink()
    raise DataError(f"{file.name} cannot be fetched from any of {len(addresses)} addresses; name another with --mirror")


def unpack(archive: Path, out: Path) -> None:
    """Write an archive's photos as OUT/PERSON/PERSON_0001.jpg; skip other members. Raises DataError, DiskError."""
    try:
        with tarfile.open(archive) as pack:
            for member in pack:
                path = PurePosixPath(member.name)
                person = path.parent.name
                if not member.isfile() or not _PHOTO.fullmatch(path.name) or member.size > _MOST_BYTES:
                    continue
                if path.name != f"{person}_{path.stem[-4:]}.jpg" or person.startswith("."):
                    continue
                file = pack.extractfile(member)
                data = file.read() if file else b""
                try:
                    (out / person).mkdir(exist_ok=True)
                    (out / person / path.name).write_bytes(data)
                except OSError as error:
                    raise DiskError(f"{out / person} cannot be written ({error.strerror}); free some space") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive} cannot be unpacked ({error}); delete it and start again") from None


def _md5(path: Path) -> str:
    if not path.is_file():
        return ""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
