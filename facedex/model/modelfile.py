"""A model on disk: one safetensors file with the encoder, the head and, as JSON metadata, what they need.

Nothing here imports torch, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
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

FORMAT = "facedex-model/2"
_FIRST = "facedex-model/1"
DEFAULT = "default"  # the model that ships and is used unless another is named
FROZEN = "frozen"  # the architecture of an encoder that is taken as it is: of its networks there are only the graphs

T = TypeVar("T")


@dataclass(frozen=True)
class Branch:
    """One network of an encoder, and what it is shown of a face.

    `dim`: numbers that it gives. `size`: pixels a side. `points` (5, 2): where it wants the landmarks, in these pixels; None for the usual template.
    What the network sees is (pixel - mean) * scale, for pixels of 0..255, in RGB order or else BGR. `mean` and `scale`
    are three numbers in the order R, G, B, whatever order the network wants.
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
            stored["name"], stored["dim"], stored["size"],
            None if points is None else tuple((float(x), float(y)) for x, y in points), stored["rgb"],
            tuple(map(float, stored["mean"])), tuple(map(float, stored["scale"])),
        )  # fmt: skip
        sound = [
            isinstance(branch.name, str), type(branch.dim) is int and branch.dim > 0,
            type(branch.size) is int and 16 <= branch.size <= 1024, points is None or len(points) == 5,
            isinstance(branch.rgb, bool), len(branch.mean) == len(branch.scale) == 3,
        ]  # fmt: skip
        numbers = [*branch.mean, *branch.scale, *(side for point in branch.points or () for side in point)]
        if not all(sound) or not np.isfinite(numbers).all():
            raise ValueError("a branch cannot be like this")
        return branch

    def to_meta(self) -> dict[str, Any]:
        """What `from_meta` reads."""
        facts: dict[str, Any] = {"name": self.name, "dim": self.dim, "size": self.size, "rgb": self.rgb}
        facts.update(mean=list(self.mean), scale=list(self.scale))
        return {**facts, "points": [list(point) for point in self.points]} if self.points else facts


