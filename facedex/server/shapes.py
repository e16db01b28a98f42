"""What requests and answers look like, for the API's description (OpenAPI).

What the command line prints too is in `facedex/json_shapes.py`. Tests check real answers against these shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from facedex import json_shapes

Name = Annotated[str, Field(min_length=1, max_length=1000, description="A person's name.")]


class Body(BaseModel):
    """A JSON body. A field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class NewName(Body):
    name: Name


class PersonChange(Body):
    name: Annotated[str | None, Field(min_length=1, max_length=1000, description="A new name.")] = None
    consent: Annotated[str | None, Field(max_length=1000, description="What the person allowed, in your words.")] = None
    expires: Annotated[
        str | None, Field(max_length=30, description="The last day of that: 2027-06-30, 90d, 1y or never.")
    ] = None


class Into(Body):
    into: Annotated[int, Field(ge=1, le=2**62, description="The id of the person who stays.")]


class Faces(Body):
    faces: Annotated[list[str], Field(min_length=1, max_length=10_000, description="Ids of faces, such as s12.")]


class Ignored(Body):
    ignored: bool = True


class Token(Body):
    token: Annotated[str, Field(max_length=1000)]


class ErrorBody(BaseModel):
    code: str
    message: Annotated[str, Field(description="One sentence that names the thing and the remedy.")]
    details: Any = None


class Problem(BaseModel):
    error: ErrorBody
    request_id: str


class Health(BaseModel):
    status: str
    version: str


class Info(BaseModel):
    version: str
    people: int
    faces: int
    model: Annotated[str, Field(description="The fingerprint of the gallery's model.")]
    model_name: Annotated[str, Field(description="default, fast, or the name of the model's file.")]
    dimensions: int
    access: Annotated[str, Field(description="read or full: what the token of this request allows.")]
    needs_token: bool
    keep_crops: bool
    folders: Annotated[list[str], Field(description="Folders that a scan looks at.")]
    library: dict[str, int]
    limits: dict[str, float]


class Detected(BaseModel):
    photos: list[json_shapes.DetectedPhoto]


class Embedded(BaseModel):
    photos: list[json_shapes.EmbeddedPhoto]


class PhotoIds(Body):
    photos: Annotated[
        list[Annotated[str, Field(max_length=32)]],
        Field(min_length=1, max_length=1000, description="Ids that answers with `keep` gave."),
    ]


@dataclass
class Picture(json_shapes.Shape):
    width: Annotated[int, "Of the upright photo in pixels, as boxes count them."]
    height: Annotated[int, "Of the upright photo in pixels."]
    jpeg: Annotated[str, "The photo with at most 1,600 pixels a side, in base64."]


@dataclass
class IdentifiedPhoto(json_shapes.IdentifiedPhoto):
    id: Annotated[str | None, "By which a further question names the photo; null without `keep`."]
    picture: Annotated[Picture | None, "Null without `picture`, and where there is none."]


class Identified(BaseModel):
    photos: list[IdentifiedPhoto]


@dataclass
class Person(json_shapes.ListedPerson):
    id: int
    crop: Annotated[str | None, "The path of a small picture of the person."]


class People(BaseModel):
    people: list[Person]
    total: int
    next: Annotated[str | None, Field(description="The cursor of the next page.")]


@dataclass
class EnrolledPhoto(json_shapes.EnrolledPhoto):
    face: Annotated[str | None, "The id of the person's face in this photo."]


class EnrolledPerson(BaseModel):
    person: Person | None
    photos: list[EnrolledPhoto]


@dataclass
class PersonFace(json_shapes.ShownPhoto):
    id: str
    crop: str


class PersonFaces(BaseModel):
    person: Person
    faces: list[PersonFace]
    least_alike: str | None
    total: int
    next: str | None


class Merged(BaseModel):
    person: Person
    moved: int


class Corrected(BaseModel):
    person: Person
    face: Annotated[str, Field(description="The id of the face, as before.")]


class Removed(BaseModel):
    faces: int


@dataclass
class Suspicion(json_shapes.Suspicion):
    face: Annotated[str, "The id of the face in question."]
    crop: str


class Suspicions(BaseModel):
    suspicions: list[Suspicion]


@dataclass
class Group(json_shapes.Group):
    crops: Annotated[list[str], "Paths of pictures of the clearest faces."]


class Groups(BaseModel):
    groups: list[Group]
    total: int
    next: str | None


@dataclass
class GroupFace(json_shapes.Shape):
    id: str
    crop: str
    photo: str | None
    box: json_shapes.Box
    score: float
    quality: float


class GroupFaces(BaseModel):
    group: int
    faces: list[GroupFace]
    total: int
    next: str | None


class NamedGroup(BaseModel):
    name: str
    faces: int
    enrolled: int
    others: int
    person: int | None


class SplitGroup(BaseModel):
    group: int


class Undoable(BaseModel):
    number: int
    kind: str
    name: str | None
    time: str


class LastChange(BaseModel):
    change: Annotated[Undoable | None, Field(description="What undo would undo; null where nothing is left.")]


class Undone(BaseModel):
    kind: str
    name: str | None
    faces: int
    photos: int


class Undo(BaseModel):
    undone: Annotated[Undone | None, Field(description="What was undone; null where nothing is left to undo.")]


class UndoOf(Body):
    change: Annotated[
        int | None, Field(ge=1, description="Undo this change alone, and nothing where it is not the last.")
    ] = None


@dataclass
class LoggedChange(json_shapes.LoggedChange):
    number: int


class LoggedChanges(BaseModel):
    changes: list[LoggedChange]
    total: int
    next: str | None


class SomeFaces(Body):
    faces: Annotated[list[str] | None, Field(max_length=10_000, description="Ids of faces; null for all.")] = None


class JoinedGroup(BaseModel):
    group: int
    faces: int


class NoFaces(BaseModel):
    faces: int


@dataclass
class Side(json_shapes.Shape):
    face: str
    crop: str
    photo: str
    box: json_shapes.Box


class Question(BaseModel):
    id: str
    one: Side
    other: Side
    group: Annotated[int, Field(description="The group of `one`; 0 where a named face is asked about.")]
    other_group: Annotated[int, Field(description="The group of `other`; 0 where a person is meant.")]
    person: str | None
    faces: Annotated[int, Field(description="How many faces a yes names or joins, or a no moves.")]
    probability: float


class Questions(BaseModel):
    questions: list[Question]
    total: int


class SameAnswer(Body):
    same: Annotated[bool | None, Field(description="Yes, no, or null to skip the question for now.")]


class Answered(BaseModel):
    change: Annotated[int | None, Field(description="The number of the change; null for a skip.")]


class Scan(BaseModel):
    state: Annotated[str, Field(description="never, running, done, stopped or failed.")]
    folders: list[str]
    photos: int
    done: int
    faces: int
    new: int
    changed: int
    moved: int
    copy_: Annotated[int, Field(alias="copy")]
    known: int
    skipped: int
    gone: int
    error: str | None
    started: str | None
    finished: str | None


@dataclass
class Threshold(json_shapes.Decision):
    asked: float


@dataclass
class PersonPhoto(json_shapes.Shape):
    face: Annotated[str, "The id of the person's face in the photo."]
    crop: str
    photo: str
    box: json_shapes.Box
    quality: float


class PersonPhotos(BaseModel):
    photos: list[PersonPhoto]
    total: int
    next: str | None


class Storage(BaseModel):
    bytes: Annotated[int, Field(description="Of all files of the gallery.")]


class Checked(BaseModel):
    findings: list[json_shapes.Finding]


class Session(BaseModel):
    access: str
