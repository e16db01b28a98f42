"""What the exit codes mean, for the reference of the command line."""

from __future__ import annotations

EVERY_COMMAND = {
    2: "wrong usage, or a gallery, model or file that cannot be used",
    130: "ended by Ctrl-C",
}

EXIT_CODES: dict[str, dict[int, str]] = {
    "train": {0: "the model was written", 1: "not written, because it is worse than the model it started from"},
    "enroll": {0: "every photo is enrolled", 1: "at least one photo was skipped or is in conflict with another"},
    "identify": {0: "at least one face was named", 1: "nobody was named, or a photo was skipped"},
    "verify": {0: "the same person", 1: "different people"},
    "evaluate": {0: "every photo was used", 1: "at least one photo shows no usable face"},
    "detect": {0: "every photo shows a face", 1: "at least one photo was skipped"},
    "list": {0: "done"},
    "show": {0: "done"},
    "rename": {0: "done"},
    "merge": {0: "done", 1: "the question was not answered with yes"},
    "remove": {0: "done", 1: "the question was not answered with yes"},
    "reindex": {0: "done", 1: "faces were dropped, or the question was not answered with yes"},
    "doctor": {
        0: "everything is sound",
        1: "something was repaired, or there is a warning",
        2: "something is broken, or the gallery cannot be used",
    },
    "backup": {0: "done"},
    "restore": {0: "done"},
}