@dataclass
class ModelFile:
    """Tensors by name and the facts that go with them.

    `graph.NAME` is the inference graph of the branch NAME, as bytes, `graph.NAME.…` its constants where they are stored
    apart, `graph.NAME:…` a matrix behind it (graph.py), `projection.…` what brings the branches together (encoder.py), `head.…` the head (head.py), and
    `encoder.…` the torch network of a model that can be trained on. `meta` holds arch, branches, dim, normalised,
    mirrored, calibration, data, format, facedex.
    """

    tensors: dict[str, np.ndarray]
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that makes an embedding: two models with the same one give the same embeddings."""
        kind = [self.meta.get("arch"), self.mirrored, self.meta.get("branches")]
        if "size" in self.meta:  # of what torch alone can run, there are no branches that say it
            kind.append(self.meta["size"])
        parts = {k: v for k, v in self.tensors.items() if k.startswith(("encoder.", "graph.", "projection."))}
        return _digest(parts, json.dumps(kind, sort_keys=True))

    @property
    def mirrored(self) -> bool:
        """Whether an embedding is that of a face and its mirror image together (mirror.py)."""
        return self.meta.get("mirrored") is True

    @property
    def beside(self) -> Path | None:
        """The graph's own file, of a model of the first format as it was read; else None."""
        first = self.path is not None and self.meta.get("format") == _FIRST and self.meta.get("graph_sha256")
        return self.path.with_suffix(".onnx") if self.path is not None and first else None

    @property
    def frozen(self) -> bool:
        """Whether the encoder is taken as it is, and cannot be trained on."""
        return self.meta.get("arch") == FROZEN

    @property
    def size(self) -> int:
        """The side in pixels of the faces that a network of ours takes. Raises ModelError for what is none."""
        size = self.meta.get("size", SIZE)
        if not isinstance(size, int) or not 16 <= size <= 1024:
            raise ModelError(f"{self.path} says that it takes faces of {size!r} pixels; train or copy it again")
        return size

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The networks of the encoder; none where there is no inference graph. Raises ModelError for what is none."""
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
                raise ValueError("constants of one would be taken for another's")
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ModelError(f"{self.path} does not say what its networks are shown; train or copy it again") from None
        return branches

    def need_graphs(self) -> None:
        """Raise ModelError where there is no inference graph: such a model has no place in a gallery."""
        if not self.branches:
            raise ModelError(
                f"{self.path} has no inference graph (architecture {self.meta.get('arch')}); "
                "it can be evaluated pair by pair, not put into a gallery"
            )

    def graph(self, branch: Branch) -> bytes:
        """The ONNX file of a branch. Raises ModelError where its constants are not such as it is stored with."""
        prefix = f"graph.{branch.name}."
        apart = {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}
        try:
            return assembled(self.tensors[f"graph.{branch.name}"].tobytes(), apart)
        except ValueError as error:
            raise ModelError(f"{self.path}, network {branch.name}: {error}; train or copy it again") from None

    def last(self, branch: Branch) -> LastMatrix | None:
        """The matrix behind a branch's graph, if there is one. Raises ModelError where it is not as it should be."""
        rows, step, bias = (self.tensors.get(f"graph.{branch.name}:{part}") for part in ("rows", "step", "bias"))
        if rows is None or step is None or bias is None:
            return None
        try:
            return LastMatrix(rows, step, bias)
        except ValueError as error:
            raise ModelError(f"{self.path}, network {branch.name}: {error}; train or copy it again") from None

    @property
    def head_fingerprint(self) -> str:
        """SHA-256 over the head's tensors: what a projection of a gallery is made with."""
        return _digest({k: v for k, v in self.tensors.items() if k.startswith("head.")}, "head")

    @cached_property
    def identity(self) -> str:
        """SHA-256 over everything that shapes an answer: encoder, head and calibration."""
        rest = json.dumps(self.meta.get("calibration"), sort_keys=True)
        return hashlib.sha256(f"{self.fingerprint}{self.head_fingerprint}{rest}".encode()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, by rename so that it is never half there. Raises OSError."""
        target = Path(path)
        meta = {**self.meta, "format": FORMAT, "facedex": __version__}
        replace_file(target, save_tensors(self.tensors, {"facedex": json.dumps(meta, sort_keys=True)}))
        self.meta, self.path = meta, target
        for noted in ("fingerprint", "identity"):  # of a model of the first format, those are another file's now
            self.__dict__.pop(noted, None)


def with_graphs(file: ModelFile, graphs: Sequence[tuple[Branch, bytes]]) -> ModelFile:
    """The same model with these inference graphs, each a whole ONNX file."""
    tensors = {name: tensor for name, tensor in file.tensors.items() if not name.startswith("graph.")}
    tensors.update({f"graph.{branch.name}": np.frombuffer(graph, np.uint8) for branch, graph in graphs})
    return ModelFile(tensors, {**file.meta, "branches": [branch.to_meta() for branch, _ in graphs]}, file.path)


def read_model(model: str | os.PathLike[str]) -> ModelFile:
    """Read a model file, or one of those that ship by its name. Raises ModelError when it is missing, broken, or not
    facedex's.
    """
    source = Path(model)
    if not source.suffix and os.fspath(model) in shipped_models():
        source = weights.FOLDER / f"{model}.safetensors"
    if not os.path.isfile(source):  # which raises nothing where a folder may not be entered
        names = " or ".join(shipped_models())
        raise ModelError(f"There is no model {source}; give a file that `facedex train` wrote, or one of: {names}")
    try:
        with safe_open(source, framework="numpy") as file:
            meta = json.loads((file.metadata() or {})["facedex"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        raise ModelError(f"{source} is not a facedex model, or is damaged; train or copy it again") from None
    if isinstance(meta, dict) and meta.get("format") == _FIRST:
        return _first_format(tensors, meta, source)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ModelError(
            f"{source} has the format {meta.get('format') if isinstance(meta, dict) else None!r}, "
            f"this facedex reads {FORMAT!r}; upgrade facedex or train it again"
        )
    return ModelFile(tensors, meta, source)


def _first_format(tensors: dict[str, np.ndarray], meta: dict[str, Any], source: Path) -> ModelFile:
    """A model whose graph lies beside it as NAME.onnx, bound by SHA-256: galleries keep copies of such.

    Its fingerprint and identity are what its gallery noted. Raises ModelError.
    """
    model = ModelFile(tensors, meta, source)
    size, foreign = model.size, meta.get("arch") == "onnx"
    encoder = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    fingerprint = _digest(encoder, str(meta.get("arch", "")) + (" mirrored" if model.mirrored else ""))
    facts = [meta.get("calibration"), meta.get("graph_sha256"), *([size] if size != SIZE and not foreign else [])]
    rest = json.dumps(facts, sort_keys=True)
    if meta.get("graph_sha256"):
        path = source.with_suffix(".onnx")
        try:
            graph = path.read_bytes()
        except OSError:
            raise ModelError(f"{path} is missing; keep it beside {source}") from None
        if hashlib.sha256(graph).hexdigest() != meta["graph_sha256"]:
            raise ModelError(f"{path} does not belong to {source}; copy both files again")
        try:
            shown = dict(meta.get("input", {}) if foreign else {"size": size})
            kept = {name: value for name, value in shown.items() if name != "mirrored"}
            model = with_graphs(model, [(Branch("own", int(meta.get("dim", 0)), **kept), graph)])
        except (TypeError, ValueError):
            raise ModelError(f"{source} does not say what its network is shown; train or copy it again") from None
        model.meta["mirrored"] = model.mirrored or bool(shown.get("mirrored"))
        model.meta["arch"] = FROZEN if foreign else meta.get("arch")
    head = model.head_fingerprint
    model.__dict__["fingerprint"] = fingerprint
    model.__dict__["identity"] = hashlib.sha256(f"{fingerprint}{head}{rest}".encode()).hexdigest()
    return model


def shipped_models() -> list[str]:
    """The names of the models that come with facedex, the default one first."""
    names = sorted(path.stem for path in weights.FOLDER.glob("*.safetensors"))
    return sorted(names, key=lambda name: name != DEFAULT)


def shipped_model(name: str = DEFAULT) -> Path:
    """The file of a model that comes with facedex. Raises ModelError when this copy lacks it."""
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
