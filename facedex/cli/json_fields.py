"""What every field of the commands' JSON output means, in one sentence each.

`python -m scripts.cli_reference` writes these sentences into the reference of the command line. Tests compare the
fields with what the commands print. In a field's path "a.b" is field b of object a, "a[].b" is field b of each object
in list a, and "a.*" stands for fields whose names vary.
"""

from __future__ import annotations

from dataclasses import dataclass

from facedex.store.changelog import KINDS


@dataclass(frozen=True)
class JsonObject:
    """One kind of object that a command prints: what one object is about, and its fields by path."""

    about: str
    fields: dict[str, str]


_PHOTO = "The photo's path; stdin for the photo that - stands for."
_BOX = "Left, top, width and height in pixels of the upright photo."
_SCORE = "The detector's score, 0 to 1."
_LANDMARKS = "Five points [x, y]: eyes, nose, corners of the mouth; each pair from left to right in the picture."
_LENGTH = (
    "The length of the network's vector before normalisation, for several networks the geometric mean; unclear faces "
    "have short vectors."
)
_ERROR = "Why the photo could not be used, else null."
_REMARK = "What a user should know of the photo itself, such as that a part is missing, else null."

_QUALITY = {
    "faces[].quality": "Measures of the face before it is compared.",
    "faces[].quality.width": "The shorter side of the box in pixels.",
    "faces[].quality.sharpness": "The energy of the finest detail, divided by the contrast.",
    "faces[].quality.turn": "The distance of the nose from the middle of the eyes, divided by the eyes' distance.",
    "faces[].quality.score": _SCORE,
}

_RATES = {
    "genuine": "The number of genuine pairs (one person).",
    "impostors": "The number of impostor pairs (two people).",
    "tar": "The true acceptance rate over all pairs.",
    "tar.*": "TAR by false acceptance rate (FAR).",
    "eer": "The equal error rate.",
    "auc": "The area under the ROC curve.",
    "p50": "The accuracy of the rule 'probability above one half'; models only, not encoders.",
    "ece": "The expected calibration error of the probabilities; models only, not encoders.",
    "n_way": "One-shot accuracy.",
    "n_way.*": "One-shot accuracy by the number of people to choose from.",
    "rank": "Rank-k identification rate.",
    "rank.*": "Identification rate by rank k.",
    "fnir": "The false negative identification rate.",
    "fnir.*": "FNIR by false positive identification rate (FPIR).",
    "ci": "The figures above by the same names, each as its 95 % interval [low, high].",
    "ci.*": "The interval of one figure.",
    "realised_fpir": "How often strangers reach the threshold that the model sets itself; empty for an encoder.",
    "realised_fpir[].enrolled": "The number of people enrolled.",
    "realised_fpir[].target": "The FPIR that the threshold was set for.",
    "realised_fpir[].fpir": "The FPIR that was measured.",
    "realised_fpir[].fpir_ci": "Its 95 % interval.",
    "realised_fpir[].fnir": "The FNIR that was measured.",
    "realised_fpir[].fnir_ci": "Its 95 % interval.",
}

