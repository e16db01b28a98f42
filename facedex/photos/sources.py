"""Who is in which photo: names of people are read from the paths of photos.

Training, enrolment and evaluation share one rule:

DIR/NAME/*.jpg            one person with several photos. Deeper folders belong to the same NAME
DIR/NAME.jpg              one person. A last _0001 (four digits) numbers photos of the same person
PACK.tar, PACK.zip        such a tree in one file, read without unpacking

A lone folder around everything may hold people, as in DIR/LONE/NAME.jpg, or be one person's. Then a photo has two
names. The likelier one by the paths counts, and enrolment decides by the faces (gallery/naming.py).

A source is the absolute path of a photo as text: PATH for a file, or PACK:MEMBER for a photo in a pack.
"""

from __future__ import annotations

import glob
import os
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote_to_bytes

from facedex.errors import DataError, NameInvalid, PhotoError, PhotoNotFound, PhotoUnreadable
from facedex.photos import images
from facedex.photos.formats import RAW_SUFFIXES, SUFFIXES
from facedex.photos.listing import developed, doubles, find_photos, is_leftover
from facedex.photos.lonefolders import LoneFolders, Parts, find_lone_folders, first_name
from facedex.photos.packs import is_pack, member_names, refuse_other_archives

UNKNOWN = "unknown"  # the answer for strangers

_URI = "file://"  # begins the source of a path that is not Unicode. No absolute path begins with it

Notice = Callable[[str], None]
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]  # one path, or several


# Names of people


def person_name(text: str) -> str:
    """Return a name as galleries keep it: Unicode NFC, without surrounding space.

    Raises NameInvalid for an empty name, a name with control characters, and the answer for strangers.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not name or any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise NameInvalid(f"{text!r} cannot be a person's name: it is empty or holds control characters; rename it")
    if name.casefold() == UNKNOWN:
        raise NameInvalid(f"{text!r} cannot be a person's name: it is the answer for strangers; choose another")
    return name


def name_from(parts: Parts) -> str:
    """Return the name in a photo's path below its root: the first folder, or else the file's stem.

    Raises NameInvalid.
    """
    return person_name(first_name(parts))


# Photos with names, and their sources


@dataclass(frozen=True)
class NamedPhoto:
    """A photo and the name of the person it shows.

    `key`: NAME/PHOTO without the suffix.
    `path`: the file, or PACK:MEMBER for a photo in a pack.
    `read`: returns the file's bytes. It raises PhotoUnreadable where the path gives no valid name.
    `pack`: the path of the pack, or None for a file.
    `parts`: the path below the folder or in the pack, without lone folders. Empty for a name that was given by hand.
    `member`: the name in a .zip as Python reads it, where that is not the name that was meant.
    `other`: the same photo by its other name, where a lone folder may be one person's or hold people. None elsewhere.
    `lone_folder`: the path of that folder.
    """

    name: str
    key: str
    path: str
    read: Callable[[], bytes]
    pack: str | None = None
    parts: tuple[str, ...] = ()
    other: NamedPhoto | None = None
    lone_folder: str | None = None
    member: str | None = None

    def content(self) -> bytes | PhotoError:
        """Return the file's bytes, or the reason why they cannot be read.

        A broken member of a pack is returned as a broken photo, so that a batch goes on.
        """
        try:
            return self.read()
        except PhotoError as error:
            return error
        except DataError as error:
            return PhotoUnreadable(str(error))

    @property
    def source(self) -> str:
        """The photo's absolute path as text that a database can keep. `read_source` reads the photo from it."""
        if self.pack is None:
            path = os.path.abspath(self.path)
        else:
            member = self.member or self.path[len(self.pack) + 1 :]
            path = f"{os.path.abspath(self.pack)}:{member}"
        return source_of(path)


