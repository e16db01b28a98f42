"""A model on disk: one safetensors file with the encoder, the head and the calibration.

Nothing here imports torch, and no pickle is read.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from facedex import weights
from facedex._version import __version__
from facedex.errors import ModelError
from facedex.faces.alignment import SIZE
from facedex.files import replace_file
from facedex.model.graph import LastMatrix, assembled

FORMAT = "facedex-model/1"
DEFAULT = "default"  # the shipped model that is used unless another is named
FROZEN = "frozen"  # the architecture of an encoder from elsewhere: only its graphs are there

T = TypeVar("T")


@dataclass(frozen=True)
class Branch:
    """One network of an encoder, and the picture of a face that the network takes.

    `dim`: length of the network's vector. `size`: pixels a side. `points` (5, 2): where the network wants the
    landmarks, in these pixels; None for the usual template. The network takes (pixel - mean) * scale, for pixels of
    0..255, in RGB order or else BGR. `mean` and `scale` are three numbers in the order R, G, B, whatever order the
    network takes.
    """

    name: str
    dim: int
    size: int = SIZE
    points: tuple[tuple[float, float], ...] | None = None
    rgb: bool = True
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)

    @classmethod
    def from_meta(cls, stored: dict[str, Any]) -> Branch:
        """What `to_meta` gives. Raises ValueError, TypeError or KeyError for anything else."""
        points = stored.get("points")
        branch = cls(
            name=stored["name"],
            dim=stored["dim"],
            size=stored["size"],
            points=None if points is None else tuple((float(x), float(y)) for x, y in points),
            rgb=stored["rgb"],
            mean=tuple(map(float, stored["mean"])),
            scale=tuple(map(float, stored["scale"])),
        )
        sound = [
            isinstance(branch.name, str),
            type(branch.dim) is int and branch.dim > 0,
            type(branch.size) is int and 16 <= branch.size <= 1024,
            points is None or len(points) == 5,
            isinstance(branch.rgb, bool),
            len(branch.mean) == len(branch.scale) == 3,
        ]
        numbers = [*branch.mean, *branch.scale, *(side for point in branch.points or () for side in point)]
        if not all(sound) or not np.isfinite(numbers).all():
            raise ValueError("a branch of this kind does not exist")
        return branch

    def to_meta(self) -> dict[str, Any]:
        """What `from_meta` reads."""
        facts: dict[str, Any] = {"name": self.name, "dim": self.dim, "size": self.size, "rgb": self.rgb}
        facts.update(mean=list(self.mean), scale=list(self.scale))
        return {**facts, "points": [list(point) for point in self.points]} if self.points else facts


@dataclass
class ModelFile:
    """The tensors of a model by name, and its metadata.

    `graph.NAME` holds the inference graph of the branch NAME as bytes, and `graph.NAME.…` its constants where they are
    stored apart. `graph.NAME:…` is its last matrix where that lies behind the graph (graph.py). `projection.…` joins
    the branches (encoder.py), `head.…` is the head (head.py). `encoder.…` is the torch network of a model that can be
    trained further. `meta` holds arch, branches, dim, normalised, mirrored, calibration, data, format, facedex.
    """

    tensors: dict[str, np.ndarray]
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that makes an embedding. Models with equal fingerprints give equal embeddings."""
        kind = [self.meta.get("arch"), self.mirrored, self.meta.get("branches")]
        if "size" in self.meta:  # a model without graphs has no branches that tell the size
            kind.append(self.meta["size"])
        parts = {k: v for k, v in self.tensors.items() if k.startswith(("encoder.", "graph.", "projection."))}
        return _digest(parts, json.dumps(kind, sort_keys=True))

    @cached_property
    def name(self) -> str:
        """What a user calls it: the name of a model that ships, of which it may be a copy, else its file's name."""
        for name in shipped_models() if self.path else []:
            with suppress(OSError):
                if filecmp.cmp(self.path or "", weights.FOLDER / f"{name}.safetensors", shallow=False):
                    return name
        return self.path.name if self.path else "a model without a file"

    @property
    def mirrored(self) -> bool:
        """Whether an embedding is the mean over a face and its mirror image (mirror.py)."""
        return self.meta.get("mirrored") is True

    @property
    def frozen(self) -> bool:
        """Whether the encoder is frozen: it came as graphs, and only teachers can train it on (training/student.py)."""
        return self.meta.get("arch") == FROZEN

    @property
    def size(self) -> int:
        """The side in pixels of the faces that a network of ours takes. Raises ModelError for an impossible size."""
        size = self.meta.get("size", SIZE)
        if not isinstance(size, int) or not 16 <= size <= 1024:
            raise ModelError(f"{self.path} says that it takes faces of {size!r} pixels; train or copy it again")
        return size

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The networks of the encoder; none where there is no inference graph. Raises ModelError for wrong metadata."""
        try:
            branches = tuple(map(Branch.from_meta, self.meta.get("branches", ())))
            names = [branch.name for branch in branches]
            if any(f"graph.{name}" not in self.tensors for name in names):
                raise KeyError("a graph")
            if any(
                f"{one}.".startswith(f"{name}.")
                for at, name in enumerate(names)
                for one in names[:at] + names[at + 1 :]
            ):
                raise ValueError("the constants of one branch would count as another's")
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ModelError(f"{self.path} has wrong facts about its networks; train or copy it again") from None
        return branches

    def need_graphs(self) -> None:
        """Raise ModelError where there is no inference graph, which a gallery needs."""
        if not self.branches:
            raise ModelError(
                f"{self.path} has no inference graph (architecture {self.meta.get('arch')}), so no gallery can use it; "
                "use it with `facedex evaluate`"
            )

    def graph(self, branch: Branch) -> bytes:
        """The ONNX file of a branch. Raises ModelError where the constants stored apart do not fit."""
        prefix = f"graph.{branch.name}."
        apart = {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}
        try:
            return assembled(self.tensors[f"graph.{branch.name}"].tobytes(), apart)
        except ValueError as error:
            raise ModelError(f"{self.path}, network {branch.name}: {error}; train or copy it again") from None

    def last(self, branch: Branch) -> LastMatrix | None:
        """The last matrix of a branch where it lies behind the graph, else None. Raises ModelError for a wrong one."""
        rows, step, bias = (self.tensors.get(f"graph.{branch.name}:{part}") for part in ("rows", "step", "bias"))
        if rows is None or step is None or bias is None:
            return None
        try:
            return LastMatrix(rows, step, bias)
        except ValueError as error:
            raise ModelError(f"{self.path}, network {branch.name}: {error}; train or copy it again") from None

    @property
    def head_fingerprint(self) -> str:
        """SHA-256 over the head's tensors. The projection of a gallery depends on it."""
        return _digest({k: v for k, v in self.tensors.items() if k.startswith("head.")}, "head")

    @cached_property
    def identity(self) -> str:
        """SHA-256 over everything that shapes an answer: encoder, head and calibration."""
        rest = json.dumps(self.meta.get("calibration"), sort_keys=True)
        return hashlib.sha256(f"{self.fingerprint}{self.head_fingerprint}{rest}".encode()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model whole or not at all. Raises OSError."""
        target = Path(path)
        meta = {**self.meta, "format": FORMAT, "facedex": __version__}
        replace_file(target, save_tensors(self.tensors, {"facedex": json.dumps(meta, sort_keys=True)}))
        self.meta, self.path = meta, target


def with_graphs(file: ModelFile, graphs: Sequence[tuple[Branch, bytes]]) -> ModelFile:
    """The same model with these inference graphs, each a whole ONNX file."""
    tensors = {name: tensor for name, tensor in file.tensors.items() if not name.startswith("graph.")}
    tensors.update({f"graph.{branch.name}": np.frombuffer(graph, np.uint8) for branch, graph in graphs})
    return ModelFile(tensors, {**file.meta, "branches": [branch.to_meta() for branch, _ in graphs]}, file.path)


def read_model(model: str | os.PathLike[str]) -> ModelFile:
    """Read a model file, or a shipped model by its name.

    Raises ModelError when the model is missing, broken, or no model of facedex.
    """
    source = Path(model)
    if not source.suffix and os.fspath(model) in shipped_models():
        source = weights.FOLDER / f"{model}.safetensors"
    if not os.path.isfile(source):  # Path.is_file raises where a folder may not be entered
        names = " or ".join(shipped_models())
        raise ModelError(f"There is no model {source}; give a file that `facedex train` wrote, or one of: {names}")
    try:
        with safe_open(source, framework="numpy") as file:
            meta = json.loads((file.metadata() or {})["facedex"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        raise ModelError(f"{source} is not a facedex model, or is damaged; train or copy it again") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ModelError(
            f"{source} has the format {meta.get('format') if isinstance(meta, dict) else None!r}, "
            f"this facedex reads {FORMAT!r}; upgrade facedex or train the model again"
        )
    return ModelFile(tensors, meta, source)


def shipped_models() -> list[str]:
    """The names of the models that ship, the default one first."""
    names = sorted(path.stem for path in weights.FOLDER.glob("*.safetensors"))
    return sorted(names, key=lambda name: name != DEFAULT)


def shipped_model(name: str = DEFAULT) -> Path:
    """The file of a model that ships. Raises ModelError when this copy of facedex lacks it."""
    path = weights.FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise ModelError(f"This copy of facedex lacks its model {name!r}; install facedex again")
    return path


def _digest(tensors: dict[str, np.ndarray], salt: str) -> str:
    digest = hashlib.sha256(salt.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"\0{name}\0{tensor.dtype}\0{tensor.shape}\0".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
