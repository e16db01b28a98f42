"""Who may ask what: tokens in a header or a cookie, and what each route demands."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeVar

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from facedex.errors import TokenMissing
from facedex.server.settings import ServerSettings

COOKIE = "facedex_token"
OPEN, READ, FULL = 0, 1, 2  # what a route demands, and what a token allows

_ATTRIBUTE = "facedex_access"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def open_to_all(endpoint: Endpoint) -> Endpoint:
    """Marks a route that needs no token, because it tells nothing of the gallery."""
    setattr(endpoint, _ATTRIBUTE, OPEN)
    return endpoint


def reads(endpoint: Endpoint) -> Endpoint:
    """Marks a route that changes nothing, and so is open to read tokens. Every other route demands a full token."""
    setattr(endpoint, _ATTRIBUTE, READ)
    return endpoint


class Access:
    """Decides whether a request may have its answer."""

    def __init__(self, settings: ServerSettings) -> None:
        self._tokens = [(token, FULL) for token in [settings.token] if token]
        self._tokens += [(token, READ) for token in [settings.read_token] if token]
        self._for_cookies = {token: _for_cookie(token) for token, _ in self._tokens}

    def allowed(self, scope: Scope) -> int:
        """What the tokens of a request allow. All is allowed where the server has no token."""
        if not self._tokens:
            return FULL
        given = _bearer(scope)
        cookie = _cookie(scope)
        best = OPEN
        for token, level in self._tokens:  # every token is compared, so that the time tells nothing
            if _same(given, token) | _same(cookie, self._for_cookies[token]):
                best = max(best, level)
        return best

    def check(self, scope: Scope, routes: Sequence[BaseRoute]) -> None:
        """Raise TokenMissing unless the request may reach the route that will answer it.

        Routing itself finds the route, so that no spelling of a path is read in two ways.
        """
        route = next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)
        needed = getattr(getattr(route, "endpoint", None), _ATTRIBUTE, FULL)
        allowed = self.allowed(scope)
        if allowed >= needed:
            return
        if allowed == READ:
            raise TokenMissing("This token may only read; give the full token")
        raise TokenMissing("This needs a token; send it as `Authorization: Bearer TOKEN`, or open / and enter it there")

    def level_of_cookie(self, value: str) -> int:
        """What a cookie allows."""
        return max((level for token, level in self._tokens if _same(value, self._for_cookies[token])), default=OPEN)

    def cookie_for(self, token: str) -> str | None:
        """The value of the cookie that stands for a token; None for a token that is none."""
        found = None
        for known, value in self._for_cookies.items():
            if _same(token, known):
                found = value
        return found


def _for_cookie(token: str) -> str:
    """What a cookie holds in place of the token, so that a stolen cookie file does not tell the token."""
    return hmac.new(token.encode(), b"facedex cookie", hashlib.sha256).hexdigest()


def _same(given: str | None, token: str) -> bool:
    """Whether two texts are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest((given or "").encode("utf-8", "replace"), token.encode())


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _bearer(scope: Scope) -> str | None:
    values = _headers(scope, b"authorization")
    kind, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip() if kind.lower() == "bearer" else None


def _cookie(scope: Scope) -> str | None:
    for value in _headers(scope, b"cookie"):
        try:
            cookies = SimpleCookie(value)
        except CookieError:
            continue
        if COOKIE in cookies:
            return cookies[COOKIE].value
    return None
