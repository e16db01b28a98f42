"""Recipes: every choice about a training run, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from facedex.errors import DataError
from facedex.faces import alignment
from facedex.model.modelfile import FROZEN


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. A loss term with the weight 0 is left out."""

    # The run.
    arch: str = "compact"
    blocks: tuple[int, ...] = ()  # residual blocks at each width; empty: the architecture's own
    seed: int = 0
    steps: int = 0  # 0: as many as fit into the minutes given …
    most_steps: int = 0  # … and at most so many, if not 0
    earlier: int = 0  # steps already taken by the weights that the run starts from; random draws continue after them

    # The batch.
    people: int = 32  # P of the P x K batch
    photos: int = 4  # K
    others_share: float = 0.0  # with teachers: photos beside those P x K, drawn from all, whose names do not count
    random_pairs: bool = False  # random pairs, half of them same (Koch et al. 2015), instead of all pairs of P x K

    # The crops. `sizes` are sides in pixels, each from a share of the steps on. Small crops cost a third.
    sizes: tuple[tuple[float, int], ...] = ((0.0, alignment.SIZE),)
    jitter: float = 1.0  # factor on how far crops are rotated, scaled and shifted
    # From this share of the steps on, crops are jittered half as far and only a quarter of them vary in light and
    # detail. A network that has not learnt all it could ends nearer to the faces it will see.
    gentle: float = 1.0

    bad: float = 0.0  # how many crops become bad photos (badphotos.py), 0 to 1; their targets stay those of good ones

    # The optimizers. Rates are per step.
    rate: float = 1.0  # factor on both rates
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    level_rate: bool = False  # the rate is never lowered
    norms_stay: bool = False  # batch norms keep the statistics of the weights that the run starts from
    weight_decay: float = 0.01
    average_decay: float = 0.998

    # The loss.
    pair_weight: float = 1.0  # of the Siamese cross-entropy through the head
    distillation_weight: float = 1.0  # with teachers only, as are the next two
    relational_weight: float = 1.0
    relational_l1_weight: float = 1.0
    l2_convolutions: float = 0.0
    l2_dense: float = 0.0
    l2_head: float = 1e-4

    # The end. The head is fitted again to the embeddings of so many people, if that makes it better; 0: it stays.
    head_people: int = 0
    validations: int = 16  # in the whole run
    validations_apart: int = 20  # steps between two of them at least

    def size(self, step: int) -> int:
        """The side of a step's crops in pixels."""
        return [side for share, side in self.sizes if step >= share * self.steps][-1]

    def variation(self, step: int) -> tuple[float, float]:
        """`jitter` and `varied` of a step's crops, as augment takes them."""
        return (self.jitter / 2, 0.25) if step >= self.gentle * self.steps else (self.jitter, 1.0)

    @property
    def final_size(self) -> int:
        """The side of the crops that the trained network takes, in pixels."""
        return self.sizes[-1][1]

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Recipe:
        """The recipe of a checkpoint. Raises DataError for one with other fields."""
        try:
            sizes = tuple((float(share), int(side)) for share, side in stored["sizes"])
            return cls(**{**stored, "sizes": sizes, "blocks": tuple(stored["blocks"])})
        except (KeyError, TypeError, ValueError):
            raise DataError(
                "The run was begun by another version of facedex; finish it with that version, or delete its files"
            ) from None


RECIPES = {
    # At 80 pixels a step takes half as long as at 112, and so does encoding a face. In the same minutes on a CPU the
    # network gets further at 80.
    "compact": Recipe(sizes=((0.0, 64), (0.6, 80))),
    # Koch et al. 2015, with the rates of the project we start from.
    "koch": Recipe(
        arch="koch",
        random_pairs=True,
        people=16,
        photos=2,
        muon_rate=0.0,
        adam_rate=6e-5,
        level_rate=True,
        weight_decay=0.0,
        average_decay=0.0,
        l2_convolutions=2e-4,
        l2_dense=1e-3,
        l2_head=0.0,
        validations=6,
    ),
}

# With teachers a photo's target is worth more than its name. So most photos are drawn one by one, and the few pairs
# train the head.
TAUGHT: dict[str, Any] = {
    "people": 16,
    "photos": 2,
    "others_share": 4.0,
    "pair_weight": 0.02,
    "gentle": 0.6,
    "head_people": 2000,
}

# From trained weights, on few people: small steps, with the weights' own embeddings (tuning.OwnEmbeddings) as targets.
# The batch norms keep their statistics, because those of so few photos describe these people more than faces.
TUNE = Recipe(
    people=16,
    muon_rate=1e-3,
    adam_rate=2e-4,
    pair_weight=1.0,
    average_decay=0.99,
    validations=8,
    norms_stay=True,
)

# A network from elsewhere, with larger encoders' embeddings as targets. The network has learnt already, so the rate is
# low, and all layers have the same optimizer. Every second crop is a bad photo, because the network lags most on these.
STUDENT = Recipe(
    arch=FROZEN,
    people=8,
    photos=2,
    others_share=3.0,
    bad=0.5,
    gentle=0.0,
    muon_rate=0.0,
    adam_rate=1e-4,
    pair_weight=0.02,
    relational_weight=4.0,
    relational_l1_weight=0.0,
    head_people=1000,
    validations=12,
)

SIDES = range(32, alignment.SIZE + 1, 16)  # of the crops of `compact`: its maps are halved twice after a step of 4


def recipe_for(arch: str, taught: bool, device: str, side: int | None = None, begun: bool = False) -> Recipe:
    """The recipe of an architecture, with teachers or without.

    `side` of the final crops in pixels, else the recipe's own. `begun`: the run starts from trained weights, which see
    crops of that side from the first step on, and gentle crops sooner. An accelerator has the time for larger batches,
    all of them at the full size. Raises DataError for a side that the architecture cannot have.
    """
    if arch == FROZEN and side is not None:
        return replace(STUDENT, people=(4 if device == "cuda" else 1) * STUDENT.people, sizes=((0.0, side),))
    recipe = RECIPES[arch]
    if arch == "compact":
        recipe = replace(recipe, **TAUGHT) if taught else recipe
        if device == "cuda":
            recipe = replace(recipe, people=4 * recipe.people, sizes=((0.0, 96),), average_decay=0.9995)
    if side is None:
        return recipe
    if arch == "compact" and side not in SIDES:  # koch resizes every crop to 100 pixels
        raise DataError(
            f"Crops of {side} pixels do not fit the network; give --size one of: {', '.join(map(str, SIDES))}"
        )
    if begun:
        return replace(recipe, sizes=((0.0, side),), gentle=0.3 if taught else recipe.gentle)
    *smaller, (share, last) = recipe.sizes
    scaled = [(share, max(SIDES[0], 16 * round(side * small / last / 16))) for share, small in smaller]
    return replace(recipe, sizes=(*scaled, (share, side)))
