"""The scanned library: groups of faces without names, what a user decides about them, and the scan itself.

A decision is a function of `facedex/library`, a body in `shapes.py` and a route, here or in `decision_routes.py`.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query

from facedex import results
from facedex.decision.clustering import RATE
from facedex.errors import DataError, FaceNotFound, GroupNotFound
from facedex.gallery.gallery import Gallery
from facedex.library import group_names
from facedex.library.groups import FaceGroup, cluster, stored_groups
from facedex.photos.sources import source_path
from facedex.server import shapes
from facedex.server.access import reads
from facedex.server.cursors import Cursor, Limit, part
from facedex.server.descriptions import answers, rate_query
from facedex.server.face_pictures import crop_path, number_of, scanned_id
from facedex.server.refusals import Json
from facedex.server.service import Service

GroupNumber = Annotated[int, Path(ge=1, le=2**62, description="The group's number.")]


def add_group_routes(app: FastAPI, service: Service) -> None:
    """Add the routes to the application."""
    _add_groups(app, service)
    _add_decisions(app, service)
    _add_scan(app, service)


def _add_groups(app: FastAPI, service: Service) -> None:
    gallery = service.gallery

    @app.get("/v1/groups", tags=["library"], responses=answers(shapes.Groups))
    @reads
    async def list_groups(
        limit: Limit = 100,
        cursor: Cursor = None,
        ignored: Annotated[bool, Query(description="List ignored groups too.")] = False,
    ) -> Json:
        """Groups of scanned faces without a name, the largest first."""
        return _groups(await service.read(partial(stored_groups, gallery)), limit, cursor, ignored)

    @app.post("/v1/groups", tags=["library"], responses=answers(shapes.Groups))
    async def group_again(
        rate: Annotated[float, rate_query("Share of faces of people with no other photo in a wrong group.")] = RATE,
        limit: Limit = 100,
    ) -> Json:
        """Group the scanned faces that have no name, after a scan or after names were given."""
        return _groups(await service.change("groups", partial(cluster, gallery, rate)), limit, None, False)

    @app.get("/v1/groups/{group}/faces", tags=["library"], responses=answers(shapes.GroupFaces))
    @reads
    async def list_group_faces(group: GroupNumber, limit: Limit = 100, cursor: Cursor = None) -> Json:
        """The faces of a group that have no name, the clearest first."""
        return Json(await service.read(partial(_faces, gallery, group, limit, cursor)))


def _add_decisions(app: FastAPI, service: Service) -> None:
    gallery = service.gallery

    @app.post("/v1/groups/{group}/name", tags=["library"], responses=answers(shapes.NamedGroup))
    async def name_group(group: GroupNumber, body: shapes.NewName) -> Json:
        """Name the faces of a group, and enroll the person by the best and most different of them."""

        def name() -> dict[str, Any]:
            named = group_names.name_group(gallery, group, body.name)
            person = next((one.id for one in gallery.people() if one.name == named.name), None)
            return {**asdict(named), "person": person}

        return Json(await service.change("groups", name))

    @app.post("/v1/groups/{group}/split", tags=["library"], responses=answers(shapes.SplitGroup))
    async def split_group(group: GroupNumber, body: shapes.Faces) -> Json:
        """Take faces out of a group for good. They become a group of their own."""

        def split() -> int:
            return group_names.split_group(gallery, group, paths_of(gallery, body.faces))

        return Json({"group": await service.change("groups", split)})

    @app.post("/v1/groups/{group}/ignore", tags=["library"], responses=answers(shapes.Ignored))
    async def ignore_group(group: GroupNumber, body: shapes.Ignored) -> Json:
        """Say that a group needs no name, or that it needs one after all."""
        await service.change("groups", partial(group_names.ignore_group, gallery, group, body.ignored))
        return Json({"ignored": body.ignored})


def _add_scan(app: FastAPI, service: Service) -> None:
    @app.get("/v1/scan", tags=["library"], responses=answers(shapes.Scan))
    @reads
    async def scan_progress() -> Json:
        """How far the scan is, or how the last one ended."""
        return Json(service.scan.progress())

    @app.post("/v1/scan", tags=["library"], status_code=202, responses=answers(shapes.Scan, 202))
    async def start_scan() -> Json:
        """Look at the photos of the folders that were named when the server started. A scan that runs goes on."""
        service.scan.start()
        return Json(service.scan.progress(), 202)

    @app.delete("/v1/scan", tags=["library"], responses=answers(shapes.Scan))
    async def stop_scan() -> Json:
        """Stop the scan. What it found is kept."""
        service.scan.stop()
        return Json(service.scan.progress())


def _groups(groups: list[FaceGroup], limit: int, cursor: str | None, ignored: bool) -> Json:
    found = [group for group in groups if ignored or not group.ignored]
    shown, following = part(found, lambda group: [-group.faces, group.number], limit, cursor)
    rows = [
        {**results.cluster_json(group), "crops": [crop_path(scanned_id(face)) for face in group.clearest]}
        for group in shown
    ]
    return Json({"groups": rows, "total": len(found), "next": following})


def _faces(gallery: Gallery, group: int, limit: int, cursor: str | None) -> dict[str, Any]:
    faces = gallery.library.faces_in_group(group)
    if not len(faces):
        raise GroupNotFound(f"There is no group {group}; the list of groups has their numbers")
    rows = [row for row in range(len(faces)) if not faces.people[row]]
    rows.sort(key=lambda row: (-faces.quality[row], faces.ids[row]))
    shown, following = part(rows, lambda row: [-float(faces.quality[row]), int(faces.ids[row])], limit, cursor)
    sources = gallery.library.sources([int(faces.photos[row]) for row in shown])
    return {
        "group": group,
        "faces": [
            {
                "id": scanned_id(int(faces.ids[row])),
                "crop": crop_path(scanned_id(int(faces.ids[row]))),
                "photo": next((source_path(source) for source in sources.get(int(faces.photos[row]), [])), None),
                "box": [round(value, 1) for value in faces.box(row)],
                "score": round(float(faces.scores[row]), 4),
                "quality": round(float(faces.quality[row]), 4),
            }
            for row in shown
        ],
        "total": len(rows),
        "next": following,
    }


def paths_of(gallery: Gallery, ids: list[str]) -> list[str]:
    """A path of the photo of each face. Raises FaceNotFound for a face that there is not."""
    faces = gallery.library.faces_with_ids([number_of(face, "s") for face in ids])
    if len(faces) < len(set(ids)):
        raise FaceNotFound("One of these faces is not there any more; read the group again")
    sources = gallery.library.sources(faces.photos.tolist())
    if len(sources) < len(set(faces.photos.tolist())):
        raise DataError("One of these faces has no photo any more; scan its folder again")
    return [source_path(found[0]) for found in sources.values()]
