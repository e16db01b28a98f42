"""The bodies of requests, capped in bytes and in time while they arrive."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope

from facedex.errors import RequestSlow, RequestTooLarge, ServerBusy
from facedex.server.settings import Limits


@dataclass
class HeldBytes:
    """How many bytes of bodies are held, of all requests together. The event loop's thread alone uses it."""

    number: int = 0


class Body:
    """The body of one request. It may be small, unless the route that reads it raises `limit` (bytes)."""

    def __init__(self, scope: Scope, receive: Receive, limits: Limits, held: HeldBytes) -> None:
        self.limit, self._limits, self._held = limits.field_bytes, limits, held
        self._receive, self._complete, self._taken = receive, False, 0
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        self._declared = int(declared) if declared.isdigit() else 0
        self._last: float | None = None

    async def receive(self) -> Message:
        """The next part, in place of ASGI's `receive`. Raises RequestTooLarge, RequestSlow, ServerBusy."""
        if self._complete:  # what follows is the end of the connection, which may take as long as it likes
            return await self._receive()
        if max(self._declared, self._taken) > self.limit:
            raise self._too_large()
        now = asyncio.get_running_loop().time()
        self._last = self._last or now + self._limits.body_seconds
        try:
            message = await asyncio.wait_for(self._receive(), min(self._limits.idle_seconds, self._last - now))
        except asyncio.TimeoutError:
            raise RequestSlow("The body does not arrive; send it faster, or in smaller requests") from None
        size = len(message.get("body", b""))
        self._taken += size
        self._held.number += size
        self._complete = not message.get("more_body", False)
        if self._taken > self.limit:
            raise self._too_large()
        if self._held.number > self._limits.all_bytes:
            raise ServerBusy("Too many photos arrive at once; try again in a few seconds", 5)
        return message

    def close(self) -> None:
        """Count the body as held no longer."""
        self._held.number -= self._taken
        self._taken = 0

    def _too_large(self) -> RequestTooLarge:
        unit, size = ("MiB", 2**20) if self.limit >= 2**20 else ("KiB", 2**10)
        return RequestTooLarge(f"The body may have {self.limit / size:.0f} {unit}; send fewer or smaller photos")
