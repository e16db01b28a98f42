"""Photos that a request brings: a form of several, or one as the body itself. Caps hold while the body streams in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from facedex.errors import RequestError, RequestSlow, RequestTooLarge, RequestUnsupported, ServerBusy
from facedex.server.settings import Limits
from facedex.wording import visible

_LONGEST_NAME = 200  # characters of a photo's name in results


@dataclass(frozen=True)
class Upload:
    """What a request brought: photos with their names, and the texts of its form."""

    photos: list[tuple[str, bytes]]
    fields: dict[str, str]


class Intake:
    """Reads the bodies of requests. All bodies together may hold `limits.all_bytes`."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0

    @asynccontextmanager
    async def upload(self, request: Request) -> AsyncIterator[Upload]:
        """The photos of a request, which count as held until the context ends.

        Raises RequestTooLarge, RequestSlow, RequestUnsupported, ServerBusy, and RequestError for a broken form.
        """
        before = self.held
        taken = [0]
        try:
            yield await self._read(request, taken)
        finally:
            self.held -= taken[0]
            assert self.held >= 0, before

    async def _read(self, request: Request, taken: list[int]) -> Upload:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        async with aclosing(self._parts(request, taken)) as parts:
            if kind == "multipart/form-data":
                return await self._form(request, parts)
            if not kind.startswith("image/") and kind != "application/octet-stream":
                raise RequestUnsupported(
                    "A photo is sent as multipart/form-data, or as a body of the type image/jpeg or the like; "
                    "set Content-Type"
                )
            data = b"".join([part async for part in parts])
        if not data:
            raise RequestError("The body is empty; send a photo")
        return Upload([("photo", data)], {})

    async def _parts(self, request: Request, taken: list[int]) -> AsyncGenerator[bytes, None]:
        """The body as it arrives."""
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self.limits.request_bytes:
            raise self._too_large()
        loop = asyncio.get_running_loop()
        last = loop.time() + self.limits.body_seconds
        stream = request.stream()
        while True:
            try:
                part = await asyncio.wait_for(anext(stream), min(self.limits.idle_seconds, last - loop.time()))
            except StopAsyncIteration:
                return
            except asyncio.TimeoutError:
                raise RequestSlow("The body does not arrive; send it faster, or in smaller requests") from None
            taken[0] += len(part)
            self.held += len(part)
            if taken[0] > self.limits.request_bytes:
                raise self._too_large()
            if self.held > self.limits.all_bytes:
                raise ServerBusy("Too many photos arrive at once; try again in a few seconds", 5)
            yield part

    async def _form(self, request: Request, parts: AsyncGenerator[bytes, None]) -> Upload:
        limits = self.limits
        parser = MultiPartParser(
            request.headers,
            parts,
            max_files=limits.photos,
            max_fields=limits.fields,
            max_part_size=limits.field_bytes,
        )
        try:
            form = await parser.parse()
        except MultiPartException as error:
            if "maximum" in error.message.lower():
                raise RequestTooLarge(
                    f"A form may hold {limits.photos} photos and {limits.fields} fields of {limits.field_bytes} bytes; "
                    "send several requests"
                ) from None
            raise RequestError(f"The form is broken ({error.message}); send multipart/form-data") from None
        try:
            photos: list[tuple[str, bytes]] = []
            fields: dict[str, str] = {}
            for field, value in form.multi_items():
                if isinstance(value, UploadFile):
                    photos.append((_shown(value.filename, len(photos) + 1), await value.read()))
                else:
                    fields[field] = value
        finally:
            await form.close()
        if not photos:
            raise RequestError("The form holds no photo; add one as a file")
        return Upload(photos, fields)

    def _too_large(self) -> RequestTooLarge:
        most = self.limits.request_bytes / 2**20
        return RequestTooLarge(f"A request may have {most:.0f} MiB; send fewer or smaller photos")


def _shown(name: str | None, number: int) -> str:
    """What a photo is called in results: the last part of its name, for no path is ever taken from a request."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    return visible(last[-_LONGEST_NAME:]) or f"photo {number}"
