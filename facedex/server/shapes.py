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
    model: str
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


class IdentifiedPhoto(BaseModel):
    photo: str
    faces: list[IdentifiedFace]
    error: str | None
    remark: str | None
    decision: Decision | None


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
    enrolled: Annotated[str, Field(description="When the first photo was enrolled, ISO 8601 in UTC.")]
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


class Undone(BaseModel):
    kind: str
    name: str
    faces: int
    photos: int


class Undo(BaseModel):
    undone: Annotated[Undone | None, Field(description="What was undone; null where nothing is left to undo.")]


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


class Session(BaseModel):
    access: str
