"""One step of training, and everything that changes from step to step."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from facedex.data.dataset import Faces
from facedex.model.modelfile import ModelFile
from facedex.training import losses
from facedex.training.augment import augment
from facedex.training.companions import Memory, Proxies
from facedex.training.distillation import Targets
from facedex.training.optim import Average, Muon, rate
from facedex.training.procrustes import turn_to
from facedex.training.recipe import Recipe
from facedex.training.sampler import PKSampler
from facedex.training.siamese import Siamese, at_size, from_file


class Run:
    """Everything that changes from step to step."""

    def __init__(
        self, recipe: Recipe, faces: Faces, teachers: Targets | None, unlabelled: Faces | None,
        device: torch.device, bf16: bool, start: ModelFile | None = None, bases: int | None = None,
    ) -> None:  # fmt: skip
        """`start`: the weights to start from, of the recipe's architecture; else random ones, with so many `bases` of the
        head's frame.
        """
        self.recipe, self.faces, self.unlabelled = recipe, faces, unlabelled
        self.device, self.bf16 = device, bf16
        torch.manual_seed(recipe.seed)
        shape: dict[str, Any] = {"blocks": recipe.blocks} if recipe.blocks else {}
        model = from_file(start) if start else Siamese(recipe.arch, recipe.final_size, bases, **shape)
        model = at_size(model, recipe.final_size)
        self.sampler = PKSampler(faces.people, recipe.people, recipe.photos, recipe.seed)
        self.extra = round(recipe.others_share * self.sampler.size) if teachers is not None else 0
        self.images = self.sampler.size + self.extra
        self.targets = None
        if teachers is not None:
            parts = [faces] + ([unlabelled] if self.extra and unlabelled is not None else [])
            targets = teachers.targets_of(parts, model.encoder.dim)
            self.all_taught = not np.isnan(targets).any()
            self.targets = torch.from_numpy(targets).to(device)
            if start:
                turn_to(model, faces, targets[: len(faces)])
        self.model = model.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.norms_stay:
            for norm in _norms(self.model):
                norm.eval()
        self.average = Average(self.model, recipe.average_decay)
        self.people = torch.from_numpy(faces.people).to(device)
        self.resident = self._on_device()
        self.proxies = Proxies(len(faces.names), model.encoder.dim).to(device) if recipe.proxy_weight else None
        self.memory = Memory(recipe.memory, model.encoder.dim).to(device) if recipe.memory else None
        muon: list[torch.Tensor] = []
        adam: list[torch.Tensor] = []
        for name, parameter in self.model.named_parameters():
            spatial = parameter.dim() == 4 and parameter.shape[1] > 3 and recipe.muon_rate > 0
            (muon if spatial and name.startswith("encoder.") else adam).append(parameter)
        adam += list(self.proxies.parameters()) if self.proxies else []
        decayed = [p for p in adam if p.dim() > 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": [p for p in adam if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(groups, lr=recipe.adam_rate, weight_decay=recipe.weight_decay)
        self.muon = Muon(muon, recipe.muon_rate, weight_decay=recipe.weight_decay) if muon else None

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds, by name."""
        parts: dict[str, Any] = {"model": self.model, "average": self.average.model, "adam": self.adam}
        parts.update(muon=self.muon, proxies=self.proxies, memory=self.memory)
        return {name: part for name, part in parts.items() if part is not None}

    def step(self, step: int) -> torch.Tensor:
        """One step of training, wholly determined by the weights, the seed and the step's number; its loss (), which
        an accelerator may still be at work on.
        """
        recipe = self.recipe
        places, named = self._places(step)
        people = self.people[torch.from_numpy(places[:named]).to(self.device)]
        x = self._augmented(places, step, recipe.size(step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            embeddings = self.model.embed(x)
        loss = self._loss(embeddings, people, torch.from_numpy(places).to(self.device))

        factor = recipe.rate * (1.0 if recipe.level_rate else rate(step, recipe.steps))
        for optimizer, base in ((self.adam, recipe.adam_rate), (self.muon, recipe.muon_rate)):
            if optimizer is not None:
                for group in optimizer.param_groups:
                    group["lr"] = base * factor
        self.adam.zero_grad()
        if self.muon:
            self.muon.zero_grad()
        loss.backward()
        if self.memory:
            self.memory.remember(embeddings[: len(people)], people)
        nn.utils.clip_grad_norm_(self.adam.param_groups[0]["params"] + self.adam.param_groups[1]["params"], 5.0)
        self.adam.step()
        if self.muon:
            self.muon.step()
        self.average.update(self.model, step)
        return loss.detach()

    @torch.no_grad()
    def settle(self, step: int, side: int, batches: int = 12) -> None:
        """Measure the statistics of the averaged network's batch norms anew, at `side`, on the latest batches.

        "Precise BN" (Wu & Johnson 2021, section 3): a moving average of them would lag behind, by far where crops have
        just grown.
        """
        norms = _norms(self.average.model)
        if not norms or self.recipe.norms_stay:
            return
        momentum = norms[0].momentum
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
            norm.train()
        for earlier in range(max(0, step - batches), step):
            self.average.model.embed(self._augmented(self._places(earlier)[0], earlier, side))
        for norm in norms:
            norm.momentum = momentum
            norm.eval()

    def _places(self, step: int) -> tuple[np.ndarray, int]:
        """Positions of a step's faces, those with names first; and how many these are."""
        draw = self.recipe.earlier + step
        drawn = self._pairs(draw) if self.recipe.random_pairs else self.sampler.batch(draw)
        return np.concatenate([drawn, self._others(draw)]), len(drawn)

    def _augmented(self, places: np.ndarray, step: int, side: int) -> torch.Tensor:
        drawn_from = [self.recipe.seed, self.recipe.earlier + step, 0xA06]
        seed = int(np.random.SeedSequence(drawn_from).generate_state(1, np.uint64)[0] >> 1)
        x = augment(self._crops(places), torch.Generator().manual_seed(seed), side, *self.recipe.variation(step))
        return x.to(memory_format=torch.channels_last)

    def _loss(self, embeddings: torch.Tensor, people: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        recipe, head, named = self.recipe, self.model.head, embeddings[: len(people)]
        if recipe.random_pairs:
            logits = head(named[0::2], named[1::2])
            loss = nn.functional.binary_cross_entropy_with_logits(logits, (people[0::2] == people[1::2]).float())
        else:
            logits, (same, different) = head.pairwise(named, named), losses.pair_masks(people)
            if self.memory:
                logits = torch.cat([logits, head.pairwise(named, self.memory.embeddings)], 1)
                also_same, also_different = self.memory.masks(people)
                same, different = torch.cat([same, also_same], 1), torch.cat([different, also_different], 1)
            loss = recipe.pair_weight * losses.siamese_bce(logits, same, different, recipe.hardest)
        if self.proxies:
            loss = loss + recipe.proxy_weight * self.proxies.loss(named, people)
        if self.targets is not None:
            loss = loss + self._taught_loss(embeddings, self.targets[places])
        terms = [
            (recipe.pair_weight * recipe.l2_head * head.bases, head.weight)
        ]  # set against the pairs, which alone shape the head; each of several bases has its share of the weight
        for name, tensor in self.model.encoder.named_parameters():
            if name.endswith("weight") and (recipe.l2_convolutions or recipe.l2_dense):
                terms.append((recipe.l2_convolutions if tensor.dim() == 4 else recipe.l2_dense, tensor))
        return loss + losses.l2_penalty(terms)

    def _taught_loss(self, embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not self.all_taught:
            taught = ~torch.isnan(targets[:, 0])
            embeddings, targets = embeddings[taught], targets[taught]
            if len(targets) < 2:
                return embeddings.sum() * 0
        return (
            self.recipe.distillation_weight * losses.distillation(embeddings, targets)
            + self.recipe.relational_weight * losses.relational(embeddings, targets)
            + self.recipe.relational_l1_weight * losses.relational_l1(embeddings, targets)
        )

    def _pairs(self, draw: int) -> np.ndarray:
        """Pairs (0, 1), (2, 3), … of positions; every other one of the same person (Koch et al. 2015)."""
        rng = np.random.default_rng([self.recipe.seed, draw, 0x2015])
        pairs = []
        for pair in range(self.sampler.size // 2):
            if pair % 2 == 0:
                pairs.append(self.sampler.same_pair(rng))
            else:
                pairs.append(self.sampler.different_pair(rng))
        return np.concatenate(pairs)

    def _others(self, draw: int) -> np.ndarray:
        rng = np.random.default_rng([self.recipe.seed, draw, 0x07E2])
        pool = len(self.faces) + (len(self.unlabelled) if self.unlabelled is not None else 0)
        return rng.choice(pool, self.extra, replace=pool < self.extra) if self.extra else np.empty(0, np.int64)

    def _on_device(self) -> torch.Tensor | None:
        """All crops on the accelerator when they fit into half of its free memory: no copy a step."""
        if self.device.type != "cuda":
            return None
        sets = [self.faces] + ([self.unlabelled] if self.extra and self.unlabelled is not None else [])
        size = sum(len(s) for s in sets) * int(np.prod(self.faces.crops.shape[1:]))
        if size > torch.cuda.mem_get_info()[0] / 2:
            return None
        blocks = [s.crops[s.rows[i : i + 4096]] for s in sets for i in range(0, len(s), 4096)]
        return torch.cat([torch.from_numpy(block).to(self.device) for block in blocks])

    def _crops(self, places: np.ndarray) -> torch.Tensor:
        if self.resident is not None:
            return self.resident[torch.from_numpy(places).to(self.device)].permute(0, 3, 1, 2)
        mine = places < len(self.faces)
        crops = np.empty((len(places), *self.faces.crops.shape[1:]), np.uint8)
        crops[mine] = self.faces.crops[self.faces.rows[places[mine]]]
        if not mine.all():
            assert self.unlabelled is not None
            crops[~mine] = self.unlabelled.crops[self.unlabelled.rows[places[~mine] - len(self.faces)]]
        return torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2)


def _norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]


def bf16_pays(device: torch.device) -> bool:
    """Whether half-width arithmetic is faster: certain on CUDA, on CPUs only where they have it, so measured."""
    if device.type != "cpu":
        return device.type == "cuda"
    layer = nn.Conv2d(64, 64, 3, padding=1)
    x = torch.randn(16, 64, 28, 28)
    spent = {}
    for bf16 in (False, True):
        times = []
        for _ in range(4):
            began = time.perf_counter()
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                layer(x)
            times.append(time.perf_counter() - began)
        spent[bf16] = min(times)
    return spent[True] < 0.7 * spent[False]


def steps_in(
    recipe: Recipe,
    minutes: float,
    faces: Faces,
    teachers: Targets | None,
    unlabelled: Faces | None,
    device: torch.device,
    bf16: bool,
) -> int:
    """How many steps fit into the minutes, from timing a few of each size on a network that is then thrown away."""
    spent, shares = 0.0, [share for share, _ in recipe.sizes] + [1.0]
    for i, (_, side) in enumerate(recipe.sizes):
        run = Run(replace(recipe, steps=1000, sizes=((0.0, side),)), faces, teachers, unlabelled, device, bf16)
        times = []
        for step in range(8 if device.type == "cpu" else 60):
            began = time.perf_counter()
            float(run.step(step))  # a number: an accelerator has finished
            times.append(time.perf_counter() - began)
        spent += (shares[i + 1] - shares[i]) * float(np.median(times[len(times) // 3 :]))
    # Validation, saving and the machine's own business take their share.
    steps = max(16, int(0.94 * minutes * 60 / spent))
    return min(steps, recipe.most_steps) if recipe.most_steps else steps
