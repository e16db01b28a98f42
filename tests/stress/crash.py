"""Kill a gallery's writer with SIGKILL, a thousand times, and look at what is left.

    python -m tests.stress.crash [--runs 1000] [--seed 0] [--only enroll,remove]

A first, undisturbed run of each verb notes its steps (each SQL statement, copied page, fsync, rename, unlink, half and
whole write), the states of the gallery after each commit, and after which one every acknowledgement came. Then each
step is the last one once, and other runs end at random moments. After each: the gallery opens; it is in one of the
noted states, and not before what was acknowledged; the index's answers are the exhaustive ones and, to the bit, those
of an index built anew; the file of a backup is the old one or the new one, whole; the verb can be run again; then no
file of a killed writer is left and no trace of deleted vectors. POSIX only. Made-up people and drawn faces; the steps
are noted and killed from outside the package.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
import numpy.ma
from onnx import TensorProto, helper, numpy_helper

from facedex.errors import PersonNotFound
from facedex.gallery import gallery as gallery_module
from facedex.gallery.backup import backup, restore
from facedex.gallery.gallery import Gallery
from facedex.model.modelfile import Branch, ModelFile, read_model, with_graphs
from facedex.photos.sources import named_photos
from facedex.store.store import Store
from tests.helpers import make_model, save_face, unit

SECONDS = 60  # that a child may take
RUIN = b"no database " * 1000
PROBES = unit(2, seed=77)


# the verbs, each on a copy of the same gallery; `ack` is called as a user would be told


def enroll(work: Path, ack: Callable[[str], None], photos: str = "new", update: bool = False) -> None:
    with (
        named_photos([work / photos]) as (found, _),
        Gallery(work / "g", work / "a.safetensors", create=True) as opened,
    ):
        for result in opened.enroll(found, update=update):
            ack(f"{result.status} {result.name}")
        if update:
            opened.remove_photos(opened.vanished([work / photos]))


def update(work: Path, ack: Callable[[str], None]) -> None:
    """The folder that was enrolled first, as `rearranged` left it."""
    enroll(work, ack, "old", update=True)


def rearranged(folder: Path) -> None:
    """Photos gone, moved, renamed to another person, and new; the user's doing, so nobody is killed in it."""
    (folder / "p0.png").unlink()
    (folder / "p1.png").rename(folder / "q1.png")
    (folder / "two").mkdir()
    (folder / "p2.png").rename(folder / "two" / "p2.png")
    shutil.copy(folder.parent / "new" / "n0.png", folder / "n0.png")


def on_gallery(act: Callable[[Gallery, Path], object]) -> Callable[[Path, Callable[[str], None]], None]:
    def run(work: Path, ack: Callable[[str], None]) -> None:
        with Gallery(work / "g") as opened:
            act(opened, work)
        ack("done")

    return run


def on_file(act: Callable[[Path], object]) -> Callable[[Path, Callable[[str], None]], None]:
    def run(work: Path, ack: Callable[[str], None]) -> None:
        act(work)
        ack("done")

    return run


VERBS: dict[str, Callable[[Path, Callable[[str], None]], None]] = {
    "create": enroll,
    "enroll": enroll,
    "update": update,
    "remove": on_gallery(lambda opened, work: opened.remove("p1", "p3")),
    "rename": on_gallery(lambda opened, work: opened.rename("p1", "renamed")),
    "merge": on_gallery(lambda opened, work: opened.merge("p1", "p3")),
    "reindex": on_gallery(lambda opened, work: opened.reindex()),
    "reindex, another head": on_gallery(lambda opened, work: opened.reindex(work / "b.safetensors")),
    "reindex, another encoder": on_gallery(lambda opened, work: opened.reindex(work / "c.safetensors")),
    "backup": on_file(lambda work: backup(work / "g", work / SAVED, force=True)),
    "restore": on_file(lambda work: restore(work / SAVED, work / "g", force=True)),
    "restore, nothing there": on_file(lambda work: restore(work / SAVED, work / "g", force=True)),
    "restore, over a ruin": on_file(lambda work: restore(work / SAVED, work / "g", force=True)),
}
SAVED = "saved.backup"  # of another gallery, with another model
EMPTY = ("create", "restore, nothing there", "restore, over a ruin")  # begin without a gallery that can be used
DELETED = {  # whose vectors are to be nowhere in the end
    "remove": ("p1", "p3"),
    "update": ("p0",),
    "restore": tuple(f"p{i}" for i in range(6)),
}


