"""Make a golden gallery with the present facedex: python -m tests.golden.make NAME

Run this once for each version of the format, when it is released, and commit the result. Nobody makes it again. The
people, the vectors and the model are made up. The model gives eight numbers a face, and its encoder encodes nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np

from facedex.decision.calibration import Calibration
from facedex.decision.posterior import Normal, Scores
from facedex.decision.tail import Tail
from facedex.gallery.gallery import Gallery
from facedex.model.modelfile import Branch, ModelFile, with_graphs
from facedex.store.library_rows import FoundFace, SeenFile
from facedex.store.rows import FaceRecord

DIM = 8
UNUSUAL = [None, "of unusual colour", None, None]
NAMES = ["Ada", "Ada", "Bob", "Cy", "José", "山田 太郎"]
CONSENTS = {2: ("signed form", "9999-12-31"), 3: ("by word of mouth", "")}  # of some of these faces


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


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def records() -> list[FaceRecord]:
    """One face for each of NAMES."""
    box = (1.5, 2.25, 30.0, 40.0)
    return [
        FaceRecord(name, vector, box, 0.875, 20.5, f"/photos/{i}.jpg", _sha(str(i)), *CONSENTS.get(i, ()))
        for i, (name, vector) in enumerate(zip(NAMES, vectors(len(NAMES)), strict=True))
    ]


def scanned_files() -> list[SeenFile]:
    """Two photos with two faces each. The second lies at two paths."""
    landmarks = np.arange(10, dtype=np.float32).reshape(5, 2)
    measures = (1.5, 2.25, 30.0, 40.0), landmarks, 0.875, 20.5, 0.25
    faces = [FoundFace(vector, *measures, word) for vector, word in zip(vectors(4, seed=3), UNUSUAL, strict=True)]
    digests = [_sha(f"scanned {i}") for i in range(2)]
    return [
        SeenFile("/photos/one.jpg", 1000, 10**18, digests[0], tuple(faces[:2]), "a remark", "2020-02-03T04:05:06", 5),
        SeenFile("/photos/two.jpg", 2000, 10**18 + 1, digests[1], tuple(faces[2:])),
        SeenFile("/photos/copy of two.jpg", 2000, 10**18 + 2, digests[1]),
    ]


def scanned(gallery: Gallery) -> dict[str, object]:
    """What the scanned library holds: files, and for each face its photo, group and name."""
    faces, people = gallery.library.faces(), [""] * 4
    for person in gallery.people():
        for face in gallery.library.faces_named(person.name).ids.tolist():
            people[face - 1] = person.name
    return {
        "files": sorted(
            [source, file.size, file.modified, file.photo] for source, file in gallery.library.files().items()
        ),
        "faces": [list(row) for row in zip(faces.photos.tolist(), faces.groups.tolist(), people, strict=True)],
        "facts": [[photo, *astuple(facts)] for photo, facts in sorted(gallery.library.facts([1, 2]).items())],
        "unusual": faces.unusual,
        "groups": [[number, group.name, group.ignored] for number, group in sorted(gallery.library.groups().items())],
    }


def changes(gallery: Gallery) -> list[list[object]]:
    """The log: kind, name, and paths of each change."""
    return [[change.kind, change.name, *paths] for change, paths in gallery.changes()]


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
        with gallery.changing_library() as store:
            store.library.save(scanned_files())
            store.library.regroup({1: 1, 2: 2, 3: 1, 4: 3}, {1: 0, 2: 2, 3: 0})
            store.library.ignore(3, True)
            store.name_scanned("Ada", [], [1, 3])
        gallery.reindex()
        people = [[person.name, person.photos] for person in gallery.people()]
        expected = {"people": people, "faces": gallery.faces, "answers": answers(gallery)}
        expected["scanned"] = scanned(gallery)
        expected["changes"] = changes(gallery)
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n", "utf-8")
    model_path.unlink()
    for lock in ("writer.lock", "writer.turn"):
        (folder / lock).unlink()


if __name__ == "__main__":
    main()
