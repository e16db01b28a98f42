"""More residual blocks for a trained model, with the same answers for now: capacity to go on training with.

    python scripts/deepen.py MODEL --blocks 2,3,2 --output MODEL

The new blocks pass on what they get (training/model.py, `deepened`), so that every answer is that of before until
`facedex train --init` has trained them. To a gallery it is another model all the same. Prints the parameters before and
after, and how far any embedding of a random picture moved.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from told import list_of, told

from facedex.modelfile import read_model, shipped_model
from facedex.training.export import export_onnx
from facedex.training.model import Siamese, deepened, from_file, to_file

KEPT = ("calibration", "recipe", "data", "validation")


def parameters(model: Siamese) -> int:
    """How many numbers a network has learnt."""
    return sum(tensor.numel() for tensor in model.parameters())


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, deepen, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, help="else the one that ships")
    parser.add_argument("--blocks", type=list_of(int, 1), required=True, help="residual blocks at each width")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    file = read_model(options.model or shipped_model())
    before = from_file(file)
    after = deepened(before, tuple(options.blocks))
    meta = {key: file.meta[key] for key in KEPT if key in file.meta}
    to_file(after, meta).save(options.output, export_onnx(after.encoder, file.size))
    after = from_file(read_model(options.output))
    crops = np.random.default_rng(0).integers(0, 256, (32, 112, 112, 3), dtype=np.uint8)
    moved = np.abs(before.embed_crops(crops) - after.embed_crops(crops)).max()
    print(f"{parameters(before):,} parameters, then {parameters(after):,}; embeddings moved by {moved:.1g} at most")


if __name__ == "__main__":
    told(main)
