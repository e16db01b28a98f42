"""The log and undo, and what a user decides about scanned faces beside names: joined groups, no faces, questions."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import FastAPI, Path

from facedex import results
from facedex.gallery.gallery import Gallery
from facedex.library.group_edits import join_groups, mark_not_faces
from facedex.server import shapes
from facedex.server.access import reads
from facedex.server.cursors import Cursor, Limit, part
from facedex.server.descriptions import answers
from facedex.server.group_routes import GroupNumber, paths_of
from facedex.server.open_questions import OpenQuestions
from facedex.server.refusals import Json
from facedex.server.service import Service


def add_decision_routes(app: FastAPI, service: Service) -> None:
    """Add the routes to the application."""
    _add_log(app, service)
    _add_groups(app, service)
    _add_questions(app, service)


def _add_log(app: FastAPI, service: Service) -> None:
    gallery = service.gallery

    @app.get("/v1/changes", tags=["log"], responses=answers(shapes.LoggedChanges))
    @reads
    async def list_changes(limit: Limit = 100, cursor: Cursor = None) -> Json:
        """Every change of the gallery, the last one first. Whoever was deleted is named nowhere."""
        found = list(reversed(await service.read(gallery.changes)))
        shown, following = part(found, lambda one: [-one[0].number], limit, cursor)
        rows = [{"number": change.number, **results.log_json(change, paths)} for change, paths in shown]
        return Json({"changes": rows, "total": len(found), "next": following})

    @app.get("/v1/undo", tags=["log"], responses=answers(shapes.LastChange))
    @reads
    async def last_change() -> Json:
        """The last change that can be undone."""
        change, _ = await service.read(gallery.undoable)
        if change is None:
            return Json({"change": None})
        told = {"number": change.number, "kind": change.kind, "name": change.name, "time": change.made}
        return Json({"change": told})

    @app.post("/v1/undo", tags=["log"], responses=answers(shapes.Undo))
    async def undo(body: shapes.UndoOf | None = None) -> Json:
        """Undo the last change that can be undone. May be repeated. Nothing that was deleted comes back."""
        undone = await service.change("people", partial(gallery.undo, None if body is None else body.change))
        if undone is None:
            return Json({"undone": None})
        told = {"kind": undone.change.kind, "name": undone.change.name, "faces": undone.faces, "photos": undone.photos}
        return Json({"undone": told})


def _add_groups(app: FastAPI, service: Service) -> None:
    gallery = service.gallery

    @app.post("/v1/groups/{group}/merge", tags=["library"], responses=answers(shapes.JoinedGroup))
    async def merge_groups(group: GroupNumber, body: shapes.Into) -> Json:
        """Put the faces of a group into the group `into`, for good."""
        faces = await service.change("groups", partial(join_groups, gallery, body.into, group))
        return Json({"group": body.into, "faces": faces})

    @app.post("/v1/groups/{group}/not-a-face", tags=["library"], responses=answers(shapes.NoFaces))
    async def mark_no_faces(group: GroupNumber, body: shapes.SomeFaces) -> Json:
        """Say that faces of a group are none, such as a statue or a blur. They come back with no scan."""
        return Json({"faces": await service.change("groups", partial(_mark, gallery, group, body.faces))})


def _mark(gallery: Gallery, group: int, faces: list[str] | None) -> int:
    return mark_not_faces(gallery, group, () if faces is None else paths_of(gallery, faces))


def _add_questions(app: FastAPI, service: Service) -> None:
    asked = OpenQuestions(service.gallery)

    @app.get("/v1/questions", tags=["library"], responses=answers(shapes.Questions))
    @reads
    async def list_questions(limit: Limit = 10) -> Json:
        """Questions about groups and names that are unsure, the most useful first."""
        return Json(await service.photo_work.run(partial(asked.first, limit, service.own_changes)))

    @app.post("/v1/questions/{question}", tags=["library"], responses=answers(shapes.Answered))
    async def answer_question(
        question: Annotated[str, Path(max_length=100, description="The question's id.")], body: shapes.SameAnswer
    ) -> Json:
        """Answer a question. It does not come again, and the answer can be undone."""
        if body.same is None:
            await service.photo_work.run(partial(asked.answer, question, None))
            return Json({"change": None})
        change = await service.change("groups", partial(asked.answer, question, body.same))
        asked.seen = service.own_changes
        return Json({"change": change})
