"""Kill the process that writes a gallery with SIGKILL, a thousand times, and check what it leaves.

    python -m tests.stress.crash [--runs 1000] [--seed 0] [--only enroll,remove]

First each command runs once undisturbed. That run records its steps: each SQL statement, copied page, fsync, rename,
unlink, half write and whole write. It also records the gallery's state after each commit, and after which state each
acknowledgement came. Then each step is the last one of one run. Further runs end at random moments.

After each run these facts must hold:

- The gallery opens. Its state is one of the recorded ones, and none from before the last acknowledgement.
- Answers through the index equal the exhaustive ones and, to the bit, those of a rebuilt index.
- The file of a backup is wholly the old one or wholly the new one.
- The command can run again. Then no file of the killed process is left, and no trace of deleted vectors.

The steps are recorded and killed from outside the package. The people and faces are made up. POSIX only. Needs the
package onnx (extra `train` or `dev`), because `tests.helpers.grid_graph` makes the model's network with it.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
import numpy.ma  # loaded once here, so that no forked child pays for it

from facedex.errors import PersonNotFound
from facedex.gallery import gallery as gallery_module
from facedex.gallery.backup import backup, restore
from facedex.gallery.gallery import Gallery
from facedex.model.modelfile import Branch, ModelFile, read_model, with_graphs
from facedex.photos.sources import named_photos
from facedex.store.store import Store
from tests.helpers import everybody, grid_graph, make_model, save_face, unit

CHILD_SECONDS = 60  # after which a child is killed
NOT_A_DATABASE = b"no database " * 1000
PROBES = unit(2, seed=77)


# Each command gets the folder that it works in and `acknowledge`, which it calls when a user would see a result.

Acknowledge = Callable[[str], None]
Command = Callable[[Path, Acknowledge], None]


def enroll(work: Path, acknowledge: Acknowledge, photos: str = "new", update: bool = False) -> None:
    with (
        named_photos([work / photos]) as (found, _),
        Gallery(work / "g", work / "a.safetensors", create=True) as gallery,
    ):
        for result in gallery.iter_enroll(found, update=update):
            acknowledge(f"{result.status} {result.name}")
        if update:
            gallery.remove_photos(gallery.vanished([work / photos]))


def update(work: Path, acknowledge: Acknowledge) -> None:
    """Enroll the first folder again, after `rearrange` changed it."""
    enroll(work, acknowledge, "old", update=True)


def rearrange(folder: Path) -> None:
    """Delete, move, rename and add photos, as a user would between two runs."""
    (folder / "p0.png").unlink()
    (folder / "p1.png").rename(folder / "q1.png")
    (folder / "two").mkdir()
    (folder / "p2.png").rename(folder / "two" / "p2.png")
    shutil.copy(folder.parent / "new" / "n0.png", folder / "n0.png")


def on_gallery(change: Callable[[Gallery, Path], object]) -> Command:
    """Make a command of a change to the opened gallery."""

    def run(work: Path, acknowledge: Acknowledge) -> None:
        with Gallery(work / "g") as gallery:
            change(gallery, work)
        acknowledge("done")

    return run


def on_file(change: Callable[[Path], object]) -> Command:
    """Make a command of a change that opens the gallery itself."""

    def run(work: Path, acknowledge: Acknowledge) -> None:
        change(work)
        acknowledge("done")

    return run


SAVED = "saved.backup"  # a backup of another gallery with another model
RESTORE = on_file(lambda work: restore(work / SAVED, work / "g", force=True))
COMMANDS: dict[str, Command] = {
    "create": enroll,
    "enroll": enroll,
    "update": update,
    "remove": on_gallery(lambda gallery, work: gallery.remove("p1", "p3")),
    "rename": on_gallery(lambda gallery, work: gallery.rename("p1", "renamed")),
    "merge": on_gallery(lambda gallery, work: gallery.merge("p1", "p3")),
    "purge": on_gallery(lambda gallery, work: gallery.purge()),
    "undo": on_gallery(lambda gallery, work: gallery.undo()),
    "reindex": on_gallery(lambda gallery, work: gallery.reindex()),
    "reindex, another head": on_gallery(lambda gallery, work: gallery.reindex(work / "b.safetensors")),
    "reindex, another encoder": on_gallery(lambda gallery, work: gallery.reindex(work / "c.safetensors")),
    "backup": on_file(lambda work: backup(work / "g", work / SAVED, force=True)),
    "restore": RESTORE,
    "restore, nothing there": RESTORE,
    "restore, over a ruin": RESTORE,
}
WITHOUT_GALLERY = ("create", "restore, nothing there", "restore, over a ruin")
DELETED_PEOPLE = {  # whose vectors must be in no file in the end
    "remove": ("p1", "p3"),
    "update": ("p0",),
    "purge": ("p5",),
    "restore": tuple(f"p{i}" for i in range(6)),
}


def tiny_model(path: Path, beta: float = 12.0, encoder: float = 0.0) -> None:
    """Write a model that loads in a moment. Its encoder averages over an 8 x 8 grid and multiplies by a matrix."""
    base = read_model(make_model(path, beta=beta))
    tensors = {name: tensor for name, tensor in base.tensors.items() if name.startswith("head.")}
    tensors["encoder.weight"] = np.full(4, encoder, np.float32)
    graph = grid_graph(weight=unit(128, 192, seed=5))
    with_graphs(ModelFile(tensors, {**base.meta, "arch": "compact"}), [(Branch("own", 128), graph)]).save(path)


def prepare(work: Path) -> None:
    """Make the photos, three models, a backup and the gallery from which each run starts."""
    for i in range(6):
        save_face(work / "old" / f"p{i}.png", i, side=120)
        save_face(work / "new" / f"n{i}.png", 100 + i, side=120)
    tiny_model(work / "a.safetensors")
    tiny_model(work / "b.safetensors", beta=10.0)
    tiny_model(work / "c.safetensors", encoder=1.0)  # another fingerprint, but the same graph and so the same vectors
    with (
        named_photos([work / "new"]) as (found, _),
        Gallery(work / "h", work / "b.safetensors", create=True) as gallery,
    ):
        gallery.enroll_all(found)
    backup(work / "h", work / SAVED)
    (work / "saved.json").write_text(json.dumps(read_state(work / "h")))
    shutil.rmtree(work / "h")
    enroll(work, lambda text: None, "old")
    with Gallery(work / "g") as gallery:
        with gallery.changing_library() as store:
            store.set_consent(store.photos_of("p5")[0].ids.tolist(), None, "2001-01-01")
        gallery.reindex()


def read_state(folder: Path) -> list[Any]:
    """Return the gallery's people, model, model file and log, or [] while there is no gallery.

    Lines that say that a backup was restored are left out, because a backup is compared with its gallery.
    """
    database = folder / "gallery.db"
    if not database.exists():
        return []
    try:
        with Store(folder) as store:
            people = [[person.name, person.photos, person.expires] for person in store.people()]
            changes = [[change.kind, change.name] for change, _ in store.changes.lines() if change.kind != "restored"]
            return [people, store.state.model, store.state.model_file, changes]
    except Exception:
        if database.stat().st_size <= 4096 or database.read_bytes() == NOT_A_DATABASE:
            return []  # the process was killed while it created the database
        raise


Tell = Callable[[str, Any], None]


class Steps:
    """Counts the steps that write. It records each one, or kills the process at the step named `last`."""

    def __init__(self, folder: Path, last: str | None, tell: Tell | None) -> None:
        self.folder, self.last, self.tell = str(folder), last, tell
        self.counts: Counter[str] = Counter()
        self._telling = False

    def step(self, name: str) -> None:
        if self._telling:  # reading the state takes steps of its own
            return
        self.counts[name] += 1
        key = f"{name} #{self.counts[name]}"
        if key == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.tell is not None:
            self._telling = True
            self.tell("step", key)
            if name in ("after COMMIT", "after copying", "after replace db"):
                self.tell("state", read_state(Path(self.folder)))
            self._telling = False

    def around(self, name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function between two steps."""
        self.step(f"before {name}")
        result = call(*arguments, **options)
        self.step(f"after {name}")
        return result

    def install(self) -> None:
        """Replace the functions that write by ones that count steps."""
        for name in ("replace", "rename", "fsync", "unlink", "ftruncate", "link"):
            setattr(os, name, self._counted(getattr(os, name), name))
        connect, opened = sqlite3.connect, builtins.open
        connection = counted_connection(self)
        sqlite3.connect = lambda *a, **k: connect(*a, **{"factory": connection, **k})

        def open_halved(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            found = opened(file, mode, *arguments, **options)
            if "w" in mode and isinstance(file, (str, Path)) and str(file).startswith(self.folder):
                return HalvedFile(found, ".".join(str(file).split(".")[-3:-2]) or "file", self)
            return found

        builtins.open = open_halved

    def _counted(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            paths = [Path(a) for a in arguments[-1:] if isinstance(a, (str, Path))]
            ending = paths[0].name.split(".")[-1] if paths else ""
            return self.around(f"{name} {ending}".rstrip(), call, *arguments, **options)

        return run


def counted_connection(steps: Steps) -> type[sqlite3.Connection]:
    """Return a connection class whose statements that write, and copied pages, are steps."""

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            words = sql.split()
            if words[0] == "SELECT":
                return super().execute(sql, *values)
            name = words[0] if words[0] in ("COMMIT", "ROLLBACK", "VACUUM") else " ".join(words[:3])
            return steps.around(name, super().execute, sql, *values)

        def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:
            return steps.around(" ".join(sql.split()[:3]), super().executemany, sql, *values)

        def backup(self, target: sqlite3.Connection, **options: Any) -> None:
            def progress(*left: int) -> None:
                steps.step("while copying")

            steps.around("copying", super().backup, target, pages=2, progress=progress)

    return Connection


class HalvedFile:
    """A file that is written in two halves, with a step between them."""

    def __init__(self, file: Any, name: str, steps: Steps) -> None:
        self._file, self._name, self._steps = file, name, steps

    def write(self, data: Any) -> int:
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        self._steps.step(f"half write {self._name}")
        return half + int(self._file.write(data[half:]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> HalvedFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


# Children are forked from this process, so that none pays for the imports. It never uses FAISS itself.


@dataclass(frozen=True)
class Ended:
    """How a child ended: its wait status, the lines it printed, and its seconds."""

    status: int
    lines: list[str]
    seconds: float

    @property
    def killed(self) -> bool:
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL


def fork(work: Callable[[Callable[[str], None]], None], kill_after: float | None = None) -> Ended:
    """Call `work` in a child with a function that prints a line. Kill it after `kill_after` seconds, if given."""
    reading, writing = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)

            def print_line(text: str) -> None:
                os.write(writing, text.encode() + b"\n")

            work(print_line)
            code = 0
        except BaseException as error:
            os.write(writing, f"! {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    os.close(writing)
    data = b""
    deadline = began + (CHILD_SECONDS if kill_after is None else kill_after)
    while True:
        left = deadline - time.perf_counter()
        if left <= 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            left = CHILD_SECONDS
        if select.select([reading], [], [], left)[0]:
            part = os.read(reading, 65536)
            if not part:
                break
            data += part
    os.close(reading)
    _, status = os.waitpid(child, 0)
    return Ended(status, data.decode().splitlines(), time.perf_counter() - began)


def copy_folder(source: Path, target: Path) -> Path:
    """Copy a folder. Models are linked, because nothing changes them in place."""

    def copy(old: str, new: str) -> None:
        (os.link if old.endswith((".safetensors", ".onnx")) else shutil.copy2)(old, new)

    return Path(shutil.copytree(source, target, copy_function=copy))


def set_up(command: str, template: Path, work: Path) -> None:
    """Make the folder with which a command starts."""
    copy_folder(template, work)
    if command in WITHOUT_GALLERY:
        shutil.rmtree(work / "g")
    if command == "update":
        rearrange(work / "old")
    if command == "restore, over a ruin":
        (work / "g").mkdir()
        (work / "g" / "gallery.db").write_bytes(NOT_A_DATABASE)


def run_command(command: str, work: Path, last: str | None, print_line: Callable[[str], None], record: bool) -> None:
    """Run a command in this process, which is killed at the step `last`. Print its acknowledgements as JSON lines."""

    def tell(kind: str, what: Any) -> None:
        print_line(json.dumps([kind, what]))

    Steps(work / "g", last, tell if record else None).install()
    COMMANDS[command](work, lambda text: tell("ack", text))


@dataclass(frozen=True)
class Trace:
    """What an undisturbed run of a command recorded."""

    steps: list[str]
    states: list[Any]  # before the command, then after each commit
    acknowledged: dict[str, int]  # the position in `states` of the state at each acknowledgement
    seconds: float  # of a run that records nothing


def trace(command: str, template: Path, work: Path) -> Trace:
    """Run a command twice undisturbed: once to record its steps, once to time it."""
    steps: list[str] = []
    states = [[] if command in WITHOUT_GALLERY else read_state(template / "g")]
    acknowledged: dict[str, int] = {}
    set_up(command, template, work)
    recorded = fork(lambda print_line: run_command(command, work, None, print_line, True))
    assert recorded.status == 0, (command, recorded.lines)
    for kind, what in map(json.loads, recorded.lines):
        if kind == "step":
            steps.append(what)
        elif kind == "ack":
            acknowledged[what] = len(states) - 1
        elif what != states[-1]:
            states.append(what)
    shutil.rmtree(work)
    set_up(command, template, work)
    timed = fork(lambda print_line: run_command(command, work, None, print_line, False))
    shutil.rmtree(work)
    return Trace(steps, states, acknowledged, timed.seconds)


def answers(gallery: Gallery) -> list[Any]:
    """Return the candidates of a few probes, which must be the same through the index and exhaustively."""
    found = [gallery.match(probe, top=99) for probe in PROBES]
    assert found == [gallery.match(probe, top=99, exhaustive=True) for probe in PROBES], "index and truth differ"
    assert all(len(candidates) == len(gallery) for candidates in found), "people are missing in the answers"
    return found


def check(
    command: str, work: Path, legal: list[Any], acknowledged: list[str], vectors: dict[str, np.ndarray[Any, Any]]
) -> None:
    """Check a gallery after a kill. `legal` are the states that it may have.

    Raises AssertionError where something is lost, invented or left over.
    """
    folder = work / "g"
    now = read_state(folder)
    assert now in legal, f"a state that never was committed, or from before an acknowledgement: {now}"
    check_acknowledged(now, legal[-1], acknowledged)
    if now:
        check_rebuilt(folder, work / "anew")
    if command == "backup":
        check_backup(work, now, bool(acknowledged))
    with contextlib.suppress(PersonNotFound):  # the killed run may already have removed or renamed the person
        COMMANDS[command](work, lambda text: None)
    assert read_state(folder) == legal[-1], "the command, run again, does not end in the same state"
    leftovers = [path.name for path in (*folder.iterdir(), *work.iterdir()) if path.name.startswith(".")]
    assert not leftovers, f"left over: {leftovers}"
    check_deleted(folder, {name: vectors[name] for name in DELETED_PEOPLE.get(command, ())})
    with Gallery(folder) as gallery:
        answers(gallery)
        gallery.reindex()
    assert len(list(folder.glob("model-*"))) == 1, "models left over"


def check_acknowledged(now: list[Any], final: list[Any], acknowledged: list[str]) -> None:
    """Check that every acknowledged change is there."""
    for status, _, name in (text.partition(" ") for text in acknowledged):
        if status == "done":
            assert now == final, "the command was acknowledged and is not done"
        elif status != "skipped":
            assert now, f"{name} was acknowledged and is lost"
            assert name in [person for person, *_ in now[0]], f"{name} was acknowledged and is lost"


def check_rebuilt(folder: Path, copy: Path) -> None:
    """Check that a rebuilt index gives the same answers."""
    copy_folder(folder, copy)
    with Gallery(folder) as gallery:
        before = answers(gallery)
    with Gallery(copy) as gallery:
        gallery.reindex()
        rebuilt = [gallery.match(probe, top=99) for probe in PROBES]
    assert rebuilt == before, "the rebuilt index gives other answers"


def check_backup(work: Path, now: list[Any], acknowledged: bool) -> None:
    """Check that the backup's file is wholly the old or the new one, and the new one once acknowledged."""
    restore(work / SAVED, work / "back")
    restored = read_state(work / "back")
    old = json.loads((work / "saved.json").read_text())
    assert restored in (now, old), "the backup is neither the old one nor the new one"
    assert restored == now or not acknowledged, "the backup was acknowledged and is the old one"


def check_deleted(folder: Path, deleted: dict[str, np.ndarray[Any, Any]]) -> None:
    """Check that no file holds 16 bytes in a row of a deleted vector."""
    for path in folder.iterdir():
        if path.name.startswith("model-"):
            continue
        data = path.read_bytes()
        for name, vector in deleted.items():
            blob = vector.tobytes()
            assert not any(blob[at : at + 16] in data for at in range(0, len(blob), 16)), f"{name} is in {path.name}"


class Harness:
    """The template of the gallery, the undisturbed traces, and the counts of the runs."""

    def __init__(self, top: Path, commands: list[str]) -> None:
        # Every run uses the same path, because a gallery stores where its photos were.
        self.template, self.work, self.commands = top / "template", top / "run", commands
        prepared = fork(lambda print_line: prepare(self.work))
        assert prepared.status == 0, prepared.lines
        self.work.rename(self.template)
        with Store(self.template / "g") as store:
            self.vectors = {f"p{i}": vector for i, vector in enumerate(everybody(store)[1])}
        self.traces = {command: trace(command, self.template, self.work) for command in commands}
        self.counts: dict[str, Counter[str]] = {command: Counter() for command in commands}

    @property
    def failed(self) -> int:
        return sum(count["FAILED"] for count in self.counts.values())

    def plan(self, runs: int, rng: random.Random) -> list[tuple[str, str | None]]:
        """Return a command and its last step for each run; None is a random moment (a quarter of the runs)."""
        every = [(command, step) for command in self.commands for step in self.traces[command].steps]
        rng.shuffle(every)
        planned: list[tuple[str, str | None]] = list(every[: runs * 3 // 4])
        return planned + [(rng.choice(self.commands), None) for _ in range(runs - len(planned))]

    def run(self, number: int, command: str, last: str | None, rng: random.Random) -> None:
        """Kill a command once, check the gallery, count and print what was found."""
        undisturbed = self.traces[command]
        set_up(command, self.template, self.work)
        moment = None if last else rng.uniform(0, 0.8 * undisturbed.seconds)
        ended = fork(lambda print_line: run_command(command, self.work, last, print_line, False), moment)
        acknowledged = [json.loads(line)[1] for line in ended.lines if not line.startswith("!")]
        if not ended.killed and ended.status != 0:
            faults = [f"the command itself failed: {ended.lines[-1:]}"]
        else:
            earliest = max((undisturbed.acknowledged[text] for text in acknowledged), default=0)
            legal = undisturbed.states[earliest:]
            checked = fork(lambda print_line: check(command, self.work, legal, acknowledged, self.vectors))
            faults = checked.lines if checked.status else []
        count = self.counts[command]
        count[("at a step" if last else "at random") if ended.killed else "finished before"] += 1
        if faults:
            count["FAILED"] += 1
            print(f"run {number}, {command}, {last or f'after {moment:.4f} s'}: {faults}", flush=True)
        shutil.rmtree(self.work)

    def print_summary(self) -> None:
        columns = ("at a step", "at random", "finished before", "FAILED")
        print(f"{'killed':26}" + "".join(f"{name:>17}" for name in columns) + f"{'steps':>8}")
        for command, count in self.counts.items():
            cells = "".join(f"{count[name]:17}" for name in columns)
            print(f"{command:26}{cells}{len(self.traces[command].steps):8}")


def main() -> None:
    """Run and print the summary. The exit code is 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(COMMANDS), help="commands, separated by commas")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    # Two photos a batch make more commits in less time. The log's order depends on it, so every child uses it.
    gallery_module._BATCH = 2
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as top:
        harness = Harness(Path(top), [name for name in COMMANDS if name.split(",")[0] in options.only.split(",")])
        plan = harness.plan(options.runs, rng)
        began = time.perf_counter()
        for number, (command, last) in enumerate(plan):
            harness.run(number, command, last, rng)
            if (number + 1) % 50 == 0:
                print(f"{number + 1} of {len(plan)} runs, {harness.failed} failed", file=sys.stderr, flush=True)
        harness.print_summary()
        steps = sum(len(trace.steps) for trace in harness.traces.values())
        seconds = time.perf_counter() - began
        print(
            f"{len(plan)} runs of {steps} steps and random moments in {seconds:.0f} s, seed {options.seed}: "
            f"{harness.failed} with something lost, unreadable or left over"
        )
    sys.exit(1 if harness.failed else 0)


if __name__ == "__main__":
    main()
