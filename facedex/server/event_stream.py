"""Events for pages that are open: what changed, and how far a scan is (server-sent events)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from facedex.errors import ServerBusy

_HELD = 100  # events that wait for a slow reader. It is sent `reset` when there are more, and reads everything anew
_QUIET = 15.0  # seconds after which a comment tells both sides that the connection lives


class EventStream:
    """Sends each event to everybody who listens. Threads may publish."""

    def __init__(self, listeners: int) -> None:
        self._most = listeners
        self._queues: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many listen."""
        return len(self._queues)

    def publish(self, kind: str, value: Mapping[str, object]) -> None:
        """Send an event to everybody who listens now."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._send, f"event: {kind}\ndata: {json.dumps(value)}\n\n")

    def _send(self, text: str) -> None:
        for queue in self._queues:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait("event: reset\ndata: {}\n\n")
            queue.put_nowait(text)

    def join(self) -> asyncio.Queue[str | None]:
        """A place among those who listen, with the events from now on. Raises ServerBusy when too many listen."""
        if self._closed or len(self._queues) >= self._most:
            raise ServerBusy(f"{len(self._queues)} pages listen already; close one, or try again later", 30)
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str | None] = asyncio.Queue(_HELD + 1)
        self._queues.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[str | None]) -> None:
        """Give a place back."""
        self._queues.discard(queue)

    async def events(self, queue: asyncio.Queue[str | None]) -> AsyncIterator[str]:
        """The events of one place, as text of an event stream."""
        yield "retry: 2000\n\n"
        while not self._closed:
            try:
                text = await asyncio.wait_for(queue.get(), _QUIET)
            except asyncio.TimeoutError:
                text = ": quiet\n\n"
            if text is None:
                return
            yield text

    def close(self) -> None:
        """End all streams, so that the server can stop. Called on the event loop's thread."""
        self._closed = True
        for queue in self._queues:
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)


class EventAnswer(StreamingResponse):
    """The answer to one who listens. Raises ServerBusy when too many listen."""

    def __init__(self, stream: EventStream) -> None:
        self._stream, self._place = stream, stream.join()
        super().__init__(
            stream.events(self._place),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # a proxy would hold events back
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events. The place is given back here, because a client may go before the first event is made."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.leave(self._place)
