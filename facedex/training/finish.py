"""The end of a run: the head fitted again, the calibration, and the inference graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedex.data.dataset import Faces, some_people
from facedex.decision.calibration import fit_calibration
from facedex.decision.fitting import sample
from facedex.model.encoder import GraphEncoder
from facedex.model.modelfile import Branch, ModelFile, with_graphs
from facedex.model.vectors import unit
from facedex.training.export import export_onnx
from facedex.training.headfit import fit_head
from facedex.training.siamese import Siamese, embed_faces, from_file, to_file
from facedex.training.validation import logit_matrix


def with_new_head(file: ModelFile, faces: Faces, choosing: Faces, people: int, seed: int) -> ModelFile:
    """The same encoder with a head fitted to the embeddings of at most `people` people, from equal weights."""
    known = some_people(faces, people, seed)
    choosing = choosing.select(sample(choosing.people))
    model = from_file(file)
    head = fit_head(embed_faces(model, known), known.people, embed_faces(model, choosing), choosing.people, seed=seed)
    return ModelFile({**file.tensors, **head.tensors()}, file.meta, file.path)


def finish(weights: ModelFile, calibration: Faces, output: Path, meta: dict[str, Any]) -> ModelFile:
    """Calibrate the weights, which are rounded as they are stored, export the graph, and write the model."""
    model = from_file(weights)
    chosen = sample(calibration.people)
    embeddings, lengths = _encoded(weights, model, calibration.crops112(chosen))
    fitted = fit_calibration(logit_matrix(model, embeddings), calibration.people[chosen], lengths)
    written = to_file(model, {**meta, "calibration": fitted.to_meta()})
    if model.encoder.normalised and not weights.frozen:  # koch has no graph, because no index can hold its embeddings
        graph = export_onnx(model.encoder, model.encoder.size)
        written = with_graphs(written, [(Branch("own", model.encoder.dim, model.encoder.size), graph)])
    written.save(output)
    return written


def _encoded(
    weights: ModelFile, model: Siamese, crops: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The embeddings (n, dim) of crops (n, 112, 112, 3), and their quality (n,) where the network has one.

    A network from elsewhere has its quality before the projection, so its graph is run as it will be.
    """
    if weights.frozen:
        return GraphEncoder(weights).encode(crops)
    raw = model.raw_crops(crops)
    return unit(raw) if model.encoder.normalised else (raw, None)
