"""Made-up vectors, faces, models and galleries; no photo of anybody."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from facedex.cli.json_fields import JSON_OBJECTS
from facedex.decision.calibration import Calibration
from facedex.decision.posterior import Normal, Scores
from facedex.decision.tail import Tail
from facedex.gallery.gallery import Gallery
from facedex.model.modelfile import Branch, ModelFile, read_model, with_graphs
from facedex.store.library_rows import FoundFace, SeenFile
from facedex.store.rows import FaceRecord
from facedex.store.store import Store, is_there

DIM = 128
Done = namedtuple("Done", "code out err")  # how a command ended
PLAIN_HEAD = {"v": np.full(DIM, 0.7, np.float32), "beta": 12.0}


def unit(n, dim=DIM, seed=0):
    """(n, dim) float32 unit vectors of random direction."""
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near(vector, seed=0, noise=0.3):
    """A unit vector near another, as a second photo of the same person would give."""
    moved = vector + noise * unit(1, len(vector), seed + 10_000)[0]
    return (moved / np.linalg.norm(moved)).astype(np.float32)


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def record(name, vector, photo=None):
    """A face to store, of a photo that is this name's and this vector's alone."""
    photo = photo or sha(name + vector.tobytes().hex())
    return FaceRecord(name, vector, (10.5, 20.25, 60.0, 80.0), 0.93, 21.5, f"/photos/{name}.jpg", photo)


def people(vectors, prefix="person"):
    return [record(f"{prefix}{i:04d}", vector) for i, vector in enumerate(vectors)]


def lines(text):
    """The JSON objects that a command printed."""
    return [json.loads(line) for line in text.splitlines()]


def rows(text):
    """The rows of CSV that a command printed, with the header."""
    return list(csv.reader(io.StringIO(text)))


def one_line(done, *parts):
    """Exit code 2, one line on stderr that says this, nothing on stdout."""
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("facedex: ")
    assert done.err.count("\n") == 1
    assert all(str(part) in done.err for part in parts), done.err


def json_fields(value, path=""):
    """The paths of all fields of a JSON value, written as in facedex/json_shapes.py: faces[].box, decision.fpir."""
    if isinstance(value, list):
        return set().union(*(json_fields(item, f"{path}[]") for item in value))
    if not isinstance(value, dict):
        return set()
    paths = {key: f"{path}.{key}" if path else key for key in value}
    return set(paths.values()).union(*(json_fields(inner, paths[key]) for key, inner in value.items()))


def assert_fields_described(printed, command, kind=0):
    """Fail unless facedex/json_shapes.py describes exactly the fields that occur in these JSON objects."""
    described = set(list(JSON_OBJECTS[command].values())[kind].fields())
    varying = [field.removesuffix("*") for field in described if field.endswith(".*")]
    occurring = set().union(*map(json_fields, printed))
    for prefix in varying:
        below = {field for field in occurring if field.startswith(prefix)}
        occurring = occurring - below | ({f"{prefix}*"} if below else set())
    assert occurring == described


def gallery(folder, records=(), model=None):
    """An open gallery that holds these faces; made anew, it is of the quicker model that ships."""
    opened = Gallery(folder, model or (None if is_there(folder) else "fast"), create=True)
    with Store(Path(folder)) as store:
        store.add(list(records))
    return opened


def everybody(store):
    """Ids (n,) and vectors (n, dim) of all enrolled faces."""
    blocks = list(store.blocks())
    empty = np.empty(0, np.int64), np.empty((0, store.state.dim), np.float32)
    return tuple(map(np.concatenate, zip(empty, *((block.ids, block.vectors) for block in blocks), strict=True)))


def stored_row(opened, row):
    """What the index keeps of one face in consecutive bytes: z, or the 8-bit codes of a quantised index."""
    index = opened._lookup._refreshed()[0].index
    if index.kind == "flat":
        return index.z[row]
    import faiss  # only here: other tests prove that FAISS is not loaded

    codes = faiss.vector_to_array(faiss.downcast_index(index._index.refine_index).codes)
    return codes.reshape(len(index), -1)[row].copy()


def make_model(path, v=None, beta=None, **facts):
    """The encoder of `fast` with a given head and calibration. With 512 weights the head sees four bases."""
    shipped = read_model("fast")
    tensors = dict(shipped.tensors)
    tensors["head.v"] = np.asarray(PLAIN_HEAD["v"] if v is None else v, np.float32)
    if len(tensors["head.v"]) == DIM:  # as many weights as the embedding has numbers: no frame
        tensors.pop("head.frame", None)
    tensors["head.beta"] = np.array(PLAIN_HEAD["beta"] if beta is None else beta, np.float32)
    ModelFile(tensors, {**shipped.meta, "calibration": calibration(**facts).to_meta()}).save(path)
    return path


def calibration(slope=0.8, offset=-1.0, start=2.0, start_sd=0.0, rate=2.0):
    """A calibration in which one stranger in twenty scores above `start`, e times fewer for each 1 / rate further up;
    `start_sd` is by how much that start varies from probe to probe.
    """
    gap = max(2 * (-offset / slope - start), 1 / slope)  # Platt's line is that of two normal distributions so far apart
    scores = Scores(
        1, (Normal(1.0, start + gap, (gap / slope) ** 0.5),), Tail(start, start_sd, 1, 0, 0, 0, 0.05, rate, 0)
    )
    return Calibration(slope, offset, (scores,), (), 100, 200)


def other_encoder(path, base="fast"):
    """A model that ships under another fingerprint: the same vectors, from what counts as another encoder."""
    shipped = read_model(base)
    ModelFile({**shipped.tensors, "encoder.unused": np.zeros(1, np.float32)}, dict(shipped.meta)).save(path)
    return path


def grid_graph(dim=6, side=112, batch="n", seed=3, weight=None):
    """An ONNX file of a network that averages over an 8 x 8 grid and multiplies by a matrix (dim, 192)."""
    import pytest

    pytest.importorskip("onnx", reason="needs the extra train")
    from onnx import TensorProto, helper, numpy_helper

    cell = side // 8
    weight = grid_weight(dim, seed) if weight is None else np.asarray(weight, np.float32)
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[cell, cell], strides=[cell, cell]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, len(weight)])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model.SerializeToString()


def grid_weight(dim=6, seed=3):
    """The matrix of grid_graph."""
    return np.random.default_rng(seed).normal(size=(dim, 192)).astype(np.float32)


def grid_networks(*branches, mirrored=False):
    """A frozen encoder of made-up networks, one for each Branch, that has neither projection nor head yet."""
    graphs = [(branch, grid_graph(branch.dim, branch.size, seed=at)) for at, branch in enumerate(branches)]
    return with_graphs(ModelFile({}, {"arch": "frozen", "mirrored": mirrored, "normalised": True}), graphs)


def own_network(seed=0, size=48, **shape):
    """A small network of our own as it is before training, in evaluation mode, rounded as it is stored."""
    import pytest

    torch = pytest.importorskip("torch", reason="needs the extra train")
    from facedex.training.siamese import Siamese, from_file, to_file

    torch.manual_seed(seed)
    return from_file(to_file(Siamese("compact", size, **{"blocks": (1, 1, 1), **shape}), {}))


def own_model(path=None, network=None, **facts):
    """The model of a network of our own, with its graph and the calibration of `calibration()`; written where asked."""
    import pytest

    pytest.importorskip("onnx", reason="needs the extra train")
    network = network or own_network()
    from facedex.training.export import export_onnx
    from facedex.training.siamese import to_file

    graph = export_onnx(network.encoder, network.encoder.size)
    file = to_file(network, {"calibration": calibration().to_meta(), **facts})
    file = with_graphs(file, [(Branch("own", network.encoder.dim, network.encoder.size), graph)])
    if path is not None:
        file.save(path)
    return file


def flip(path, at, bit=0x10):
    """Change one bit of a file."""
    with open(path, "r+b") as file:
        file.seek(at)
        (old,) = file.read(1)
        file.seek(at)
        file.write(bytes([old ^ bit]))


def drawn_face(seed=0, side=240):
    """(side, side, 3) uint8 RGB: a drawing that the detector takes for a face, another one for each seed."""
    rng = np.random.default_rng(seed)
    scale = side / 240

    def some(middle, spread):
        return middle + rng.uniform(-spread, spread)

    skin = np.array([some(200, 40), some(155, 35), some(125, 30)])
    hair = tuple(int(value) for value in rng.integers(10, 110, 3))
    image = Image.new("RGB", (side, side), tuple(int(value) for value in rng.integers(90, 220, 3)))
    draw = ImageDraw.Draw(image)

    def oval(x, y, wide, high, colour):
        draw.ellipse([(x - wide) * scale, (y - high) * scale, (x + wide) * scale, (y + high) * scale], fill=colour)

    def shade(factor):
        return tuple(int(np.clip(value * factor, 0, 255)) for value in skin)

    oval(120, 105, some(76, 6), some(92, 6), hair)
    oval(120, 235, 90, 60, tuple(int(value) for value in rng.integers(20, 200, 3)))
    oval(120, 190, 28, 40, shade(0.85))
    oval(120, 125, some(60, 5), some(78, 5), shade(1))
    apart, height, size = some(26, 3), some(112, 4), some(11, 2)
    for side_of in (-1, 1):
        x = 120 + side_of * apart
        oval(x, height, size + 5, size * 0.6 + 5, shade(0.85))
        oval(x, height, size, size * 0.55, (245, 245, 245))
        oval(x, height, size * 0.5, size * 0.5, tuple(int(value) for value in rng.integers(20, 120, 3)))
        oval(x, height, size * 0.25, size * 0.25, (5, 5, 5))
        brow = [(x - size - 4, height - 13), (x, height - some(18, 2)), (x + size + 4, height - 13)]
        draw.line([(a * scale, b * scale) for a, b in brow], fill=hair, width=int(some(5, 2) * scale) + 1)
    nose = some(143, 4)
    draw.polygon([(a * scale, b * scale) for a, b in [(120, nose - 28), (111, nose), (129, nose)]], fill=shade(0.9))
    oval(113, nose, 3, 2, shade(0.5))
    oval(127, nose, 3, 2, shade(0.5))
    mouth, wide = some(168, 4), some(22, 5)
    oval(120, mouth, wide, some(8, 2), (170, 70, 75))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(1.6 * scale)), np.float32)
    return np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


def save_face(path, *seeds, side=240):
    """Write one drawn face, or several side by side; returns the path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.concatenate([drawn_face(seed, side) for seed in seeds or (0,)], axis=1)
    Image.fromarray(pixels).save(path)
    return Path(path)


