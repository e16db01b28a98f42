"""Servers for tests: in the process, and behind a real socket."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra web")
pytest.importorskip("uvicorn", reason="needs the extra web")
pytest.importorskip("python_multipart", reason="needs the extra web")
pytest.importorskip("httpx", reason="needs httpx, which is in the extra dev")

import httpx
import uvicorn
from starlette.testclient import TestClient

from facedex.server.application import make_application
from facedex.server.running import PatientProtocol, Server, listen, url
from facedex.server.settings import ServerSettings
from tests.helpers import drawn_face

BASE = "http://127.0.0.1:8000"
FULL, READ = "full-token-of-a-test", "read-token-of-a-test"


def jpeg(*seeds, side=240):
    """The bytes of a JPEG of drawn faces side by side."""
    import numpy as np

    file = io.BytesIO()
    Image.fromarray(np.concatenate([drawn_face(seed, side) for seed in seeds], 1)).save(file, "JPEG", quality=95)
    return file.getvalue()


def photo(*seeds, name="photo.jpg"):
    """A form's file of drawn faces."""
    return ("photo", (name, jpeg(*seeds), "image/jpeg"))


def settings(folder, **changes):
    """The settings of a server of a gallery of the quicker model that ships."""
    limits = changes.pop("limits", {})
    made = ServerSettings(folder, **{"model": "fast", "port": 0, **changes})
    return replace(made, limits=replace(made.limits, **limits))


@contextlib.contextmanager
def client(folder, headers=None, **changes):
    """A client of a server in this process; `client.guard` is its application."""
    guard = make_application(settings(folder, **changes))
    with TestClient(guard, base_url=BASE, headers=headers or {}) as opened:
        opened.guard = guard
        yield opened


@contextlib.contextmanager
def over_socket(folder, grace=10, **changes):
    """A server on a thread of this process, behind a real socket; yields a client with its URL and its Server.

    `grace`: seconds for running requests when it stops.
    """
    wanted = settings(folder, **changes)
    sockets = listen(wanted.addresses, wanted.port)
    ready = threading.Event()
    guard = make_application(wanted)
    config = uvicorn.Config(
        guard, http=PatientProtocol, ws="none", lifespan="on", log_config=None, timeout_graceful_shutdown=grace
    )
    server = Server(config, guard, ready.set)
    thread = threading.Thread(target=server.run, args=(sockets,))
    address = url(sockets[0])
    thread.start()
    try:
        assert ready.wait(20)
        with httpx.Client(base_url=address, timeout=20) as opened:
            opened.guard, opened.server, opened.thread = guard, server, thread
            yield opened
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


@contextlib.contextmanager
def served(*arguments, environment=None):
    """`facedex serve` in a process of its own; yields the process, its first line of stderr, and its URL."""
    import os

    command = [sys.executable, "-m", "facedex", "serve", "--model", "fast", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, encoding="utf-8", env={**os.environ, **(environment or {})}
    )
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if line.startswith("serving "):
                break
        else:
            pytest.fail(f"it does not serve: {''.join(lines)}")
        process.lines, process.url = lines, lines[-1].split(" at ")[1].split()[0].rstrip(";")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM if os.name == "posix" else signal.CTRL_BREAK_EVENT)
        process.communicate(timeout=30)


def raw(address, data, seconds=5.0):
    """Send bytes over a socket, and return what comes until the server closes the connection."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        found = b""
        with contextlib.suppress(TimeoutError):
            while part := connection.recv(65536):
                found += part
        return found
