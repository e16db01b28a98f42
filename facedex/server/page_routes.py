"""The page, its modules and styles, and the reference of the API: files of the package, and nothing else."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import FastAPI, Response
from starlette.exceptions import HTTPException

from facedex.server.access import open_to_all

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "json": "application/json",
    "png": "image/png",
    "webmanifest": "application/manifest+json",
}


def page_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of each file of the page, by its path below `page/`. They are read once, at the start."""
    found: dict[str, tuple[bytes, str]] = {}

    def add(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                add(entry, f"{prefix}{entry.name}/")
            elif (kind := TYPES.get(entry.name.rsplit(".", 1)[-1])) is not None:
                found[prefix + entry.name] = entry.read_bytes(), kind

    add(files("facedex.server") / "page", "")
    return found


def add_page_routes(app: FastAPI) -> None:
    """Add the routes to the application."""
    known = page_files()

    def answer(name: str) -> Response:
        if name not in known:
            raise HTTPException(404)
        content, kind = known[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    @open_to_all
    async def index() -> Response:
        return answer("index.html")

    @app.get("/reference", include_in_schema=False)
    @open_to_all
    async def reference() -> Response:
        return answer("reference.html")

    @app.get("/page/{name:path}", include_in_schema=False)
    @open_to_all
    async def file(name: str) -> Response:
        return answer(name)
