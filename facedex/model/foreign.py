"""An ONNX encoder from elsewhere as a model that has no head yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facedex.errors import ModelError
from facedex.faces.alignment import SIZE
from facedex.model.encoder import Networks
from facedex.model.modelfile import FROZEN, Branch, ModelFile, with_graphs
from facedex.model.runtime import open_graph


def foreign_model(
    path: str | os.PathLike[str],
    size: int = SIZE,
    mean: float | Sequence[float] = 0.0,
    scale: float | Sequence[float] = 1.0,
    rgb: bool = True,
    mirrored: bool = False,
    points: Sequence[Sequence[float]] | None = None,
) -> ModelFile:
    """A model of one frozen branch without head and calibration. `facedex train` adds both.

    The network takes (pixel - mean) * scale, for pixels of 0..255. `mean` and `scale` are one number, or three in the
    order R, G, B, whatever order the network takes. `size`: pixels a side. `points` (5, 2): where the network wants the
    landmarks, in these pixels; None for the usual template. `mirrored`: see mirror.py.

    Raises ModelError when the file is missing, cannot be run, or gives made-up faces the same embedding.
    """
    source = Path(path)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ModelError(f"{source} cannot be read ({error.strerror}); name an ONNX file") from None
    places = None if points is None else tuple((float(x), float(y)) for x, y in points)
    try:
        dim = len(open_graph(data, (3, size, size))(np.zeros((3, size, size), np.float32)))
    except ValueError:
        raise ModelError(
            f"{source} is no ONNX network that can be run on pictures of {size} x {size} pixels; give the --size it "
            "was made for, or export it again as plain float32 operators"
        ) from None
    branch = Branch("encoder", dim, size, places, rgb, _three("mean", mean), _three("scale", scale))
    facts = {"arch": FROZEN, "dim": dim, "mirrored": mirrored, "normalised": True, "free_sign": False}
    model = with_graphs(ModelFile({}, facts, source), [(branch, data)])
    noise = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    (answers,) = Networks(model)(noise)
    if dim < 2 or np.ptp(answers, axis=0).max() == 0:
        raise ModelError(
            f"{source} gives no embedding of a face ({dim} numbers a picture, or always the same ones); check --size, "
            "--mean and --scale"
        )
    return model


def _three(what: str, value: float | Sequence[float]) -> tuple[float, ...]:
    numbers = np.atleast_1d(np.asarray(value, np.float64))
    if numbers.shape not in ((1,), (3,)) or not np.isfinite(numbers).all():
        raise ModelError(f"--{what} is one number, or three for R, G, B; not {value!r}")
    return tuple(np.broadcast_to(numbers, 3).tolist())