def tiny_model(path: Path, beta: float = 12.0, encoder: float = 0.0) -> None:
    """A model that is read in a moment: its encoder averages over an 8 x 8 grid and multiplies by a matrix."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 112, 112])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 128])
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    weight = numpy_helper.from_array(unit(128, 192, seed=5), "w")
    graph = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [weight]), opset_imports=[helper.make_opsetid("", 13)]
    )
    graph.ir_version = 8
    made = read_model(make_model(path, beta=beta))
    heads = {name: tensor for name, tensor in made.tensors.items() if name.startswith("head.")}
    facts = {**made.meta, "arch": "compact"}
    whole = ModelFile({**heads, "encoder.weight": np.full(4, encoder, np.float32)}, facts)
    with_graphs(whole, [(Branch("own", 128), graph.SerializeToString())]).save(path)


def prepare(work: Path) -> None:
    """The photos, three models and the gallery that each run starts from."""
    for i in range(6):
        save_face(work / "old" / f"p{i}.png", i, side=120)
        save_face(work / "new" / f"n{i}.png", 100 + i, side=120)
    tiny_model(work / "a.safetensors")
    tiny_model(work / "b.safetensors", beta=10.0)
    tiny_model(work / "c.safetensors", encoder=1.0)  # another fingerprint; the graph, and so every vector, stays
    with named_photos([work / "new"]) as (found, _), Gallery(work / "h", work / "b.safetensors", create=True) as opened:
        list(opened.enroll(found))
    backup(work / "h", work / SAVED)
    (work / "saved.json").write_text(json.dumps(state(work / "h")))
    shutil.rmtree(work / "h")
    enroll(work, lambda text: None, "old")
    with Gallery(work / "g") as opened:
        opened.reindex()


def state(folder: Path) -> list[Any]:
    """What the gallery is: its people, and its model; nothing while there is none."""
    if not (folder / "gallery.db").exists():
        return []
    try:
        with Store(folder) as store:
            return [[[p.name, p.photos] for p in store.people()], store.state.model, store.state.model_file]
    except Exception:
        if (folder / "gallery.db").stat().st_size <= 4096 or (folder / "gallery.db").read_bytes() == RUIN:
            return []  # its making was cut short
        raise


# steps, from outside


class Steps:
    """Wraps what writes. Notes each step, or ends the process at one of them."""

    def __init__(self, folder: Path, target: str | None, note: Callable[[str, Any], None] | None) -> None:
        self.folder, self.target, self.note = str(folder), target, note
        self.counts: Counter[str] = Counter()
        self.noting = False

    def step(self, name: str) -> None:
        if self.noting:
            return
        self.counts[name] += 1
        key = f"{name} #{self.counts[name]}"
        if key == self.target:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.note is not None:
            self.noting = True
            self.note("step", key)
            if name in ("after COMMIT", "after copying", "after replace db"):
                self.note("state", state(Path(self.folder)))
            self.noting = False

    def install(self) -> None:  # noqa: C901 (a wrapper for each call that writes)
        steps = self

        def wrapped(call: Callable[..., Any], name: str) -> Callable[..., Any]:
            def run(*arguments: Any, **options: Any) -> Any:
                about = next((Path(a).name.split(".")[-1] for a in arguments[-1:] if isinstance(a, (str, Path))), "")
                steps.step(f"before {name} {about}".rstrip())
                result = call(*arguments, **options)
                steps.step(f"after {name} {about}".rstrip())
                return result

            return run

        for name in ("replace", "rename", "fsync", "unlink", "ftruncate", "link"):
            setattr(os, name, wrapped(getattr(os, name), name))

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
                words = sql.split()
                name = words[0] if words[0] in ("COMMIT", "ROLLBACK", "VACUUM") else " ".join(words[:3])
                if words[0] != "SELECT":
                    steps.step(f"before {name}")
                result = super().execute(sql, *values)
                if words[0] != "SELECT":
                    steps.step(f"after {name}")
                return result

            def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
                name = " ".join(sql.split()[:3])
                steps.step(f"before {name}")
                result = super().executemany(sql, *values)
                steps.step(f"after {name}")
                return result

            def backup(self, target: sqlite3.Connection, **options: Any) -> None:
                steps.step("before copying")
                super().backup(target, pages=2, progress=lambda *left: steps.step("while copying"))
                steps.step("after copying")

        connect, opened = sqlite3.connect, builtins.open
        sqlite3.connect = lambda *a, **k: connect(*a, **{"factory": Connection, **k})  # type: ignore[assignment]

        class Halved:
            """A file that is written in two halves."""

            def __init__(self, file: Any, name: str) -> None:
                self._file, self._name = file, name

            def write(self, data: Any) -> int:
                half = len(data) // 2
                self._file.write(data[:half])
                self._file.flush()
                steps.step(f"half write {self._name}")
                return half + int(self._file.write(data[half:]))

            def __getattr__(self, name: str) -> Any:
                return getattr(self._file, name)

            def __enter__(self) -> Halved:
                return self

            def __exit__(self, *exception: object) -> None:
                self._file.close()

        def open_halved(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            found = opened(file, mode, *arguments, **options)
            if "w" in mode and isinstance(file, (str, Path)) and str(file).startswith(steps.folder):
                return Halved(found, ".".join(str(file).split(".")[-3:-2]) or "file")
            return found

        builtins.open = open_halved  # type: ignore[assignment]


# processes: forked from this one, which never uses FAISS itself, so that none pays for the imports


def fork(
    work: Callable[[Callable[[str], None]], None], kill_after: float | None = None
) -> tuple[int, list[str], float]:
    """Run in a child that may say lines: its wait status, the lines, the seconds. Killed after some time, if asked."""
    reading, writing = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)

            def say(text: str) -> None:
                os.write(writing, text.encode() + b"\n")

            work(say)
            code = 0
        except BaseException as error:
            os.write(writing, f"! {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    os.close(writing)
    data = b""
    deadline = began + (SECONDS if kill_after is None else kill_after)
    while True:
        left = deadline - time.perf_counter()
        if left <= 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            left = SECONDS
        if select.select([reading], [], [], left)[0]:
            part = os.read(reading, 65536)
            if not part:
                break
            data += part
    os.close(reading)
    _, status = os.waitpid(child, 0)
    return status, data.decode().splitlines(), time.perf_counter() - began


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder; models, which nobody changes in place, are linked."""

    def copy(one: str, other: str) -> None:
        (os.link if one.endswith((".safetensors", ".onnx")) else shutil.copy2)(one, other)

    return Path(shutil.copytree(source, target, copy_function=copy))


