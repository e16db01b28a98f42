"""A disk that is full at any point of a change gives a facedex error and leaves the gallery as before or as after."""

import shutil
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest

from facedex.errors import FacedexError
from facedex.gallery.backup import backup, restore
from facedex.gallery.doctor import examine
from facedex.gallery.gallery import Gallery
from facedex.model.modelfile import ModelFile, read_model
from tests.golden import make
from tests.helpers import record

resource = pytest.importorskip("resource", reason="needs a limit on the size of files")

PROBES = make.vectors(2, seed=5)


@contextmanager
def room(size):
    """No file may be written beyond `size` bytes: the system refuses as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def records(prefix, count, seed):
    return [record(f"{prefix}{i:03d}", vector) for i, vector in enumerate(make.vectors(count, seed))]


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A gallery of sixty made-up people, another head for it, and a backup of a second gallery."""
    top = tmp_path_factory.mktemp("origin")
    model = make.model(top)
    head = read_model(model)
    head.tensors["head.beta"] = np.array(5.0, np.float32)
    ModelFile(head.tensors, dict(head.meta)).save(top / "head.safetensors")
    for name, prefix, seed in (("g", "a", 1), ("h", "b", 2)):
        with Gallery(top / name, model, create=True) as opened:
            opened.add_faces(records(prefix, 60, seed))
            opened.reindex()
    backup(top / "h", top / "saved")
    shutil.rmtree(top / "h")
    return top


def on_gallery(act):
    def run(top, limit):
        with Gallery(top / "g") as opened, limit:  # it fills up while the gallery is open
            act(opened, top)

    return run


def on_file(act):
    def run(top, limit):
        with limit:
            act(top)

    return run


VERBS = {
    "add": on_gallery(lambda opened, top: opened.add_faces(records("late", 60, 3))),
    "rename": on_gallery(lambda opened, top: opened.rename("a001", "renamed")),
    "merge": on_gallery(lambda opened, top: opened.merge("a001", "a002")),
    "remove": on_gallery(lambda opened, top: opened.remove("a001")),
    "reindex": on_gallery(lambda opened, top: opened.reindex(kind="flat")),
    "another head": on_gallery(lambda opened, top: opened.reindex(top / "head.safetensors")),
    "backup": on_file(lambda top: backup(top / "g", top / "saved", force=True)),
    "restore": on_file(lambda top: restore(top / "saved", top / "g", force=True)),
    "restore elsewhere": on_file(lambda top: restore(top / "saved", top / "new")),
}


def state(folder):
    if not (folder / "gallery.db").exists():
        return None
    with Gallery(folder) as opened:
        answers = [[(one.name, one.logit) for one in opened.match(probe, top=99)] for probe in PROBES]
        return [(person.name, person.photos) for person in opened.people()], answers


def states(top):
    return [state(top / name) for name in ("g", "new")]


@pytest.mark.parametrize("verb", VERBS)
def test_a_change_is_done_or_not_and_the_error_is_ours(origin, tmp_path, verb):
    before = states(Path(shutil.copytree(origin, tmp_path / "before")))
    VERBS[verb](Path(shutil.copytree(origin, tmp_path / "after")), nullcontext())
    after = states(tmp_path / "after")
    largest = max(path.stat().st_size for path in (tmp_path / "after").rglob("*") if path.is_file())
    sizes = sorted({0, 600, 4096, 9000, *range(12_000, 2 * largest, largest // 3)})
    errors = set()
    for size in sizes:
        top = Path(shutil.copytree(origin, tmp_path / str(size)))
        allowed = [after]
        try:
            VERBS[verb](top, room(size))
        except FacedexError as error:
            errors.add(str(error).replace(str(size), ""))
            allowed = [before, after]
        assert states(top) in allowed, size
        for name in ("g", "new"):
            if size in sizes[1::3] and (top / name / "gallery.db").exists():
                assert "broken" not in {finding.state for finding in examine(top / name)}, size
        assert not [path for path in top.rglob(".*") if path.is_file()], "a temporary file is left"
        shutil.rmtree(top)
    assert errors, "the disk was never full"
    assert all(";" in error for error in errors), errors
