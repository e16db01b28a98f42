"""A head and a calibration for an encoder from elsewhere: `facedex train --encoder FILE.onnx`.

The encoder stays as it is and sees every photo once; what is trained is a weight for each number that the head sees, and an offset, on its embeddings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facedex import calibrate
from facedex.data import Faces
from facedex.encoder import unit
from facedex.evaluation import metrics
from facedex.fitting import sample
from facedex.modelfile import FOREIGN, ModelFile
from facedex.onnxencoder import OnnxEncoder
from facedex.training import losses
from facedex.training.head import L1Head
from facedex.training.model import Siamese, from_file, to_file
from facedex.training.optim import rate
from facedex.training.sampler import PKSampler

_STEPS, _PEOPLE, _PHOTOS, _RATE = 1500, 32, 4, 0.02
_BLOCK = 64


@dataclass(frozen=True)
class HeadResult:
    """The model written, and TAR@FAR=1e-3 on the people it was chosen on: by the head, by cosine."""

    model: ModelFile
    tar_head: float
    tar_cosine: float
    accuracy: float


def train_head(
    encoder: OnnxEncoder,
    faces: Faces,
    validation: tuple[Faces, Faces],
    output: Path,
    *,
    seed: int = 0,
    steps: int = _STEPS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> HeadResult:
    """Train the L1 head on `faces`, choose it on validation[0], calibrate on validation[1], write `output`.

    The head minimises the Siamese cross-entropy over all pairs of P x K embeddings, from equal weights. What is kept
    is the best of those met on validation[0], the equal weights among them. `progress` is told (faces encoded, of).
    Raises DataError, ModelError.
    """
    validation = tuple(part.select(sample(part.people)) for part in validation)  # type: ignore[assignment]
    parts = [faces, *validation]
    total, done = sum(map(len, parts)), 0
    by_part = []
    for part in parts:
        vectors, lengths = np.empty((len(part), encoder.dim), np.float32), np.empty(len(part), np.float32)
        for i in range(0, len(part), _BLOCK):
            raw = encoder.raw(part.crops112(slice(i, i + _BLOCK)))
            vectors[i : i + _BLOCK], lengths[i : i + _BLOCK] = unit(raw)
            done += len(vectors[i : i + _BLOCK])
            progress(done, total)
        by_part.append(vectors)
    known, choosing, calibrating = by_part

    head = fit_head(known, faces.people, choosing, validation[0].people, seed, steps)
    best_state = _state(head)

    fitted = calibrate.fit(_matrix(head, calibrating), validation[1].people, lengths)
    graph = encoder.path.read_bytes()
    tensors = {f"head.{name}": (t.half() if t.dim() > 1 else t).numpy() for name, t in best_state.items()}
    # What stands for the encoder's tensors in the model's fingerprint: the graph and what it is fed.
    tensors["encoder.sha256"] = np.frombuffer(bytes.fromhex(encoder.fingerprint), np.uint8).copy()
    model = ModelFile(tensors, {
        "arch": FOREIGN, "size": encoder.size, "dim": encoder.dim, "normalised": True, "free_sign": False,
        "template": "arcface-112", "input": encoder.preprocessing, "calibration": fitted.to_meta(),
        "data": {"people": len(faces.names), "photos": len(faces), "sha256": faces.digest(),
                 "validation_people": len(validation[0].names), "calibration_people": len(validation[1].names)},
        "encoder_sha256": hashlib.sha256(graph).hexdigest(),
    })  # fmt: skip
    model.save(output, graph)
    genuine, impostor = metrics.pair_scores(_matrix(head, choosing), validation[0].people)
    cosine = metrics.pair_scores(choosing @ choosing.T, validation[0].people)
    return HeadResult(
        model, metrics.tar_at_far(genuine, impostor, 1e-3), metrics.tar_at_far(*cosine, 1e-3),
        metrics.best_accuracy(genuine, impostor)[0],
    )  # fmt: skip


def with_new_head(file: ModelFile, faces: Faces, choosing: Faces, people: int, seed: int) -> ModelFile:
    """The same encoder with a head trained by `fit_head` on the embeddings of so many of the people. Raises as train_head."""
    some = np.random.default_rng([seed, 0x4EAD]).permutation(len(faces.names))[:people]
    known = faces.select(np.flatnonzero(np.isin(faces.people, some)))
    choosing = choosing.select(sample(choosing.people))
    model = from_file(file)
    head = fit_head(embedded(model, known), known.people, embedded(model, choosing), choosing.people, seed)
    model.head = head
    return to_file(model, {})


def embedded(model: Siamese, faces: Faces) -> np.ndarray:
    """(n, dim) float32: what a network says of every unjittered crop, in order; the crops are read a block at a time."""
    vectors = np.empty((len(faces), model.encoder.dim), np.float32)
    for i in range(0, len(faces), 256):
        vectors[i : i + 256] = model.embed_crops(faces.crops112(slice(i, i + 256)))
    return vectors


def fit_head(
    known: np.ndarray,
    people: np.ndarray,
    choosing: np.ndarray,
    choosing_people: np.ndarray,
    seed: int,
    steps: int = _STEPS,
) -> L1Head:
    """The L1 head of unit embeddings `known` (n, dim) of `people` (n,), the best met on `choosing`. See train_head."""
    torch.manual_seed(seed)
    head = _started(L1Head(known.shape[1], normalised=True), known)
    sampler = PKSampler(people, _PEOPLE, _PHOTOS, seed)
    optimizer = torch.optim.Adam(head.parameters(), lr=_RATE)
    everything = torch.from_numpy(known)
    best, best_state = _score(head, choosing, choosing_people), _state(head)
    for step in range(steps):
        drawn = sampler.batch(step)
        chosen, whose = everything[torch.from_numpy(drawn)], torch.from_numpy(people[drawn])
        loss = losses.siamese_bce(head.pairwise(chosen, chosen), *losses.pair_masks(whose))
        for group in optimizer.param_groups:
            group["lr"] = _RATE * rate(step, steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % max(1, steps // 10) == 0:
            found = _score(head, choosing, choosing_people)
            if found > best:
                best, best_state = found, _state(head)
    head.load_state_dict(best_state)
    return head


def _started(head: L1Head, vectors: np.ndarray) -> L1Head:
    """Equal weights that put strangers about 14 apart, as in our own networks, whatever this encoder's distances."""
    some = torch.from_numpy(vectors[np.random.default_rng(0).permutation(len(vectors))[:500]])
    with torch.no_grad():
        head.v.fill_(float(np.log(np.expm1(14.0 / float(torch.pdist(head.seen(some), p=1).median())))))
        head.beta.fill_(12.0)
    return head


def _state(head: L1Head) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}


def _score(head: L1Head, vectors: np.ndarray, people: np.ndarray) -> float:
    genuine, impostor = metrics.pair_scores(_matrix(head, vectors), people)
    return metrics.tar_at_far(genuine, impostor, 1e-3) + metrics.auc(genuine, impostor) / 100


@torch.no_grad()
def _matrix(head: L1Head, vectors: np.ndarray) -> np.ndarray:
    whole = torch.from_numpy(vectors)
    return torch.cat([head.pairwise(part, whole) for part in whole.split(256)]).numpy()
