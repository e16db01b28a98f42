"""The page, its modules and styles, and the reference of the API: files of the package, and nothing else."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response
from starlette.exceptions import HTTPException

from facedex.server.access import open_to_all

_FOLDER = Path(__file__).parent / "page"

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "json": "application/json",
    "png": "image/png",
    "webmanifest": "application/manifest+json",
}


def page_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of each file of the page, by its path below `page/`. They are read once, at the start."""
    files = [path for path in sorted(_FOLDER.rglob("*")) if path.suffix[1:] in TYPES]
    return {path.relative_to(_FOLDER).as_posix(): (path.read_bytes(), TYPES[path.suffix[1:]]) for path in files}


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
