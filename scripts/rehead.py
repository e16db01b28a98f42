"""Turn a trained model's embeddings evenly over their coordinates, and train its head and calibration again.

    python scripts/rehead.py MODEL DATA --validation DATA [--corrections CSV] --cache DIR [--turned] --output MODEL

For compact models whose targets were not turned so while they were trained; with --turned the head alone is trained.
It sees four bases afterwards, also where it saw one. The turn is folded into the encoder's last layer: no cosine
changes, but L1 distances come nearer to it (see training/teachers.py, `evenly`). DATA are aligned faces; the split of
the validation people is that of `facedex train`. Prints head and cosine side by side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from told import told

from facedex import calibrate, data
from facedex.errors import ModelError
from facedex.evaluation import metrics
from facedex.modelfile import read_model
from facedex.training.headonly import with_new_head
from facedex.training.model import Siamese, from_file, to_file
from facedex.training.procrustes import turn_by
from facedex.training.teachers import evenly
from facedex.training.train import finish, head_matrix


def main() -> None:
    """Read, turn, train the head, choose, calibrate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--people", type=int, default=2000, help="of DATA, to train the head on")
    parser.add_argument("--turned", action="store_true", help="the embeddings are turned already")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    file = read_model(options.model)
    if file.meta.get("arch") != "compact":
        raise ModelError(
            f"{options.model} is {file.meta.get('arch')!r}, and only a compact model can be turned; name one"
        )

    def load(path: Path) -> data.Faces:
        faces = data.load_faces(path, options.cache, aligned=True)
        return data.correct(faces, options.corrections) if options.corrections else faces

    known = load(options.data)
    held = data.without_people(load(options.validation), known.names)
    choosing, calibrating = data.split_people(held, 0.5, least=calibrate.LEAST_PEOPLE)

    model = from_file(file)
    show("as it was", model, choosing)
    if not options.turned:
        turn_by(model, evenly(model.encoder.dim))
    fitted = with_new_head(to_file(model, {}), known, choosing, options.people, options.seed)
    show("new head", from_file(fitted), choosing)
    meta = {k: v for k, v in file.meta.items() if k not in ("calibration", "graph_sha256", "format", "facedex")}
    people = min(options.people, len(known.names))
    written = finish(fitted, calibrating, options.output, {**meta, "rehead": {"people": people}})
    show("as written", from_file(written), calibrating)


def show(name: str, model: Siamese, faces: data.Faces) -> None:
    """Head and cosine on the same embeddings."""
    vectors = model.embed_crops(faces.crops112())
    for way, matrix in (("head", head_matrix(model, vectors)), ("cosine", vectors @ vectors.T)):
        genuine, impostor = metrics.pair_scores(matrix, faces.people)
        rates = "  ".join(
            f"TAR@FAR={far:g} {metrics.tar_at_far(genuine, impostor, far):.3f}" for far in (1e-2, 1e-3, 1e-4)
        )
        print(f"{name:18} {way:7} accuracy {metrics.best_accuracy(genuine, impostor)[0]:.4f}  {rates}", flush=True)


if __name__ == "__main__":
    told(main)
