"""What a server is told when it starts: whose gallery, who may ask, and how much."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from facedex.errors import DataError

LOOPBACK = ("127.0.0.1", "::1")
LEAST_TOKEN = 16  # characters: a shorter token could be guessed

_MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """How much one request may bring, and how long it may take.

    `request_bytes`: of a body. `all_bytes`: of all bodies that are held at once. `photos`, `fields`: of a form.
    `field_bytes`: of a form's text or of a JSON body. `pixels`: of one photo. `idle_seconds`: between two parts of a
    body. `body_seconds`: for a whole body. `waiting`: requests that wait for a thread. `listeners`: open event streams.
    """

    request_bytes: int = 64 * _MIB
    all_bytes: int = 512 * _MIB
    photos: int = 32
    fields: int = 16
    field_bytes: int = 64 * 1024
    pixels: int = 100_000_000
    idle_seconds: float = 15.0
    body_seconds: float = 300.0
    waiting: int = 32
    listeners: int = 100


def limits_for(upload: int) -> Limits:
    """Limits where one request may bring `upload` MiB. Eight such requests may be held at once."""
    return Limits(request_bytes=upload * _MIB, all_bytes=8 * upload * _MIB)


@dataclass(frozen=True)
class ServerSettings:
    """What `facedex serve` was told.

    `folders`: photo folders that a scan may look at. `addresses`: where it listens. `token` allows everything,
    `read_token` questions alone. `hosts`: names of this server beside those of this machine. `keep_crops`: whether a
    small picture of each face that is enrolled here stays in the gallery.
    """

    gallery: Path
    model: Path | None = None
    device: str = "cpu"
    folders: tuple[Path, ...] = ()
    addresses: tuple[str, ...] = LOOPBACK
    port: int = 8000
    token: str | None = None
    read_token: str | None = None
    hosts: tuple[str, ...] = ()
    keep_crops: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Raise DataError for tokens and addresses that cannot be used."""
        for token in (self.token, self.read_token):
            if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
                raise DataError(f"A token has at least {LEAST_TOKEN} letters and digits; leave it out to have one made")
        if self.read_token is not None and self.token in (None, self.read_token):
            raise DataError("A read token needs a full token beside it, and another one; give both")
        if self.token is None and not self.is_local:
            raise DataError("A server that other machines reach needs a token; give --token, or set FACEDEX_TOKEN")

    @property
    def is_local(self) -> bool:
        """Whether this machine alone can reach the server."""
        return all(map(is_loopback, self.addresses))


def is_loopback(address: str) -> bool:
    """Whether an address is reached from this machine alone. Raises DataError for a text that is no IP address."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        raise DataError(f"{address} is no IP address; give one such as 127.0.0.1, ::1 or 0.0.0.0") from None


def made_token() -> str:
    """A new token of 256 random bits."""
    return secrets.token_urlsafe(32)