def setting(verb: str, template: Path, work: Path) -> None:
    """What a verb begins with."""
    copied(template, work)
    if verb in EMPTY:
        shutil.rmtree(work / "g")
    if verb == "update":
        rearranged(work / "old")
    if verb == "restore, over a ruin":
        (work / "g").mkdir()
        (work / "g" / "gallery.db").write_bytes(RUIN)


def act(verb: str, work: Path, target: str | None, say: Callable[[str], None], note: bool) -> None:
    gallery_module._BATCH = 2  # more commits in less time
    Steps(work / "g", target, (lambda kind, what: say(json.dumps([kind, what]))) if note else None).install()
    VERBS[verb](work, lambda text: say(json.dumps(["ack", text])))


def answers(opened: Gallery) -> list[Any]:
    """What the gallery says to a few probes: through the index, which must be the truth."""
    found = [opened.match(probe, top=99) for probe in PROBES]
    assert found == [opened.match(probe, top=99, exhaustive=True) for probe in PROBES], "index and truth differ"
    assert all(len(one) == len(opened) for one in found), "people are missing in the answers"
    return found


def check(verb: str, work: Path, legal: list[Any], acked: list[str], vectors: dict[str, np.ndarray]) -> None:
    """Raises AssertionError where something was lost, made up, or left."""
    folder = work / "g"
    now = state(folder)
    assert now in legal, f"a state that never was committed, or from before what was acknowledged: {now}"
    for status, _, name in (text.partition(" ") for text in acked):
        if status == "done":
            assert now == legal[-1], "the verb was acknowledged and is not done"
        elif status != "skipped":
            assert now, "the gallery is lost"
            assert name in dict(now[0]), f"{name} was acknowledged and is lost"
    if now:
        anew = copied(folder, work / "anew")
        with Gallery(folder) as opened:
            incremental = answers(opened)
        with Gallery(anew) as opened:
            opened.reindex()
            rebuilt = [opened.match(probe, top=99) for probe in PROBES]
        assert rebuilt == incremental, "built anew, the index answers otherwise"
    if verb == "backup":
        restore(work / SAVED, work / "back")
        older = json.loads((work / "saved.json").read_text())
        assert state(work / "back") in (now, older), "the backup is neither the old one nor the new one"
        assert state(work / "back") == now or not acked, "the backup was acknowledged and is the old one"
    with contextlib.suppress(PersonNotFound):  # those who are gone, or called otherwise, already
        VERBS[verb](work, lambda text: None)
    assert state(folder) == legal[-1], "run again, the verb does not end where it would have"
    left = [path.name for path in (*folder.iterdir(), *work.iterdir()) if path.name.startswith(".")]
    assert not left, f"left behind: {left}"
    for path in (one for one in folder.iterdir() if not one.name.startswith("model-")):
        data = path.read_bytes()
        for name in DELETED.get(verb, ()):
            blob = vectors[name].tobytes()
            assert not any(blob[at : at + 16] in data for at in range(0, len(blob), 16)), f"{name} is in {path.name}"
    with Gallery(folder) as opened:
        answers(opened)
        opened.reindex()
    assert len(list(folder.glob("model-*"))) == 1, "models left behind"


