"""Make a golden gallery with the facedex at hand: python tests/golden/make.py NAME

Run once for each version of the format, when it is released; what was made is committed and never made again. The
people, vectors and the model (eight numbers a face, an encoder that encodes nothing) are made up.
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
from facedex.store.store import Store

DIM = 8
NAMES = ["Ada", "Ada", "Bob", "Cy", "José", "山田 太郎"]


def vectors(count: int, seed: int = 0) -> np.ndarray:
    """(count, DIM) float32 unit vectors, in exact sixteenths before they are brought to length one."""
    raw = np.random.default_rng(seed).integers(-16, 17, (count, DIM)).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def model(folder: Path) -> Path:
    """A model that a gallery can be made with and that fits into a kilobyte."""
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
    return [
        FaceRecord(name, vector, (1.5, 2.25, 30.0, 40.0), 0.875, 20.5, f"/photos/{i}.jpg",
                   hashlib.sha256(str(i).encode()).hexdigest())
        for i, (name, vector) in enumerate(zip(NAMES, vectors(len(NAMES)), strict=True))
    ]  # fmt: skip


def answers(gallery: Gallery) -> list[list[tuple[str, float]]]:
    """Everybody's name and logit (fused where there are several photos), best first, for probes of our own."""
    return [[(c.name, round(c.logit, 5)) for c in gallery.match(probe, top=9)] for probe in vectors(5, seed=1)]


def main() -> None:
    """Write gallery.db, its model and expected.json into a folder beside this file."""
    folder = Path(__file__).parent / sys.argv[1]
    folder.mkdir()
    with Gallery(folder, model(folder), create=True) as gallery:
        with Store(folder) as store:
            store.add(records())
        gallery.reindex()
        people = [[person.name, person.photos] for person in gallery.people()]
        expected = {"people": people, "faces": gallery.faces, "answers": answers(gallery)}
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n", "utf-8")
    for left in (*folder.glob("tiny.*"), folder / "writer.lock", *folder.glob(".*")):
        left.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
