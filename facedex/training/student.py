"""A network from elsewhere that is trained on: its graph in torch, and the projection behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

from facedex.errors import ModelError
from facedex.model.modelfile import ModelFile
from facedex.model.torchgraph import GraphNetwork

DIM = 128  # numbers of an embedding where the model has no projection yet


class Student(nn.Module):
    """The single network of a frozen model, with its projection: f(x) = (unit(network(x)) - centre) @ matrix.

    It learns what encoders that are larger say of the same photos. It is stored as it came: a frozen model with the
    same graph, other constants and another projection, which takes no more time than before.
    """

    normalised = True

    def __init__(self, size: int, file: ModelFile) -> None:
        """`size` of the network's input. Raises ModelError for a model of several networks, or of another size."""
        super().__init__()
        file.need_graphs()
        branch, *others = file.branches
        if others or file.last(branch) is not None or branch.size != size:
            raise ModelError(
                f"{file.path} is not one network that can be trained on; give --init a model of one network, as fast"
            )
        self._file, self._branch = file, branch
        self.size, self.points, self.mirrored = size, branch.points, file.mirrored
        self.network = GraphNetwork(file, branch)
        centre, matrix = (file.tensors.get(f"projection.{name}") for name in ("centre", "matrix"))
        if centre is None or matrix is None:
            centre = np.zeros(branch.dim, np.float32)
            matrix = np.eye(branch.dim, min(DIM, branch.dim), dtype=np.float32)
        self.dim = matrix.shape[1]
        self.centre: torch.Tensor
        self.matrix: torch.Tensor
        self.register_buffer("centre", torch.from_numpy(centre.copy()))
        self.register_buffer("matrix", torch.from_numpy(matrix.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) float RGB in 0..255 to embeddings (n, dim) float32 before normalisation."""
        vectors = F.normalize(self.network(x), dim=1)
        with torch.autocast(x.device.type, enabled=False):
            embeddings: torch.Tensor = (vectors - self.centre) @ self.matrix
        return embeddings

    @torch.no_grad()
    def aim(self, x: torch.Tensor, targets: torch.Tensor) -> None:
        """Turn the projection to the targets (n, dim) of the pictures x (n, 3, size, size).

        Of all matrices with orthonormal columns it is the one whose answers are nearest to the targets (Schonemann
        1966). A regression comes nearer, but it shrinks the directions that it cannot foresee, and then more strangers
        look alike (README.md). Training leaves the projection as it is.
        """
        vectors = torch.cat([F.normalize(self.network(part), dim=1) for part in torch.split(x, 64)])
        self.centre.copy_(vectors.mean(0))
        moved = (vectors - self.centre).double()
        left, _, right = torch.linalg.svd(moved.T @ targets.double(), full_matrices=False)
        self.matrix.copy_(left @ right)

    def stored(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Tensors and facts of a model file, without head and calibration."""
        prefix, learnt = f"graph.{self._branch.name}", self.network.constants()
        graph = onnx.load_from_string(self._file.tensors[prefix].tobytes())
        others = [one for one in graph.graph.initializer if one.name not in learnt]
        del graph.graph.initializer[:]
        graph.graph.initializer.extend(others)
        tensors = {name: value for name, value in self._file.tensors.items() if name.startswith("graph.")}
        tensors[prefix] = np.frombuffer(graph.SerializeToString(deterministic=True), np.uint8)
        tensors.update({f"{prefix}.{name}": value.astype(np.float16) for name, value in learnt.items()})
        projection = {"centre": self.centre, "matrix": self.matrix}
        for name, value in projection.items():
            tensors[f"projection.{name}"] = value.detach().cpu().numpy()
        return tensors, {"branches": [self._branch.to_meta()]}
