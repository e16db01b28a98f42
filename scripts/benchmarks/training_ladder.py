"""Measure what each step from the network of 2015 to ours is worth, for the same minutes of training.

    python -m scripts.benchmarks.training_ladder train.tar --validation val.tar --pairs pairsDevTest.txt \\
        --images images --corrections corrections.csv --teachers teachers.npz --unlabelled unlabelled.tar \\
        --minutes 6 --out ladder

Every rung adds one thing to the one before and is trained from scratch on the same people. Finished rungs stay in OUT
and are not trained again, so that an interrupted run continues. Ten-fold accuracy is measured on the pairs, by the head
and by the cosine of the same embeddings. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import platform
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from facedex.data.dataset import correct, join, load_faces, split_people, without_people
from facedex.decision.fitting import LEAST_PEOPLE
from facedex.evaluation.embedded_photos import read_listed
from facedex.evaluation.matchers import Matcher, model_matcher
from facedex.evaluation.pairs_protocol import evaluate_pairs, photos_of, read_pairs
from facedex.faces import alignment
from facedex.model.modelfile import read_model
from facedex.training.augment import augment
from facedex.training.distillation import Teachers
from facedex.training.recipe import RECIPES, Recipe, recipe_for
from facedex.training.siamese import Siamese, from_file
from facedex.training.train import train
from scripts.runner import list_of, run_script

VALIDATIONS = 4  # of a rung, because its run is short
UNALIGNED = 3.0  # factor on the jitter: up to 24 degrees, a fifth of the scale, 12 px of shift


@dataclass(frozen=True)
class Rung:
    """One step of the ladder. `taught` adds teachers, `unlabelled` adds photos without names."""

    name: str
    recipe: Recipe
    taught: bool = False
    unlabelled: bool = False


def ladder() -> list[Rung]:
    """Return the rungs from Koch et al. 2015, without alignment, to the full recipe."""
    koch, whole, full = RECIPES["koch"], recipe_for("compact", True, "cpu"), ((0.0, alignment.SIZE),)
    plain = replace(RECIPES["compact"], sizes=full, people=16)
    pairs = replace(plain, random_pairs=True)
    by_person = replace(whole, people=32, photos=4, others_share=0.0, gentle=1.0)
    taught = replace(plain, pair_weight=0.02)
    cosine_only = replace(taught, relational_weight=0.0, relational_l1_weight=0.0)
    return [
        Rung("the network of 2015, faces not aligned", replace(koch, jitter=UNALIGNED)),
        Rung("+ aligned by landmarks", koch),
        Rung("+ our encoder, head with w >= 0, Muon", pairs),
        Rung("+ all pairs of a batch", plain),
        Rung("+ teachers' embeddings", cosine_only, taught=True),
        Rung("+ their cosines among each other", replace(cosine_only, relational_weight=1.0), taught=True),
        Rung("+ their L1 distances, as a head of one basis sums them", taught, taught=True),
        Rung("+ small crops first, 32 x 4 faces, the head again at the end", by_person, taught=True),
        Rung("+ 16 x 2 faces, 128 more drawn one by one", replace(whole, gentle=1.0), taught=True),
        Rung("+ gentler crops at the end", whole, taught=True),
        Rung("+ photos without names", whole, taught=True, unlabelled=True),
    ]


def unaligned(crops: np.ndarray) -> np.ndarray:
    """Turn, scale and shift crops (n, 112, 112, 3) uint8 as for the unaligned rung, the same way for the same crop."""
    edge = (alignment.MARGIN, alignment.MARGIN)
    out = np.empty_like(crops)
    for i, crop in enumerate(crops):
        canvas = torch.from_numpy(np.pad(crop, (edge, edge, (0, 0)), mode="edge")).permute(2, 0, 1)[None]
        seed = int(crop.sum(dtype=np.int64))
        moved = augment(canvas, torch.Generator().manual_seed(seed), jitter=UNALIGNED, varied=0)
        out[i] = moved[0].permute(1, 2, 0).round().to(torch.uint8).numpy()
    return out


def unaligned_embeddings(network: Siamese, crops: np.ndarray) -> np.ndarray:
    """Return the embeddings (n, dim) of crops made unaligned."""
    return network.embed_crops(unaligned(crops))


def main() -> None:
    """Run from the command line."""
    rungs = ladder()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="packs or folders of aligned faces")
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--teachers", type=Path)
    parser.add_argument("--unlabelled", type=Path)
    parser.add_argument("--minutes", type=float, default=6.0, help="of training a rung")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cache", type=Path, help="decoded crops; else OUT")
    parser.add_argument("--out", type=Path, default=Path("ladder"))
    parser.add_argument(
        "--rungs", type=list_of(int, 1, len(rungs)), help="numbers of the rungs to climb, 1,2,…; else all"
    )
    options = parser.parse_args()

    wanted = [n - 1 for n in options.rungs or range(1, len(rungs) + 1)]
    wanted = [i for i in wanted if options.teachers or not rungs[i].taught]
    wanted = [i for i in wanted if options.unlabelled or not rungs[i].unlabelled]
    cache = options.cache or options.out
    load = lambda path: correct(load_faces(path, cache, aligned=True), options.corrections)  # noqa: E731
    known = join([load(path) for path in options.data])
    held = without_people(load(options.validation), known.names)
    choosing, calibrating = split_people(held, 0.5, 0, least=LEAST_PEOPLE)
    others = load_faces(options.unlabelled, cache, aligned=True) if options.unlabelled else None
    teachers = Teachers(options.teachers) if options.teachers else None

    def rung_file(number: int) -> Path:
        return options.out / f"rung-{number + 1:02d}-{options.minutes:g}min.safetensors"

    for i in wanted:
        rung, model = rungs[i], rung_file(i)
        recipe = replace(rung.recipe, validations=VALIDATIONS)
        if model.exists():
            meta = read_model(model).meta
            if replace(Recipe.from_json(meta["recipe"]), steps=0) != recipe or meta["data"]["sha256"] != known.digest():
                parser.error(f"{model} was trained by another recipe or on other data; delete it")
        else:
            print(f"{i + 1}. {rung.name} …", flush=True)
            train(
                recipe,
                known,
                (choosing, calibrating),
                model,
                work=model.with_suffix(".train"),
                minutes=options.minutes,
                teachers=teachers if rung.taught else None,
                unlabelled=others if rung.unlabelled else None,
                device=options.device,
                resume=True,
            )

    pairs = read_pairs(options.pairs)
    matchers: list[Matcher] = []
    for i in wanted:
        file = read_model(rung_file(i))
        by_head = model_matcher(file, str(i))
        if rungs[i].recipe.jitter == UNALIGNED:
            network = from_file(file)
            by_head = replace(by_head, encode=partial(unaligned_embeddings, network))
        matchers += [by_head, replace(by_head, weight=None, calibration=None)]
    reports = evaluate_pairs(matchers, pairs, read_listed(options.images, photos_of(pairs), matchers))

    today = time.strftime("%F")
    print(f"\n{options.minutes:g} minutes a rung, {platform.machine()}, torch {torch.__version__}, {today}\n")
    print("| | steps | minutes | ten-fold accuracy, head | cosine | TAR@FAR=.01, head | cosine |")
    print("|---|---|---|---|---|---|---|")
    for i, head, cosine in zip(wanted, reports[0::2], reports[1::2], strict=True):
        meta = read_model(rung_file(i)).meta
        print(
            f"| {i + 1}. {rungs[i].name} | {meta['recipe']['steps']:,} | {meta['seconds'] / 60:.1f} "
            f"| {head.accuracy:.1%} ± {head.accuracy_se:.1%} | {cosine.accuracy:.1%} "
            f"| {head.tar[0.01]:.1%} | {cosine.tar[0.01]:.1%} |"
        )


if __name__ == "__main__":
    run_script(main)
