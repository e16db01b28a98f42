"""What every request passes before a route sees it: its host, its origin, its token; and what every answer carries."""

from __future__ import annotations

import re
import secrets
import time
from ipaddress import ip_address

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from facedex.errors import FacedexError, RequestError, RequestRefused, ServerBusy
from facedex.log import logger
from facedex.server.access import Access
from facedex.server.bodies import Body
from facedex.server.refusals import refusal
from facedex.server.service import Service

_log = logger("facedex.server.access")

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # faces and names stay in no cache
}
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")
_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """The outermost application. It refuses requests of other sites, and lets no fault of an inner part out."""

    def __init__(self, app: Starlette, service: Service) -> None:
        self._app, self.service = app, service
        self.access = Access(service.settings)
        self._names = _OWN_NAMES | {name.lower() for name in service.settings.hosts}

    @property
    def routes(self) -> list[BaseRoute]:
        """Every route of the application."""
        return self._app.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:  # a web socket
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        request_id = secrets.token_hex(8)
        body = Body(scope, receive, self.service.settings.limits, self.service.held)
        scope["state"] = {**scope.get("state", {}), "request_id": request_id, "body": body}
        begun, status = time.perf_counter(), 0
        closing = [(b"connection", b"close")] if _is_framed_twice(scope) else []

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*message.get("headers", []), *closing]
                message = {**message, "headers": _with_headers(own, request_id)}
            await send(message)

        try:
            if scope["state"].get("crowded"):
                raise ServerBusy("Too many connections are open; try again in a few seconds", 5)
            check_framing(scope)
            check_host(scope, self._names)
            check_origin(scope)
            self.access.check(scope, self.routes)
            await self._app(scope, body.receive, sending)
        except ClientDisconnect:
            status = status or 499  # nobody is there to be answered
        except Exception as error:  # whatever it is, its text and its trace stay inside
            answer = refusal(error, request_id)
            if answer.status_code >= 500 and not isinstance(error, FacedexError):
                _log.error("request %s: %s", request_id, type(error).__name__, exc_info=error)
            if not status:
                await answer(scope, receive, sending)
        finally:
            body.close()
            route = getattr(scope.get("route"), "path", "-")  # the pattern: a path or a query may hold names
            seconds = time.perf_counter() - begun
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.service.counts.count(method, route, status, seconds)
            _log.info("%s %s %s %d %.0f ms", request_id, method, route, status, 1000 * seconds)


def _with_headers(headers: list[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """An answer's headers with those that every answer carries, unless a route set them itself."""
    own = {name.lower() for name, _ in headers}
    every = {**SECURITY_HEADERS, "X-Request-Id": request_id}
    added = [(name.lower().encode(), value.encode()) for name, value in every.items()]
    return [*headers, *((name, value) for name, value in added if name not in own)]


def outer_answer(error: FacedexError) -> Response:
    """The answer to what never became a request."""
    request_id = secrets.token_hex(8)
    answer = refusal(error, request_id)
    answer.raw_headers = _with_headers(answer.raw_headers, request_id)
    return answer


def _is_framed_twice(scope: Scope) -> bool:
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}


def check_framing(scope: Scope) -> None:
    """Raise RequestError for a body whose end is told in two ways.

    A proxy in front could take the other one, and the rest of the body for another request (request smuggling).
    """
    if _is_framed_twice(scope):
        raise RequestError("The length of the body is told twice; send Content-Length or Transfer-Encoding alone")


def _header(scope: Scope, name: bytes) -> str | None:
    """A header's value, None where it is absent. Raises RequestRefused for one that is sent twice."""
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1:
        raise RequestRefused(f"The header {name.decode()} is sent twice; send it once")
    return values[0].decode("latin-1") if values else None


def check_host(scope: Scope, names: frozenset[str]) -> None:
    """Raise RequestRefused unless Host is one of these names, or the address that the connection came to.

    A page of another site could otherwise let its own name point to this machine (DNS rebinding).
    """
    found = _HOST.fullmatch(_header(scope, b"host") or "")
    if found is not None:
        name = found[1].lower()
        if name in names or _is_local_address(name, scope):
            return
    raise RequestRefused("The host of the request is not this server's; add it by --allow-host NAME")


def _is_local_address(name: str, scope: Scope) -> bool:
    """Whether a host is the very address to which the connection was made."""
    try:
        return ip_address(name.strip("[]")) == ip_address(str((scope.get("server") or ("",))[0]).split("%")[0])
    except ValueError:
        return False


def check_origin(scope: Scope) -> None:
    """Raise RequestRefused for what a page of another site sends. Programs send none of these headers."""
    site = _header(scope, b"sec-fetch-site")
    origin = _header(scope, b"origin")
    opened = scope["method"] == "GET" and _header(scope, b"sec-fetch-mode") == "navigate" and scope["path"] == "/"
    if site not in (None, "same-origin", "none") and not opened:  # a link from elsewhere may open the page itself
        raise RequestRefused("Another site may not use this server; open its own page")
    own = (_header(scope, b"host") or "").lower()
    if origin is not None and origin.lower() not in (f"http://{own}", f"https://{own}"):  # a proxy may speak https
        raise RequestRefused("The origin of the request is another site; open this server's own page")
