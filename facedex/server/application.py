"""The application: all routes, and the guard around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from facedex._version import __version__
from facedex.errors import FacedexError
from facedex.server.access import open_to_all
from facedex.server.answer_routes import add_answer_routes
from facedex.server.browsing_routes import add_browsing_routes
from facedex.server.decision_routes import add_decision_routes
from facedex.server.group_routes import add_group_routes
from facedex.server.guard import Guard
from facedex.server.page_routes import add_page_routes
from facedex.server.people_routes import add_people_routes
from facedex.server.refusals import Json, problem, refusal, refusal_of_status
from facedex.server.service import Service
from facedex.server.settings import ServerSettings
from facedex.server.upkeep_routes import add_upkeep_routes

_ABOUT = """Names the people in photos. Errors are {"error": {"code", "message", "details"}, "request_id"}.

Lists come in parts: give `next` as `cursor`. A busy server answers 503 with Retry-After. Changes need the full token,
questions the read token, as `Authorization: Bearer TOKEN`. A server on this machine alone may have no token."""


def make_application(settings: ServerSettings) -> Guard:
    """The application of one gallery, which it opens, and closes at its end. Raises GalleryError, ModelError."""
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await anyio.to_thread.run_sync(service.load)
        watching = asyncio.create_task(service.watch())
        yield
        watching.cancel()
        service.events.close()
        await anyio.to_thread.run_sync(service.close)

    app = FastAPI(
        title="facedex",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    guard = Guard(app, service)
    add_upkeep_routes(app, service, guard.access)
    add_answer_routes(app, service)
    add_people_routes(app, service)
    add_group_routes(app, service)
    add_decision_routes(app, service)
    add_browsing_routes(app, service)
    add_page_routes(app)
    _add_description(app)
    _add_refusals(app)
    return guard


def _add_description(app: FastAPI) -> None:
    @app.get("/openapi.json", include_in_schema=False)
    @open_to_all
    async def description() -> Json:
        return Json(app.openapi())


def _methods(app: FastAPI, request: Request) -> set[str]:
    """The methods of all routes with the path of a request."""
    found = [route for route in app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in found for method in getattr(route, "methods", None) or ()}


def _add_refusals(app: FastAPI) -> None:
    """Turn every error into the one form. The guard catches what is left."""

    @app.exception_handler(Exception)  # a fault, which Starlette raises again for the guard's log
    @app.exception_handler(FacedexError)
    async def unusable(request: Request, error: Exception) -> Response:
        return refusal(error, request.state.request_id)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, FacedexError):  # FastAPI wraps what reading a body raises
            return refusal(error.__cause__, request.state.request_id)
        headers = dict(error.headers or {})
        if error.status_code == 405:  # routing knows only the methods of the first route with this path
            headers["Allow"] = ", ".join(sorted(_methods(app, request)))
        return refusal_of_status(error.status_code, request.state.request_id, headers)

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        details = [{"where": list(one["loc"]), "what": one["msg"]} for one in error.errors()]
        message = "The request has a value that cannot be used; `details` says which"
        return problem(400, "request_invalid", message, request.state.request_id, details)
