"""Keep another encoder's embeddings of photos, from which `facedex train --teachers` learns.

    python -m scripts.teachers DATA... --onnx NAME=FILE [--size 112] [--mean 0] [--scale 1] [--rgb | --bgr]
        [--points X,Y,X,Y,X,Y,X,Y,X,Y] [--aligned] [--cache DIR] --output teachers.npz

DATA are all folders or packs of the training: those without names and those to validate on too. Writes `key`,
PERSON/PHOTO of each photo, and the encoder's unit embeddings (n, d) as NAME. A second run with another encoder and the
same DATA in the same order adds that one to the file. Photos that cannot be used are named and left out.

FILE is an ONNX network, or the .xml of an OpenVINO network with its .bin beside it (`pip install openvino`). A network
may need faces cut by another template: --points gives its positions of eyes, nose and corners of the mouth, in pixels.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facedex.cli.console import say
from facedex.cli.encoder_options import parse_channels, parse_landmarks
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
    """Run from the command line. Raises FacedexError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--onnx", required=True, metavar="NAME=FILE", help="the encoder and a name for it")
    parser.add_argument("--size", type=int, default=112, help="side of its input in pixels")
    parser.add_argument("--mean", default="0", help="subtracted from values of 0 to 255; one number, or R,G,B")
    parser.add_argument("--scale", default="1", help="factor on the difference")
    parser.add_argument("--rgb", action="store_true", default=True, help="its input is RGB (the default)")
    parser.add_argument("--bgr", action="store_false", dest="rgb", help="its input is BGR")
    parser.add_argument("--points", help="positions of the five landmarks in its input, in pixels")
    parser.add_argument("--aligned", action="store_true", help="photos are aligned faces already")
    parser.add_argument("--cache", type=Path, help="folder for decoded crops, which is kept")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    name, _, file = options.onnx.partition("=")
    if not file or name in ("", "key", "file"):  # the file uses `key` for the photos, and numpy reserves `file`
        raise DataError(f"--onnx {options.onnx} must be NAME=FILE.onnx, with a name of your choice but key and file")
    mean, scale = parse_channels(options.mean, "--mean"), parse_channels(options.scale, "--scale")
    points = parse_landmarks(options.points)
    encoder: GraphEncoder | OpenVino
    if file.endswith(".xml"):
        encoder = OpenVino(file, options.size, mean, scale, options.rgb, points)
    else:
        encoder = GraphEncoder(foreign_model(file, options.size, mean, scale, options.rgb, points=points))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows cannot delete mapped files
        cache = options.cache or Path(folder)
        faces = dataset.join([dataset.load_faces(path, cache, options.aligned, notice=say) for path in options.data])
        arrays = stored_beside(options.output, np.array(faces.keys), name)
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
    encoders = ", ".join(stored for stored in arrays if stored != "key")
    print(f"{options.output}: {len(faces):,} photos, embeddings by {encoders}")


class OpenVino:
    """A network in OpenVINO's own format, which OpenCV cannot read. Raises ModelError where it cannot be run."""

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
        """Encode crops (n, 112, 112, 3) uint8 RGB. Return unit embeddings (n, dim) float32 and their lengths (n,)."""
        out = np.empty((len(crops), self.dim), np.float32)
        for row, crop in zip(out, alignment.fitted(crops, self.size, self.points), strict=True):
            scaled = (crop.astype(np.float32) - self.mean) * self.scale
            row[:] = self.network([(scaled if self.rgb else scaled[..., ::-1]).transpose(2, 0, 1)[None]])[0].ravel()
        return unit(out)


def stored_beside(path: Path, keys: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Return the arrays that a file holds of these photos, or only their keys if there is no file. Raises DataError."""
    if not path.exists():
        return {"key": keys}
    Teachers(path)
    with np.load(path) as stored:
        if not np.array_equal(stored["key"], keys):
            raise DataError(f"{path} holds other photos, or these in another order; name another --output")
        if name in stored.files:
            raise DataError(f"{path} holds a {name} already; choose another name, or delete the file")
        return {array: stored[array] for array in stored.files}


if __name__ == "__main__":
    run_script(main)
