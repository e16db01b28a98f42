"""One file over HTTP, from a server that may stall, drip, break off or lie. Standard library only; see polite.py."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import os
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facedex._version import __version__

AGENT = f"facedex-fetch/{__version__} (research data; a few requests at a time)"
_CHUNK = 1 << 16
_MOVED = (301, 302, 303, 307, 308)
_PATH_SAFE = "/%:=&?~+!$,;'@()*[]|"


@dataclass(frozen=True)
class Limits:
    """How long to wait and how much to ask; times in seconds."""

    workers: int = 32
    per_host: int = 2  # requests at a time
    pause: float = 0.1  # between two requests on one of these
    connect: float = 10.0
    read: float = 20.0  # without a byte
    total: float = 120.0  # for one try at one file, however steadily it drips
    tries: int = 4
    backoff: float = 1.0  # before the second try, twice that before the third, and so on
    longest_wait: float = 120.0  # asked for by Retry-After; longer ones are left to another run
    redirects: int = 5
    host_failures: int = 8  # in a row, after which the rest of a host's links is not tried
    max_bytes: int = 32 * 2**20


class Failure(Exception):
    """Why a link gave nothing.

    `kind`: "again", it may work in a moment; "later", in another run; "dead", never. `reason` is what failures are
    counted by, `wait` what the server asked for, in seconds.
    """

    def __init__(
        self, kind: Literal["again", "later", "dead"], reason: str, detail: str = "", wait: float | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.kind, self.reason, self.detail, self.wait = kind, reason, detail, wait


class DiskError(Exception):
    """The disk, not a server, is at fault: the whole run stops."""


def host_of(url: str) -> str:
    """Host and port that a link asks; "" for none."""
    try:
        return urllib.parse.urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def get(url: str, target: Path, limits: Limits, on_bytes: Callable[[int, int | None], None] | None = None) -> bool:
    """One try at one file: `target` is there, whole, once this returns. `on_bytes` is told (bytes so far, of). Whether
    it is whole for certain: False where the server did not say how long it is, so that a connection cut off looks like
    its end.

    What had arrived when an earlier try was cut off lies in TARGET.part; it is continued when the server says, by the
    validator it gave then (RFC 9110, section 13.1.5), that the file is still the same, and begun anew otherwise.
    Raises Failure, DiskError.
    """
    deadline = time.monotonic() + limits.total
    part, tag = _leftovers(target)
    seen: set[str] = set()
    while url not in seen:
        if len(seen) > limits.redirects:
            raise Failure("dead", "too many redirects", url)
        seen.add(url)
        have, validator = _begun(part, tag)
        headers = {"User-Agent": AGENT, "Accept": "image/*, */*;q=0.5", "Connection": "close"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        with _Exchange(url, headers, limits, deadline) as response:
            location = response.headers.get("Location")
            if response.status in _MOVED and location:
                url = _joined(url, location)
                continue
            if response.status == 416:
                forget(target)
                raise Failure("again", "cut off", "the server no longer has the part that was missing")
            if response.status not in (200, 206):
                raise _refusal(response)
            if response.status == 206 and not _follows(response, have):
                forget(target)
                raise Failure("again", "cut off", "the server sent another part than was asked for")
            certain = response.length is not None or bool(response.chunked)
            _receive(response, target, have if response.status == 206 else 0, limits, deadline, on_bytes)
        try:
            os.replace(part, target)
            tag.unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"{target} cannot be written ({error.strerror}); free some space") from None
        return certain
    raise Failure("dead", "redirect loop", url)


class _Exchange:
    """One request and its answer, cut off at the deadline whatever the server does meanwhile."""

    def __init__(self, url: str, headers: dict[str, str], limits: Limits, deadline: float) -> None:
        self._headers, self._limits, self._deadline = headers, limits, deadline
        try:
            left = max(0.01, deadline - time.monotonic())
            self._connection, self._path = _connection(url, min(limits.connect, left))
        except (ValueError, http.client.InvalidURL) as error:
            raise Failure("dead", "bad address", str(error)) from None
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(left + 0.01, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> http.client.HTTPResponse:
        self._timer.start()
        try:
            self._connection.connect()
            self._socket = self._connection.sock
            self._socket.settimeout(self._limits.read)
            if time.monotonic() >= self._deadline:
                raise TimeoutError
            self._connection.request("GET", self._path, headers=self._headers)
            return self._connection.getresponse()
        except BaseException as error:
            failure = _failure(error, self._deadline)
            self.__exit__()
            raise failure from None

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()
        self._connection.close()

    def _cut(self) -> None:
        # A read that waits in another thread ends at once; closing alone would not wake it.
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _connection(url: str, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    """An unopened connection, through the proxy of the environment if there is one, and what to ask for."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url[:200]} is no http or https address")
    host, port = parts.hostname.encode("idna").decode("ascii"), parts.port
    path = urllib.parse.quote(parts.path or "/", safe=_PATH_SAFE)
    if parts.query:
        path += "?" + urllib.parse.quote(parts.query, safe=_PATH_SAFE)
    secure = parts.scheme == "https"
    proxy = urllib.request.getproxies().get(parts.scheme)
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    if not proxy or urllib.request.proxy_bypass(host):
        return kind(host, port, timeout=timeout), path
    via = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    if not via.hostname:
        raise ValueError(f"the proxy {proxy} has no host")
    connection = kind(via.hostname, via.port, timeout=timeout)
    if secure:
        connection.set_tunnel(host, port)
        return connection, path
    return connection, f"http://{host}{f':{port}' if port else ''}{path}"