def save_blank(path, shade=130):
    """Write a picture without a face; returns the path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 200), (shade, shade, shade)).save(path)
    return Path(path)


def python(code, *arguments, **options):
    """Start a Python process that runs `code`; its stdout and stderr are pipes of text."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", **options}
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **options.pop("env", {})}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, **options)


def need_openvino():
    """Skip a test where OpenVINO is not installed. Only facedex may load it, because facedex stops its telemetry."""
    import pytest

    if find_spec("openvino") is None:
        pytest.skip("needs the extra fast")


def forked(work):
    """Run `work` in a forked process. Returns a function that waits for its exit status, and fails after 20 seconds."""
    import pytest

    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)

    def wait():
        until = time.monotonic() + 20
        while time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
            time.sleep(0.02)
        os.kill(child, 9)
        os.waitpid(child, 0)
        return pytest.fail("the forked process hangs")

    return wait


def kill_after_line(process):
    """Read one line of a process's output, end it with SIGKILL, and return the line."""
    line = process.stdout.readline()
    process.kill()
    process.communicate()
    return line


@contextlib.contextmanager
def unwritable(folder):
    """Inside, a copy of the folder that this process, even as root, can read and not write."""
    if os.name != "posix":
        import pytest

        pytest.skip("permissions are POSIX's")
    copy = Path(tempfile.mkdtemp()) / "gallery"
    shutil.copytree(folder, copy)
    root = os.geteuid() == 0
    try:
        for path in (copy.parent, copy, *copy.iterdir()):
            if root:
                os.chown(path, 65534, 65534)
            path.chmod(0o500 if path.is_dir() else 0o400)
        if root:
            os.seteuid(65534)
        yield copy
    finally:
        if root:
            os.seteuid(0)
        copy.chmod(0o700)
        copy.parent.chmod(0o700)
        shutil.rmtree(copy.parent)


