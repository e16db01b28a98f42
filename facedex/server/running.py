"""Runs the server: its sockets, its connections, and how it stops."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from facedex.errors import DataError, RequestError
from facedex.server.application import make_application
from facedex.server.guard import Guard, outer_answer
from facedex.server.settings import LOOPBACK, ServerSettings

HEADER_SECONDS = 10.0  # in which the head of a request must arrive
STALLED_SECONDS = 30.0  # that an answer waits for its client, for each LEAST_READ of it
LEAST_READ = 512 * 1024  # bytes
CONNECTIONS = 200  # open at once. Where there are more, the one that has waited longest for its client is closed
STOP_SECONDS = 30  # for running requests, after which they are cancelled
_SEND_BUFFER = 256 * 1024  # bytes that the system holds for each client; by itself it would hold megabytes


class PatientProtocol(H11Protocol):
    """HTTP/1.1 in which slow clients hold nothing.

    A connection is closed whose request does not begin in time, or whose client hardly reads its answer: of every 30
    seconds that the server waits for it, it must read 512 KiB, or the rest. New connections push out those that wait
    for their clients.
    """

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _begun = 0.0
    _sent = 0  # bytes of all answers of this connection
    _marked = 0  # of them, those that the client had read when its present 30 seconds began
    _waited = 0.0  # seconds of the present 30, without those since `_paused`
    _paused = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app = partial(self._counted, self.app)
        transport.set_write_buffer_limits(0)  # else a short answer that nobody reads would not be noticed
        self._begun = self.loop.time()
        self._wait_for_head()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        self.app_state = {**self.app_state, "crowded": len(self.connections) > CONNECTIONS}
        super().data_received(data)
        if self._is_idle():
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._read_on()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused = self.loop.time()
        self._stalled = self.loop.call_later(STALLED_SECONDS - self._waited, self._check_reading)

    def resume_writing(self) -> None:
        self._waited += self.loop.time() - self._paused
        self._read_on()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the one form of errors, unless an answer is under way already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = outer_answer(RequestError("The request is no HTTP/1.1; send one that is"))
            headers = [*answer.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=answer.status_code, headers=headers),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def _counted(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and count what it sends. Where it is cancelled, close the connection."""
        if self._stalled is None:  # else the client has not read the answer before
            self._mark_reading()

        async def counting(message: Message) -> None:
            await send(message)
            self._sent += len(message.get("body", b""))

        try:
            await app(scope, receive, counting)
        except asyncio.CancelledError:  # the grace time is over, and uvicorn would log a trace
            self.cycle.disconnected = True
            self.transport.abort()

    def _check_reading(self) -> None:
        """Close the connection of a client that read too little while it was waited for."""
        if self._read() - self._marked < LEAST_READ:
            self.transport.abort()
            return
        self._mark_reading()
        self._paused = self.loop.time()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self._check_reading)

    def _mark_reading(self) -> None:
        self._marked, self._waited = self._read(), 0.0

    def _read(self) -> int:
        """How many bytes the system has taken for the client: it read them, but for a few buffers."""
        return self._sent - self.transport.get_write_buffer_size()

    def _read_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _make_room(self) -> None:
        """Close an idle connection where there are too many, or else one that waits for its client."""
        if len(self.connections) <= CONNECTIONS:
            return
        others = [one for one in self.connections if isinstance(one, PatientProtocol) and one is not self]
        idle = [one for one in others if one._is_idle()]
        slow = idle or [one for one in others if one.cycle.more_body or one._stalled is not None]
        if slow:
            longest = min(slow, key=lambda one: one._begun)
            self.connections.discard(longest)  # now, because the loop closes it later
            longest.transport.abort()


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
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # its connections inherit it
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
            timeout_graceful_shutdown=STOP_SECONDS,
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
