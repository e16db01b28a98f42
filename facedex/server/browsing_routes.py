"""What a page shows beside people and groups: photos of the library, the gallery's size and its condition."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import FastAPI, Response

from facedex import results
from facedex.gallery.doctor import examine
from facedex.server import shapes
from facedex.server.access import reads
from facedex.server.cursors import Cursor, Limit, part
from facedex.server.descriptions import answers
from facedex.server.people_routes import PersonId
from facedex.server.refusals import Json
from facedex.server.service import Service
from facedex.server.whole_photos import place_in_list, scanned_photos_of, whole_photo


def add_browsing_routes(app: FastAPI, service: Service) -> None:
    """Add the routes to the application."""
    gallery = service.gallery

    @app.get("/v1/people/{person}/photos", tags=["people"], responses=answers(shapes.PersonPhotos))
    @reads
    async def list_person_photos(person: PersonId, limit: Limit = 100, cursor: Cursor = None) -> Json:
        """The scanned photos that show a person, the clearest face first."""
        found = await service.read(partial(scanned_photos_of, gallery, person))
        shown, following = part(found, place_in_list, limit, cursor)
        return Json({"photos": list(shown), "total": len(found), "next": following})

    @app.get("/v1/faces/{face}/photo", tags=["pictures"], response_class=Response, responses=answers(None))
    @reads
    async def photo(face: str) -> Response:
        """The whole photo of a face, as JPEG. X-Photo-Width and X-Photo-Height tell the size in which boxes count."""
        content, (width, height) = await service.pictures.run(partial(whole_photo, gallery, face))
        headers = {"X-Photo-Width": str(width), "X-Photo-Height": str(height)}
        return Response(content, media_type="image/jpeg", headers=headers)

    @app.get("/v1/storage", tags=["server"], responses=answers(shapes.Storage))
    @reads
    async def storage() -> Json:
        """How much the gallery takes on disk."""
        return Json({"bytes": await service.read(partial(_bytes, service))})

    @app.post("/v1/doctor", tags=["server"], responses=answers(shapes.Checked))
    async def check() -> Json:
        """Check every part of the gallery, and repair what can be repaired, as `facedex doctor` does."""

        def examined() -> list[dict[str, Any]]:
            return [results.doctor_json(finding) for finding in examine(gallery.folder)]

        return Json({"findings": await service.changes.run(examined)})


def _bytes(service: Service) -> int:
    return sum(file.stat().st_size for file in service.gallery.folder.rglob("*") if file.is_file())
