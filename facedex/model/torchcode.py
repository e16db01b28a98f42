"""Code that needs torch, found by its name.

Only training/ and model/torchgraph.py import torch, and nothing imports them directly. So facedex works without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from facedex.errors import MissingExtra

TORCH_CODE = {
    "siamese network": "facedex.training.siamese:from_file",
    "training": "facedex.training.train:train",
    "graph networks": "facedex.model.torchgraph:TorchNetworks",
    "device": "facedex.model.torchgraph:pick_device",
}

_EXTRA = "train"  # the extra of facedex that installs these packages
_PACKAGES = {"torch", "torchvision", "onnx", "google"}


def torch_code(name: str, purpose: str) -> Any:
    """The function or class that TORCH_CODE lists under this name.

    `purpose` begins the error message, as in "Evaluating 'koch'". Raises MissingExtra where a package of the extra
    is not installed.
    """
    module, _, attribute = TORCH_CODE[name].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _PACKAGES:
            raise MissingExtra(purpose, _EXTRA) from None
        raise