@contextlib.contextmanager
def closed(folder):
    """Inside, this process may neither list the folder nor look at what is in it, even as root."""

    def refusing(call, itself):
        def look(path=".", *arguments, **options):
            inner = os.path.relpath(os.fspath(path), folder) if isinstance(path, str | os.PathLike) else ".."
            if not inner.startswith("..") and (itself or inner != "."):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return call(path, *arguments, **options)

        return look

    with contextlib.ExitStack() as stack:
        for name in ("scandir", "lstat", "stat"):
            patched = refusing(getattr(os, name), itself=name == "scandir")
            stack.enter_context(mock.patch(f"os.{name}", patched))
        yield


def found_face(vector, left=10.0, quality=20.0):
    """A face as a scan finds it, at a place that follows from `left`."""
    points = np.arange(10, dtype=np.float32).reshape(5, 2) + np.float32(left)
    return FoundFace(np.asarray(vector, np.float32), (left, 20.0, 60.0, 80.0), points, 0.9, quality, 0.05)


def seen_file(source, *vectors, size=1000, modified=1, photo=None, quality=20.0):
    """A photo file as a scan stores it, with a face for each vector side by side."""
    faces = tuple(found_face(vector, 10.0 + 100 * at, quality) for at, vector in enumerate(vectors))
    return SeenFile(source, size, modified, photo or sha(source), faces)


def scanned(folder, files, records=()):
    """An open gallery that holds these scanned files (SeenFile) and enrolled faces."""
    opened = gallery(folder, records)
    with opened.changing_library() as store:
        store.library.save(files)
    return opened
