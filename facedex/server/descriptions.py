"""Parts of the API's description that several routes share."""

from __future__ import annotations

from typing import Any

from fastapi import Query

from facedex.server.shapes import PhotoIds, Problem

_FILE = {"type": "string", "format": "binary"}
_PHOTO_TYPES = ("image/*", "application/octet-stream")


def _body(form: dict[str, Any], required: list[str], alone: bool) -> dict[str, Any]:
    """A request body: a form, and where `alone` holds a photo as the body itself."""
    photos = {"type": "array", "minItems": 1, "items": _FILE, "description": "Photos; any field name will do."}
    properties = {**form, "photo": photos}
    content: dict[str, Any] = {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": properties, "required": [*required, "photo"]},
            "encoding": {"photo": {"contentType": "image/*"}},
        }
    }
    if alone:
        content |= {kind: {"schema": _FILE} for kind in _PHOTO_TYPES}
    return {"requestBody": {"required": True, "content": content}}


_FACE = {"type": "string", "pattern": "^[1-9][0-9]*$", "description": "Which face of each photo, counted from 1."}
_NAME = {"type": "string", "minLength": 1, "description": "The person's name."}
_TERMS = {
    "consent": {"type": "string", "description": "What the person allowed for these photos, in your words."},
    "expires": {"type": "string", "description": "The last day of that: 2027-06-30, 90d, 1y or never."},
}

PHOTOS = _body({}, [], alone=True)
_IDS = {"application/json": {"schema": PhotoIds.model_json_schema()}}
PHOTOS_OR_IDS = {"requestBody": {"required": True, "content": {**PHOTOS["requestBody"]["content"], **_IDS}}}
PHOTOS_OF_A_PERSON = _body({"face": _FACE, **_TERMS}, [], alone=True)
NAMED_PHOTOS = _body({"name": _NAME, "face": _FACE, **_TERMS}, ["name"], alone=False)


def rate_query(meaning: str) -> Any:
    """A false-alarm rate in a query, within the limits of the command line."""
    return Query(ge=1e-9, le=0.999, description=meaning)


def prior_query(meaning: str) -> Any:
    """A probability in a query, within the limits of the command line."""
    return Query(ge=1e-9, le=1 - 1e-9, description=meaning)


def answers(model: type | None, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """The answers of a route: a JSON object of this shape, and errors."""
    found: dict[str, Any] = {"description": "Done."}
    if model is not None:
        found["model"] = model
    refused = {"model": Problem, "description": "Refused; the error says why."}
    return {status: found, "4XX": refused, "5XX": {"model": Problem, "description": "Failed; the error says why."}}
