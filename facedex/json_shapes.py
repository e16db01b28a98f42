"""The JSON objects of the command line and of the API: every field, its type, and what it means in one sentence.

The text beside a field's type is the meaning. `results.py` and `evaluation/report_json.py` make the objects.
`cli/json_fields.py` says which command prints which, and `server/shapes.py` adds what the API alone gives. Tests
compare the shapes with what is printed and answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from facedex.store.changelog import KINDS


class Shape:
    """One kind of JSON object."""

    @classmethod
    def fields(cls, path: str = "") -> dict[str, str]:
        """What each field means, and each field of the objects in it, by the field's path."""
        kinds = get_type_hints(cls, include_extras=True)
        return {field: text for name, kind in kinds.items() for field, text in _meanings(f"{path}{name}", kind).items()}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """The schema with the meanings as descriptions. pydantic calls this for the API's description."""
        reference: dict[str, Any] = handler(schema)
        properties = handler.resolve_ref_schema(reference)["properties"]
        for field, text in cls.fields().items():
            if field in properties:
                properties[field]["description"] = text
        return reference


def _meanings(path: str, kind: Any) -> dict[str, str]:
    """What the field of this path and type means, and what is in it."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        text = {path: inside[1]} if isinstance(inside[1], str) else {}
        return {**text, **_meanings(path, inside[0])}
    if origin is list:
        return _meanings(f"{path}[]", inside[0])
    if origin is dict:
        return _meanings(f"{path}.*", inside[1])
    if isinstance(kind, type) and issubclass(kind, Shape):
        return kind.fields(f"{path}.")
    return {field: text for part in inside for field, text in _meanings(path, part).items()}


Photo = Annotated[str, "The photo's path; stdin for the photo that - stands for."]
Box = Annotated[tuple[float, float, float, float], "Left, top, width and height in pixels of the upright photo."]
Score = Annotated[float, "The detector's score, 0 to 1."]
PhotoError = Annotated[str | None, "Why the photo could not be used, else null."]
Remark = Annotated[
    str | None, "What a user should know of the photo itself, such as that a part is missing, else null."
]
PersonName = Annotated[str, "The person."]
FirstEnrolled = Annotated[
    str | None, "When the first photo was enrolled, as an ISO 8601 time in UTC; null for no photo."
]
Expired = Annotated[bool, "Whether that day is over."]


# Faces of photos


@dataclass
class Quality(Shape):
    width: Annotated[float, "The shorter side of the box in pixels."]
    sharpness: Annotated[float, "The energy of the finest detail, divided by the contrast."]
    turn: Annotated[float, "The distance of the nose from the middle of the eyes, divided by the eyes' distance."]
    score: Score


@dataclass
class EncodedQuality(Quality):
    length: Annotated[
        float,
        "The length of the network's vector before normalisation, for several networks the geometric mean; "
        "unclear faces have short vectors.",
    ]


@dataclass
class FoundFace(Shape):
    number: Annotated[int, "The face's number from 1, as in `enroll --face`."]
    box: Box
    landmarks: Annotated[
        list[list[float]],
        "Five points [x, y]: eyes, nose, corners of the mouth; each pair from left to right in the picture.",
    ]
    score: Score


@dataclass
class DetectedFace(FoundFace):
    quality: Annotated[Quality, "Measures of the face before it is compared."]
    reason: Annotated[str | None, "What is wrong with the face, else null."]
    crop: Annotated[str | None, "The file written for `--crops`, else null."]


@dataclass
class DetectedPhoto(Shape):
    photo: Photo
    faces: Annotated[list[DetectedFace], "Every face, the subject first; empty when there is none."]
    error: PhotoError
    remark: Remark


@dataclass
class EmbeddedFace(FoundFace):
    quality: Annotated[EncodedQuality, "Measures of the face before it is compared."]
    embedding: Annotated[list[float], "The embedding, a vector of length 1."]


@dataclass
class EmbeddedPhoto(Shape):
    photo: Photo
    faces: Annotated[
        list[EmbeddedFace], "Every face, the subject first, in the order of `detect`; empty when there is none."
    ]
    error: PhotoError


@dataclass
class Candidate(Shape):
    name: Annotated[str, "The candidate."]
    similarity: Annotated[float, "The candidate's similarity."]
    probability: Annotated[float, "The candidate's probability."]
    logit: Annotated[float, "The candidate's logit."]


@dataclass
class IdentifiedFace(Shape):
    box: Box
    score: Score
    name: Annotated[str | None, "The person, or null for an unknown face."]
    named_by: Annotated[str | None, "library (a person named this scanned face), recognition, or null for no name."]
    similarity: Annotated[
        float,
        "The probability that the face is the person's when half of all pairs are genuine; for an unknown face "
        "that of the best candidate.",
    ]
    probability: Annotated[
        float,
        "The probability that the name is right, given everybody enrolled and the prior; for an unknown face that "
        "of the best candidate. It is recognition's, whoever gave the name.",
    ]
    logit: Annotated[
        float | None,
        "The head's score for the same person, compared with decision.threshold; null when nobody, or nobody of a "
        "name that the library gives, is enrolled.",
    ]
    candidates: Annotated[list[Candidate], "Up to `--top` people: the named person first, then by probability."]
    quality: Annotated[EncodedQuality | None, "Measures of the face before it is compared."]
    reason: Annotated[
        str | None,
        "Why the face has no name, where that is known, else null. It names a best candidate of probability .1 or "
        "more.",
    ]
    warning: Annotated[str | None, "Why the stated rates may not hold for this face (a negative, a tint), else null."]


@dataclass
class Decision(Shape):
    threshold: Annotated[float | None, "The least logit of a named face; null when nobody is enrolled."]
    fpir: Annotated[float | None, "The share of strangers who reach it in this gallery."]
    fpir_low: Annotated[float | None, "The 5 % quantile of that share, given the calibration's error."]
    fpir_high: Annotated[float | None, "The 95 % quantile of that share, given the calibration's error."]
    people: Annotated[int, "The number of people enrolled."]


@dataclass
class IdentifiedPhoto(Shape):
    photo: Photo
    faces: Annotated[
        list[IdentifiedFace], "Every face, the subject first, in the order of `detect`; empty when there is none."
    ]
    copies: Annotated[list[str], "The photo's copies in the folder of `--copy-to`, one for each person in it."]
    error: PhotoError
    remark: Remark
    decision: Annotated[
        Decision | None, "The threshold for the photo's faces, or null when the photo could not be used."
    ]


@dataclass
class Appearance(IdentifiedFace):
    start: Annotated[float, "The first time at which the face was seen, in seconds from the start of the video."]
    end: Annotated[float, "The last such time."]
    frames: Annotated[int, "The number of frames in which the face was seen."]
    at: Annotated[float, "The time of the clearest view, to which the box belongs."]
    crop: Annotated[str | None, "The file written for `--crops`, else null."]


@dataclass
class IdentifiedVideo(Shape):
    video: Annotated[str, "The video's path."]
    seconds: Annotated[float, "How long the video is, as its header says; 0 where it does not."]
    appearances: Annotated[list[Appearance], "Everybody who appears, by the start; empty when there is nobody."]
    error: Annotated[str | None, "Why the video could not be used, else null."]
    remark: Annotated[str | None, "What a user should know of the file, such as that it breaks off, else null."]
    decision: Annotated[Decision | None, "The threshold for the names, or null when the video could not be used."]


@dataclass
class Verified(Shape):
    same: Annotated[bool, "Whether the two photos are called the same person's."]
    similarity: Annotated[float, "The probability of the same person when half of all pairs are genuine."]
    probability: Annotated[float, "The probability of the same person for `--prior`."]
    logit: Annotated[float, "The head's score for the pair."]
    threshold: Annotated[float, "The least logit of a pair that is called the same person's."]
    fmr: Annotated[float, "The share of impostor pairs that reach the threshold."]
    remarks: Annotated[list[str], "What a user should know of the photos, such as that a part of one is missing."]
    warnings: Annotated[
        list[str], "For each photo with an unusual face (a negative, a tint): the stated rates may not hold."
    ]


# People


@dataclass
class EnrolledPhoto(Shape):
    photo: Photo
    name: Annotated[str, "The name the photo was to be enrolled under."]
    status: Annotated[
        str,
        "enrolled; known (this photo is in the gallery); moved (it is known under another path); conflict (this "
        "face has another name in the gallery, or this photo another face); skipped. After all photos: suspicious "
        "(an enrolled photo that may show somebody else, or who has two names).",
    ]
    reason: Annotated[str | None, "Why the photo was not enrolled, or a warning about an enrolled face, else null."]


@dataclass
class ListedPerson(Shape):
    name: Annotated[str, "The person's name."]
    photos: Annotated[int, "The number of photos enrolled; 0 for somebody who has only named scanned faces left."]
    enrolled: FirstEnrolled
    consents: Annotated[list[str], "What was allowed for the photos, each text once."]
    expires: Annotated[str | None, "The last day on which a photo may be matched, or null for no end."]
    expired: Expired


@dataclass
class ShownPhoto(Shape):
    photo: Annotated[str, "The photo's path when it was enrolled."]
    box: Box
    enrolled: Annotated[str, "When the photo was enrolled, as an ISO 8601 time in UTC."]
    quality: Annotated[float, "The length of the embedding before normalisation, 0 where not known."]
    unclear: Annotated[bool, "Whether the embedding is so short that errors are likely."]
    similarity: Annotated[
        float | None,
        "The probability that the photo shows the person of the other photos when half of all such pairs are "
        "genuine; null for the only photo.",
    ]
    consent: Annotated[str | None, "What was allowed for the photo, or null."]
    expires: Annotated[str | None, "The last day on which the photo may be matched, or null for no end."]
    expired: Expired


@dataclass
class ShownPerson(Shape):
    name: Annotated[str, "The person's name."]
    enrolled: FirstEnrolled
    photos: Annotated[list[ShownPhoto], "Every photo, in the order of enrolment."]
    least_alike: Annotated[
        str | None, "The path of the photo that resembles the others least; null for fewer than three."
    ]


@dataclass
class LoggedChange(Shape):
    time: Annotated[str, "When it was made, as an ISO 8601 time in UTC."]
    account: Annotated[str | None, "The system's account of the process that made it, or null."]
    kind: Annotated[str, f"{', '.join(sorted(KINDS)[:-1])} or {sorted(KINDS)[-1]}."]
    name: Annotated[str | None, "The person as named then, or null; null too for whoever was deleted later."]
    former: Annotated[
        str | None,
        "The former name, the person who was merged, or the former person of a photo that moved or was corrected; "
        "null for none.",
    ]
    photos: Annotated[int, "The number of photos that it concerns."]
    faces: Annotated[int, "The number of scanned faces that it concerns."]
    paths: Annotated[list[str], "The paths of those of its photos that are still in the gallery."]
    detail: Annotated[str | None, "The rest in words, or null."]
    undoable: Annotated[bool, "Whether `undo` can undo it, after every later one."]


@dataclass
class Finding(Shape):
    part: Annotated[str, "The part that was checked."]
    state: Annotated[str, "sound, repaired, warning or broken."]
    detail: Annotated[str, "What was found, and the remedy."]


@dataclass
class Suspicion(Shape):
    part: Annotated[str, 'Always "people".']
    state: Annotated[str, 'Always "warning".']
    detail: Annotated[str, "What is suspicious, in words."]
    kind: Annotated[
        str,
        "unlike (the photo does not resemble the person's others), other (it resembles another person more) or "
        "same (two names may be one person).",
    ]
    name: PersonName
    photo: Annotated[str, "The path of the photo when it was enrolled; of a pair the photo most like `other`."]
    other: Annotated[str | None, "The other person whom the photo resembles, or null."]
    photos: Annotated[int, "How many photos the person has."]
    similarity: Annotated[
        float | None, "The similarity of the photo with the person's other photos; null for the only photo."
    ]
    other_similarity: Annotated[
        float | None, "The similarity with `other`; of a pair that of the two people; null without one."
    ]
    false_warnings: Annotated[float, "The share of people with right photos whom so suspicious a score would concern."]


# The library


@dataclass
class ScannedPhoto(Shape):
    photo: Photo
    status: Annotated[
        str,
        "new; changed (another photo was at this path); moved (the photo had another path); copy (the photo has "
        "another path too); skipped; gone (the file is no longer there).",
    ]
    faces: Annotated[int, "The number of faces found now."]
    reason: Annotated[str | None, "Why the photo was skipped, or what a user should know of it, else null."]


@dataclass
class Group(Shape):
    group: Annotated[int, "The group's number, for `name` and `ignore`."]
    faces: Annotated[int, "The number of its faces that have no name."]
    photos: Annotated[int, "The number of photos they are in."]
    examples: Annotated[list[str], "The paths of up to three photos with the clearest of these faces."]
    resembles: Annotated[str | None, "The person whom the faces resemble, or null."]
    ignored: Annotated[bool, "Whether `ignore` said that the group needs no name."]


@dataclass
class FoundPerson(Shape):
    name: PersonName
    box: Box
    named_by: Annotated[str, "library (a person named or enrolled this face), or recognition."]
    probability: Annotated[float | None, "Of a name by recognition, as `identify` gives it; null for one by a person."]


@dataclass
class FoundPhoto(Shape):
    photo: Photo
    faces: Annotated[list[FoundPerson], "The face of each person that was asked for, in that order."]
    quality: Annotated[
        float, "The length of the least clear face's vector before normalisation; unclear faces have short vectors."
    ]
    taken: Annotated[str | None, "When the photo was taken, as an ISO 8601 local time; null without `--since`."]
    taken_from: Annotated[str | None, "exif, or file for the file's time of change; null without `--since`."]


@dataclass
class ExportedPhoto(Shape):
    photo: Photo
    file: Annotated[str | None, "The sidecar, with `--embed` the photo; null where it cannot be used."]
    names: Annotated[list[str], "The names that stand in it now."]
    conflicts: Annotated[list[str], "A sentence for each face that another program names otherwise."]
    changed: Annotated[bool, "Whether the file was written."]
    error: PhotoError


@dataclass
class ImportedPhoto(Shape):
    photo: Photo
    names: Annotated[list[str], "The names that were taken over."]
    warnings: Annotated[list[str], "A sentence for each name that was left out."]
    error: PhotoError


# Evaluations. A rate is null where it could not be measured.

Rate = float | None
Interval = list[Rate]
ModelName = Annotated[str, "The model's name."]


@dataclass
class RealisedRates(Shape):
    enrolled: Annotated[int, "The number of people enrolled."]
    target: Annotated[float, "The FPIR that the threshold was set for."]
    fpir: Annotated[Rate, "The FPIR that was measured."]
    fpir_ci: Annotated[Interval, "Its 95 % interval."]
    fnir: Annotated[Rate, "The FNIR that was measured."]
    fnir_ci: Annotated[Interval, "Its 95 % interval."]


@dataclass
class Failure(Shape):
    photo: Annotated[str, "The photo's key, NAME/PHOTO."]
    reason: Annotated[str, "Why it could not be used."]


@dataclass
class PeopleReport(Shape):
    protocol: Annotated[str, 'Always "people".']
    model: ModelName
    people: Annotated[int, "The number of people."]
    photos: Annotated[int, "The number of photos with a usable face."]
    genuine: Annotated[int, "The number of genuine pairs (one person)."]
    impostors: Annotated[int, "The number of impostor pairs (two people)."]
    tar: Annotated[
        dict[str, Annotated[Rate, "TAR by false acceptance rate (FAR)."]], "The true acceptance rate over all pairs."
    ]
    eer: Annotated[Rate, "The equal error rate."]
    auc: Annotated[Rate, "The area under the ROC curve."]
    p50: Annotated[Rate, "The accuracy of the rule 'probability above one half'; models only, not encoders."]
    ece: Annotated[Rate, "The expected calibration error of the probabilities; models only, not encoders."]
    n_way: Annotated[
        dict[str, Annotated[Rate, "One-shot accuracy by the number of people to choose from."]], "One-shot accuracy."
    ]
    rank: Annotated[dict[str, Annotated[Rate, "Identification rate by rank k."]], "Rank-k identification rate."]
    fnir: Annotated[
        dict[str, Annotated[Rate, "FNIR by false positive identification rate (FPIR)."]],
        "The false negative identification rate.",
    ]
    ci: Annotated[
        dict[str, Annotated[Any, "The interval of one figure."]],
        "The figures above by the same names, each as its 95 % interval [low, high].",
    ]
    realised_fpir: Annotated[
        list[RealisedRates], "How often strangers reach the threshold that the model sets itself; empty for an encoder."
    ]
    failed: Annotated[list[Failure], "The photos without a usable face."]


@dataclass
class PairsReport(Shape):
    protocol: Annotated[str, 'Always "pairs".']
    model: ModelName
    pairs: Annotated[int, "The number of listed pairs."]
    accuracy: Annotated[Rate, "Ten-fold accuracy on the listed pairs."]
    accuracy_se: Annotated[Rate, "The standard error of the accuracy."]
    tar: Annotated[
        dict[str, Annotated[Rate, "TAR by false acceptance rate (FAR)."]],
        "The true acceptance rate on the listed pairs.",
    ]
    auc: Annotated[Rate, "The area under the ROC curve of the listed pairs."]
    failed: Annotated[list[str], "The keys of the photos without a usable face."]
    ci: Annotated[
        dict[str, Annotated[Any, "The interval of one figure."]],
        "The figures above by the same names, each as its 95 % interval [low, high].",
    ]
    every_pair: Annotated[
        dict[str, Annotated[Any, "A figure by its name in the object of a folder of people."]],
        "The figures over every pair of the same photos; absent when too few show a face.",
    ]


@dataclass
class McNemar(Shape):
    only_a: Annotated[int, "The number of pairs that only `a` answers rightly."]
    only_b: Annotated[int, "The number of pairs that only `b` answers rightly."]
    p: Annotated[float, "The test's p-value."]


@dataclass
class Comparison(Shape):
    protocol: Annotated[str, 'Always "comparison".']
    a: Annotated[str, "The first model's name."]
    b: Annotated[str, "The other model's name."]
    on: Annotated[str, 'The trials: "listed pairs" or "every pair".']
    difference: Annotated[
        dict[str, Annotated[Any, "The difference of one figure."]], "The figures of `a` minus those of `b`."
    ]
    ci: Annotated[
        dict[str, Annotated[Any, "The interval of one difference."]], "The 95 % intervals of the differences."
    ]
    p: Annotated[
        dict[str, Annotated[Any, "The probability for one figure."]],
        "The probabilities of differences at least so large by chance.",
    ]
    mcnemar: Annotated[McNemar, "McNemar's test; listed pairs only."]