def _joined(url: str, location: str) -> str:
    try:
        return urllib.parse.urljoin(url, location)
    except ValueError as error:
        raise Failure("dead", "bad address", str(error)) from None


def _receive(
    response: http.client.HTTPResponse,
    target: Path,
    have: int,
    limits: Limits,
    deadline: float,
    on_bytes: Callable[[int, int | None], None] | None,
) -> None:
    part, tag = _leftovers(target)
    length = response.length  # as announced; None where the end of the connection is the end of the file
    whole = None if length is None else have + length
    if whole is not None and whole > limits.max_bytes:
        raise Failure("dead", "too large", f"{whole} bytes")
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    try:
        tag.write_text("" if validator.startswith("W/") else validator, "utf-8")
        file = open(part, "ab" if have else "wb")  # noqa: SIM115 (its errors are the disk's, the loop's the server's)
    except OSError as error:
        raise DiskError(f"{part} cannot be written ({error.strerror}); free some space") from None
    with file:
        done = have
        while True:
            try:
                chunk = response.read1(_CHUNK)
            except Exception as error:
                raise _failure(error, deadline) from None
            if not chunk:
                break
            done += len(chunk)
            if done > limits.max_bytes:
                file.close()
                forget(target)
                raise Failure("dead", "too large", f"more than {limits.max_bytes} bytes")
            try:
                file.write(chunk)
            except OSError as error:
                raise DiskError(f"{part} cannot be written ({error.strerror}); free some space") from None
            if on_bytes:
                on_bytes(done, whole)
    if time.monotonic() >= deadline and (whole is None or done < whole):
        raise Failure("later", "too slow", f"{done} bytes in {limits.total:g} s")
    if whole is not None and done < whole:
        raise Failure("again", "cut off", f"{done} of {whole} bytes")


def _leftovers(target: Path) -> tuple[Path, Path]:
    """Where the bytes of a try that was cut off lie, and the validator that they go with."""
    return target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.tag")


def _begun(part: Path, tag: Path) -> tuple[int, str]:
    """Bytes of an earlier try and the validator they go with; (0, "") where they cannot be continued."""
    try:
        validator = tag.read_text("utf-8")
        return (part.stat().st_size, validator) if validator else (0, "")
    except (OSError, UnicodeDecodeError):
        return 0, ""


def forget(target: Path) -> None:
    """Delete what an earlier try at `target` left."""
    for path in _leftovers(target):
        path.unlink(missing_ok=True)


def _follows(response: http.client.HTTPResponse, have: int) -> bool:
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    return unit.lower() == "bytes" and have > 0 and span.split("-")[0] == str(have)


def _refusal(response: http.client.HTTPResponse) -> Failure:
    moment = response.status >= 500 or response.status in (408, 425, 429)
    return Failure(
        "again" if moment else "dead",
        f"HTTP {response.status}",
        response.reason,
        _retry_after(response.headers.get("Retry-After")) if moment else None,
    )


def _retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After header, given as such or as a date."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _failure(error: BaseException, deadline: float) -> BaseException:
    """What went wrong on the line, as a Failure; anything else as it is."""
    if isinstance(error, (OSError, http.client.HTTPException, ValueError)) and time.monotonic() >= deadline:
        return Failure("later", "too slow", "cut off at the time limit")
    if isinstance(error, TimeoutError):
        return Failure("again", "time-out")
    if isinstance(error, socket.gaierror):
        return Failure("later", "unknown host")
    if isinstance(error, ssl.SSLError):
        return Failure("later", "TLS error", error.reason or str(error))
    if isinstance(error, ConnectionRefusedError):
        return Failure("later", "refused")
    if isinstance(error, http.client.InvalidURL):
        return Failure("dead", "bad address", str(error))
    if isinstance(error, http.client.HTTPException):  # an answer that is not HTTP, or ends within a chunk
        return Failure("again", "cut off", type(error).__name__)
    if isinstance(error, UnicodeError):
        return Failure("dead", "bad address", str(error))
    if isinstance(error, OSError):
        return Failure("again", "connection lost", error.strerror or str(error))
    if isinstance(error, ValueError):  # http.client reads a header that is no number
        return Failure("dead", "bad answer", str(error))
    return error