def source_of(path: str) -> str:
    """Return the source of an absolute path, or of PACK:MEMBER."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return _URI + quote(os.fsencode(path))
    return path


def source_path(source: str) -> str:
    """Return the path, or PACK:MEMBER, of a source."""
    return os.fsdecode(unquote_to_bytes(source[len(_URI) :])) if source.startswith(_URI) else source


def under(root: str | os.PathLike[str]) -> Callable[[str], bool]:
    """Return a test whether a source is in this folder or pack. The photo itself need not exist."""
    top = os.path.abspath(root)
    prefix = top.rstrip(os.sep) + os.sep if os.path.isdir(top) else top + ":"
    return lambda source: source_path(source).startswith(prefix)


def pack_of(source: str) -> str | None:
    """Return the pack of a source PACK:MEMBER if that pack exists, and None for a file."""
    path = source_path(source)
    if os.path.lexists(path):
        return None
    colons = (position for position, character in enumerate(path) if character == ":")
    return next((path[:colon] for colon in colons if is_pack(path[:colon])), None)


def read_source(source: str) -> bytes:
    """Return a photo's bytes from its file or pack.

    Raises PhotoError where the photo is missing or cannot be read, and DataError for a broken pack.
    """
    pack = pack_of(source)
    if pack is None:
        return images.read_bytes(source_path(source))
    with open_people(pack) as photos:
        for photo in photos:
            if photo.source == source:
                return photo.read()
    raise PhotoNotFound(f"{source_path(source)} is no longer in its pack; enroll the photo from its present place")


# Folders and packs of people


@contextmanager
def open_people(root: str | os.PathLike[str], encoding: str | None = None) -> Iterator[Iterator[NamedPhoto]]:
    """Open a folder or pack of people, and give its photos in a stable order.

    `encoding` is that of names in a .zip which are not in UTF-8. Without it, the most plausible one is taken.
    The photos can be read until the context ends. Raises DataError for a missing or broken folder or pack.
    """
    path = Path(root)
    if path.is_dir():
        yield _photos_in_folder(path)
        return
    if not path.exists():
        raise DataError(f"{path} does not exist; give a folder of people or a .tar or .zip of one")
    refuse_other_archives(path)
    if not is_pack(path):
        raise DataError(f"{path} is not a folder, a .tar or a .zip; put each person's photos in a folder of their own")
    with ExitStack() as stack:
        if path.name.lower().endswith(".zip"):
            with _pack_errors(path):
                zip_pack = stack.enter_context(zipfile.ZipFile(path))
            yield _photos_in_zip(path, zip_pack, encoding)
        else:
            with _pack_errors(path):
                tar_pack = stack.enter_context(tarfile.open(path))
            yield _photos_in_tar(path, tar_pack)


@contextmanager
def named_photos(
    sources: Paths, name: str | None = None, notice: Notice | None = None, encoding: str | None = None
) -> Iterator[tuple[Iterator[NamedPhoto], int | None]]:
    """Give the photos to enroll with their names, and their number.

    Without `name`, the sources are folders and packs of people. With `name`, all photos in the files and folders are of
    that person. The number is None where a source is a pack, because counting its photos would mean reading it.
    `notice` is called with a message for a source without photos. `encoding` is that of names in a .zip.
    Raises DataError, NameInvalid, PhotoNotFound.
    """
    paths = [Path(source) for source in several(sources)]
    if name is not None:
        person = person_name(name)
        photos = list(expand(paths, notice))
        yield (_photo_of(person, Path(photo)) for photo in photos), len(photos)
        return
    for path in paths:
        refuse_other_archives(path)
        if path.is_file() and not is_pack(path):
            raise DataError(f"{path} is a photo without a name; add --name NAME, or give its folder")
    total = None
    if not any(is_pack(path) for path in paths):
        total = sum(1 for path in paths if path.is_dir() for _ in find_photos(path))
    with ExitStack() as stack:
        opened = [(path, stack.enter_context(open_people(path, encoding))) for path in paths]
        yield (photo for path, photos in opened for photo in _with_notice(path, photos, notice)), total


def _with_notice(path: Path, photos: Iterator[NamedPhoto], notice: Notice | None) -> Iterator[NamedPhoto]:
    """Pass photos on, and report a folder or pack that has none."""
    empty = True
    for photo in photos:
        empty = False
        yield photo
    if empty and notice is not None:
        notice(f"{path} holds no photos; put each person's photos in a folder of their own")


def _photo_of(person: str, path: Path) -> NamedPhoto:
    """A photo file whose person's name was given by hand."""
    return NamedPhoto(person, f"{person}/{path.stem}", str(path), lambda: images.read_bytes(path))


