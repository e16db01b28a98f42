"""One step of training, and everything that changes from step to step: network, average and optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from facedex.data.dataset import Faces
from facedex.faces import alignment
from facedex.model.modelfile import ModelFile
from facedex.training import losses
from facedex.training.augment import augment
from facedex.training.checkpoint import Parts
from facedex.training.distillation import Targets
from facedex.training.optim import Average, Muon, rate
from facedex.training.recipe import Recipe
from facedex.training.sampler import PKSampler
from facedex.training.siamese import Siamese, at_size, from_file
from facedex.training.student import Student

_LARGEST_GRADIENT = 5.0  # the norm that AdamW's gradients are clipped to
_SETTLING_BATCHES = 12
_AIMING_FACES = 2048  # that a projection is fitted to before the first step


class Trainer:
    """Takes the steps of a run. A step depends only on the weights, the seed and the step's number."""

    def __init__(
        self,
        recipe: Recipe,
        faces: Faces,
        teachers: Targets | None,
        unlabelled: Faces | None,
        device: torch.device,
        bf16: bool,
        start: ModelFile | None = None,
        bases: int | None = None,
    ) -> None:
        """`start` holds the weights to start from, of the recipe's architecture.

        Without it the weights are random, and the head's frame has `bases` bases, or as many as the head chooses.
        """
        self.recipe, self.faces, self.unlabelled = recipe, faces, unlabelled
        self.device, self.bf16 = device, bf16
        torch.manual_seed(recipe.seed)
        model = at_size(from_file(start) if start else _random_network(recipe, bases), recipe.final_size)

        # The photos: P x K with names, and with teachers also others.
        self.sampler = PKSampler(faces.people, recipe.people, recipe.photos, recipe.seed)
        self.others = round(recipe.others_share * self.sampler.size) if teachers is not None else 0
        self.batch_size = self.sampler.size + self.others
        self.sets = [faces] + ([unlabelled] if self.others and unlabelled is not None else [])
        self.people = torch.from_numpy(faces.people).to(device)
        self.targets: torch.Tensor | None = None
        if teachers is not None:
            targets = teachers.targets_of(self.sets, model.encoder.dim)
            self.all_have_targets = not np.isnan(targets).any()
            self.targets = torch.from_numpy(targets).to(device)
        self.crops_on_device = self._crops_on_device()

        # The network and the average of its weights.
        self.model = model.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.norms_stay:
            for norm in _batch_norms(self.model):
                norm.eval()
        self.average = Average(self.model, recipe.average_decay)

        # Muon trains the convolutions but the first, AdamW everything else; vectors have no weight decay.
        muon: list[torch.Tensor] = []
        matrices: list[torch.Tensor] = []
        vectors: list[torch.Tensor] = []
        for name, parameter in self.model.named_parameters():
            convolution = name.startswith("encoder.") and parameter.dim() == 4 and parameter.shape[1] > 3
            if convolution and recipe.muon_rate > 0:
                muon.append(parameter)
            else:
                (matrices if parameter.dim() > 1 else vectors).append(parameter)
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        self.clipped = matrices + vectors
        self.adam = torch.optim.AdamW(groups, lr=recipe.adam_rate, weight_decay=recipe.weight_decay)
        self.muon = Muon(muon, recipe.muon_rate, weight_decay=recipe.weight_decay) if muon else None

    def parts(self) -> Parts:
        """The networks and optimizers that a checkpoint holds, by name."""
        parts: Parts = {"model": self.model, "average": self.average.model, "adam": self.adam}
        return parts if self.muon is None else {**parts, "muon": self.muon}

    def aim(self) -> None:
        """Let the projection of a network from elsewhere point at the targets; other networks stay as they are."""
        if not isinstance(self.model.encoder, Student) or self.targets is None:
            return
        known = torch.nonzero(~torch.isnan(self.targets[:, 0]))[:, 0].cpu().numpy()
        drawn = np.random.default_rng([self.recipe.seed, 0xA13]).permutation(known)[:_AIMING_FACES]
        crops = self._crops(drawn).permute(0, 2, 3, 1).cpu().numpy()
        x = self.model.pictures(alignment.centre_crop(crops)).to(self.device)
        self.model.encoder.aim(x, self.targets[torch.from_numpy(drawn).to(self.device)])
        self.average.model.load_state_dict(self.model.state_dict())

    def step(self, step: int) -> torch.Tensor:
        """Take one step. Returns its loss (), which an accelerator may still be computing."""
        recipe = self.recipe
        places, named = self.places(step)
        people = self.people[torch.from_numpy(places[:named]).to(self.device)]
        x = self._augmented(places, step, recipe.size(step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            embeddings = self.model.embed(x)
        loss = self._loss(embeddings, people, torch.from_numpy(places).to(self.device))

        factor = recipe.rate * (1.0 if recipe.level_rate else rate(step, recipe.steps))
        for optimizer, base in ((self.adam, recipe.adam_rate), (self.muon, recipe.muon_rate)):
            if optimizer is not None:
                optimizer.zero_grad()
                for group in optimizer.param_groups:
                    group["lr"] = base * factor
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.clipped, _LARGEST_GRADIENT)
        self.adam.step()
        if self.muon:
            self.muon.step()
        self.average.update(self.model, step)
        return loss.detach()

    def places(self, step: int) -> tuple[NDArray[np.int64], int]:
        """Positions of a step's faces, those with names first, and the number of faces with names."""
        draw = self.recipe.earlier + step
        named = self.sampler.random_pairs(draw) if self.recipe.random_pairs else self.sampler.batch(draw)
        if not self.others:
            return named, len(named)
        rng = np.random.default_rng([self.recipe.seed, draw, 0x07E2])
        pool = sum(map(len, self.sets))
        others = rng.choice(pool, self.others, replace=pool < self.others)
        return np.concatenate([named, others]), len(named)

    @torch.no_grad()
    def settle(self, step: int, side: int) -> None:
        """Measure the batch norms' statistics of the averaged network again, on the latest batches at `side` pixels.

        "Precise BN" (Wu & Johnson 2021, section 3): a moving average would lag behind, most where crops have just
        grown.
        """
        norms = _batch_norms(self.average.model)
        if not norms or self.recipe.norms_stay:
            return
        momentum = norms[0].momentum
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
            norm.train()
        for earlier in range(max(0, step - _SETTLING_BATCHES), step):
            self.average.model.embed(self._augmented(self.places(earlier)[0], earlier, side))
        for norm in norms:
            norm.momentum = momentum
            norm.eval()

    def _loss(self, embeddings: torch.Tensor, people: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The loss () of a batch whose first faces show `people`; the head compares these."""
        recipe, head, named = self.recipe, self.model.head, embeddings[: len(people)]
        if recipe.random_pairs:
            same = people[0::2] == people[1::2]
            loss = nn.functional.binary_cross_entropy_with_logits(head(named[0::2], named[1::2]), same.float())
        else:
            logits = head.pairwise(named, named)
            loss = recipe.pair_weight * losses.siamese_bce(logits, *losses.pair_masks(people))
        if self.targets is not None:
            loss = loss + self._distillation_loss(embeddings, self.targets[places])
        # The pairs alone train the head, so its decay has their weight. Each basis has its share of the head's weights.
        decays = [(recipe.pair_weight * recipe.l2_head * head.bases, head.weight)]
        if recipe.l2_convolutions or recipe.l2_dense:
            for name, tensor in self.model.encoder.named_parameters():
                if name.endswith("weight"):
                    decays.append((recipe.l2_convolutions if tensor.dim() == 4 else recipe.l2_dense, tensor))
        return loss + losses.l2_penalty(decays)

    def _distillation_loss(self, embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not self.all_have_targets:
            known = ~torch.isnan(targets[:, 0])
            embeddings, targets = embeddings[known], targets[known]
            if len(targets) < 2:
                return embeddings.sum() * 0
        return (
            self.recipe.distillation_weight * losses.distillation(embeddings, targets)
            + self.recipe.relational_weight * losses.relational(embeddings, targets)
            + self.recipe.relational_l1_weight * losses.relational_l1(embeddings, targets)
        )

    def _augmented(self, places: NDArray[np.int64], step: int, side: int) -> torch.Tensor:
        """The crops at these positions as the step sees them, (n, 3, side, side) float32."""
        entropy = [self.recipe.seed, self.recipe.earlier + step, 0xA06]
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
        generator, points = torch.Generator().manual_seed(seed), self.model.encoder.points
        x = augment(
            self._crops(places), generator, side, *self.recipe.variation(step), points=points, bad=self.recipe.bad
        )
        return x.to(memory_format=torch.channels_last)

    def _crops(self, places: NDArray[np.int64]) -> torch.Tensor:
        """The crops at these positions, (n, 3, 128, 128) uint8."""
        if self.crops_on_device is not None:
            return self.crops_on_device[torch.from_numpy(places).to(self.device)].permute(0, 3, 1, 2)
        crops = np.empty((len(places), *self.faces.crops.shape[1:]), np.uint8)
        first = 0
        for faces in self.sets:
            here = (places >= first) & (places < first + len(faces))
            crops[here] = faces.crops[faces.rows[places[here] - first]]
            first += len(faces)
        return torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2)

    def _crops_on_device(self) -> torch.Tensor | None:
        """All crops on the accelerator, if they fit into half of its free memory; then no step copies any."""
        if self.device.type != "cuda":
            return None
        size = sum(map(len, self.sets)) * int(np.prod(self.faces.crops.shape[1:]))
        if size > torch.cuda.mem_get_info()[0] / 2:
            return None
        blocks = [faces.crops[faces.rows[i : i + 4096]] for faces in self.sets for i in range(0, len(faces), 4096)]
        return torch.cat([torch.from_numpy(block).to(self.device) for block in blocks])


def _random_network(recipe: Recipe, bases: int | None) -> Siamese:
    shape = {"blocks": recipe.blocks} if recipe.blocks else {}
    return Siamese(recipe.arch, recipe.final_size, bases, **shape)


def _batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
