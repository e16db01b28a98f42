"""Runs the server: its sockets, its connections, and how it stops."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from facedex.errors import DataError
from facedex.server.application import make_application
from facedex.server.guard import Guard
from facedex.server.settings import LOOPBACK, ServerSettings

HEADER_SECONDS = 10.0  # in which the head of a request must arrive
_CONNECTIONS = 200  # open at once; more are refused with 503
_STOP_SECONDS = 30  # for running requests, after which they are cancelled


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request does not begin in time, so that slow clients hold nothing."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """A server that ends its event streams first, because these would never end by themselves."""

    def __init__(self, config: uvicorn.Config, guard: Guard, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._guard, self._ready = guard, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal, and at once at the second. uvicorn would also end the process by the signal."""
        self.force_exit, self.should_exit = self.should_exit, True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._guard.service.events.close()
        await super().shutdown(sockets)


def listen(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """A socket for each address, all on one port (0: a free one). An address that this machine lacks is left out.

    Raises DataError where none is left, or the port is taken.
    """
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            try:
                sockets.append(_socket(address, sockets[0].getsockname()[1] if sockets else port))
            except OSError as error:
                lacking = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                if not (lacking and set(addresses) == set(LOOPBACK)):
                    raise DataError(
                        f"{address} port {port} cannot be listened to ({error.strerror}); choose another --port"
                    ) from None
        if not sockets:
            raise DataError(f"No address of {', '.join(addresses)} is this machine's; choose another --address")
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def _socket(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        if os.name == "posix":  # elsewhere two servers could then share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
    except BaseException:
        made.close()
        raise
    return made


def serve(settings: ServerSettings, ready: Callable[[list[str]], None]) -> None:
    """Serve until a signal stops it. `ready` is called with the URLs once they answer.

    Requests that run are finished first, and changes are whole. Raises DataError for an address or port that cannot be
    used, GalleryError, ModelError.
    """
    sockets = listen(settings.addresses, settings.port)
    try:
        guard = make_application(settings)
        config = uvicorn.Config(
            guard,
            http=PatientProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,  # the guard logs without names
            server_header=False,
            proxy_headers=False,  # nobody may say on whose behalf a request comes
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        Server(config, guard, lambda: ready([url(one) for one in sockets])).run(sockets)
    finally:
        for one in sockets:
            one.close()


def url(listening: socket.socket) -> str:
    """The URL of a socket."""
    address, port = listening.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def log_requests(quiet: bool) -> None:
    """Print a line for each request on stderr, and what went wrong in the server; with `quiet` only the latter."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("facedex.server")
    log.addHandler(handler)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
