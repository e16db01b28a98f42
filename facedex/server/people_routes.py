"""The people of the gallery, and their faces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

from fastapi import FastAPI, Path, Query, Request, Response

from facedex import results
from facedex.decision.misfit import FALSE_WARNINGS
from facedex.errors import FaceNotFound, PersonConflict, PersonNotFound, RequestError
from facedex.gallery.enrolment import Enrolled
from facedex.gallery.gallery import Gallery
from facedex.photos import images
from facedex.photos.inputs import GivenPhoto
from facedex.photos.sources import person_name
from facedex.server import shapes
from facedex.server.access import reads
from facedex.server.cursors import Cursor, Limit, part
from facedex.server.descriptions import NAMED_PHOTOS, PHOTOS_OF_A_PERSON, answers, rate_query
from facedex.server.face_pictures import crop_path, enrolled_id, keep_pictures, number_of
from facedex.server.refusals import Json
from facedex.server.service import Service
from facedex.server.uploads import Upload, read_upload
from facedex.store.rows import PersonRecord, StoredPhoto

PersonId = Annotated[int, Path(ge=1, le=2**62, description="The person's id.")]


def add_people_routes(app: FastAPI, service: Service) -> None:
    """Add the routes to the application."""
    _add_lists(app, service)
    _add_changes(app, service)
    _add_faces(app, service)


def _add_lists(app: FastAPI, service: Service) -> None:
    gallery = service.gallery

    @app.get("/v1/people", tags=["people"], responses=answers(shapes.People))
    @reads
    async def list_people(
        limit: Limit = 100,
        cursor: Cursor = None,
        q: Annotated[str, Query(max_length=200, description="Part of the name, in any case.")] = "",
    ) -> Json:
        """Everybody enrolled, by name."""
        everybody = await service.read(gallery.people)
        found = [person for person in everybody if q.casefold() in person.name.casefold()]
        shown, following = part(found, lambda person: [person.name], limit, cursor)
        return Json({"people": [_person(person) for person in shown], "total": len(found), "next": following})

    @app.get("/v1/people/{person}", tags=["people"], responses=answers(shapes.Person))
    @reads
    async def show_person(person: PersonId) -> Json:
        """One person."""
        return Json(_person(await service.read(partial(gallery.person, person))))


def _add_changes(app: FastAPI, service: Service) -> None:
    gallery, limits = service.gallery, service.settings.limits

    @app.post("/v1/people", tags=["people"], openapi_extra=NAMED_PHOTOS, responses=answers(shapes.EnrolledPerson, 201))
    async def enroll_person(request: Request) -> Json:
        """Enroll a person by photos. The person may be enrolled already, and a photo that is known changes nothing."""
        upload = await read_upload(request, limits)
        if not upload.fields.get("name", "").strip():
            raise RequestError("The form has no field `name`; add the person's name")
        name = person_name(upload.fields["name"])
        return await _enroll(service, upload, lambda: name)

    @app.patch("/v1/people/{person}", tags=["people"], responses=answers(shapes.Person))
    async def change_person(person: PersonId, body: shapes.PersonChange) -> Json:
        """Give a person another name, or change what the person allowed and until when."""

        def change() -> PersonRecord:
            with gallery.alone():
                record = gallery.person(person)
                if body.consent is not None or body.expires is not None:
                    gallery.set_consent(record.name, body.consent, body.expires)
                if body.name is not None:
                    gallery.rename(record.name, body.name)
                return gallery.person(person)

        return Json(_person(await service.change("people", change)))

    @app.delete("/v1/people/{person}", tags=["people"], responses=answers(shapes.Removed))
    async def remove_person(person: PersonId) -> Json:
        """Delete a person. Nothing of the faces stays in any file of the gallery."""

        def remove() -> int:
            with gallery.alone():
                return gallery.remove(gallery.person(person).name)

        return Json({"faces": await service.change("people", remove)})

    @app.post("/v1/people/{person}/merge", tags=["people"], responses=answers(shapes.Merged))
    async def merge_people(person: PersonId, body: shapes.Into) -> Json:
        """Make two people one. The person `into` stays."""

        def merge() -> tuple[PersonRecord, int]:
            with gallery.alone():
                moved = gallery.merge(gallery.person(person).name, gallery.person(body.into).name)
                return gallery.person(body.into), moved

        stays, moved = await service.change("people", merge)
        return Json({"person": _person(stays), "moved": moved})


def _add_faces(app: FastAPI, service: Service) -> None:
    gallery, limits = service.gallery, service.settings.limits

    @app.get("/v1/people/{person}/faces", tags=["people"], responses=answers(shapes.PersonFaces))
    @reads
    async def list_faces(person: PersonId, limit: Limit = 100, cursor: Cursor = None) -> Json:
        """A person's enrolled faces, and how far each resembles the others."""
        return Json(await service.read(partial(_faces, gallery, person, limit, cursor)))

    @app.post(
        "/v1/people/{person}/faces",
        tags=["people"],
        openapi_extra=PHOTOS_OF_A_PERSON,
        responses=answers(shapes.EnrolledPerson, 201),
    )
    async def enroll_faces(request: Request, person: PersonId) -> Json:
        """Enroll more photos of a person."""
        await service.read(partial(gallery.person, person))  # before a body is read
        upload = await read_upload(request, limits)
        return await _enroll(service, upload, lambda: gallery.person(person).name)

    @app.delete("/v1/people/{person}/faces/{face}", tags=["people"], responses=answers(shapes.Removed))
    async def remove_face(person: PersonId, face: str) -> Json:
        """Delete one enrolled face. A person without a face left is deleted too."""

        def remove() -> int:
            with gallery.alone():
                return gallery.remove_photos([_face_of(gallery, person, face)])

        return Json({"faces": await service.change("people", remove)})

    @app.patch("/v1/people/{person}/faces/{face}", tags=["people"], responses=answers(shapes.Corrected))
    async def correct_face(person: PersonId, face: str, body: shapes.NewName) -> Json:
        """Give an enrolled face to another person, known or new.

        Where the face is all that is kept of a person, the person is renamed, or merged into the other one.
        """

        def correct() -> PersonRecord:
            with gallery.alone():
                gallery.correct(_face_of(gallery, person, face).face, body.name)
                return gallery.find(gallery.enrolled_photo(number_of(face, "e")).name)[0]

        return Json({"person": _person(await service.change("people", correct)), "face": face})

    @app.get("/v1/people/{person}/suspicions", tags=["people"], responses=answers(shapes.Suspicions))
    @reads
    async def list_suspicions(
        person: PersonId,
        rate: Annotated[float, rate_query("Share of people whom a warning may concern by mistake.")] = FALSE_WARNINGS,
    ) -> Json:
        """Photos of a person that may show somebody else, and people who may be this one."""
        found = await service.read(lambda: gallery.suspicions(gallery.person(person).name, rate=rate))
        return Json(
            {
                "suspicions": [
                    {
                        **results.suspicion_json(one),
                        "face": enrolled_id(one.face),
                        "crop": crop_path(enrolled_id(one.face)),
                    }
                    for one in found
                ]
            }
        )

    @app.get("/v1/people/{person}/crop", tags=["pictures"], response_class=Response, responses=answers(None))
    @reads
    async def person_picture(person: PersonId) -> Response:
        """A picture of the person's first face."""
        faces = await service.read(lambda: gallery.enrolled_photos(gallery.person(person).name)[1])
        if not faces:
            raise FaceNotFound(f"Person {person} has no enrolled face; enroll a photo")
        return Response(await service.picture(enrolled_id(faces[0].face)), media_type="image/jpeg")


