"""Questions about photos: detect, embed, identify, verify. Nothing is kept of them, unless a request asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request

from facedex import json_shapes, results
from facedex.errors import NoFace, RequestError
from facedex.photos.inputs import GivenPhoto
from facedex.recognition.detection import DetectedPhoto, detect_photos
from facedex.recognition.embedding import embed_photos
from facedex.recognition.identification import FPIR, PRIOR, Decision, IdentifiedPhoto, identify
from facedex.recognition.verification import FMR
from facedex.server import shapes
from facedex.server.access import reads
from facedex.server.descriptions import PHOTOS, PHOTOS_OR_IDS, answers, prior_query, rate_query
from facedex.server.recent_photos import AskedPhoto, look_at, look_up
from facedex.server.refusals import Json
from facedex.server.service import Service
from facedex.server.uploads import is_json, read_json, read_upload

Fpir = Annotated[float, rate_query("Share of strangers who may be named.")]
Prior = Annotated[float, prior_query("Probability that the person in a photo is enrolled.")]


def add_answer_routes(app: FastAPI, service: Service) -> None:
    """Add the routes to the application."""
    _add_identify(app, service)
    gallery, device, limits = service.gallery, service.settings.device, service.settings.limits

    @app.post("/v1/detect", tags=["photos"], openapi_extra=PHOTOS, responses=answers(shapes.Detected))
    @reads
    async def detect_faces(request: Request) -> Json:
        """List the faces of photos, without naming anybody."""

        def detect(photos: list[GivenPhoto]) -> list[DetectedPhoto]:
            return list(detect_photos(photos, gallery.detector))

        upload = await read_upload(request, limits)
        return _photos(await service.ask(upload, detect), lambda photo: results.detect_json(photo, ()))

    @app.post("/v1/embed", tags=["photos"], openapi_extra=PHOTOS, responses=answers(shapes.Embedded))
    @reads
    async def embed_faces(request: Request) -> Json:
        """Give the embeddings of the faces of photos, which are biometric data."""

        def embed(photos: list[GivenPhoto]) -> list[DetectedPhoto]:
            return list(embed_photos(photos, reader=gallery.reader(device)))

        upload = await read_upload(request, limits)
        return _photos(await service.ask(upload, embed), results.embed_json)

    @app.post("/v1/verify", tags=["photos"], openapi_extra=PHOTOS, responses=answers(json_shapes.Verified))
    @reads
    async def verify_two(
        request: Request,
        fmr: Annotated[float, rate_query("Share of different pairs that may pass.")] = FMR,
        prior: Prior = PRIOR,
    ) -> Json:
        """Tell whether two photos of one form show the same person."""
        upload = await read_upload(request, limits)
        if len(upload.photos) != 2:
            raise RequestError("Two photos are compared; send a form with two files")
        question = partial(_verify, service, fmr, prior)
        return Json(results.verify_json(await service.ask(upload, question)))

    @app.get("/v1/threshold", tags=["photos"], responses=answers(shapes.Threshold))
    @reads
    async def threshold(fpir: Fpir = FPIR) -> Json:
        """The threshold for a share of strangers named, at the gallery's present size."""

        def decide() -> Decision:
            least = gallery.threshold(fpir)
            return Decision(least, *gallery.false_alarm_rate(least), len(gallery))

        return Json({"asked": fpir, **results.decision_json(await service.read(decide))})


def _add_identify(app: FastAPI, service: Service) -> None:
    gallery, device, limits = service.gallery, service.settings.device, service.settings.limits

    @app.post("/v1/identify", tags=["photos"], openapi_extra=PHOTOS_OR_IDS, responses=answers(shapes.Identified))
    @reads
    async def identify_faces(
        request: Request,
        top: Annotated[int, Query(ge=1, le=100, description="Number of candidates a face.")] = 1,
        fpir: Fpir = FPIR,
        prior: Prior = PRIOR,
        allow_repeat: Annotated[bool, Query(description="Two faces of a photo may have one name.")] = False,
        keep: Annotated[bool, Query(description="Give each photo an `id`, by which it is asked about again.")] = False,
        picture: Annotated[bool, Query(description="Give a small picture of each photo.")] = False,
    ) -> Json:
        """Name the faces of photos; strangers stay unknown.

        With `keep`, the faces of each photo stay in memory for 15 minutes after the last question about them. A JSON
        body with ids asks about such photos. The `id` of one that is not known any more is null, and it has an error.
        """

        def name(looked: Iterable[AskedPhoto]) -> tuple[list[AskedPhoto], list[IdentifiedPhoto]]:
            asked = list(looked)
            options: Any = {"top": top, "fpir": fpir, "prior": prior, "allow_repeat": allow_repeat, "device": device}
            return asked, list(identify(gallery, [photo.known for photo in asked], **options))

        def look(photos: list[GivenPhoto]) -> tuple[list[AskedPhoto], list[IdentifiedPhoto]]:
            return name(look_at(gallery, photos, device, service.recent if keep else None, picture))

        if is_json(request):
            ids = (await read_json(request, shapes.PhotoIds)).photos
            asked, found = await service.photo_work.run(lambda: name(look_up(service.recent, ids)))
        else:
            asked, found = await service.ask(await read_upload(request, limits), look)
            _refuse_lone(found)
        extras = [{"id": one.id, "picture": one.picture} for one in asked]
        return Json({"photos": [results.identify_json(one) | more for one, more in zip(found, extras, strict=True)]})


def _verify(service: Service, fmr: float, prior: float, photos: list[GivenPhoto]) -> Any:
    return service.verifier().verify(photos[0], photos[1], fmr, prior)


def _photos(found: Sequence[DetectedPhoto], to_json: Callable[[DetectedPhoto], dict[str, Any]]) -> Json:
    """The results of photos."""
    _refuse_lone(found)
    return Json({"photos": [to_json(photo) for photo in found]})


def _refuse_lone(found: Sequence[DetectedPhoto | IdentifiedPhoto]) -> None:
    """Raise the error of a lone photo, as `Gallery.identify` does."""
    if len(found) == 1 and found[0].exception is not None and not isinstance(found[0].exception, NoFace):
        raise found[0].exception
