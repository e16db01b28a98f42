"""Download one file over HTTP with `requests`, from a server that may stall, drip, break off or lie."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from facedex._version import __version__
from facedex.errors import MissingExtra

if TYPE_CHECKING:
    from requests import Response

_CHUNK_BYTES = 1 << 16
_HEADERS = {
    "User-Agent": f"facedex-fetch/{__version__} (research data; a few requests at a time)",
    "Accept": "image/*, */*;q=0.5",
    "Accept-Encoding": "identity",  # lengths and ranges then count the bytes of the file
    "Connection": "close",
}


@dataclass(frozen=True)
class Limits:
    """How long to wait and how much to request. Times are in seconds."""

    workers: int = 32
    per_host: int = 2  # requests at a time
    pause: float = 0.1  # between two requests of one of these
    connect: float = 10.0
    read: float = 20.0  # without a byte
    total: float = 120.0  # for one try at one file, however steadily it drips
    tries: int = 4
    backoff: float = 1.0  # before the second try; doubled before each further one
    longest_wait: float = 120.0  # requested by Retry-After; longer waits are left to another run
    redirects: int = 5
    host_failures: int = 8  # in a row, after which the other links of a host are not tried
    max_bytes: int = 32 * 2**20


class Failure(Exception):
    """Why a link gave no file.

    kind    "again" if it may work in a moment, "later" if it may work in another run, "dead" if it never will
    reason  a few words by which failures are counted
    detail  what is known beyond the reason
    wait    seconds the server asked to wait, or None
    """

    def __init__(
        self, kind: Literal["again", "later", "dead"], reason: str, detail: str = "", wait: float | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.kind, self.reason, self.detail, self.wait = kind, reason, detail, wait


class DiskError(Exception):
    """The disk failed, not a server. The whole run stops."""


def host_of(url: str) -> str:
    """Return the host and port of an address, "" where it has none."""
    try:
        return urllib.parse.urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def get(url: str, target: Path, limits: Limits, on_bytes: Callable[[int, int | None], None] | None = None) -> bool:
    """Try once to download a file to `target`. `on_bytes` is called with the bytes received and the total or None.

    TARGET.part keeps what an interrupted try received, TARGET.tag the validator of that file. The next try continues
    it if the server confirms by If-Range (RFC 9110, section 13.1.5) that the file is unchanged, and starts anew
    otherwise.

    Returns whether the file is certainly complete. It is False where the server announced no length, because a lost
    connection then looks like the end of the file. Raises Failure, DiskError, MissingExtra.
    """
    deadline = time.monotonic() + limits.total
    part, tag = _leftovers(target)
    received, validator = _resumable(part, tag)
    headers = {**_HEADERS, "Range": f"bytes={received}-", "If-Range": validator} if received else _HEADERS
    with _response(url, headers, limits, deadline) as response:
        if response.status_code == 416:
            forget(target)
            raise Failure("again", "cut off", "the server no longer has the missing part")
        if response.status_code not in (200, 206):
            raise _refusal(response)
        if response.status_code == 206 and not _continues(response, received):
            forget(target)
            raise Failure("again", "cut off", "the server sent another part than requested")
        certain = response.raw.length_remaining is not None or response.raw.chunked
        _save_body(response, target, received if response.status_code == 206 else 0, limits, deadline, on_bytes)
    try:
        os.replace(part, target)
        tag.unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(f"{target} cannot be written ({error.strerror}); free some space") from None
    return certain


@contextmanager
def _response(url: str, headers: dict[str, str], limits: Limits, deadline: float) -> Iterator[Response]:
    """Open the response to a request and its redirects. Errors of the network inside the block become a Failure.

    The deadline is checked between chunks of the body, so a server can overrun it with headers alone. The `read`
    time-out then limits each wait, and http.client limits headers to about a hundred lines.
    """
    try:
        import requests
        import urllib3
    except ImportError:
        raise MissingExtra("Fetching data", "fetch") from None

    try:
        with requests.Session() as session:
            session.max_redirects = limits.redirects
            session.hooks["response"].append(_close_redirect)
            timeout = min(limits.connect, limits.total), min(limits.read, limits.total)
            with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
                yield response
    except requests.TooManyRedirects as error:
        visited = [] if error.response is None else [past.url for past in error.response.history]
        reason = "redirect loop" if len(set(visited)) < len(visited) else "too many redirects"
        raise Failure("dead", reason, url) from None
    except requests.exceptions.InvalidHeader as error:
        raise Failure("dead", "bad answer", str(error)) from None
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
        raise _network_failure(error, deadline) from None


def _close_redirect(response: Response, **_: object) -> None:
    """Drop a redirect's body, which may be endless, and its connection, which the server may already have closed."""
    if response.is_redirect:
        response.raw.close()


