"""How long a step takes on this machine: in half or full precision, and how many steps fit into the minutes given."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from facedex.data.dataset import Faces
from facedex.model.modelfile import ModelFile
from facedex.training.distillation import Targets
from facedex.training.recipe import Recipe
from facedex.training.trainer import Trainer

_STEPS_SHARE = 0.94  # of the minutes; validation, saving and other programs take the rest
_LEAST_STEPS = 16


def bf16_is_faster(device: torch.device) -> bool:
    """Whether bfloat16 is faster: always on CUDA; on CPUs it depends on the processor and is measured."""
    if device.type != "cpu":
        return device.type == "cuda"
    layer = nn.Conv2d(64, 64, 3, padding=1)
    x = torch.randn(16, 64, 28, 28)
    seconds = {}
    for bf16 in (False, True):
        times = []
        for _ in range(4):
            began = time.perf_counter()
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                layer(x)
            times.append(time.perf_counter() - began)
        seconds[bf16] = min(times)
    return seconds[True] < 0.7 * seconds[False]


def steps_in(
    recipe: Recipe,
    minutes: float,
    faces: Faces,
    teachers: Targets | None,
    unlabelled: Faces | None,
    device: torch.device,
    bf16: bool,
    start: ModelFile | None = None,
) -> int:
    """How many steps fit into the minutes, from timing a few of each size on a network that is then thrown away.

    `start` is the model whose network is timed, else a new network of the recipe.
    """
    seconds, starts = 0.0, [share for share, _ in recipe.sizes] + [1.0]
    for i, (_, side) in enumerate(recipe.sizes):
        at_side = replace(recipe, steps=1000, sizes=((0.0, side),))
        trainer = Trainer(at_side, faces, teachers, unlabelled, device, bf16, start)
        times = []
        for step in range(8 if device.type == "cpu" else 60):
            began = time.perf_counter()
            float(trainer.step(step))  # reading the loss waits until an accelerator has finished
            times.append(time.perf_counter() - began)
        seconds += (starts[i + 1] - starts[i]) * float(np.median(times[len(times) // 3 :]))
    steps = max(_LEAST_STEPS, int(_STEPS_SHARE * minutes * 60 / seconds))
    return min(steps, recipe.most_steps) if recipe.most_steps else steps
