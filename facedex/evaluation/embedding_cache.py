"""Embeddings kept between runs, where the user asks for that.

None are kept otherwise. An embedding identifies a person as well as the photo does, and nobody expects a command that
measures to leave such a trace.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facedex._version import __version__
from facedex.errors import DataError
from facedex.faces import detector
from facedex.files import replace_file


class EmbeddingCache:
    """One encoder's embeddings by the SHA-256 of the photo's bytes, in one file of the user's folder.

    `crop` names how the face is cut from a photo. The file's name depends on it, on the encoder's fingerprint, on the
    detector's version and on facedex's version, which stands for the alignment. Without a folder the cache lives in
    memory.
    """

    def __init__(self, folder: Path | None, fingerprint: str, crop: str) -> None:
        """Raises DataError when the folder cannot be made. A damaged file counts as empty."""
        self._vectors: dict[bytes, NDArray[np.float32]] = {}
        self._changed = False
        self._path: Path | None = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DataError(f"{folder} cannot be used as a cache ({error.strerror}); name another folder") from None
        digest = hashlib.sha256(f"{__version__}\0{detector.VERSION}\0{fingerprint}\0{crop}".encode()).hexdigest()
        self._path = folder / f"embeddings-{digest[:24]}.npz"
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                photos, vectors = stored["photos"], stored["vectors"]
            if photos.dtype == np.uint8 and photos.shape == (len(vectors), 32) and vectors.dtype == np.float32:
                self._vectors = {bytes(photo): vector for photo, vector in zip(photos, vectors, strict=True)}
        except FileNotFoundError:
            pass
        except Exception:  # zip, zlib and numpy each raise errors of their own for a damaged file
            self._vectors = {}

    def get(self, photo: bytes) -> NDArray[np.float32] | None:
        """The embedding (dim,) float32 of the photo with this digest (32 bytes), or None."""
        return self._vectors.get(photo)

    def put(self, photo: bytes, vector: NDArray[np.float32]) -> None:
        """Keep an embedding (dim,) float32 by the photo's digest (32 bytes)."""
        self._vectors[photo] = vector
        self._changed = True

    def save(self) -> None:
        """Write new embeddings in one step, readable by the user alone. Raises DataError when that fails."""
        if self._path is None or not self._changed:
            return
        buffer = io.BytesIO()
        photos = np.frombuffer(b"".join(self._vectors), np.uint8).reshape(-1, 32)
        np.savez(buffer, photos=photos, vectors=np.stack(list(self._vectors.values())).astype(np.float32))
        try:
            replace_file(self._path, buffer.getvalue(), private=True)
        except OSError as error:
            raise DataError(f"{self._path} cannot be written ({error.strerror}); name another --cache") from None
        self._changed = False