def _save_body(
    response: Response,
    target: Path,
    offset: int,
    limits: Limits,
    deadline: float,
    on_bytes: Callable[[int, int | None], None] | None,
) -> None:
    """Write the body of a response to TARGET.part, from the byte `offset` on."""
    part, tag = _leftovers(target)
    length = response.raw.length_remaining
    total = None if length is None else offset + length
    if total is not None and total > limits.max_bytes:
        raise Failure("dead", "too large", f"{total} bytes")
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    received = offset
    try:
        # A weak validator (W/"...") does not promise the same bytes, so that it cannot be used with ranges.
        tag.write_text("" if validator.startswith("W/") else validator, "utf-8")
        file = open(part, "ab" if offset else "wb")  # noqa: SIM115 (errors below are the server's, not the disk's)
    except OSError as error:
        raise DiskError(f"{part} cannot be written ({error.strerror}); free some space") from None
    with file:
        # read1 returns as soon as any bytes arrive; iter_content would wait for a whole chunk past the deadline.
        while chunk := response.raw.read1(_CHUNK_BYTES):
            received += len(chunk)
            if received > limits.max_bytes:
                file.close()
                forget(target)
                raise Failure("dead", "too large", f"more than {limits.max_bytes} bytes")
            try:
                file.write(chunk)
            except OSError as error:
                raise DiskError(f"{part} cannot be written ({error.strerror}); free some space") from None
            if on_bytes:
                on_bytes(received, total)
            if time.monotonic() >= deadline and received != total:
                raise Failure("later", "too slow", f"{received} bytes in {limits.total:g} s")
    if total is not None and received < total:
        raise Failure("again", "cut off", f"{received} of {total} bytes")


def _leftovers(target: Path) -> tuple[Path, Path]:
    """Return the paths of an interrupted try's bytes and of the validator that belongs to them."""
    return target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.tag")


def _resumable(part: Path, tag: Path) -> tuple[int, str]:
    """Return how many bytes an interrupted try left and their validator, (0, "") where they cannot be continued."""
    try:
        validator = tag.read_text("utf-8")
        return (part.stat().st_size, validator) if validator else (0, "")
    except (OSError, UnicodeDecodeError):
        return 0, ""


def forget(target: Path) -> None:
    """Delete what an interrupted try at `target` left."""
    for path in _leftovers(target):
        path.unlink(missing_ok=True)


def _continues(response: Response, received: int) -> bool:
    """Tell whether a partial response starts at the byte that was requested."""
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    return unit.lower() == "bytes" and received > 0 and span.split("-")[0] == str(received)


def _refusal(response: Response) -> Failure:
    status = response.status_code
    if status < 500 and status not in (408, 425, 429):
        return Failure("dead", f"HTTP {status}", response.reason)
    return Failure("again", f"HTTP {status}", response.reason, _retry_after(response.headers.get("Retry-After")))


def _retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date. A malformed one counts as none."""
    from urllib3 import Retry
    from urllib3.exceptions import InvalidHeader

    try:
        return Retry().parse_retry_after(text) if text else None
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _network_failure(error: Exception, deadline: float) -> Failure:
    """Classify an error of requests or urllib3 by the error of the standard library that caused it."""
    if time.monotonic() >= deadline:
        return Failure("later", "too slow", "cut off at the time limit")
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    for cause in reversed(causes):  # the last is the first that happened
        if isinstance(cause, TimeoutError):
            return Failure("again", "time-out")
        if isinstance(cause, socket.gaierror):
            return Failure("later", "unknown host")
        if isinstance(cause, ConnectionRefusedError):
            return Failure("later", "refused")
        if isinstance(cause, ssl.SSLError):
            return Failure("later", "TLS error", cause.reason or str(cause))
        if isinstance(cause, http.client.HTTPException):  # the answer is not HTTP or ends within a chunk
            return Failure("again", "cut off", type(cause).__name__)
    if isinstance(error, ValueError):
        return Failure("dead", "bad address", str(error))
    return Failure("again", "connection lost", str(error))
