"""Names of faces in XMP: read from a photo and the sidecars beside it, and written into a sidecar.

No photo is changed here. digiKam, darktable, Lightroom and other programs read such sidecars.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facedex.errors import NameInvalid, XmpUnusable
from facedex.files import replace_file
from facedex.library import xmp
from facedex.library.merging import Faces, Source, merge_names
from facedex.library.regions import NamedRegion, matches
from facedex.photos import images
from facedex.photos.photoheader import PhotoHeader, read_header
from facedex.photos.sources import person_name

_SUFFIXES = (".xmp", ".XMP")


@dataclass(frozen=True)
class FoundNames:
    """The faces that a photo and its sidecars name. `warnings`: a sentence for each thing that was left out."""

    regions: tuple[NamedRegion, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class WrittenNames:
    """What `write_names` or `embed_names` did.

    `file`: the path of the file for the names.
    `regions`: the faces whose name stands in the file now.
    `conflicts`: a sentence for each face that was not written.
    `changed`: whether the file was written. It is not if everything stood there already.
    """

    file: str
    regions: tuple[NamedRegion, ...]
    conflicts: tuple[str, ...]
    changed: bool


def read_names(photo: str | os.PathLike[str]) -> FoundNames:
    """Read the names of a photo's faces from its sidecars and its embedded XMP.

    The sidecars of DIR/NAME.jpg are DIR/NAME.jpg.xmp and DIR/NAME.xmp. A face that several of these files name is
    given once: the first sidecar counts before the second, and a sidecar before the photo. XMP that cannot be read
    gives a warning.
    Raises PhotoError if the photo itself cannot be read.
    """
    path = Path(photo)
    warnings: list[str] = []
    named: list[NamedRegion] = []
    for source in read_sources(path, read_photo_header(path), warnings):
        warnings += source.faces.warnings
        for faces in source.lists():
            found = [NamedRegion(face.name, face.box, str(source.path)) for face in faces if face.name]
            partners = matches([region.box for region in found], [region.box for region in named])
            known = {i: named[j] for i, j in partners.items()}
            for i, region in enumerate(found):
                problem = _problem(region, known.get(i))
                if problem:
                    warnings.append(problem)
                elif i not in known:
                    named.append(region)
    return FoundNames(tuple(named), tuple(warnings))


def _problem(region: NamedRegion, known: NamedRegion | None) -> str | None:
    """Why a region's name cannot be used. `known` is the region of another list at the same place."""
    try:
        person_name(region.name)
    except NameInvalid as error:
        return f"a face in {region.source} was left out, because {error}"
    if known is None or known.name.casefold() == region.name.casefold():
        return None
    return f"{region.source} names a face {region.name}, and {known.source} names it {known.name}, which was taken"


def write_names(photo: str | os.PathLike[str], faces: Faces) -> WrittenNames:
    """Write the names of a photo's faces into its sidecar, and never into the photo.

    `faces`: for each face its box (left, top, width, height in pixels of the upright photo) and its name. The name None
    takes away the name that facedex wrote at this place. Faces that are not mentioned keep theirs.

    The names become MWG regions and keywords (dc:subject). The sidecar of DIR/NAME.jpg is DIR/NAME.jpg.xmp.
    DIR/NAME.xmp is used if it exists and the photo is the only file that it can belong to. Everything else in the
    sidecar stays. A face that another program names otherwise is not written, and counts as a conflict.
    Raises PhotoError for a photo that cannot be read, and its subclass XmpUnusable for a sidecar that cannot be read or
    written. Raises NameInvalid for a text that cannot be a name in XMP. Nothing is written then.
    """
    path = Path(photo)
    header = read_photo_header(path)
    file = _file_to_write(path)
    target = Source(file, read_sidecar(file) if os.path.lexists(file) else xmp.Packet.empty(), header)
    before = target.packet.to_bytes()
    others = [source for source in read_sources(path, header, []) if source.path != file]
    regions, conflicts = merge_names(target, others, faces, header)
    after = target.packet.to_bytes()
    if after != before:
        replace_sidecar(file, after)
    return WrittenNames(str(file), regions, conflicts, changed=after != before)


def read_photo_header(path: Path) -> PhotoHeader:
    """Read a photo's header. Raises PhotoError."""
    return read_header(images.read_bytes(path), str(path))


def embedded_packet(path: Path, header: PhotoHeader) -> xmp.Packet:
    """Parse a photo's embedded XMP with its extension. Raises XmpUnusable."""
    packets = [xmp.parse(data, str(path)) for data in header.xmp]
    for extension in packets[1:]:
        packets[0].extend(extension)
    return packets[0] if packets else xmp.Packet.empty()


def read_sources(path: Path, header: PhotoHeader, warnings: list[str]) -> list[Source]:
    """Read a photo's sidecars and its embedded XMP. A file that cannot be read is left out with a warning."""
    readers = [(file, partial(read_sidecar, file)) for file in sidecars_of(path)]
    readers.append((path, partial(embedded_packet, path, header)))
    sources = []
    for file, read in readers:
        try:
            sources.append(Source(file, read(), header))
        except XmpUnusable as error:
            warnings.append(str(error))
    return sources


def sidecars_of(path: Path) -> list[Path]:
    """The sidecars that a photo has, its own before the one that it may share."""
    found = []
    for names in ([path.name + suffix for suffix in _SUFFIXES], [path.stem + suffix for suffix in _SUFFIXES]):
        found += [file for file in map(path.with_name, names) if os.path.isfile(file)][:1]
    return found


def _file_to_write(path: Path) -> Path:
    """The sidecar that a photo's names belong in, new or not."""
    own = path.with_name(path.name + _SUFFIXES[0])
    found = sidecars_of(path)
    if not found:
        return own
    if found[0].stem == path.name:
        return found[0]
    # The sidecar NAME.xmp may belong to another file of that name, such as a raw photo.
    try:
        names = os.listdir(path.parent)
    except OSError:
        return own
    sharing = {name for name in names if os.path.splitext(name)[0] == path.stem} - {path.name}
    return own if any(not name.endswith(_SUFFIXES) for name in sharing) else found[0]


def read_sidecar(path: Path) -> xmp.Packet:
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise XmpUnusable(f"{path} is no file, so no names can be written there; remove it")
        with path.open("rb") as file:
            data = file.read(xmp.MAX_BYTES + 1)
    except OSError as error:
        raise XmpUnusable(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    return xmp.parse(data, str(path)) if data.strip() else xmp.Packet.empty()


def replace_sidecar(path: Path, data: bytes) -> None:
    """Write a sidecar whole. It stays private if it was."""
    file = path.resolve()  # a link stays, and the file behind it is replaced
    try:
        private = file.exists() and not file.stat().st_mode & 0o077
        replace_file(file, data, private)
    except OSError as error:
        raise XmpUnusable(f"{path} cannot be written ({error.strerror}); check the folder's permissions") from None
