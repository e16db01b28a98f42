"""Who is in which photo, read from names of files: the one rule that train, enroll and evaluate share.

DIR/NAME/*.jpg            one person, several photos (deeper folders belong to the same NAME)
DIR/NAME.jpg              one person; a trailing _0001 (four digits) numbers photos of the same one
PACK.tar, PACK.zip        such a tree in one file, read without unpacking
"""

from __future__ import annotations

import glob
import os
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote_to_bytes

from facedex.errors import DataError, NameInvalid, PhotoError, PhotoNotFound, PhotoUnreadable
from facedex.photos import images

UNKNOWN = "unknown"

_NUMBERED = re.compile(r"_\d{4}$")


_URI = "file://"  # begins a source that is no Unicode; a path from the root never begins so


@dataclass(frozen=True)
class NamedPhoto:
    """A photo and whom it shows. `key` is NAME/PHOTO without the suffix; `read` returns the file's bytes.

    `path` is the file, or PACK:MEMBER where `pack` says which. Where the name cannot be kept, `read` raises
    PhotoUnreadable and says why.
    """

    name: str
    key: str
    path: str
    read: Callable[[], bytes]
    pack: str | None = None
    parts: tuple[str, ...] = ()  # of the path below the folder or in the pack

    def content(self) -> bytes | PhotoError:
        """The file's bytes, or why there are none: a broken member of a pack is a broken photo."""
        try:
            return self.read()
        except PhotoError as error:
            return error
        except DataError as error:
            return PhotoUnreadable(str(error))

    @property
    def source(self) -> str:
        """Where the photo is, from the root and as text that a database can keep; `read_source` reads it again."""
        if self.pack is None:
            where = os.path.abspath(self.path)
        else:
            where = os.path.abspath(self.pack) + self.path[len(self.pack) :]
        try:
            where.encode()
        except UnicodeEncodeError:
            return _URI + quote(os.fsencode(where))
        return where


def source_path(source: str) -> str:
    """The path, or PACK:MEMBER, that a source stands for."""
    return os.fsdecode(unquote_to_bytes(source[len(_URI) :])) if source.startswith(_URI) else source


def under(root: str | os.PathLike[str]) -> Callable[[str], bool]:
    """Tells of a source whether its photo is in this folder or pack, there or not."""
    top = os.path.abspath(root)
    inside = top.rstrip(os.sep) + os.sep if os.path.isdir(top) else top + ":"
    return lambda source: source_path(source).startswith(inside)


def pack_of(source: str) -> str | None:
    """The pack that holds a photo, for a source PACK:MEMBER whose pack is there; None for a file."""
    path = source_path(source)
    if os.path.lexists(path):
        return None
    ends = [i for i, character in enumerate(path) if character == ":" and is_pack(path[:i])]
    return path[: ends[0]] if ends else None


def read_source(source: str) -> bytes:
    """The bytes of a photo, from its file or from within its pack. Raises PhotoError, DataError."""
    pack = pack_of(source)
    if pack is None:
        return images.read_bytes(source_path(source))
    with open_people(pack) as photos:
        for photo in photos:
            if photo.source == source:
                return photo.read()
    raise PhotoNotFound(f"{source_path(source)} is not in its pack any more; enroll it from where it is")


def person_name(text: str) -> str:
    """A name as it is kept: Unicode NFC, without surrounding space. Raises NameInvalid."""
    name = unicodedata.normalize("NFC", text).strip()
    if not name or (not name.isprintable() and any(unicodedata.category(one) in ("Cc", "Cs") for one in name)):
        raise NameInvalid(f"{text!r} cannot be a person's name: it is empty or holds control characters; rename it")
    if name.casefold() == UNKNOWN:
        raise NameInvalid(f"{text!r} cannot be a person's name: it is the answer for strangers; choose another")
    return name


def name_from(parts: tuple[str, ...]) -> str:
    """The person that a photo's path below its root names: its first folder, else its own stem."""
    if len(parts) > 1:
        return person_name(parts[0])
    return person_name(_NUMBERED.sub("", PurePosixPath(parts[0]).stem))


