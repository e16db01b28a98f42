"""Any face encoder given as ONNX: crops on the usual template to unit embeddings, run by OpenCV's dnn."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from facedex.align import SIZE, resized
from facedex.errors import ModelError
from facedex.mirror import both_ways

_BATCH = 16


class OnnxEncoder:
    """An encoder from elsewhere. One may be shared by threads; they take turns.

    What the network sees is (pixel - mean) * scale, for pixels of 0..255, channels first, in RGB or BGR order.
    `fingerprint`: SHA-256 over the file and that preprocessing; the same one gives the same embeddings.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int = SIZE,
        mean: float | Sequence[float] = 0.0,
        scale: float | Sequence[float] = 1.0,
        rgb: bool = True,
        mirrored: bool = False,
        data: bytes | None = None,
    ) -> None:
        """`data`: the file's bytes, where they were read already. `mean` and `scale`: one number, or three in the order R, G, B whichever order the network wants. `mirrored`: see mirror.py.

        `size` pixels a side: other than 112, the crop is resized. Raises ModelError when the file is missing, no
        ONNX that OpenCV can run, or does not take such crops to one vector each.
        """
        self.path, self.size, self.rgb, self.mirrored = Path(path), size, rgb, mirrored
        self._mean, self._scale = _three("mean", mean), _three("scale", scale)
        try:
            data = self.path.read_bytes() if data is None else data
        except OSError as error:
            raise ModelError(f"{self.path} cannot be read ({error.strerror}); name an ONNX file") from None
        try:
            with _quiet():
                self._net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
        except cv2.error:
            raise ModelError(
                f"{self.path} is not an ONNX network that OpenCV {cv2.__version__} can run; export it again, as plain "
                "float32 operators"
            ) from None
        self.preprocessing = {"size": size, "mean": self._mean.tolist(), "scale": self._scale.tolist(), "rgb": rgb}
        if mirrored:  # not said where it is not so, as in files of before
            self.preprocessing["mirrored"] = True
        facts = json.dumps(list(self.preprocessing.values()))
        self.fingerprint = hashlib.sha256(hashlib.sha256(data).digest() + facts.encode()).hexdigest()
        self._lock = threading.Lock()
        self._batch = 1
        self.dim = self._try()

    def encode(self, crops: np.ndarray) -> np.ndarray:
        """Crops (n, 112, 112, 3) uint8 RGB to unit embeddings (n, dim) float32."""
        out = self.raw(crops)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)

    def raw(self, crops: np.ndarray) -> np.ndarray:
        """The network's own output (n, dim) float32, of whatever length; with `mirrored` the mean of two."""
        crops = np.asarray(crops)
        if crops.ndim != 4 or crops.shape[1:] != (SIZE, SIZE, 3) or crops.dtype != np.uint8:
            raise ValueError(f"crops must be (n, 112, 112, 3) uint8, not {crops.shape} {crops.dtype}")
        return both_ways(self._blockwise, crops) if self.mirrored else self._blockwise(crops)

    def _blockwise(self, crops: np.ndarray) -> np.ndarray:
        out = np.empty((len(crops), self.dim), np.float32)
        for start in range(0, len(crops), self._batch):
            out[start : start + self._batch] = self._forward(crops[start : start + self._batch])
        if not np.isfinite(out).all():
            raise ModelError(f"{self.path} gives numbers of a face that are not finite; check --mean and --scale")
        return out

    def _forward(self, crops: np.ndarray) -> np.ndarray:
        pixels = (resized(crops, self.size).astype(np.float32) - self._mean) * self._scale
        if not self.rgb:
            pixels = pixels[..., ::-1]
        with self._lock:
            self._net.setInput(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
            return np.array(self._net.forward(), np.float32).reshape(len(crops), -1)

    def _try(self) -> int:
        """The embedding's size, from made-up crops; and whether the network takes several at once.

        Many graphs are exported for a batch of one. OpenCV then refuses larger ones, or answers wrongly.
        """
        noise = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
        try:
            with _quiet():
                single = np.concatenate([self._forward(crop[None]) for crop in noise])
        except (cv2.error, ValueError):
            raise ModelError(
                f"{self.path} does not take RGB pictures of {self.size} x {self.size} pixels; "
                "give the --size it was made for"
            ) from None
        if single.shape[1] < 2 or not np.isfinite(single).all() or np.ptp(single, axis=0).max() == 0:
            raise ModelError(
                f"{self.path} gives no embedding of a face ({single.shape[1]} numbers a picture, not finite or always "
                "the same); check --size, --mean and --scale"
            )
        try:
            with _quiet():
                together = self._forward(noise)
        except (cv2.error, ValueError):
            return single.shape[1]
        if together.shape == single.shape and np.allclose(
            together, single, rtol=1e-3, atol=1e-3 * np.abs(single).max()
        ):
            self._batch = _BATCH
        return single.shape[1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCV's own account, in many lines, of what it cannot take: our error says it in a sentence."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _three(what: str, value: float | Sequence[float]) -> np.ndarray:
    numbers = np.atleast_1d(np.asarray(value, np.float32))
    if numbers.shape not in ((1,), (3,)) or not np.isfinite(numbers).all():
        raise ModelError(f"--{what} is one number, or three for R, G, B; not {value!r}")
    return np.broadcast_to(numbers, 3)
