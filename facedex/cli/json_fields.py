"""Which JSON objects each command prints, for the reference of the command line."""

from __future__ import annotations

from facedex import json_shapes as shapes

# By command: what one object is about, and its shape.
JSON_OBJECTS: dict[str, dict[str, type[shapes.Shape]]] = {
    "enroll": {"a photo": shapes.EnrolledPhoto},
    "identify": {"a photo": shapes.IdentifiedPhoto},
    "video": {"a video": shapes.IdentifiedVideo},
    "verify": {"the pair": shapes.Verified},
    "detect": {"a photo": shapes.DetectedPhoto},
    "embed": {"a photo": shapes.EmbeddedPhoto},
    "list": {"a person": shapes.ListedPerson},
    "show": {"the person": shapes.ShownPerson},
    "log": {"a change, the first one first": shapes.LoggedChange},
    "scan": {"a photo that is not as the last scan saw it": shapes.ScannedPhoto},
    "cluster": {"a group, the largest first": shapes.Group},
    "find": {"a photo; names by a person first, then the clearest faces": shapes.FoundPhoto},
    "export": {"a photo with names or with a sidecar": shapes.ExportedPhoto},
    "import": {"a photo with names": shapes.ImportedPhoto},
    "doctor": {
        "a part of the gallery": shapes.Finding,
        "a suspicious photo, or a pair of people, with `--people`": shapes.Suspicion,
    },
    "evaluate": {
        "a model on a folder or pack of people": shapes.PeopleReport,
        "a model on a pairs file": shapes.PairsReport,
        "a comparison of the first model with another": shapes.Comparison,
    },
}