def _photo_at(
    parts: Parts,
    path: str,
    read: Callable[[], bytes],
    root: Path,
    lone: LoneFolders,
    pack: str | None = None,
    member: str | None = None,
) -> NamedPhoto:
    """A photo that is named after its path below the folder or in the pack."""
    outer = _photo_below(parts[lone.person :], path, read, pack, member)
    if not lone.may_hold_people:
        return outer
    inner = _photo_below(parts[len(lone.folders) :], path, read, pack, member)
    likely, other = (inner, outer) if lone.holds_people else (outer, inner)
    return replace(likely, other=other, lone_folder="/".join((str(root), *lone.folders)))


def _photo_below(
    parts: Parts, path: str, read: Callable[[], bytes], pack: str | None, member: str | None
) -> NamedPhoto:
    """A photo that is named after these last parts of its path."""
    try:
        name = name_from(parts)
    except NameInvalid as error:
        name, reason = parts[0], f"{path}: {error}"

        def read() -> bytes:  # reading raises the error, so that one bad folder name does not stop the others
            raise PhotoUnreadable(reason)

    inner = PurePosixPath(*parts[1:]) if len(parts) > 1 else PurePosixPath(parts[0])
    return NamedPhoto(name, f"{name}/{inner.with_suffix('')}", path, read, pack, parts, member=member)


def _photos_in_folder(root: Path) -> Iterator[NamedPhoto]:
    lone, photos = find_lone_folders(find_photos(root), lambda path: path.relative_to(root).parts)
    for path in photos:
        yield _photo_at(path.relative_to(root).parts, str(path), partial(images.read_bytes, path), root, lone)


def _photos_in_zip(path: Path, pack: zipfile.ZipFile, encoding: str | None) -> Iterator[NamedPhoto]:
    members = sorted(pack.infolist(), key=lambda member: member.filename)
    try:
        names = member_names(members, encoding)
    except UnicodeDecodeError:
        raise DataError(f"{path} has names that are not in {encoding}; name another encoding, or none") from None
    photos = developed(names)
    found = [
        (parts, name, member)
        for name, member in zip(names, members, strict=True)
        if (parts := _member_parts(name)) is not None and not doubles(name, photos)
    ]
    lone, _ = find_lone_folders(iter(found), lambda entry: entry[0])
    for parts, name, member in found:
        if member.file_size > images.MAX_BYTES:
            continue

        def read(member: zipfile.ZipInfo = member) -> bytes:
            with _pack_errors(path):
                return pack.read(member)

        # The source does not depend on an encoding: it has the name as zipfile gives it.
        stored = None if name == member.filename else member.filename
        yield _photo_at(parts, f"{path}:{name}", read, path, lone, str(path), stored)


