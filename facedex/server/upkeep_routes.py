"""The server itself: its state, sessions of a page, events, metrics, pictures and backups."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from facedex._version import __version__
from facedex.errors import TokenMissing
from facedex.server import shapes
from facedex.server.access import COOKIE, Access, open_to_all, reads
from facedex.server.descriptions import answers
from facedex.server.event_stream import EventAnswer
from facedex.server.refusals import Json
from facedex.server.service import Service


class _BackupAnswer(FileResponse):
    """A backup, which is deleted once it was sent, or when the client goes away before."""

    def __init__(self, service: Service, file: Path) -> None:
        super().__init__(file, media_type="application/x-tar", filename=file.name)
        self._service, self._folder = service, file.parent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._service.end_backup(self._folder)


_LEVELS = ("none", "read", "full")


def add_upkeep_routes(app: FastAPI, service: Service, access: Access) -> None:
    """Add the routes to the application."""
    gallery, settings = service.gallery, service.settings

    @app.get("/v1/health", tags=["server"], responses=answers(shapes.Health))
    @open_to_all
    async def health() -> Json:
        """Whether the server answers."""
        return Json({"status": "ok", "version": __version__})

    @app.get("/v1/info", tags=["server"], responses=answers(shapes.Info))
    @reads
    async def info(request: Request) -> Json:
        """What the gallery holds, and what may be asked."""
        counts = await service.read(gallery.library.counts)
        people, faces = await service.read(lambda: (len(gallery), gallery.faces))
        return Json(
            {
                "version": __version__,
                "people": people,
                "faces": faces,
                "model": gallery.model.fingerprint,
                "model_name": gallery.model.name,
                "dimensions": int(gallery.model.meta["dim"]),
                "access": _LEVELS[access.allowed(request.scope)],
                "needs_token": settings.token is not None,
                "keep_crops": settings.keep_crops,
                "folders": [str(folder) for folder in settings.folders],
                "library": asdict(counts),
                "limits": asdict(settings.limits),
            }
        )

    @app.post("/v1/session", tags=["server"], responses=answers(shapes.Session))
    @open_to_all
    async def begin_session(request: Request, body: shapes.Token) -> Json:
        """Exchange a token for a cookie, so that a page need not keep the token."""
        value = access.cookie_for(body.token)
        if value is None:
            raise TokenMissing("This is no token of this server; `facedex serve` printed the right one")
        answer = Json({"access": _LEVELS[access.level_of_cookie(value)]})
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, value, httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    @app.delete("/v1/session", tags=["server"], responses=answers(shapes.Session))
    @open_to_all
    async def end_session() -> Json:
        """Delete the cookie."""
        answer = Json({"access": _LEVELS[0]})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
        return answer

    @app.get("/v1/events", tags=["server"], response_class=StreamingResponse, responses=answers(None))
    @reads
    async def events() -> EventAnswer:
        """Events as they happen (text/event-stream): `change` with what changed, `scan` with the progress, `reset`."""
        return EventAnswer(service.events)

    @app.get("/v1/backup", tags=["server"], response_class=FileResponse, responses=answers(None))
    async def backup() -> FileResponse:
        """The gallery as one file, which `facedex restore` reads. It holds personal data, as the gallery does."""
        return _BackupAnswer(service, await service.backup())

    @app.get("/v1/faces/{face}/crop", tags=["pictures"], response_class=Response, responses=answers(None))
    @reads
    async def crop(face: str) -> Response:
        """A picture of a face, as JPEG: e12 is an enrolled face, s12 a scanned one."""
        return Response(await service.picture(face), media_type="image/jpeg")

    @app.get("/metrics", tags=["server"], response_class=Response, responses=answers(None))
    @reads
    async def metrics() -> Response:
        """Counts for Prometheus."""
        gauges = await service.read(service.gauges)
        return Response(service.counts.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")
