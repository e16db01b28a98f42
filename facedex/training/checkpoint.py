"""The state of a training run on disk, from which a killed run continues with the same result.

It is one safetensors file, replaced by rename. It holds the tensors of the network, its average and the optimizers.
The facts about the run (facedex/training/run_state.py) are its metadata, as JSON. Random numbers need no state, because
they are drawn from (seed, step).
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

Parts = dict[str, torch.nn.Module | torch.optim.Optimizer]


def save_checkpoint(path: Path, parts: Parts, facts: dict[str, Any]) -> None:
    """Write the state_dicts of networks and optimizers, by name, and `facts` (JSON)."""
    tensors: dict[str, torch.Tensor] = {}
    for name, part in parts.items():
        state = part.state_dict()
        if isinstance(part, torch.optim.Optimizer):
            for index, values in state["state"].items():
                for key, value in values.items():
                    tensors[f"{name}/{index}/{key}"] = torch.as_tensor(value)
        else:
            tensors.update({f"{name}/{key}": value for key, value in state.items()})
    ready = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    replace_file(path, save(ready, {"facedex": json.dumps(facts)}))


def load_checkpoint(path: Path, parts: Parts) -> None:
    """Load the stored state into networks and optimizers that were made in the same way. Raises DataError."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        for name, part in parts.items():
            own = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}/")}
            if isinstance(part, torch.optim.Optimizer):
                state: dict[int, dict[str, torch.Tensor]] = {}
                for key, value in own.items():
                    index, field = key.split("/")
                    state.setdefault(int(index), {})[field] = value
                part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
            else:
                part.load_state_dict(own)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise DataError(f"The checkpoint {path} cannot be used ({error}); delete it and start again") from None


def read_facts(path: Path) -> dict[str, Any]:
    """The facts stored with a checkpoint. Raises DataError."""
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["facedex"])
            return facts
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"The checkpoint {path} cannot be used ({error}); delete it and start again") from None
