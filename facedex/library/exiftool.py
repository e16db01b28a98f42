"""Writes names of faces into photo files themselves, with the program exiftool."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from facedex.errors import MissingProgram, XmpUnusable
from facedex.library.merging import Faces, Source, merge_names
from facedex.library.sidecars import WrittenNames, embedded_packet, read_photo_header, read_sources

_OLDEST = (12, 38)  # older versions run file names that end in | as commands (CVE-2022-23935)
_SECONDS = 120
_FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "AVIF", "HEIF")  # whose XMP can be read, so that none is lost
# Raw photos have the structure of a TIFF and another suffix. They are never changed.
_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".avif", ".heic", ".heif")
_LARGEST_SEGMENT = 65_000  # bytes of a packet that fit into one segment of a JPEG
_TAGS = ("-XMP-mwg-rs:RegionInfo", "-XMP-MP:RegionInfoMP", "-XMP-dc:Subject")


def embed_names(photo: str | os.PathLike[str], faces: Faces) -> WrittenNames:
    """Write the names of a photo's faces into the photo file, as `sidecars.write_names` writes them into a sidecar.

    Only the embedded XMP changes: the pixels, the other metadata and the file's date stay. exiftool writes a copy,
    which then replaces the file. The file's SHA-256 changes, so that a gallery takes it for a new photo, unless
    `exchange.embed_in_photos` calls.
    Raises what `write_names` raises, and MissingProgram where exiftool 12.38 or newer is not installed.
    """
    program = find_exiftool()
    path = Path(photo)
    header = read_photo_header(path)
    if header.format not in _FORMATS or path.suffix.lower() not in _SUFFIXES:
        raise XmpUnusable(f"{path} is of a format that names are not written into; write a sidecar instead")
    target = Source(path, embedded_packet(path, header), header)
    before = target.packet.to_bytes()
    others = [source for source in read_sources(path, header, []) if source.path != path]
    regions, conflicts = merge_names(target, others, faces, header)
    after = target.packet.to_bytes()
    if after != before:
        _embed(program, path, after)
    return WrittenNames(str(path), regions, conflicts, changed=after != before)


def find_exiftool() -> str:
    """The path of the program. Raises MissingProgram where exiftool 12.38 or newer is not installed."""
    program = shutil.which("exiftool")
    if program is None or _version(program) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise MissingProgram(
            f"names are written into photo files by exiftool {oldest} or newer, which is not installed; install it "
            "from https://exiftool.org, or write sidecars instead"
        )
    return program


@functools.lru_cache  # a tenth of a second for each photo otherwise
def _version(program: str) -> tuple[int, int]:
    """The version of exiftool, or (0, 0) for a program that names none."""
    try:
        text = subprocess.run([program, "-ver"], capture_output=True, text=True, timeout=_SECONDS).stdout
        major, minor = text.strip().split(".")[:2]
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0, 0


def _embed(program: str, path: Path, packet: bytes) -> None:
    """Replace a photo's XMP. Raises XmpUnusable with exiftool's reason."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "names.xmp"
        file.write_bytes(packet)
        # A large packet is left to exiftool, which spreads it over several segments.
        whole = len(packet) <= _LARGEST_SEGMENT
        change = [f"-XMP<={file}"] if whole else ["-tagsFromFile", str(file), *_TAGS]
        # The absolute path keeps exiftool from taking a name for an option, and the real one keeps a link from being
        # replaced by a file. An empty -config ignores the user's own.
        command = [program, "-config", "", "-q", "-P", "-overwrite_original", *change, os.path.realpath(path)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise XmpUnusable(f"exiftool could not write into {path} ({error}); write a sidecar instead") from None
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise XmpUnusable(f"exiftool could not write into {path} ({reason[0][:200]}); write a sidecar instead")
