"""Photos to names, and two photos to one answer."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from facedex import align, images
from facedex.calibrate import Calibration
from facedex.detect import Face
from facedex.errors import FacedexError, NoFace, PhotoNotFound
from facedex.faces import EncodedFace, FaceReader
from facedex.gallery import Gallery
from facedex.head import Head
from facedex.lookup import Candidate
from facedex.modelfile import read_model, shipped_model

FPIR = 0.01  # of strangers who are given a name, unless the caller says otherwise
FMR = 1e-3  # of different pairs that `verify` calls the same
PRIOR = 0.5  # that whoever is in the photo is enrolled at all

_BATCH = 16  # photos decoded and searched for faces together


@dataclass(frozen=True)
class Identification:
    """One face of a photo. `name` is None for a stranger; `similarity` and `probability` are then the best
    candidate's. `candidates` are the most similar people, best first.
    """

    face: Face
    name: str | None
    similarity: float
    probability: float
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class IdentifiedPhoto:
    """All faces of one photo, or why there are none. `pixels` (height, width, 3) uint8 RGB only where kept."""

    photo: str
    faces: tuple[Identification, ...] = ()
    error: str | None = None
    pixels: np.ndarray | None = None


@dataclass(frozen=True)
class Verification:
    """Whether two photos show one person. `similarity`: calibrated, if half of all pairs were the same;
    `probability`: the same with the prior asked for.
    """

    same: bool
    similarity: float
    probability: float


def identify(
    gallery: Gallery,
    photos: Iterable[str | os.PathLike[str]],
    *,
    top: int = 1,
    fpir: float = FPIR,
    prior: float = PRIOR,
    exhaustive: bool = False,
    keep_pixels: bool = False,
    device: str = "cpu",
) -> Iterator[IdentifiedPhoto]:
    """Name every face in every photo, in order. A photo that cannot be used yields its error, never raises.

    A face gets a name when its best candidate passes the threshold at which a stranger would be named with
    probability `fpir`, at the gallery's present size. `exhaustive` scores everybody with the head, without
    the index.
    """
    reader = gallery.reader(device)
    threshold = gallery.threshold(fpir)

    def find(photo: str) -> tuple[np.ndarray, list[Face], list[np.ndarray]] | FacedexError:
        try:
            pixels = images.decode(images.read_bytes(photo), photo)
            faces = reader.detector.detect(pixels)
            if not faces:
                raise NoFace(f"{photo} shows no face that could be found; use a clearer photo")
            return pixels, faces, [align.align(pixels, face.landmarks) for face in faces]
        except FacedexError as error:
            return error

    names = (os.fspath(photo) for photo in photos)
    with ThreadPoolExecutor(2) as pool:
        while batch := list(islice(names, _BATCH)):
            for photo, found in zip(batch, pool.map(find, batch), strict=True):
                if isinstance(found, FacedexError):
                    yield IdentifiedPhoto(photo, error=str(found))
                    continue
                pixels, faces, crops = found
                named = tuple(
                    _decide(gallery, one, threshold, top, prior, exhaustive)
                    for one in reader.encode_crops(crops, faces)
                )
                yield IdentifiedPhoto(photo, named, pixels=pixels if keep_pixels else None)


def _decide(
    gallery: Gallery, one: EncodedFace, threshold: float, top: int, prior: float, exhaustive: bool
) -> Identification:
    candidates = gallery.match(one.vector, max(1, top), prior, exhaustive)
    if not candidates:
        return Identification(one.face, None, 0.0, 0.0, ())
    best = candidates[0]
    name = best.name if best.logit >= threshold else None
    return Identification(one.face, name, best.similarity, best.probability, tuple(candidates[:top]))


class Verifier:
    """Compares two photos, without a gallery."""

    def __init__(self, model: str | os.PathLike[str] | None = None, device: str = "cpu") -> None:
        """With `model`, else the shipped one. Raises ModelError."""
        file = read_model(model or shipped_model())
        self.head, self.calibration = Head.from_file(file), Calibration.from_meta(file.meta)
        self.reader = FaceReader(file, device)

    def verify(
        self, a: str | os.PathLike[str], b: str | os.PathLike[str], fmr: float = FMR, prior: float = 0.5
    ) -> Verification:
        """Whether the largest faces of two photos are one person's, at a false match rate. Raises PhotoError."""
        vectors = [self._face(photo).vector for photo in (a, b)]
        logit = self.head.logits(vectors[0], vectors[1])
        same = bool(logit >= self.calibration.threshold(1, fmr))
        probability = float(self.calibration.posterior(np.array([logit]), 1, prior)[0])
        return Verification(same, float(self.calibration.similarity(logit)), probability)

    def _face(self, photo: str | os.PathLike[str]) -> EncodedFace:
        opened = images.open_photo(photo)
        faces = self.reader.detector.detect(opened.pixels)
        if not faces:
            raise NoFace(f"{opened.name} shows no face that could be found; use a clearer photo")
        return self.reader.encode([(opened.pixels, faces[0])])[0]


def expand(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Photos from files, folders and patterns, in a stable order. A missing file is passed on: reading says so.

    Patterns are expanded here too, because Windows' shells leave them as they are.
    """
    for item in inputs:
        name = os.fspath(item)
        if os.path.isdir(name):
            found = False
            for path in images.find_photos(Path(name)):
                found = True
                yield str(path)
            if not found:
                raise PhotoNotFound(f"{name} holds no photos; name another folder")
        elif not os.path.lexists(name) and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))
            if not matches:
                raise PhotoNotFound(f"Nothing matches {name}; check the pattern")
            yield from expand(matches)
        else:
            yield name
