"""Copies of identified photos, sorted into a folder for each person.

A person's photos lie in FOLDER/NAME. Photos of strangers lie in FOLDER/unknown, and photos without a face in a folder
inside: "unknown" is the one name that nobody can have. Nothing is ever overwritten, and no file is there in part.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from facedex.errors import DataError, NoFace
from facedex.library.safe_names import PersonFolders, name_key, safe_file
from facedex.photos.sources import UNKNOWN
from facedex.recognition.identification import IdentifiedPhoto

NO_FACE = "no face"

_PART = ".facedex-{}.part"  # listings leave out hidden files


@dataclass(frozen=True)
class SortedPhoto:
    """What became of one photo.

    `copies`: the paths where its content stands, one for each folder. `made`: how many of them are new. `remarks`: a
    sentence for each thing that a user should know. `error`: why the photo is not in every folder where it belongs.
    """

    copies: tuple[str, ...] = ()
    made: int = 0
    remarks: tuple[str, ...] = ()
    error: str | None = None


class SortedCopies:
    """Sorts photos into folders below `folder`, which is made when the first photo comes.

    A file that is there with the same content is left, so that the same run again goes on after a kill. One with other
    content keeps its name, and the copy gets a number. Times of change are kept, and sidecars (.xmp) go along.
    """

    def __init__(
        self, folder: str | os.PathLike[str], people: Iterable[str], link: bool = False, dry_run: bool = False
    ) -> None:
        """`people`: the names of everybody. `link`: hard links, where the disk has them. `dry_run`: write nothing.

        Raises DataError where `folder` is a file.
        """
        self._folder, self._link, self._dry_run = Path(folder), link, dry_run
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise DataError(f"{folder} is not a folder; name another one for the copies")
        self._people = PersonFolders(people)
        # By folder and key of a name: the file with the content that stands there, or would stand there.
        self._standing: dict[Path, dict[str, str]] = {}
        self._remarks: list[str] = []

    def add(self, photo: IdentifiedPhoto) -> SortedPhoto:
        """Copy one photo to where it belongs. A photo that cannot be read belongs nowhere."""
        self._remarks = []
        copies, made = [], 0
        try:
            for folder in self._folders(photo):
                place, new = self._place(photo.photo, folder)
                copies.append(place)
                made += new
        except OSError as error:
            reason = f"{photo.photo} is not in {folder} ({error.strerror or error}); make room or check permissions"
            return SortedPhoto(tuple(copies), made, tuple(self._remarks), reason)
        return SortedPhoto(tuple(copies), made, tuple(self._remarks))

    def _folders(self, photo: IdentifiedPhoto) -> list[Path]:
        names = dict.fromkeys(face.name for face in photo.faces if face.name is not None)
        if names:
            return [self._folder / self._people.of(name) for name in names]
        if photo.faces:
            return [self._folder / UNKNOWN]
        return [self._folder / UNKNOWN / NO_FACE] if isinstance(photo.exception, NoFace) else []

    def _place(self, photo: str, folder: Path) -> tuple[str, bool]:
        """Where a photo's content stands in a folder, and whether it is new there. Raises OSError."""
        sidecars = _sidecars(photo)
        for number in count(1):
            name = safe_file(os.path.basename(photo), number)
            standing = self._listed(folder).get(name_key(name))
            beside = {target: sidecars.get(kind) for kind, target in _sidecar_names(name).items()}
            if standing is not None and _same_content(photo, standing):
                self._add_sidecars(folder, beside)
                return str(folder / name) if self._dry_run else standing, False
            if standing is not None or not all(self._is_free(folder, *one) for one in beside.items()):
                continue
            with suppress(FileExistsError):  # another process was quicker
                self._write(photo, folder, name)
                self._add_sidecars(folder, beside)
                return str(folder / name), True
            self._standing.pop(folder)
        raise AssertionError("numbers have no end")

    def _is_free(self, folder: Path, name: str, sidecar: str | None) -> bool:
        """Whether a sidecar's name is free. One that is there would be taken for this photo's."""
        standing = self._listed(folder).get(name_key(name))
        return standing is None or (sidecar is not None and _same_content(sidecar, standing))

    def _add_sidecars(self, folder: Path, beside: dict[str, str | None]) -> None:
        """Copy sidecars to their names. One that is there stays."""
        for name, sidecar in beside.items():
            if sidecar is None:
                continue
            standing = self._listed(folder).get(name_key(name))
            if standing is None:
                with suppress(FileExistsError):
                    self._write(sidecar, folder, name)
            elif not _same_content(sidecar, standing):
                self._remarks.append(f"{sidecar} differs from {folder / name}, which stays as it is")

    def _listed(self, folder: Path) -> dict[str, str]:
        """The files in a folder. Parts that a killed run left behind are deleted."""
        if folder not in self._standing:
            try:
                names = os.listdir(folder)
            except FileNotFoundError:
                names = []
            before, after = _PART.split("{}")
            for name in names if not self._dry_run else ():
                if name.startswith(before) and name.endswith(after):
                    with suppress(OSError):  # on Windows another run may have it open
                        os.unlink(folder / name)
            self._standing[folder] = {name_key(name): str(folder / name) for name in names}
        return self._standing[folder]

    def _write(self, source: str, folder: Path, name: str) -> None:
        """Write a file under a name that is free. Raises FileExistsError where it is not, and OSError."""
        target = folder / name
        if not self._dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            if not (self._link and self._linked(source, target)):
                _copy(source, target)
        self._listed(folder)[name_key(name)] = source if self._dry_run else str(target)

    def _linked(self, source: str, target: Path) -> bool:
        """Make a hard link; returns whether the disk has them. Raises FileExistsError."""
        try:
            os.link(os.path.realpath(source), target)
        except FileExistsError:
            raise
        except OSError as error:
            self._link = False
            reason = error.strerror or error
            self._remarks.append(f"{self._folder} takes no hard links of it ({reason}), so photos are copied")
            return False
        return True


def _copy(source: str, target: Path) -> None:
    """Copy a file so that it is there whole or not at all. Raises FileExistsError for a name that is taken."""
    part = target.with_name(_PART.format(os.getpid()))
    try:
        shutil.copyfile(source, part)
        status = os.stat(source)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())  # else a power cut may leave an empty file under the name
        with suppress(PermissionError):  # some network drives keep times of their own
            os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
        try:
            os.link(part, target)  # unlike a renaming, it never replaces a file
        except FileExistsError:
            raise
        except OSError:  # a disk without hard links
            if os.path.lexists(target):
                raise FileExistsError(f"{target} is there") from None
            os.rename(part, target)
    finally:
        part.unlink(missing_ok=True)


def _same_content(a: str, b: str) -> bool:
    """Whether two files hold the same bytes. A link to nothing holds none."""
    try:
        return os.path.samefile(a, b) or filecmp.cmp(a, b, shallow=False)
    except FileNotFoundError:
        if not os.path.exists(a):
            raise
        return False


def _sidecars(photo: str) -> dict[str, str]:
    """The sidecars of a photo by their kind: "whole" for NAME.jpg.xmp, "stem" for NAME.xmp."""
    kinds = {"whole": photo, "stem": os.path.splitext(photo)[0]}
    return {
        kind: base + suffix
        for kind, base in kinds.items()
        for suffix in (".XMP", ".xmp")  # of two, the second counts
        if os.path.isfile(base + suffix)
    }


def _sidecar_names(name: str) -> dict[str, str]:
    """The names of a copy's sidecars by their kind."""
    return {"whole": f"{name}.xmp", "stem": f"{os.path.splitext(name)[0]}.xmp"}
