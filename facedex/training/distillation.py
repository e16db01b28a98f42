"""Other encoders' embeddings of the training photos, as targets for the network that is trained."""

from __future__ import annotations

import hashlib
import os
import zipfile
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facedex.data.dataset import Faces
from facedex.errors import DataError
from facedex.model.vectors import principal_axes, unit

Floats = NDArray[np.floating[Any]]


class Targets(Protocol):
    """A source of target embeddings; the `fingerprint` identifies it."""

    fingerprint: str

    def targets_of(self, parts: list[Faces], dim: int) -> NDArray[np.float32]:
        """Targets of every face of all parts, in order: (n, dim) float32 of unit length; NaN rows have no target."""
        ...


class Teachers:
    """Embeddings by photo key, of one or several encoders side by side.

    The file is a .npz. `key` (n,) are strings NAME/PHOTO as in the packs, without suffix. Every teacher has an array
    (n, d) of any numeric type. Arrays of one dimension (norms) are ignored. Raises DataError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                keys = file["key"]
                parts = {name: file[name] for name in file.files if name != "key" and file[name].ndim == 2}
                if not all(np.isfinite(part).all() for part in parts.values()):
                    raise ValueError("not every number in it is finite")
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} is no file of teachers' embeddings ({error}); see `facedex train --help`"
            ) from None
        if not parts or any(len(part) != len(keys) for part in parts.values()):
            raise DataError(f"{path} holds no embeddings, or not one for every key; make it again")
        self._row = {str(key): i for i, key in enumerate(keys)}
        self._parts = parts
        self.path = os.fspath(path)
        digest = hashlib.sha256("\0".join(map(str, keys)).encode("utf-8", "surrogateescape"))
        for name, part in sorted(parts.items()):
            digest.update(f"\0{name}\0{part.dtype}\0{part.shape}\0".encode() + np.ascontiguousarray(part).tobytes())
        self.fingerprint = digest.hexdigest()

    def targets_of(self, parts: list[Faces], dim: int) -> NDArray[np.float32]:
        """`targets` of all faces of all parts, in order."""
        return self.targets([key for part in parts for key in part.keys], dim)

    def targets(self, keys: list[str], dim: int) -> NDArray[np.float32]:
        """Targets of every key: (n, dim) float32 of unit length; NaN rows for photos that the file does not hold.

        Each teacher's vectors are brought to unit length, centred and brought to unit length again. The teachers side
        by side are projected on their first `dim` principal components, fitted on these photos, and turned by `evenly`.
        Raises DataError when the file holds less than half of the photos.
        """
        rows = np.array([self._row.get(key, -1) for key in keys])
        known = rows >= 0
        if known.mean() < 0.5:
            raise DataError(
                f"{self.path} knows only {known.mean():.0%} of the photos; it belongs to other data, or its keys are "
                "not NAME/PHOTO without suffix"
            )
        joined = np.concatenate([_centred(part[rows[known]]) for part in self._parts.values()], axis=1)
        if joined.shape[1] < dim:
            raise DataError(f"{self.path} has {joined.shape[1]} numbers a photo, fewer than the embedding's {dim}")
        joined -= joined.mean(0)
        targets = np.full((len(keys), dim), np.nan, np.float32)
        targets[known] = unit(joined @ principal_axes(joined, dim) @ evenly(dim))[0]
        return targets


def evenly(dim: int) -> Floats:
    """The discrete Hartley transform (Bracewell 1983): an orthogonal matrix (dim, dim) that spreads every direction.

    A rotation changes no cosine but all L1 distances. Principal components have uneven variances, and an L1 distance
    gives small, noisy components too much weight. With even coordinates it follows the Euclidean distance closely.
    """
    angle = 2 * np.pi * np.outer(np.arange(dim), np.arange(dim)) / dim
    return np.asarray((np.cos(angle) + np.sin(angle)) / np.sqrt(dim))


def _centred(x: Floats) -> Floats:
    """Rows (n, d) brought to unit length, centred, and brought to unit length again; float64."""
    x = unit(x.astype(np.float64))[0]
    return unit(x - x.mean(0))[0]
