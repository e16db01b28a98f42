"""What requests and answers look like, for the API's description (OpenAPI).

`results.py` makes the objects themselves, for the command line too. Tests check real answers against these shapes.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=1000, description="A person's name.")]
Rate = Annotated[float, Field(gt=0, lt=1)]
Box = Annotated[
    list[float],
    Field(min_length=4, max_length=4, description="Left, top, width, height in pixels of the upright photo."),
]


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


class Quality(BaseModel):
    model_config = ConfigDict(extra="allow")


class FoundFace(BaseModel):
    number: int
    box: Box
    landmarks: list[list[float]]
    score: float
    quality: Quality


class DetectedFace(FoundFace):
    reason: str | None
    crop: None = None


class DetectedPhoto(BaseModel):
    photo: str
    faces: list[DetectedFace]
    error: str | None
    remark: str | None


class Detected(BaseModel):
    photos: list[DetectedPhoto]


class EmbeddedFace(FoundFace):
    embedding: list[float]


class EmbeddedPhoto(BaseModel):
    photo: str
    faces: list[EmbeddedFace]
    error: str | None


class Embedded(BaseModel):
    photos: list[EmbeddedPhoto]


class Candidate(BaseModel):
    name: str
    similarity: float
    probability: float
    logit: float


class IdentifiedFace(BaseModel):
    box: Box
    score: float
    name: str | None
    named_by: Annotated[str | None, Field(description="recognition, or library for a name that a user gave.")]
    similarity: float
    probability: float
    logit: float | None
    candidates: list[Candidate]
    quality: Quality | None
    reason: str | None
    warning: str | None


class Decision(BaseModel):
    threshold: float | None  # null in a gallery without people
    fpir: float | None
    fpir_low: float | None
    fpir_high: float | None
    people: int


class PhotoIds(Body):
    photos: Annotated[
        list[Annotated[str, Field(max_length=32)]],
        Field(min_length=1, max_length=1000, description="Ids that answers with `keep` gave."),
    ]


class Picture(BaseModel):
    width: Annotated[int, Field(description="Of the upright photo in pixels, as boxes count them.")]
    height: int
    jpeg: Annotated[str, Field(description="The photo with at most 1,600 pixels a side, in base64.")]


class IdentifiedPhoto(BaseModel):
    photo: str
    faces: list[IdentifiedFace]
    copies: Annotated[list[str], Field(description="Empty here; the command line can sort copies into folders.")]
    error: str | None
    remark: str | None
    decision: Decision | None
    id: Annotated[str | None, Field(description="By which a further question names the photo; null without `keep`.")]
    picture: Annotated[Picture | None, Field(description="Null without `picture`, and where there is none.")]


class Identified(BaseModel):
    photos: list[IdentifiedPhoto]


class Verified(BaseModel):
    same: bool
    similarity: float
    probability: float
    logit: float | None = None
    threshold: float | None = None
    fmr: float | None = None
    remarks: list[str]
    warnings: list[str]


class Person(BaseModel):
    id: int
    name: str
    photos: int
    enrolled: Annotated[str | None, Field(description="When the first photo was enrolled, ISO 8601 in UTC.")]
    consents: list[str]
    expires: Annotated[str | None, Field(description="The last day on which a photo may be matched.")]
    expired: bool
    crop: Annotated[str | None, Field(description="The path of a small picture of the person.")]


class People(BaseModel):
    people: list[Person]
    total: int
    next: Annotated[str | None, Field(description="The cursor of the next page.")]


class EnrolledPhoto(BaseModel):
    photo: str
    name: str
    status: Annotated[str, Field(description="enrolled, known, conflict or skipped.")]
    reason: str | None
    face: Annotated[str | None, Field(description="The id of the person's face in this photo.")]


class EnrolledPerson(BaseModel):
    person: Person | None
    photos: list[EnrolledPhoto]


class PersonFace(BaseModel):
    id: str
    crop: str
    photo: str
    box: Box
    enrolled: str
    quality: float
    unclear: bool
    similarity: float | None
    consent: str | None
    expires: str | None
    expired: bool


class PersonFaces(BaseModel):
    person: Person
    faces: list[PersonFace]
    least_alike: str | None
    total: int
    next: str | None


class Merged(BaseModel):
    person: Person
    moved: int


class Removed(BaseModel):
    faces: int


class Suspicion(BaseModel):
    part: str
    state: str
    detail: str
    kind: str
    name: str
    photo: str
    other: str | None
    photos: int
    similarity: float | None
    other_similarity: float | None
    false_warnings: float
    face: Annotated[str, Field(description="The id of the face in question.")]
    crop: str


class Suspicions(BaseModel):
    suspicions: list[Suspicion]


class Group(BaseModel):
    group: int
    faces: int
    photos: int
    examples: list[str]
    resembles: str | None
    ignored: bool
    crops: Annotated[list[str], Field(description="Paths of pictures of the clearest faces.")]


class Groups(BaseModel):
    groups: list[Group]
    total: int
    next: str | None


class GroupFace(BaseModel):
    id: str
    crop: str
    photo: str | None
    box: Box
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


class LoggedChange(BaseModel):
    number: int
    time: str
    account: str | None
    kind: str
    name: str | None
    former: str | None
    photos: int
    faces: int
    paths: list[str]
    detail: str | None
    undoable: bool


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


class Side(BaseModel):
    face: str
    crop: str
    photo: str
    box: Box


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


class Threshold(Decision):
    asked: float


class PersonPhoto(BaseModel):
    face: Annotated[str, Field(description="The id of the person's face in the photo.")]
    crop: str
    photo: str
    box: Box
    quality: float


class PersonPhotos(BaseModel):
    photos: list[PersonPhoto]
    total: int
    next: str | None


class Storage(BaseModel):
    bytes: Annotated[int, Field(description="Of all files of the gallery.")]


class PartFound(BaseModel):
    part: str
    state: Annotated[str, Field(description="sound, repaired, warning or broken.")]
    detail: str


class Checked(BaseModel):
    findings: list[PartFound]


class Session(BaseModel):
    access: str
