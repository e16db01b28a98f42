"""Photos that a request brings: a form of several, or one as the body itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from facedex.errors import RequestError, RequestTooLarge, RequestUnsupported
from facedex.server.bodies import Body
from facedex.server.settings import Limits
from facedex.wording import visible

Shape = TypeVar("Shape", bound=BaseModel)

_LONGEST_NAME = 200  # characters of a photo's name in results


@dataclass(frozen=True)
class Upload:
    """What a request brought: photos with their names, and the texts of its form."""

    photos: list[tuple[str, bytes]]
    fields: dict[str, str]


async def read_upload(request: Request, limits: Limits) -> Upload:
    """The photos of a request. Caps hold while they arrive.

    Raises RequestTooLarge, RequestSlow, RequestUnsupported, ServerBusy, and RequestError for a broken form.
    """
    body: Body = request.state.body
    body.limit = limits.request_bytes
    kind = _kind(request)
    if kind == "multipart/form-data":
        return await _form(request, limits)
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise RequestUnsupported(
            "A photo is sent as multipart/form-data, or as a body of the type image/jpeg or the like; set Content-Type"
        )
    data = await request.body()
    if not data:
        raise RequestError("The body is empty; send a photo")
    return Upload([("photo", data)], {})


def is_json(request: Request) -> bool:
    """Whether a request says that its body is JSON."""
    return _kind(request) == "application/json"


async def read_json(request: Request, shape: type[Shape]) -> Shape:
    """The JSON body of a request. Raises RequestError for another shape, and what Body.receive raises."""
    try:
        return shape.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise RequestError(f"The JSON cannot be used ({where}: {first['msg']}); /reference shows its shape") from None


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _form(request: Request, limits: Limits) -> Upload:
    parser = MultiPartParser(
        request.headers,
        request.stream(),
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
    except FormParserError:  # Starlette before 1.0 lets it pass
        raise RequestError("The form is broken; send multipart/form-data") from None
    photos: list[tuple[str, bytes]] = []
    fields: dict[str, str] = {}
    try:
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


def _shown(name: str | None, number: int) -> str:
    """What a photo is called in results: the last part of its name, for no path is ever taken from a request."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    return visible(last[-_LONGEST_NAME:]) or f"photo {number}"
