"""The servers that `server_load` measures: `facedex serve`, and two that other packages make.

Each is started with the people of a folder of photos PERSON.jpg, and asked for the names of the faces in a photo.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from facedex.errors import DataError

Ask = Callable[[bytes], list[Any]]  # the names in a photo: a text or None for each face. A number is a failure's status

_BOUNDARY = "----a-photo-and-some-fields"
_SFACE = {"model_name": "SFace", "detector_backend": "yunet"}  # the parts of deepface whose weights are ONNX files


class Server(NamedTuple):
    """A running server, and how a client connects to it."""

    process: int
    connect: Callable[[], Ask]


@contextmanager
def running(
    command: list[str], variables: dict[str, str] | None = None, ready: str = "", times: int = 1
) -> Iterator[tuple[int, int]]:
    """Start a server that writes its address to stderr, and stop it afterwards. Gives its process and its port.

    `variables` are added to its environment. It is awaited until so many lines with `ready` are written. Raises
    DataError where the command ends before.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **(variables or {})},
    )
    assert process.stderr is not None
    try:
        port, line = 0, "no word"
        for line in process.stderr:
            if address := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                port = int(address[1])
            times -= ready in line
            if port and times <= 0:
                break
        else:
            raise DataError(f"{' '.join(command[:3])} did not start ({line.strip()}); run it by hand")
        threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(60)


def connected(port: int, path: str, names: Callable[[int, Any], list[Any]]) -> Callable[[bytes, str], list[Any]]:
    """Return a function that sends a body of a type. `names` reads the status and the JSON of each answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def send(body: bytes, kind: str) -> list[Any]:
        connection.request("POST", path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        return names(answer.status, json.loads(answer.read()))

    return send


def form(field: str, photo: bytes, **fields: str) -> tuple[bytes, str]:
    """A form with texts and a photo as the body of a request, and its type."""
    head = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name="
    texts = "".join(f'{head}"{name}"\r\n\r\n{text}\r\n' for name, text in fields.items())
    file = f'{head}"{field}"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    end = f"\r\n--{_BOUNDARY}--\r\n"
    return f"{texts}{file}".encode() + photo + end.encode(), f"multipart/form-data; boundary={_BOUNDARY}"


@contextmanager
def facedex_server(gallery: Path, model: str | None) -> Iterator[Server]:
    """`facedex serve` of a gallery that exists."""

    def names(status: int, answer: Any) -> list[Any]:
        return [face["name"] for face in answer["photos"][0]["faces"]] if status == 200 else [status]

    def connect() -> Ask:
        send = connected(port, "/v1/identify", names)
        return lambda photo: send(photo, "image/jpeg")

    command = [sys.executable, "-m", "facedex", "serve", "-g", str(gallery), "--port", "0"]
    with running(command + (["--model", model] if model else [])) as (process, port):
        yield Server(process, connect)


def deepface_names(status: int, answer: Any) -> list[Any]:
    """The nearest person of each face, as deepface's /search and /register answer."""
    if status == 400 and "could not be detected" in str(answer):
        return []
    if status != 200:
        return [status]
    return [found[0]["img_name"] if found else None for found in answer.get("results", [])]


@contextmanager
def deepface_server(python: str, people: Path, workers: int) -> Iterator[Server]:
    """Deepface's own REST API on gunicorn, as its Dockerfile starts it, with SFace, YuNet and a database in SQLite.

    Deepface downloads those two where the folder .deepface/weights of DEEPFACE_HOME has none. Raises DataError where
    deepface enrolls nobody.
    """

    def connect() -> Ask:
        send = connected(port, "/search", deepface_names)
        return lambda photo: send(*form("img", photo, k="1", **_SFACE))

    command = [python, "-m", "gunicorn", f"--workers={workers}", "--timeout=7200", "--bind=127.0.0.1:0"]
    variables = {
        "DEEPFACE_DATABASE_TYPE": "sqlite",
        "DEEPFACE_SQLITE_PATH": str(people.with_suffix(".sqlite")),
        "DEEPFACE_FACE_RECOGNITION_MODELS": _SFACE["model_name"],
        "DEEPFACE_FACE_DETECTION_MODELS": _SFACE["detector_backend"],
    }
    with running([*command, "deepface.api.src.app:create_app()"], variables) as (process, port):
        register = connected(port, "/register", deepface_names)
        for photo in people.iterdir():
            if failed := register(*form("img", photo.read_bytes(), img_name=photo.stem, **_SFACE)):
                raise DataError(f"deepface enrolled nobody (status {failed[0]}); start it by hand and see its log")
        yield Server(process, connect)


@contextmanager
def face_recognition_server(python: str, people: Path, workers: int) -> Iterator[Server]:
    """A plain application of FastAPI round the package face_recognition, on uvicorn."""

    def names(status: int, answer: Any) -> list[Any]:
        return answer["names"] if status == 200 else [status]

    def connect() -> Ask:
        send = connected(port, "/identify", names)
        return lambda photo: send(*form("photo", photo))

    command = [python, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "face_recognition_app:app"]
    command += ["--port", "0", "--workers", str(workers), "--no-access-log"]
    command += ["--header", "connection:close"]  # else one worker may keep all connections, and the others do nothing
    with running(command, {"PEOPLE": str(people)}, "startup complete", workers) as (process, port):
        yield Server(process, connect)


def usage(process: int) -> tuple[int, float]:
    """Memory in MiB and seconds of processor time of a process and of all that it started; 0 where nothing is told.

    Memory that several processes share is counted once (proportional set size).
    """
    folder = Path(f"/proc/{process}")
    try:
        rows = (folder / "smaps_rollup").read_text().splitlines()
        spent = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]  # in user mode and in the system
        children = (folder / "task" / str(process) / "children").read_text().split()
    except OSError:  # another system, or the process has ended
        return 0, 0.0
    size = next((int(row.split()[1]) // 1024 for row in rows if row.startswith("Pss:")), 0)
    below = [usage(int(child)) for child in children]
    own = sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")
    return size + sum(memory for memory, _ in below), own + sum(seconds for _, seconds in below)
