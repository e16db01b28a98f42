"""What an encoder from elsewhere says of photos, for `facedex train --teachers` to learn from.

    python -m scripts.teachers DATA... --onnx NAME=FILE [--size 112] [--mean 0] [--scale 1] [--rgb | --bgr]
        [--points X,Y,X,Y,X,Y,X,Y,X,Y] [--aligned] [--cache DIR] --output teachers.npz

DATA: the folders or packs to train on, those without names and those to validate on too. Writes `key`, PERSON/PHOTO
of each, and beside it the encoder's unit embeddings (n, d) as NAME. Once more with another encoder and the same DATA in
the same order, puts that one beside the first. A photo that cannot be used is told and left out. FILE is an ONNX
network, or the .xml of one of OpenVINO's with its .bin beside it (`pip install openvino`); such a one may want faces
cut otherwise than on the usual template: --points says where in its picture it wants the eyes, nose and mouth's
corners.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facedex.cli.console import say
from facedex.cli.options import parse_channels, parse_landmarks
from facedex.cli.progress import progress_bar
from facedex.data import dataset
from facedex.errors import DataError, ModelError
from facedex.faces import alignment
from facedex.files import replace_file
from facedex.model.encoder import GraphEncoder
from facedex.model.foreign import foreign_model
from facedex.model.runtime import openvino_core
from facedex.model.vectors import unit
from facedex.training.distillation import Teachers
from scripts.runner import run_script

BLOCK = 64  # crops read at a time


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, encode, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--onnx", required=True, metavar="NAME=FILE", help="the encoder, and what to call it")
    parser.add_argument("--size", type=int, default=112, help="pixels a side that it takes")
    parser.add_argument("--mean", default="0", help="subtracted from 0..255; one number, or R,G,B")
    parser.add_argument("--scale", default="1", help="what is left is multiplied by this")
    parser.add_argument("--rgb", action="store_true", default=True, help="the order of colours it wants")
    parser.add_argument("--bgr", action="store_false", dest="rgb", help="the other order")
    parser.add_argument("--points", help="where it wants five landmarks, in pixels of what it takes")
    parser.add_argument("--aligned", action="store_true", help="photos are aligned faces already")
    parser.add_argument("--cache", type=Path, help="for decoded crops; kept, where it is given")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    name, _, file = options.onnx.partition("=")
    if not file or name in ("", "key", "file"):  # the last two are taken: by the photos, and by numpy
        raise DataError(f"--onnx {options.onnx} must be NAME=FILE.onnx, with a name of your choice but key and file")
    mean, scale = parse_channels(options.mean, "--mean"), parse_channels(options.scale, "--scale")
    points = parse_landmarks(options.points, "--points")
    encoder: GraphEncoder | OpenVino
    if file.endswith(".xml"):
        encoder = OpenVino(file, options.size, mean, scale, options.rgb, points)
    else:
        encoder = GraphEncoder(foreign_model(file, options.size, mean, scale, options.rgb, points=points))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps what is mapped
        cache = options.cache or Path(folder)
        faces = dataset.join([dataset.load_faces(path, cache, options.aligned, notice=say) for path in options.data])
        arrays = beside(options.output, np.array(faces.keys), name)
        vectors = np.empty((len(faces), encoder.dim), np.float16)
        with progress_bar(len(faces)) as bar:
            task = bar.add_task(name, total=len(faces))
            for at in range(0, len(faces), BLOCK):
                vectors[at : at + BLOCK] = encoder.encode(faces.crops112(slice(at, at + BLOCK)))[0]
                bar.advance(task, len(vectors[at : at + BLOCK]))
    arrays[name] = vectors
    written = io.BytesIO()
    np.savez(written, **arrays)  # type: ignore[arg-type]
    replace_file(options.output, written.getvalue())
    print(f"{options.output}: {len(faces):,} photos as seen by {', '.join(one for one in arrays if one != 'key')}")


class OpenVino:
    """A network in OpenVINO's own form, which OpenCV cannot read. Raises ModelError where it cannot be run."""

    def __init__(
        self,
        file: str,
        size: int,
        mean: list[float],
        scale: list[float],
        rgb: bool,
        points: list[tuple[float, float]] | None,
    ) -> None:
        try:
            core = openvino_core()
        except ModuleNotFoundError:
            raise ModelError(f"{file} needs OpenVINO; pip install openvino") from None
        self.mean, self.scale = np.asarray(mean, np.float32), np.asarray(scale, np.float32)
        self.size, self.rgb, self.points = size, rgb, points
        try:
            network = core.read_model(file)
            network.reshape([1, 3, size, size])
            self.network = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except RuntimeError:
            raise ModelError(
                f"{file} is no OpenVINO network of pictures of {size} pixels; check it and --size"
            ) from None
        self.dim = int(np.prod(self.network.output(0).shape))

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As facedex.encoder.Encoder."""
        out = np.empty((len(crops), self.dim), np.float32)
        for row, seen in zip(out, alignment.fitted(crops, self.size, self.points), strict=True):
            cut = (seen.astype(np.float32) - self.mean) * self.scale
            row[:] = self.network([(cut if self.rgb else cut[..., ::-1]).transpose(2, 0, 1)[None]])[0].ravel()
        return unit(out)


def beside(path: Path, keys: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """What the file holds already of these very photos; their keys alone where there is none. Raises DataError."""
    if not path.exists():
        return {"key": keys}
    Teachers(path)
    with np.load(path) as stored:
        if not np.array_equal(stored["key"], keys):
            raise DataError(f"{path} is of other photos, or of these in another order; name another --output")
        if name in stored.files:
            raise DataError(f"{path} holds a {name} already; choose another name, or delete the file")
        return {one: stored[one] for one in stored.files}


if __name__ == "__main__":
    run_script(main)
