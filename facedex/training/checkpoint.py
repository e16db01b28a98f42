"""The state of a training run on disk, so that a killed run goes on as if nothing had happened.

One safetensors file, replaced by rename: tensors of the network, its average and the optimizers, and as JSON
metadata the step, the recipe and the data it belongs to. Randomness needs no state: it is drawn from
(seed, step).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from facedex.errors import DataError
from facedex.files import replace_file

STATE_FILE = "checkpoint.safetensors"  # in the work folder


def save_checkpoint(path: Path, modules: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write the state_dicts of `modules` (networks and optimizers, by name) and `facts` (JSON)."""
    tensors: dict[str, torch.Tensor] = {}
    for name, module in modules.items():
        state = module.state_dict()
        if isinstance(module, torch.optim.Optimizer):
            for index, values in state["state"].items():
                for key, value in values.items():
                    tensors[f"{name}/{index}/{key}"] = torch.as_tensor(value)
        else:
            tensors.update({f"{name}/{key}": value for key, value in state.items()})
    ready = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    replace_file(path, save(ready, {"facedex": json.dumps(facts)}))


def load_checkpoint(path: Path, modules: dict[str, Any]) -> None:
    """Put the stored state back into networks and optimizers made exactly as they were. Raises DataError."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        for name, module in modules.items():
            mine = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}/")}
            if isinstance(module, torch.optim.Optimizer):
                state: dict[int, dict[str, torch.Tensor]] = {}
                for key, value in mine.items():
                    index, field = key.split("/")
                    state.setdefault(int(index), {})[field] = value
                module.load_state_dict({"state": state, "param_groups": module.state_dict()["param_groups"]})
            else:
                module.load_state_dict(mine)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise DataError(f"The checkpoint {path} cannot be used ({error}); delete it and start again") from None


def read_facts(path: Path) -> dict[str, Any]:
    """The facts stored with a checkpoint. Raises DataError."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["facedex"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"The checkpoint {path} cannot be used ({error}); delete it and start again") from None