def _photos_in_tar(path: Path, pack: tarfile.TarFile) -> Iterator[NamedPhoto]:
    """Photos in the order of the file, the only cheap order in a compressed tar. Raw files follow at the end.

    Only then it is known which of them have a photo of the same name beside them.
    """
    lone = _lone_folders_in_tar(path)

    def photo(parts: Parts, member: tarfile.TarInfo) -> NamedPhoto:
        def read() -> bytes:
            with _pack_errors(path):
                file = pack.extractfile(member)
                return file.read() if file else b""

        return _photo_at(parts, f"{path}:{member.name}", read, path, lone, str(path))

    names: list[str] = []
    raw_files: list[tuple[Parts, tarfile.TarInfo]] = []
    while True:
        with _pack_errors(path):
            member = pack.next()
            if member is None:
                _check_tar_end(pack)
                break
        parts = _member_parts(member.name)
        if parts is None or not member.isfile() or member.size > images.MAX_BYTES:
            continue
        if parts[-1].lower().endswith(RAW_SUFFIXES):
            raw_files.append((parts, member))
        else:
            names.append(member.name)
            yield photo(parts, member)
    if raw_files:
        photos = developed(names)
        yield from (photo(parts, member) for parts, member in raw_files if not doubles(member.name, photos))


def _lone_folders_in_tar(path: Path) -> LoneFolders:
    """The lone folders of a tar. It is read up to the first photo outside, or up to a broken place."""
    with _pack_errors(path), tarfile.open(path) as pack:
        files = (parts for member in pack if member.isfile() and (parts := _member_parts(member.name)) is not None)
        return find_lone_folders(files, lambda parts: parts)[0]


def _member_parts(member: str) -> Parts | None:
    """The path inside a pack as parts. None for folders, leftovers of systems, and other files than photos."""
    parts = tuple(part for part in member.replace("\\", "/").split("/") if part not in ("", "."))
    if not parts or member.endswith("/") or any(map(is_leftover, parts)):
        return None
    return parts if parts[-1].lower().endswith((*SUFFIXES, *RAW_SUFFIXES)) else None


@contextmanager
def _pack_errors(path: Path) -> Iterator[None]:
    """Turn every error while a pack is read into DataError. It must not enclose a caller's own code."""
    try:
        yield
    except Exception as error:  # tarfile, zipfile, zlib and lzma have classes of their own, and zip may want a password
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile adds a line for every compression that it tried
        raise DataError(f"{path} is not a readable pack ({reason}); make it again") from None


def _check_tar_end(pack: tarfile.TarFile) -> None:
    """Raise ReadError unless the tar ends here with its mark, a block of zeros.

    tarfile silently stops at a damaged header. The people behind such a header would count as deleted.
    """
    assert pack.fileobj is not None
    pack.fileobj.seek(pack.offset)
    if pack.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"damaged at byte {pack.offset:,}")


# Photos without names


def several(paths: Paths) -> Iterable[str | os.PathLike[str]]:
    """The paths of a list, or one path as a list of its own. A text would else be taken letter by letter."""
    return [paths] if isinstance(paths, str | os.PathLike) else paths


def expand(inputs: Paths, notice: Notice | None = None) -> Iterator[str]:
    """Yield the photos that files, folders and patterns stand for, in a stable order.

    Patterns are expanded here, because shells on Windows do not expand them. A missing file is yielded, so that reading
    it reports the error, and so is a pattern that matches nothing. `notice` is called with a message for a folder
    without photos. Without `notice`, such a folder and such a pattern raise PhotoNotFound.
    """
    for item in several(inputs):
        name = os.fspath(item)
        if os.path.isdir(name):
            found = False
            for path in find_photos(name):
                found = True
                yield str(path)
            if not found:
                message = f"{name} holds no photos; name another folder"
                if notice is None:
                    raise PhotoNotFound(message)
                notice(message)
        elif not os.path.lexists(name) and glob.has_magic(name):
            # A pipe or socket that a pattern matches would be waited for.
            matches = sorted(
                match
                for match in glob.glob(name, recursive=True)
                if os.path.isfile(match) or os.path.isdir(match) or not os.path.exists(match)
            )
            if not matches and notice is None:
                raise PhotoNotFound(f"Nothing matches {name}; check the pattern")
            yield from expand(matches, notice) if matches else [name]
        else:
            yield name