def _person(person: PersonRecord) -> dict[str, Any]:
    return {"id": person.id, **results.list_json(person), "crop": f"/v1/people/{person.id}/crop"}


def _face_of(gallery: Gallery, person: int, face: str) -> StoredPhoto:
    """An enrolled face of a person, by their ids. Raises FaceNotFound, PersonNotFound."""
    photo = gallery.enrolled_photo(number_of(face, "e"))
    if photo.name != gallery.person(person).name:
        raise FaceNotFound(f"Face {face} is not of person {person}; the list of faces has their ids")
    return photo


def _faces(gallery: Gallery, person: int, limit: int, cursor: str | None) -> dict[str, Any]:
    record = gallery.person(person)
    if not record.photos:
        return {"person": _person(record), "faces": [], "least_alike": None, "total": 0, "next": None}
    shown = gallery.show(record.name)
    photos = zip(shown.photos, results.show_json(shown)["photos"], strict=True)
    faces = [
        ({"id": enrolled_id(one.face), "crop": crop_path(enrolled_id(one.face)), **row}, one) for one, row in photos
    ]
    found, following = part(faces, lambda pair: [pair[1].face], limit, cursor)
    least = shown.least_alike
    return {
        "person": _person(record),
        "faces": [row for row, _ in found],
        "least_alike": None if least is None else enrolled_id(least.face),
        "total": len(faces),
        "next": following,
    }