def main() -> None:
    """Run, print the summary; exit 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(VERBS), help="verbs, with commas")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    rng = random.Random(options.seed)
    chosen = [verb for verb in VERBS if verb.split(",")[0] in options.only.split(",")]
    with tempfile.TemporaryDirectory() as top:
        # Every run is at one path, because a gallery notes where its photos were.
        template, work = Path(top) / "template", Path(top) / "run"
        status, said, _ = fork(lambda say: prepare(work))
        assert status == 0, said
        work.rename(template)
        with Store(template / "g") as store:
            vectors = {f"p{i}": vector for i, vector in enumerate(store.vectors()[1])}
        plans: dict[str, tuple[list[str], list[Any], dict[str, int], float]] = {}
        for verb in chosen:
            first = [] if verb in EMPTY else state(template / "g")
            setting(verb, template, work)
            status, said, _ = fork(lambda say, verb=verb: act(verb, work, None, say, True))  # type: ignore[misc]
            assert status == 0, (verb, said)
            steps, states, acks = [], [first], {}
            for kind, what in map(json.loads, said):
                if kind == "step":
                    steps.append(what)
                elif kind == "ack":
                    acks[what] = len(states) - 1
                elif what != states[-1]:
                    states.append(what)
            shutil.rmtree(work)
            setting(verb, template, work)
            *_, seconds = fork(lambda say, verb=verb: act(verb, work, None, say, False))  # type: ignore[misc]
            shutil.rmtree(work)
            plans[verb] = (steps, states, acks, seconds)
        every = [(verb, step) for verb in chosen for step in plans[verb][0]]
        rng.shuffle(every)
        # Every step once, where the runs suffice; the others, a quarter at least, at random moments.
        plan: list[tuple[str, str | None]] = list(every[: options.runs * 3 // 4])
        plan += [(rng.choice(chosen), None) for _ in range(options.runs - len(plan))]
        counts: dict[str, Counter[str]] = {verb: Counter() for verb in chosen}
        began = time.perf_counter()
        for number, (verb, target) in enumerate(plan):
            steps, states, acks, seconds = plans[verb]
            setting(verb, template, work)
            moment = None if target else rng.uniform(0, 0.8 * seconds)
            # type: ignore[misc]
            status, said, _ = fork(lambda say, v=verb, t=target: act(v, work, t, say, False), moment)
            acked = [json.loads(line)[1] for line in said if not line.startswith("!")]
            at_least = max((acks[text] for text in acked), default=0)
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            if not killed and status != 0:
                found = [f"the verb itself failed: {said[-1:]}"]
            else:
                legal = states[at_least:]
                # type: ignore[misc]
                status, said, _ = fork(lambda say, v=verb, s=legal, a=acked: check(v, work, s, a, vectors))
                found = said if status else []
            counts[verb]["at a step" if killed and target else "at random" if killed else "finished before"] += 1
            if found:
                counts[verb]["FAILED"] += 1
                print(f"run {number}, {verb}, {target or f'after {moment:.4f} s'}: {found}", flush=True)
            shutil.rmtree(work)
            if (number + 1) % 50 == 0:
                failed = sum(count["FAILED"] for count in counts.values())
                print(f"{number + 1} of {len(plan)} runs, {failed} failed", file=sys.stderr, flush=True)
        columns = ("at a step", "at random", "finished before", "FAILED")
        print(f"{'killed':26}" + "".join(f"{name:>17}" for name in columns) + f"{'steps':>8}")
        for verb in chosen:
            print(f"{verb:26}" + "".join(f"{counts[verb][name]:17}" for name in columns) + f"{len(plans[verb][0]):8}")
        failed = sum(count["FAILED"] for count in counts.values())
        print(
            f"{len(plan)} runs of {len(every)} steps and random moments in {time.perf_counter() - began:.0f} s, seed "
            f"{options.seed}: {failed} with something lost, unreadable or left"
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