def is_pack(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a .tar or .zip that holds a tree of people."""
    return os.fspath(path).lower().endswith((".tar", ".tar.gz", ".tgz", ".zip")) and os.path.isfile(path)


@contextmanager
def open_people(source: str | os.PathLike[str]) -> Iterator[Iterator[NamedPhoto]]:
    """The named photos of a folder or pack, in a stable order; readable until the context ends.

    Raises DataError when there is no such folder or pack or it is broken.
    """
    path = Path(source)
    if path.is_dir():
        yield _from_folder(path)
    elif not path.exists():
        raise DataError(f"{path} does not exist; give a folder of people or a .tar or .zip of one")
    elif str(path).lower().endswith(".zip"):
        with ExitStack() as stack:
            with _intact(path):
                pack = stack.enter_context(zipfile.ZipFile(path))
            yield _from_zip(path, pack)
    elif is_pack(path):
        with ExitStack() as stack:
            with _intact(path):
                tar = stack.enter_context(tarfile.open(path))
            yield _from_tar(path, tar)
    else:
        raise DataError(f"{path} is not a folder, a .tar or a .zip; put each person's photos in a folder of their own")


@contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Round what reads from a pack, and only that: the errors of a caller are not the pack's."""
    try:
        yield
    except Exception as error:  # tarfile, zipfile, zlib and lzma each have their own, and a password is asked for
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile tells of every compression it tried
        raise DataError(f"{path} is not a readable pack ({reason}); make it again") from None


def _photo(parts: tuple[str, ...], path: str, read: Callable[[], bytes], pack: str | None = None) -> NamedPhoto:
    try:
        name = name_from(parts)
    except NameInvalid as error:
        name, reason = parts[0], f"{path}: {error}"

        def read() -> bytes:  # one folder that nobody can be called after does not stop the others
            raise PhotoUnreadable(reason)

    inner = PurePosixPath(*parts[1:]) if len(parts) > 1 else PurePosixPath(parts[0])
    return NamedPhoto(name, f"{name}/{inner.with_suffix('')}", path, read, pack, parts)


def _from_folder(root: Path) -> Iterator[NamedPhoto]:
    for path in images.find_photos(root):

        def read(path: Path = path) -> bytes:
            return images.read_bytes(path)

        yield _photo(path.relative_to(root).parts, str(path), read)


def _pack_parts(member: str) -> tuple[str, ...] | None:
    """The path inside a pack as parts, or None for what is no photo: folders, hidden and resource files."""
    parts = tuple(part for part in member.replace("\\", "/").split("/") if part not in ("", "."))
    if not parts or any(part.startswith((".", "__MACOSX")) for part in parts):
        return None
    return parts if parts[-1].lower().endswith(images.SUFFIXES) else None


def _from_zip(path: Path, pack: zipfile.ZipFile) -> Iterator[NamedPhoto]:
    for info in sorted(pack.infolist(), key=lambda info: info.filename):
        parts = _pack_parts(info.filename)
        if parts is None or info.file_size > images.MAX_BYTES:
            continue

        def read(info: zipfile.ZipInfo = info) -> bytes:
            with _intact(path):
                return pack.read(info)

        yield _photo(parts, f"{path}:{info.filename}", read, str(path))


def _ended(pack: tarfile.TarFile) -> None:
    """Raise ReadError unless a tar ends here by its mark, a block of zeros: tarfile stops without a word at a header that
    is damaged, and whoever stands behind it would count as gone.
    """
    assert pack.fileobj is not None
    pack.fileobj.seek(pack.offset)
    if pack.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"damaged at byte {pack.offset:,}")


def _from_tar(path: Path, pack: tarfile.TarFile) -> Iterator[NamedPhoto]:
    # In the order of the file, which for a compressed tar is the only cheap one.
    while True:
        with _intact(path):
            member = pack.next()
            if member is None:
                _ended(pack)
                return
        parts = _pack_parts(member.name)
        if parts is None or not member.isfile() or member.size > images.MAX_BYTES:
            continue

        def read(member: tarfile.TarInfo = member) -> bytes:
            with _intact(path):
                file = pack.extractfile(member)
                return file.read() if file else b""

        yield _photo(parts, f"{path}:{member.name}", read, str(path))


@contextmanager
def named_photos(
    sources: Iterable[str | os.PathLike[str]], name: str | None = None, notice: Callable[[str], None] | None = None
) -> Iterator[tuple[Iterator[NamedPhoto], int | None]]:
    """Photos with the names they are to be enrolled under, and how many (None for packs, which are not counted).

    Without `name`, folders and packs of people (see people.py). With `name`, all photos, files and folders alike,
    are that person's. A source without photos is told to `notice`.
    Raises DataError, NameInvalid, PhotoNotFound.
    """
    paths = [Path(source) for source in sources]
    if name is not None:
        person = person_name(name)
        photos = list(expand(paths, notice))
        yield (_of(person, Path(photo)) for photo in photos), len(photos)
        return
    for path in paths:
        if path.is_file() and not is_pack(path):
            raise DataError(f"{path} is a photo without a name; add --name NAME, or give the folder it is in")
    total = None
    if not any(is_pack(path) for path in paths):
        total = sum(1 for path in paths if path.is_dir() for _ in images.find_photos(path))
    with ExitStack() as stack:
        opened = [stack.enter_context(open_people(path)) for path in paths]
        yield (
            (photo for path, photos in zip(paths, opened, strict=True) for photo in _told(path, photos, notice)),
            total,
        )


def _told(path: Path, photos: Iterator[NamedPhoto], notice: Callable[[str], None] | None) -> Iterator[NamedPhoto]:
    empty = True
    for photo in photos:
        empty = False
        yield photo
    if empty and notice is not None:
        notice(f"{path} holds no photos; put each person's photos in a folder of their own")


def _of(person: str, path: Path) -> NamedPhoto:
    return NamedPhoto(person, f"{person}/{path.stem}", str(path), lambda: images.read_bytes(path))


def expand(inputs: Iterable[str | os.PathLike[str]], notice: Callable[[str], None] | None = None) -> Iterator[str]:
    """Photos from files, folders and patterns, in a stable order. A missing file is passed on: reading says so.

    Patterns are expanded here too, because Windows' shells leave them as they are. A folder without photos is told
    to `notice`; without one it raises PhotoNotFound.
    """
    for item in inputs:
        name = os.fspath(item)
        if os.path.isdir(name):
            found = False
            for path in images.find_photos(Path(name)):
                found = True
                yield str(path)
            if not found:
                empty = f"{name} holds no photos; name another folder"
                if notice is None:
                    raise PhotoNotFound(empty)
                notice(empty)
        elif not os.path.lexists(name) and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))
            if not matches:
                raise PhotoNotFound(f"Nothing matches {name}; check the pattern")
            yield from expand(matches, notice)
        else:
            yield name