class _NowEnrolled(NamedTuple):
    """The person, a result for each photo, the face of each photo's SHA-256, and whose face the first photo's was."""

    record: PersonRecord | None
    found: list[Enrolled]
    faces: dict[str, int]
    former: dict[str, Any] | None


async def _enroll(service: Service, upload: Upload, name_of: Callable[[], str]) -> Json:
    """Enroll the photos of a request; 201 where at least one is new."""
    number = upload.fields.get("face")
    if number is not None and not (number.isascii() and number.isdecimal() and 0 < int(number) < 10_000):
        raise RequestError("The field `face` is a number from 1; leave it out for the most prominent face")
    face = int(number) if number else None

    gallery, settings = service.gallery, service.settings

    def enroll(photos: list[GivenPhoto]) -> _NowEnrolled:
        terms: Any = {field: upload.fields[field] for field in ("consent", "expires") if upload.fields.get(field)}
        with gallery.alone():
            name = name_of()
            found = gallery.enroll_all([(name, photo) for photo in photos], False, settings.device, face=face, **terms)
            former = _owner(gallery, found[0].owned)
            try:
                (record,) = gallery.find(found[0].name)
            except PersonNotFound:  # no photo could be enrolled
                return _NowEnrolled(None, found, {}, former)
            if settings.keep_crops:
                keep_pictures(gallery, record.name, [data for _, data in upload.photos])
            faces = gallery.enrolled_photos(record.name)[1]
        return _NowEnrolled(record, found, {photo.photo: photo.face for photo in faces}, former)

    record, found, faces, former = await service.change_by(upload, enroll)
    if len(found) == 1 and found[0].exception is not None:
        raise found[0].exception
    if len(found) == 1 and found[0].status == "conflict":
        message = f"{found[0].photo} is not enrolled as {found[0].name!r}: {found[0].reason}"
        raise PersonConflict(message, former)
    body = {
        "person": None if record is None else _person(record),
        "photos": [
            {**results.enroll_json(one), "face": _id_of(faces.get(images.sha256(data)))}
            for one, (_, data) in zip(found, upload.photos, strict=True)
        ],
    }
    return Json(body, 201 if any(one.status == "enrolled" for one in found) else 200)


def _owner(gallery: Gallery, face: int | None) -> dict[str, Any] | None:
    """Whose enrolled face it is, for a client that corrects the name; None where nobody's is known."""
    if face is None:
        return None
    (person,) = gallery.find(gallery.enrolled_photo(face).name)
    return {"person": person.id, "name": person.name, "face": enrolled_id(face)}


def _id_of(face: int | None) -> str | None:
    return None if face is None else enrolled_id(face)