JSON_OBJECTS: dict[str, tuple[JsonObject, ...]] = {
    "enroll": (
        JsonObject(
            "a photo",
            {
                "photo": _PHOTO,
                "name": "The name the photo was to be enrolled under.",
                "status": "enrolled; known (this photo is in the gallery); moved (it is known under another path); "
                "conflict (this face has another name in the gallery, or this photo another face); skipped. After all "
                "photos: suspicious (an enrolled photo that may show somebody else, or who has two names).",
                "reason": "Why the photo was not enrolled, or a warning about an enrolled face, else null.",
            },
        ),
    ),
    "identify": (
        JsonObject(
            "a photo",
            {
                "photo": _PHOTO,
                "faces": "Every face, the subject first, in the order of `detect`; empty when there is none.",
                "faces[].box": _BOX,
                "faces[].score": _SCORE,
                "faces[].name": "The person, or null for an unknown face.",
                "faces[].named_by": "library (a person named this scanned face), recognition, or null for no name.",
                "faces[].similarity": "The probability that the face is the person's when half of all pairs are "
                "genuine; for an unknown face that of the best candidate.",
                "faces[].probability": "The probability that the name is right, given everybody enrolled and the "
                "prior; for an unknown face that of the best candidate. It is recognition's, whoever gave the name.",
                "faces[].logit": "The head's score for the same person, compared with decision.threshold; null when "
                "nobody, or nobody of a name that the library gives, is enrolled.",
                "faces[].candidates": "Up to `--top` people: the named person first, then by probability.",
                "faces[].candidates[].name": "The candidate.",
                "faces[].candidates[].similarity": "The candidate's similarity.",
                "faces[].candidates[].probability": "The candidate's probability.",
                "faces[].candidates[].logit": "The candidate's logit.",
                **_QUALITY,
                "faces[].quality.length": _LENGTH,
                "faces[].reason": "Why the face has no name, where that is known, else null. It names a best candidate "
                "of probability .1 or more.",
                "faces[].warning": "Why the stated rates may not hold for this face (a negative, a tint), else null.",
                "copies": "The photo's copies in the folder of `--copy-to`, one for each person in it.",
                "error": _ERROR,
                "remark": _REMARK,
                "decision": "The threshold for the photo's faces, or null when the photo could not be used.",
                "decision.threshold": "The least logit of a named face.",
                "decision.fpir": "The share of strangers who reach it in this gallery.",
                "decision.fpir_low": "The 5 % quantile of that share, given the calibration's error.",
                "decision.fpir_high": "The 95 % quantile of that share, given the calibration's error.",
                "decision.people": "The number of people enrolled.",
            },
        ),
    ),
    "verify": (
        JsonObject(
            "the pair",
            {
                "same": "Whether the two photos are called the same person's.",
                "similarity": "The probability of the same person when half of all pairs are genuine.",
                "probability": "The probability of the same person for `--prior`.",
                "logit": "The head's score for the pair.",
                "threshold": "The least logit of a pair that is called the same person's.",
                "fmr": "The share of impostor pairs that reach the threshold.",
                "remarks": "What a user should know of the photos, such as that a part of one is missing.",
                "warnings": "For each photo with an unusual face (a negative, a tint): the stated rates may not hold.",
            },
        ),
    ),
    "detect": (
        JsonObject(
            "a photo",
            {
                "photo": _PHOTO,
                "faces": "Every face, the subject first; empty when there is none.",
                "faces[].number": "The face's number from 1, as in `enroll --face`.",
                "faces[].box": _BOX,
                "faces[].landmarks": _LANDMARKS,
                "faces[].score": _SCORE,
                **_QUALITY,
                "faces[].reason": "What is wrong with the face, else null.",
                "faces[].crop": "The file written for `--crops`, else null.",
                "error": _ERROR,
                "remark": _REMARK,
            },
        ),
    ),
    "embed": (
        JsonObject(
            "a photo",
            {
                "photo": _PHOTO,
                "faces": "Every face, the subject first, in the order of `detect`; empty when there is none.",
                "faces[].number": "The face's number from 1, as in `enroll --face`.",
                "faces[].box": _BOX,
                "faces[].landmarks": _LANDMARKS,
                "faces[].score": _SCORE,
                **_QUALITY,
                "faces[].quality.length": _LENGTH,
                "faces[].embedding": "The embedding, a vector of length 1.",
                "error": _ERROR,
            },
        ),
    ),
    "list": (
        JsonObject(
            "a person",
            {
                "name": "The person's name.",
                "photos": "The number of photos enrolled; 0 for somebody who has only named scanned faces left.",
                "enrolled": "When the first photo was enrolled, as an ISO 8601 time in UTC; null for no photo.",
                "consents": "What was allowed for the photos, each text once.",
                "expires": "The last day on which a photo may be matched, or null for no end.",
                "expired": "Whether that day is over.",
            },
        ),
    ),
    "show": (
        JsonObject(
            "the person",
            {
                "name": "The person's name.",
                "enrolled": "When the first photo was enrolled, as an ISO 8601 time in UTC; null for no photo.",
                "photos": "Every photo, in the order of enrolment.",
                "photos[].photo": "The photo's path when it was enrolled.",
                "photos[].box": _BOX,
                "photos[].enrolled": "When the photo was enrolled, as an ISO 8601 time in UTC.",
                "photos[].quality": "The length of the embedding before normalisation, 0 where not known.",
                "photos[].unclear": "Whether the embedding is so short that errors are likely.",
                "photos[].similarity": "The probability that the photo shows the person of the other photos when half "
                "of all such pairs are genuine; null for the only photo.",
                "photos[].consent": "What was allowed for the photo, or null.",
                "photos[].expires": "The last day on which the photo may be matched, or null for no end.",
                "photos[].expired": "Whether that day is over.",
                "least_alike": "The path of the photo that resembles the others least; null for fewer than three.",
            },
        ),
    ),
    "log": (
        JsonObject(
            "a change, the first one first",
            {
                "time": "When it was made, as an ISO 8601 time in UTC.",
                "account": "The system's account of the process that made it, or null.",
                "kind": f"{', '.join(sorted(KINDS)[:-1])} or {sorted(KINDS)[-1]}.",
                "name": "The person as named then, or null; null too for whoever was deleted later.",
                "former": "The former name, the person who was merged, or the former person of a moved photo, or null.",
                "photos": "The number of photos that it concerns.",
                "faces": "The number of scanned faces that it concerns.",
                "paths": "The paths of those of its photos that are still in the gallery.",
                "detail": "The rest in words, or null.",
                "undoable": "Whether `undo` can undo it, after every later one.",
            },
        ),
    ),
    "scan": (
        JsonObject(
            "a photo that is not as the last scan saw it",
            {
                "photo": _PHOTO,
                "status": "new; changed (another photo was at this path); moved (the photo had another path); copy "
                "(the photo has another path too); skipped; gone (the file is no longer there).",
                "faces": "The number of faces found now.",
                "reason": "Why the photo was skipped, or what a user should know of it, else null.",
            },
        ),
    ),
    "cluster": (
        JsonObject(
            "a group, the largest first",
            {
                "group": "The group's number, for `name` and `ignore`.",
                "faces": "The number of its faces that have no name.",
                "photos": "The number of photos they are in.",
                "examples": "The paths of up to three photos with the clearest of these faces.",
                "resembles": "The person whom the faces resemble, or null.",
                "ignored": "Whether `ignore` said that the group needs no name.",
            },
        ),
    ),
    "find": (
        JsonObject(
            "a photo; names by a person first, then the clearest faces",
            {
                "photo": _PHOTO,
                "faces": "The face of each person that was asked for, in that order.",
                "faces[].name": "The person.",
                "faces[].box": _BOX,
                "faces[].named_by": "library (a person named or enrolled this face), or recognition.",
                "faces[].probability": "Of a name by recognition, as `identify` gives it; null for one by a person.",
                "quality": "The length of the least clear face's vector before normalisation; unclear faces have short "
                "vectors.",
                "taken": "When the photo was taken, as an ISO 8601 local time; null without `--since`.",
                "taken_from": "exif, or file for the file's time of change; null without `--since`.",
            },
        ),
    ),
    "export": (
        JsonObject(
            "a photo with names or with a sidecar",
            {
                "photo": _PHOTO,
                "file": "The sidecar, with `--embed` the photo; null where it cannot be used.",
                "names": "The names that stand in it now.",
                "conflicts": "A sentence for each face that another program names otherwise.",
                "changed": "Whether the file was written.",
                "error": _ERROR,
            },
        ),
    ),
    "import": (
        JsonObject(
            "a photo with names",
            {
                "photo": _PHOTO,
                "names": "The names that were taken over.",
                "warnings": "A sentence for each name that was left out.",
                "error": _ERROR,
            },
        ),
    ),
    "doctor": (
        JsonObject(
            "a part of the gallery",
            {
                "part": "The part that was checked.",
                "state": "sound, repaired, warning or broken.",
                "detail": "What was found, and the remedy.",
            },
        ),
        JsonObject(
            "a suspicious photo, or a pair of people, with `--people`",
            {
                "part": 'Always "people".',
                "state": 'Always "warning".',
                "detail": "What is suspicious, in words.",
                "kind": "unlike (the photo does not resemble the person's others), other (it resembles another person "
                "more) or same (two names may be one person).",
                "name": "The person.",
                "photo": "The path of the photo when it was enrolled; of a pair the photo most like `other`.",
                "other": "The other person whom the photo resembles, or null.",
                "photos": "How many photos the person has.",
                "similarity": "The similarity of the photo with the person's other photos; null for the only photo.",
                "other_similarity": "The similarity with `other`; of a pair that of the two people; null without one.",
                "false_warnings": "The share of people with right photos whom so suspicious a score would concern.",
            },
        ),
    ),
    "evaluate": (
        JsonObject(
            "a model on a folder or pack of people",
            {
                "protocol": 'Always "people".',
                "model": "The model's name.",
                "people": "The number of people.",
                "photos": "The number of photos with a usable face.",
                **_RATES,
                "failed": "The photos without a usable face.",
                "failed[].photo": "The photo's key, NAME/PHOTO.",
                "failed[].reason": "Why it could not be used.",
            },
        ),
        JsonObject(
            "a model on a pairs file",
            {
                "protocol": 'Always "pairs".',
                "model": "The model's name.",
                "pairs": "The number of listed pairs.",
                "accuracy": "Ten-fold accuracy on the listed pairs.",
                "accuracy_se": "The standard error of the accuracy.",
                "tar": "The true acceptance rate on the listed pairs.",
                "tar.*": "TAR by false acceptance rate (FAR).",
                "auc": "The area under the ROC curve of the listed pairs.",
                "failed": "The keys of the photos without a usable face.",
                "ci": "The figures above by the same names, each as its 95 % interval [low, high].",
                "ci.*": "The interval of one figure.",
                "every_pair": "The figures over every pair of the same photos; absent when too few show a face.",
                "every_pair.*": "A figure by its name in the object of a folder of people.",
            },
        ),
        JsonObject(
            "a comparison of the first model with another",
            {
                "protocol": 'Always "comparison".',
                "a": "The first model's name.",
                "b": "The other model's name.",
                "on": 'The trials: "listed pairs" or "every pair".',
                "difference": "The figures of `a` minus those of `b`.",
                "difference.*": "The difference of one figure.",
                "ci": "The 95 % intervals of the differences.",
                "ci.*": "The interval of one difference.",
                "p": "The probabilities of differences at least so large by chance.",
                "p.*": "The probability for one figure.",
                "mcnemar": "McNemar's test; listed pairs only.",
                "mcnemar.only_a": "The number of pairs that only `a` answers rightly.",
                "mcnemar.only_b": "The number of pairs that only `b` answers rightly.",
                "mcnemar.p": "The test's p-value.",
            },
        ),
    ),
}
