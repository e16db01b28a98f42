"""Make a golden gallery with the present facedex: python -m tests.golden.make NAME

Run this once for each version of the format, when it is released, and commit the result. Nobody makes it again. The
people, the vectors and the model are made up. The model gives eight numbers a face, and its encoder encodes nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.decision.posterior import Normal, Scores
from facedex.decision.tail import Tail
from facedex.gallery.gallery import Gallery
from facedex.model.modelfile import Branch, ModelFile, with_graphs
from facedex.store.rows import FaceRecord

DIM = 8
NAMES = ["Ada", "Ada", "Bob", "Cy", "José", "山田 太郎"]


def vectors(count: int, seed: int = 0) -> np.ndarray:
    """(count, DIM) float32 unit vectors. Before they are normalised, their numbers are whole."""
    raw = np.random.default_rng(seed).integers(-16, 17, (count, DIM)).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def model(folder: Path) -> Path:
    """Write a model of one kilobyte, with which a gallery can be made; returns its path."""
    tensors = {
        "encoder.weight": np.arange(DIM, dtype=np.float32),
        "head.v": np.linspace(-1, 1, DIM, dtype=np.float32),
        "head.beta": np.array(3.0, np.float32),
    }
    scores = Scores(1, (Normal(1.0, 3.0, 1.5),), Tail(1.5, 0.5, 1.0, 0.0, 0.0, 0.0, 0.05, 2.0, 0.5))
    calibration = Calibration(0.8, -1.0, (scores,), (), 100, 200).to_meta()
    path = folder / "tiny.safetensors"
    meta = {"arch": "golden", "size": 112, "dim": DIM, "normalised": True, "calibration": calibration}
    with_graphs(ModelFile(tensors, meta), [(Branch("own", DIM), b"no graph: nothing is encoded")]).save(path)
    return path


def records() -> list[FaceRecord]:
    """One face for each of NAMES."""
    box = (1.5, 2.25, 30.0, 40.0)
    return [
        FaceRecord(name, vector, box, 0.875, 20.5, f"/photos/{i}.jpg", hashlib.sha256(str(i).encode()).hexdigest())
        for i, (name, vector) in enumerate(zip(NAMES, vectors(len(NAMES)), strict=True))
    ]


def answers(gallery: Gallery) -> list[list[tuple[str, float]]]:
    """For each of five made-up probes everybody's name and fused logit, best first."""
    return [
        [(candidate.name, round(candidate.logit, 5)) for candidate in gallery.match(probe, top=9)]
        for probe in vectors(5, seed=1)
    ]


def main() -> None:
    """Write gallery.db, its model, its index and expected.json into a folder beside this file."""
    folder = Path(__file__).parent / sys.argv[1]
    folder.mkdir()
    model_path = model(folder)
    with Gallery(folder, model_path, create=True) as gallery:
        gallery.add_faces(records())
        gallery.reindex()
        people = [[person.name, person.photos] for person in gallery.people()]
        expected = {"people": people, "faces": gallery.faces, "answers": answers(gallery)}
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n", "utf-8")
    model_path.unlink()
    (folder / "writer.lock").unlink()


if __name__ == "__main__":
    main()
