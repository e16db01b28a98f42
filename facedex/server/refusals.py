"""The one table from errors to HTTP: status, code and body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from facedex import errors

# The first class that an error is an instance of counts.
TABLE: tuple[tuple[type[BaseException], int, str], ...] = (
    (errors.TokenMissing, 401, "token_missing"),
    (errors.RequestRefused, 403, "request_refused"),
    (errors.RequestTooLarge, 413, "request_too_large"),
    (errors.RequestUnsupported, 415, "request_unsupported"),
    (errors.RequestSlow, 408, "request_slow"),
    (errors.ServerBusy, 503, "server_busy"),
    (errors.RequestError, 400, "request_invalid"),
    (errors.PhotoNotFound, 404, "photo_not_found"),
    (errors.PhotoTooLarge, 413, "photo_too_large"),
    (errors.PhotoUnsupported, 415, "photo_unsupported"),
    (errors.PhotoUnreadable, 422, "photo_unreadable"),
    (errors.NoFace, 422, "no_face"),
    (errors.SeveralFaces, 422, "several_faces"),
    (errors.XmpUnusable, 422, "xmp_unusable"),
    (errors.PhotoError, 422, "photo_unusable"),
    (errors.VideoUnusable, 422, "video_unusable"),
    (errors.PersonNotFound, 404, "person_not_found"),
    (errors.GroupNotFound, 404, "group_not_found"),
    (errors.FaceNotFound, 404, "face_not_found"),
    (errors.PersonConflict, 409, "person_conflict"),
    (errors.UndoConflict, 409, "undo_conflict"),
    (errors.NameInvalid, 422, "name_invalid"),
    (errors.NameDoubtful, 422, "name_doubtful"),
    (errors.DataError, 422, "data_unusable"),
    (errors.GalleryBusy, 503, "gallery_busy"),
    (errors.EngineAway, 503, "engine_away"),
    (errors.EngineError, 500, "engine_unusable"),
    (errors.GalleryNotFound, 500, "gallery_not_found"),
    (errors.GalleryMismatch, 500, "gallery_mismatch"),
    (errors.GalleryDamaged, 500, "gallery_damaged"),
    (errors.GalleryError, 500, "gallery_unusable"),
    (errors.ModelError, 500, "model_unusable"),
    (errors.MissingExtra, 500, "extra_missing"),
    (errors.MissingProgram, 500, "program_missing"),
    (errors.BrokenPackage, 500, "package_broken"),
    (errors.FacedexError, 500, "unusable"),
)

# Errors of the system, whose own texts may tell paths.
_Row = tuple[type[BaseException], int, str, str]
_SYSTEM: tuple[_Row, ...] = (
    (MemoryError, 503, "memory_used_up", "The memory is used up; send smaller photos, or fewer at once"),
    (OSError, 507, "disk_unusable", "A file cannot be read or written; make room, or check the server's permissions"),
)
_FAULT: _Row = (
    BaseException,
    500,
    "fault",
    "A fault in facedex itself; the server's log says more under the id of this request",
)

_RETRY = 5  # seconds after which a client tries again, where an error does not say


class Json(Response):
    """A JSON answer. Paths may hold characters that UTF-8 cannot encode; these are escaped."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        try:
            return text.encode()
        except UnicodeEncodeError:
            return json.dumps(content, allow_nan=False).encode()


def refusal(error: BaseException, request_id: str) -> Response:
    """The answer to a request that ended with an error. An error that is in no table is a fault of facedex."""
    rows: list[_Row] = [*((kind, status, code, str(error)) for kind, status, code in TABLE), *_SYSTEM, _FAULT]
    _, status, code, message = next(row for row in rows if isinstance(error, row[0]))
    answer = problem(status, code, message, request_id, getattr(error, "details", None))
    if status == 503:
        answer.headers["Retry-After"] = str(getattr(error, "seconds", _RETRY))
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def refusal_of_status(status: int, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that no route takes."""
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "_")
    answer = problem(status, code, f"{phrase}; /reference lists what can be asked", request_id)
    answer.headers.update(headers or {})
    return answer


def problem(status: int, code: str, message: str, request_id: str, details: object = None) -> Response:
    """The body of every error: {"error": {"code", "message", "details"}, "request_id"}."""
    error = {"code": code, "message": message, "details": details}
    return Json({"error": error, "request_id": request_id}, status)
