"""A model on disk: one safetensors file with the encoder, the head and, as JSON metadata, what they need.

Beside `NAME.safetensors` lies `NAME.onnx`, the encoder's inference graph, bound to it by SHA-256. Nothing here
imports torch, and nothing is unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from facedex._version import __version__
from facedex.align import SIZE
from facedex.errors import ModelError

FORMAT = "facedex-model/1"
SHIPPED = "facedex.safetensors"
FOREIGN = "onnx"  # the architecture of an encoder from elsewhere, of which there is only the graph

T = TypeVar("T")


@dataclass
class ModelFile:
    """Tensors by name ("encoder.…", "head.…") and the facts that go with them.

    `meta` holds arch, size (pixels), dim, template, normalised, mirrored, calibration, data, graph_sha256, facedex.
    """

    tensors: dict[str, np.ndarray]
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the encoder's tensors: two models with the same one give the same embeddings."""
        kind = self.meta.get("arch", "") + (" mirrored" if self.mirrored else "")
        return _digest({k: v for k, v in self.tensors.items() if k.startswith("encoder.")}, kind)

    @property
    def mirrored(self) -> bool:
        """Whether an embedding is that of a face and its mirror image together (mirror.py)."""
        return self.meta.get("mirrored") is True

    @property
    def size(self) -> int:
        """The side in pixels of the faces that the encoder takes. Raises ModelError for what is none."""
        size = self.meta.get("size", SIZE)
        if not isinstance(size, int) or not 16 <= size <= 1024:
            raise ModelError(f"{self.path} says that it takes faces of {size!r} pixels; train or copy it again")
        return size

    @property
    def head_fingerprint(self) -> str:
        """SHA-256 over the head's tensors: what a projection of a gallery is made with."""
        return _digest({k: v for k, v in self.tensors.items() if k.startswith("head.")}, "head")

    @property
    def identity(self) -> str:
        """SHA-256 over everything that shapes an answer: both parts' tensors, the calibration and the graph."""
        facts = [self.meta.get("calibration"), self.meta.get("graph_sha256")]
        if self.size != SIZE and self.meta.get("arch") != FOREIGN:  # whose graph's hash covers it
            facts.append(self.size)
        rest = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(f"{self.fingerprint}{self.head_fingerprint}{rest}".encode()).hexdigest()

    @property
    def graph_path(self) -> Path:
        """Where the inference graph of a model read from disk lies."""
        if self.path is None:
            raise ModelError("This model was never saved; save it first")
        return self.path.with_suffix(".onnx")

    def save(self, path: str | os.PathLike[str], graph: bytes | None = None) -> None:
        """Write the model, and its graph beside it, each by rename so that neither is ever half there."""
        target = Path(path)
        meta = {**self.meta, "format": FORMAT, "facedex": __version__}
        meta.pop("graph_sha256", None)
        if graph is not None:
            meta["graph_sha256"] = hashlib.sha256(graph).hexdigest()
            replace_file(target.with_suffix(".onnx"), graph)
        replace_file(target, save_tensors(self.tensors, {"facedex": json.dumps(meta, sort_keys=True)}))
        self.meta, self.path = meta, target


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file. Raises ModelError when it is missing, broken, or not facedex's."""
    source = Path(path)
    if not os.path.isfile(source):  # which raises nothing where a folder may not be entered
        raise ModelError(f"There is no model {source}; train one with `facedex train`, or leave out --model")
    try:
        with safe_open(source, framework="numpy") as file:
            meta = json.loads((file.metadata() or {})["facedex"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        raise ModelError(f"{source} is not a facedex model, or is damaged; train or copy it again") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ModelError(
            f"{source} has the format {meta.get('format') if isinstance(meta, dict) else None!r}, "
            f"this facedex reads {FORMAT!r}; upgrade facedex or train it again"
        )
    return ModelFile(tensors, meta, source)


def read_graph(model: ModelFile) -> bytes:
    """The inference graph's bytes, checked against the model. Raises ModelError."""
    wanted = model.meta.get("graph_sha256")
    if not wanted:
        raise ModelError(
            f"{model.path} has no inference graph (architecture {model.meta.get('arch')}); "
            "it can be evaluated pair by pair, not put into a gallery"
        )
    try:
        data = model.graph_path.read_bytes()
    except OSError:
        raise ModelError(f"{model.graph_path} is missing; keep it beside {model.path}") from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ModelError(f"{model.graph_path} does not belong to {model.path}; copy both files again")
    return data


def shipped_model() -> Path:
    """The model that comes with facedex. Raises ModelError when this copy has none."""
    path = Path(__file__).with_name("weights") / SHIPPED
    if not path.is_file():
        raise ModelError("This copy of facedex ships no model; train one with `facedex train` and name it by --model")
    return path


def replace_file(path: Path, data: bytes, private: bool = False) -> None:
    """Write a file under another name, flush it to disk, then rename, patiently: it is whole or not there. A `private`
    one is its owner's alone from the first byte on.

    Raises OSError.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=0o600 if private else 0o666)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        patiently(partial(os.replace, temporary, path))
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


def patiently(use: Callable[[], T]) -> T:
    """Use a file, on Windows again for two seconds while another process has it open, or puts another in its place."""
    for _ in range(19):
        try:
            return use()
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(0.1)
    return use()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, as far as they are missing, for certain. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not os.path.exists(one)]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        flush_folder(one.parent)


def flush_folder(folder: Path) -> None:
    """Bring a folder's list of names to disk: a new or replaced name is not there for certain before. Raises OSError."""
    if os.name != "posix":  # Windows opens no folders; its file systems keep a log of names
        return
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one that may be written to but not listed, which cannot be flushed by itself
        os.sync()
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that flush files only
            raise
        os.sync()
    finally:
        os.close(opened)


def _digest(tensors: dict[str, np.ndarray], salt: str) -> str:
    digest = hashlib.sha256(salt.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"\0{name}\0{tensor.dtype}\0{tensor.shape}\0".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
