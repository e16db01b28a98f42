"""Embeddings kept between runs, where the user asks for it.

None are kept otherwise: a face's embedding identifies a person like the photo does, and nobody expects a command that
measures something to leave such a trace.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from facedex._version import __version__
from facedex.errors import DataError
from facedex.faces import detector
from facedex.files import replace_file


class EmbeddingCache:
    """One encoder's embeddings by the SHA-256 of the photo's bytes, in one file of a folder of the user's.

    `way` says which face of a photo was taken and how. The file is bound to that, to the encoder's fingerprint,
    to the detector's version and to facedex's, which stands for the alignment. Without a folder it only remembers.
    """

    def __init__(self, folder: Path | None, fingerprint: str, way: str) -> None:
        """Raises DataError when the folder cannot be made. A file that is damaged is started anew."""
        self._known: dict[bytes, np.ndarray] = {}
        self._new = False
        self._path: Path | None = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DataError(f"{folder} cannot be used as a cache ({error.strerror}); name another folder") from None
        digest = hashlib.sha256(f"{__version__}\0{detector.VERSION}\0{fingerprint}\0{way}".encode()).hexdigest()
        self._path = folder / f"embeddings-{digest[:24]}.npz"
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                photos, vectors = stored["photos"], stored["vectors"]
            if photos.dtype == np.uint8 and photos.shape == (len(vectors), 32) and vectors.dtype == np.float32:
                self._known = {bytes(photo): vector for photo, vector in zip(photos, vectors, strict=True)}
        except FileNotFoundError:
            pass
        except Exception:  # zip, zlib and numpy each have their own for a damaged file
            self._known = {}

    def get(self, photo: bytes) -> np.ndarray | None:
        """The embedding (dim,) of the photo with this digest (32 bytes), if it is known."""
        return self._known.get(photo)

    def put(self, photo: bytes, vector: np.ndarray) -> None:
        self._known[photo] = vector
        self._new = True

    def save(self) -> None:
        """Write what is new, whole or not at all, for the user alone. Raises DataError when that fails."""
        if self._path is None or not self._new:
            return
        buffer = io.BytesIO()
        photos = np.frombuffer(b"".join(self._known), np.uint8).reshape(-1, 32)
        np.savez(buffer, photos=photos, vectors=np.stack(list(self._known.values())).astype(np.float32))
        try:
            replace_file(self._path, buffer.getvalue(), private=True)
        except OSError as error:
            raise DataError(f"{self._path} cannot be written ({error.strerror}); name another --cache") from None
        self._new = False
